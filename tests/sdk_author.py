"""Writes plug scripts with the SDK and calls them: by hand, or as a host does."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec

import plugscript
import vifplug
from callers import VIF, a_request
from trusted import TrustedDir
from vifplug.model.vif import Vif

SDK = Path(plugscript.__file__).parent
SHELL_SDK = Path(vifplug.__file__).parent / "plugscript.sh"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BY_HAND = {"PATH": PATH, "VIF_ID": VIF.id, "VIF_DEVNAME": VIF.devname}

PYTHON = f"""#!/usr/bin/python3 -IS
import sys
sys.path.insert(0, {str(SDK)!r})
import plugscript
from plugscript import *
"""


class Called:
    """What came of a call."""

    def __init__(self, status: int, stdout: bytes, stderr: bytes) -> None:
        self.status = status
        self.stdout = stdout.decode()
        self.stderr = stderr.decode()

    @property
    def reply(self) -> dict[str, Any]:
        assert self.status == 0, self.stderr
        return dict(json.loads(self.stdout or "{}"))

    @property
    def error(self) -> dict[str, Any]:
        assert self.status != 0, self.stdout
        return dict(json.loads(self.stdout)["error"])

    @property
    def trace(self) -> list[dict[str, Any]]:
        """The commands, without their times."""
        return traced(self.stderr)

    @property
    def log(self) -> list[str]:
        """What is on standard error for people."""
        return [line for line in self.stderr.splitlines() if not line.startswith("#vifplug ")]


def traced(stderr: str) -> list[dict[str, Any]]:
    lines = [json.loads(line[9:]) for line in stderr.splitlines() if line.startswith("#vifplug ")]
    for line in lines:
        assert "dry" in line or line.pop("seconds", 0) >= 0
    return lines


class Script:
    """One plug script."""

    def __init__(self, path: Path, shell: list[str]) -> None:
        self.path = path
        self.shell = shell

    def __call__(
        self, verb: str, request: dict[str, Any] | bytes | None = None, **environment: str
    ) -> Called:
        """One call with ``request``; without one with the VIF in the environment alone."""
        data = request if isinstance(request, bytes) else json.dumps(request).encode() if request else b""
        done = subprocess.run(
            [*self.shell, str(self.path), *([verb] if verb else [])],
            input=data,
            env=BY_HAND | environment,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return Called(done.returncode, done.stdout, done.stderr)

    def serve(self, *requests: dict[str, Any] | str) -> list[dict[str, Any]]:
        """The answers of one resident process."""
        lines = [each if isinstance(each, str) else json.dumps(each) for each in requests]
        done = subprocess.run(
            [str(self.path), "serve"],
            input="".join(f"{line}\n" for line in lines).encode(),
            env={"PATH": PATH},
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


class Author:
    """Writes scripts into a trusted place."""

    def __init__(self, place: TrustedDir) -> None:
        self.place = place

    def python(self, verbs: str, declared: str = "", *, name: str = "s") -> Script:
        """A script in Python; ``plug`` and ``unplug`` do nothing unless ``verbs`` has them."""
        text = f'{PYTHON}\nscript = plugscript.Script("blue", {declared})\n'
        for verb in ("plug", "unplug"):
            if f"def {verb}(" not in verbs:
                text += f"@script.verb\ndef {verb}(request): pass\n"
        return Script(self.place.write(name, f"{text}{verbs}\nscript.main()\n"), [])

    def sh(self, verbs: str, declared: str = "", *, by: str = "sh", name: str = "s") -> Script:
        """A script in sh, as ``python``."""
        text = f'#!/bin/sh\n. "{SHELL_SDK}"\nNAME=blue\n{declared}\n'
        for verb in ("plug", "unplug"):
            if f"{verb}()" not in verbs:
                text += f"{verb}() {{ :; }}\n"
        return Script(self.place.write(name, f'{text}{verbs}\nmain "$@"\n'), by.split())


def request(verb: str = "plug", vif: Vif = VIF, **more: Any) -> dict[str, Any]:
    """A request as a host writes it. ``details`` are the binding's."""
    details = more.pop("details", {})
    made = dict(json.loads(a_request(verb, msgspec.structs.replace(vif, details=details)).to_json()))
    return made | more
