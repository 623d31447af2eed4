"""Guests watched: what they have is plugged, and what they had is unplugged, however they ended."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from ..errors import DaemonError, LibvirtUnreachable, NoSuchDomain, NotPlugged, VifplugError
from ..host.host import Host
from ..host.results import Record
from .connection import Connection, Domain, binding, connect, translated
from .definition import Definition, Kept, Scope
from .domain import start
from .rules import Due, due_while_off, due_while_running, has_come, is_ours

log = logging.getLogger("vifplug.libvirt")

#: seconds between two attempts to reach libvirt: the first, and at most
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
#: Seconds between the first looks through a new connection: libvirtd that was just started takes guests for running
#: until it has met each of their QEMUs, and tells of none that it did not find.
_NEW = (0.5, 2.0, 10.0)
#: seconds until another look, where vifplugd or libvirt did not answer to all
_SOON = 1.0
#: VIFs that are plugged or unplugged at once: a script that hangs delays none of the others
_HANDS = 16
#: what is put into the queue beside a domain's UUID
_ALL, _BROKEN, _END = "all", "broken", "end"


class Watcher:
    """Minds the VIFs that `attach` and `define` gave to the domains of one libvirt.

    A VIF that a running guest has is plugged, should it not be. When the guest lets go of it, or ends, however it
    ends, it is unplugged; unless it is to be ready for the next start: then it stays plugged, or is plugged anew,
    while the domain is off, and not where its guest has moved to another host. A domain of autostart that libvirt
    could not start, since nothing was plugged after a boot, is started.

    Nothing is done from what an event says: an event is a reason to look, at libvirt and at the ledger, and so is
    every ``interval`` (seconds), a connection made anew, and the first look. So it does not matter what was
    missed while libvirtd, or this watcher, was away. While libvirt does not answer, nothing is unplugged.

    ``host``: with Host's methods; the VIFs minded are those that its user plugged. ``uri``: as for `connect`.
    """

    def __init__(self, host: Host, uri: str | None = None, *, interval: float = 60.0) -> None:
        self._host = host
        self._uri = uri
        self._interval = interval
        self._events: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._hands = ThreadPoolExecutor(_HANDS, "vifplug-guests")
        self._lock = threading.Lock()
        #: the VIFs at work, and what to look at again when that has ended
        self._busy: dict[str, str | None] = {}
        #: by domain, the VIFs that it had when we last looked
        self._had: dict[str, set[str]] = {}
        #: set when something could not be known or done that may be in a moment
        self._soon = threading.Event()
        self._ended = threading.Event()
        #: called after each look at all domains, for who waits for it
        self.on_look: Callable[[], None] = lambda: None

    def run(self) -> None:
        """Watch until `stop` is called, from another thread."""
        pause = _FIRST_PAUSE
        try:
            while not self._ended.is_set():
                try:
                    with self._listening() as connection:
                        with translated("tell its URI"):
                            log.info("watching the guests of %s", connection.getURI())
                        pause = _FIRST_PAUSE
                        self._watch(connection)
                except LibvirtUnreachable as error:
                    level = logging.WARNING if pause == _FIRST_PAUSE else logging.DEBUG  # said once
                    log.log(level, "%s; trying again until it does", error.message)
                    self._ended.wait(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)
        finally:
            self._hands.shutdown()

    def stop(self) -> None:
        """End `run`, when what is at work is done."""
        self._ended.set()
        self._events.put(_END)

    # --- hearing ------------------------------------------------------------------------------

    @contextmanager
    def _listening(self) -> Iterator[Connection]:
        """A connection whose events come into our queue."""
        library = binding()
        connection = connect(self._uri)
        try:
            with translated("tell its events"):
                connection.registerCloseCallback(lambda *_: self._events.put(_BROKEN), None)
                for number in (
                    library.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                    library.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
                    library.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
                ):
                    connection.domainEventRegisterAny(None, number, self._heard, None)
            yield connection
        finally:
            with suppress(library.libvirtError):
                connection.unregisterCloseCallback()
            with suppress(library.libvirtError):
                connection.close()

    def _heard(self, _connection: Connection, domain: Domain, *_: Any) -> None:
        self._events.put(domain.UUIDString())

    def _watch(self, connection: Connection) -> None:
        """Look at what is heard of, until the connection breaks or all ends."""
        while not self._events.empty():  # of the connection before
            self._events.get()
        self._look_at_all(connection, first=True)
        looks = list(_NEW)
        while not self._ended.is_set():
            try:
                heard = self._events.get(
                    timeout=_SOON if self._soon.is_set() else (looks or [self._interval])[0]
                )
            except queue.Empty:
                heard = _ALL
                looks = looks[1:]
            if heard == _END:
                return
            if heard == _BROKEN:
                raise LibvirtUnreachable("the connection to libvirt broke off")
            if heard == _ALL:
                self._look_at_all(connection)
            else:
                self._look(connection, heard)

    # --- looking ------------------------------------------------------------------------------

    def _look_at_all(self, connection: Connection, *, first: bool = False) -> None:
        """Every domain, and the VIFs that no domain has any more."""
        self._soon.clear()
        try:
            # Before the domains: who attaches writes into the domain first, and plugs then
            records = [record for record in self._host.list() if is_ours(record, os.geteuid())]
            with translated("list its domains"):
                domains = connection.listAllDomains()
            known: set[str] = set()
            for domain in domains:
                with suppress(NoSuchDomain):
                    known |= self._settle(domain, first=first)
        except LibvirtUnreachable:
            raise
        except VifplugError as error:  # then what belongs to nobody is not known
            log.warning("looking at all guests: %s", error.message)
            self._soon.set()
            return
        for record in records:
            if record.id not in known:
                self._begin(record.id, _ALL, self._unplug, record.id, record.generation)
        self.on_look()

    def _look(self, connection: Connection, uuid: str) -> None:
        """One domain of which something was heard; all, when it is gone."""
        library = binding()
        try:
            with translated("look a domain up"):
                domain = connection.lookupByUUIDString(uuid)
            self._settle(domain)
        except NoSuchDomain:
            if self._had.pop(uuid, None):
                self._look_at_all(connection)
        except LibvirtUnreachable:
            raise
        except (VifplugError, library.libvirtError) as error:
            log.warning("looking at domain %s: %s", uuid, error)
            self._soon.set()

    def _settle(self, domain: Domain, *, first: bool = False) -> set[str]:
        """Begin what is due for a domain's VIFs; the ids of those that it has.

        First the records are read, then what the domain says of who is at work with a VIF, then whether it runs.
        Who starts a guest writes that into the domain, then plugs, which gives the VIF a new generation, and then
        starts it: so we see that somebody is at work, or that it runs, or we unplug a generation that is no more.
        """
        library = binding()
        records = {vif_id: self._record(vif_id) for vif_id in _kept(domain)}
        if not records and domain.UUIDString() not in self._had:
            return set()
        kept = _kept(domain)
        live = Definition.of(domain, Scope.LIVE)
        with translated("tell the domain's state"):
            state, reason = domain.state()
            autostart = domain.isPersistent() and domain.autostart()
        uuid = domain.UUIDString()
        had, self._had[uuid] = self._had.get(uuid, set()), set(kept)
        if state != library.VIR_DOMAIN_SHUTOFF:
            for one in live.kept.values():
                due = due_while_running(one, live, records.get(one.id), here=has_come(state, reason))
                self._act(domain, one, due, records.get(one.id))
            return set(kept) | {one.vif_id for one in live.interfaces if one.vif_id}
        if first and reason == library.VIR_DOMAIN_SHUTOFF_FAILED and autostart:
            self._begin(uuid, uuid, self._start, domain)
            return set(kept)
        if had - set(kept):  # its guest had more than its definition has
            self._events.put(_ALL)
        moved = reason == library.VIR_DOMAIN_SHUTOFF_MIGRATED
        for one in kept.values():
            self._act(domain, one, due_while_off(one, records.get(one.id), moved=moved), records.get(one.id))
        return set(kept)

    def _record(self, vif_id: str) -> Record | None:
        try:
            return self._host.show(vif_id)
        except NotPlugged:
            return None

    # --- doing --------------------------------------------------------------------------------

    def _act(self, domain: Domain, kept: Kept, due: Due, record: Record | None) -> None:
        uuid = domain.UUIDString()
        generation = record.generation if record else None
        match due:
            case Due.PLUG:
                self._begin(kept.id, uuid, self._plug, kept)
            case Due.UNPLUG:
                self._begin(kept.id, uuid, self._unplug, kept.id, generation)
            case Due.ACTIVATE:
                self._begin(kept.id, uuid, self._activate, kept.id)
            case Due.LATER | Due.NOTHING:
                pass

    def _begin(self, vif_id: str, look: str, work: Callable[..., None], *arguments: Any) -> None:
        """Have it done by another thread; while one is at work with the VIF, have a ``look`` when that has ended."""
        with self._lock:
            if vif_id in self._busy:
                self._busy[vif_id] = look
                return
            self._busy[vif_id] = None
        self._hands.submit(self._do, vif_id, work, arguments)

    def _do(self, vif_id: str, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        try:
            work(*arguments)
        except VifplugError as error:
            log.warning("VIF %s: %s", vif_id, error.message)
            if isinstance(error, DaemonError):
                self._soon.set()
        except Exception:
            log.exception("VIF %s: this is a bug in vifplug", vif_id)
        with self._lock:
            again = self._busy.pop(vif_id)
        if again is not None:
            self._events.put(again)

    def _plug(self, kept: Kept) -> None:
        plugged = self._host.plug(kept.vif())
        log.info("VIF %s plugged (%s)", kept.id, plugged.vif.devname)

    def _activate(self, vif_id: str) -> None:
        if self._host.activate(vif_id).changed:
            log.info("VIF %s activated: its guest has come", vif_id)

    def _unplug(self, vif_id: str, generation: int | None) -> None:
        if self._host.unplug(vif_id, generation=generation).changed:
            log.info("VIF %s unplugged", vif_id)

    def _start(self, domain: Domain) -> None:
        log.info("domain %s: libvirt could not start it; starting it with its VIFs plugged", domain.name())
        start(self._host, domain)


def _kept(domain: Domain) -> dict[str, Kept]:
    """The VIFs in the metadata of a domain's guest and definition; of both, those of the definition."""
    with translated("tell the domain's state"):
        runs, defined = domain.isActive(), domain.isPersistent()
    found = dict(Definition.of(domain, Scope.LIVE).kept) if runs else {}
    return found | (Definition.of(domain, Scope.CONFIG).kept if defined else {})
