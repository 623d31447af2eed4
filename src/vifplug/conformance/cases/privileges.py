"""What a script may do, and what it needs."""

from __future__ import annotations

from ...script.capabilities import DEFAULT, NAMES
from ..case import Broken, NotApplicable, case
from ..kit import Kit

TOPIC = "privileges"


@case(TOPIC, "capabilities", "it works with the capabilities that it gets", anchor="one-call",
      says="CAP_NET_ADMIN and CAP_NET_RAW, and those that the operator grants to this script")  # fmt: skip
def capabilities(kit: Kit) -> None:
    with kit.vif() as vif:
        for verb in ("plug", "unplug"):
            came = kit.call(verb, vif)
            if came.done:
                continue
            if not kit.call(verb, vif, runner=kit.with_capabilities(list(NAMES))).done:
                raise NotApplicable(f"{verb} fails with all capabilities as well: see the cases of {verb}")
            needed = [
                name for name in NAMES if kit.call(verb, vif, runner=kit.with_capabilities([name])).done
            ]
            hint = (
                f"with {' or '.join(needed)} it works: grant that, or do without"
                if needed
                else "it needs several more"
            )
            raise Broken(f"{verb} works only with more capabilities than granted; {hint}", came)


@case(TOPIC, "grants-are-needed", "each capability beyond the usual two is needed", anchor="one-call",
      says="CAP_NET_ADMIN and CAP_NET_RAW, and those that the operator grants to this script")  # fmt: skip
def grants_are_needed(kit: Kit) -> None:
    granted = [name for name in kit.subject.capabilities if name not in DEFAULT]
    if not granted:
        raise NotApplicable("it is granted the usual two alone")
    for name in granted:
        fewer = kit.with_only([each for each in granted if each != name])
        with kit.vif() as vif:
            calls = [kit.call(verb, vif, runner=fewer) for verb in ("plug", "unplug")]
            if all(came.done for came in calls):
                raise Broken(f"it works without {name} as well: do not grant it", calls[0])
