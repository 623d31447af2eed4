"""The plug script sriov-vf with a stand-in for ip and for the kernel's list of PCI devices: there is no such card here.

The commands are those of Nova for its type hw_veb; how ip shows virtual functions is from iproute2's
ip/ipaddress.c (print_vfinfo), how the kernel lists them from Documentation/ABI/testing/sysfs-bus-pci.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from guests import stand_in_host
from vendor import MAC, Vendor
from vifplug.errors import BadDetails
from vifplug.host.results import State
from world import ID, World

VF, OTHER_VF, PF = "0000:3b:00.2", "0000:3b:00.1", "0000:3b:00.0"
UNSET = "00:00:00:00:00:00"
SHOW = ["ip", "link", "show", "dev", "ens3f0"]
SHOWN = """4: ens3f0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc mq state UP mode DEFAULT group default qlen 1000
    link/ether b4:96:91:00:00:10 brd ff:ff:ff:ff:ff:ff
    vf 0     link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff, vlan 7, spoof checking on, link-state auto, trust off
    vf 1     link/ether @MAC@ brd ff:ff:ff:ff:ff:ff@REST@
"""
PLAIN = ", spoof checking on, link-state auto, trust off, query_rss off"
#: remembers what the second function was last given
IP = """
case $1,$2,$5,$6 in
link,set,vf,1)
    case "$*" in
    *" mac "*" vlan "*) echo "$8" >$place/mac; echo "${10}" >$place/vlan ;;
    *" vlan "*) echo "$8" >$place/vlan ;;
    *" trust "*) echo "$8" >$place/trust ;;
    esac ;;
link,show,*) cat $place/shown ;;
esac
"""


class Card(Vendor):
    """A host with a card of two functions, the second of which is the VIF's."""

    def second(self) -> tuple[str, str]:
        return self.file("mac"), self.file("vlan")

    def file(self, name: str) -> str:
        path = self.place / name
        return path.read_text().strip() if path.exists() else ""

    def shows(self, mac: str, rest: str = PLAIN) -> None:
        (self.place / "shown").write_text(SHOWN.replace("@MAC@", mac).replace("@REST@", rest))

    def changes(self) -> list[str]:
        return [" ".join(call) for call in self.calls() if call != SHOW]


@pytest.fixture
def card(world: World) -> Card:
    card = stand_in_host(world, "sriov-vf")
    card.__class__ = Card
    assert isinstance(card, Card)
    card.command("ip", IP)
    card.shows(MAC)
    pci = card.place / "pci"
    for slot in (VF, OTHER_VF, PF):
        (pci / slot).mkdir(parents=True)
    for number, slot in enumerate((OTHER_VF, VF)):
        (pci / PF / f"virtfn{number}").symlink_to(f"../{slot}")
        (pci / slot / "physfn").symlink_to(f"../{PF}")
    device(pci / PF, "ens3f0")
    device(pci / VF, "ens3f0v1")
    card.environment["SYSFS_PCI_DEVICES"] = str(pci)
    return card


def device(place: Path, name: str, port: str | None = None) -> None:
    (place / "net" / name).mkdir(parents=True)
    if port is not None:
        (place / "net" / name / "phys_port_name").write_text(f"{port}\n")


def hostdev(card: Card, **details: Any) -> dict[str, Any]:
    return card.binding("hostdev", vif_details={"pci_slot": VF, "vlan": "100", **details})


def direct(card: Card) -> dict[str, Any]:
    details = {"source_dev": "ens3f0v1", "mode": "passthrough", "vlan": "100"}
    return card.binding("direct", vif_details=details, profile={"pci_slot": VF}, vnic_type="macvtap")


def test_with_a_stand_in_it_runs_what_nova_ran(card: Card) -> None:
    host = card.host()
    plugged = host.plug(hostdev(card))
    assert card.changes() == [f"ip link set dev ens3f0 vf 1 mac {MAC} vlan 100"]
    assert 'slot="0x00" function="0x2"' in plugged.xml

    host.unplug(ID)
    assert card.changes() == [f"ip link set dev ens3f0 vf 1 mac {UNSET} vlan 0"]


def test_with_a_stand_in_a_macvtap_on_the_function_gets_its_device(card: Card) -> None:
    plugged = card.host().plug(direct(card))

    assert card.changes() == [
        f"ip link set dev ens3f0 vf 1 mac {MAC} vlan 100",
        "ip link set dev ens3f0v1 up",
    ]
    assert 'dev="ens3f0v1" mode="passthrough"' in plugged.xml


def test_with_a_stand_in_the_function_is_named_by_the_profile_as_neutron_does(card: Card) -> None:
    binding = card.binding("hostdev", profile={"pci_slot": VF})

    assert card.call("plug", binding).error is None
    assert card.changes() == [f"ip link set dev ens3f0 vf 1 mac {MAC} vlan 0"]


def test_with_a_stand_in_plug_and_unplug_twice_are_as_good_as_once(card: Card) -> None:
    for _ in range(2):
        assert card.call("plug", hostdev(card)).error is None
        assert card.second() == (MAC, "100")
    for mac in (MAC, UNSET):
        card.shows(mac)
        assert card.call("unplug", hostdev(card)).error is None
        assert card.second() == (UNSET, "0")


