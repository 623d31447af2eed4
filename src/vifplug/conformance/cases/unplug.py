"""Unplug: of all that may need it."""

from __future__ import annotations

import re

from ..case import Broken, NotApplicable, case
from ..kit import Kit

TOPIC = "unplug"
_SAYS = "It succeeds too when called again, for a VIF that was never plugged, and after a plug that stopped halfway"


@case(TOPIC, "unplug-succeeds", "unplug succeeds", anchor="verbs", says="undoes it.")
def unplug(kit: Kit) -> None:
    with kit.plugged() as vif:
        kit.done("unplug", vif)


@case(TOPIC, "unplug-again", "unplug called again succeeds and changes nothing", anchor="verbs", says=_SAYS)
def unplug_again(kit: Kit) -> None:
    with kit.plugged() as vif:
        kit.done("unplug", vif)
        with kit.unchanged("a second unplug changed the host"):
            kit.done("unplug", vif)


@case(
    TOPIC,
    "unplug-unknown",
    "unplug of a VIF that was never plugged succeeds and changes nothing",
    anchor="verbs",
    says=_SAYS,
)
def unplug_unknown(kit: Kit) -> None:
    with kit.vif() as vif, kit.unchanged("unplug of an unknown VIF changed the host"):
        kit.done("unplug", vif)


@case(
    TOPIC,
    "unplug-unknown-no-device",
    "unplug of a VIF that was never plugged and has no device",
    anchor="verbs",
    says=_SAYS,
)
def unplug_unknown_no_device(kit: Kit) -> None:
    vif = kit.make()
    with kit.unchanged("unplug of an unknown VIF changed the host"):
        kit.done("unplug", vif)


@case(TOPIC, "unplug-without-device", "unplug after the device has gone", anchor="verbs", says="undoes it.")
def unplug_without_device(kit: Kit) -> None:
    vif = kit.make()
    if not vif.made_here:
        raise NotApplicable("the host makes no device for this VIF")
    before = kit.look()
    with kit.plugged(vif):
        kit.remove_device(vif)
        kit.done("unplug", vif)
        if left := kit.look().beyond(before):
            raise Broken(
                "the device had gone, and after unplug this is left:\n" + "\n".join(left), kit.calls[-1]
            )


@case(
    TOPIC,
    "unplug-undoes",
    "after unplug the device is as it was before plug",
    anchor="verbs",
    says="undoes it.",
)
def unplug_undoes(kit: Kit) -> None:
    with kit.vif() as vif:
        ignored = f"^link {re.escape(vif.devname)} .* up$"  # up is the host's to say
        before = kit.look()
        kit.done("plug", vif)
        kit.done("unplug", vif)
        differences = before.without(ignored).differences(kit.look().without(ignored))
        if differences:
            raise Broken("unplug did not undo what plug did:\n" + "\n".join(differences), kit.calls[-1])


@case(TOPIC, "nothing-left", "after unplug nothing is left: no device, address, route, filter, process or file",
      anchor="verbs", says="undoes it.")  # fmt: skip
def nothing_left(kit: Kit) -> None:
    with kit.unchanged("after unplug and without its device the host is not as it was before"):
        for _ in range(2):
            with kit.plugged() as vif:
                kit.done("unplug", vif)


@case(TOPIC, "unplug-after-refused", "unplug after a plug that was refused", anchor="what-the-host-promises",
      says="A failed plug is followed by unplug; then the host removes the device that it made.")  # fmt: skip
def unplug_after_refused(kit: Kit) -> None:
    from .details import bad_bindings

    tried = 0
    for vif, what in bad_bindings(kit):
        tried += 1
        with kit.vif(vif):
            before = kit.look()
            kit.call("plug", vif)
            came = kit.call("unplug", vif)
            if not came.done:
                raise Broken(f"unplug after a plug that was refused ({what}) failed", came)
            if differences := before.differences(kit.look()):
                raise Broken(
                    f"after a plug that was refused ({what}) and unplug:\n" + "\n".join(differences), came
                )
    if not tried:
        raise NotApplicable("its details_schema forbids nothing")
