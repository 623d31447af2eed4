"""A VIF in a Linux bridge: graph and trace, whole and broken in every way that a test can break it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from daemons import until
from guests import Elsewhere, guest, ip
from plumbed import Plumbed, end
from vifplug.errors import InvalidInput, NotPlugged
from vifplug.host.results import Plugged
from vifplug.plumbing import State
from world import links

FAR = "10.0.0.1"


def nft(*arguments: str) -> None:
    subprocess.run(["nft", *arguments], check=True)


def bridge(arguments: str) -> None:
    subprocess.run(["bridge", *arguments.split()], check=True)


# --- whole -----------------------------------------------------------------------------------------


def test_a_frame_is_followed_to_the_other_host_and_its_answer_back(bridged: Plumbed) -> None:
    one = bridged.plug("10.0.0.5")
    tap = one.vif.devname

    found = bridged.trace(one)

    assert found.ok and found.probe == "as the guest"
    assert found.text.startswith(f"{FAR} answered in ")
    assert [f"{hop.what} {hop.name}" for hop in found.hops] == [
        "guest web5", f"vif {one.id[:8]}", f"device {tap}", f"port {tap}", "bridge br-data", "uplink eth9",
    ]  # fmt: skip
    seen = {hop.name: (bool(hop.out), bool(hop.back)) for hop in found.hops if hop.out is not None}
    assert seen == {tap: (True, True), "br-data": (True, True), "eth9": (True, True)}
    assert end(found) == ("uplink", "eth9")


def test_a_guest_that_runs_is_made_to_speak_itself(bridged: Plumbed, far: Elsewhere) -> None:
    one = bridged.plug("10.0.0.5", anti_spoofing=True)
    with guest(one):
        found = bridged.trace(one)
    assert found.ok and found.probe == "by the guest"
    assert all(hop.out for hop in found.hops if hop.out is not None)
    assert end(found) == ("uplink", "eth9")


def test_the_graph_of_what_is_whole_has_no_mark(bridged: Plumbed) -> None:
    one, other = bridged.plug("10.0.0.5"), bridged.plug("10.0.0.6")
    graph = bridged.graph()
    assert graph.marked == []
    assert {(edge.source, edge.target) for edge in graph.edges} == {
        ("guest:web5", f"vif:{one.id}"), (f"vif:{one.id}", f"dev:{one.vif.devname}"),
        ("guest:web6", f"vif:{other.id}"), (f"vif:{other.id}", f"dev:{other.vif.devname}"),
        (f"dev:{one.vif.devname}", "dev:br-data"), (f"dev:{other.vif.devname}", "dev:br-data"),
        ("dev:br-data", "dev:eth9"),
    }  # fmt: skip
    assert graph.nodes["guest:web5"].state is State.IDLE


def test_a_graph_of_one_vif_leaves_the_others_out(bridged: Plumbed) -> None:
    one, other = bridged.plug("10.0.0.5"), bridged.plug("10.0.0.6")
    part = bridged.graph().of([f"vif:{one.id}"])
    assert f"dev:{other.vif.devname}" not in part.nodes
    assert {"guest:web5", f"dev:{one.vif.devname}", "dev:br-data", "dev:eth9"} < part.nodes.keys()


def test_what_no_vif_needs_is_drawn_as_far_as_it_hangs_together(bridged: Plumbed) -> None:
    ip("link add br-other type bridge")
    ip("link add alone type bridge")
    ip("tuntap add dev foreign mode tap")
    ip("link set foreign master br-other")
    nodes = bridged.graph().nodes
    assert {"dev:foreign", "dev:br-other"} <= nodes.keys() and "dev:alone" not in nodes


# --- broken ----------------------------------------------------------------------------------------

Break = Callable[[Plumbed, Plugged, Elsewhere], object]
BROKEN: dict[str, tuple[Break, str, str, State]] = {
    "the tap is down": (lambda _, one, __: ip(f"link set {one.vif.devname} down"), "device TAP", "is down", State.DOWN),
    "the tap is gone": (lambda _, one, __: ip(f"link del {one.vif.devname}"), "device TAP", "is gone", State.GONE),
    "the tap is out of its bridge": (
        lambda _, one, __: ip(f"link set {one.vif.devname} nomaster"),
        "device TAP", "is in no bridge, and was plugged into br-data", State.DRIFT,
    ),
    "the bridge is down": (lambda _, __, ___: ip("link set br-data down"), "bridge br-data", "is down", State.DOWN),
    "the uplink is down": (lambda _, __, ___: ip("link set eth9 down"), "uplink eth9", "is down", State.DOWN),
    "the uplink's other end is down": (
        lambda _, __, far: far.do(lambda: ip("link set far0 down")), "uplink eth9", "has no carrier", State.DOWN,
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("what", BROKEN)
def test_a_trace_ends_just_where_it_is_broken_and_the_graph_marks_that(
    bridged: Plumbed, far: Elsewhere, what: str
) -> None:
    one = bridged.plug("10.0.0.5")
    destroy, where, why, state = BROKEN[what]
    destroy(bridged, one, far)
    where = where.replace("TAP", one.vif.devname)

    found = bridged.trace(one)

    assert not found.ok and " ".join(end(found)) == where
    assert why in found.text and found.do
    name = where.partition(" ")[2]
    node = bridged.graph().nodes[f"dev:{name}"]
    assert node.state is state and any(why in fault.text for fault in node.faults)
    assert bridged.trace(one, probe=False).text == found.text, "settings alone tell it too"


@pytest.mark.slow
def test_a_port_that_is_down_under_a_running_guest_is_where_it_ends(bridged: Plumbed) -> None:
    one = bridged.plug("10.0.0.5")
    tap = one.vif.devname
    with guest(one):
        assert bridged.trace(one).ok
        bridge(f"link set dev {tap} state 0")
        found = bridged.trace(one)
        assert bridged.marks() == {f"port {tap}": [f"the port {tap} of br-data is disabled"]}
    assert not found.ok and end(found) == ("port", tap)
    assert found.do == f"bridge link set dev {tap} state 3"


@pytest.mark.slow
def test_a_tap_that_somebody_moved_into_another_bridge_is_said_to_be_there(bridged: Plumbed) -> None:
    one = bridged.plug("10.0.0.5")
    ip("link add br-wrong type bridge")
    ip("link set br-wrong up")
    ip(f"link set {one.vif.devname} master br-wrong")
    found = bridged.trace(one)
    assert not found.ok and end(found) == ("port", one.vif.devname)
    assert found.text == f"{one.vif.devname} is in br-wrong, and was plugged into br-data"


@pytest.mark.slow
def test_the_other_host_is_named_when_nothing_here_is_wrong(bridged: Plumbed, far: Elsewhere) -> None:
    one = bridged.plug("10.0.0.5")
    far.do(lambda: ip(f"address del {FAR}/24 dev far0"))
    found = bridged.trace(one)
    assert not found.ok and end(found) == ("uplink", "eth9")
    assert found.text == f"the frame left this host by eth9, and {FAR} did not answer"
    assert bridged.marks() == {}


@pytest.mark.slow
def test_a_bridge_without_a_way_out_is_where_it_ends(bridged: Plumbed) -> None:
    one = bridged.plug("10.0.0.5")
    ip("link set eth9 nomaster")
    found = bridged.trace(one)
    assert not found.ok and end(found) == ("bridge", "br-data")
    assert "leads nowhere else" in found.text


@pytest.mark.slow
def test_of_several_ways_out_the_one_that_answers_is_followed(bridged: Plumbed, far: Elsewhere) -> None:
    ip(f"link add eth1 type veth peer name far1 netns {far.namespace}")
    ip("link set eth1 up master br-data")
    one = bridged.plug("10.0.0.5")
    found = bridged.trace(one)
    assert found.ok and end(found) == ("uplink", "eth9")
    assert found.others == ["br-data → eth1: eth1 has no carrier: its other end is down"]
    far.do(lambda: ip("link set far1 up"))
    until(lambda: "state forwarding" in ip("-d link show eth1"))
    assert bridged.trace(one).others[0].startswith("br-data → eth1: ")


@pytest.mark.slow
def test_an_answer_from_a_bridge_that_speaks_for_others_does_not_hide_an_uplink_that_is_down(
    bridged: Plumbed,
) -> None:
    one = bridged.plug("10.0.0.5")
    ip(f"address add {FAR}/24 dev br-data")
    ip("link set eth9 down")
    found = bridged.trace(one)
    assert not found.ok and end(found) == ("uplink", "eth9")
    ip("link set eth9 up")
    until(lambda: "state forwarding" in ip("-d link show eth9"))
    found = bridged.trace(one)
    assert found.ok and found.text.startswith(f"{FAR} answered")


# --- filters ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_anti_spoofing_that_drops_is_named_with_its_rule(bridged: Plumbed) -> None:
    one = bridged.plug("10.0.0.5", anti_spoofing=True)
    found = bridged.trace(one, FAR, addresses=["10.0.0.99/24"])
    assert not found.ok and end(found) == ("filter", "anti-spoofing")
    assert found.text.startswith("anti-spoofing drops what the guest sends:") and "by 'arp'" in found.text
    assert bridged.trace(one).ok


@pytest.mark.slow
def test_anti_spoofing_that_drops_a_running_guests_frames_is_named(bridged: Plumbed) -> None:
    one = bridged.plug("10.0.0.5", anti_spoofing=True)
    with guest(one, "10.0.0.99/24"):  # it took another address than its own
        found = bridged.trace(one, FAR, addresses=["10.0.0.99/24"])
    assert not found.ok and found.probe == "by the guest"
    assert end(found) == ("filter", "anti-spoofing") and "by 'ip'" in found.text


@pytest.mark.slow
@pytest.mark.parametrize("counted", [True, False])
def test_a_firewall_between_bridge_and_uplink_is_named(bridged: Plumbed, counted: bool) -> None:
    one = bridged.plug("10.0.0.5")
    nft("add", "table", "bridge", "fence")
    nft("add", "chain", "bridge", "fence", "pass", "{ type filter hook forward priority 0; policy accept; }")
    nft(
        "add",
        "rule",
        "bridge",
        "fence",
        "pass",
        "ether",
        "type",
        "arp",
        *(["counter"] if counted else []),
        "drop",
    )
    found = bridged.trace(one)
    assert not found.ok and end(found) == ("filter", "bridge fence pass")
    if counted:
        assert found.text == "bridge fence pass drops what the guest sends: 3 frames by 'rule 1 of pass'"
    else:
        assert "came to br-data and not to eth9; between them bridge fence pass may drop it" in found.text


@pytest.mark.slow
def test_anti_spoofing_rules_that_are_gone_are_drift_and_no_end(bridged: Plumbed) -> None:
    one = bridged.plug("10.0.0.5", anti_spoofing=True)
    nft("flush", "ruleset")
    found = bridged.trace(one)
    assert found.ok
    assert found.also == [f"anti-spoofing of {one.vif.devname}: in force was plugged, not in force is there"]
    assert list(bridged.marks()) == [one.vif.devname]


# --- the guest, and what cannot be asked -----------------------------------------------------------


@pytest.mark.slow
def test_a_guest_that_says_nothing_is_where_it_ends(bridged: Plumbed) -> None:
    one = bridged.plug("10.0.0.5")
    with guest(one, "10.0.0.77/24"):  # the binding's address is none of its own
        found = bridged.trace(one)
    assert not found.ok and end(found) == ("guest", "web5")
    assert "nothing comes from the guest" in found.text


def test_without_anybody_to_ask_the_way_out_is_watched(bridged: Plumbed) -> None:
    binding = bridged.binding()
    del binding["network"]
    with bridged.host() as host:
        one = host.plug(binding)
    found = bridged.trace(one, timeout=0.3)
    assert found.ok and found.probe == "as the guest"
    assert found.text == "the frame left this host by eth9, and nobody was asked for an answer"
    assert all(hop.out for hop in found.hops if hop.out is not None)


def test_a_trace_leaves_nothing_behind(bridged: Plumbed) -> None:
    one = bridged.plug("10.0.0.5")
    before = links()
    bridged.trace(one)
    assert {name: link.up for name, link in links().items()} == {
        name: link.up for name, link in before.items()
    }
    shown = subprocess.run(
        ["ip", "-d", "link", "show", "br-data"], check=True, capture_output=True, text=True
    )
    assert "promiscuity 0" in shown.stdout


@pytest.mark.parametrize("target", ["10.0.0", "fe80::1", "nonsense", "", "10.0.0.1/24", "10.0.0.1\0"])
def test_a_wrong_target_is_refused_in_one_sentence(bridged: Plumbed, target: str) -> None:
    one = bridged.plug("10.0.0.5")
    with pytest.raises(InvalidInput, match="must be an IPv4 address such as"):
        bridged.trace(one, target)


def test_a_vif_that_is_not_plugged_has_no_way(bridged: Plumbed) -> None:
    one = bridged.plug("10.0.0.5")
    bridged.host().unplug(one.id)
    with pytest.raises(NotPlugged):
        bridged.trace(one)
