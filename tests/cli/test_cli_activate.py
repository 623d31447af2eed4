"""``vifplug activate``, and what the other verbs say of a VIF whose guest is still to come."""

from __future__ import annotations

import json

from cli_shell import Shell, both_ways
from served import configuration
from world import ID, TAP, World, binding

COMING = json.dumps(binding(migration={"role": "destination", "phase": "prepare"})).encode()


@both_ways
def test_a_vif_arrives_and_is_activated(vifplug: Shell, world: World) -> None:
    world.info(verbs=["plug", "unplug", "activate"])
    assert vifplug("plug", "-", stdin=COMING).status == 0
    assert "plugged (arriving)" in vifplug("list").out
    assert "plugged (arriving)" in vifplug("show", TAP).out
    done = vifplug("activate", ID[:8])
    assert (done.status, f"({TAP}) is this host's now" in done.out) == (0, True)
    assert "arriving" not in vifplug("list").out
    assert "already" in vifplug("activate", TAP).out
    assert vifplug("activate", ID, "--json").json["activated"] is False
    assert world.asked() == ["plug", "activate"]


def test_what_is_not_there_cannot_be_activated(vifplug: Shell) -> None:
    failed = vifplug("activate", ID)
    assert failed.status != 0 and "not plugged on this host" in failed.err


def test_gc_says_what_it_gave_up(vifplug: Shell, world: World) -> None:
    world.info(verbs=["plug", "unplug"])
    vifplug.config.write_text(configuration(world, arrival_patience=0.000001))
    assert vifplug("plug", "-", stdin=COMING).status == 0
    said = vifplug("gc")
    assert "given up" in said.out and ID in said.out
    assert world.asked() == ["plug", "unplug"]
