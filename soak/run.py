"""The soak, from the first client to the last look."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

from bench.place import Place, enter_own_network, own_place
from vifplug.client import Client
from vifplug.errors import VifplugError

from . import verdict
from .chaos import CALM, RATES, Chaos
from .clients import Clients
from .journal import Journal, listen
from .place import Site

#: VIFs that the clients quarrel over
VIFS = 240
#: of the seconds, those with everything killed; the rest is for what the daemon itself holds on to
_WILD = 0.7


class Outcome(Struct, kw_only=True):
    """What a run found and counted."""

    seed: int
    #: seconds, with the looks
    seconds: float = 0.0
    #: empty when all was well
    wrong: list[str] = []
    verbs: dict[str, int] = {}
    #: of the verbs' VIFs: "done", or the code of the error
    outcomes: dict[str, int] = {}
    #: kills and meddling
    befell: dict[str, int] = {}
    #: seconds that verbs took, half of them and 99 in 100 at most
    took: dict[str, tuple[float, float]] = {}
    #: what the daemon told
    events: dict[str, int] = {}
    #: at rest, when all was unplugged: what the daemon had after one part of the load, and after another
    holdings: tuple[dict[str, int], dict[str, int]] = ({}, {})
    #: bytes resident then
    memory: tuple[int, int] = (0, 0)


def soak(
    folder: Path,
    *,
    seed: int,
    seconds: float,
    clients: int,
    threads: int,
    say: Callable[[str], None],
    log: Path | None = None,
) -> Outcome:
    """Run it with files below ``folder``; ``log``: where to keep the daemon's log.

    Raises NotPossible where it cannot run at all.
    """
    began = time.monotonic()
    enter_own_network()
    with own_place(folder) as place, tempfile.TemporaryDirectory(prefix="vifplug-soak-") as socket_folder:
        Path(socket_folder).chmod(0o711)
        run = _Run(place, Path(socket_folder), Outcome(seed=seed), say)
        try:
            run.all(seconds, clients, threads)
        finally:
            run.end()
            if log is not None:
                shutil.copyfile(run.site.log, log)
    run.outcome.seconds = time.monotonic() - began
    return run.outcome


class _Run:
    def __init__(
        self, place: Place, socket_folder: Path, outcome: Outcome, say: Callable[[str], None]
    ) -> None:
        place.folder.chmod(0o700)
        self.site = Site(place, socket_folder)
        self.outcome = outcome
        self._say = say
        self._journal = Journal(place.folder / "journal")
        self._befell: Counter[str] = Counter()
        self._clients: Clients | None = None
        self._listener: int | None = None

    def all(self, seconds: float, clients: int, threads: int) -> None:
        self.site.start()
        self._listener = listen(self.site.socket, self._journal.file)
        wild, calm = seconds * _WILD, seconds * (1 - _WILD) / 2
        self._say(
            f"{clients} clients of {threads} threads, {VIFS} VIFs; for {wild:.0f} s everything is killed"
        )
        self._load("wild", wild, RATES, clients, threads)

        self._say("restarted; all has to come to rest")
        self.site.signal(signal.SIGTERM)
        self.site.start()
        with self.site.client() as client:
            self._note("at rest", self._settle(client, healed=False))
            (self.site.backend / "healed").touch()
            self._note("at rest and healed", self._settle(client, healed=True))
            self._unplug_all(client)

        self._say(f"twice {calm:.0f} s of load on one daemon: what it holds afterwards")
        held = []
        for part in ("calm", "calm again"):
            self._load(part, calm, CALM, max(2, clients // 2), threads)
            with self.site.client() as client:
                self._note(part, self._settle(client, healed=True))
                self._unplug_all(client)
                self._one_resident(client)
            held.append(verdict.holdings(self.site))
            if len(held) == 2:
                self._note("held", verdict.within(30, lambda: self._more_than(held)))
            self.outcome.memory = (
                self.outcome.memory[1] or _resident(self.site.pid),
                _resident(self.site.pid),
            )
        self.outcome.holdings = (dict(held[0]), dict(held[1]))
        with self.site.client() as client:
            self._note("at the end", verdict.nothing_left(self.site, client))
        self.site.signal(signal.SIGTERM)
        self._note("in all", verdict.never(self.site))

    def end(self) -> None:
        """End what still runs, and count."""
        if self._clients is not None:
            self._clients.end()
        if self._listener is not None:
            os.kill(self._listener, signal.SIGKILL)
            os.waitpid(self._listener, 0)
        if self.site.process is not None:
            self.site.process.kill()
            self.site.process.wait()
        for pid in self.site.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._note("clients", self._journal.read())
        self._journal.close()
        self.outcome.verbs = dict(self._journal.verbs)
        self.outcome.took = self._journal.took()
        self.outcome.outcomes = dict(self._journal.outcomes)
        self.outcome.events = dict(self._journal.events)
        self.outcome.befell = dict(self._befell)

    def _load(self, part: str, seconds: float, rates: Any, clients: int, threads: int) -> None:
        self._clients = Clients(
            self.site.socket,
            self._journal.file,
            seed=self.outcome.seed,
            count=clients,
            threads=threads,
            vifs=VIFS,
            ordinary=_several_users(),
        )
        self._clients.start()
        chaos = Chaos(self.site, self._clients, self.outcome.seed)
        chaos.rage(part, self.outcome.seed, seconds, rates)
        self._note(part, self._clients.stop() + chaos.bad)
        self._befell += chaos.done

    def _settle(self, client: Client, *, healed: bool) -> list[str]:
        """Until record, kernel and backends agree; debts are tried now, and not when the keeper would."""

        def look() -> list[str]:
            client.gc()
            return verdict.agree(self.site, client, healed=healed)

        return verdict.within(verdict.PATIENCE, look)

    def _unplug_all(self, client: Client) -> None:
        answers = client.unplug_all()
        wrong = [f"unplug-all: {answer}" for answer in answers if isinstance(answer, VifplugError)]
        self._note("unplug all", wrong + verdict.within(verdict.PATIENCE, lambda: self._nothing(client)))

    def _nothing(self, client: Client) -> list[str]:
        client.gc()
        return verdict.nothing_left(self.site, client)

    def _one_resident(self, client: Client) -> None:
        """How many scripts stay up depends on how many were needed at once: end them, and need one."""
        for process in self.site.processes().values():
            if process.resident:
                os.kill(process.pid, signal.SIGKILL)
        port = {"id": "ffffffff-50ac-4f0a-9c55-2f7a3c1d9e01", "vif_type": "ethernet", "address": "fa:16:3e:ff:ff:ff",
                "vif_details": {"vif_plug_script": "stays"}}  # fmt: skip
        client.plug(port)
        client.unplug(str(port["id"]))

    def _more_than(self, held: list[Counter[str]]) -> list[str]:
        held[1] = verdict.holdings(self.site)
        return [
            f"{what}: {held[1][what]} after {held[0][what]}"
            for what in held[1]
            if held[1][what] > held[0][what]
        ]

    def _note(self, where: str, wrong: list[str]) -> None:
        for one in wrong:
            self._say(f"  WRONG, {where}: {one}")
        self.outcome.wrong += [f"{where}: {one}" for one in wrong]


def _several_users() -> bool:
    """Whether there are other users to become: not in an ordinary user's own namespace."""
    return Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]


def _resident(pid: int) -> int:
    """Bytes of memory, proc(5)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
