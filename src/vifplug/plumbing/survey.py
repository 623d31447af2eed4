"""From what is seen to the graph of it."""

from __future__ import annotations

from ..model.vif import Ethernet, Vif
from .drifted import mark
from .kernel import Device, Kernel
from .sight import Known, Sight
from .switch import TUNNELS, Port
from .wiring import Edge, Fault, Graph, Kind, Node, State

#: devices of Open vSwitch's own that say nothing
_SWITCHS_OWN = ("ovs-system", "ovs-netdev")
_KINDS = {
    "bridge": Kind.BRIDGE, "vlan": Kind.VLAN, "veth": Kind.VETH, "vxlan": Kind.TUNNEL, "geneve": Kind.TUNNEL,
    "gretap": Kind.TUNNEL, "ip6gretap": Kind.TUNNEL, "wireguard": Kind.TUNNEL, "tun": Kind.DEVICE,
    "macvtap": Kind.DEVICE, "macvlan": Kind.DEVICE, "ipvlan": Kind.DEVICE,
}  # fmt: skip
_ROUTES = "host:routes"


def survey(sight: Sight, *, bare: bool = False) -> Graph:
    """The graph of all that is connected with anything; ``bare``: and of what is not, too."""
    graph = Graph()
    graph.notes = list(sight.notes)
    _draw_kernel(sight, graph)
    _draw_switch(sight, graph)
    taken = {key for known in sight.vifs if (key := _draw_vif(sight, graph, known)) is not None}
    for name, holder in sight.holders.items():
        if _key(name) not in taken and _key(name) in graph.nodes:
            guest = holder.guest or f"{holder.program} {holder.pid}"
            node = graph.add(
                Node(id=f"guest:{guest}", kind=Kind.GUEST, name=guest, words=_held(holder.guest, holder))
            )
            graph.join(node.id, _key(name))
    _draw_ways_out(sight, graph)
    graph.turn()
    for known in sight.vifs:
        mark(graph, known)
    if not bare:
        joined = {end for edge in graph.edges for end in (edge.source, edge.target)}
        graph.nodes = {
            key: node for key, node in graph.nodes.items() if key in joined or node.kind is Kind.VIF
        }
    return graph


def _key(name: str) -> str:
    return f"dev:{name}"


# --- the kernel ------------------------------------------------------------------------------------


def _draw_kernel(sight: Sight, graph: Graph) -> None:
    kernel = sight.kernel
    for device in kernel.devices.values():
        if device.name not in ("lo", *_SWITCHS_OWN):
            graph.add(_node(device))
    for device in kernel.devices.values():
        if _key(device.name) not in graph.nodes:
            continue
        if _key(str(device.master)) in graph.nodes:
            _join_port(kernel, graph, device)
        if device.lower is not None and not device.elsewhere and _key(device.lower) in graph.nodes:
            graph.join(_key(device.name), _key(device.lower))
        if device.kind == "vxlan":
            _draw_vxlan(sight, graph, device)


def _node(device: Device) -> Node:
    kind = Kind.UPLINK if device.is_card else _KINDS.get(device.kind or "", Kind.UPLINK)
    words = [{"tun": "tap", None: "card"}.get(device.kind, device.kind or ""), f"MTU {device.mtu}"]
    if device.vni is not None:
        words.insert(1, f"VNI {device.vni}")
    if device.vlan is not None:
        words.insert(1, f"VLAN {device.vlan}")
    if device.kind == "veth" and device.elsewhere:
        words[0] = "veth into another namespace"
    words += device.addresses
    node = Node(id=_key(device.name), kind=kind, name=device.name, words=words, device=device.name)
    if not device.up:
        node.faults.append(
            Fault(state=State.DOWN, text=f"{device.name} is down", do=f"ip link set dev {device.name} up")
        )
    elif device.kind in ("tun", "bridge"):
        node.idle = not device.carrier
    elif not device.carrier:
        node.faults.append(_no_carrier(device))
    return node


