"""A VIF changed while its guest runs: what the guest sees of it, and what it may not."""

from __future__ import annotations

import re
import subprocess
from typing import Any, cast

import pytest

from cli_shell import Shell
from daemons import until
from guests import ip
from one_guest import OneGuest, address_of, pings, vif
from served import Served
from vifplug.errors import BadDetails, InvalidInput, LibvirtRefused, NotPlugged, UpdateRefused
from vifplug.host import Host
from vifplug.libvirt import attach, detach, update
from vifplug.libvirt.definition import Definition, Scope
from vifplug.remote import RemoteHost
from world import links

pytestmark = [pytest.mark.slow, pytest.mark.real_root]


def changed(binding: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The binding with these fields otherwise; of vif_details, those that are named."""
    details = {**binding["vif_details"], **fields.pop("vif_details", {})}
    return {**binding, **fields, "vif_details": details}


def bridged(lab: int, **fields: Any) -> dict[str, Any]:
    details = {"bridge": "br-lab", **fields.pop("vif_details", {})}
    return vif(lab << 8 | 1, script="linux-bridge", vif_details=details, **fields)


@pytest.fixture
def attached(guest: OneGuest, lab: int) -> dict[str, Any]:
    """A VIF on a Linux bridge, which its guest has."""
    one = bridged(lab)
    guest.attach(one)
    until(lambda: pings(address_of(one)))
    return one


def carrier(guest: OneGuest, binding: dict[str, Any]) -> str:
    return guest.tell(f"cat /sys/class/net/{guest.card(binding)}/carrier").strip()


def carrier_changes(guest: OneGuest, binding: dict[str, Any]) -> int:
    return int(guest.tell(f"cat /sys/class/net/{guest.card(binding)}/carrier_changes"))


def xml_of(guest: OneGuest, binding: dict[str, Any], scope: Scope, part: str) -> dict[str, str] | None:
    """The attributes of a part of the VIF's interface, as libvirt tells it."""
    found = Definition.of(guest.domain, scope).of_vif(binding["id"])
    assert found is not None
    element = found.element.find(part)
    return None if element is None else dict(element.attrib)


# --- what the guest sees ----------------------------------------------------------------------------


def test_a_link_that_goes_down_and_up_is_what_the_guest_sees(guest: OneGuest, attached: Any) -> None:
    down = changed(attached, link_state="down")
    updated = update(guest.host, guest.domain, down)
    assert (updated.changed, updated.live, updated.config, updated.notes) == (True, True, True, [])
    until(lambda: carrier(guest, attached) == "0")
    assert not pings(address_of(attached), "-W0.3")
    assert xml_of(guest, attached, Scope.CONFIG, "link") == {"state": "down"}
    assert guest.host.show(attached["id"]).request.link_state == "down"
    assert not update(guest.host, guest.domain, down).changed

    assert update(guest.host, guest.domain, attached).changed
    until(lambda: pings(address_of(attached)))
    assert carrier(guest, attached) == "1"
    assert xml_of(guest, attached, Scope.CONFIG, "link") is None


def test_a_link_that_somebody_else_pulled_is_put_back(guest: OneGuest, attached: Any) -> None:
    tap = guest.host.show(attached["id"]).vif.devname
    uri = guest.hypervisor.uri
    subprocess.run(
        ["virsh", "-c", uri, "domif-setlink", "guest", tap, "down"], check=True, capture_output=True
    )
    until(lambda: carrier(guest, attached) == "0")
    assert update(guest.host, guest.domain, attached).changed
    until(lambda: pings(address_of(attached)))


def test_a_port_of_open_vswitch_goes_to_another_vlan_while_its_guest_is_pinged(
    guest: OneGuest, network: int
) -> None:
    for tag, own in ((50, 100), (51, 101)):
        name = f"vlan{tag}"
        guest.switch.vsctl(
            "--may-exist", "add-port", "br-int", name, f"tag={tag}", "--", "set", "interface", name,
            "type=internal",
        )  # fmt: skip
        ip(f"address add 10.9.{network}.{own}/24 dev {name}")
        ip(f"link set {name} up")
    one = vif(network << 8 | 1, script="openvswitch", vif_details={"bridge": "br-int", "tag": 50})
    guest.attach(one)
    until(lambda: pings(address_of(one), "-I", "vlan50"))
    assert not pings(address_of(one), "-I", "vlan51", "-W0.3")
    was = carrier_changes(guest, one)

    update(guest.host, guest.domain, changed(one, vif_details={"tag": 51}))
    until(lambda: pings(address_of(one), "-I", "vlan51"))
    assert not pings(address_of(one), "-I", "vlan50", "-W0.3")
    assert carrier_changes(guest, one) == was  # it was never unplugged
    for tag in (50, 51):
        guest.switch.vsctl("del-port", f"vlan{tag}")


def test_spoofed_frames_stop_when_anti_spoofing_is_asked_for(guest: OneGuest, lab: int) -> None:
    subnets = {"subnets": [{"cidr": f"10.9.{lab}.0/24", "addresses": [f"10.9.{lab}.1"]}]}
    one = bridged(lab, network=subnets)
    guest.attach(one)
    until(lambda: pings(address_of(one)))
    guest.tell(f"ip address add 10.9.{lab}.66/24 dev {guest.card(one)}")

    def speaks_as(own: str) -> bool:
        """Whether what the guest sends by this address is answered."""
        return "1 packets received" in guest.tell(f"ping -c1 -W1 -I {own} 10.9.{lab}.100")

    until(lambda: speaks_as(f"10.9.{lab}.66"))
    update(guest.host, guest.domain, changed(one, vif_details={"anti_spoofing": True}))
    assert not speaks_as(f"10.9.{lab}.66")
    assert speaks_as(f"10.9.{lab}.1")
    pairs = [{"ip_address": f"10.9.{lab}.66"}]
    allowed = changed(one, vif_details={"anti_spoofing": True, "allowed_address_pairs": pairs})
    update(guest.host, guest.domain, allowed)
    until(lambda: speaks_as(f"10.9.{lab}.66"))


# --- what the host sees, and the guest later ----------------------------------------------------------


def test_the_mtu_is_changed_on_the_host_and_the_guest_is_told_at_its_next_start(
    guest: OneGuest, attached: Any
) -> None:
    tap = guest.host.show(attached["id"]).vif.devname
    updated = update(guest.host, guest.domain, changed(attached, mtu=1400))
    assert links()[tap].mtu == 1400
    assert xml_of(guest, attached, Scope.CONFIG, "mtu") == {"size": "1400"}
    assert xml_of(guest, attached, Scope.LIVE, "mtu") is None
    assert len(updated.notes) == 1 and "is told anew at its next start" in updated.notes[0]
    assert guest.tell(f"cat /sys/class/net/{guest.card(attached)}/mtu") == "1500\n"
    assert pings(address_of(attached), "-s", "1372", "-M", "do")


def test_the_definition_alone_is_changed_when_that_is_asked_for(guest: OneGuest, attached: Any) -> None:
    tap = guest.host.show(attached["id"]).vif.devname
    other = changed(attached, mtu=1300, link_state="down", model="e1000")
    updated = update(guest.host, guest.domain, other, config=True)
    assert (updated.changed, updated.live, updated.config) == (True, False, True)
    assert xml_of(guest, attached, Scope.CONFIG, "model") == {"type": "e1000"}
    assert xml_of(guest, attached, Scope.CONFIG, "link") == {"state": "down"}
    assert links()[tap].mtu == 1500 and carrier(guest, attached) == "1"


def test_a_guest_that_has_it_without_its_definition_keeps_it_so(guest: OneGuest, lab: int) -> None:
    one = bridged(lab)
    guest.attach(one, live=True)
    updated = update(guest.host, guest.domain, changed(one, link_state="down"))
    assert (updated.live, updated.config) == (True, False)
    until(lambda: carrier(guest, one) == "0")
    assert one["id"] not in Definition.of(guest.domain, Scope.CONFIG).kept


# --- bandwidth --------------------------------------------------------------------------------------


def test_bandwidth_that_libvirt_cannot_set_is_refused_and_the_network_is_as_before(
    guest: OneGuest, attached: Any
) -> None:
    """The kernel here has no sfq, which libvirt's limits end in: so it is what libvirt says that is tested."""
    before = guest.host.show(attached["id"]).request
    limited = changed(attached, mtu=1400, bandwidth={"inbound": {"average": 100}})
    with pytest.raises(
        LibvirtRefused, match="libvirt would not change VIF .* sfq .*; all is as it was before"
    ):
        update(guest.host, guest.domain, limited)
    assert guest.host.show(attached["id"]).request == before
    tap = guest.host.show(attached["id"]).vif.devname
    assert links()[tap].mtu == 1500
    assert (
        "htb"
        not in subprocess.run(
            ["tc", "qdisc", "show", "dev", tap], check=True, capture_output=True, text=True
        ).stdout
    )
    assert xml_of(guest, attached, Scope.CONFIG, "bandwidth") is None
    assert pings(address_of(attached))
    updated = update(guest.host, guest.domain, limited, config=True)  # for a host whose kernel has it
    assert '<inbound average="100" />' in updated.xml
    assert xml_of(guest, attached, Scope.CONFIG, "bandwidth/inbound") == {"average": "100"}


def test_open_vswitch_limits_a_vhost_user_port_at_once(guest: OneGuest, network: int) -> None:
    guest.switch.vsctl("add-port", "br-int", "vlan52", "tag=52", "--", "set", "interface", "vlan52",
                       "type=internal")  # fmt: skip
    ip(f"address add 10.9.{network}.100/24 dev vlan52")
    ip("link set vlan52 up")
    details = {"bridge": "br-int", "tag": 52, "mode": "server"}
    one = vif(network << 8 | 1, script="openvswitch", vif_type="vhostuser", vif_details=details)
    guest.attach(one)
    until(lambda: pings(address_of(one)))

    def answers() -> int:
        """How many of 50 big pings in a quarter of a second are answered."""
        command = ["ping", "-n", "-q", "-c50", "-i0.005", "-W1", "-s1400", address_of(one)]
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        found = re.search(r"(\d+) received", told)
        assert found, told
        return int(found[1])

    assert answers() > 45
    update(guest.host, guest.domain, changed(one, bandwidth={"outbound": {"average": 20, "burst": 8}}))
    assert answers() < 25  # 20 KiB/s, and 8 KiB at first
    update(guest.host, guest.domain, one)
    until(lambda: answers() > 45)
    guest.switch.vsctl("del-port", "vlan52")


def test_a_limit_that_neither_libvirt_nor_the_script_keeps_is_refused(guest: OneGuest, lab: int) -> None:
    details = {"path": "/run/x", "mode": "server"}
    one = vif(lab << 8 | 1, vif_type="vhostuser", vif_details=details, bandwidth={"inbound": {"average": 9}})
    with pytest.raises(InvalidInput, match="the plug script recorder does not offer to"):
        guest.host.plug(one)


# --- refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"model": "e1000"}, "model"),
        ({"driver": {"packed": True}}, "driver"),
        ({"boot_order": 3, "mtu": 1400}, "boot_order"),
        ({"queues": 2}, "queues"),
        ({"devname": "tapother"}, "devname"),
        ({"vif_details": {"bridge": "br-own"}}, "details.bridge"),
    ],
)
def test_what_a_running_guest_cannot_have_otherwise_is_refused_by_name_and_nothing_changes(
    guest: OneGuest, attached: Any, fields: dict[str, Any], named: str
) -> None:
    before, xml = guest.host.show(attached["id"]), guest.domain.XMLDesc()
    with pytest.raises(UpdateRefused, match=rf"\b{re.escape(named)}\b.* cannot be changed while"):
        update(guest.host, guest.domain, changed(attached, **fields))
    assert guest.host.show(attached["id"]).request == before.request
    assert guest.domain.XMLDesc() == xml
    assert pings(address_of(attached))


