"""A plug rehearsed: what would be done now, in its order, with nothing of it done."""

from __future__ import annotations

from ..errors import VifplugError
from ..guest import interface_xml
from ..model import Vif
from ..script.trust import TrustedScript
from .changes import How, plan, told
from .devices import Devices, host_address
from .ledger import Row
from .results import Planned, Rehearsal, State
from .scripts import Scripts
from .work import verbs_for


def rehearse(vif: Vif, row: Row | None, devices: Devices, scripts: Scripts) -> Rehearsal:
    """The steps of a plug of ``vif`` where ``row`` is what is on record; asks its script for a dry run.

    Raises what the plug would raise before it changed anything, and what the script says of its own.
    """
    script = scripts.prepare(vif)
    steps: list[Planned] = []
    verbs = ["plug"]
    if row is not None and row.record.state is not State.PLUGGED:
        steps.append(Planned(name="recover", text=f"finish what was left {row.record.state.value}"))
    elif row is not None and not row.record.lost:
        change = plan(row.record.request, vif, scripts.info(script) if script else None)
        if change.how is How.REPLACE:
            devices.check_free(row.record.vif, change.refused)
            steps += _unplug(row, scripts)
            row = None
        else:
            verbs = verbs_for(change, script)
    steps.append(Planned(name="intent", text="write to the ledger what is about to be done"))
    if vif.made_here:
        steps.append(Planned(name="device", text=_device(vif, devices, replaced=row is None)))
    if script is not None:
        for verb in verbs:
            asked = told(verb, row.record.request if row is not None else vif, vif)
            steps.append(_script(scripts, script, verb, asked))
    steps.append(Planned(name="outcome", text="write to the ledger that it is plugged"))
    return Rehearsal(id=vif.id, steps=steps, xml=_xml(vif, script))


def _unplug(row: Row, scripts: Scripts) -> list[Planned]:
    record, steps = row.record, []
    if record.script is not None:
        steps.append(_script(scripts, scripts.find(record.script.name), "unplug", record.request))
    if record.vif.made_here:
        steps.append(Planned(name="remove device", text=f"remove the tap {record.vif.devname}"))
    return steps


def _device(vif: Vif, devices: Devices, *, replaced: bool) -> str:
    facts = [f"MAC {host_address(vif)}" if vif.address else "", f"MTU {vif.mtu}" if vif.mtu else ""]
    facts.append(f"{vif.queues} queues" if vif.queues > 1 else "")
    verb = "keep" if devices.has(vif) and not replaced else "make"
    return f"{verb} the tap {vif.devname}: " + ", ".join([fact for fact in facts if fact] + ["up"])


def _script(scripts: Scripts, script: TrustedScript, verb: str, vif: Vif) -> Planned:
    commands = scripts.rehearse(script, verb, vif)
    text = (
        script.path
        if commands is not None
        else f"{script.path} (it has no dry run: what it does is not known)"
    )
    return Planned(name=f"script {verb}", text=text, commands=commands or [])


def _xml(vif: Vif, script: TrustedScript | None) -> str | None:
    try:
        return interface_xml(vif)
    except VifplugError:
        if script is None:
            raise
        return None  # it waits for what the script will answer
