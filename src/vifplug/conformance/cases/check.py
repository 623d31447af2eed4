"""Check: says ok when all is well, and notices when it is not."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable

from ...host.netlink import Netlink
from ...model import Vif
from ..case import Broken, NotApplicable, case
from ..kit import Kit

TOPIC = "check"
_SAYS = "is the VIF still as it was plugged?"


@case(
    TOPIC,
    "check-says-ok",
    "check says ok right after plug, and after a second one",
    anchor="verbs",
    says=_SAYS,
)
def check(kit: Kit) -> None:
    kit.needs("check")
    with kit.vif() as vif:
        for _ in range(2):
            kit.done("plug", vif)
            came = kit.done("check", vif)
            if not came.reply.get("ok", True):
                raise Broken("check sees drift right after plug", came)


@case(
    TOPIC,
    "check-changes-nothing",
    "check changes nothing, plugged or not",
    anchor="verbs",
    says="It changes nothing",
)
def check_changes_nothing(kit: Kit) -> None:
    kit.needs("check")
    with kit.vif() as vif:
        with kit.unchanged("check of a VIF that is not plugged changed the host"):
            kit.call("check", vif)
        kit.done("plug", vif)
        with kit.unchanged("check changed the host"):
            kit.done("check", vif)


@case(
    TOPIC,
    "check-unplugged",
    "check does not say ok for a VIF that is not plugged",
    anchor="verbs",
    says=_SAYS,
)
def check_unplugged(kit: Kit) -> None:
    kit.needs("check")
    with kit.vif() as vif:
        before = kit.look()
        kit.done("plug", vif)
        changed = before.differences(kit.look())
        kit.done("unplug", vif)
        if not changed:
            raise NotApplicable("what its plug does is not to be seen on the host (watch may show it)")
        came = kit.call("check", vif)
        if came.done and came.reply.get("ok", True):
            raise Broken("check said ok for a VIF that was unplugged", came)


def _notices(kit: Kit, what: str, undo: Callable[[Vif, list[str]], list[str]]) -> None:
    """``undo`` takes back some of what plug did (the lines that it added), and says what: check must see that."""
    kit.needs("check")
    with kit.vif() as vif:
        before = kit.look()
        kit.done("plug", vif)
        undone = undo(vif, kit.look().beyond(before))
        if not undone:
            raise NotApplicable(f"its plug {what}")
        came = kit.call("check", vif)
        if came.done and came.reply.get("ok", True):
            raise Broken(f"check said ok after {'; '.join(undone)}", came)


def _ran(*commands: list[str]) -> list[str]:
    """The commands that succeeded."""
    done = []
    for command in commands:
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            done.append(" ".join(command))
    return done


def _links(lines: list[str]) -> list[re.Match[str]]:
    return [
        found for line in lines if (found := re.match(r"link (\S+) \((\S+)\)( up)?( master (\S+))?$", line))
    ]


@case(
    TOPIC, "check-notices-master", "check notices a device that left its bridge", anchor="verbs", says=_SAYS
)
def check_notices_master(kit: Kit) -> None:
    def undo(_: Vif, lines: list[str]) -> list[str]:
        return _ran(*(["ip", "link", "set", "dev", link[1], "nomaster"] for link in _links(lines) if link[5]))

    _notices(kit, "puts no device into another", undo)


@case(
    TOPIC,
    "check-notices-down",
    "check notices a device of the script's own that is down",
    anchor="verbs",
    says=_SAYS,
)
def check_notices_down(kit: Kit) -> None:
    def undo(vif: Vif, lines: list[str]) -> list[str]:
        own = [
            link[1] for link in _links(lines) if link[3] and not (link[1] == vif.devname and vif.made_here)
        ]
        return _ran(*(["ip", "link", "set", "dev", name, "down"] for name in own))

    _notices(kit, "makes no device", undo)


@case(
    TOPIC,
    "check-notices-gone",
    "check notices that a device of the script's own has gone",
    anchor="verbs",
    says=_SAYS,
)
def check_notices_gone(kit: Kit) -> None:
    def undo(vif: Vif, lines: list[str]) -> list[str]:
        own = [link[1] for link in _links(lines) if not (link[1] == vif.devname and vif.made_here)]
        return _ran(*(["ip", "link", "delete", "dev", name] for name in own))

    _notices(kit, "makes no device", undo)


@case(TOPIC, "check-notices-no-tap", "check notices that the VIF's tap has gone", anchor="verbs", says=_SAYS)
def check_notices_no_tap(kit: Kit) -> None:
    def undo(vif: Vif, lines: list[str]) -> list[str]:
        if not vif.made_here or not any(vif.devname in line for line in lines):
            return []
        with Netlink() as netlink:
            link = netlink.link(vif.devname)
            netlink.delete([link.index] if link else [])
        return [f"the removal of {vif.devname}"]

    _notices(kit, "does nothing to a tap that is to be seen", undo)


@case(TOPIC, "check-notices-route", "check notices a route that has gone", anchor="verbs", says=_SAYS)
def check_notices_route(kit: Kit) -> None:
    def undo(_: Vif, lines: list[str]) -> list[str]:
        routes = [
            re.sub(r" metric \d+.*", "", line[6:]).split() for line in lines if line.startswith("route ")
        ]
        return _ran(*(["ip", "-6" if ":" in route[0] else "-4", "route", "del", *route] for route in routes))

    _notices(kit, "adds no route", undo)


@case(TOPIC, "check-notices-address", "check notices an address that has gone", anchor="verbs", says=_SAYS)
def check_notices_address(kit: Kit) -> None:
    def undo(_: Vif, lines: list[str]) -> list[str]:
        words = [line.split() for line in lines if line.startswith("address ")]
        return _ran(*(["ip", "address", "del", word[3], "dev", word[1]] for word in words))

    _notices(kit, "adds no address", undo)


@case(TOPIC, "check-notices-filter", "check notices that its filters have gone", anchor="verbs", says=_SAYS)
def check_notices_filter(kit: Kit) -> None:
    def undo(_: Vif, lines: list[str]) -> list[str]:
        tables = [line.split()[2:] for line in lines if re.fullmatch(r"filter table \S+ \S+", line)]
        chains = [line.split()[2:] for line in lines if re.fullmatch(r"filter table \S+ \S+ chain \S+", line)]
        gone = _ran(*(["nft", "delete", "table", *table] for table in tables))
        return gone or _ran(*(["nft", "flush", "chain", chain[0], chain[1], chain[3]] for chain in chains))

    _notices(kit, "adds no filter", undo)


@case(
    TOPIC,
    "check-notices-perturbed",
    "check notices what the test's own commands change",
    anchor="verbs",
    says=_SAYS,
)
def check_notices_perturbed(kit: Kit) -> None:
    kit.needs("check")
    if not kit.subject.perturb:
        raise NotApplicable("no command was given that perturbs what its plug does")
    for command in kit.subject.perturb:
        with kit.plugged() as vif:
            environment = {
                **os.environ,
                **kit.subject.environment,
                "VIF_DEVNAME": vif.devname,
                "VIF_ID": vif.id,
            }
            done = subprocess.run(
                ["/bin/sh", "-c", command], env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                raise Broken(
                    f"perturb: {command!r} ended with exit status {done.returncode}: {done.stderr.strip()}"
                )
            came = kit.call("check", vif)
            if came.done and came.reply.get("ok", True):
                raise Broken(f"check said ok after {command!r}", came)
