"""The verbs of the plug scripts for Open vSwitch: a port is made, waited for, compared, removed."""

from __future__ import annotations

import os

from plugscript import BackendUnavailable, Drift, Failed, Request, RetryLater, device_exists, log, run

from . import ovsport
from .netdevs import is_promiscuous
from .ovsdb import Lost, Ovsdb, Refused, TimedOut, Unreachable, address, one
from .ovsport import Datapath, Found, Port
from .plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Row = dict[str, Any]

#: the lock that ovs-vswitchd holds in the database while it runs
_SWITCH = "ovs_vswitchd"
#: what keeps a switch from answering is often over soon: one that restarts takes a second or two
_PATIENT_ATTEMPTS = 5
_PAUSE = 0.4  # seconds
#: an unplug waits no longer for the switch to follow: the database says it, and that is what counts
_FOLLOWING = 5.0  # seconds


def in_our_words(verb: Callable[[Any, Request], Any]) -> Callable[[Any, Request], Any]:
    """The verb, with what goes wrong at the database said as the contract has it."""

    def carried_out(mechanism: Any, request: Request) -> Any:
        try:
            return verb(mechanism, request)
        except Lost as error:
            raise RetryLater(f"{error}: is it restarting?", after=_pause(request)) from None
        except Unreachable as error:
            message = f"{error}: is Open vSwitch running on this host?"
            raise BackendUnavailable(message, after=_pause(request)) from None
        except Refused as error:
            raise Failed(f"Open vSwitch's database refused it: {error}") from None
        except TimedOut:
            raise RetryLater("Open vSwitch's database did not answer in time") from None

    return carried_out


def _pause(request: Request) -> float | None:
    """Seconds after which it is worth another try; None once it has been tried often enough."""
    return _PAUSE if request.attempt < _PATIENT_ATTEMPTS and request.verb != "check" else None


def connect(request: Request) -> Ovsdb:
    """The host's database, for what is left of the deadline less the time to say how it went."""
    left = request.remaining()
    margin = min(left / 2, max(0.1 * left, 0.2), 0.5)
    return Ovsdb(address(os.environ), left - margin, dry_run=request.dry_run)


def has_lost_its_device(port: Port, datapath: Datapath) -> bool:
    """Whether a port that the switch has is a dead one.

    A device that is deleted and made anew under its port is another one, but a userspace switch goes on with
    the old one and notices nothing; nor does it when the port is removed and added in one transaction.
    """
    reads_it_itself = datapath.userspace and not port.type
    return reads_it_itself and device_exists(port.name) and not is_promiscuous(port.name)


def _device_drift(port: Port, datapath: Datapath) -> list[Drift]:
    if not device_exists(port.name):
        return [Drift(f"device {port.name}", "there", None)]
    if has_lost_its_device(port, datapath):
        return [Drift(f"device {port.name}", "read by Open vSwitch", "made anew under its port")]
    return []


