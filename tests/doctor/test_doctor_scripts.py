"""Plug scripts, as they lie in real directories."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec import structs

from doctored import Patient
from vifplug.config import ScriptSettings
from world import ID, World, binding


def test_scripts_that_would_run_are_well(patient: Patient) -> None:
    assert patient.look("scripts").is_well()
    assert patient.look("script-directories").only.items == ["recorder"]


def test_a_refused_script_is_told_with_the_reason(patient: Patient, world: World) -> None:
    (world.scripts / "recorder").chmod(0o775)
    found = patient.look("script-directories")
    refused = next(finding for finding in found.at("warning") if finding.items)
    assert "may not run" in refused.found and "chmod go-w" in refused.found
    assert any("no plug script would run" in finding.found for finding in found.at("warning"))


def test_a_trusted_directory_that_others_may_write_is_told_though_it_is_empty(
    patient: Patient, world: World
) -> None:
    assert patient.look("trusted-directories").one("ok").items == [str(world.scripts)]
    loose = world.folder / "loose"
    loose.mkdir()
    loose.chmod(0o775)
    trust = structs.replace(world.config.trust, directories=[str(loose), "/nowhere/at/all"])
    warned = patient.look("trusted-directories", trust=trust).one("warning")
    assert f"{loose} belongs to uid {os.geteuid()}, mode 0775" in warned.found and "chmod go-w" in warned.do


def test_a_name_that_is_hidden_by_another_directory_is_noted(patient: Patient, world: World) -> None:
    second = world.folder / "second"
    second.mkdir()
    (second / "recorder").write_text("#!/bin/sh\n")
    trust = structs.replace(world.config.trust, directories=[str(world.scripts), str(second)])
    note = patient.look("script-directories", trust=trust).one("note")
    assert note.items == [str(second / "recorder")] and "hidden by" in note.found


def test_a_pin_that_holds_is_well_and_one_that_does_not_is_a_problem(patient: Patient, world: World) -> None:
    from vifplug.script.catalogue import Catalogue

    digest = Catalogue(world.config).find("recorder").digest.removeprefix("sha256:")
    pinned = {"recorder": ScriptSettings(sha256=digest)}
    assert (
        "recorder: as the configuration pins"
        in patient.look("script-settings", script=pinned).one("ok").found
    )
    with (world.scripts / "recorder").open("a") as file:
        file.write("# changed\n")
    assert (
        "not what the configuration pins"
        in patient.look("script-settings", script=pinned).one("problem").found
    )


def test_settings_for_a_script_that_is_not_there_are_noted(patient: Patient) -> None:
    note = patient.look("script-settings", script={"misspelt": ScriptSettings()}).one("note")
    assert note.items == ["misspelt"]


@pytest.mark.parametrize("answers", [True, False])
def test_a_script_without_info_is_noted_once_it_was_used(
    patient: Patient, world: World, answers: bool
) -> None:
    assert patient.look("script-info").all == []
    if answers:
        world.info(verbs=["plug", "unplug"], protocols=[1])
    with world.host() as host:
        host.plug(binding())
    found = patient.look("script-info").only
    assert found.level == ("ok" if answers else "note") and found.items == ["recorder"]


def test_a_script_that_went_while_vifs_need_it_is_a_problem(patient: Patient, world: World) -> None:
    with world.host() as host:
        host.plug(binding())
    assert patient.look("scripts-in-use").is_well()
    Path(world.scripts / "recorder").unlink()
    problem = patient.look("scripts-in-use").one("problem")
    assert problem.items == [ID] and "leave a debt" in problem.why


def test_no_script_is_run_for_a_look(patient: Patient, world: World) -> None:
    patient.look("scripts")
    assert world.asked() == []
