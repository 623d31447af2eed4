"""A guest moved to another host while it runs, and its VIFs with it.

The destination is asked, and plugged, before the guest moves; its VIFs are activated when it is there, and the
source's unplugged. Whoever does this may die at any moment: a destination that waits in vain is given up by its
vifplugd, a guest that came is found by the destination's Watcher, or by `finish`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from ..errors import LibvirtUnreachable, MigrationFailed, NoSuchDomain, NotPlugged, VifplugError
from ..host.host import Binding, Host
from ..host.results import Plugged, Record, State
from ..model.vif import Migration
from .able import check_able
from .connection import Connection, Domain, binding, lost, translated, unreachable
from .definition import Definition, Scope
from .moving import Moving, moving, xml_there
from .rules import has_come

#: seconds that libvirt may take on both sides to be done with a migration that failed
_SETTLES = 15.0
_LOOK = 0.1
_COMING = Migration(role="destination", phase="prepare")


class Phase(StrEnum):
    """How far a migration has come."""

    ASKED = "asked"
    PLUGGED = "plugged"
    MOVED = "moved"
    ACTIVATED = "activated"
    DONE = "done"


class Side(StrEnum):
    """Where a guest runs."""

    SOURCE = "source"
    DESTINATION = "destination"
    NEITHER = "neither"


class Migrated(Struct, frozen=True, kw_only=True):
    """The answer of migrate and finish."""

    #: the domain's name
    domain: str
    #: the VIFs that moved with it
    vifs: list[str]
    #: from the first question to the last unplug
    seconds: float
    #: what is worth knowing though the guest has moved: what is still owed, and is tried again
    notes: list[str] = field(default_factory=list)


def migrate(
    host: Host,
    domain: Domain,
    there: Host,
    destination: Connection,
    *,
    bindings: Iterable[Binding] = (),
    uri: str | None = None,
    peer_to_peer: str | None = None,
    flags: int = 0,
    parameters: Mapping[str, Any] | None = None,
    seconds: float | None = None,
    allow_older: bool = False,
    on_phase: Callable[[Phase], None] = lambda _: None,
) -> Migrated:
    """Move a running guest to ``destination``, whose vifplug is ``there``. ``host``: that of the source.

    Both hosts with Host's methods: through vifplugd `vifplug.remote.RemoteHost`, whose socket somebody else brings
    here from another machine. ``bindings``: the destination's own, of VIFs that are bound otherwise there.
    ``uri``: where the guest's state goes (VIR_MIGRATE_PARAM_URI); when not given, libvirt says. ``peer_to_peer``:
    by this URI the source's libvirtd speaks to the destination's and sees the migration through, even should we die;
    when not given we do, and our death ends it. ``flags``, ``parameters``: more of libvirt's. ``seconds``: after
    which it is cancelled. ``on_phase`` is told how far it has come.

    Raises DestinationUnable before anything is done; MigrationFailed when the guest runs at the source as
    before, and the destination is as before; LibvirtUnreachable when where it runs could not be found out.
    """
    began = time.monotonic()
    with translated("tell the domain's state"):
        name, runs = domain.name(), bool(domain.isActive())
    if not runs:
        raise MigrationFailed(
            f"domain {name} does not run, so there is no guest to move: start it", domain=name
        )
    vifs = moving(host, domain, bindings)
    check_able(host, there, vifs, allow_older=allow_older)
    on_phase(Phase.ASKED)
    plugged, ours = _plug(there, vifs)
    interrupt: BaseException | None = None
    try:
        live, stored = xml_there(domain, zip(vifs, plugged, strict=True))
        on_phase(Phase.PLUGGED)
        job = _Job(domain, destination, _parameters(live, stored, uri, parameters), flags, peer_to_peer)
        try:
            job.run(seconds)
        except BaseException as error:
            where = whereabouts(domain, destination, _SETTLES)
            if where is not Side.DESTINATION:
                raise _failed(name, error, where) from None
            if not isinstance(error, VifplugError):  # who interrupts us hears of it when all is in order
                interrupt = error
    except LibvirtUnreachable:
        raise
    except BaseException as error:
        _unplug_again(there, ours, error)
        raise
    on_phase(Phase.MOVED)
    notes = _activate(there, [one.id for one in vifs])
    on_phase(Phase.ACTIVATED)
    notes += _unplug_source(host, {one.id: one.generation for one in vifs})
    on_phase(Phase.DONE)
    if interrupt is not None:
        raise interrupt
    return Migrated(domain=name, vifs=[one.id for one in vifs], seconds=time.monotonic() - began, notes=notes)


def finish(host: Host, source: Connection, there: Host, domain: Domain) -> Migrated:
    """Do what a migration left that died once its guest was there. ``domain``: that of the destination.

    Raises MigrationFailed when the guest does not run there, or runs at the source too. Again, or where nothing
    was left: fine.
    """
    began = time.monotonic()
    with translated("tell the domain's state"):
        name, (state, reason, *_) = domain.name(), domain.state()
    if not has_come(state, reason):
        raise MigrationFailed(
            f"domain {name} does not run at the destination: nothing is to be finished", domain=name
        )
    if _is_active(source, domain) is not False:
        raise MigrationFailed(
            f"domain {name} runs at the destination, and at the source too, or nobody knows: nothing was done",
            domain=name,
        )
    live = Definition.of(domain, Scope.LIVE)
    ids = list(dict.fromkeys([*live.kept, *(one.vif_id for one in live.interfaces if one.vif_id)]))
    known = [vif_id for vif_id in ids if _record(there, vif_id) is not None]
    notes = _activate(there, known)
    left = {vif_id: record.generation for vif_id in ids if (record := _record(host, vif_id)) is not None}
    notes += _unplug_source(host, left)
    return Migrated(domain=name, vifs=ids, seconds=time.monotonic() - began, notes=notes)


def whereabouts(domain: Domain, destination: Connection, patience: float = 0.0) -> Side:
    """Where the guest of a source's domain runs, once that is clear. Raises LibvirtUnreachable when it is not,
    after ``patience`` seconds."""
    ends = time.monotonic() + patience
    while True:
        here = _is_active(domain.connect(), domain)
        over_there = _is_active(destination, domain)
        if None not in (here, over_there) and not (here and over_there):
            if here or over_there:
                return Side.SOURCE if here else Side.DESTINATION
            return Side.NEITHER
        if time.monotonic() > ends:
            raise LibvirtUnreachable(
                f"where the guest of domain {domain.name()} runs cannot be found out: look at both hosts, and then"
                " migrate again, which finishes what was begun",
                domain=domain.name(),
            )
        time.sleep(_LOOK)


def _is_active(connection: Connection, domain: Domain) -> bool | None:
    """Whether it runs there, or is being made to; None when that cannot be known."""
    library = binding()
    try:
        return bool(connection.lookupByUUIDString(domain.UUIDString()).isActive())
    except library.libvirtError as error:
        return False if error.get_error_code() == library.VIR_ERR_NO_DOMAIN else None


# --- the destination ------------------------------------------------------------------------------


def _plug(there: Host, vifs: list[Moving]) -> tuple[list[Plugged], dict[str, int]]:
    """Plug them all, inactive; the answers, and those that are there for us alone, with their generation."""
    before = {one.id: _record(there, one.id) for one in vifs}
    answers = there.plug_all([replace(one.there, migration=_COMING) for one in vifs])
    plugged = [answer for answer in answers if isinstance(answer, Plugged)]
    ours = {
        answer.id: answer.generation
        for answer in plugged
        if (record := before[answer.id]) is None or record.request.arriving or record.lost
    }
    for answer in answers:
        if not isinstance(answer, Plugged):
            answer.message = f"the destination could not be plugged: {answer.message}"
            answer.args = (answer.message,)
            _unplug_again(there, ours, answer)
            raise answer
    return plugged, ours


def _record(host: Host, vif_id: str) -> Record | None:
    try:
        record = host.show(vif_id)
    except NotPlugged:
        return None
    return None if record.state is State.DEBT else record


def _unplug_again(there: Host, ours: dict[str, int], error: BaseException) -> None:
    for vif_id, generation in ours.items():
        try:
            there.unplug(vif_id, generation=generation)
        except VifplugError as more:
            if isinstance(error, VifplugError):
                error.message += f"; unplugging VIF {vif_id} at the destination failed: {more.message}"
                error.args = (error.message,)


def _activate(there: Host, ids: Iterable[str]) -> list[str]:
    notes = []
    for vif_id in ids:
        try:
            there.activate(vif_id)
        except VifplugError as error:
            notes.append(f"VIF {vif_id} at the destination, where its guest runs: {error.message}")
    return notes


def _unplug_source(host: Host, generations: Mapping[str, int | None]) -> list[str]:
    notes = []
    for vif_id, generation in generations.items():
        if generation is None:
            continue
        try:
            host.unplug(vif_id, generation=generation)
        except VifplugError as error:
            notes.append(f"VIF {vif_id} at the source: {error.message}")
    return notes


# --- libvirt's part -------------------------------------------------------------------------------


def _parameters(
    live: str, stored: str | None, uri: str | None, more: Mapping[str, Any] | None
) -> dict[str, Any]:
    library = binding()
    found = {
        library.VIR_MIGRATE_PARAM_DEST_XML: live,
        library.VIR_MIGRATE_PARAM_PERSIST_XML: stored,
        library.VIR_MIGRATE_PARAM_URI: uri,
    }
    return {key: value for key, value in found.items() if value is not None} | dict(more or {})


class _Job:
    """libvirt's migration, which can be cancelled while it is under way."""

    def __init__(
        self,
        domain: Domain,
        destination: Connection,
        parameters: dict[str, Any],
        flags: int,
        peer: str | None,
    ) -> None:
        library = binding()
        self._domain = domain
        self._ended = threading.Event()
        self._error: Any = None
        flags |= library.VIR_MIGRATE_LIVE
        if library.VIR_MIGRATE_PARAM_PERSIST_XML in parameters:
            flags |= library.VIR_MIGRATE_PERSIST_DEST | library.VIR_MIGRATE_UNDEFINE_SOURCE
        if peer is not None:
            flags |= library.VIR_MIGRATE_PEER2PEER
            self._begin: Callable[[], Any] = lambda: domain.migrateToURI3(peer, parameters, flags)
        else:
            self._begin = lambda: domain.migrate3(destination, parameters, flags)

    def run(self, seconds: float | None) -> None:
        """Until it has ended, well or not; past ``seconds``, or when this thread is interrupted, cancelled."""
        library = binding()
        threading.Thread(target=self._do, name="migration", daemon=True).start()
        try:
            if not self._ended.wait(seconds):
                self._cancel()
                raise MigrationFailed(f"the migration was not done within {seconds:g} s, and was cancelled")
        except KeyboardInterrupt:
            self._cancel()
            raise
        if isinstance(self._error, library.libvirtError):
            if lost(self._error):
                raise unreachable(self._error)
            raise MigrationFailed(
                f"libvirt could not migrate it: {self._error.get_error_message()}",
                libvirt_code=self._error.get_error_code(),
            )
        if self._error is not None:
            raise self._error

    def _do(self) -> None:
        try:
            self._begin()
        except BaseException as error:
            self._error = error
        finally:
            self._ended.set()

    def _cancel(self) -> None:
        """There may be nothing to cancel yet, or any more."""
        library = binding()
        while not self._ended.is_set():
            try:
                self._domain.abortJob()
            except library.libvirtError as error:
                if lost(error):
                    return
            self._ended.wait(_LOOK)


def _failed(name: str, error: BaseException, where: Side) -> BaseException:
    """What is raised of a migration that failed, once it is known that the guest is not at the destination."""
    if not isinstance(error, VifplugError):
        return error
    guest = "runs at the source as before" if where is Side.SOURCE else "runs nowhere: it ended meanwhile"
    return MigrationFailed(f"domain {name}: {error.message}; its guest {guest}", **error.context)


__all__ = ["Migrated", "NoSuchDomain", "Phase", "Side", "finish", "migrate", "whereabouts"]
