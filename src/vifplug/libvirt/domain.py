"""VIFs in a domain's definition, and its guest's start."""

from __future__ import annotations

import time
from collections.abc import Iterable

from msgspec import Struct

from ..errors import (
    InvalidInput,
    LibvirtRefused,
    LibvirtUnreachable,
    NoSuchDomain,
    NotPlugged,
    VifplugError,
)
from ..guest import interface_xml
from ..host.host import Binding, Host
from ..host.results import State
from ..model import Vif, read_binding
from .connection import Domain, translated
from .definition import Definition, Kept, Scope, keep, ours
from .stored import Fate, interface_of, keep_as_it_was, put, take_out

#: seconds that a start waits for somebody else who starts the same domain, and who may have died at it
_OTHERS = 10.0


class Defined(Struct, frozen=True, kw_only=True):
    """The answer of define: what became of each VIF."""

    domain: str
    vifs: dict[str, Fate]

    @property
    def changed(self) -> bool:
        return any(fate is not Fate.SAME for fate in self.vifs.values())


class Started(Struct, frozen=True, kw_only=True):
    """The answer of start."""

    domain: str
    #: False when it ran already
    changed: bool
    #: the VIFs that its guest has
    vifs: list[str]


def vifs_of(domain: Domain) -> list[Kept]:
    """The VIFs in the definition; of a transient domain, those of its guest."""
    with translated("tell whether the domain is persistent"):
        scope = Scope.CONFIG if domain.isPersistent() else Scope.LIVE
    return list(Definition.of(domain, scope).kept.values())


def define(host: Host, domain: Domain, bindings: Iterable[Binding], *, ready: bool | None = None) -> Defined:
    """Let a domain's definition have these VIFs and no others of ours; interfaces of others stay as they are.

    A guest that runs gets them with its next start. ``ready``: keep them plugged while the guest is off (see
    Watcher), so that anybody may start it; when not given, as it was, and for new ones no. Asked again, nothing
    is done. Raises InvalidInput before anything is changed, LibvirtRefused at the first VIF that libvirt refuses.
    """
    vifs = [ours(one if isinstance(one, Vif) else read_binding(one), domain) for one in bindings]
    _check_different(vifs)
    with translated("tell whether the domain is persistent"):
        name, persistent = domain.name(), domain.isPersistent()
    if not persistent:
        raise InvalidInput(
            f"domain {name} is transient: it has no definition to put VIFs into; attach them to its guest",
            domain=name,
        )
    fates = {}
    wanted = {vif.id for vif in vifs}
    for kept in vifs_of(domain):
        if kept.id not in wanted:
            take_out(domain, kept.id)
            fates[kept.id] = Fate.REMOVED
            if not _has_live(domain, kept.id):
                host.unplug(kept.id)
    for vif in vifs:
        fates[vif.id], _ = define_one(host, domain, vif, ready=ready)
    return Defined(domain=name, vifs=fates)


def define_one(host: Host, domain: Domain, vif: Vif, *, ready: bool | None = None) -> tuple[Fate, str]:
    """Put one VIF into the definition, and plug it if it is to be ready; its interface too."""
    before = Definition.of(domain, Scope.CONFIG).kept.get(vif.id)
    ready = (before is not None and before.ready) if ready is None else ready
    xml = _known(vif)
    if xml is None:
        fate, xml = _put_as_answered(host, domain, vif, before, ready)
    else:
        fate = put(domain, vif, xml, ready=ready)
    if not _has_live(domain, vif.id):
        if ready:
            host.plug(vif)
        elif before is not None and before.ready:
            host.unplug(vif.id)
    return fate, xml


def _put_as_answered(
    host: Host, domain: Domain, vif: Vif, before: Kept | None, ready: bool
) -> tuple[Fate, str]:
    """Put a VIF into the definition whose interface only its script knows: plug it, if but to be told."""
    plugged_before = is_plugged(host, vif.id)
    keep(domain, vif, Scope.CONFIG, ready=ready, working=True)
    try:
        xml = host.plug(vif).xml
        fate = put(domain, vif, xml, ready=ready)
    except LibvirtUnreachable:
        raise
    except BaseException:
        keep_as_it_was(domain, vif.id, before)
        if not plugged_before:
            host.unplug(vif.id)
        raise
    if not plugged_before and not ready:
        host.unplug(vif.id)
    return fate, xml