def test_a_script_without_update_has_its_details_refused(guest: OneGuest, lab: int) -> None:
    one = vif(lab << 8 | 1, vif_details={"segment": 7})
    attach(guest.host, guest.domain, one)
    with pytest.raises(UpdateRefused, match=r"details\.segment"):
        update(guest.host, guest.domain, changed(one, vif_details={"segment": 8}))


def test_a_port_that_libvirt_made_in_open_vswitch_keeps_its_mtu_and_that_is_said(
    guest: OneGuest, network: int
) -> None:
    details = {"bridge": "br-int", "virtualport": {"type": "openvswitch"}}
    one = vif(network << 8 | 1, script="openvswitch", vif_type="bridge", vif_details=details)
    guest.host.plug(one)
    guest.host.plug({**one, "mtu": 1400})  # while there is no port, nobody minds
    guest.attach(one)
    with pytest.raises(BadDetails, match="mtu cannot be changed: libvirt has made this VIF's port"):
        update(guest.host, guest.domain, {**one, "mtu": 1400})
    assert guest.host.show(one["id"]).request.mtu is None
    update(guest.host, guest.domain, {**one, "link_state": "down"})  # which is libvirt's
    until(lambda: carrier(guest, one) == "0")


def test_anti_spoofing_that_cannot_be_is_refused_and_not_left_undone(guest: OneGuest, lab: int) -> None:
    details = {"bridge": "br-lab"}
    one = vif(lab << 8 | 1, script="linux-bridge", vif_type="bridge", vif_details=details)
    guest.attach(one)
    for detail in ("anti_spoofing", "isolated"):
        with pytest.raises(BadDetails, match=rf"vif_details\.{detail}: .* bind type ethernet"):
            update(guest.host, guest.domain, changed(one, vif_details={detail: True}))
    assert guest.host.show(one["id"]).request.details.get("anti_spoofing") is None


