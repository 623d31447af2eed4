"""The host's dealings with plug scripts: found, asked once what they are, called under their locks, logged."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from ..config import Config
from ..errors import Busy, InvalidInput, ScriptError, VifplugError
from ..guest.options import check_limited_by
from ..model import Vif
from ..script import trace
from ..script.catalogue import Catalogue
from ..script.contract import PROTOCOL, Info, host_facts, locks_for, request_for
from ..script.environment import environment_for
from ..script.marks import Mark
from ..script.runner import Call, Runner
from ..script.trust import TrustedScript
from .ledger import Ledger, Row
from .locks import Locks
from .residents import Residents
from .results import CallRecord, ScriptEntry, ScriptRef

OnCall = Callable[[CallRecord], None]


class Scripts:
    """Every script call that the host makes goes through here."""

    def __init__(
        self, config: Config, ledger: Ledger, locks: Locks, boot_id: str, on_call: OnCall | None = None
    ) -> None:
        self._config = config
        self._on_call = on_call
        #: how many calls of each script this process may still begin
        self._free: dict[str, threading.Semaphore] = {}
        self._ledger = ledger
        self._locks = locks
        self._catalogue = Catalogue(config)
        self._runner = Runner(config, Residents(ledger))
        self._host = host_facts(socket.gethostname(), boot_id)
        self._asking: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._infos: dict[str, dict[str, Any]] = {}

    def close(self) -> None:
        self._runner.close()

    def interrupted(self) -> contextlib.AbstractContextManager[None]:
        """A block in which scripts only undo: what else they do is ended."""
        return self._runner.interrupted()

    def find(self, name: str) -> TrustedScript:
        """The trusted script of this name; raises ScriptNotFound or ScriptNotTrusted with the reason."""
        return self._catalogue.find(name)

    def with_defaults(self, vif: Vif) -> Vif:
        """The VIF with the details that the operator set for its script, where the binding says nothing else."""
        settings = self._config.script.get(vif.plug_script) if vif.plug_script else None
        if settings is None or not settings.details:
            return vif
        return msgspec.structs.replace(vif, details={**settings.details, **vif.details})

    def prepare(self, vif: Vif) -> TrustedScript | None:
        """The VIF's script, found, trusted and willing, before anything is touched.

        Raises InvalidInput for details that no script can be given.
        """
        if vif.plug_script is None:
            return None
        script = self.find(vif.plug_script)
        request = request_for("plug", vif, generation=0, host=self._host, deadline=0)
        environment_for(request)
        request.to_json()
        info = self.info(script)
        check_limited_by(vif, script.name, offers=info is not None and "bandwidth" in info.update_fields)
        if info is None:
            return script
        if info.protocols and PROTOCOL not in info.protocols:
            raise ScriptError(
                f"the plug script {script.name} speaks protocol {', '.join(map(str, info.protocols))}; this host"
                f" speaks {PROTOCOL}: install a version of the script that does",
                script=script.name,
            )
        if info.vif_types and vif.type not in info.vif_types:
            raise InvalidInput(
                f"vif_type: the plug script {script.name} takes {', '.join(info.vif_types)}, not {vif.type.value}",
                field="vif_type",
                value=vif.type.value,
                allowed=list(info.vif_types),
            )
        return script

    def info(self, script: TrustedScript) -> Info | None:
        """What the script says of itself, asked once per digest and kept in the ledger.

        A script that was too slow, or could not be started, is asked again by the next process.
        """
        if not script.settings.info:
            return None
        known = self._info_of(script.digest)
        if known is None:
            with self._asking[script.digest]:  # many VIFs of one new script: one of them asks
                known = self._info_of(script.digest)
                if known is None:
                    answer, for_good = self._runner.learn(script)
                    known = {"info": msgspec.to_builtins(answer)}
                    if for_good:
                        self._ledger.keep_info(script.digest, known)
                    self._infos[script.digest] = known
        return msgspec.convert(known["info"], Info | None)

    def _info_of(self, digest: str) -> dict[str, Any] | None:
        known = self._infos.get(digest)
        if known is None and (known := self._ledger.info(digest)) is not None:
            self._infos[digest] = known  # a script can be called to undo, whatever befalls the ledger
        return known

    def call(
        self,
        script: TrustedScript,
        verb: str,
        row: Row,
        vif: Vif,
        log: list[CallRecord],
        *,
        seconds: float | None = None,
        changes: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """Carry out one verb, with its retries, under the script's named locks; every call is added to ``log``.

        Returns the reply. Raises what the script's end means.
        """
        info = self.info(script)
        locks = locks_for([*script.settings.locks, *(info.locks if info else ())], vif.details)
        seconds = seconds or self._seconds(script, verb)
        request = request_for(
            verb, vif, generation=row.record.generation, host=self._host, attempt=1, deadline=seconds,
            previous={"vif": row.reply} if row.reply else None, changes=changes if verb == "update" else None,
        )  # fmt: skip

        def note(call: Call) -> None:
            log.append(_record(call, row))
            if self._on_call is not None:
                self._on_call(log[-1])

        with (
            self._room(script, seconds),
            self._locks.named(locks, seconds) if locks else contextlib.nullcontext(),
        ):
            outcome = self._runner.carry_out(
                script, request, seconds=seconds, mark=Mark.from_text(row.mark) if row.mark else Mark.new(),
                resident=info is not None and info.resident, on_call=note,
            )  # fmt: skip
        if outcome.error is not None:
            raise outcome.error
        return outcome.reply

    @contextlib.contextmanager
    def _room(self, script: TrustedScript, wait: float) -> Iterator[None]:
        """Hold one of the places that calls of this script have (at_once), waiting at most ``wait`` seconds."""
        at_once = script.settings.at_once
        with self._asking[script.name]:
            free = self._free.setdefault(script.name, threading.Semaphore(at_once))
        if not free.acquire(timeout=wait):
            raise Busy(
                f"{at_once} calls of the plug script {script.name} are at work (at_once), and none of them ended"
                f" for {wait:g} s",
                script=script.name,
            )
        try:
            yield
        finally:
            free.release()

    def _seconds(self, script: TrustedScript, verb: str) -> float:
        deadline: float = script.settings.deadlines.get(verb, getattr(self._config.deadlines, verb))
        return deadline

    def rehearse(self, script: TrustedScript, verb: str, vif: Vif) -> list[list[str]] | None:
        """The commands that a verb would run; None for a script that has no dry run."""
        info = self.info(script)
        if info is None or not info.dry_run:
            return None
        seconds = self._seconds(script, verb)
        request = request_for(verb, vif, generation=0, host=self._host, deadline=seconds)
        request = msgspec.structs.replace(request, dry_run=True)
        call = self._runner.call(script, request, seconds=seconds, mark=Mark.new())
        if call.error is not None:
            raise call.error
        return [line.run for line in trace.lines(call.stderr) if isinstance(line, trace.Ran)]

    def entries(self) -> list[ScriptEntry]:
        """What would run, from where, and why the rest would not."""
        entries: list[ScriptEntry] = []
        for entry in self._catalogue.entries():
            info, reason = None, entry.reason
            if entry.ok:
                try:
                    info = self.info(self.find(entry.name))
                except VifplugError as error:  # changed while we looked
                    reason = error.message
            entries.append(
                ScriptEntry(
                    name=entry.name, path=entry.path, digest=entry.digest, trusted=reason is None, reason=reason,
                    info=msgspec.to_builtins(info),
                )
            )  # fmt: skip
        return entries


def reference(script: TrustedScript | None) -> ScriptRef | None:
    if script is None:
        return None
    return ScriptRef(name=script.name, path=script.path, digest=script.digest)


def _record(call: Call, row: Row) -> CallRecord:
    return CallRecord(
        vif_id=row.record.id,
        generation=row.record.generation,
        verb=call.verb,
        script=call.script,
        digest=call.digest,
        attempt=call.attempt,
        started=call.started,
        seconds=call.seconds,
        outcome=call.outcome,
        exit_status=call.exit_status,
        signal=call.signal,
        message=call.error.message if call.error else None,
        reply=call.reply,
        stderr=call.stderr,
        traceparent=call.traceparent,
        ran=call.ran,
    )
