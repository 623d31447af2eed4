"""A tap that the caller made and vifplug took: kept like any other, but never fought over with who made it."""

from __future__ import annotations

from keeping import ip, kept
from world import ID, TAP, World, binding, links

CALLERS = binding(mtu=1400, vif_details={"made_by": "caller"})


def test_what_its_maker_takes_away_is_told_and_not_mended(world: World) -> None:
    ip("tuntap", "add", TAP, "mode", "tap")
    with kept(world) as one:
        one.host.plug(CALLERS)
        ip("link", "delete", TAP)
        assert one.hear("device-gone").data["drift"][0]["what"] == "caller's device"
        one.round()
        assert {"repaired", "repair-failed"}.isdisjoint(one.kinds())
        assert TAP not in links()
        assert world.asked() == ["plug"]


def test_what_others_do_to_it_is_mended(world: World) -> None:
    ip("tuntap", "add", TAP, "mode", "tap")
    with kept(world) as one:
        one.host.plug(CALLERS)
        ip("link", "set", TAP, "mtu", "1280")
        assert one.hear("repaired", vif_id=ID)
        assert links()[TAP].mtu == 1400


def test_one_that_its_maker_made_anew_is_plugged_again(world: World) -> None:
    ip("tuntap", "add", TAP, "mode", "tap")
    with kept(world) as one:
        one.host.plug(CALLERS)
        ip("link", "delete", TAP)
        one.hear("device-gone")
        ip("tuntap", "add", TAP, "mode", "tap")
        one.hear("repaired", vif_id=ID)
        assert world.asked() == ["plug", "plug"]
        assert one.host.check(ID).ok
