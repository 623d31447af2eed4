"""A place that the host's owner trusts, with scripts in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vifplug.config import Config, Deadlines, ScriptSettings, Trust


class TrustedDir:
    """A directory that belongs to root, as does every directory above it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, text: str, mode: int = 0o755) -> Path:
        """An executable script; without a first line of its own it is one for sh."""
        path = self.path / name
        path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
        path.chmod(mode)
        return path

    def config(
        self, *, grace: float = 0.2, script: dict[str, ScriptSettings] | None = None, **trust: Any
    ) -> Config:
        """A configuration that trusts this directory alone, unless ``trust`` says otherwise."""
        places = {"directories": [str(self.path)], "allow": [], "packaged": False, **trust}
        return Config(trust=Trust(**places), deadlines=Deadlines(grace=grace), script=script or {})
