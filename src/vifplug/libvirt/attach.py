"""From a port binding to an interface in a running guest, or nothing at all."""

from __future__ import annotations

import contextlib

from msgspec import Struct

from ..errors import InvalidInput, LibvirtUnreachable, VifplugError
from ..host.host import Binding, Host
from ..model import Vif, read_binding
from .connection import Domain, translated
from .definition import Definition, Scope, drop, keep, ours
from .domain import define_one, is_plugged
from .stored import Fate, binds, check_place, put, take_out


class Attached(Struct, frozen=True, kw_only=True):
    """The answer of attach."""

    id: str
    #: the domain's name
    domain: str
    #: the guest's running instance has it, and the domain's definition: what was asked for
    live: bool
    config: bool
    #: False when all was so already
    changed: bool
    #: libvirt's <interface>
    xml: str


def scope_of(domain: Domain, *, live: bool = False, config: bool = False) -> Scope:
    """What a change is for: when neither is asked for, the running guest, if it runs, and the definition, if
    there is one. Raises InvalidInput for what the domain does not have."""
    with translated("tell the domain's state"):
        runs, defined, name = bool(domain.isActive()), bool(domain.isPersistent()), domain.name()
    if live and not runs:
        raise InvalidInput(
            f"domain {name} does not run, so there is no guest for --live: start it, or leave --live out",
            domain=name,
        )
    if config and not defined:
        raise InvalidInput(
            f"domain {name} is transient: it has no definition, and is gone when its guest ends",
            domain=name,
        )
    scope = Scope(0)
    if live or (runs and not config):
        scope |= Scope.LIVE
    if config or (defined and not live):
        scope |= Scope.CONFIG
    return scope


def attach(
    host: Host,
    domain: Domain,
    vif: Binding,
    *,
    live: bool = False,
    config: bool = False,
    seconds: float | None = None,
) -> Attached:
    """Plug a VIF and attach its interface to a domain; when libvirt refuses, unplug it again.

    ``live`` and ``config`` as for `scope_of`. A domain that is off gets it into its definition, as by `define`.
    Asked again, nothing is done. ``seconds``: the plug script's deadline.

    Raises what plugging raises, InvalidInput, LibvirtRefused, NoSuchDomain; and LibvirtUnreachable when the
    connection broke off in the middle: whether the guest has the interface is not known then, and so the VIF stays
    plugged, until this is called again, or detach, or until a Watcher has found out.
    """
    wanted = ours(vif if isinstance(vif, Vif) else read_binding(vif), domain)
    scope = scope_of(domain, live=live, config=config)
    if Scope.LIVE not in scope:
        fate, xml = define_one(host, domain, wanted)
        changed = fate is not Fate.SAME
    else:
        changed, xml = _attach_live(host, domain, wanted, scope, seconds)
    return Attached(
        id=wanted.id,
        domain=domain.name(),
        live=Scope.LIVE in scope,
        config=Scope.CONFIG in scope,
        changed=changed,
        xml=xml,
    )


def _attach_live(
    host: Host, domain: Domain, vif: Vif, scope: Scope, seconds: float | None
) -> tuple[bool, str]:
    definition = Definition.of(domain, Scope.LIVE)
    there = definition.like(vif)
    check_place(definition, vif, there)
    plugged_before = is_plugged(host, vif.id)
    kept = definition.kept.get(vif.id)
    written = there is not None and kept is not None and not kept.at_work and binds(kept, vif)
    stored = Fate.SAME
    if not written:
        keep(domain, vif, Scope.LIVE, working=True)
    try:
        plugged = host.plug(vif, seconds=seconds)
        if Scope.CONFIG in scope:
            stored = put(domain, vif, plugged.xml)
        if there is None:
            with translated(f"attach VIF {vif.id} to domain {definition.name}"):
                domain.attachDeviceFlags(plugged.xml, int(Scope.LIVE))
        if not written:
            keep(domain, vif, Scope.LIVE)
    except BaseException as error:
        if not _may_be_there(domain, vif, error):
            _undo(host, domain, vif, error, stored=stored, plugged=not plugged_before, kept=kept is None)
        raise
    changed = there is None or plugged.changed or stored is not Fate.SAME
    return changed, plugged.xml


def _may_be_there(domain: Domain, vif: Vif, error: BaseException) -> bool:
    """Whether the guest has the interface, or nobody can tell: then nothing may be taken from under it."""
    try:
        if Definition.of(domain, Scope.LIVE).like(vif) is None:
            return False
    except LibvirtUnreachable:
        pass
    except VifplugError:  # the domain is gone, and its guest with it
        return False
    if isinstance(error, VifplugError):
        error.message += (
            "; the guest may have the interface, so the VIF stays plugged: attach or detach it again"
        )
        error.args = (error.message,)
    return True


def _undo(
    host: Host, domain: Domain, vif: Vif, error: BaseException, *, stored: Fate, plugged: bool, kept: bool
) -> None:
    """Take back what was done, the domain's side first: who watches must not plug it anew."""
    notes = []
    if kept:
        with contextlib.suppress(VifplugError):  # it goes with the guest; and a Watcher takes it out
            drop(domain, vif.id, Scope.LIVE)
    if stored is Fate.ADDED:
        try:
            take_out(domain, vif.id)
        except VifplugError as more:
            notes.append(f"its definition has it still: {more.message}")
    if plugged and is_plugged(host, vif.id):
        try:
            host.unplug(vif.id)
            notes.append("the VIF was unplugged again")
        except VifplugError as more:
            notes.append(f"unplugging it again failed: {more.message}")
    if notes and isinstance(error, VifplugError):
        error.message = "; ".join([error.message, *notes])
        error.args = (error.message,)
