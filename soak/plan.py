"""What the clients do: decided by the seed alone, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, Literal

from msgspec import Struct

from .scripts import KINDS, MOODS_OF

#: bridges for the shipped script: one that is there, one that it makes and removes
BRIDGE, OWN_BRIDGE = "br-soak", "br-own"
#: VIFs of one plug-all or unplug-all
_MANY = 8

Verb = Literal["plug", "again", "unplug", "update", "check", "show", "list", "wait", "plug-all", "unplug-all"]
_WEIGHTS: dict[Verb, int] = {
    "plug": 30, "again": 6, "unplug": 24, "update": 10, "check": 10,
    "show": 4, "list": 1, "wait": 2, "plug-all": 4, "unplug-all": 3,
}  # fmt: skip


class Deed(Struct, frozen=True):
    """One thing that a client asks for."""

    verb: Verb
    bindings: list[dict[str, Any]]

    @property
    def ids(self) -> list[str]:
        return [binding["id"] for binding in self.bindings]


def deeds(seed: int, client: int, life: int, thread: int, vifs: int) -> Iterator[Deed]:
    """What one thread of a client asks for, without end; a client that was killed has another life."""
    chance = Random(f"{seed}/{client}/{life}/{thread}")
    last: dict[str, Any] | None = None
    while True:
        verb = chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        many = _MANY if verb in ("plug-all", "unplug-all") else 1
        bindings = [binding(number, chance) for number in chance.sample(range(vifs), many)]
        if verb == "again" and last is not None:
            bindings = [last]
        if verb in ("plug", "again"):
            last = bindings[0]
        yield Deed(verb, bindings)


def binding(number: int, chance: Random) -> dict[str, Any]:
    """A port binding of the numbered VIF, in one of the ways in which it may be bound."""
    kind = KINDS[number % len(KINDS)]
    details: dict[str, Any] = {}
    if kind in ("linux-bridge", "linux-bridge-own"):
        own = kind == "linux-bridge-own"
        details = {"vif_plug_script": "linux-bridge", "bridge": OWN_BRIDGE if own else BRIDGE}
        if own:
            details["create_bridge"] = True
    elif kind is not None:
        details = {"vif_plug_script": kind, "tag": chance.randrange(3)}
        if kind in MOODS_OF:
            details["mood"] = chance.choice(MOODS_OF[kind])
    return {
        "id": vif_id(number),
        "vif_type": "ethernet",
        "address": f"fa:16:3e:00:{number >> 8:02x}:{number & 255:02x}",
        "mtu": chance.choice([1400, 1450, 1450]),
        "vif_details": details,
    }


def vif_id(number: int) -> str:
    return f"{number:08x}-50ac-4f0a-9c55-2f7a3c1d9e01"
