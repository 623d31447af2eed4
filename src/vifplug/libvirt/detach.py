"""A VIF taken from a running guest: unplugged when the guest has let go of it, and not before."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Any

from msgspec import Struct

from ..errors import GuestHolds, LibvirtRefused, NoSuchDomain, NotPlugged
from ..host.host import Host
from .attach import scope_of
from .connection import Domain, binding, translated
from .definition import Definition, Interface, Scope, drop
from .domain import is_plugged
from .stored import interface_of, take_out

#: seconds between two looks at the guest, should an event be lost
_LOOK = 0.5
#: seconds until the guest is asked again: who was booting did not hear it
_AGAIN = 5.0


class Detached(Struct, frozen=True, kw_only=True):
    """The answer of detach."""

    id: str
    domain: str
    #: what it was taken from: the running guest, the definition
    live: bool
    config: bool
    unplugged: bool
    #: True when it was unplugged though the guest holds its device
    forced: bool = False
    #: seconds that the guest took to let go
    seconds: float = 0.0


def detach(
    host: Host,
    domain: Domain,
    vif_id: str,
    *,
    live: bool = False,
    config: bool = False,
    patience: float = 30.0,
    force: bool = False,
) -> Detached:
    """Take a VIF from a domain, and unplug it once no guest has it any more.

    ``live`` and ``config``: as for attach. libvirt only asks the guest, which may take its time, or never answer: a
    paused one, one that is booting, one without a driver. ``patience``: seconds to wait for it; then GuestHolds
    is raised, the VIF stays plugged, and the guest may still let go later. With ``force`` the VIF is unplugged all
    the same: the guest keeps a device that leads nowhere. Taken from the definition alone, it stays plugged as long
    as the guest has it.

    Raises NotPlugged when neither domain nor host knows the VIF, and what unplugging raises.
    """
    scope = scope_of(domain, live=live, config=config)
    found = _find(host, domain, vif_id)
    began = time.monotonic()
    forced = False
    was_live = Scope.LIVE in scope and _is_in(found.get(Scope.LIVE), vif_id)
    if Scope.LIVE in scope:
        try:
            _take_from_guest(domain, vif_id, found[Scope.LIVE], patience)
        except GuestHolds:
            if not force:
                raise
            forced = True
        with suppress(NoSuchDomain):  # a transient one whose guest has just ended
            drop(domain, vif_id, Scope.LIVE)
    waited = time.monotonic() - began
    taken = Scope.CONFIG in scope and take_out(domain, vif_id)
    unplugged = False
    if forced or not _needed(domain, vif_id):
        unplugged = host.unplug(vif_id).changed
    return Detached(
        id=vif_id,
        domain=domain.name(),
        live=was_live,
        config=taken,
        unplugged=unplugged,
        forced=forced,
        seconds=waited,
    )


def _find(host: Host, domain: Domain, vif_id: str) -> dict[Scope, Definition]:
    """The domain's states. Raises NotPlugged where there is nothing to detach."""
    with translated("tell the domain's state"):
        name, runs, defined = domain.name(), domain.isActive(), domain.isPersistent()
    states = [scope for scope, there in ((Scope.LIVE, runs), (Scope.CONFIG, defined)) if there]
    found = {scope: Definition.of(domain, scope) for scope in states}
    if any(_is_in(one, vif_id) for one in found.values()):
        return found
    if not is_plugged(host, vif_id):
        raise NotPlugged(
            f"domain {name} has no interface of VIF {vif_id}, nor is it plugged: see 'vifplug domain {name}'",
            vif_id=vif_id,
            domain=name,
        )
    raise NotPlugged(
        f"VIF {vif_id} is plugged, but domain {name} has no interface of it: see which guest has it, or unplug it with"
        f" 'vifplug unplug {vif_id}'",
        vif_id=vif_id,
        domain=name,
    )


def _is_in(definition: Definition | None, vif_id: str) -> bool:
    return definition is not None and (
        vif_id in definition.kept or interface_of(definition, vif_id) is not None
    )