def _no_carrier(device: Device) -> Fault:
    under = device.lower or device.name
    if device.kind == "veth":
        text = f"{device.name} has no carrier: its other end is down"
        do = (
            "bring up its other end, which is in another network namespace: ip netns; ip link set dev NAME up"
        )
        if device.lower is not None and not device.elsewhere:
            do = f"ip link set dev {device.lower} up"
    else:
        text = f"{device.name} has no carrier: nothing answers at its other end"
        do = f"see to the cable, and to the port that {under} is connected to: ethtool {under}"
    return Fault(state=State.DOWN, text=text, do=do)


def _join_port(kernel: Kernel, graph: Graph, device: Device) -> None:
    words = [device.port_state] if device.port_state else []
    words += [f"VLAN {vlan}" for vlan in device.vlans] + device.port_words
    edge = graph.join(_key(device.name), _key(str(device.master)), port=device.name, words=words)
    if device.port_state in (None, "forwarding"):
        return
    above = kernel.devices[str(device.master)]
    if not (
        device.up and device.carrier and above.up
    ):  # then the kernel disables the port, and that one says why
        edge.idle = True
        return
    text = f"the port {device.name} of {device.master} is {device.port_state}"
    if device.port_state == "disabled":
        do = f"bridge link set dev {device.name} state 3"
    elif device.port_state == "blocking":
        do = f"spanning tree blocks it, as there is another way there: bridge -d link show dev {device.name}"
    else:
        do = f"wait for its forward delay, or: ip link set dev {device.master} type bridge forward_delay 0"
    edge.faults.append(Fault(state=State.DOWN, text=text, do=do))


def _draw_vxlan(sight: Sight, graph: Graph, device: Device) -> None:
    node = graph.nodes[_key(device.name)]
    if not device.remotes:
        node.faults.append(
            Fault(
                state=State.DOWN,
                text=f"{device.name} has no remotes: what goes to hosts that it has not learnt of is lost",
                do=f"vifplug update with the hosts in vif_details.remotes, or: bridge fdb append 00:00:00:00:00:00 dev"
                f" {device.name} dst HOST",
            )
        )
        if device.underlay is not None and _key(device.underlay) in graph.nodes:
            graph.join(node.id, _key(device.underlay))
    ways = {remote: device.underlay or sight.kernel.way_to(remote) for remote in device.remotes}
    some = any(by is not None and _key(by) in graph.nodes for by in ways.values())
    for remote, by in ways.items():
        if by is None or _key(by) not in graph.nodes:
            node.faults.append(
                Fault(
                    state=State.DOWN,
                    text=f"no route of this host leads to {remote}, the remote of {device.name}",
                    do=f"ip route get {remote}; give the host a route, or take the remote out",
                    stops=not some,
                )
            )
            continue
        _draw_remote(graph, node.id, by, remote)


def _draw_remote(graph: Graph, tunnel: str, by: str, remote: str) -> None:
    group = remote.startswith("ff") or 224 <= int(remote.partition(".")[0] if "." in remote else 0) <= 239
    graph.join(tunnel, _key(by))
    there = graph.add(
        Node(
            id=f"remote:{remote}",
            kind=Kind.REMOTE,
            name=remote,
            words=["multicast group" if group else "host"],
        )
    )
    graph.join(_key(by), there.id)


# --- Open vSwitch ----------------------------------------------------------------------------------


