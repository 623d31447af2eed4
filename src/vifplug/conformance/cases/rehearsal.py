"""Dry run."""

from __future__ import annotations

from ...script import trace
from ..case import Broken, NotApplicable, case
from ..kit import Kit
from .details import bad_bindings

TOPIC = "dry run"
_ANCHOR = "dry-run-and-what-was-run"


def _needs_it(kit: Kit) -> None:
    if kit.info is None or not kit.info.dry_run:
        raise NotApplicable("its info does not say that it has a dry run")


@case(
    TOPIC,
    "dry-run-changes-nothing",
    "a dry run of plug or unplug changes nothing",
    anchor=_ANCHOR,
    says="It then changes nothing",
)
def dry_run_changes_nothing(kit: Kit) -> None:
    _needs_it(kit)
    verbs = [verb for verb in ("plug", "unplug", "update", "activate") if verb in kit.verbs()]
    with kit.vif() as vif:
        with kit.unchanged("a dry run changed the host"):
            for verb in verbs:
                kit.call(verb, vif, dry_run=True)
        kit.done("plug", vif)
        with kit.unchanged("a dry run changed the host, where the VIF was plugged"):
            for verb in verbs:
                kit.call(verb, vif, dry_run=True)
        kit.done("unplug", vif)


@case(
    TOPIC,
    "dry-run-without-device",
    "a dry run works before the device is there",
    anchor=_ANCHOR,
    says="The device is not there.",
)
def dry_run_without_device(kit: Kit) -> None:
    _needs_it(kit)
    kit.done("plug", kit.make(), dry_run=True)


@case(TOPIC, "dry-run-says-commands", "a dry run says the commands that plug would run", anchor=_ANCHOR,
      says='writes such a line with "dry": true for each command that it would run')  # fmt: skip
def dry_run_says_commands(kit: Kit) -> None:
    _needs_it(kit)
    with kit.vif() as vif:
        came = kit.done("plug", vif, dry_run=True)
        real = kit.done("plug", vif)
    would = [line for line in trace.lines(came.stderr) if isinstance(line, trace.Ran) and line.dry]
    did = [line for line in trace.lines(real.stderr) if isinstance(line, trace.Ran)]
    if not would and did:
        raise Broken(f"plug runs {len(did)} commands, and its dry run says none", came)
    if not did:
        raise NotApplicable("its plug names no command that it runs")


@case(
    TOPIC,
    "dry-run-refuses",
    "a dry run refuses bad details as plug does",
    anchor=_ANCHOR,
    says="fails where it foresees that it would",
)
def dry_run_refuses(kit: Kit) -> None:
    _needs_it(kit)
    tried = 0
    for vif, what in bad_bindings(kit):
        tried += 1
        came = kit.call("plug", vif, dry_run=True)
        if came.outcome != "bad_details":
            raise Broken(f"{what}, and a dry run of plug ended with {came.outcome}", came)
    if not tried:
        raise NotApplicable("its details_schema forbids nothing")
