"""The Host as the daemon offers it: bounded, watched, and every outcome told as an event."""

from __future__ import annotations

import builtins
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import copy_context
from typing import Any

import msgspec

from .. import __version__
from ..config import Config
from ..errors import HostError, NotPlugged, Stopping, TimedOut, VifplugError
from ..host import Host
from ..host.pool import side_by_side
from ..host.results import (
    CallRecord,
    CheckReport,
    GcReport,
    Plugged,
    Record,
    Recovered,
    Rehearsal,
    ScriptEntry,
    State,
    Step,
    Unplugged,
)
from ..host.steps import OnStep
from ..model import Vif, VifType, read_binding
from ..model.learn import learn
from ..script.contract import PROTOCOL
from . import privacy
from .activity import Activity
from .admission import Admission
from .events import Events
from .peers import Peer, Role
from .status import Status

#: seconds between two words of being overloaded
_OVERLOAD_TOLD = 1.0
#: seconds after which a waiting caller looks at the record though no event came: another process may write it
_LOOK_AGAIN = 1.0

#: a context for a verb: its name, its VIF, the VIF's type
Around = Callable[[str, str | None, VifType | None], AbstractContextManager[None]]


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What this host can do: what a scheduler or a live migration asks first."""

    hostname: str
    boot_id: str
    #: of vifplug
    version: str
    #: versions of the plug-script contract
    protocols: list[int]
    vif_types: list[str]
    scripts: list[ScriptEntry]
    #: seconds since 1970
    started: float


class Health(msgspec.Struct, frozen=True, kw_only=True):
    #: "ok", "stopping", or "ailing": a part of the daemon no longer answers
    status: str
    started: float


class Waited(msgspec.Struct, frozen=True, kw_only=True):
    """A VIF that came to the state waited for; ``vif`` is its record, or None when it is unplugged."""

    id: str
    state: str
    vif: Record | None = None


class Service:
    """Every verb of the Host, for many callers at once."""

    def __init__(self, host_config: Config, events: Events, *, boot_id: str | None = None) -> None:
        self.config = host_config
        self.events = events
        self.activity = Activity()
        self.admission = Admission(host_config.daemon, self._overloaded)
        self._overload_told = 0.0
        self.started = time.time()
        #: how many connections the server has
        self.connections: Callable[[], int] = int
        #: what Prometheus reads
        self.metrics: Callable[[], bytes] = bytes
        #: whether every part of the daemon still answers
        self.alive: Callable[[], bool] = lambda: True
        self._stopping = False
        self._listening = threading.local()
        self._around: list[Around] = []
        self._on_verb: list[Callable[[str, str, float], None]] = []
        self._on_steps: list[OnStep] = [self.activity.on_step]
        self._on_calls: list[Callable[[CallRecord], None]] = [self.activity.on_call, self._publish_call]
        self.host = Host(host_config, on_step=self._tell_step, on_call=self._tell_call, boot_id=boot_id)

    def close(self) -> None:
        self.host.close()

    def observe(
        self,
        *,
        around: Around | None = None,
        on_verb: Callable[[str, str, float], None] | None = None,
        on_step: OnStep | None = None,
        on_call: Callable[[CallRecord], None] | None = None,
    ) -> None:
        """Be told of each verb (name, outcome, seconds), step and script call, in the thread that does it.

        ``around`` gives a context for each verb (name, VIF, its type), entered before it and left after it.
        """
        if around is not None:
            self._around.append(around)
        if on_verb is not None:
            self._on_verb.append(on_verb)
        if on_step is not None:
            self._on_steps.append(on_step)
        if on_call is not None:
            self._on_calls.append(on_call)

    # --- verbs -------------------------------------------------------------------------------

    def plug(
        self, binding: Any, *, owner: int, seconds: float | None = None, refresh: bool = False,
        on_step: OnStep | None = None, patient: bool = False,
    ) -> Plugged:  # fmt: skip
        vif = _vif(binding)
        with self._verb("plug", vif.id, vif.plug_script, on_step=on_step, patient=patient, vif_type=vif.type):
            plugged = self.host.plug(vif, seconds=seconds, refresh=refresh, owner=owner)
            if plugged.changed:
                self.events.publish(
                    "plugged",
                    vif.id,
                    generation=plugged.generation,
                    type=vif.type.value,
                    seconds=plugged.seconds,
                )
        return plugged

    def rehearse(self, binding: Any) -> Rehearsal:
        vif = _vif(binding)
        with self._verb("rehearse", vif.id, vif.plug_script, vif_type=vif.type):
            return self.host.rehearse(vif)

    def update(
        self, binding: Any, *, owner: int, seconds: float | None = None, on_step: OnStep | None = None
    ) -> Plugged:
        vif = _vif(binding)
        with self._verb("update", vif.id, vif.plug_script, on_step=on_step, vif_type=vif.type):
            plugged = self.host.update(vif, seconds=seconds, owner=owner)
            if plugged.changed:
                self.events.publish("updated", vif.id, seconds=plugged.seconds)
        return plugged

    def unplug(
        self, vif_id: str, *, generation: int | None = None, seconds: float | None = None,
        on_step: OnStep | None = None, patient: bool = False,
    ) -> Unplugged:  # fmt: skip
        with self._verb("unplug", vif_id, self._script_of(vif_id), on_step=on_step, patient=patient):
            unplugged = self.host.unplug(vif_id, generation=generation, seconds=seconds)
            self._unplugged(unplugged)
        return unplugged

    def check(self, vif_id: str) -> CheckReport:
        with self._verb("check", vif_id, self._script_of(vif_id)):
            report = self.host.check(vif_id)
            if not report.ok:
                self.events.publish(
                    "drift", vif_id, drift=msgspec.to_builtins(report.drift), message=report.message
                )
        return report

    def repair(self, vif_id: str, *, seconds: float | None = None, on_step: OnStep | None = None) -> Plugged:
        with self._verb("repair", vif_id, self._script_of(vif_id), on_step=on_step):
            repaired = self.host.repair(vif_id, seconds=seconds)
            if repaired.changed:
                self.events.publish("repaired", vif_id, seconds=repaired.seconds)
        return repaired

    def forget(self, vif_id: str) -> int:
        with self._verb("forget", vif_id):
            forgotten = self.host.forget(vif_id)
            self.events.publish("forgotten", vif_id, debts=forgotten)
        return forgotten

    def recover(self) -> list[Recovered]:
        with self._verb("recover"):
            recovered = self.host.recover()
            for one in recovered:
                self.events.publish("recovered", one.id, was=one.was.value, now=one.now, message=one.message)
        return recovered

    def gc(self) -> GcReport:
        with self._verb("gc"):
            report = self.host.gc()
            for vif_id in report.forgotten:
                self.events.publish("forgotten", vif_id)
            for vif_id in report.paid:
                self.events.publish("debt-paid", vif_id)
            for device in report.devices:
                self.events.publish("orphan-removed", device=device)
        return report

    # --- many --------------------------------------------------------------------------------

    def plug_all(
        self, vifs: list[Vif], *, owner: int, on_done: Callable[[int, Plugged | VifplugError], None]
    ) -> None:
        """Plug many; ``on_done`` gets each index with its answer, in the thread that did it."""
        contexts = [copy_context() for _ in vifs]  # the caller's trace goes on in each

        def one(index: int) -> None:
            answer: Plugged | VifplugError
            try:
                answer = contexts[index].run(self.plug, vifs[index], owner=owner, patient=True)
            except VifplugError as error:
                answer = error
            on_done(index, answer)

        with self.admission.batch() as workers:
            side_by_side(one, range(len(vifs)), min(workers, self.config.workers))

    def unplug_all(
        self, vif_ids: list[str] | None, *, on_done: Callable[[int, str, Unplugged | VifplugError], None]
    ) -> None:
        """Unplug many, all on record for None; those without a script go together."""
        ids = list(dict.fromkeys([r.id for r in self.host.list()] if vif_ids is None else vif_ids))
        scripts = {vif_id: self._script_of(vif_id) for vif_id in ids}
        plain = {vif_id: index for index, vif_id in enumerate(ids) if scripts[vif_id] is None}
        contexts = [copy_context() for _ in ids]

        def unplugged(answer: Unplugged | VifplugError) -> None:
            if isinstance(answer, Unplugged):
                self._unplugged(answer)
                on_done(plain[answer.id], answer.id, answer)

        def together() -> None:
            answers: builtins.list[Unplugged | VifplugError]
            try:
                with self._verb("unplug-all", patient=True):
                    answers = self.host.unplug_all(plain, on_done=unplugged)
            except VifplugError as error:
                answers = [error] * len(plain)
            for vif_id, answer in zip(plain, answers, strict=True):
                if isinstance(answer, VifplugError):
                    self.events.publish("unplug-failed", vif_id, error=answer.as_dict())
                    on_done(plain[vif_id], vif_id, answer)

        def one(index: int) -> None:
            if index < 0:
                together()
                return
            answer: Unplugged | VifplugError
            try:
                answer = contexts[index].run(self.unplug, ids[index], patient=True)
            except VifplugError as error:
                answer = error
            on_done(index, ids[index], answer)

        with self.admission.batch() as workers:
            rest = [index for index, vif_id in enumerate(ids) if scripts[vif_id] is not None]
            side_by_side(one, [*([-1] if plain else []), *rest], min(workers, self.config.workers))

    # --- look --------------------------------------------------------------------------------

    def capabilities(self) -> Capabilities:
        return Capabilities(
            hostname=socket.gethostname(),
            boot_id=self.host.boot_id,
            version=__version__,
            protocols=[PROTOCOL],
            vif_types=[type_.value for type_ in VifType],
            scripts=self.host.scripts(),
            started=self.started,
        )

    def health(self) -> Health:
        if self._stopping:
            return Health(status="stopping", started=self.started)
        return Health(status="ok" if self.alive() else "ailing", started=self.started)

    def status(self) -> Status:
        counts = self.host.counts()
        return Status(
            hostname=socket.gethostname(),
            version=__version__,
            pid=os.getpid(),
            now=time.time(),
            started=self.started,
            vifs=counts,
            debts=sum(count.vifs for count in counts if count.state is State.DEBT),
            running=self.activity.running(),
            queue=self.admission.queue(),
            connections=self.connections(),
            calls=self.activity.calls(),
            events=self.events.number,
        )

    def list(
        self, peer: Peer, role: Role, state: State | None, limit: int | None, after: int | None
    ) -> builtins.list[Record]:
        records = self.host.list(state, limit=limit, after=after)
        return [record if _whose(peer, role, record) else privacy.of_record(record) for record in records]

    def show(self, peer: Peer, role: Role, vif_id: str) -> Record:
        record = self.host.show(vif_id)
        return record if _whose(peer, role, record) else privacy.of_record(record)

    def is_others(self, peer: Peer, role: Role, vif_id: str) -> bool:
        """Whether the VIF is on record, and not this caller's to see all of."""
        try:
            return role is not Role.ADMIN and not _whose(peer, role, self.host.show(vif_id))
        except NotPlugged:
            return False

    def calls(self, peer: Peer, role: Role, vif_id: str) -> builtins.list[CallRecord]:
        """Its script calls; those of other users' VIFs without what scripts said and answered."""
        calls = self.host.calls(vif_id)
        try:
            if role is Role.ADMIN or _whose(peer, role, self.host.show(vif_id)):
                return calls
        except NotPlugged:  # unplugged, with its calls still kept: whose it was is no longer known
            pass
        return [privacy.of_call(call) for call in calls]

    def wait(
        self, peer: Peer, role: Role, vif_id: str, state: str, *, seconds: float, gone: Callable[[], bool]
    ) -> Waited:
        """Until the VIF is plugged, unplugged, or settled (either, or a debt).

        Raises TimedOut, also when the caller has ``gone``, and Stopping.
        """
        until = time.monotonic() + seconds
        news = self.events.subscribe()
        while True:
            try:
                record = self.host.show(vif_id)
            except NotPlugged:
                record = None
            now = record.state.value if record is not None else "unplugged"
            if now == state or (state == "settled" and now in ("plugged", "unplugged", "debt")):
                if record is not None and not _whose(peer, role, record):
                    record = privacy.of_record(record)
                return Waited(id=vif_id, state=now, vif=record)
            left = until - time.monotonic()
            if self._stopping:
                raise Stopping("vifplugd is being stopped: wait again in a moment", retry_after=2)
            if left <= 0 or gone():
                raise TimedOut(
                    f"VIF {vif_id} is {now}, and was not {state} within {seconds:g} s",
                    vif_id=vif_id,
                    state=now,
                )
            _await(news.next, vif_id, min(left, _LOOK_AGAIN))

    # --- the end -----------------------------------------------------------------------------

    def drain(self, seconds: float) -> bool:
        """Begin nothing more, and wait for what is at work; whether all of it ended in time."""
        self._stopping = True
        self.events.publish("stopping")
        self.admission.stop()
        return self.admission.drained(seconds)

    # --- inside ------------------------------------------------------------------------------

    @contextmanager
    def _verb(
        self, verb: str, vif_id: str | None = None, script: str | None = None, *,
        on_step: OnStep | None = None, patient: bool = False, vif_type: VifType | None = None,
    ) -> Iterator[None]:  # fmt: skip
        """One verb: let in, shown while it runs, its outcome counted and, when it failed, told.

        ``patient``: of many, it waits until there is room.
        """
        began = time.monotonic()
        outcome = "done"
        self._listening.on_step = on_step
        try:
            with ExitStack() as stack:
                for around in self._around:
                    stack.enter_context(around(verb, vif_id, vif_type))
                stack.enter_context(self.admission.work(script, patient=patient))
                stack.enter_context(self.activity.verb(verb, vif_id))
                try:
                    yield
                except VifplugError as error:
                    if verb in ("plug", "update", "unplug", "repair"):
                        self.events.publish(f"{verb}-failed", vif_id, error=error.as_dict())
                    raise
        except VifplugError as error:
            outcome = error.code
            raise
        except OSError as error:
            outcome = HostError.code
            raise HostError(f"this host refused: {error}") from error
        except BaseException:
            outcome = "bug"
            raise
        finally:
            self._listening.on_step = None
            for listener in self._on_verb:
                listener(verb, outcome, time.monotonic() - began)

    def _overloaded(self, bound: str) -> None:
        """Told now and then: who is refused again and again must not push everything else out of the stream."""
        now = time.monotonic()
        if now - self._overload_told >= _OVERLOAD_TOLD:
            self._overload_told = now
            self.events.publish("overloaded", bound=bound)

    def _script_of(self, vif_id: str) -> str | None:
        try:
            script = self.host.show(vif_id).script
        except NotPlugged:
            return None
        return script.name if script else None

    def _unplugged(self, answer: Unplugged) -> None:
        if answer.changed:
            self.events.publish("unplugged", answer.id, generation=answer.generation, seconds=answer.seconds)

    def _publish_call(self, call: CallRecord) -> None:
        self.events.publish(
            "call", call.vif_id, verb=call.verb, script=call.script, outcome=call.outcome,
            seconds=call.seconds, attempt=call.attempt, traceparent=call.traceparent,
        )  # fmt: skip

    def _tell_step(self, step: Step) -> None:
        for listener in self._on_steps:
            listener(step)
        listening: OnStep | None = getattr(self._listening, "on_step", None)
        if listening is not None:
            listening(step)

    def _tell_call(self, call: CallRecord) -> None:
        for listener in self._on_calls:
            listener(call)


def _vif(binding: Vif | Mapping[str, Any] | bytes | str) -> Vif:
    return binding if isinstance(binding, Vif) else read_binding(binding)


def _await(next_event: Callable[[float], Any], vif_id: str, seconds: float) -> None:
    """Until something happened to the VIF, or the time is over."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        event = next_event(left)
        if event is None or event.vif_id == vif_id:
            return


def _whose(peer: Peer, role: Role, record: Record) -> bool:
    """Whether the VIF is this caller's, as every VIF is an admin's."""
    return role is Role.ADMIN or record.owner == peer.uid


learn(Capabilities, Health, Waited)