def test_a_vif_that_the_domain_has_not_is_to_be_attached(guest: OneGuest, lab: int) -> None:
    one = bridged(lab)
    guest.host.plug(one)
    with pytest.raises(NotPlugged, match="the guest of domain guest has no interface of VIF .*: attach it"):
        update(guest.host, guest.domain, changed(one, mtu=1400))
    with pytest.raises(NotPlugged, match="the definition of domain guest has no interface"):
        update(guest.host, guest.domain, one, config=True)
    guest.host.unplug(one["id"])


def test_a_domain_that_is_off_has_its_definition_changed_and_nothing_is_plugged(
    guest: OneGuest, lab: int
) -> None:
    domain = guest.connection.defineXML(guest.hypervisor.guest("off"))
    one = bridged(lab)
    try:
        with pytest.raises(NotPlugged, match="the definition of domain off has no interface"):
            update(guest.host, domain, one)
        attach(guest.host, domain, one)
        updated = update(guest.host, domain, changed(one, link_state="down", model="e1000"))
        assert (updated.changed, updated.live, updated.config) == (True, False, True)
        found = Definition.of(domain, Scope.CONFIG).of_vif(one["id"])
        assert found is not None and found.element.find("link[@state='down']") is not None
        assert len(guest.host.list()) == 1
    finally:
        domain.undefine()


