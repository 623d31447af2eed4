"""Client processes, each of several threads that do what the plan says, until they are told to stop or killed."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from itertools import islice
from typing import NoReturn

from vifplug.client import Client
from vifplug.errors import DaemonUnreachable, Stopping, TooBusy, VifplugError

from .place import GROUP
from .plan import Deed, deeds

#: the ordinary user, whom nothing belongs to: only the group lets it plug
USER = 65534
#: seconds that a client waits before it asks a daemon again that is not there
_PAUSE = 0.3
#: verbs of one life: none lives that long
_LIFETIME = 1_000_000


class Clients:
    """``count`` client processes of ``threads`` threads; what they did goes to the file ``journal``."""

    def __init__(
        self, socket: str, journal: int, *, seed: int, count: int, threads: int, vifs: int, ordinary: bool
    ) -> None:
        self._socket = socket
        self._journal = journal
        self._seed = seed
        self._threads = threads
        self._vifs = vifs
        self._ordinary = ordinary
        self._lives = dict.fromkeys(range(count), 0)
        #: pid by the client's number
        self.running: dict[int, int] = {}

    def start(self) -> None:
        for number in self._lives:
            self._start(number)

    def _start(self, number: int) -> None:
        life = self._lives[number]
        self._lives[number] += 1
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # until the child has its own handler
        pid = os.fork()
        if pid == 0:
            self._live(number, life)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        self.running[number] = pid

    def kill(self, number: int) -> None:
        """Kill one, and start it anew."""
        os.kill(self.running[number], signal.SIGKILL)
        os.waitpid(self.running.pop(number), 0)
        self._start(number)

    def stop(self) -> list[str]:
        """Let each finish what it asked for; what is to be said of those that did not end well."""
        for pid in self.running.values():
            os.kill(pid, signal.SIGTERM)
        bad = []
        for number, pid in self.running.items():
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if status != 0:
                bad.append(f"client {number} ended with {status}")
        self.running.clear()
        return bad

    def end(self) -> None:
        """Whatever still runs is killed."""
        for pid in self.running.values():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self.running.clear()

    def _live(self, number: int, life: int) -> NoReturn:
        stop = threading.Event()
        status = 1
        try:
            signal.signal(signal.SIGTERM, lambda *_: stop.set())
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            if self._ordinary and number % 2:
                os.setgroups([GROUP])
                os.setgid(USER)
                os.setuid(USER)
            with Client(self._socket, timeout=60) as client:
                threads = [
                    threading.Thread(target=self._work, args=(client, number, life, thread, stop))
                    for thread in range(self._threads)
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            status = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)

    def _work(self, client: Client, number: int, life: int, thread: int, stop: threading.Event) -> None:
        for deed in islice(deeds(self._seed, number, life, thread, self._vifs), _LIFETIME):
            if stop.is_set():
                return
            began = time.monotonic()
            outcomes: list[str]
            try:
                outcomes = _do(client, deed)
            except VifplugError as error:
                outcomes = [_code(error)]
                if isinstance(error, DaemonUnreachable | Stopping | TooBusy):
                    stop.wait(_PAUSE)
            except Exception:
                outcomes = [f"crash {traceback.format_exc()!r}"]
            took = time.monotonic() - began
            lines = "".join(f"{deed.verb}\t{outcome}\t{took:.6f}\n" for outcome in outcomes)
            os.write(self._journal, lines.encode())


def _do(client: Client, deed: Deed) -> list[str]:
    """Ask for it: an outcome for each VIF, "done" or the code of an error."""
    vif_id, binding = deed.ids[0], deed.bindings[0]
    match deed.verb:
        case "plug" | "again":
            client.plug(binding)
        case "unplug":
            client.unplug(vif_id)
        case "update":
            client.update(binding)
        case "check":
            client.check(vif_id)
        case "show":
            client.show(vif_id)
        case "list":
            client.list(limit=50)
        case "wait":
            client.wait(vif_id, "settled", seconds=2.0)
        case "plug-all":
            return [_code(answer) for answer in client.plug_all(deed.bindings)]
        case "unplug-all":
            return [_code(answer) for answer in client.unplug_all(deed.ids)]
    return ["done"]


def _code(answer: object) -> str:
    return answer.as_dict()["code"] if isinstance(answer, VifplugError) else "done"
