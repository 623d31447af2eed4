"""A host that the doctor is sent to: real where it can be, and a tree of files where it is pointed elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import structs

from vifplug.config import Config
from vifplug.doctor import CHECKS, Finding, Level, Place, examine


class Found:
    """What the checks that were asked for found."""

    def __init__(self, findings: list[Finding]) -> None:
        self.all = findings

    def at(self, level: str) -> list[Finding]:
        return [finding for finding in self.all if finding.level == level and finding.seen]

    @property
    def only(self) -> Finding:
        """The one finding."""
        [finding] = self.all
        return finding

    def one(self, level: str) -> Finding:
        """The one finding of this level, which says why it matters and what to do."""
        [finding] = self.at(level)
        assert level == "ok" or (finding.why and finding.do), finding
        return finding

    def is_well(self) -> bool:
        return all(finding.level == "ok" for finding in self.all)

    def unseen(self) -> list[str]:
        return [finding.found for finding in self.all if not finding.seen]


class Patient:
    """A host for the doctor."""

    def __init__(self, config: Config, root: Path = Path("/")) -> None:
        self.config = config
        self.root = root

    def look(self, *only: str, **changed: Any) -> Found:
        """Examine it, with the configuration changed so."""
        place = Place(structs.replace(self.config, **changed), root=self.root)
        findings = examine(place, only).findings
        for finding in findings:
            assert finding.found and finding.check in CHECKS
            if finding.seen and finding.level in (Level.WARNING, Level.PROBLEM):
                assert finding.why and finding.do, finding
                assert "could not be made" not in finding.found, finding
        return Found(findings)

    def write(self, name: str, text: str | bytes, mode: int = 0o644) -> Path:
        """A file of the tree that stands for the host."""
        assert self.root != Path("/")
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return path

    def running(self, *names: str) -> None:
        """Processes of these names, in its /proc."""
        for pid, name in enumerate(names, 100):
            self.write(f"/proc/{pid}/comm", f"{name[:15]}\n")

    def program(self, name: str, says: str, status: int = 0) -> None:
        """A program that says just this."""
        words = self.write(f"/usr/share/{name}.said", says)
        self.write(f"/usr/bin/{name}", f"#!/bin/sh\n/bin/cat {words}\nexit {status}\n", 0o755)