def test_through_vifplugd_it_is_the_same(guest: OneGuest, lab: int) -> None:
    one = vif(lab << 8 | 1)
    with Served.of(guest.world) as served, cast("Host", RemoteHost(served.socket)) as host:
        attach(host, guest.domain, one)
        until(lambda: one["address"] in guest.tell("cat /sys/class/net/*/address"))
        update(host, guest.domain, changed(one, link_state="down", mtu=1400))
        until(lambda: carrier(guest, one) == "0")
        with pytest.raises(UpdateRefused, match="queues"):
            update(host, guest.domain, changed(one, queues=2))
        detach(host, guest.domain, one["id"])


# --- the command ------------------------------------------------------------------------------------


def test_the_command_tells_what_it_did(
    guest: OneGuest, lab: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    vifplug = Shell(guest.world, capsys, monkeypatch)
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", guest.hypervisor.uri)
    one = vif(lab << 8 | 1)
    vif_id, file = one["id"], vifplug.file(one)
    assert vifplug("attach", "guest", file).status == 0
    until(lambda: one["address"] in guest.tell("cat /sys/class/net/*/address"))
    down = vifplug.file(changed(one, link_state="down", mtu=1400), "down.json")
    told = vifplug("update", down, "--domain", "guest")
    assert told.out == f"{vif_id} updated in guest: the running guest and the definition\n"
    assert "the network's side has MTU 1400; the guest was told none" in told.err
    until(lambda: carrier(guest, one) == "0")
    assert (
        vifplug("update", down, "--domain", "guest").out == f"{vif_id} is just so in guest; nothing to do\n"
    )
    told = vifplug("update", vifplug.file(changed(one, model="e1000")), "--domain", "guest")
    assert told.status == 65 and "model of VIF" in told.err
    assert vifplug("update", down, "--domain", "guest", "--json").json["changed"] is False
    for wrong in (["--live"], ["--qmp", "/run/none", "--domain", "guest"], ["--qmp", "/run/none", "--live"]):
        assert vifplug("update", down, *wrong).status == 64
    assert vifplug("update", down, "--domain", "nobody").status == 66
