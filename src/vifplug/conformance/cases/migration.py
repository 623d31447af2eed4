"""Live migration: the phases, and taking over."""

from __future__ import annotations

from ..case import Broken, case
from ..kit import Kit

TOPIC = "migration"


@case(TOPIC, "migration-phases", "plug and unplug in each role and phase of a live migration", anchor="the-request",
      says='null, or {"role": "source" or "destination", "phase": "prepare", "running", "done" or "failed"}')  # fmt: skip
def migration_phases(kit: Kit) -> None:
    for role in ("source", "destination"):
        for phase in ("prepare", "running", "done", "failed"):
            with kit.plugged(migration={"role": role, "phase": phase}) as vif:
                kit.done("unplug", vif)


@case(
    TOPIC,
    "migration-leaves-nothing",
    "a migration that failed leaves nothing at its destination",
    anchor="verbs",
    says="undoes it.",
)
def migration_leaves_nothing(kit: Kit) -> None:
    begun = {"role": "destination", "phase": "prepare"}
    with (
        kit.unchanged("a migration that failed changed its destination"),
        kit.plugged(migration=begun) as vif,
    ):
        failed = kit.make(
            id=vif.id, address=vif.address, migration={"role": "destination", "phase": "failed"}
        )
        kit.done("unplug", failed)


@case(TOPIC, "activate", "activate works at the destination, and twice", anchor="verbs",
      says="live migration: from now on this host owns the VIF")  # fmt: skip
def activate(kit: Kit) -> None:
    kit.needs("activate")
    with kit.plugged(migration={"role": "destination", "phase": "prepare"}) as vif:
        active = kit.make(
            id=vif.id, address=vif.address, migration={"role": "destination", "phase": "running"}
        )
        kit.done("activate", active)
        with kit.unchanged("a second activate changed the host"):
            kit.done("activate", active)
        if "check" in kit.verbs() and not (checked := kit.done("check", active)).reply.get("ok", True):
            raise Broken("after activate, check sees drift", checked)
        kit.done("unplug", active)
