"""Verbs that a script does not know."""

from __future__ import annotations

from ..case import Broken, NotApplicable, case
from ..kit import Kit

_UNKNOWN = "vifplug-conform-unknown"
_OPTIONAL = ("check", "update", "activate")


@case("verbs", "unknown-verb", "a verb that nobody knows ends with 64",
      anchor="verbs", says="Any verb that a script does not know must end with status 64")  # fmt: skip
def unknown_verb(kit: Kit) -> None:
    with kit.vif() as vif:
        for environment in (None, {"VIF_ID": ""}):
            came = kit.raw(_UNKNOWN, vif, environment=environment)
            if came.status != 64:
                raise Broken(f"an unknown verb ended with {came.status}, not with 64", came)


@case("verbs", "unknown-verb-touches-nothing", "a verb that nobody knows changes nothing, plugged or not",
      anchor="verbs", says="Any verb that a script does not know must end with status 64, before it has done anything.")  # fmt: skip
def unknown_verb_touches_nothing(kit: Kit) -> None:
    with kit.vif() as vif:
        with kit.unchanged("an unknown verb changed the host"):
            kit.raw(_UNKNOWN, vif)
        kit.done("plug", vif)
        with kit.unchanged("an unknown verb changed the host, where the VIF was plugged"):
            kit.raw(_UNKNOWN, vif)


@case("verbs", "unlisted-verbs", "a verb that its info does not name ends with 64",
      anchor="verbs", says="Any verb that a script does not know must end with status 64")  # fmt: skip
def unlisted_verbs(kit: Kit) -> None:
    unlisted = [verb for verb in _OPTIONAL if verb not in kit.verbs()]
    if not unlisted:
        raise NotApplicable("it has every verb")
    with kit.plugged() as vif:
        for verb in unlisted:
            with kit.unchanged(f"{verb} changed the host"):
                came = kit.call(verb, vif)
                if came.status != 64:
                    raise Broken(
                        f"{verb}, which it does not offer, ended with {came.status}, not with 64", came
                    )
