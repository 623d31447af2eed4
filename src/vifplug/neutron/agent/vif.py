"""One VIF: what there is of it, what there should be, and the way from the one to the other."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from ...client import Client
from ...errors import (
    Busy,
    DaemonUnreachable,
    LedgerReplaced,
    NotPlugged,
    Stopping,
    TooBusy,
    VifInUse,
    VifplugError,
)
from ...host.netlink import Link
from .neutron import BINARY, FAILURES, Bound, Neutron, shortly
from .taps import name_of

_LOG = logging.getLogger(__name__)

#: after each of these the same may be asked again: it says nothing of the VIF
_PASSING = (DaemonUnreachable, TooBusy, Stopping, Busy, LedgerReplaced)
#: seconds until something is tried again, the first time and at most; doubled each time
_FIRST, _LAST = 1.0, 60.0
#: what a VIF's profile says, by which the agent knows its own among all that vifplugd has on record
MARK = ("plugged_by", BINARY)


class Plug(Struct, frozen=True, kw_only=True):
    """What was plugged."""

    #: the tap's index; None for a socket
    index: int | None
    request: dict[str, Any]


class Place(Struct, frozen=True, kw_only=True):
    """Where a VIF lives."""

    client: Client
    neutron: Neutron
    tap: Callable[[str], Link | None]
    #: do ``settle`` for this port again, in so many seconds
    again: Callable[[str, float], None]
    #: see, in a while, whether Neutron took what it was told of this port
    check: Callable[[str], None]
    #: whether the port is bound here, asked anew
    still_bound: Callable[[str], bool]
    #: seconds
    abandoned_after: float


class Vif:
    """A port that is, was or may be plugged here. ``settle`` is called by one thread at a time."""

    def __init__(self, port_id: str, *, on_record: bool = False) -> None:
        self.id = port_id
        self.tap_name = name_of(port_id)
        #: its binding here; None: there is none
        self.bound: Bound | None = None
        #: the port's status, as far as we know
        self._status: str | None = None
        #: whether vifplugd has, or may have, something of it on record
        self.on_record = on_record
        self._plugged: Plug | None = None
        #: whether Neutron knows that it is plugged: and whether as one that lives here (active), or is to come
        self._up: bool | None = None
        #: whether Neutron was told nothing of it so far
        self._first = True
        self._abandoned: float | None = None
        self._wait = _FIRST

    @property
    def script(self) -> str:
        """By which work is kept apart: one script may hang."""
        details = (self.bound.binding or {}).get("vif_details", {}) if self.bound else {}
        return str(details.get("vif_plug_script", ""))

    @property
    def gone(self) -> bool:
        """Whether there is nothing left to do for it."""
        return self.bound is None and not self.on_record

    def learn(self, bound: Bound | None) -> None:
        """What Neutron says of it now."""
        self.bound = bound
        self._status = bound.port_status if bound is not None else None

    def compared(self, *, on_record: bool) -> None:
        """Whether vifplugd has it on record: what somebody else unplugged is plugged again."""
        if on_record:
            self.on_record = True
        else:
            self._plugged = None

    def settle(self, place: Place) -> None:
        """Bring it to where it should be; whatever fails is tried again later."""
        try:
            self._settle(place)
        except _PASSING as error:
            self._retry(place, f"vifplugd: {error}")
        except VifplugError as error:
            self._retry(place, str(error))
        except FAILURES as error:
            self._retry(place, f"Neutron: {shortly(error)}")
        else:
            self._wait = _FIRST

    def _settle(self, place: Place) -> None:
        tap = place.tap(self.tap_name)
        bound = self.bound
        by_socket = bound is not None and (bound.binding or {}).get("vif_type") == "vhostuser"
        if bound is not None and (by_socket or tap is not None):
            self._abandoned = None
            self._plug(place, bound, None if by_socket else tap)
        elif tap is None:
            self._take_down(place)
        elif self.on_record or self._plugged is not None:
            self._see_whether_abandoned(place, tap)

    # --- it should be here ---------------------------------------------------------------------

    def _plug(self, place: Place, bound: Bound, tap: Link | None) -> None:
        if bound.binding is None:
            _LOG.error("Port %s cannot be plugged: %s", self.id, bound.error)
            return
        request = request_for(bound)
        plug = Plug(index=tap.index if tap is not None else None, request=request)
        changed = False
        if (
            self._plugged != plug or not bound.active
        ):  # who is to come is waited for as long as it is asked for
            if bound.active and self._is_new(tap):
                place.neutron.building(self.id)
                self._status, self._up = "BUILD", None
            self.on_record = True
            try:
                changed = self._plug_it(place, request)
            except _PASSING:
                raise
            except VifplugError:
                self._tell_down(place, bound)
                raise
            if changed or self._plugged != plug:
                _LOG.info("VIF %s is plugged%s", self.id, "" if changed else ", as it was")
            self._plugged = plug
        if self.bound is None or self.bound.active is not bound.active:
            return  # learnt meanwhile, and seen to anew: of a host that a port left Nova takes "up" for the new one's
        self._tell_up(place, bound, changed=changed)

    def _is_new(self, tap: Link | None) -> bool:
        """Whether it is a tap that nobody plugged yet: vifplugd marks those that it did."""
        if self._plugged is not None:
            return tap is not None and tap.index != self._plugged.index
        return not self.on_record if tap is None else not tap.alias

    def _plug_it(self, place: Place, request: dict[str, Any]) -> bool:
        """Whether anything had to be done."""
        try:
            return bool(place.client.plug(request).changed)
        except VifInUse as error:
            _LOG.warning("VIF %s stays as it was plugged until its guest is started anew: %s", self.id, error)
            return False

    def _tell_up(self, place: Place, bound: Bound, *, changed: bool) -> None:
        if not bound.admin_state_up:
            self._tell_down(place, bound)
            return
        known = bound.active and self._status == "ACTIVE"
        if known and self._up is None and not changed:
            self._up = True  # as we found it when we were started
        if self._up is bound.active and (known or not bound.active):
            return
        place.neutron.up(self.id)
        if bound.active:
            self._status = "ACTIVE"
            if self._up is not True:  # once: it may wait for others than us, say its DHCP entry
                place.check(self.id)
        self._up = bound.active

    def _tell_down(self, place: Place, bound: Bound) -> None:
        if bound.active and self._status != "DOWN":
            place.neutron.down(self.id)
            self._status = "DOWN"
            if self._up is not None or self._first:
                place.check(self.id)
        self._up, self._first = None, False

    # --- it should not --------------------------------------------------------------------------

    def _take_down(self, place: Place) -> None:
        """Its tap is gone, or its socket is wanted no more."""
        self._abandoned = None
        if self.on_record:
            self._unplug(place)
            self._plugged, self.on_record = None, False
        if self.bound is not None:
            self._tell_down(place, self.bound)

    def _see_whether_abandoned(self, place: Place, tap: Link) -> None:
        """Its port is bound elsewhere, or nowhere. As a rule Nova takes the tap away; as long as a guest has it open
        (on the source of a live migration, say) it is left alone in any case."""
        if tap.carrier:
            self._abandoned = None
            return
        now = time.monotonic()
        self._abandoned = self._abandoned or now
        left = self._abandoned + place.abandoned_after - now
        if left > 0:
            place.again(self.id, left)
        elif not place.still_bound(self.id):
            _LOG.warning(
                "Port %s is bound here no more, and nobody holds its tap %s open: it is unplugged, and the tap removed",
                self.id,
                tap.name,
            )
            self._unplug(place, remove_device=True)
            self._plugged, self._up, self.on_record, self._abandoned = None, None, False, None

    def _unplug(self, place: Place, *, remove_device: bool = False) -> None:
        try:
            answer = place.client.unplug(self.id, remove_device=remove_device)
        except _PASSING:
            raise
        except VifplugError as error:
            if not self._is_debt(place):
                raise
            _LOG.warning(
                "VIF %s is unplugged; vifplugd keeps on record what is left to do: %s", self.id, error
            )
            return
        for note in answer.notes:
            _LOG.warning("VIF %s: %s", self.id, note)
        if answer.changed:
            _LOG.info("VIF %s is unplugged", self.id)

    def _is_debt(self, place: Place) -> bool:
        try:
            return bool(place.client.show(self.id).state == "debt")
        except NotPlugged:
            return True

    # --- what failed ----------------------------------------------------------------------------

    def _retry(self, place: Place, reason: str) -> None:
        _LOG.warning("Port %s: %s — tried again in %.0f s", self.id, reason, self._wait)
        place.again(self.id, self._wait)
        self._wait = min(self._wait * 2, _LAST)


def request_for(bound: Bound) -> dict[str, Any]:
    """What vifplugd is asked to plug: the binding, with what is so because it is Nova that makes the tap, and an
    agent that asks."""
    found = dict(bound.binding or {})
    key, value = MARK
    found["profile"] = {**found.get("profile", {}), key: value}
    if found.get("vif_type") == "ethernet":
        found["vif_details"] = {**found.get("vif_details", {}), "made_by": "caller"}
    if not bound.active:
        found["migration"] = {"role": "destination", "phase": "prepare"}
    return found
