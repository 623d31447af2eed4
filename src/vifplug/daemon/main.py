"""``vifplugd``: start, serve until told to stop, drain, end."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from .. import __version__
from ..config import Config, load
from ..errors import Busy, ConfigError, LedgerCorrupt, LedgerReplaced, VifplugError
from . import logs
from .notify import Notifier, listening_sockets

if TYPE_CHECKING:
    from .events import Event, Events
    from .keeper import Keeper
    from .server import Server
    from .service import Service

log = logging.getLogger("vifplug.daemon")

#: what ends the daemon in good order
_STOP = (signal.SIGTERM, signal.SIGINT)
#: what is imported late elsewhere
_LATE = (
    *(f"vifplug.script.{name}" for name in ("confine", "process", "resident")),
    *(f"vifplug.daemon.{name}" for name in ("app", "keeper", "observer", "openapi", "server")),
    "hashlib", "ipaddress", "shlex",
)  # fmt: skip
#: seconds between two looks at whether all is well, where nobody asks more often
_LOOK = 5.0
#: seconds that answers may take to leave once their verbs have ended
_GOODBYE = 5.0


@click.command("vifplugd", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--config", metavar="FILE", help="Configuration, in place of VIFPLUG_CONFIG or /etc/vifplug/vifplug.toml."
)
@click.option("--debug", is_flag=True, help="Log every request, and what is said at level debug.")
@click.version_option(__version__, prog_name="vifplugd")
def command(config: str | None, debug: bool) -> int:
    """The host's plug service: plugs VIFs for callers without privilege, and keeps them plugged.

    It answers at a Unix socket (daemon.socket in the configuration) and logs to standard error. Root
    runs it, as a rule by systemd. SIGTERM lets what is at work finish.
    """
    notifier = Notifier.from_environment()
    settings = load(config).config
    logs.setup(settings.daemon.log, debug=debug)
    return Vifplugd(settings, notifier).run()


class Vifplugd:
    """The whole daemon: what it is made of, in the order in which it starts."""

    def __init__(self, config: Config, notifier: Notifier) -> None:
        self._config = config
        self._notifier = notifier
        #: the code of the error that says that the ledger which we opened is no longer to be worked with
        self._broken: str | None = None

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT, or until the ledger breaks; the exit status."""
        # Blocked in every thread from here on, and waited for by this one: the kernel gives a signal to whichever
        # thread it likes, and a handler that ran there would leave this one asleep.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
        # A new configuration takes a restart, which costs nobody a VIF.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with ExitStack() as stack:
            self._run(stack)
        return self._status

    @property
    def _status(self) -> int:
        """What a service manager takes for a reason to start us anew, when the ledger broke."""
        return 0 if self._broken is None else LedgerCorrupt.exit_status

    def _on_event(self, event: Event) -> None:
        code = event.data.get("error", {}).get("code")
        if code in (LedgerCorrupt.code, LedgerReplaced.code) and self._broken is None:
            self._broken = code
            os.kill(os.getpid(), signal.SIGTERM)  # which wakes the thread that waits for it

    def _run(self, stack: ExitStack) -> None:
        _import_all()
        from .app import Api
        from .events import Events
        from .keeper import Keeper
        from .observer import Observer
        from .server import Server
        from .service import Service
        from .socket_file import listen

        config = self._config
        stack.enter_context(_alone(Path(config.state_dir)))
        handed_over = listening_sockets()
        sockets = handed_over or [listen(config.socket_path)]
        for listener in sockets:
            stack.callback(listener.close)
        if not handed_over:
            stack.callback(Path(config.socket_path).unlink, missing_ok=True)
        events = Events(before=time.time_ns() // 1000)
        events.listen(self._on_event)
        service = _open(Service, config, events)
        stack.callback(service.close)
        keeper = Keeper(service.host, events, config.daemon)
        observer = Observer(service)
        stack.callback(observer.close)
        servers = [Server(listener, Api(service, observer), config.daemon) for listener in sockets]
        service.connections = lambda: sum(server.connections() for server in servers)
        service.metrics = observer.metrics.text
        service.alive = lambda: keeper.alive and all(server.alive() for server in servers)
        keeper.start()
        for server in servers:
            server.start()
        events.publish("started", version=__version__)
        where = ", ".join(str(listener.getsockname()) for listener in sockets)
        log.info("vifplugd %s answers at %s", __version__, where)
        self._notifier.ready(f"answers at {where}")
        self._watch(service.alive)
        if self._broken is not None:
            log.error("the ledger is damaged or another: ending, for the next start to see to it")

        self._end(service, keeper, servers)

    def _end(self, service: Service, keeper: Keeper, servers: list[Server]) -> None:
        """Take on nothing more, let what is at work finish in its time, and go."""
        drain = self._config.daemon.drain
        self._notifier.stopping("finishing what is at work", drain + _GOODBYE)
        log.info("stopping: what is at work may take %g s more", drain)
        until = time.monotonic() + drain
        drained = service.drain(drain)
        drained = keeper.stop(max(0.0, until - time.monotonic())) and drained
        service.events.close()
        for server in servers:
            server.stop(_GOODBYE)
        if not drained:
            log.warning(
                "ended though scripts are at work: they are on record, and the next start sees to them"
            )
            # The threads that wait for them would keep this process until the last of them has ended.
            os._exit(self._status)

    def _watch(self, alive: Callable[[], bool]) -> None:
        """Until a signal comes; the service manager hears that we are well as long as every part is."""
        every = self._notifier.watchdog_seconds or _LOOK
        while signal.sigtimedwait(_STOP, every) is None:
            if alive():
                self._notifier.watchdog()
            else:
                log.error("a part of the daemon has died: the service manager should start it anew")


def _import_all() -> None:
    """Import all of it now: an upgrade may replace our files while we are at work."""
    try:
        for name in _LATE:
            import_module(name)
    except ModuleNotFoundError as error:
        if error.name in ("h11", "prometheus_client"):
            raise ConfigError(
                f"vifplugd needs the Python package {error.name}, which is not installed: pip install"
                " 'vifplug[daemon]', or apt-get install python3-h11 python3-prometheus-client"
            ) from None
        raise


def _open(service: type[Service], config: Config, events: Events) -> Service:
    """The service on its ledger; a damaged ledger is set aside and rebuilt first, and that is told."""
    from ..host.rebuild import damage, rebuild

    if (found := damage(config)) is not None:  # opening it would not come across a bad page in its middle
        log.warning("the ledger is damaged (%s): it is set aside and rebuilt", found)
        rebuilt = msgspec.to_builtins(rebuild(config))
        events.publish("ledger-rebuilt", rebuilt=rebuilt)
        log.warning("the ledger was rebuilt", extra=logs.fields(rebuilt=rebuilt))
    return service(config, events)


@contextmanager
def _alone(state_dir: Path) -> Iterator[None]:
    """One daemon for a state directory; the kernel ends the lock with the process."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(state_dir / "vifplugd.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another vifplugd works on {state_dir}: stop that one first") from None
        yield
    finally:
        os.close(file)


def main() -> int:
    """``vifplugd``; the exit status."""
    try:
        return int(command(standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    except VifplugError as error:
        sys.stderr.write(f"vifplugd: {error.message}\n")
        return error.exit_status