def test_with_a_stand_in_a_late_unplug_spares_who_has_the_function_now(card: Card) -> None:
    card.shows("fa:16:3e:99:99:99")

    assert card.call("unplug", hostdev(card)).error is None
    assert card.changes() == []


def test_with_a_stand_in_more_that_was_asked_for_is_set_and_undone(card: Card) -> None:
    asked = hostdev(card, spoofchk=False, max_tx_rate=500) | {"profile": {"trusted": "true"}}
    one = "ip link set dev ens3f0 vf 1"

    assert card.call("plug", asked).error is None
    assert card.changes()[1:] == [f"{one} trust on", f"{one} spoofchk off", f"{one} max_tx_rate 500"]
    assert card.call("unplug", asked).error is None
    assert card.changes()[:3] == [f"{one} trust off", f"{one} spoofchk on", f"{one} max_tx_rate 0"]


def test_with_a_stand_in_a_driver_that_takes_no_empty_address_loses_its_vlan_at_least(card: Card) -> None:
    card.before(
        "ip",
        f'case "$*" in *" mac {UNSET} "*) echo "RTNETLINK answers: Invalid argument" >&2; exit 2 ;; esac',
    )

    assert card.call("unplug", hostdev(card)).error is None
    assert card.changes()[-1] == "ip link set dev ens3f0 vf 1 vlan 0"


def test_with_a_stand_in_a_plug_that_fails_halfway_is_undone(card: Card) -> None:
    card.before(
        "ip",
        'case "$*" in *" trust on") echo "RTNETLINK answers: Operation not supported" >&2; exit 2 ;; esac',
    )

    with pytest.raises(Exception, match="vf 1 trust on ended with exit status 2: .*Operation not supported"):
        card.host().plug(hostdev(card, trusted=True))

    assert card.second() == (UNSET, "0")
    assert card.host().list() == []


def test_with_a_stand_in_an_unplug_that_the_card_refuses_stays_on_record(card: Card) -> None:
    host = card.host()
    host.plug(hostdev(card))
    card.before("ip", '[ "$2" != set ] || { echo "RTNETLINK answers: Device or resource busy" >&2; exit 2; }')

    with pytest.raises(Exception, match="Device or resource busy"):
        host.unplug(ID)
    assert host.show(ID).state is State.DEBT

    card.before("ip", None)
    host.unplug(ID)
    assert card.second() == (UNSET, "0")


def test_with_a_stand_in_a_card_that_was_taken_out_owes_nothing(card: Card) -> None:
    card.environment["SYSFS_PCI_DEVICES"] = "/nonexistent"

    assert card.call("unplug", hostdev(card)).error is None
    assert card.calls() == []


@pytest.mark.parametrize("ports", [("p0", "pf0vf0", "pf0vf1"), ("p1", "pf1vf0", "pf1vf1")])
def test_with_a_stand_in_the_card_is_not_taken_for_a_representor(card: Card, ports: tuple[str, ...]) -> None:
    """A card in switchdev mode has a device for each of its functions beside its own."""
    pci = card.place / "pci" / PF
    (pci / "net" / "ens3f0").rmdir()
    for name, port in zip(("ens3f0", "eth0", "eth1"), ports, strict=True):
        device(pci, name, port)

    assert card.call("plug", hostdev(card)).error is None
    assert card.changes() == [f"ip link set dev ens3f0 vf 1 mac {MAC} vlan 100"]


@pytest.mark.parametrize(
    ("mac", "rest", "drift"),
    [
        (MAC, f", vlan 100{PLAIN}", []),
        (MAC, PLAIN, [("vlan of vf 1 of ens3f0", 100, "0")]),
        (
            UNSET,
            f", vlan 7{PLAIN}",
            [("mac of vf 1 of ens3f0", MAC, UNSET), ("vlan of vf 1 of ens3f0", 100, "7")],
        ),
    ],
)
def test_with_a_stand_in_check_notices_what_drifted(
    card: Card, mac: str, rest: str, drift: list[tuple[str, object, object]]
) -> None:
    card.shows(mac, rest)

    found = card.call("check", hostdev(card)).reply.get("drift", [])

    assert [(each["what"], each["expected"], each["found"]) for each in found] == drift


@pytest.mark.parametrize(
    ("binding", "words"),
    [
        ({"pci_slot": PF}, f"{PF} is no SR-IOV virtual function"),
        ({"vlan": {"tags": [1, 2], "trunk": True}}, "vif_details.vlan must be one VLAN tag"),
    ],
)
def test_with_a_stand_in_what_cannot_be_is_refused(card: Card, binding: dict[str, Any], words: str) -> None:
    error = card.call("plug", hostdev(card, **binding)).error

    assert isinstance(error, BadDetails)
    assert words in error.message
    assert card.changes() == []


def test_with_a_stand_in_a_card_that_is_not_there_is_said_by_its_address(card: Card) -> None:
    error = card.call("plug", hostdev(card, pci_slot="0000:99:00.1")).error

    assert error is not None
    assert error.message.endswith("there is no PCI device 0000:99:00.1 on this host")