class Mechanism:
    """Open vSwitch with nobody beyond it: a port is ready when the switch has it."""

    def default_bridge(self, db: Ovsdb) -> str:  # noqa: ARG002 (another mechanism asks it)
        return "br-int"

    def look_beyond(self, db: Ovsdb) -> None:
        """Raises BackendUnavailable where what is beyond the switch is not there."""

    def is_ready(self, request: Request, interface: Row) -> bool:  # noqa: ARG002
        """Whether what is beyond the switch has done its part."""
        return True

    def why_not_ready(self, plan: Plan) -> str:
        raise NotImplementedError

    # --- verbs -------------------------------------------------------------------------------

    @in_our_words
    def plug(self, request: Request) -> Row | None:
        """Also update: what is right already is left alone."""
        with connect(request) as db:
            plan = Plan(request, self.default_bridge(db))
            plan.refuse_nonsense()
            if not db.is_held(_SWITCH):
                raise BackendUnavailable("ovs-vswitchd is not running on this host", after=_pause(request))
            self.look_beyond(db)
            datapath = ovsport.ensure_bridge(db, plan.bridge, plan.make_bridge)
            plan.refuse_without(datapath)
            if not plan.libvirt_adds_it:
                port = plan.port(datapath)
                if plan.hybrid is not None:
                    plan.hybrid.plug(
                        mtu=request.vif.mtu, tap=plan.hybrid_tap, userspace=datapath.userspace,
                        dry_run=request.dry_run,
                    )  # fmt: skip
                if plan.has_representor and not port.type:
                    run("ip", "link", "set", "dev", port.name, "up")
                self._take_back(db, plan, port, datapath)
                number = ovsport.ensure(db, port, plan.emptied())
                if not request.dry_run:
                    self.wait(db, plan, port.name, number)
            return plan.reply()

    update = plug

    @in_our_words
    def unplug(self, request: Request) -> None:
        with connect(request) as db:
            plan = Plan(request, self.default_bridge(db))
            found = ovsport.ports_of(db, plan.ids, plan.names())
            # without a port, a bridge that was made for it may be left
            numbers = [
                ovsport.remove(db, name, plan.bridge, plan.ids) for name in found or [request.vif.devname]
            ]
            if plan.hybrid is not None:
                plan.hybrid.unplug()
            for name in found:
                if plan.has_representor and device_exists(name):
                    run("ip", "link", "set", "dev", name, "down")
            if any(numbers):
                self._wait_until_gone(db, max(number or 0 for number in numbers))

    @in_our_words
    def check(self, request: Request) -> list[Drift]:
        drift: list[Drift] = []
        with connect(request) as db:
            plan = Plan(request, self.default_bridge(db))
            if not db.is_held(_SWITCH):
                drift.append(Drift("ovs-vswitchd", "running", "not running"))
            datapath = ovsport.datapath_of(db, plan.bridge)
            if datapath is None:
                return [*drift, Drift(f"bridge {plan.bridge}", "there", None)]
            port = plan.port(datapath)
            found = Found(db, port.name, plan.bridge)
        if found.port is not None or not plan.libvirt_adds_it:
            drift += ovsport.compare(found, port, device_may_miss=plan.device_comes_later)
        if found.port is not None and not port.type and not plan.device_comes_later:
            drift += _device_drift(port, datapath)
        if found.belongs_to(plan.ids) and not self.is_ready(request, found.interface or {}):
            drift.append(Drift(f"port {port.name}", "ready", self.why_not_ready(plan)))
        if plan.hybrid is not None:
            drift += plan.hybrid.check(mtu=request.vif.mtu, tap=plan.hybrid_tap)
        return drift

    # --- waiting -----------------------------------------------------------------------------

    def _take_back(self, db: Ovsdb, plan: Plan, port: Port, datapath: Datapath) -> None:
        """Remove a port that has lost its device, and wait until the switch has forgotten it."""
        if has_lost_its_device(port, datapath):
            number = ovsport.remove(db, port.name, plan.bridge, plan.ids, keep_bridge=True)
            if number is not None:
                db.until([("Open_vSwitch", [], ["cur_cfg"])], lambda rows: bool(rows[0]["cur_cfg"] >= number))

    def wait(self, db: Ovsdb, plan: Plan, name: str, number: int = 0) -> None:
        """Until the switch has the port and all else is ready. Raises Failed with the switch's own word."""
        applied = False
        error: str | None = None

        def settled(switch: list[Row], interfaces: list[Row]) -> bool:
            nonlocal applied, error
            if not interfaces:
                raise RetryLater(f"port {name} is not in Open vSwitch: it was removed meanwhile")
            applied = switch[0]["cur_cfg"] >= number
            error = one(interfaces[0]["error"])
            stuck = bool(error) or plan.device_comes_later
            return applied and (stuck or self.is_ready(plan.request, interfaces[0]))

        interface = ("Interface", [["name", "==", name]], ["error", "external_ids"])
        try:
            db.until([("Open_vSwitch", [], ["cur_cfg"]), interface], settled)
        except TimedOut:
            why = f"ovs-vswitchd has not taken port {name} over"
            raise RetryLater(
                f"{self.why_not_ready(plan) if applied else why} (waited {db.seconds:.1f} s)"
            ) from None
        if error and not plan.device_comes_later:
            raise Failed(f"Open vSwitch cannot use port {name}: {error}")

    def _wait_until_gone(self, db: Ovsdb, number: int) -> None:
        """A switch that does not run now will go by the database once it does."""
        try:
            if db.is_held(_SWITCH):
                db.until(
                    [("Open_vSwitch", [], ["cur_cfg"])],
                    lambda rows: bool(rows[0]["cur_cfg"] >= number),
                    _FOLLOWING,
                )
                return
        except TimedOut:
            pass
        log("the port is out of the database; ovs-vswitchd has not followed yet")
