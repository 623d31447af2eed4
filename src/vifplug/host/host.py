"""Plug and unplug: the one path that every caller walks."""

from __future__ import annotations

import builtins
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from ..config import Config, load
from ..errors import (
    HostError,
    NotPlugged,
    PartlyKnown,
    ScriptNotFound,
    ScriptNotTrusted,
    UpdateRefused,
    VerbNotSupported,
    VifplugError,
)
from ..guest import interface_xml
from ..model import Vif, device_name, read_binding
from ..script.marks import Mark
from ..script.trust import TrustedScript
from .changes import Change, How, known_by_device, not_demoted, plan, same_device, settled_here, takes_over
from .devices import Devices
from .drifts import Drifts
from .ledger import Ledger, Row
from .locks import Locks
from .pool import side_by_side
from .recovery import Recovery
from .rehearsal import rehearse
from .results import (
    Backup,
    CallRecord,
    CheckReport,
    Drift,
    GcReport,
    Plugged,
    Record,
    Recovered,
    Rehearsal,
    ScriptEntry,
    State,
    Unplugged,
    VifCount,
)
from .scripts import OnCall, Scripts, reference
from .steps import OnStep
from .unplugs import PlainUnplugs
from .work import Work

#: what plug and update take: a Vif, or a port binding as JSON text or as a mapping
Binding = Vif | Mapping[str, Any] | bytes | str
Item = TypeVar("Item")
Answer = TypeVar("Answer")

