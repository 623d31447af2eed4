"""A plug or unplug that stopped halfway: killed at each command that it runs, and at many moments."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...model import Vif
from ..case import Broken, NotApplicable, case
from ..kit import Kit
from ..snapshot import Snapshot

TOPIC = "halfway"
_SAYS = "It succeeds too when called again, for a VIF that was never plugged, and after a plug that stopped halfway"
#: commands that are looked at one by one, and moments that are tried
_MOST, _MOMENTS = 40, 12


def commands_of(kit: Kit, verb: str) -> list[str]:
    """The commands that a verb runs. Raises NotApplicable where the kit sees none."""
    with kit.vif() as vif:
        if verb == "unplug":
            kit.done("plug", vif)
        kit.interposed.plan("watch")
        kit.call(verb, vif, runner=kit.interposing)
        found = kit.interposed.commands()
    if not found:
        raise NotApplicable(f"its {verb} runs no command that is found in PATH")
    return found[:_MOST]


def clean(kit: Kit, vif: Vif, before: Snapshot, after_what: str) -> None:
    """Unplug has to succeed, and to leave nothing."""
    came = kit.call("unplug", vif)
    if not came.done:
        raise Broken(f"unplug failed after {after_what}", came)
    ignored = f"^link {re.escape(vif.devname)} .* up$"
    differences = before.without(ignored).differences(kit.look().without(ignored))
    if differences:
        raise Broken(f"after {after_what} and an unplug that succeeded:\n" + "\n".join(differences), came)


@case(
    TOPIC,
    "killed-at-each-command",
    "plug killed after each command that it runs; unplug then clears up",
    anchor="verbs",
    says=_SAYS,
)
def killed_at_each_command(kit: Kit) -> None:
    for at, command in enumerate(commands_of(kit, "plug"), 1):
        with kit.vif() as vif:
            before = kit.look()
            kit.interposed.plan("kill", at)
            kit.call("plug", vif, runner=kit.interposing)
            clean(kit, vif, before, f"a plug that was killed after its command {at}, {command!r},")


@case(
    TOPIC,
    "plug-after-each-kill",
    "plug killed after each command; after an unplug, plug works as ever",
    anchor="verbs",
    says=_SAYS,
)
def plug_after_each_kill(kit: Kit) -> None:
    with kit.plugged() as vif:
        wanted = [line.replace(vif.devname, "DEVICE") for line in _about(kit.look(), vif)]

    for at, command in enumerate(commands_of(kit, "plug"), 1):
        with kit.vif() as vif:
            kit.interposed.plan("kill", at)
            kit.call("plug", vif, runner=kit.interposing)
            kit.done("unplug", vif)
            came = kit.done("plug", vif, generation=2)
            what = f"after a plug that was killed after its command {at}, {command!r}, unplug and plug"
            found = [line.replace(vif.devname, "DEVICE") for line in _about(kit.look(), vif)]
            if len(wanted) != len(found):
                raise Broken(f"{what} the host has {found}, in place of {wanted}", came)
            if "check" in kit.verbs() and not (checked := kit.done("check", vif)).reply.get("ok", True):
                raise Broken(f"{what}, check sees drift", checked)


def _about(snapshot: Snapshot, vif: Vif) -> Iterator[str]:
    return (line for line in sorted(snapshot.lines) if vif.devname in line and not line.startswith("process"))


@case(TOPIC, "failure-at-each-command", "each command that plug runs fails once; unplug then clears up", anchor="what-the-host-promises",
      says="A failed plug is followed by unplug; then the host removes the device that it made.")  # fmt: skip
def failure_at_each_command(kit: Kit) -> None:
    for at, command in enumerate(commands_of(kit, "plug"), 1):
        with kit.vif() as vif:
            before = kit.look()
            kit.interposed.plan("fail", at)
            kit.call("plug", vif, runner=kit.interposing)
            clean(kit, vif, before, f"a plug whose command {at}, {command!r}, failed")


@case(TOPIC, "failures-are-told", "when no command works, plug does not say that it is done", anchor="exit-statuses",
      says="fails; the last five lines on standard error reach the caller")  # fmt: skip
def failures_are_told(kit: Kit) -> None:
    commands_of(kit, "plug")
    with kit.vif() as vif:
        kit.interposed.plan("fail all")
        came = kit.call("plug", vif, runner=kit.interposing)
        failed = kit.interposed.commands()
        kit.call("unplug", vif)
    if came.done and failed:
        raise Broken(
            f"plug said that it was done, and of the commands that it ran each failed: {', '.join(failed[:5])}",
            came,
        )
    if not came.done and came.message.endswith("it said nothing on standard error"):
        raise Broken("plug failed without a word", came)


@case(
    TOPIC,
    "unplug-killed",
    "unplug killed after each command that it runs; a second one finishes",
    anchor="verbs",
    says=_SAYS,
)
def unplug_killed(kit: Kit) -> None:
    for at, command in enumerate(commands_of(kit, "unplug"), 1):
        with kit.vif() as vif:
            before = kit.look()
            kit.done("plug", vif)
            kit.interposed.plan("kill", at)
            kit.call("unplug", vif, runner=kit.interposing)
            clean(kit, vif, before, f"an unplug that was killed after its command {at}, {command!r},")


@case(
    TOPIC,
    "killed-at-moments",
    "plug killed at twelve moments; unplug then clears up, and plug works",
    anchor="verbs",
    says=_SAYS,
)
def killed_at_moments(kit: Kit) -> None:
    with kit.vif() as vif:
        before = kit.look()
        lasts = kit.done("plug", vif).seconds
        clean(kit, vif, before, "a plug")
        for moment in range(_MOMENTS):
            kit.killed_after("plug", vif, lasts * (moment + 0.5) / _MOMENTS)
            clean(
                kit,
                vif,
                before,
                f"a plug that was killed after {lasts * (moment + 0.5) / _MOMENTS * 1000:.1f} ms",
            )
        kit.done("plug", vif, generation=2)


@case(
    TOPIC,
    "unplug-killed-at-moments",
    "unplug killed at twelve moments; a second one finishes",
    anchor="verbs",
    says=_SAYS,
)
def unplug_killed_at_moments(kit: Kit) -> None:
    with kit.vif() as vif:
        before = kit.look()
        kit.done("plug", vif)
        lasts = kit.done("unplug", vif).seconds
        for moment in range(_MOMENTS):
            kit.done("plug", vif)
            kit.killed_after("unplug", vif, lasts * (moment + 0.5) / _MOMENTS)
            clean(
                kit,
                vif,
                before,
                f"an unplug that was killed after {lasts * (moment + 0.5) / _MOMENTS * 1000:.1f} ms",
            )
