"""Update: changes to a live VIF."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...model import Vif
from ..case import Broken, NotApplicable, case
from ..details import another, properties, wrong
from ..kit import Came, Kit

TOPIC = "update"
_SAYS = "applies changed details to a live VIF, without a break where the network can"
_OTHERS: dict[str, Any] = {
    "mtu": 1400, "queues": 2, "bandwidth": {"inbound": {"average": 2000}}, "profile": {"x": 1}, "vnic_type": "direct",
}  # fmt: skip


def changes(kit: Kit, vif: Vif) -> Iterator[tuple[str, Vif, bool]]:
    """For each field that update takes: its name, the VIF with another value, and whether that value surely works."""
    schema = properties(kit.info.details_schema if kit.info else None)
    for name in kit.info.update_fields if kit.info else ():
        head, _, key = name.partition(".")
        sure, fields, details = True, {}, {}
        if head == "details" and key in kit.subject.changed_details:
            details = {key: kit.subject.changed_details[key]}
        elif (
            head == "details"
            and key in schema
            and (value := another(schema[key], vif.details.get(key))) is not None
        ):
            details, sure = {key: value}, False
        elif head == "network":
            network = {
                "id": "n",
                "label": "changed",
                "mtu": 1450,
                "subnets": [{"cidr": "10.0.0.0/16", "addresses": ["10.0.77.7"]}],
            }
            fields = {"network": network}
        elif name in _OTHERS:
            fields = {name: _OTHERS[name]}
        else:
            continue
        changed = kit.possible(id=vif.id, address=vif.address, details=details, **fields)
        if changed is not None:
            yield name, changed, sure


def _applied(kit: Kit, name: str, changed: Vif, sure: bool) -> Came | None:
    """The update, or None where a value that was guessed is refused in order."""
    reply = kit.calls[-1].reply
    came = kit.call("update", changed, previous=reply or None, changes=[name])
    if not came.done and not sure and came.status == 65:
        return None
    if not came.done:
        raise Broken(f"update of {name}, which its update_fields offer, failed", came)
    return came


def _each(kit: Kit) -> Iterator[tuple[Vif, str, Vif, Came]]:
    kit.needs("update")
    tried = 0
    for name in [name for name, _, _ in changes(kit, kit.make())]:
        with kit.plugged() as vif:
            for found, changed, sure in changes(kit, vif):
                if found == name and (came := _applied(kit, name, changed, sure)):
                    tried += 1
                    yield vif, name, changed, came
                    kit.call("unplug", changed)
    if not tried:
        raise NotApplicable(
            "the kit can think of no other value for what its update_fields offer: give changed details"
        )


@case(TOPIC, "update-applies", "update applies each field that it offers", anchor="verbs", says=_SAYS)
def update(kit: Kit) -> None:
    for _, name, changed, _ in _each(kit):
        if "check" in kit.verbs() and not (checked := kit.done("check", changed)).reply.get("ok", True):
            raise Broken(f"after an update of {name}, check sees drift", checked)


@case(
    TOPIC,
    "update-as-plug",
    "an update leads where a plug with the same values leads",
    anchor="verbs",
    says=_SAYS,
)
def update_as_plug(kit: Kit) -> None:
    for _, name, changed, came in _each(kit):
        updated = kit.look()
        kit.done("unplug", changed)
        kit.done("plug", changed, generation=2)
        differences = updated.differences(kit.look())
        if differences:
            raise Broken(
                f"an update of {name} does not lead where plug leads (+ plugged, - updated):\n"
                + "\n".join(differences),
                came,
            )


@case(TOPIC, "update-again", "the same update again changes nothing", anchor="verbs", says=_SAYS)
def update_again(kit: Kit) -> None:
    for _, name, changed, came in _each(kit):
        with kit.unchanged(f"a second update of {name} changed the host"):
            again = kit.done("update", changed, previous=came.reply or None, changes=[name])
        if again.reply != came.reply:
            raise Broken(f"the reply was {came.reply} the first time", again)


@case(TOPIC, "update-then-unplug", "unplug after an update leaves nothing", anchor="verbs", says="undoes it.")
def update_then_unplug(kit: Kit) -> None:
    before = kit.look()
    for vif, name, changed, _ in _each(kit):
        kit.done("unplug", changed)
        kit.remove_device(vif)
        if left := kit.look().beyond(before):
            raise Broken(
                f"after an update of {name} and unplug this is left:\n" + "\n".join(left), kit.calls[-1]
            )


@case(TOPIC, "update-of-nothing", "an update in which nothing differs changes nothing", anchor="the-request",
      says="dotted names of what differs from what was plugged")  # fmt: skip
def update_of_nothing(kit: Kit) -> None:
    kit.needs("update")
    with kit.plugged() as vif, kit.unchanged("an update in which nothing differs changed the host"):
        kit.done("update", vif, previous=kit.calls[-1].reply or None, changes=[])


@case(TOPIC, "update-bad-details", "an update to details that its schema forbids gives 65", anchor="exit-statuses",
      says="fails; the message reaches the caller")  # fmt: skip
def update_bad_details(kit: Kit) -> None:
    kit.needs("update")
    schema, tried = properties(kit.info.details_schema if kit.info else None), 0
    offered = (
        [name.partition(".")[2] for name in kit.info.update_fields if name.startswith("details.")]
        if kit.info
        else []
    )
    for key in offered:
        for value in wrong(schema.get(key, {})):
            with kit.plugged() as vif:
                if (changed := kit.possible(id=vif.id, address=vif.address, details={key: value})) is None:
                    continue
                tried += 1
                came = kit.call("update", changed, changes=[f"details.{key}"])
                if came.outcome != "bad_details":
                    raise Broken(
                        f"update to a {key} that its details_schema forbids ended with {came.outcome}", came
                    )
    if not tried:
        raise NotApplicable("its details_schema forbids nothing of what update takes")
