"""Deadlines: what a script does when its time is over, or nearly."""

from __future__ import annotations

import re

from ..case import Broken, NotApplicable, case
from ..kit import Came, Kit
from .halfway import clean, commands_of

TOPIC = "deadlines"
_SAYS = "At the deadline the script's process group gets SIGTERM (and SIGCONT, if it was stopped)."
#: seconds: the deadline of a call that hangs, and what may pass after SIGTERM
_SHORT, _AT_ONCE = 0.4, 0.5


def _hung(kit: Kit, at: int) -> Came:
    with kit.vif() as vif:
        before = kit.look()
        kit.interposed.plan("hang", at)
        came = kit.call("plug", vif, runner=kit.interposing, seconds=_SHORT)
        clean(kit, vif, before, f"a plug whose command {at} hung until the deadline,")
    return came


@case(
    TOPIC,
    "ends-at-sigterm",
    "a plug whose command hangs ends when SIGTERM comes",
    anchor="deadlines",
    says=_SAYS,
)
def ends_at_sigterm(kit: Kit) -> None:
    for at, command in enumerate(commands_of(kit, "plug")[:5], 1):
        came = _hung(kit, at)
        if came.outcome == "timed_out" and came.seconds > _SHORT + _AT_ONCE:
            raise Broken(
                f"its command {at}, {command!r}, hung; SIGTERM did not end the script, SIGKILL had to", came
            )


@case(TOPIC, "little-time-left", "less than a second is left", anchor="the-environment",
      says="whole seconds left, rounded down: sh can compare it")  # fmt: skip
def little_time_left(kit: Kit) -> None:
    with kit.vif() as vif:
        came = kit.call("plug", vif, seconds=0.9)
        if not came.done and came.outcome not in ("retry_later", "backend_unavailable", "timed_out"):
            raise Broken("with little time left, plug neither worked nor said that it has too little", came)
        kit.done("unplug", vif)


@case(TOPIC, "deadline-then-unplug", "unplug after a plug that the deadline ended in its middle", anchor="deadlines",
      says="unplug after a plug that timed out has one of its own")  # fmt: skip
def deadline_then_unplug(kit: Kit) -> None:
    with kit.vif() as vif:
        ignored = f"^link {re.escape(vif.devname)} .* up$"
        before = kit.look().without(ignored)
        lasts = kit.done("plug", vif).seconds
        kit.done("unplug", vif)
        ended = 0
        for part in (0.3, 0.5, 0.7, 0.9):
            ended += kit.call("plug", vif, seconds=max(lasts * part, 0.001)).outcome == "timed_out"
            came = kit.done("unplug", vif)
            if differences := before.differences(kit.look().without(ignored)):
                raise Broken(
                    "after a plug that the deadline ended, and unplug:\n" + "\n".join(differences), came
                )
        if not ended:
            raise NotApplicable("its plug is too fast for a deadline")