_PORT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Host:
    """This host's VIFs. Safe to use from many threads, and from many processes on one state directory.

    ``config``: the operator's configuration; read from its usual places when not given.
    ``on_step``: called with a Step as each thing begins and ends, in the thread that does it.
    ``on_call``: called with a CallRecord as each call of a script ends, in the thread that waited for it.
    ``boot_id``: the boot we live in; the kernel's own when not given.

    Every method raises a VifplugError that says what is wrong, with which value, and what to do.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        on_step: OnStep | None = None,
        on_call: OnCall | None = None,
        boot_id: str | None = None,
    ) -> None:
        self.config = config if config is not None else load().config
        self.boot_id = boot_id or _BOOT_ID.read_text().strip()
        state_dir = Path(self.config.state_dir)
        self._ledger = Ledger(state_dir, self.boot_id)
        self._locks = Locks(state_dir)
        self._backups = self._ledger.backups(self._locks)
        self._devices = Devices(self.config.device, self._ledger.id)
        self._scripts = Scripts(self.config, self._ledger, self._locks, self.boot_id, on_call)
        self._work = Work(self._ledger, self._devices, self._scripts, on_step)
        self._plain_unplugs = PlainUnplugs(self._ledger, self._locks, self._devices, on_step)
        #: recover and gc VIF by VIF, for who cannot wait for all
        self.recovery = Recovery(self.config, self._ledger, self._locks, self._devices, self._work)
        #: record and kernel compared, without asking a script
        self.drifts = Drifts(self._ledger, self._locks, self._devices)

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._scripts.close()
        self._ledger.close()

    # --- plug --------------------------------------------------------------------------------

    def plug(
        self,
        binding: Binding,
        *,
        seconds: float | None = None,
        refresh: bool = False,
        owner: int | None = None,
    ) -> Plugged:
        """Connect a VIF to its network, and say what its guest sees.

        The same binding again gives the same answer and touches nothing, unless the kernel no
        longer agrees, or ``refresh`` asks for the script to be called again. A changed binding is
        carried out: live where script and type can, else by unplugging and plugging, which is
        refused (VifInUse) while a guest holds the device. ``seconds`` is the script's deadline.
        A binding that was plugged for a live migration's destination, and now says nothing of one, is activated.
        ``owner``: uid of the user whose VIF it is until it is unplugged, or bound otherwise by somebody else;
        the caller's own when not given.
        """
        started = time.monotonic()
        owner = os.geteuid() if owner is None else owner
        vif = self._scripts.with_defaults(_vif(binding))
        with self._locks.vif(vif.id, self.config.lock_wait):
            row = self._work.settle(vif.id)
            if row is not None:
                vif = not_demoted(row.record, vif)
            if row is not None and not refresh and self._stands(row, vif):
                if vif.arriving:
                    self._ledger.expected_anew(row)
                return _timed(_as_plugged(row), started)
            script = self._scripts.prepare(vif)
            if row is None:
                plugged = self._work.connect(vif, script, seconds, owner)
            else:
                plugged = self._plug_again(row, vif, script, seconds, owner)
        return _timed(plugged, started)

    def _stands(self, row: Row, vif: Vif) -> bool:
        """Whether the VIF is plugged just so, nothing was left undone since, and the kernel agrees."""
        record = row.record
        return (
            record.request == vif
            and not record.lost
            and record.error is None
            and not self._devices.drift(record.vif, row.master)
        )

    def _plug_again(
        self, row: Row, vif: Vif, script: TrustedScript | None, seconds: float | None, owner: int | None
    ) -> Plugged:
        record = row.record
        owner = _owner(row, vif, owner)
        if record.lost:
            if record.request != vif:  # the backend may hold what only the old request undoes
                self._work.disconnect(row)
            return self._work.connect(vif, script, seconds, owner)
        if known_by_device(record) and same_device(record.request, vif):
            row = self._ledger.take_script(row, record.request, reference(script), record.error)
            return self._work.change(row, vif, script, Change(How.SAME, [], []), seconds)
        change = plan(record.request, vif, self._scripts.info(script) if script else None)
        if change.how is not How.REPLACE:
            return self._work.change(row, vif, script, change, seconds, owner=owner)
        self._check_replaceable(record.vif, vif, change.refused)
        self._work.disconnect(row)
        return self._work.connect(vif, script, seconds, owner)

    def _check_replaceable(self, old: Vif, new: Vif, changes: builtins.list[str]) -> None:
        """Raise, before the old VIF is gone, what would keep the new one from being plugged in its place."""
        self._devices.check_free(old, changes)
        if new.devname != old.devname:
            self._ledger.check_name(new)
            if new.made_here:
                self._devices.has(new)

    def rehearse(self, binding: Binding) -> Rehearsal:
        """What ``plug`` would do with this binding now, without doing it; no steps when it stands already."""
        vif = self._scripts.with_defaults(_vif(binding))
        with self._locks.vif(vif.id, self.config.lock_wait):
            row = self._ledger.current(vif.id)
            if row is not None:
                vif = not_demoted(row.record, vif)
            if row is not None and row.record.state is State.PLUGGED and self._stands(row, vif):
                return Rehearsal(id=vif.id, steps=[], xml=interface_xml(row.record.vif))
            return rehearse(vif, row, self._devices, self._scripts)

    def update(self, binding: Binding, *, seconds: float | None = None, owner: int | None = None) -> Plugged:
        """Bring a plugged VIF to a changed binding without taking it from its guest.

        ``owner`` as for ``plug``. Raises UpdateRefused, naming the fields, where the type or the script cannot.
        """
        started = time.monotonic()
        vif = self._scripts.with_defaults(_vif(binding))
        with self._locks.vif(vif.id, self.config.lock_wait):
            row = self._work.settle(vif.id)
            if row is None or row.record.lost:
                raise NotPlugged(f"VIF {vif.id} is not plugged on this host: plug it first", vif_id=vif.id)
            vif = not_demoted(row.record, vif)
            script = self._scripts.prepare(vif)
            change = plan(row.record.request, vif, self._scripts.info(script) if script else None)
            if change.refused:
                raise UpdateRefused(
                    f"{', '.join(change.refused)} of VIF {vif.id} cannot be changed while it is plugged: "
                    + _why_refused(vif, script)
                    + "; unplug it and plug it again",
                    vif_id=vif.id,
                    fields=change.refused,
                )
            if change.how is How.SAME:
                return _timed(_as_plugged(row), started)
            owner = _owner(row, vif, os.geteuid() if owner is None else owner)
            return _timed(self._work.change(row, vif, script, change, seconds, owner=owner), started)

    def activate(self, vif_id: str, *, seconds: float | None = None) -> Plugged:
        """The guest has moved here: this host owns a VIF that was plugged for a live migration's destination.

        The script is told by its ``activate``, if it has one. Again, or for a VIF that is this host's anyway:
        fine, and nothing is done. Where the script fails the VIF is this host's all the same; the error is on
        record, and a further activate, plug or repair tells the script again. Raises NotPlugged.
        """
        started = time.monotonic()
        with self._locks.vif(vif_id, self.config.lock_wait):
            row = self._work.settle(vif_id)
            if row is None or row.record.lost:
                raise NotPlugged(
                    f"VIF {vif_id} is not plugged on this host: a guest cannot have come to it; plug it",
                    vif_id=vif_id,
                )
            request, old = settled_here(row.record.request), row.record.request
            if not takes_over(old, request):
                return _timed(_as_plugged(row), started)
            script = self._scripts.prepare(request)
            change = plan(old, request, self._scripts.info(script) if script else None)
            return _timed(self._work.change(row, request, script, change, seconds), started)

    def repair(self, vif_id: str, *, seconds: float | None = None) -> Plugged:
        """Bring a plugged VIF back to its record where kernel or last change differ from it: the device made
        or restored, and the script asked to plug again. ``seconds`` is the script's deadline.

        Raises NotPlugged, also for a VIF that a reboot took, and PartlyKnown for one of which a rebuilt ledger
        does not know what it was plugged with.
        """
        started = time.monotonic()
        with self._locks.vif(vif_id, self.config.lock_wait):
            row = self._work.settle(vif_id)
            if row is None or row.record.lost:
                raise NotPlugged(
                    f"VIF {vif_id} is not plugged on this host: there is nothing to bring back", vif_id=vif_id
                )
            if (error := row.record.error) is not None and "known_from" in error:
                raise PartlyKnown(
                    f"there is nothing sure to bring VIF {vif_id} back to: {error['message']}", vif_id=vif_id
                )
            request = row.record.request
            if self._stands(row, request):
                return _timed(_as_plugged(row), started)
            if not request.arriving:  # a script that was to be told so, and could not be, is told now
                request = settled_here(request)
            script = self._scripts.prepare(request)
            return _timed(self._plug_again(row, request, script, seconds, row.record.owner), started)

    # --- unplug ------------------------------------------------------------------------------

    def unplug(
        self,
        vif_id: str,
        *,
        generation: int | None = None,
        seconds: float | None = None,
        remove_device: bool = False,
    ) -> Unplugged:
        """Undo a plug, by the request it was made with. Again, or for a VIF never plugged: fine.

        With ``generation``, only that plug is undone: a late unplug never touches a newer one.
        With ``remove_device``, a tap that the caller made for the VIF (``made_by: caller``) goes too, unless somebody
        holds it open: then it keeps its mark, and a later unplug with ``remove_device`` removes it. Taps of others,
        which have another mark or are somewhere already, are left alone.
        Raises what the script's failure means; the device is gone all the same, and what the backend
        still holds is on record as a debt.
        """
        started = time.monotonic()
        with self._locks.vif(vif_id, self.config.lock_wait):
            self._work.kill_leftovers(vif_id)
            row = self._ledger.current(vif_id)
            rows = [row] if row is not None else self._ledger.debts(vif_id)
            if generation is not None:
                rows = [row for row in rows if row.record.generation == generation]
            elif row is not None:
                rows += self._ledger.debts(vif_id)
            notes: list[str] = []
            failure: VifplugError | None = None
            for row in rows:
                owed = self._work.disconnect(row, seconds=seconds, let_go=not remove_device)
                if owed is None:
                    continue
                note = (
                    f"{owed.message} — what the backend may still hold is on record: 'vifplug gc' tries again"
                )
                if isinstance(owed, ScriptNotFound | ScriptNotTrusted):
                    notes.append(note)
                else:
                    owed.message, owed.args, failure = note, (note,), owed
            if remove_device and self._ledger.current(vif_id) is None:
                self._remove_callers(vif_id, rows)
            if failure is not None:
                raise failure
        return Unplugged(
            id=vif_id,
            generation=rows[0].record.generation if rows else None,
            changed=bool(rows),
            notes=notes,
            seconds=time.monotonic() - started,
        )

    def _remove_callers(self, vif_id: str, rows: builtins.list[Row]) -> None:
        """``rows``: what was just unplugged. Of a VIF that nobody plugged the tap has Neutron's name."""
        if not rows:
            if _PORT_ID.fullmatch(vif_id):
                self._devices.remove_callers(vif_id, device_name(vif_id))
        elif (vif := rows[0].record.vif).kept_here and not vif.made_here:
            self._devices.remove_callers(vif_id, vif.devname)

    # --- look --------------------------------------------------------------------------------

    def check(self, vif_id: str) -> CheckReport:
        """Compare a plugged VIF with the kernel, and ask its script: is it still as plugged?"""
        with self._locks.vif(vif_id, self.config.lock_wait):
            self._work.kill_leftovers(vif_id)
            row = self._ledger.current(vif_id)
            if row is None:
                raise _not_plugged(vif_id)
            record = row.record
            drift: list[Drift] = []
            if record.state is not State.PLUGGED:
                drift.append(Drift(what="state", expected="plugged", found=record.state.value))
            if record.lost:
                drift.append(Drift(what="boot", expected=record.boot_id, found=self.boot_id))
            else:
                drift += self._devices.drift(record.vif, row.master)
            asked, message = self._ask_script(row, drift)
            return CheckReport(
                id=vif_id, ok=not drift and message is None, drift=drift, script=asked, message=message
            )

    def _ask_script(
        self, row: Row, drift: list[Drift]
    ) -> tuple[Literal["asked", "no check", "no script", "failed"], str | None]:
        if row.record.script is None:
            return "no script", None
        log: list[CallRecord] = []
        try:
            script = self._scripts.find(row.record.script.name)
            info = self._scripts.info(script)
            if info is None or "check" not in info.verbs:
                return "no check", None
            row = self._ledger.begin_check(row, Mark.new().to_text())
            reply = self._scripts.call(script, "check", row, row.record.request, log)
        except VerbNotSupported:
            return "no check", None
        except VifplugError as error:
            return "failed", error.message
        finally:
            if row.mark is not None:
                self._ledger.unmark(row.record.id, log)
        drift += [
            Drift(what=found["what"], expected=found.get("expected"), found=found.get("found"))
            for found in reply.get("drift", ())
        ]
        if not reply.get("ok", True) and not reply.get("drift"):
            drift.append(Drift(what="script", expected="ok", found="not ok"))
        return "asked", None

    def list(
        self,
        state: State | None = None,
        *,
        limit: int | None = None,
        after: int | str | None = None,
    ) -> builtins.list[Record]:
        """Every VIF on record, or those in one state, oldest first; a debt is a record of its own.

        Page by page: ``limit`` records at most, of those plugged ``after`` a generation, best that of the
        last record of the page before; a VIF's id will do too, as long as that VIF is on record.
        """
        return [row.record for row in self._ledger.all(state, limit=limit, after=after)]

    def counts(self) -> builtins.list[VifCount]:
        """How many VIFs are on record, by state and VIF type."""
        return self._ledger.counts()

    def show(self, vif_id: str) -> Record:
        """The VIF as it stands, else its latest debt. Raises NotPlugged when there is no record."""
        row = self._ledger.current(vif_id) or next(iter(self._ledger.debts(vif_id)), None)
        if row is None:
            raise _not_plugged(vif_id)
        return row.record

    def xml(self, vif_id: str) -> str:
        """libvirt's <interface> for a plugged VIF."""
        return interface_xml(self.show(vif_id).vif)

    def calls(self, vif_id: str) -> builtins.list[CallRecord]:
        """What its script was called for, oldest first; kept after unplug too, as long as the log is."""
        calls = self._ledger.calls(vif_id)
        if not calls:
            self.show(vif_id)
        return calls

    def scripts(self) -> builtins.list[ScriptEntry]:
        """What would run, from where, its digest and info, and why a refused script is refused."""
        return self._scripts.entries()

    # --- after a crash, a reboot, and for debts ----------------------------------------------

    def recover(self) -> builtins.list[Recovered]:
        """Finish what a process that died left in the middle; what is at work elsewhere is left to it."""
        return self.recovery.recover()

    def gc(self) -> GcReport:
        """Tell backends of VIFs that a reboot took, try debts again, remove devices nobody owns, trim the log."""
        return self.recovery.gc()

    def backup(self) -> Backup:
        """Back the ledger up beside itself, if it has changed since; from there a damaged one is rebuilt.

        Raises LedgerCorrupt for a damaged ledger, DiskFull or another LedgerError when the backup cannot be
        made; the one before is kept then.
        """
        return self._backups.make(self.config.lock_wait)

    def forget(self, vif_id: str) -> int:
        """Write off what a VIF owes, for a backend that is gone for good; how many debts there were.

        Nothing is asked to undo anything: what the backend still holds, it keeps. Raises NotPlugged
        when the VIF owes nothing.
        """
        with self._locks.vif(vif_id, self.config.lock_wait):
            self._work.kill_leftovers(vif_id)
            debts = self._ledger.forget_debts(vif_id)
        if debts == 0:
            raise NotPlugged(f"VIF {vif_id} owes nothing: see 'vifplug list --state debt'", vif_id=vif_id)
        return debts

    # --- many --------------------------------------------------------------------------------

    def plug_all(
        self,
        bindings: Iterable[Binding],
        *,
        on_done: Callable[[Plugged | VifplugError], None] | None = None,
    ) -> builtins.list[Plugged | VifplugError]:
        """Plug many side by side; the answers in the same order, an error in the place of each that failed."""
        work = _caught(self.plug, on_done)
        return side_by_side(work, list(bindings), self.config.workers, self._scripts.interrupted)

    def unplug_all(
        self,
        vif_ids: Iterable[str] | None = None,
        *,
        on_done: Callable[[Unplugged | VifplugError], None] | None = None,
    ) -> builtins.list[Unplugged | VifplugError]:
        """Unplug many (all on record, when not told which): those without a script together, others side by side."""
        ids = list(dict.fromkeys(record.id for record in self.list()) if vif_ids is None else vif_ids)
        done: dict[str, Unplugged] = {}
        for answer in self._plain_unplugs.unplug(ids):
            done[answer.id] = answer
            if on_done is not None:
                on_done(answer)
        answers = [done.pop(vif_id, None) for vif_id in ids]
        rest = [vif_id for vif_id, answer in zip(ids, answers, strict=True) if answer is None]
        others = iter(side_by_side(_caught(self.unplug, on_done), rest, self.config.workers))
        return [next(others) if answer is None else answer for answer in answers]


