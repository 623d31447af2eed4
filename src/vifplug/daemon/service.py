"""The Host as the daemon offers it: bounded, watched, and every outcome told as an event."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import msgspec

from ..config import Config
from ..errors import HostError, NotPlugged, VifplugError
from ..host import Host
from ..host.results import (
    CallRecord,
    CheckReport,
    GcReport,
    Plugged,
    Recovered,
    Rehearsal,
    Step,
    Unplugged,
)
from ..host.steps import OnStep
from ..model import Vif, VifType, read_binding
from .activity import Activity
from .admission import Admission
from .arrivals import NOBODY_CAME
from .events import Events

#: seconds between two words of being overloaded
_OVERLOAD_TOLD = 1.0

#: a context for a verb: its name, its VIF, the VIF's type
Around = Callable[[str, str | None, VifType | None], AbstractContextManager[None]]


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
        #: whether the daemon drains
        self.stopping = False
        self._listening = threading.local()
        self._around: list[Around] = []
        self._on_steps: list[OnStep] = [self.activity.on_step]
        self._on_calls: list[Callable[[CallRecord], None]] = [self.activity.on_call, self._publish_call]
        self.host = Host(host_config, on_step=self._tell_step, on_call=self._tell_call, boot_id=boot_id)

    def close(self) -> None:
        self.host.close()

    def observe(
        self,
        *,
        around: Around | None = None,
        on_step: OnStep | None = None,
        on_call: Callable[[CallRecord], None] | None = None,
    ) -> None:
        """Be told of each step and script call, in the thread that does it.

        ``around`` gives a context for each verb (name, VIF, its type), entered before it is let in and left with
        what came of it.
        """
        if around is not None:
            self._around.append(around)
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
        with self.verb("plug", vif.id, vif.plug_script, on_step=on_step, patient=patient, vif_type=vif.type):
            plugged = self.host.plug(vif, seconds=seconds, refresh=refresh, owner=owner)
            if plugged.changed:
                self.events.publish(
                    "activated" if plugged.activated else "plugged",
                    vif.id,
                    generation=plugged.generation,
                    type=vif.type.value,
                    seconds=plugged.seconds,
                )
        return plugged

    def rehearse(self, binding: Any) -> Rehearsal:
        vif = _vif(binding)
        with self.verb("rehearse", vif.id, vif.plug_script, vif_type=vif.type):
            return self.host.rehearse(vif)

    def update(
        self, binding: Any, *, owner: int, seconds: float | None = None, on_step: OnStep | None = None
    ) -> Plugged:
        vif = _vif(binding)
        with self.verb("update", vif.id, vif.plug_script, on_step=on_step, vif_type=vif.type):
            plugged = self.host.update(vif, seconds=seconds, owner=owner)
            if plugged.changed:
                kind = "activated" if plugged.activated else "updated"
                self.events.publish(kind, vif.id, seconds=plugged.seconds)
        return plugged

    def activate(
        self, vif_id: str, *, seconds: float | None = None, on_step: OnStep | None = None
    ) -> Plugged:
        with self.verb("activate", vif_id, self.script_of(vif_id), on_step=on_step):
            activated = self.host.activate(vif_id, seconds=seconds)
            if activated.changed:
                self.events.publish(
                    "activated", vif_id, generation=activated.generation, seconds=activated.seconds
                )
        return activated

    def unplug(
        self, vif_id: str, *, generation: int | None = None, seconds: float | None = None,
        remove_device: bool = False, on_step: OnStep | None = None, patient: bool = False,
    ) -> Unplugged:  # fmt: skip
        with self.verb("unplug", vif_id, self.script_of(vif_id), on_step=on_step, patient=patient):
            unplugged = self.host.unplug(
                vif_id, generation=generation, seconds=seconds, remove_device=remove_device
            )
            self.tell_unplugged(unplugged)
        return unplugged

    def check(self, vif_id: str) -> CheckReport:
        with self.verb("check", vif_id, self.script_of(vif_id)):
            report = self.host.check(vif_id)
            if not report.ok:
                self.events.publish(
                    "drift", vif_id, drift=msgspec.to_builtins(report.drift), message=report.message
                )
        return report

    def repair(self, vif_id: str, *, seconds: float | None = None, on_step: OnStep | None = None) -> Plugged:
        with self.verb("repair", vif_id, self.script_of(vif_id), on_step=on_step):
            repaired = self.host.repair(vif_id, seconds=seconds)
            if repaired.changed:
                self.events.publish("repaired", vif_id, seconds=repaired.seconds)
        return repaired

    def forget(self, vif_id: str) -> int:
        with self.verb("forget", vif_id):
            forgotten = self.host.forget(vif_id)
            self.events.publish("forgotten", vif_id, debts=forgotten)
        return forgotten

    def recover(self) -> list[Recovered]:
        with self.verb("recover"):
            recovered = self.host.recover()
            for one in recovered:
                self.events.publish("recovered", one.id, was=one.was.value, now=one.now, message=one.message)
        return recovered

    def gc(self) -> GcReport:
        with self.verb("gc"):
            report = self.host.gc()
            for vif_id in report.forgotten:
                self.events.publish("forgotten", vif_id)
            for vif_id in report.paid:
                self.events.publish("debt-paid", vif_id)
            for vif_id in report.given_up:
                self.events.publish("arrival-given-up", vif_id, reason=NOBODY_CAME)
            for device in report.devices:
                self.events.publish("orphan-removed", device=device)
        return report

    # --- the end -----------------------------------------------------------------------------

    def drain(self, seconds: float) -> bool:
        """Begin nothing more, and wait for what is at work; whether all of it ended in time."""
        self.stopping = True
        self.events.publish("stopping")
        self.admission.stop()
        return self.admission.drained(seconds)

    # --- inside ------------------------------------------------------------------------------

    @contextmanager
    def verb(
        self, verb: str, vif_id: str | None = None, script: str | None = None, *,
        on_step: OnStep | None = None, patient: bool = False, vif_type: VifType | None = None,
    ) -> Iterator[None]:  # fmt: skip
        """One verb: let in, shown while it runs and, when it failed, told.

        ``patient``: of many, it waits until there is room.
        """
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
                    if verb in ("plug", "update", "unplug", "repair", "activate"):
                        self.events.publish(f"{verb}-failed", vif_id, error=error.as_dict())
                    raise
                except OSError as error:
                    raise HostError(f"this host refused: {error}") from error
        finally:
            self._listening.on_step = None

    def _overloaded(self, bound: str) -> None:
        """Told now and then: who is refused again and again must not push everything else out of the stream."""
        now = time.monotonic()
        if now - self._overload_told >= _OVERLOAD_TOLD:
            self._overload_told = now
            self.events.publish("overloaded", bound=bound)

    def script_of(self, vif_id: str) -> str | None:
        try:
            script = self.host.show(vif_id).script
        except NotPlugged:
            return None
        return script.name if script else None

    def tell_unplugged(self, answer: Unplugged) -> None:
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