def _draw_switch(sight: Sight, graph: Graph) -> None:
    for bridge in sight.switch.bridges.values():
        node = graph.nodes.get(_key(bridge.name))
        words = ["Open vSwitch", f"datapath {bridge.datapath}"] + (
            ["fail mode secure"] if bridge.secure else []
        )
        addresses = sight.kernel.devices[bridge.name].addresses if bridge.name in sight.kernel.devices else []
        if node is None:
            node = graph.add(Node(id=_key(bridge.name), kind=Kind.SWITCH, name=bridge.name))
        # its local port may be down: that is the host's own way in, and no other's
        node.kind, node.words, node.faults, node.idle, node.device = (
            Kind.SWITCH,
            words + addresses,
            [],
            False,
            None,
        )
        if not sight.switch.runs:
            node.faults.append(
                Fault(
                    state=State.DOWN,
                    text=f"ovs-vswitchd does not run, so nobody moves the frames of {bridge.name}",
                    do="systemctl restart openvswitch-switch; its log says why it ended",
                )
            )
    for bridge in sight.switch.bridges.values():
        for port in bridge.ports:
            if port.name != bridge.name:
                _draw_switch_port(sight, graph, port)


def _draw_switch_port(sight: Sight, graph: Graph, port: Port) -> None:
    bridge, key = _key(port.bridge), _key(port.name)
    words = [f"VLAN {port.tag}"] if port.tag is not None else [f"VLANs {port.trunks}"] if port.trunks else []
    if port.type == "patch":
        peer = sight.switch.ports.get(port.peer or "")
        if peer is not None:
            graph.join(bridge, _key(peer.bridge), port=port.name, words=["patch", *words])
        return
    if key not in graph.nodes:
        graph.add(_switch_node(port))
    edge = graph.join(key, bridge, port=port.name, words=words)
    if port.error:
        edge.faults.append(
            Fault(
                state=State.GONE if "No such device" in port.error else State.DOWN,
                text=f"Open vSwitch cannot use the port {port.name}: {port.error}",
                do=f"ovs-vsctl list interface {port.name}; if nothing needs it: ovs-vsctl del-port {port.name}",
            )
        )
    if port.type in TUNNELS:
        _draw_switch_tunnel(sight, graph, key, port)


def _switch_node(port: Port) -> Node:
    kind = Kind.TUNNEL if port.type in TUNNELS else Kind.DEVICE
    node = Node(id=_key(port.name), kind=kind, name=port.name, words=[port.type or "no device"])
    if not port.type:
        node.faults.append(
            Fault(
                state=State.GONE,
                text=f"{port.name} is a port of {port.bridge} and no device",
                do=f"make the device again, or take the port away: ovs-vsctl del-port {port.name}",
            )
        )
    return node


def _draw_switch_tunnel(sight: Sight, graph: Graph, key: str, port: Port) -> None:
    node, remote = graph.nodes[key], port.remote
    if not remote:
        node.faults.append(
            Fault(
                state=State.DOWN,
                text=f"the tunnel {port.name} has no remote_ip",
                do=f"ovs-vsctl set interface {port.name} options:remote_ip=HOST",
            )
        )
    elif remote == "flow":
        graph.join(key, graph.add(Node(id="remote:flow", kind=Kind.REMOTE, name="as flows say")).id)
    elif (by := sight.kernel.way_to(remote)) is not None and _key(by) in graph.nodes:
        _draw_remote(graph, key, by, remote)
    else:
        node.faults.append(
            Fault(
                state=State.DOWN,
                text=f"no route of this host leads to {remote}, the remote of {port.name}",
                do=f"ip route get {remote}; give the host a route",
            )
        )


# --- VIFs and guests -------------------------------------------------------------------------------


def _draw_vif(sight: Sight, graph: Graph, known: Known) -> str | None:
    """The key of its device, when it has one."""
    record = known.record
    vif = record.vif
    words = [vif.type.value, record.script.name if record.script else "no script"]
    node = graph.add(Node(id=f"vif:{vif.id}", kind=Kind.VIF, name=vif.id[:8], words=words))
    if record.state != "plugged":
        words.append(record.state.value)
    device = sight.kernel.of_vif(vif.id, vif.devname, vif.address)
    port = sight.switch.port_of(vif.id, vif.devname)
    name = device.name if device is not None else port.name if port is not None else None
    if name is None and (record.state == "debt" or not _has_device(vif)):
        key = _base(graph, vif)
    else:
        key = _key(name or vif.devname)
        if device is None and _has_device(vif):
            graph.nodes[key] = _gone(vif)
    _draw_guest(sight, graph, known, name)
    if key is not None:
        graph.join(node.id, key)
        graph.nodes[key].idle = graph.nodes[key].idle or (device is not None and not device.carrier)
    return key


