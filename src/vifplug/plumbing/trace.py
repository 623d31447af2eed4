"""One frame's way, hop by hop, and where it ends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from ..errors import NoPermission, NotPlugged
from . import probing
from .filters import read_filters
from .kernel import Kernel
from .probing import Answer, Question
from .sight import Sight, look
from .survey import survey
from .verdict import Verdict, judge
from .walk import Hop, Way, counted, ways
from .watch import Watch

if TYPE_CHECKING:
    from ..config import Config
    from ..host import Host


class Trace(Struct, frozen=True, kw_only=True):
    """A VIF's way to its network."""

    id: str
    device: str
    #: whether nothing is wrong on the way, as far as it could be seen
    ok: bool
    #: the hop at which a frame's way ends, by its place in ``hops``
    ends_at: int
    #: what is wrong, in one sentence, or that nothing is
    text: str
    #: what to do about it; empty where there is nothing to do
    do: str
    #: "as the guest", "by the guest", or None where no frame was sent
    probe: str | None
    #: what was asked, and what came of it
    probe_text: str
    #: seconds from the question to its answer
    seconds: float | None
    hops: list[Hop]
    #: the other ways out, a sentence each
    others: list[str] = field(default_factory=list)
    #: what else is wrong or not as it was plugged, and is not why the way ends
    also: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def trace(
    config: Config,
    host: Host,
    vif_id: str,
    target: str | None = None,
    *,
    addresses: Iterable[str] = (),
    timeout: float = 3.0,
    probe: bool = True,
) -> Trace:
    """Follow a VIF's frames from its guest to where they leave this host, or end.

    ``host``: a Host, or a client of vifplugd. ``target``: the IPv4 address that is asked for, else the gateway in its
    binding; ``addresses``: the guest's, where its binding has none; ``timeout``: seconds for each question.
    ``probe``: whether a frame is sent; else only settings and counters are looked at. Raises NotPlugged, InvalidInput,
    and HostError where the kernel cannot be read.
    """
    record = host.show(vif_id)
    sight = look(config, host, only=vif_id)
    known = next((one for one in sight.vifs if one.record.id == vif_id), None)
    if known is None:
        raise NotPlugged(f"VIF {vif_id} was unplugged meanwhile: see 'vifplug list'", vif_id=vif_id)
    device = sight.kernel.of_vif(vif_id, record.vif.devname, record.vif.address)
    name = device.name if device is not None else record.vif.devname
    asked = probing.question(record.vif, name, target, addresses, timeout)
    before = read_filters(sight.place)
    found = ways(survey(sight), vif_id, before)
    answer, watch, sight = _probe(sight, found, asked, probe)
    after = read_filters(sight.place)
    found = [counted(_seen(way, watch), before, after) for way in ways(survey(sight), vif_id, after)]
    judged = [judge(way, answer, asked.target if asked else None) for way in found]
    best = max(range(len(found)), key=lambda place: _rank(found[place], judged[place]))
    way, verdict = found[best], judged[best]
    notes = [*sight.notes]
    if after.unseen is not None:
        notes.append(f"filters are not seen: {after.unseen}")
    return Trace(
        id=vif_id,
        device=name,
        ok=verdict.ok,
        ends_at=verdict.ends_at,
        text=verdict.text,
        do=verdict.do,
        probe=answer.how,
        probe_text=answer.text,
        seconds=answer.seconds,
        hops=way,
        others=[_told(found[place], judged[place]) for place in range(len(found)) if place != best],
        also=[fault.text for hop in way for fault in hop.faults if fault.text != verdict.text],
        notes=notes,
    )


def _probe(
    sight: Sight, found: list[Way], asked: Question | None, wanted: bool
) -> tuple[Answer, Watch | None, Sight]:
    """The answer, what was seen where, and how the host looked meanwhile."""
    device = sight.kernel.device(asked.device if asked else None)
    why = ""
    if not wanted:
        why = "no frame was sent, as was asked for"
    elif asked is None:
        why = "no frame was sent: the binding has no MAC address to send it from"
    elif device is None or device.kind != "tun":
        why = "no frame was sent: it would need a tap of this host"
    elif not device.up:
        why = f"no frame was sent: {device.name} is down"
    if why or asked is None or device is None:
        return Answer(how=None, text=why), None, sight
    watched = [hop.device for way in found for hop in way if hop.device in sight.kernel.devices]
    ports = [one.udp_port for one in sight.kernel.devices.values() if one.udp_port]
    seen = [sight]

    def meanwhile() -> None:
        seen.append(sight.again(None if device.carrier else device.name))

    def ready() -> bool:
        port = Kernel(sight.place).device(asked.device)
        return port is None or port.port_state in (None, "forwarding") or not port.carrier

    try:
        with Watch([name for name in watched if name], asked.device, ports) as watch:
            answer = probing.ask(asked, watch, device.carrier, ready, meanwhile)
    except NoPermission as error:
        return Answer(how=None, text=f"no frame was sent: {error.message}"), None, sight
    return answer, watch if answer.how else None, seen[-1]


def _seen(way: Way, watch: Watch | None) -> Way:
    """The way, with how often the probe was seen at each hop."""
    return way if watch is None else [_seen_at(hop, watch) for hop in way]


def _seen_at(hop: Hop, watch: Watch) -> Hop:
    if hop.device is not None and hop.device in watch.listened:
        return replace(hop, out=watch.out[hop.device], back=watch.back[hop.device])
    if hop.what == "remote" and watch.towards:
        return replace(hop, out=watch.towards[hop.name], back=watch.back_from[hop.name])
    return hop


def _rank(way: Way, verdict: Verdict) -> tuple[bool, int, int, int]:
    """The way that the frame took, or the one on which it got furthest, has the highest."""
    return verdict.ok, sum(1 for hop in way if hop.back), sum(1 for hop in way if hop.out), verdict.ends_at


def _told(way: Way, verdict: Verdict) -> str:
    """A way that is not the one that is shown."""
    passed_by = verdict.ok and any(hop.out == 0 for hop in way)
    text = "the frame did not go that way" if passed_by else verdict.text
    return f"{' → '.join(hop.name for hop in way[-2:])}: {text}"
