"""The work itself: connect, change, disconnect, and finish what a crash interrupted.

Everything here is done while the VIF's lock is held, writes its intent before it acts and its
outcome after, and leaves either the thing done, the thing undone, or a debt on record.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from ..errors import DeviceFailed, UndoIncomplete, VerbNotSupported, VifplugError
from ..guest import interface_xml
from ..model import Vif, fold_reply
from ..script.marks import Mark, kill_marked
from ..script.trust import TrustedScript
from .changes import Change, How, arrived, known_by_device, plan, takes_over, told
from .devices import Devices
from .ledger import Ledger, Row
from .residents import end_ownerless
from .results import CallRecord, Plugged, Record, State
from .scripts import Scripts, reference
from .steps import OnStep, Steps

_ETH_DATA_LEN = 1500  # linux/if_ether.h


class Work:
    """What the verbs of a Host are made of."""

    def __init__(self, ledger: Ledger, devices: Devices, scripts: Scripts, on_step: OnStep | None) -> None:
        self._ledger = ledger
        self._devices = devices
        self._scripts = scripts
        self._on_step = on_step

    def connect(
        self, vif: Vif, script: TrustedScript | None, seconds: float | None, owner: int | None
    ) -> Plugged:
        """Plug a VIF that is not plugged; whatever fails, it is undone in reverse."""
        xml = _final_xml(vif, script)
        steps = Steps(vif.id, self._on_step)
        log: list[CallRecord] = []
        with steps.step("intent"):
            row = self._ledger.begin_plug(vif, reference(script), Mark.new().to_text(), owner)
        try:
            return self._bring_up(row, vif, script, ["plug"] if script else [], seconds, steps, log, xml=xml)
        except BaseException as error:
            self._undo(row, error, log)
            raise

    def change(
        self, row: Row, vif: Vif, script: TrustedScript | None, change: Change, seconds: float | None,
        *, owner: int | None = None,
    ) -> Plugged:  # fmt: skip
        """Carry out a change on a live VIF; when it fails, go back to what was, and never take the VIF away.

        ``owner`` is whose VIF it is once it is changed.
        """
        takes = takes_over(row.record.request, vif)
        if row.record.error is not None and change.how in (How.RECORD, How.UPDATE):
            row = self._mend(row, script, seconds)
        if takes:  # the guest is here from now on, whatever the script says to that
            here = {name: arrived(getattr(row.record, name)) for name in ("request", "vif")}
            row = msgspec.structs.replace(row, record=msgspec.structs.replace(row.record, **here))
        if owner is not None:
            row = msgspec.structs.replace(row, record=msgspec.structs.replace(row.record, owner=owner))
        self._devices.take_back(row.record.vif)
        steps = Steps(vif.id, self._on_step)
        log: list[CallRecord] = []
        verbs = verbs_for(change, script)
        xml = _final_xml(vif, script)
        with steps.step("intent"):
            row = self._ledger.begin_update(row, vif, Mark.new().to_text())
        try:
            plugged = self._bring_up(row, vif, script, verbs, seconds, steps, log, change.fields, xml)
            return msgspec.structs.replace(plugged, activated=takes)
        except BaseException as error:
            _stop_if_interrupted(row, error)
            self._put_back(row, script, verbs, steps, log, error, change.fields)
            raise

    def _mend(self, row: Row, script: TrustedScript | None, seconds: float | None) -> Row:
        """Bring a VIF whose last change could not be put back to its recorded request, so that the next one
        starts from there."""
        self.change(row, row.record.request, script, Change(How.SAME, [], []), seconds)
        return self._ledger.current(row.record.id) or row

    def disconnect(
        self, row: Row, *, seconds: float | None = None, let_go: bool = True
    ) -> VifplugError | None:
        """Unplug by the recorded request; what could not be undone is on record as owed, and returned.

        ``let_go``: whether a device that was taken from its maker loses its mark.
        """
        steps = Steps(row.record.id, self._on_step)
        with steps.step("intent"):
            row = self._ledger.begin_unplug(row, Mark.new().to_text())
        return self._take_down(row, [], steps, seconds=seconds, let_go=let_go)

    def settle(self, vif_id: str) -> Row | None:
        """The VIF, out of whatever a crash left it in the middle of: plugged, or not there."""
        self.kill_leftovers(vif_id)
        row = self._ledger.current(vif_id)
        if row is None or row.record.state is State.PLUGGED:
            return row
        if row.record.state is State.UPDATING and not row.record.lost:
            return self._finish_change(row)
        self.disconnect(row)
        return None

    def kill_leftovers(self, vif_id: str) -> None:
        """End what is left of verbs whose process died: nothing may run beside the next verb.

        The VIF's lock is ours, so a mark on record is that of a process that is gone.
        """
        marks = self._ledger.marks(vif_id)
        for mark in marks:
            kill_marked(Mark.from_text(mark))
        if marks:
            end_ownerless(self._ledger)
            self._ledger.unmark(vif_id)

    # --- forward -----------------------------------------------------------------------------

    def _bring_up(  # noqa: PLR0917
        self,
        row: Row,
        vif: Vif,
        script: TrustedScript | None,
        verbs: Sequence[str],
        seconds: float | None,
        steps: Steps,
        log: list[CallRecord],
        changes: Sequence[str] = (),
        xml: str | None = None,
    ) -> Plugged:
        """Device, script, reply, guest XML, outcome: the same for a plug and for a change."""
        if vif.kept_here:
            with steps.step("device", vif.devname):
                self._devices.ensure(_with_mtu(vif, changes))
        reply = {} if "plug" in verbs else _still_true(row.reply, changes)
        if script is not None:
            for verb in verbs:
                asked = told(verb, row.record.request, vif)
                with steps.step(f"script {verb}", script.path), _unless_it_has_none(verb):
                    answer = self._scripts.call(
                        script, verb, row, asked, log, seconds=seconds, changes=changes
                    )
                    reply.update(answer.get("vif", {}))
        with steps.step("reply"):
            shown = fold_reply(vif, reply)
        with steps.step("verify", shown.devname):
            master = self._settle(row, shown, verbs, changes)
        with steps.step("guest XML"):
            xml = xml or interface_xml(shown)
        with steps.step("outcome"):
            self._ledger.plugged(row, shown, reply, master, log)
        return Plugged(
            id=vif.id, generation=row.record.generation, vif=shown, xml=xml, changed=True, seconds=0.0
        )

    def _settle(self, row: Row, shown: Vif, verbs: Sequence[str], changes: Sequence[str]) -> str | None:
        """The device as promised; what is its master now, for the record.

        Raises DeviceFailed when it lost its master and asking the script again did not bring that back.
        """
        master = self._devices.settle(shown)
        if master is not None or row.master is None:
            return master
        if changes:  # only a script that was asked for it can mean it
            return None if set(verbs) - {"activate"} else row.master
        if self._devices.drift(shown, row.master):
            raise DeviceFailed(
                f"{row.master}, on which {shown.devname} was plugged, is gone, or does not have it any more, and "
                + (
                    "asking the plug script again did not mend that"
                    if verbs
                    else "no plug script can mend that"
                ),
                device=shown.devname,
            )
        return None

    def _finish_change(self, row: Row) -> Row | None:
        """A change that was interrupted: the guest lives, so go on with it, and if that fails go back."""
        wanted = row.record.next_request or row.record.request
        try:
            script = self._scripts.find(wanted.plug_script) if wanted.plug_script else None
            if known_by_device(row.record):
                change = Change(How.SAME, [], [])
            else:
                change = plan(row.record.request, wanted, self._scripts.info(script) if script else None)
            self.change(row, wanted, script, change, None)
        except VifplugError as error:
            self._ledger.update_failed(row, error, [])
        return self._ledger.current(row.record.id)

    # --- back --------------------------------------------------------------------------------

    def _undo(self, row: Row, error: BaseException, log: list[CallRecord]) -> None:
        """Take back a plug that failed or was interrupted; what cannot be taken back is a debt, and said."""
        _stop_if_interrupted(row, error)
        script_began = any(call.ran for call in log) or not isinstance(error, VifplugError)
        steps = Steps(row.record.id, self._on_step)
        try:
            owed = self._take_down(row, log, steps, ask_script=script_began, prefix="undo ")
        except VifplugError as failure:  # say, the disk is full: the intent stays on record for recover
            owed = failure
        if owed is not None:
            _add(
                error,
                f"and undoing it failed too ({owed.message}); it is on record, 'vifplug gc' tries again",
            )

    def _put_back(  # noqa: PLR0917
        self,
        row: Row,
        script: TrustedScript | None,
        verbs: Sequence[str],
        steps: Steps,
        log: list[CallRecord],
        error: BaseException,
        changes: Sequence[str],
    ) -> None:
        """After a change that failed: kernel and backend back to the recorded request, as far as can be."""
        old, new = row.record.request, row.record.next_request
        failures: list[str] = []
        if old.kept_here:
            with _noted(failures), steps.step("undo device", old.devname):
                self._devices.ensure(_with_mtu(row.record.vif, changes))
        if script is not None and new is not None and new != old:
            for verb in verbs:
                if verb == "activate":  # which nothing undoes: the guest is here
                    continue
                with _noted(failures), steps.step(f"undo script {verb}", script.path):
                    self._scripts.call(script, verb, row, told(verb, new, old), log)
        if failures:
            _add(error, f"and going back failed too ({'; '.join(failures)}); see 'vifplug check {old.id}'")
        kept = (
            error
            if isinstance(error, VifplugError)
            else UndoIncomplete(f"interrupted ({type(error).__name__})")
        )
        self._ledger.update_failed(row, kept, log)

    def _take_down(
        self,
        row: Row,
        log: list[CallRecord],
        steps: Steps,
        *,
        seconds: float | None = None,
        ask_script: bool = True,
        let_go: bool = True,
        prefix: str = "",
    ) -> VifplugError | None:
        """Script, then device, then outcome."""
        record = row.record
        owed: VifplugError | None = None
        if record.script is not None and ask_script:
            try:
                script = self._scripts.find(record.script.name)
                with steps.step(f"{prefix}script unplug", script.path):
                    self._scripts.call(script, "unplug", row, record.request, log, seconds=seconds)
            except VifplugError as error:
                owed = error
        ours = record.vif.made_here or (record.vif.kept_here and let_go)
        if ours and not self._has_successor(record):
            what = "remove" if record.vif.made_here else "let go of"
            try:
                with steps.step(f"{prefix}{what} device", record.vif.devname):
                    self._devices.remove(record.vif)
            except VifplugError as error:
                owed = owed or error
        with steps.step(f"{prefix}outcome"):
            if owed is None:
                self._ledger.unplugged(row, log)
            else:
                self._ledger.owes(row, owed, log)
        return owed

    def _has_successor(self, record: Record) -> bool:
        """Whether a debt's VIF has been plugged anew since: then the device is the new plug's."""
        return record.state is State.DEBT and self._ledger.current(record.id) is not None


def _final_xml(vif: Vif, script: TrustedScript | None) -> str | None:
    """The guest XML where no script has a say in it: what no guest can be shown is refused before anything is done."""
    return interface_xml(vif) if script is None else None


def verbs_for(change: Change, script: TrustedScript | None) -> list[str]:
    """What the script is called for to carry out a change on a live VIF."""
    if script is None:
        return []
    verbs = {How.SAME: ["plug"], How.RECORD: [], How.UPDATE: ["update"], How.REPLUG: ["unplug", "plug"]}
    return verbs[change.how] + (["activate"] if change.activates else [])


def _with_mtu(vif: Vif, changes: Sequence[str]) -> Vif:
    """The VIF, with the MTU that a tap is made with where a change takes away the one that was asked for."""
    return msgspec.structs.replace(vif, mtu=_ETH_DATA_LEN) if vif.mtu is None and "mtu" in changes else vif


def _still_true(reply: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """What a script answered before, but for fields that the caller has since asked to be otherwise."""
    changed = {name.rsplit(".", 1)[-1] for name in changes}
    return {name: value for name, value in reply.items() if name not in changed}


def _stop_if_interrupted(row: Row, error: BaseException) -> None:
    """Ctrl-C ends our wait for a script, not the script."""
    if not isinstance(error, Exception) and row.mark:
        kill_marked(Mark.from_text(row.mark))


@contextlib.contextmanager
def _unless_it_has_none(verb: str) -> Iterator[None]:
    """A script need not have an activate."""
    try:
        yield
    except VerbNotSupported:
        if verb != "activate":
            raise


@contextlib.contextmanager
def _noted(failures: list[str]) -> Iterator[None]:
    """What fails on the way back is noted, and the rest of the way is gone all the same."""
    try:
        yield
    except VifplugError as failure:
        failures.append(failure.message)


def _add(error: BaseException, text: str) -> None:
    if isinstance(error, VifplugError):
        error.message = f"{error.message} — {text}"
        error.args = (error.message,)