def _has_device(vif: Vif) -> bool:
    """Whether a device of this name has to be there as long as the VIF is plugged."""
    return isinstance(vif.shape, Ethernet) and vif.shape.made_by != "libvirt"


def _gone(vif: Vif) -> Node:
    node = Node(id=_key(vif.devname), kind=Kind.DEVICE, name=vif.devname, words=["tap"])
    node.faults.append(
        Fault(
            state=State.GONE,
            text=f"the device {vif.devname} is gone from this network namespace",
            do=f"vifplug repair {vif.id[:8]}",
        )
    )
    return node


def _base(graph: Graph, vif: Vif) -> str | None:
    """Where the device will be that libvirt makes: a bridge, or what a macvtap is made on."""
    name = getattr(vif.shape, "bridge", None) or getattr(vif.shape, "source_dev", None)
    if name is None:
        return None
    if _key(name) not in graph.nodes:
        node = graph.add(Node(id=_key(name), kind=Kind.BRIDGE, name=name))
        node.faults.append(
            Fault(
                state=State.GONE, text=f"there is no {name} on this host", do=f"vifplug repair {vif.id[:8]}"
            )
        )
    return _key(name)


def _draw_guest(sight: Sight, graph: Graph, known: Known, device: str | None) -> None:
    record = known.record
    holder = sight.holders.get(device or "")
    instance = record.vif.instance
    name = (holder and holder.guest) or instance.name or instance.id
    there = sight.kernel.device(device)
    open_ = there is not None and there.kind == "tun" and there.carrier and device != sight.stand_in
    runs = holder is not None or open_
    if name is None and holder is not None:
        name = f"{holder.program} {holder.pid}"
    key = f"guest:{name or record.id}"
    words = _held(holder.guest, holder) if holder is not None else ["running" if runs else "not running"]
    node = graph.add(Node(id=key, kind=Kind.GUEST, name=name or "no name", words=words, idle=not runs))
    if runs and node.idle:  # it has another VIF, whose device cannot be seen
        node.idle, node.words = False, words
    graph.join(node.id, f"vif:{record.id}").idle = not runs


def _held(guest: str | None, holder: object) -> list[str]:
    program, pid = getattr(holder, "program", ""), getattr(holder, "pid", 0)
    return [f"{program} {pid}"] if guest else ["running"]


# --- ways out by routes ----------------------------------------------------------------------------


def _draw_ways_out(sight: Sight, graph: Graph) -> None:
    """The host's routes, for VIFs that are routed, and for bridges that lead nowhere else."""
    routed: list[tuple[str, list[str]]] = []
    for known in sight.vifs:
        device = sight.kernel.of_vif(known.record.id, known.record.vif.devname, known.record.vif.address)
        if device is None or device.master is not None or device.kind != "tun":
            continue
        if device.name not in sight.switch.ports and (found := sight.kernel.routes_to(device.name)):
            routed.append((_key(device.name), found))
    for device in sight.kernel.devices.values():
        if device.kind == "bridge" and device.addresses and not _leads_out(sight, device.name):
            routed.append((_key(device.name), device.addresses))
    if not routed:
        return
    node = graph.add(Node(id=_ROUTES, kind=Kind.ROUTES, name="this host", words=["forwards by its routes"]))
    for key, destinations in routed:
        edge: Edge = graph.join(key, node.id)
        edge.words = destinations
    for name in sight.kernel.default_devices:
        if _key(name) in graph.nodes:
            graph.join(node.id, _key(name), words=["default route"])


def _leads_out(sight: Sight, bridge: str) -> bool:
    return any(port.kind not in ("tun", "macvtap") for port in sight.kernel.ports(bridge))
