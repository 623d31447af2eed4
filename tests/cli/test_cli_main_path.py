"""The main path, with the real command in a process of its own and a real kernel."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from cli_shell import Shell, both_ways
from world import ID, TAP, binding, links

XML = f'<target dev="{TAP}" managed="no" />'


@both_ways
def test_a_vif_is_plugged_looked_at_and_unplugged(vifplug: Shell) -> None:
    plugged = vifplug.real("plug", vifplug.file(binding(mtu=1450)))
    assert plugged.status == 0
    assert plugged.out.startswith('<interface type="ethernet">') and plugged.out.endswith("</interface>\n")
    assert XML in plugged.out
    assert plugged.err.startswith(f"{ID} ({TAP}) plugged in ")
    assert links()[TAP].mtu == 1450

    listed = vifplug.real("list")
    assert listed.status == 0 and listed.err == ""
    assert listed.out.splitlines()[1].split()[:6] == [ID, TAP, "ethernet", "plugged", "1", "recorder"]
    assert vifplug.real("check", ID).out.split() == ["ID", "VERDICT", ID, "ok"]
    assert vifplug.real("xml", ID).out == plugged.out

    unplugged = vifplug.real("unplug", ID)
    assert unplugged.status == 0 and unplugged.out.startswith(f"{ID} unplugged in ")
    assert vifplug.real("list", "--json").json == []
    assert TAP not in links()
    assert vifplug.world.ports() == set()
    assert vifplug.world.asked() == ["plug", "unplug"]


@both_ways
def test_many_are_plugged_and_unplugged_together(vifplug: Shell) -> None:
    file = vifplug.file([binding(number) for number in range(1, 31)])
    assert vifplug.real("plug", "--all", file).out.startswith("plugged 30 VIFs in ")
    assert len(links()) == 30
    assert vifplug.real("unplug", "--all").out.startswith("unplugged 30 VIFs in ")
    assert links() == {}


@both_ways
def test_the_binding_comes_through_a_pipe(vifplug: Shell) -> None:
    for number, arguments in enumerate(((), ("-",)), 1):
        ended = vifplug.real("plug", "--json", *arguments, input=json.dumps(binding(number)))
        assert ended.status == 0 and ended.json["id"] == binding(number)["id"]


@both_ways
def test_a_probe_says_whether_the_network_answers(vifplug: Shell) -> None:
    for command in ("link add br0 type bridge", "address add 10.0.0.1/24 dev br0", "link set br0 up"):
        subprocess.run(["ip", *command.split()], check=True)
    vifplug.world.on("plug", do='ip link set dev "$VIF_DEVNAME" master br0')
    vifplug.real("plug", vifplug.file(binding()))
    probed = vifplug.real("probe", ID, "10.0.0.1", "--address", "10.0.0.9/24")
    assert probed.status == 0, probed.out
    assert [line.split()[:2] for line in probed.out.splitlines()[1:3]] == [["arp", "ok"], ["ping", "ok"]]
    probed = vifplug.real("probe", ID, "10.0.0.2", "--address", "10.0.0.9/24", "--timeout", "0.1")
    assert probed.status == 1 and "no reply" in probed.out


@both_ways
def test_the_steps_are_told_as_they_happen(vifplug: Shell) -> None:
    told = vifplug.real("-v", "plug", vifplug.file(binding())).err
    steps = [line.split("ms", 1)[1].split()[1] for line in told.splitlines()[:-1]]
    assert steps[:2] == ["intent", "device"] and steps[-1] == "outcome"
    assert "script plug …" in told  # a script can take long: its beginning is told too


# --- interrupted ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_an_interrupted_plug_is_undone(
    vifplug: Shell, fifo: Path, number: signal.Signals, status: int
) -> None:
    vifplug.world.on("plug", do=f"echo begun > {fifo}; exec sleep 100")
    process = vifplug.start("plug", vifplug.file(binding()))
    with fifo.open() as pipe:  # opens when the script does
        assert pipe.read() == "begun\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert out == "" and err.startswith("vifplug: interrupted") and len(err.splitlines()) == 1
    assert links() == {}
    assert vifplug("list", "--json").json == []
    assert vifplug.world.asked() == ["plug", "unplug"]


def test_an_interrupted_plug_of_many_ends_their_scripts_and_is_undone(vifplug: Shell, fifo: Path) -> None:
    vifplug.world.on("plug", do=f"echo begun > {fifo}; exec sleep 100")
    process = vifplug.start("plug", "--all", vifplug.file([binding(number) for number in range(1, 4)]))
    with fifo.open() as pipe:
        assert pipe.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert err.startswith("vifplug: interrupted") and len(err.splitlines()) == 1
    assert links() == {}
    assert vifplug("list", "--json").json == []


def test_a_second_ctrl_c_ends_at_once_and_leaves_the_rest_to_recover(vifplug: Shell, fifo: Path) -> None:
    vifplug.world.on("plug", do="exit 1")
    vifplug.world.on("unplug", do=f"echo begun > {fifo}; exec sleep 100")
    process = vifplug.start("plug", "--all", vifplug.file([binding(1), binding(2)]))
    with fifo.open() as pipe:
        assert pipe.readline() == "begun\n"
    presses = 0
    while process.returncode is None and presses < 100:  # two that come too close to each other are one
        process.send_signal(signal.SIGINT)
        presses += 1
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=0.1)
    assert (process.returncode, presses > 1) == (-signal.SIGINT, True)
    vifplug.world.on("unplug")
    vifplug("recover")
    assert links() == {}
    assert vifplug("list", "--json").json == []


def test_what_a_killed_process_left_is_recovered(vifplug: Shell, fifo: Path) -> None:
    vifplug.world.on("plug", do=f"echo begun > {fifo}; exec sleep 100")
    process = vifplug.start("plug", vifplug.file(binding()))
    with fifo.open() as pipe:
        pipe.read()
    process.kill()
    process.communicate()
    assert "plugging" in vifplug("list").out
    vifplug.world.on("plug")
    recovered = vifplug.real("recover")
    assert recovered.status == 0
    assert recovered.out.splitlines()[1].split() == [ID, "plugging", "unplugged", "-"]
    assert links() == {}
    assert vifplug.real("recover").out == "nothing was left in the middle\n"


# --- standard output that takes no more ----------------------------------------------------------


@both_ways
def test_a_reader_that_went_away_is_nothing_to_shout_about(vifplug: Shell) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    for arguments in (["plug", vifplug.file(binding())], ["list"], ["list", "--json"]):
        ended = vifplug.real(*arguments, stdout=writing)
        assert ended.status == 128 + signal.SIGPIPE
        assert "vifplug:" not in ended.err
    os.close(writing)
    assert TAP in links()  # the plug was done; asked again, it answers the same


def test_a_full_disk_behind_standard_output_is_said(vifplug: Shell) -> None:
    with Path("/dev/full").open("w") as full:
        for arguments in (
            ["version"],
            ["--version"],
            ["--help"],
            ["plug", "-h"],
            [],
            ["list", "--json"],
            ["unplug", "--json", ID],
        ):
            ended = vifplug.real(*arguments, stdout=full)
            assert ended.status == 74
            assert ended.err == "vifplug: cannot write to standard output: No space left on device\n"


@both_ways
def test_standard_error_that_nobody_reads_does_not_fail_a_plug(vifplug: Shell) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    assert vifplug.real("-v", "plug", vifplug.file(binding()), stderr=writing).status == 0
    assert vifplug.real("plug", "no such file", stderr=writing).status == 65
    os.close(writing)
    assert vifplug.world.ports() == {ID}