def _needed(domain: Domain, vif_id: str) -> bool:
    """Whether a guest has it, or is to find it ready when it starts."""
    try:
        with translated("tell the domain's state"):
            runs, defined = domain.isActive(), domain.isPersistent()
        if runs:
            return _is_in(Definition.of(domain, Scope.LIVE), vif_id)
        kept = Definition.of(domain, Scope.CONFIG).kept.get(vif_id) if defined else None
    except NoSuchDomain:
        return False
    return kept is not None and kept.ready


# --- waiting for the guest ------------------------------------------------------------------------


def _take_from_guest(domain: Domain, vif_id: str, definition: Definition, patience: float) -> None:
    """Ask the guest for the device until it is gone. Raises GuestHolds."""
    interface = interface_of(definition, vif_id)
    if interface is None or interface.alias is None:
        return
    library = binding()
    deadline = time.monotonic() + patience
    with _Removal(domain, interface.alias) as removal:
        while True:
            try:
                with translated(f"detach VIF {vif_id} from domain {definition.name}"):
                    domain.detachDeviceAlias(interface.alias, int(Scope.LIVE))
            except LibvirtRefused as error:
                # VIR_ERR_OPERATION_FAILED: QEMU says that it is asking the guest already
                known = (library.VIR_ERR_DEVICE_MISSING, library.VIR_ERR_OPERATION_FAILED)
                if error.context["libvirt_code"] not in known and _holds(domain, interface):
                    raise
            again = min(time.monotonic() + _AGAIN, deadline)
            while time.monotonic() < again:
                removal.wait(min(_LOOK, max(again - time.monotonic(), 0)))
                if removal.refused:
                    raise _held(domain, definition.name, vif_id, "the guest refuses to let go of it")
                if not _holds(domain, interface):
                    return
            if time.monotonic() >= deadline:
                why = f"the guest has not let go of it within {patience:g} s, though libvirt has asked it to"
                raise _held(domain, definition.name, vif_id, why)


def _holds(domain: Domain, interface: Interface) -> bool:
    try:
        present = Definition.of(domain, Scope.LIVE)
        with translated("tell the domain's state"):
            runs = domain.isActive()
    except NoSuchDomain:
        return False
    return bool(runs) and any(one.alias == interface.alias for one in present.interfaces)


def _held(domain: Domain, name: str, vif_id: str, why: str) -> GuestHolds:
    library = binding()
    with translated("tell the domain's state"):
        paused = domain.state()[0] in (library.VIR_DOMAIN_PAUSED, library.VIR_DOMAIN_PMSUSPENDED)
    do = (
        f"it is paused: 'virsh resume {name}'"
        if paused
        else "it may be booting, or without a driver for it, or hang"
    )
    return GuestHolds(
        f"VIF {vif_id} stays plugged and in domain {name}: {why}; {do}. Detach it again then, or end the guest, or take"
        " the VIF away all the same with --force",
        vif_id=vif_id,
        domain=name,
    )


class _Removal:
    """What libvirt says of one device of a domain, from now on; nothing, where no event comes through."""

    def __init__(self, domain: Domain, alias: str) -> None:
        self._domain = domain
        self._alias = alias
        self._heard = threading.Event()
        self._callbacks: list[int] = []
        self.refused = False

    def __enter__(self) -> _Removal:
        library = binding()
        connection = self._domain.connect()
        for number, heard in (
            (library.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, self._removed),
            (library.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED, self._failed),
        ):
            try:
                self._callbacks.append(connection.domainEventRegisterAny(self._domain, number, heard, None))
            except library.libvirtError:
                return self  # a connection without events: looking at the guest has to do
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        library = binding()
        for callback in self._callbacks:
            try:
                self._domain.connect().domainEventDeregisterAny(callback)
            except library.libvirtError:
                return  # they went with the connection

    def wait(self, seconds: float) -> None:
        self._heard.wait(seconds)
        self._heard.clear()

    def _removed(self, _connection: Any, _domain: Any, alias: str, _opaque: Any) -> None:
        if alias == self._alias:
            self._heard.set()

    def _failed(self, _connection: Any, _domain: Any, alias: str, _opaque: Any) -> None:
        if alias == self._alias:
            self.refused = True
            self._heard.set()
