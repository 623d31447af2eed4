"""A client of vifplugd: what Host does, asked for over the daemon's Unix socket."""

from __future__ import annotations

import builtins
import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ..errors import VifplugError, from_dict
from .answers import (
    Answer,
    CallRecord,
    CheckReport,
    GcReport,
    Plugged,
    Record,
    Recovered,
    Rehearsal,
    ScriptEntry,
    Step,
    Unplugged,
    VifCount,
    Waited,
)
from .asking import Asking, as_json
from .following import Following
from .many import Many, one_by_one

if TYPE_CHECKING:
    from ..model import Vif

#: what plug and update take, as Host does: a port binding as a mapping or as JSON text, or a Vif
Binding: TypeAlias = "Vif | Mapping[str, Any] | bytes | str"

Kind = TypeVar("Kind", bound=Answer)

DEFAULT_SOCKET = "/run/vifplug/vifplugd.sock"
_LINES = "application/x-ndjson"
#: records asked for at once: the daemon holds an answer whole, and need not grow for it
_PAGE = 1000


class Client:
    """This host's VIFs, through vifplugd. Safe to use from many threads.

    ``socket``: the daemon's socket; when not given what VIFPLUG_SOCKET names, else the usual one.
    ``timeout``: seconds that the daemon may be silent, beyond the ``seconds`` given to a verb, before
    DaemonUnreachable is raised; it covers the wait for another verb on the same VIF and a script's own
    deadline, so it is long. None waits for ever. What was begun goes on in the daemon either way.
    ``on_step``: called with a Step as each thing begins and ends, in the thread that asked.
    ``traceparent``: the W3C trace context that requests carry, or a function that tells it for each
    request; when not given, what TRACEPARENT in the environment says.

    Its methods take what those of `vifplug.Host` take and raise the same errors; beside them
    DaemonUnreachable, NotAllowed, TooBusy (its ``context["retry_after"]`` says when to ask again) and
    Stopping. Answers have the same names, as attributes and as keys.
    """

    def __init__(
        self,
        socket: str | None = None,
        *,
        timeout: float | None = 300.0,
        on_step: Callable[[Any], None] | None = None,
        traceparent: str | Callable[[], str | None] | None = None,
    ) -> None:
        self.socket = socket or os.environ.get("VIFPLUG_SOCKET") or DEFAULT_SOCKET
        self.timeout = timeout
        self._on_step = on_step
        self._asking = Asking(self.socket, timeout, traceparent)
        self._closing = threading.Event()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self) -> None:
        """Connect, which the first request would do too. Raises DaemonUnreachable or NotAllowed."""
        self._asking.pool.open()

    def close(self) -> None:
        """Close what is idle, and end every stream of events."""
        self._closing.set()
        self._asking.pool.close()

    # --- plug --------------------------------------------------------------------------------

    def plug(self, binding: Binding, *, seconds: float | None = None, refresh: bool = False) -> Plugged:
        """Connect a VIF to its network: see `vifplug.Host.plug`."""
        query = _query(seconds=seconds, refresh=refresh or None)
        return self._carry_out(Plugged, f"/v1/plug{query}", as_json(binding), seconds)

    def rehearse(self, binding: Binding) -> Rehearsal:
        """What ``plug`` would do now, and nothing done: see `vifplug.Host.rehearse`."""
        return self._made(Rehearsal, self._post("/v1/rehearse", as_json(binding)))

    def update(self, binding: Binding, *, seconds: float | None = None) -> Plugged:
        """Bring a plugged VIF to a changed binding: see `vifplug.Host.update`."""
        return self._carry_out(Plugged, f"/v1/update{_query(seconds=seconds)}", as_json(binding), seconds)

    def activate(self, vif_id: str, *, seconds: float | None = None) -> Plugged:
        """The guest has moved here, and the VIF is this host's: see `vifplug.Host.activate`."""
        return self._carry_out(Plugged, f"{_vif(vif_id)}/activate{_query(seconds=seconds)}", b"", seconds)

    # --- unplug ------------------------------------------------------------------------------

    def unplug(
        self,
        vif_id: str,
        *,
        generation: int | None = None,
        seconds: float | None = None,
        remove_device: bool = False,
    ) -> Unplugged:
        """Undo a plug: see `vifplug.Host.unplug`."""
        query = _query(generation=generation, seconds=seconds, remove_device=remove_device or None)
        return self._carry_out(Unplugged, f"{_vif(vif_id)}/unplug{query}", b"", seconds)

    # --- look --------------------------------------------------------------------------------

    def check(self, vif_id: str) -> CheckReport:
        """Is it still as plugged? See `vifplug.Host.check`."""
        return self._made(CheckReport, self._post(f"{_vif(vif_id)}/check"))

    def repair(self, vif_id: str, *, seconds: float | None = None) -> Plugged:
        """Bring it back to its record: see `vifplug.Host.repair`."""
        return self._carry_out(Plugged, f"{_vif(vif_id)}/repair{_query(seconds=seconds)}", b"", seconds)

    def list(
        self, state: str | None = None, *, limit: int | None = None, after: int | str | None = None
    ) -> builtins.list[Record]:
        """Every VIF on record, oldest first: see `vifplug.Host.list`."""
        found: builtins.list[Record] = []
        while limit is None or len(found) < limit:
            size = _PAGE if limit is None else min(_PAGE, limit - len(found))
            page = self._get(f"/v1/vifs{_query(state=state, limit=size, after=after)}")
            found += [self._made(Record, each) for each in page["vifs"]]
            after = page["next"]
            if after is None:
                break
        return found

    def counts(self) -> builtins.list[VifCount]:
        """How many VIFs are on record: see `vifplug.Host.counts`."""
        return [self._made(VifCount, each) for each in self._get("/v1/status")["vifs"]]

    def show(self, vif_id: str) -> Record:
        """The VIF as it stands, else its latest debt: see `vifplug.Host.show`."""
        return self._made(Record, self._get(_vif(vif_id)))

    def xml(self, vif_id: str) -> str:
        """libvirt's <interface> for a plugged VIF."""
        with self._asking.answer(
            "GET", f"{_vif(vif_id)}/xml", accept="application/xml, application/json"
        ) as response:
            return response.body().decode()

    def calls(self, vif_id: str) -> builtins.list[CallRecord]:
        """What its script was called for, oldest first: see `vifplug.Host.calls`."""
        return [self._made(CallRecord, each) for each in self._get(f"{_vif(vif_id)}/calls")["calls"]]

    def scripts(self) -> builtins.list[ScriptEntry]:
        """What would run, and why a refused script is refused: see `vifplug.Host.scripts`."""
        return [self._made(ScriptEntry, each) for each in self._get("/v1/scripts")["scripts"]]

    def wait(self, vif_id: str, state: str = "settled", seconds: float = 30.0) -> Waited:
        """Until the VIF is "plugged", "unplugged", or "settled": either of them, or a debt.

        Its ``state`` is what it came to, its ``vif`` the record, None when unplugged. Raises TimedOut after
        ``seconds``.
        """
        query = _query(state=state, seconds=seconds)
        return self._made(Waited, self._get(f"{_vif(vif_id)}/wait{query}", seconds))

    # --- after a crash, a reboot, and for debts ----------------------------------------------

    def recover(self) -> builtins.list[Recovered]:
        """Finish what a process that died left in the middle: see `vifplug.Host.recover`."""
        return [self._made(Recovered, each) for each in self._post("/v1/recover")["recovered"]]

    def gc(self) -> GcReport:
        """Clear what is owed, lost or too old: see `vifplug.Host.gc`."""
        return self._made(GcReport, self._post("/v1/gc"))

    def forget(self, vif_id: str) -> int:
        """Write off what a VIF owes; how many debts there were: see `vifplug.Host.forget`."""
        # asked twice, the second answer would be NotPlugged for what the first had done
        with self._asking.answer("POST", f"{_vif(vif_id)}/forget", b"", repeatable=False) as response:
            return int(self._asking.object(response.body())["forgotten"])

    # --- many --------------------------------------------------------------------------------

    def plug_all(
        self,
        bindings: Iterable[Binding],
        *,
        on_done: Callable[[Plugged | VifplugError], None] | None = None,
    ) -> builtins.list[Plugged | VifplugError]:
        """Plug many side by side: see `vifplug.Host.plug_all`. Of two bindings of one port or device the second is
        refused, since they come as one list."""
        if self._on_step is not None:
            return one_by_one(self.plug, bindings, on_done)
        return Many(self._asking, self._made, on_done).plug(bindings)

    def unplug_all(
        self,
        vif_ids: Iterable[str] | None = None,
        *,
        on_done: Callable[[Unplugged | VifplugError], None] | None = None,
    ) -> builtins.list[Unplugged | VifplugError]:
        """Unplug many, or all on record: see `vifplug.Host.unplug_all`."""
        if self._on_step is not None:
            ids = dict.fromkeys(record.id for record in self.list()) if vif_ids is None else vif_ids
            return one_by_one(self.unplug, ids, on_done)
        return Many(self._asking, self._made, on_done).unplug(vif_ids)

    # --- the daemon --------------------------------------------------------------------------

    def capabilities(self) -> Answer:
        """What this host can do: protocol versions, VIF types, scripts with versions and digests."""
        return Answer(self._get("/v1/host"))

    def status(self) -> Answer:
        """What the daemon is at: VIFs by state and type, what runs now, how long verbs took."""
        return Answer(self._get("/v1/status"))

    def health(self) -> Answer:
        """``status`` is "ok" or "stopping"."""
        return Answer(self._get("/v1/health"))

    def events(self, after: int | None = None) -> Following:
        """What happens on this host from now on, or since the event of that number; without end.

        It is followed from this call on, and after a broken connection from where it broke off, also
        when the daemon was started anew. Ends with ``close``. Raises DaemonUnreachable when the daemon
        stays away for ``timeout`` seconds.
        """
        return Following(self._asking, self._made, self._closing, after)

    # --- asking ------------------------------------------------------------------------------

    def _made(self, kind: type[Kind], found: Any) -> Kind:
        """The answer as the caller gets it."""
        return kind(found)

    def _get(self, target: str, seconds: float | None = None) -> Any:
        with self._asking.answer("GET", target, seconds=seconds) as response:
            return self._asking.object(response.body())

    def _post(self, target: str, body: bytes = b"") -> Any:
        with self._asking.answer("POST", target, body) as response:
            return self._asking.object(response.body())

    def _carry_out(self, kind: type[Kind], target: str, body: bytes, seconds: float | None) -> Kind:
        """A verb whose steps can be told as they happen."""
        on_step = self._on_step
        accept = "application/json" if on_step is None else _LINES
        with self._asking.answer("POST", target, body, accept=accept, seconds=seconds) as response:
            if on_step is None or not response.headers.get("content-type", "").startswith(_LINES):
                return self._made(kind, self._asking.object(response.body()))
            found: Any = None
            for line in response.lines():
                found = self._asking.object(line)
                if "step" in found and on_step is not None:
                    on_step(self._made(Step, found["step"]))
        if found is not None and "error" in found:
            raise from_dict(found["error"])
        if found is None or "answer" not in found:
            raise self._asking.senseless("no answer")
        return self._made(kind, found["answer"])


def _vif(vif_id: str) -> str:
    return f"/v1/vifs/{_quoted(vif_id)}"


def _query(**parameters: Any) -> str:
    told = [
        f"{name}={_quoted(json.dumps(value) if isinstance(value, bool) else str(value))}"
        for name, value in parameters.items()
        if value is not None
    ]
    return "?" + "&".join(told) if told else ""


def _quoted(text: str) -> str:
    """Percent-encoded (RFC 3986), whatever it is."""
    return "".join(
        chr(byte) if (byte < 128 and chr(byte).isalnum()) or byte in b"-._~" else f"%{byte:02X}"
        for byte in text.encode(errors="surrogatepass")
    )