def is_plugged(host: Host, vif_id: str) -> bool:
    """Whether it is on record, and not as a mere debt."""
    return _generation(host, vif_id) is not None


def start(host: Host, domain: Domain, flags: int = 0) -> Started:
    """Plug the VIFs in a domain's definition, then start its guest; when it does not start, unplug them.

    ``flags``: libvirt's virDomainCreateFlags. A domain that runs is left alone. Raises what plugging raises,
    LibvirtRefused, and LibvirtUnreachable when the connection broke off while libvirt started it: the VIFs stay
    plugged then, for it may run.
    """
    name = domain.name()
    kept = vifs_of(domain)
    if _runs(domain) or _somebody_else_starts(domain):
        return Started(domain=name, changed=False, vifs=[one.id for one in kept])
    left = {one.id: _generation(host, one.id) for one in kept if not one.ready}
    begun: list[Kept] = []
    try:
        for one in kept:
            begun.append(one)
            _plug_for_start(host, domain, one, left.get(one.id))
        with translated(f"start domain {name}"):
            domain.createWithFlags(flags)
    except LibvirtUnreachable:
        raise
    except BaseException as error:
        if isinstance(error, LibvirtRefused) and _runs(domain):  # somebody else was faster
            return Started(domain=name, changed=False, vifs=[one.id for one in kept])
        _undo_start(host, domain, begun, error)
        raise
    for one in kept:
        keep(domain, one.vif(), Scope.CONFIG | Scope.LIVE, ready=one.ready)
    return Started(domain=name, changed=True, vifs=[one.id for one in kept])


def _somebody_else_starts(domain: Domain) -> bool:
    """Wait for who is at work with the domain, a little; whether it runs then."""
    until = time.monotonic() + _OTHERS
    while any(one.at_work for one in vifs_of(domain)) and time.monotonic() < until:
        time.sleep(0.1)
    return _runs(domain)


def _runs(domain: Domain) -> bool:
    with translated("tell the domain's state"):
        return bool(domain.isActive())


def _plug_for_start(host: Host, domain: Domain, kept: Kept, left: int | None) -> None:
    vif = kept.vif()
    keep(domain, vif, Scope.CONFIG, ready=kept.ready, working=True)
    if left is not None:
        # What an earlier run left plugged may be about to be unplugged, by its generation: the guest's is another.
        host.unplug(vif.id, generation=left)
    put(domain, vif, host.plug(vif).xml, ready=kept.ready, working=True)


def _generation(host: Host, vif_id: str) -> int | None:
    """Of the plug that there is, if there is one."""
    try:
        record = host.show(vif_id)
    except NotPlugged:
        return None
    return None if record.state is State.DEBT else record.generation


def _undo_start(host: Host, domain: Domain, begun: list[Kept], error: BaseException) -> None:
    notes = []
    for kept in begun:
        try:
            if not kept.ready and not _runs(domain):
                host.unplug(kept.id)
            keep(domain, kept.vif(), Scope.CONFIG, ready=kept.ready)
        except NoSuchDomain:
            continue
        except VifplugError as more:
            notes.append(f"VIF {kept.id}: {more.message}")
    if isinstance(error, VifplugError):
        if isinstance(error, LibvirtRefused) and begun and not notes:
            notes = ["its VIFs are as they were before"]
        error.message = "; ".join([error.message, *notes])
        error.args = (error.message,)


def _has_live(domain: Domain, vif_id: str) -> bool:
    if not _runs(domain):
        return False
    live = Definition.of(domain, Scope.LIVE)
    kept = live.kept.get(vif_id)
    return (kept is not None and kept.at_work) or interface_of(live, vif_id) is not None


def _known(vif: Vif) -> str | None:
    """The interface, where it can be told before the VIF is plugged."""
    try:
        return interface_xml(vif)
    except InvalidInput:
        if vif.plug_script is None:
            raise
        return None


def _check_different(vifs: list[Vif]) -> None:
    for what in ("id", "address", "devname"):
        values = [getattr(vif, what) for vif in vifs]
        for value in values:
            if values.count(value) > 1:
                raise InvalidInput(
                    f"{what}: {value} is that of two bindings: give each its own", field=what, value=value
                )
