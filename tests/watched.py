"""A daemon in this process, on a host of a test's own: everything of vifplugd but its keeper."""

from __future__ import annotations

from vifplug.client import Client
from vifplug.config import Config
from vifplug.daemon.app import Api
from vifplug.daemon.events import Events
from vifplug.daemon.observer import Observer
from vifplug.daemon.server import Server
from vifplug.daemon.service import Service
from vifplug.daemon.socket_file import listen
from world import World


class Watched:
    """Serves the world's configuration within a ``with``; ``restart`` is another daemon on the same socket."""

    def __init__(self, world: World, config: Config | None = None) -> None:
        self.world = world
        self.config = config or world.config

    def __enter__(self) -> Watched:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def restart(self) -> None:
        self.stop()
        self.start()

    def client(self) -> Client:
        return Client(self.config.socket_path, timeout=30.0)

    def start(self) -> None:
        self._listener = listen(self.config.socket_path)
        self.events = Events()
        self.service = Service(self.config, self.events)
        self.observer = Observer(self.service)
        self.service.metrics = self.observer.metrics.text
        self.server = Server(self._listener, Api(self.service, self.observer), self.config.daemon)
        self.service.connections = self.server.connections
        self.server.start()
        self.events.publish("started")

    def stop(self) -> None:
        self.service.drain(10)
        self.events.close()
        self.server.stop(10)
        self._listener.close()
        self.service.close()
        self.observer.close()
