"""Where a way ends, and why, in one sentence."""

from __future__ import annotations

from typing import NamedTuple

from .probing import Answer
from .walk import Hop, Way

#: what leads out of this host
_OUT = ("uplink", "remote")


class Verdict(NamedTuple):
    ok: bool
    #: a hop, by its place in the way
    ends_at: int
    text: str
    do: str = ""


def judge(way: Way, answer: Answer, target: str | None) -> Verdict:
    """What is wrong on this way, by what was seen of a probe first and by its settings then."""
    last = len(way) - 1
    reached = _reached(way, answer)
    if reached == last:
        return _well(last, answer, target)
    ends = [place for place, hop in enumerate(way) if place > reached and (hop.stop or _dropped(way, place))]
    unseen = _unseen(way, answer) if reached < 0 else None
    if unseen is not None and all(unseen < place for place in ends):
        return _vanished(way, unseen, answer)
    if ends:
        return _ended(ends[0], way[ends[0]])
    if reached >= 0:
        return _well(reached, answer, target)
    if answer.how is None:
        return _unproved(way)
    return _out_and_not_back(way, answer, target)


def _reached(way: Way, answer: Answer) -> int:
    """The last hop that an answer proves to work; -1 without one. Where nothing of it was seen is another way, or
    behind who answered: a switch may answer ARP for others."""
    if not answer.answered:
        return -1
    for place, hop in enumerate(way):
        if hop.what == "routes" and not answer.beyond:
            return place
        if hop.out == 0 and not hop.back:
            return place - 1
    return len(way) - 1


def _dropped(way: Way, place: int) -> bool:
    """Whether a filter dropped frames, and ours may have been among them: it was seen nowhere behind it."""
    return bool(way[place].dropped) and not any(hop.out for hop in way[place + 1 :])


def _unseen(way: Way, answer: Answer) -> int | None:
    """The first hop where the probe should have been seen and was not, from there to the end."""
    if answer.how is None:
        return None
    routed = next((place for place, hop in enumerate(way) if hop.what == "routes"), len(way))
    first = None
    for place, hop in enumerate(way[:routed]):  # what is routed may be rewritten, and is not known again
        if hop.out is None:
            continue
        if hop.out:
            first = None
        elif first is None:
            first = place
    return first


def _ended(place: int, hop: Hop) -> Verdict:
    if hop.stop is not None:
        return Verdict(False, place, hop.stop.text, hop.stop.do)
    count = sum(hop.dropped.values())
    rules = ", ".join(f"{name!r}" for name in hop.dropped)
    text = f"{hop.name} drops what the guest sends: {count} frame{'s' if count > 1 else ''} by {rules}"
    if hop.name == "anti-spoofing":
        do = "see that the guest uses its binding's MAC and IP addresses; more: vif_details.allowed_address_pairs"
    else:
        family, table, chain = hop.name.split(" ", 2)
        do = f"nft list chain {family} {table} {chain}"
    return Verdict(False, place, text, do)


def _vanished(way: Way, place: int, answer: Answer) -> Verdict:
    """Nothing says why; so it is said between what, and what there is between them."""
    before = next((hop for hop in reversed(way[:place]) if hop.out), None)
    hop = way[place]
    if before is None and answer.how == "by the guest":
        guest = next((at for at, one in enumerate(way) if one.what == "guest"), 0)
        text = f"nothing comes from the guest at {hop.name}: it does not answer a ping"
        do = "look from inside it: is its link up, has it its binding's address, does a firewall drop pings?"
        return Verdict(False, guest, text, do)
    if before is None:
        return Verdict(
            False, place, f"the frame was not seen at {hop.name}", f"ip -s link show dev {hop.name}"
        )
    between = [one for one in way[way.index(before) + 1 : place] if one.what == "filter"]
    suspects = [one.name for one in between]
    if suspects:
        at = way.index(between[0])
        text = f"the frame came to {before.name} and not to {hop.name}; between them {', '.join(suspects)} may drop it"
        return Verdict(False, at, text, "nft list ruleset; a counter in its rules tells for certain")
    text = f"the frame came to {before.name} and not to {hop.name}, and nothing seen here says why"
    return Verdict(False, place, text, f"tcpdump -eni {hop.device or hop.name}; vifplug doctor")


def _well(place: int, answer: Answer, target: str | None) -> Verdict:
    took = f" in {answer.seconds * 1000:.1f} ms" if answer.seconds is not None else ""
    return Verdict(True, place, f"{target} answered{took}: nothing is wrong on the way")


def _unproved(way: Way) -> Verdict:
    place = len(way) - 1
    text = "nothing is wrong on the way, as far as settings tell"
    if way[place].what == "vif":
        text += "; its frames pass no device of this host at which they could be seen"
    elif way[place].what not in _OUT:
        text += f"; it ends at {way[place].name}, which leads nowhere else"
    return Verdict(True, place, text)


def _out_and_not_back(way: Way, answer: Answer, target: str | None) -> Verdict:
    place = len(way) - 1
    hop = way[place]
    back = [(at, one) for at, one in enumerate(way) if one.back and one.what != "device"]
    if back and not answer.answered and answer.how == "as the guest":
        at, one = back[0]
        text = f"the answer came back as far as {one.name} and did not reach the guest's device"
        return Verdict(False, at, text, f"tcpdump -eni {one.name}; nft list ruleset")
    leads = hop.what in _OUT
    by = f"left this host by {_exit(way)}" if leads else f"came to {hop.name}, which leads nowhere else"
    if answer.how == "by the guest":
        return Verdict(True, place, f"the guest's frame {by}: nothing is wrong on this host")
    if target is None:
        return Verdict(True, place, f"the frame {by}, and nobody was asked for an answer")
    text = f"the frame {by}, and {target} did not answer"
    if leads:
        there = hop.name if hop.what == "remote" else f"what {hop.name} is connected to"
        do = f"look at {there}, and whether {target} is up there"
    elif hop.what in ("bridge", "switch"):
        do = f"see that {target} is up, and give {hop.name} a port that leads to it"
    else:
        do = f"see that {target} is up, and that it is to be reached by {hop.name}"
    return Verdict(False, place, text, do)


def _exit(way: Way) -> str:
    """How it went out: "wire0 to 192.0.2.2"."""
    out = [hop.name for hop in way if hop.what in _OUT]
    return " to ".join(out[-2:])
