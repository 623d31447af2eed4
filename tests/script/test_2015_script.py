"""A plug script as they were proposed in 2015 runs unchanged: a verb, and VIF_ in the environment."""

from __future__ import annotations

import subprocess

from msgspec import structs

from callers import VIF, a_request
from trusted import TrustedDir
from vifplug.model.vif import NetworkInfo
from vifplug.script.catalogue import Catalogue
from vifplug.script.marks import Mark
from vifplug.script.runner import Runner

SCRIPT = """#!/bin/sh
# Joins a tap and a bridge. Never heard of JSON, deadlines, or any verb but two.
set -eu
case "$1" in
plug)
    ip link set "$VIF_DEVNAME" address "fe:${VIF_ADDRESS#*:}" mtu "$VIF_MTU" master "$VIF_NETWORK_BRIDGE" up
    echo "plugged $VIF_ID of ${VIF_INSTANCE_ID:-nobody} into $VIF_NETWORK_BRIDGE" >&2
    ;;
unplug)
    ip link set "$VIF_DEVNAME" nomaster 2>/dev/null || true
    ;;
*)
    echo "usage: $0 plug|unplug" >&2
    exit 64
    ;;
esac
"""


def master() -> str:
    shown = subprocess.run(
        ["ip", "-o", "link", "show", VIF.devname], capture_output=True, text=True, check=True
    ).stdout
    return shown.partition(" master ")[2].partition(" ")[0]


def test_a_2015_script_plugs_and_unplugs(trusted_dir: TrustedDir, netns: None) -> None:
    path = trusted_dir.write("neutron-brick-vif-plug", SCRIPT)
    config = trusted_dir.config(directories=[], allow=[f"{trusted_dir.path}/neutron-*-vif-plug"])
    script, runner = Catalogue(config).find(str(path)), Runner(config)
    vif = structs.replace(VIF, network=NetworkInfo(bridge="br0"))
    for command in ("link add br0 type bridge", f"tuntap add {VIF.devname} mode tap"):
        subprocess.run(["ip", *command.split()], check=True)

    assert runner.info(script) is None

    plugged = runner.carry_out(script, a_request("plug", vif), seconds=20, mark=Mark.new())
    assert plugged.error is None
    assert plugged.reply == {}
    assert plugged.calls[0].stderr == f"plugged {VIF.id} of nobody into br0\n"
    assert master() == "br0"

    for _ in range(2):  # again, and for what is not plugged: success
        unplugged = runner.carry_out(script, a_request("unplug", vif), seconds=20, mark=Mark.new())
        assert unplugged.error is None
        assert master() == ""

    update = runner.carry_out(script, a_request("update", vif), seconds=20, mark=Mark.new())
    assert update.error is not None
    assert update.error.code == "verb_not_supported"
