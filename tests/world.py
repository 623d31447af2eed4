"""A host in a network namespace of its own, with a plug script that records what it is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vifplug.config import Config, Deadlines, ScriptSettings, Trust
from vifplug.host import Host
from vifplug.host.netlink import Link, Netlink

ID = "4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01"
TAP = "tap4c1b1b0a-7d"

#: A backend that is a folder: a file per port it knows, and a log of what it was asked. How it
#: behaves is decided by files named after a verb: the exit status in VERB.exit, and VERB.do is sourced.
RECORDER = """#!/bin/sh
backend=@BACKEND@
[ "$1" = info ] && { [ -f $backend/info.json ] && cat $backend/info.json && exit 0; exit 64; }
request=$(cat)
echo "$1 $VIF_ID $VIF_MTU" >> $backend/log
echo "$request" >> $backend/requests
[ -f $backend/$1.do ] && . $backend/$1.do
[ -f $backend/$1.exit ] && { echo "the backend said no" >&2; exit $(cat $backend/$1.exit); }
case $1 in
plug) echo "$request" > $backend/port-$VIF_ID ;;
unplug) rm -f $backend/port-$VIF_ID ;;
update) echo "$request" > $backend/port-$VIF_ID ;;
activate) ;;
check) [ -f $backend/port-$VIF_ID ] ||
    echo '{"ok": false, "drift": [{"what": "port", "expected": "bound", "found": null}]}' ;;
*) exit 64 ;;
esac
"""


class World:
    """One host: its trusted directory, its backend, its state directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scripts = folder / "scripts"
        self.backend = folder / "backend"
        for part in (self.scripts, self.backend):
            part.mkdir()
        self.script("recorder", RECORDER.replace("@BACKEND@", str(self.backend)))
        self.config = Config(
            state_dir=str(folder / "state"),
            trust=Trust(directories=[str(self.scripts)], allow=[], packaged=False),
            deadlines=Deadlines(grace=0.2),
            script={"recorder": ScriptSettings()},
        )

    def host(self, **keywords: Any) -> Host:
        return Host(self.config, **keywords)

    def script(self, name: str, text: str) -> Path:
        path = self.scripts / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def info(self, **fields: Any) -> None:
        (self.backend / "info.json").write_text(json.dumps({"name": "recorder", **fields}))

    def on(self, verb: str, *, status: int | None = None, do: str | None = None) -> None:
        """How the script behaves from now on: as usual, when nothing is given."""
        for suffix, value in (("exit", status), ("do", do)):
            path = self.backend / f"{verb}.{suffix}"
            if value is None:
                path.unlink(missing_ok=True)
            else:
                path.write_text(f"{value}\n")

    def asked(self) -> list[str]:
        """The verbs that the script was called with."""
        log = self.backend / "log"
        return [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []

    def requests(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.backend / "requests").read_text().splitlines()]

    def ports(self) -> set[str]:
        """The ids that the backend has bound."""
        return {path.name.removeprefix("port-") for path in self.backend.glob("port-*")}


def binding(number: int = 0, script: str | None = "recorder", **fields: Any) -> dict[str, Any]:
    """A port binding: of ID, or of the numbered port."""
    details = {"vif_plug_script": script} if script else {}
    return {
        "id": f"{number:08x}-7d5e-4f0a-9c55-2f7a3c1d9e01" if number else ID,
        "vif_type": "ethernet",
        "address": f"fa:16:3e:00:{number >> 8:02x}:{number & 255:02x}",
        **fields,
        "vif_details": {**details, **fields.get("vif_details", {})},
    }


def links() -> dict[str, Link]:
    """The devices of this namespace, but lo."""
    with Netlink() as netlink:
        return {link.name: link for link in netlink.links() if link.name != "lo"}