def _caught(
    work: Callable[[Item], Answer], on_done: Callable[[Answer | VifplugError], None] | None
) -> Callable[[Item], Answer | VifplugError]:
    def one(item: Item) -> Answer | VifplugError:
        answer: Answer | VifplugError
        try:
            answer = work(item)
        except VifplugError as error:
            answer = error
        except OSError as error:  # no more files, processes or memory: the others may yet be lucky
            answer = HostError(f"this host refused: {error}; see 'ulimit -a', or set workers to less")
        if on_done is not None:
            on_done(answer)
        return answer

    return one


def _owner(row: Row, vif: Vif, asks: int | None) -> int | None:
    """Whose VIF it is from now on: who binds it otherwise may have put secrets of their own into that."""
    return row.record.owner if vif == row.record.request else asks


def _vif(binding: Binding) -> Vif:
    return binding if isinstance(binding, Vif) else read_binding(binding)


def _why_refused(vif: Vif, script: TrustedScript | None) -> str:
    if script is None:
        return f"a {vif.type.value} VIF without a plug script has nobody to change it"
    return f"the plug script {script.name} does not offer to"


def _timed(plugged: Plugged, started: float) -> Plugged:
    return msgspec.structs.replace(plugged, seconds=time.monotonic() - started)


def _as_plugged(row: Row) -> Plugged:
    record = row.record
    return Plugged(
        id=record.id,
        generation=record.generation,
        vif=record.vif,
        xml=interface_xml(record.vif),
        changed=False,
        seconds=0.0,
    )


def _not_plugged(vif_id: str) -> NotPlugged:
    return NotPlugged(f"VIF {vif_id} is not on record on this host: see 'vifplug list'", vif_id=vif_id)
