"""Everything that is looked at, at one moment: the kernel, Open vSwitch, guests, the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from msgspec import Struct

from ..errors import NotPlugged, VifplugError
from ..host.results import CheckReport, Record, State
from .holders import Holder, holders
from .kernel import Kernel
from .switch import Switch

if TYPE_CHECKING:
    from ..config import Config
    from ..doctor.place import Place
    from ..host import Host


class Known(Struct, frozen=True):
    """One VIF on record, and how it differs from that."""

    record: Record
    #: None where nobody was asked, or could answer
    report: CheckReport | None = None
    #: why not
    error: str | None = None

    @property
    def needs_switch(self) -> bool:
        return self.record.script is not None and self.record.script.name in ("openvswitch", "ovn")


class Sight:
    """This host. ``vifs``: those on record; ``notes``: what could not be looked at, a sentence each."""

    def __init__(self, place: Place, vifs: list[Known], notes: Iterable[str] = ()) -> None:
        self.place = place
        self.vifs = vifs
        self.notes = self._said = list(notes)
        #: the device that this process has open itself, in the place of a guest
        self.stand_in: str | None = None
        self.kernel = Kernel(place)
        self.switch = Switch(place)
        self.holders: dict[str, Holder] = holders(place, self.kernel)
        if self.switch.error is not None:
            self.notes = [*self.notes, self.switch.error]
        elif not self.switch.is_there and any(known.needs_switch for known in vifs):
            self.notes = [
                *self.notes,
                f"Open vSwitch's database is not at {self.switch.remote}: ports are not seen",
            ]
        if not place.privileged:
            unnamed = "guests of other users have no name here: root alone may see what a process has open"
            self.notes = [*self.notes, unnamed]

    def again(self, stand_in: str | None) -> Sight:
        """The host as it is now, with what was known of the ledger. ``stand_in``: the device that we have open."""
        from ..doctor.place import Place

        seen = Sight(Place(self.place.config), self.vifs, self._said)
        seen.stand_in = stand_in
        return seen


def look(
    config: Config, host: Host | None, *, ask: bool = True, only: str | None = None, why: str = ""
) -> Sight:
    """Look at this host, with the VIFs of ``host`` (a Host, or a client of vifplugd).

    ``ask``: check each VIF, which asks its plug script; ``only``: the id of the one VIF to check. Without a host,
    or where it refuses, the kernel alone is looked at, and the notes say ``why``. Raises HostError where the
    kernel cannot be read.
    """
    from ..doctor.place import Place

    notes = [why] if why else []
    vifs: list[Known] = []
    if host is not None:
        try:
            records = host.list()
        except VifplugError as error:
            notes.append(f"VIFs on record are not shown: {error.message}")
            records = []
        wanted = [one.id for one in records if ask and _checkable(one) and only in (None, one.id)]
        answers = _checked(host, wanted, config.workers)
        vifs = [_known(one, answers.get(one.id)) for one in records]
    return Sight(Place(config), vifs, notes)


def _checkable(record: Record) -> bool:
    return record.state is State.PLUGGED and not record.lost


def _checked(host: Host, ids: list[str], workers: int) -> dict[str, CheckReport | VifplugError]:
    from ..host.pool import side_by_side

    def one(vif_id: str) -> CheckReport | VifplugError:
        try:
            return host.check(vif_id)
        except VifplugError as error:
            return error

    return dict(zip(ids, side_by_side(one, ids, workers), strict=True)) if ids else {}


def _known(record: Record, answer: CheckReport | VifplugError | None) -> Known:
    if isinstance(answer, NotPlugged):  # it was unplugged meanwhile
        return Known(record)
    if isinstance(answer, VifplugError):
        return Known(record, error=answer.message)
    return Known(record, report=answer, error=answer.message if answer is not None else None)
