"""VIFs and their devices: what is on record and not there, or there and not on record."""

from __future__ import annotations

import time
from collections.abc import Iterable

from msgspec import Struct

from ..check import Findings, Unseen, check, few, many, note, ok, problem, warning
from ..place import Place
from ..records import Brief

#: kinds of bridge ports that lead to guests, rather than to other hosts
_TO_GUESTS = ("tun", "veth")
_MARK = "vifplug:"
#: the link group of the bridges that vifplug's own scripts make (scriptlib/links.sh)
_OUR_GROUP = "1986814578"
#: seconds after which a verb without outcome has surely lost its process: longer than scripts may take, as a rule
_LONG = 120.0


class _Named(Struct):
    ifname: str = ""  # ip leaves an empty object in the place of what it passes over


def _ids(vifs: Iterable[Brief]) -> list[str]:
    return list(dict.fromkeys(vif.id for vif in vifs))


def _short(vifs: Iterable[Brief]) -> str:
    return few([f"{vif.id[:8]} ({vif.devname})" for vif in vifs])


@check("vifs", "debts", "VIFs whose backends have not been told that they are gone")
def debts(place: Place) -> Findings:
    owing = [vif for vif in place.records.vifs if vif.state == "debt"]
    if not owing:
        yield ok("nothing is owed")
        return
    worst = max(owing, key=lambda vif: vif.attempts)
    yield warning(
        f"{many(len(owing), 'unplug')} owed: {_short(owing)}; the last reason, after {many(worst.attempts, 'attempt')}:"
        f" {worst.error or 'none on record'}",
        why="the network's backend may still hold their ports, addresses and flows",
        do="vifplug gc tries again (vifplug gc --forget ID writes off one whose backend is gone for good)",
        items=_ids(owing),
    )


@check("vifs", "lost", "VIFs that a reboot took")
def lost(place: Place) -> Findings:
    gone = [vif for vif in place.records.current if vif.boot_id != place.boot_id]
    if gone:
        yield warning(
            f"{many(len(gone), 'VIF')} plugged before the last reboot: {_short(gone)}",
            why="their devices went with the kernel, and their backends may still remember them",
            do="plug those whose guests start again, then: vifplug gc",
            items=_ids(gone),
        )
    else:
        yield ok("no VIF was lost by a reboot")


@check("vifs", "arrivals", "VIFs that were plugged for a live migration, and of whose guest nobody has heard")
def arrivals(place: Place) -> Findings:
    waiting = [vif for vif in place.records.current if vif.arriving and vif.boot_id == place.boot_id]
    patience = place.config.daemon.arrival_patience
    overdue = [vif for vif in waiting if vif.changed < time.time() - patience]
    if overdue:
        yield warning(
            f"{many(len(overdue), 'VIF')} waiting for a guest for more than {patience:g} s: {_short(overdue)}",
            why="nobody has said whether the migration succeeded, so the network may not take these for this host's;"
            " vifplugd gives up those whose device is seen to be free",
            do="where the guest runs here: vifplug activate ID; where it does not: vifplug unplug ID",
            items=_ids(overdue),
        )
    elif waiting:
        yield ok(f"{many(len(waiting), 'VIF')} waiting for a guest that is migrating here")
    else:
        yield ok("no VIF waits for a guest to migrate here")


@check("vifs", "unfinished", "Verbs that have begun and not ended")
def unfinished(place: Place) -> Findings:
    begun = [vif for vif in place.records.vifs if vif.at_work]
    long_ago = time.time() - _LONG
    old = [vif for vif in begun if vif.changed < long_ago]
    young = [vif for vif in begun if vif.changed >= long_ago]
    if old:
        yield warning(
            f"{many(len(old), 'VIF')} at work for more than {_LONG:g} s: {_short(old)}",
            why="the process that did it has died, as a rule: they are half plugged or half unplugged",
            do="vifplug recover (what is really still at work is left alone)",
            items=_ids(old),
        )
    if young:
        yield note(f"{many(len(young), 'VIF')} being worked on: {_short(young)}", items=_ids(young))
    if not begun:
        yield ok("nothing was left unfinished")


