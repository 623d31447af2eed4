"""Stand-ins for commands of vendors' that cannot be had here, and a host whose scripts find them.

A stand-in is a few lines of sh under the command's name. It records each call with its exact
arguments, then behaves as the test says. What it proves is what our script runs and how it takes the
answers; that the real command would answer so is from its documentation or source, named in the test.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from msgspec import structs

import vifplug
from vifplug.config import ScriptSettings, Trust
from vifplug.host import Host
from vifplug.model import read_binding
from vifplug.script.catalogue import Catalogue
from vifplug.script.contract import RequestHost, request_for
from vifplug.script.marks import Mark
from vifplug.script.runner import Outcome, Runner
from world import ID, World

PACKAGE = Path(vifplug.__file__).parent
NETWORK = "2d4f8c1e-93f5-4a40-8d0b-6f6f5f0f1c11"
INSTANCE = "0b6f0f0e-2f0b-4a0e-9d0c-7a3f5b1c2d3e"
PROJECT = "5d0c1a2b7e8f49c1a3b4c5d6e7f80910"
MAC = "fa:16:3e:4c:1b:1b"
_HOST = RequestHost(name="host1", boot_id="3c2f9a1e-0000-4000-8000-000000000001")

_STAND_IN = """#!/bin/sh
# A stand-in for {name}: it is not the vendor's.
place={place}
exec 9<"$place"; flock 9 # one at a time, as the vendor's switch takes them
{{ printf '%s\\0' {name} "$@"; echo; }} >>"${{VENDOR_CALLS:-$place/calls}}"
[ ! -f "$place/{name}.before" ] || . "$place/{name}.before"
{body}
"""


class Vendor:
    """A host with one script of the catalogue, laid out as it is installed, and stand-ins first in its PATH."""

    def __init__(self, world: World, script: str) -> None:
        self.place = world.folder / "vendor"
        self.script = script
        bin_, lib = self.place / "bin", world.folder / "lib"
        for folder in (bin_, lib / "scripts"):
            folder.mkdir(parents=True)
        shutil.copyfile(PACKAGE / "scripts" / script, lib / "scripts" / script)
        (lib / "scripts" / script).chmod(0o755)  # a checkout may be its group's to write
        for part in (PACKAGE.parent / "plugscript.py", PACKAGE / "plugscript.sh"):
            shutil.copy(part, lib)
        self.environment = {"PATH": f"{bin_}:/usr/sbin:/usr/bin:/sbin:/bin"}
        self.config = structs.replace(
            world.config,
            trust=Trust(directories=[str(lib / "scripts")], allow=[], packaged=False),
            script={script: ScriptSettings(environment=self.environment)},
        )

    def command(self, name: str, body: str = "") -> None:
        """A stand-in of that name. ``body`` is sh; $place is a folder where it may remember things."""
        path = self.place / "bin" / name
        path.write_text(_STAND_IN.format(name=name, place=self.place, body=body))
        path.chmod(0o755)

    def before(self, name: str, sh: str | None) -> None:
        """What the stand-in does first from now on, such as fail; None: nothing more."""
        path = self.place / f"{name}.before"
        if sh is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(sh)

    def calls(self) -> list[list[str]]:
        """What was called since this was last asked, each with all its arguments."""
        log = self.place / "calls"
        if not log.exists():
            return []
        lines = log.read_text().removesuffix("\n").split("\n")
        log.unlink()
        return [line.split("\0")[:-1] for line in lines]

    def host(self) -> Host:
        return Host(self.config)

    def call(self, verb: str, binding: dict[str, Any], *, dry_run: bool = False) -> Outcome:
        """The script asked for one verb, as the host asks it, with no record of what was before."""
        request = request_for(verb, read_binding(binding), generation=1, host=_HOST, deadline=20.0)
        return Runner(self.config).carry_out(
            Catalogue(self.config).find(self.script),
            structs.replace(request, dry_run=dry_run),
            seconds=20.0,
            mark=Mark.new(),
        )

    def binding(self, vif_type: str = "ethernet", **fields: Any) -> dict[str, Any]:
        """A port binding that names the script and says all that a vendor's command is told."""
        return {
            "id": ID,
            "vif_type": vif_type,
            "address": MAC,
            "mtu": 1450,
            "network": {
                "id": NETWORK,
                "label": "blue",
                "subnets": [{"cidr": "192.0.2.0/24", "addresses": ["192.0.2.9"]}],
            },
            "instance": {"id": INSTANCE, "name": "web-1", "project_id": PROJECT},
            **fields,
            "vif_details": {"vif_plug_script": self.script, **fields.get("vif_details", {})},
        }
