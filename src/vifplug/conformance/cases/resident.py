"""Scripts that stay up."""

from __future__ import annotations

import msgspec

from ..case import Broken, NotApplicable, case
from ..kit import Kit
from ..serving import Serving
from .details import bad_bindings

TOPIC = "resident"
_ANCHOR = "scripts-that-stay-up"
_AT_ONCE = 1.0


def _serving(kit: Kit) -> Serving:
    if kit.info is None or not kit.info.resident:
        raise NotApplicable("its info does not say that it can stay up")
    return Serving(kit)


def _verbs(kit: Kit) -> list[str]:
    return ["plug", "plug", *(["check"] if "check" in kit.verbs() else []), "unplug", "unplug"]


@case(TOPIC, "resident-answers", "one line for each request, in order", anchor=_ANCHOR,
      says="answers each with one line on standard output")  # fmt: skip
def resident_answers(kit: Kit) -> None:
    with _serving(kit) as serving, kit.vif() as one, kit.vif() as other:
        for verb in _verbs(kit):
            for vif in (one, other):
                came = serving.call(verb, vif)
                if not came.done:
                    raise Broken(f"{verb} should have succeeded", came)
        if more := serving.more():
            raise Broken(f"it sent more than one line for each request: {more[:200]!r}", kit.calls[-1])


@case(TOPIC, "resident-as-single", "it answers and acts as single calls do", anchor=_ANCHOR,
      says="exit and what goes with it mean what the exit status and standard output of a single call mean.")  # fmt: skip
def resident_as_single(kit: Kit) -> None:
    with _serving(kit) as serving, kit.vif() as vif:
        states = []
        for verb in _verbs(kit):
            single = kit.call(verb, vif)
            states.append((single, kit.look()))
        for verb, (single, state) in zip(_verbs(kit), states, strict=True):
            came = serving.call(verb, vif)
            if (came.status, came.reply) != (single.status, single.reply) and _said(came.reply) != _said(
                single.reply
            ):
                raise Broken(f"{verb} as a single call ended with {single.status} and {single.reply}", came)
            ignored = "^process"
            if differences := state.without(ignored).differences(kit.look().without(ignored)):
                raise Broken(
                    f"{verb} left another host than a single call does:\n" + "\n".join(differences), came
                )


def _said(reply: dict[str, object]) -> dict[str, object]:
    """Nothing and an ok mean the same."""
    return {key: value for key, value in reply.items() if not (key == "ok" and value) and value}


@case(TOPIC, "resident-single-calls", "it still answers single calls", anchor=_ANCHOR,
      says="It must still answer single calls: the host uses them for info and for a dry run, and may use them at any time.")  # fmt: skip
def resident_single_calls(kit: Kit) -> None:
    with _serving(kit) as serving, kit.vif() as vif:
        if not (came := serving.call("plug", vif)).done:
            raise Broken("plug should have succeeded", came)
        kit.done("plug", vif)
        kit.done("unplug", vif)


@case(
    TOPIC,
    "resident-ends",
    "it ends when its input ends",
    anchor=_ANCHOR,
    says="When standard input ends, it ends, at once.",
)
def resident_ends(kit: Kit) -> None:
    for used in (False, True):
        with _serving(kit) as serving, kit.vif() as vif:
            if used:
                serving.call("plug", vif)
                serving.call("unplug", vif)
            ended = serving.ends(_AT_ONCE)
            if ended is None:
                raise Broken(
                    f"its input ended, and {_AT_ONCE:g} s later it still ran", kit.calls[-1] if used else None
                )
            if ended[0] != 0:
                raise Broken(
                    f"its input ended, and it ended with {ended[0]}, not with 0",
                    kit.calls[-1] if used else None,
                )


@case(TOPIC, "resident-goes-on", "after a refusal, an unknown verb and a failure it goes on", anchor=_ANCHOR,
      says="exit and what goes with it mean what the exit status and standard output of a single call mean.")  # fmt: skip
def resident_goes_on(kit: Kit) -> None:
    with _serving(kit) as serving, kit.vif() as vif:
        request = msgspec.to_builtins(kit.request("plug", vif))
        came = serving.send(
            msgspec.json.encode({**request, "verb": "vifplug-conform-unknown"}) + b"\n",
            "vifplug-conform-unknown",
        )
        if came.status != 64:
            raise Broken(f"an unknown verb brought {came.status}, not 64", came)
        for bad, what in bad_bindings(kit):
            came = serving.call("plug", bad)
            if came.outcome != "bad_details":
                raise Broken(f"{what}, and plug brought {came.outcome}", came)
            serving.call("unplug", bad)
        for verb in ("plug", "unplug"):
            if not (came := serving.call(verb, vif)).done:
                raise Broken(f"{verb} failed after requests that were refused", came)


@case(TOPIC, "resident-bad-line", "a line that is no request is not taken for one", anchor=_ANCHOR,
      says="reads one request after the other on standard input, each on one line")  # fmt: skip
def resident_bad_line(kit: Kit) -> None:
    with (
        _serving(kit) as serving,
        kit.unchanged("a line that is no request changed the host", ignoring="^process"),
    ):
        came = serving.send(b'{"verb": "plug", "vif": \n', "nothing")
        if came.status == 0:
            raise Broken("a line that is no request was answered with success", came)
        if came.status is None and came.seconds >= kit.subject.seconds:
            raise Broken("a line that is no request brought neither an answer nor an end", came)


@case(TOPIC, "resident-keeps-nothing", "what one request brings does not depend on the one before", anchor=_ANCHOR,
      says="The rest of the contract holds unchanged")  # fmt: skip
def resident_keeps_nothing(kit: Kit) -> None:
    with _serving(kit) as serving, kit.vif() as one, kit.vif() as other:
        alone = serving.call("plug", one)
        serving.call("plug", other, generation=7)
        dry = serving.call("unplug", other)
        again = serving.call("plug", one)
        if not dry.done or again.reply != alone.reply:
            raise Broken(f"before another VIF's request, the reply was {alone.reply}", again)
        serving.call("unplug", one)
        if "check" in kit.verbs():
            single = kit.call("check", one)
            came = serving.call("check", one)
            if _said(came.reply) != _said(single.reply):
                raise Broken(f"as a single call, check answered {single.reply}", came)
