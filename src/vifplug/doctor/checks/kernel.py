"""What the kernel can do: tried, not read from anybody's configuration."""

from __future__ import annotations

import fcntl
import grp
import os
import pwd
import shlex
import stat
import subprocess
from collections.abc import Callable

from msgspec import Struct

from ...errors import VifplugError
from ..check import Finding, Findings, Unseen, check, note, ok, problem, warning
from ..place import Place
from ..trial import apart, has_generic_family

#: /dev/tapN of a macvtap is named by its index, and /dev is the same in every namespace: one that nobody has
_FAR_INDEX = 0x7E1F0001


class Trial(Struct, frozen=True):
    """Something that is made for a try."""

    name: str
    #: one after the other, until one fails
    commands: tuple[str, ...]
    needed_for: str
    #: what to do where it fails
    remedy: str
    level: Callable[..., Finding] = note


TRIALS = (
    Trial("bridge", ("ip link add vp-bridge type bridge",), "the scripts linux-bridge and vxlan-bridge, hybrid ports",
          "modprobe bridge", warning),
    Trial("bridge with vlan_filtering", ("ip link add vp-vlans type bridge vlan_filtering 1",),
          "linux-bridge with a vlan", "a kernel with CONFIG_BRIDGE_VLAN_FILTERING"),
    Trial("veth", ("ip link add vp-one type veth peer name vp-two",), "hybrid ports of openvswitch and ivs",
          "modprobe veth"),
    Trial("macvtap", ("ip link add vp-base type veth peer name vp-far",
                      f"ip link add link vp-base name vp-macvtap index {_FAR_INDEX} type macvtap mode bridge"),
          "VIFs of type direct, and the script macvtap", "modprobe macvtap"),
    Trial("vxlan", ("ip link add vp-vxlan type vxlan id 1 dstport 4789",), "the script vxlan-bridge", "modprobe vxlan"),
    Trial("nftables at a device's ingress", (
        "nft add table netdev vp", "nft add chain netdev vp c { type filter hook ingress device lo priority 0 ; }"),
        "anti_spoofing of linux-bridge, vxlan-bridge and routed",
        "modprobe nf_tables; a kernel with CONFIG_NETFILTER_INGRESS", warning),
    Trial("nftables bridge family", (
        "nft add table bridge vp", "nft add chain bridge vp c { type filter hook forward priority 0 ; }"),
        "filters on bridges, such as libvirt's nwfilter and Neutron's", "modprobe nf_tables_bridge"),
    Trial("traffic control (htb, sfq, police)", (
        "tc qdisc add dev lo root handle 1: htb default 1",
        "tc class add dev lo parent 1: classid 1:1 htb rate 1000kbit", "tc qdisc add dev lo parent 1:1 sfq",
        "tc qdisc add dev lo ingress",
        "tc filter add dev lo parent ffff: protocol all u32 match u32 0 0 police rate 1000kbit burst 10k drop"),
        "bandwidth limits, which libvirt makes of them", "modprobe sch_htb sch_sfq cls_u32 act_police"),
)  # fmt: skip


@check("kernel", "devices", "The devices and filters that plug scripts make")
def devices(place: Place) -> Findings:
    refusals = apart(lambda: {trial.name: _refusal(place, trial) for trial in TRIALS})
    for trial in TRIALS:
        refusal = refusals[trial.name]
        if refusal is None:
            yield ok(f"{trial.name} can be made")
        else:
            yield trial.level(
                f"{trial.name} cannot be made: {refusal}",
                why=f"needed for {trial.needed_for}",
                do=trial.remedy,
            )


def _refusal(place: Place, trial: Trial) -> str | None:
    for command in trial.commands:
        name, *arguments = shlex.split(command)
        try:
            said = place.run(name, *arguments)
        except Unseen as unseen:
            return str(unseen)
        if said.status != 0:
            return (said.err.splitlines() or ["no reason given"])[0]
    return None


@check("kernel", "tap", "Taps with one queue and with several, made as a plug makes them")
def tap(place: Place) -> Findings:
    for multi_queue, what in ((False, "a tap"), (True, "a tap with several queues")):
        try:
            apart(lambda several=multi_queue: _make_tap(place, several))  # type: ignore[misc]  # bound now
        except VifplugError as error:
            yield (warning if multi_queue else problem)(
                f"{what} cannot be made: {error.message}",
                why="VIFs with queues > 1 need it"
                if multi_queue
                else "no VIF of type ethernet can be plugged",
                do="modprobe tun, as root",
            )
        else:
            yield ok(f"{what} can be made")


def _make_tap(place: Place, multi_queue: bool) -> None:
    from ...host import tap as maker
    from ...host.netlink import Netlink

    with Netlink() as netlink:
        maker.make(
            netlink, "tapdoctor", alias="vifplug doctor", address="fe:16:3e:00:00:01", mtu=1400,
            multi_queue=multi_queue, vnet_hdr=place.config.device.vnet_hdr, owner=None, group=None,
        )  # fmt: skip