@check("vifs", "missing-devices", "VIFs on record whose device is gone")
def missing_devices(place: Place) -> Findings:
    here = [
        vif for vif in place.records.current
        if vif.made_here and vif.state == "plugged" and vif.boot_id == place.boot_id
    ]  # fmt: skip
    gone = [vif for vif in here if vif.devname not in place.links]
    if gone:
        yield problem(
            f"{many(len(gone), 'VIF')} plugged whose device is gone: {_short(gone)}",
            why="their guests have no network; something on this host removed the taps, or they are in another"
            " network namespace",
            do="plug their bindings again (vifplug check ID tells more); vifplugd does so by itself",
            items=_ids(gone),
        )
    elif here:
        yield ok(f"every device on record is there ({len(here)})")


@check("vifs", "unowned-devices", "Devices that vifplug made and that no VIF owns")
def unowned_devices(place: Place) -> Findings:
    ledger, owned = place.records.ledger, set(_ids(place.records.vifs))
    ours, others = [], []
    for link in place.vif_links:
        maker, _, vif_id = (link.alias or "").removeprefix(_MARK).partition(":")
        if maker != ledger:
            others.append(link.name)
        elif vif_id not in owned:
            ours.append(link.name)
    if ours:
        yield warning(
            f"{many(len(ours), 'device')} of vifplug's that no VIF owns: {few(ours)}",
            why="they take names and bridge ports; a VIF that wants such a name is refused",
            do="vifplug gc",
            items=ours,
        )
    if others:
        yield warning(
            f"{many(len(others), 'device')} marked by another ledger than {place.config.state_dir}'s: {few(others)}",
            why="another vifplug on this host made them, with a state_dir of its own, or one whose ledger was lost;"
            " VIFs of these names are refused",
            do=f"find that ledger (vifplug config, for each service that plugs); if there is none and no guest has it"
            f" open: ip link delete {others[0]}",
            items=others,
        )
    if not ours and not others:
        yield ok("no device of vifplug's is without a VIF")


@check("vifs", "idle-taps", "Persistent taps that are nobody's: not vifplug's, and open in no process")
def idle_taps(place: Place) -> Findings:
    ours = {link.name for link in place.vif_links}
    taps = [link for link in place.links.values() if link.kind == "tun" and link.name.startswith("tap")]
    idle = [link for link in taps if not link.carrier and link.name not in ours]
    if idle and not place.privileged:
        raise Unseen(f"whether a process has {few([link.name for link in idle])} open")
    if idle:
        held = _held(place)
        idle = [link for link in idle if link.name not in held]
    if not idle:
        yield ok("no tap is without an owner")
        return
    names = [link.name for link in idle]
    yield note(
        f"{many(len(names), 'tap')} that vifplug did not make and no process has open: {few(names)}",
        why="left behind by something else, as a rule; a VIF of such a name is refused (device_taken)",
        do=f"if no guest needs it: ip link delete {names[0]}",
        items=names,
    )


def _held(place: Place) -> set[str]:
    """Names of the taps that processes have open (Documentation/networking/tuntap: fdinfo has "iff:")."""
    held = set()
    for pid in place.pids():
        folder = place.path(f"/proc/{pid}/fdinfo")
        try:
            infos = list(folder.iterdir())
        except OSError:
            continue  # it has ended, or is not ours to look at
        for info in infos:
            try:
                text = info.read_text(errors="replace")
            except OSError:
                continue
            held |= {
                line.split()[1] for line in text.splitlines() if line.startswith("iff:") and line.split()[1:]
            }
    return held


@check("vifs", "empty-bridges", "Bridges that vifplug's scripts made and that no guest is behind")
def empty_bridges(place: Place) -> Findings:
    said = place.ask(list[_Named] | None, "ip", "-j", "link", "show", "group", _OUR_GROUP, "type", "bridge")  # type: ignore[arg-type]  # mypy#9773
    bridges = [link.ifname for link in said or [] if link.ifname in place.links]
    busy = {link.master for link in place.links.values() if link.kind in _TO_GUESTS}
    empty = [name for name in bridges if place.links[name].index not in busy]
    if empty:
        yield note(
            f"{many(len(empty), 'bridge')} of vifplug's scripts without a guest's port: {few(empty)}",
            why="the last VIF's unplug removes them; one that is left was missed by a script that was killed",
            do=f"ip link delete {empty[0]}; the next plug makes it again if it is needed",
            items=empty,
        )
    elif bridges:
        yield ok(f"{many(len(bridges), 'bridge')} of vifplug's scripts, each with guests behind it", bridges)
    else:
        yield ok("no bridge is left over")
