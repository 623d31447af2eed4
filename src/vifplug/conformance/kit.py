"""The host's part towards one script: devices, requests, calls, and a look at what became of them."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from ..config import Config, ScriptSettings
from ..errors import VifplugError
from ..host import tap
from ..host.devices import host_address
from ..host.netlink import Netlink
from ..model import Vif, read_binding
from ..model.reply import fold_reply
from ..script import capabilities
from ..script.catalogue import Catalogue
from ..script.contract import Info, Request, RequestHost, Verb, locks_for, request_for
from ..script.environment import BASE, environment_for, resident_environment
from ..script.marks import Mark, kill_marked
from ..script.process import run
from ..script.replies import LONGEST_REPLY, failure, parse_reply, printable
from ..script.runner import Call, Runner
from .case import Broken, NotApplicable
from .interpose import Interposed
from .place import OWN, Place
from .snapshot import Snapshot, look
from .subject import Subject

#: what the types need that cannot do without
_SHAPES: dict[str, dict[str, Any]] = {
    "bridge": {"bridge": "br0"}, "network": {"network": "default"}, "direct": {"source_dev": "eth0"},
}  # fmt: skip
_GRACE = 1.0
_PROJECT = "b8a1f2c3d4e54f60a7b8c9d0e1f2a3b4"


class Came(Struct, frozen=True, kw_only=True):
    """What a call brought."""

    verb: str
    asked: str
    status: int | None
    signal: int | None
    #: "done", or the code of the error
    outcome: str
    message: str
    reply: dict[str, Any]
    stderr: str
    seconds: float

    @property
    def done(self) -> bool:
        return self.outcome == "done"

    def __str__(self) -> str:
        how = f"exit status {self.status}" if self.signal is None else f"signal {self.signal}"
        text = how if self.done else f"{how}: {self.outcome}: {self.message}"
        if self.reply:
            text += f", and the reply {printable(msgspec.json.encode(self.reply).decode(), 300)}"
        if self.stderr.strip():
            text += "\non standard error: " + printable(self.stderr.strip()[-600:], 600).replace(
                "\\n", "\n  "
            )
        return text


class Kit:
    """One script in the kit's namespaces."""

    def __init__(self, subject: Subject, place: Place) -> None:
        self.subject = subject
        self.place = place
        self.config = msgspec.structs.replace(
            place.config, deadlines=msgspec.structs.replace(place.config.deadlines, grace=_GRACE)
        )
        self.runner = Runner(self.config)
        self.script = Catalogue(self.config).find(place.script)
        #: every call, in order
        self.calls: list[Came] = []
        self._numbers = itertools.count(1)
        #: VIFs that the script has plugged, or begun to, and not unplugged since
        self._owed: set[str] = set()
        self._locks: dict[str, threading.Lock] = {}
        self._host = RequestHost.here()

    # --- what the script says of itself -------------------------------------------------------

    @cached_property
    def info(self) -> Info | None:
        return self.runner.info(self.script)

    def verbs(self) -> list[str]:
        return self.info.verbs if self.info else ["plug", "unplug"]

    def needs(self, verb: str) -> None:
        """Raises NotApplicable if the script does not offer ``verb``."""
        if verb not in self.verbs():
            raise NotApplicable(f"its info does not name {verb}")

    @property
    def type(self) -> str:
        return self.subject.vif_type or (
            self.info.vif_types[0] if self.info and self.info.vif_types else "ethernet"
        )

    # --- VIFs -----------------------------------------------------------------------------------

    def make(self, *, details: Mapping[str, Any] | None = None, **fields: Any) -> Vif:
        """A VIF with a number of its own; ``fields`` are those of a binding, ``details`` are added to the subject's.

        A detail of None is left out. An ``id`` of an earlier VIF brings back that one's number. Raises
        VifplugError for a binding that no host would take.
        """
        number = int(fields["id"][:8], 16) if "id" in fields else next(self._numbers)
        wanted = {**_SHAPES.get(self.type, {}), **self.subject.details, **(details or {})}
        binding = {
            "id": f"{number:08x}-7d5e-4f0a-9c55-2f7a3c1d9e01",
            "vif_type": self.type,
            "address": f"fa:16:3e:00:{number >> 8 & 255:02x}:{number & 255:02x}",
            "mtu": 1450,
            "vnic_type": "normal",
            "network": {
                "id": "4e8e5957-649f-477b-9e5b-f1f75b21c03c", "label": "blue", "mtu": 1450,
                "project_id": _PROJECT,
                "subnets": [
                    {"cidr": "10.0.0.0/16", "gateway": "10.0.0.1", "addresses": [f"10.0.{number >> 8}.{number & 255}"]}
                    if number != 1 else {"cidr": "10.0.0.0/16", "gateway": "10.0.0.1", "addresses": ["10.0.255.1"]},
                    {"cidr": "fd00::/64", "gateway": "fd00::ffff", "addresses": [f"fd00::{number:x}"]},
                ],
            },
            "instance": {"id": "6f0c1b1b-7d5e-4f0a-9c55-2f7a3c1d9e01", "name": "web-1", "project_id": _PROJECT},
            **fields,
            "vif_details": {
                **{key: _numbered(value, number) for key, value in wanted.items() if value is not None},
                "vif_plug_script": self.script.name,
            },
        }  # fmt: skip
        return read_binding(binding)

    def possible(self, **fields: Any) -> Vif | None:
        """As ``make``; None for a binding that no host would take."""
        try:
            return self.make(**fields)
        except VifplugError:
            return None

    @contextlib.contextmanager
    def vif(self, vif: Vif | None = None, **fields: Any) -> Iterator[Vif]:
        """A VIF with its device, where the host makes one; in the end both are gone, whatever the script did."""
        vif = vif or self.make(**fields)
        self.add_device(vif)
        try:
            yield vif
        finally:
            if vif.id in self._owed:
                self.call("unplug", vif)
                self._owed.discard(vif.id)
            self.remove_device(vif)

    @contextlib.contextmanager
    def plugged(self, vif: Vif | None = None, **fields: Any) -> Iterator[Vif]:
        with self.vif(vif, **fields) as made:
            self.done("plug", made)
            yield made

    def add_device(self, vif: Vif) -> None:
        if vif.made_here:
            with Netlink() as netlink:
                tap.make(
                    netlink, vif.devname, alias=f"vifplug:conform:{vif.id}", address=host_address(vif), mtu=vif.mtu,
                    multi_queue=vif.queues > 1, vnet_hdr=True, owner=None, group=None,
                )  # fmt: skip

    def remove_device(self, vif: Vif) -> None:
        with Netlink() as netlink:
            link = netlink.link(vif.devname)
            if vif.made_here and link is not None:
                netlink.delete([link.index])

    # --- calls ----------------------------------------------------------------------------------

    def request(self, verb: str, vif: Vif, **fields: Any) -> Request:
        return request_for(
            verb, vif, **{"generation": 1, "host": self._host, "deadline": self.subject.seconds, **fields}
        )

    def call(
        self, verb: str, vif: Vif, *, runner: Runner | None = None, seconds: float | None = None,
        mark: Mark | None = None, dry_run: bool = False, **fields: Any,
    ) -> Came:  # fmt: skip
        """One call, as a host makes it: confined, under its deadline, with its named locks held."""
        self._note(verb, vif)
        request = msgspec.structs.replace(self.request(verb, vif, **fields), dry_run=dry_run)
        with self._named_locks(vif):
            call = (runner or self.runner).call(
                self.script, request, seconds=seconds or self.subject.seconds, mark=mark or Mark.new()
            )
        return self.keep(_from_call(call, request), vif)

    def done(self, verb: str, vif: Vif, **options: Any) -> Came:
        """A call that has to succeed. Raises Broken if it does not."""
        came = self.call(verb, vif, **options)
        if not came.done:
            raise Broken(f"{verb} should have succeeded", came)
        if verb in ("plug", "update"):
            try:
                fold_reply(vif, came.reply.get("vif", {}))
            except VifplugError as error:
                raise Broken(error.message, came) from error
        return came

    def raw(
        self,
        verb: str,
        vif: Vif | None,
        *,
        request: bytes | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Came:
        """A call that no host would make: another verb, another request, other variables."""
        base = (
            self.request(verb if verb in ("plug", "unplug", "update", "check", "activate") else "plug", vif)
            if vif
            else None
        )
        if vif is not None:
            self._note(verb, vif)
        given = request if request is not None else (base.to_json() if base else b"")
        mark = Mark.new()
        if base:
            variables = environment_for(base, operator=self.subject.environment, call=mark.call)
        else:
            variables = resident_environment(self.subject.environment, mark.call)
        variables |= environment or {}
        begun = time.monotonic()
        ended = run(
            self.script.path, [self.script.path, verb], {k.encode(): v.encode() for k, v in variables.items()}, given,
            granted=self.granted, mark=mark, seconds=self.subject.seconds, grace=_GRACE, stdout_limit=LONGEST_REPLY,
            stderr_limit=self.config.log.max_bytes,
        )  # fmt: skip
        outcome, message, reply = "done", "", {}
        stderr = ended.stderr.decode(errors="replace")
        if ended.why != "exited" or ended.signal is not None:
            outcome, message = "timed_out", f"ended by {ended.why}, signal {ended.signal}"
        elif ended.exit_status:
            error: VifplugError = failure(verb, ended.exit_status, ended.stdout, stderr)
            outcome, message = error.code, error.message
        else:
            try:
                reply = parse_reply(verb if verb in tuple(Verb) else "unplug", ended.stdout)
            except VifplugError as error:
                outcome, message = error.code, error.message
        came = Came(
            verb=verb, asked=_asked(self.script.path, verb, given), status=ended.exit_status, signal=ended.signal,
            outcome=outcome, message=message, reply=reply, stderr=stderr, seconds=time.monotonic() - begun,
        )  # fmt: skip
        return self.keep(came, vif)

    @property
    def granted(self) -> int:
        return capabilities.bits((*capabilities.DEFAULT, *self.subject.capabilities), "capabilities")

    def with_capabilities(self, names: list[str]) -> Runner:
        """A runner that grants these as well."""
        return self._runner(capabilities=[*self.subject.capabilities, *names])

    def with_only(self, names: list[str]) -> Runner:
        """A runner that grants these and the usual two."""
        return self._runner(capabilities=names)

    def _runner(self, **settings: Any) -> Runner:
        wanted = msgspec.structs.replace(
            self.config.script.get(self.script.name, ScriptSettings()), **settings
        )
        config: Config = msgspec.structs.replace(self.config, script={self.script.name: wanted})
        return Runner(config)

    @cached_property
    def interposed(self) -> Interposed:
        path = self.subject.environment.get("PATH", BASE["PATH"])
        return Interposed.make(Path(OWN, "interposed"), path)

    @cached_property
    def interposing(self) -> Runner:
        """A runner whose scripts find the kit before each command that they run."""
        return self._runner(environment={**self.subject.environment, "PATH": self.interposed.path})

    def killed_after(self, verb: str, vif: Vif, seconds: float) -> Came:
        """The call, with SIGKILL to all of it after so many seconds."""
        mark = Mark.new()
        timer = threading.Timer(seconds, kill_marked, (mark,))
        timer.start()
        try:
            return self.call(verb, vif, mark=mark)
        finally:
            timer.cancel()
            timer.join()

    def _note(self, verb: str, vif: Vif) -> None:
        if verb in ("plug", "update", "activate"):
            self._owed.add(vif.id)

    def keep(self, came: Came, vif: Vif | None) -> Came:
        self.calls.append(came)
        if came.verb == "unplug" and came.done and vif is not None:
            self._owed.discard(vif.id)
        return came

    @contextlib.contextmanager
    def _named_locks(self, vif: Vif) -> Iterator[None]:
        names = locks_for(self.info.locks, vif.details) if self.info else []
        with contextlib.ExitStack() as held:
            for name in names:
                held.enter_context(self._locks.setdefault(name, threading.Lock()))
            yield

    # --- looking ----------------------------------------------------------------------------------

    def look(self) -> Snapshot:
        return look(self.place.roots, self.subject.watch, self.subject.environment, OWN)

    @contextlib.contextmanager
    def unchanged(self, what: str, *, ignoring: str | None = None) -> Iterator[None]:
        """Raises Broken if the host is another one afterwards; ``what`` begins the sentence."""
        before, asked = self.look(), len(self.calls)
        yield
        after = self.look()
        if ignoring:
            before, after = before.without(ignoring), after.without(ignoring)
        if differences := before.differences(after):
            last = self.calls[-1] if len(self.calls) > asked else None
            raise Broken(f"{what}:\n" + "\n".join(differences[:12]), last)


def _numbered(value: Any, number: int) -> Any:
    return value.replace("{number}", str(number)) if isinstance(value, str) else value


def _from_call(call: Call, request: Request) -> Came:
    return Came(
        verb=call.verb, asked=_asked(call.path, call.verb, request.to_json()), status=call.exit_status,
        signal=call.signal, outcome=call.outcome, message=call.error.message if call.error else "",
        reply=call.reply or {}, stderr=call.stderr, seconds=call.seconds,
    )  # fmt: skip


def _asked(path: str, verb: str, request: bytes) -> str:
    return f"{path} {verb} <<< {printable(request.decode(errors='replace').strip(), 1500)}"
