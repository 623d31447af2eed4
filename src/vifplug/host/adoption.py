"""Devices of ours without a record get one back: from the kernel's facts, and by asking the scripts."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from typing import Literal

import msgspec

from ..config import Config
from ..errors import PartlyKnown, VifplugError
from ..model.vif import Ethernet, NetworkInfo, Vif
from ..script.marks import Mark
from .ledger import Ledger, Row
from .locks import Locks
from .netlink import Link, Netlink
from .pool import side_by_side
from .results import Restored
from .scripts import Scripts, reference

_ALIAS = re.compile(r"vifplug:([0-9a-f]{8}):([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\Z")

_AGAIN = "plug it again with its binding"


class Marked(msgspec.Struct, frozen=True, kw_only=True):
    """A device that says of itself that vifplug made it."""

    ledger: str
    vif_id: str
    link: Link
    #: its master's name, and whether that is a bridge
    master: str | None
    bridged: bool
    #: the guest's MAC address, if the bridge has heard from the guest
    address: str | None

    def request(self) -> Vif:
        """What is known of the VIF: no more than the kernel shows."""
        bridge = self.master if self.bridged else None
        return Vif(
            id=self.vif_id,
            shape=Ethernet(),
            devname=self.link.name,
            address=self.address,
            mtu=self.link.mtu,
            queues=self.link.queues,
            network=NetworkInfo(bridge=bridge),
            details={"bridge": bridge} if bridge else {},
        )


def marked_devices() -> list[Marked]:
    """Every device in this network namespace that bears a ledger's mark, be it ours or another's."""
    with Netlink() as netlink:
        links = netlink.links()
        learnt = netlink.learnt()
    by_index = {link.index: link for link in links}
    found = []
    for link in links:
        if match := _ALIAS.match(link.alias or ""):
            master = by_index.get(link.master) if link.master is not None else None
            guests = {mac for index, mac in learnt if index == link.index and _of_guest(mac, link)}
            found.append(
                Marked(
                    ledger=match[1],
                    vif_id=match[2],
                    link=link,
                    master=master.name if master else None,
                    bridged=master is not None and master.kind == "bridge",
                    address=guests.pop() if len(guests) == 1 else None,
                )
            )
    return found


def _of_guest(address: str, link: Link) -> bool:
    """Whether it is the guest's: the tap has it too, but for the first byte (host.devices.host_address)."""
    return link.address is not None and address[2:] == link.address[2:] and address != link.address


class Adoption:
    """Puts VIFs on record, in ``ledger``, of which there are devices only."""

    def __init__(self, config: Config, ledger: Ledger, locks: Locks, boot_id: str) -> None:
        self._config = config
        self._ledger = ledger
        self._locks = locks
        self._scripts = Scripts(config, ledger, locks, boot_id)

    def close(self) -> None:
        self._scripts.close()

    def adopt(self, devices: Sequence[Marked]) -> list[Restored]:
        """A record for each of those that has none; what another process is at work on is left to it."""
        known = self._ledger.ids()
        new = [
            device for device in devices if device.ledger == self._ledger.id and device.vif_id not in known
        ]
        scripts = self._candidates() if new else []
        adopted = side_by_side(lambda device: self._adopt(device, scripts), new, self._config.workers)
        return [one for one in adopted if one is not None]

    def _adopt(self, device: Marked, scripts: Sequence[str]) -> Restored | None:
        with self._locks.try_vif(device.vif_id) as free:
            if not free or device.vif_id in self._ledger.ids():
                return None
            # plugged from the first moment: what is in the middle of something, recover undoes
            request = device.request()
            row = self._ledger.adopt(request, device.master, _known_by(None))
            if row is None:
                return None
            knowing = [script for script in scripts if self._knows(script, row)]
            note = _known_by(knowing[0] if len(knowing) == 1 else None, knowing)
            if len(knowing) == 1:
                script = reference(self._scripts.find(knowing[0]))
                request = msgspec.structs.replace(request, plug_script=knowing[0])
                row = self._ledger.take_script(row, request, script, note.as_dict())
            else:
                row = self._ledger.take_script(row, request, None, note.as_dict())
            return restored(row, "kernel", note.message)

    def _candidates(self) -> list[str]:
        """The scripts that can be asked whether they know a VIF."""
        found = []
        for entry in self._scripts.entries():
            info = entry.info or {}
            types = info.get("vif_types") or ["ethernet"]
            if entry.trusted and "check" in (info.get("verbs") or ()) and "ethernet" in types:
                found.append(entry.name)
        return found

    def _knows(self, script: str, row: Row) -> bool:
        """Whether the script says that this VIF is plugged, and would not say so of just any."""
        if not self.says_ok(script, row, row.record.request):
            return False
        nobody = msgspec.structs.replace(
            row.record.request, id=str(uuid.uuid4()), devname="lo", address=None, queues=1
        )
        return not self.says_ok(script, row, nobody)

    def says_ok(self, name: str, row: Row, vif: Vif) -> bool:
        """Whether a script finds a VIF as plugged; not, when it cannot be asked."""
        try:
            script = self._scripts.find(name)
            row = self._ledger.begin_check(row, Mark.new().to_text())
            reply = self._scripts.call(
                script, "check", row, vif, []
            )  # not for its log: most know nothing of it
        except VifplugError:
            return False
        finally:
            self._ledger.unmark(row.record.id)
        return bool(reply.get("ok", True)) and not reply.get("drift")


def _known_by(script: str | None, knowing: Sequence[str] = ()) -> PartlyKnown:
    if script is not None:
        text = f"the plug script {script} says that it is plugged, but not what with: {_AGAIN}"
    elif knowing:
        text = (
            f"several plug scripts say that they plugged it ({', '.join(knowing)}), so none is on record, and a backend"
            f" may remember it after its unplug: {_AGAIN}"
        )
    else:
        text = (
            "no plug script says that it knows it; if one does all the same, its backend may remember the VIF after"
            f" its unplug: {_AGAIN}"
        )
    return PartlyKnown(
        f"the ledger was rebuilt, and of this VIF there was a device alone; {text}", known_from="kernel"
    )


def restored(row: Row, source: Literal["ledger", "backup", "kernel"], note: str | None = None) -> Restored:
    """A line of the report."""
    record = row.record
    return Restored(
        id=record.id,
        generation=record.generation,
        state=record.state,
        source=source,
        device=record.device,
        script=record.script.name if record.script else None,
        note=note,
    )
