"""Details that a script must refuse, derived from its own schema."""

from __future__ import annotations

import json
from collections.abc import Iterator

from ...model import Vif
from ..case import Broken, NotApplicable, case
from ..details import properties, required, wrong
from ..kit import Kit

TOPIC = "details"


def bad_bindings(kit: Kit) -> Iterator[tuple[Vif, str]]:
    """VIFs with one bad detail each, and what is wrong; those that no host would take are left out."""
    schema = kit.info.details_schema if kit.info else None
    for name, each in properties(schema).items():
        for value in wrong(each):
            if (vif := kit.possible(details={name: value})) is not None:
                yield vif, f"vif_details.{name} is {json.dumps(value)}"
    for name in required(schema):
        if (vif := kit.possible(details={name: None})) is not None and name not in vif.details:
            yield vif, f"vif_details.{name} is missing"


@case(TOPIC, "bad-details", "each detail that its schema forbids gives 65",
      anchor="exit-statuses", says="fails; the message reaches the caller")  # fmt: skip
def bad_details(kit: Kit) -> None:
    if not _refused(kit, missing=False, verb="forbids"):
        raise NotApplicable(
            "its details_schema has no detail with a type or a range that a wrong value could miss"
        )


@case(TOPIC, "missing-details", "each detail that its schema requires and a binding lacks gives 65",
      anchor="exit-statuses", says="fails; the message reaches the caller")  # fmt: skip
def missing_details(kit: Kit) -> None:
    if not _refused(kit, missing=True, verb="requires"):
        raise NotApplicable("its details_schema requires nothing that a host would not ask for itself")


def _refused(kit: Kit, *, missing: bool, verb: str) -> int:
    """Plug each binding that the schema makes wrong in this way; how many there were. None may get by."""
    tried = 0
    for vif, what in bad_bindings(kit):
        if what.endswith("is missing") is not missing:
            continue
        tried += 1
        with kit.vif(vif):
            came = kit.call("plug", vif)
            if came.outcome != "bad_details":
                raise Broken(
                    f"{what}, which its details_schema {verb}, and plug ended with {came.outcome}", came
                )
            kit.call("unplug", vif)
    return tried


@case(TOPIC, "refusals-name-the-detail", "a refusal says which detail it is",
      anchor="exit-statuses", says="fails; the message reaches the caller")  # fmt: skip
def refusals_name_the_detail(kit: Kit) -> None:
    tried = 0
    for vif, what in bad_bindings(kit):
        tried += 1
        name = what.split()[0].removeprefix("vif_details.")
        with kit.vif(vif):
            came = kit.call("plug", vif)
            kit.call("unplug", vif)
        if came.outcome == "bad_details" and name not in came.message:
            raise Broken(f"{what}, and the message does not name {name}", came)
    if not tried:
        raise NotApplicable("its details_schema forbids nothing")