@check("kernel", "tun-node", "/dev/net/tun, and whether the owner of taps may open it")
def tun_node(place: Place) -> Findings:
    path = place.path("/dev/net/tun")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        yield problem(
            f"/dev/net/tun cannot be used: {error.strerror}",
            why="taps are made and opened through it",
            do="modprobe tun; where nothing makes nodes: mknod -m 0666 /dev/net/tun c 10 200",
        )
        return
    if not stat.S_ISCHR(mode):
        yield problem(
            "/dev/net/tun is no device", why="taps are made and opened through it",
            do="rm /dev/net/tun; mknod -m 0666 /dev/net/tun c 10 200",
        )  # fmt: skip
        return
    owner = place.config.device.owner
    if owner is None:
        yield ok(f"/dev/net/tun is there (mode {stat.S_IMODE(mode):04o})")
        return
    refusal = _opened_by(str(path), owner)
    if refusal is None:
        yield ok(f"/dev/net/tun is there, and {owner} (device.owner) may open it")
    else:
        yield warning(
            f"{owner} (device.owner) may not open /dev/net/tun (mode {stat.S_IMODE(mode):04o}): {refusal}",
            why="guests of that user cannot open the taps that are made for them",
            do="chmod 0666 /dev/net/tun (as udev does): making devices takes CAP_NET_ADMIN all the same",
        )


def _opened_by(path: str, owner: str) -> str | None:
    """Why this user cannot open the file; None if it can. Raises Unseen for who may not act as that user."""
    try:
        entry = pwd.getpwuid(int(owner)) if owner.isdigit() else pwd.getpwnam(owner)
    except KeyError:
        raise Unseen(f"device.owner {owner!r} is no user of this host", "set device.owner to one") from None
    if os.geteuid() not in (0, entry.pw_uid):
        raise Unseen(f"whether {owner} may open {path}")
    who: dict[str, int | list[int]] = {}
    if os.geteuid() == 0:
        groups = [group.gr_gid for group in grp.getgrall() if entry.pw_name in group.gr_mem]
        who = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec 3<>"$1"', "sh", path],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        **who,
    )  # type: ignore[call-overload]  # the keywords are as they should be
    return None if done.returncode == 0 else done.stderr.strip().rpartition(": ")[2]


@check("kernel", "vhost-net", "Whether guests' frames are moved by the kernel")
def vhost_net(place: Place) -> Findings:
    try:
        os.close(os.open(place.path("/dev/vhost-net"), os.O_RDWR | os.O_CLOEXEC))
    except PermissionError:
        raise Unseen("/dev/vhost-net may not be opened by this user") from None
    except OSError as error:
        yield note(
            f"/dev/vhost-net cannot be used: {error.strerror}",
            why="QEMU moves each frame itself, which is slower; a guest whose binding says driver vhost does not start",
            do="modprobe vhost_net",
        )
    else:
        yield ok("/dev/vhost-net can be opened")


@check("kernel", "vdpa", "Whether the kernel knows vDPA devices")
def vdpa(place: Place) -> Findings:
    nodes = sorted(path.name for path in place.path("/dev").glob("vhost-vdpa-*"))
    if nodes:
        yield ok(f"vDPA devices: {', '.join(nodes)}", nodes)
    elif has_generic_family("vdpa"):
        yield ok("the kernel knows vDPA; no device is bound to vhost_vdpa")
    else:
        yield note(
            "the kernel does not know vDPA", why="VIFs of type vdpa need it, and a card for it",
            do="modprobe vdpa vhost_vdpa",
        )  # fmt: skip


@check("kernel", "ovs-datapath", "Whether the kernel has Open vSwitch's datapath")
def ovs_datapath(_: Place) -> Findings:
    if has_generic_family("ovs_datapath"):
        yield ok("the kernel has Open vSwitch's datapath")
    else:
        yield note(
            "the kernel has no datapath for Open vSwitch",
            why="its bridges need datapath_type=netdev then, and move frames in user space",
            do="modprobe openvswitch",
        )


@check("kernel", "confinement", "Whether a script can be confined, marked and ended with all that it started")
def confinement(place: Place) -> Findings:
    from ...script.confine import spawn
    from ...script.marks import Mark, kill_marked

    sleep = place.program("sleep")
    if sleep is None:
        raise Unseen("sleep is not installed", "apt-get install coreutils")
    mark = Mark.new()
    with open(os.devnull, "r+b") as opened:  # noqa: PTH123
        null = fcntl.fcntl(opened.fileno(), fcntl.F_DUPFD_CLOEXEC, 3)
    try:
        environment = {b"VIFPLUG_CALL": mark.call.encode()}
        pid = spawn(sleep, ["sleep", "60"], environment, (null, null, null), granted=0, groups=mark.groups)
    except VifplugError as error:
        yield problem(
            error.message, why="no plug script is run that cannot be confined", do="run vifplug as root"
        )
        return
    finally:
        os.close(null)
    marked = ended = False
    try:
        status = (place.read(f"/proc/{pid}/status") or "").splitlines()
        groups = next((line.split()[1:] for line in status if line.startswith("Groups:")), [])
        marked = {str(group) for group in mark.groups} <= set(groups)
        ended = kill_marked(mark) > 0
    finally:
        if not ended:
            os.kill(pid, 9)
        os.waitpid(pid, 0)
    if not ended:
        yield problem(
            "a marked process was not found again by its mark",
            why="what a script leaves running would not be ended at its deadline",
            do="see that /proc is mounted without hidepid for whoever plugs: mount | grep ' /proc '",
        )
    elif marked:
        yield ok("a process is confined, carries its mark in its groups, and is ended by it")
    else:
        yield note(
            "groups cannot be set here: scripts are marked by their environment alone",
            why="a process that clears its environment is not found again at the deadline",
            do="run vifplug as root",
        )
