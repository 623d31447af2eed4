"""Where a cloud's files are, and how it was brought up."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

CHECKOUT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent

#: how a VIF is plugged: by the os-vif plugin in nova-compute, or by an agent of Neutron's with Nova left as it is
Way = Literal["plugin", "agent"]


class CloudError(Exception):
    """What keeps a cloud from coming up or from doing what a test asked of it: a sentence."""


@dataclass(frozen=True)
class Choices:
    way: Way = "plugin"
    nodes: int = 2
    debug: bool = False


@dataclass(frozen=True)
class Place:
    """All paths below one directory, which must be readable for all users: PostgreSQL and nova-compute are not root."""

    root: Path
    choices: Choices

    @property
    def venv(self) -> Path:
        """OpenStack's own, without vifplug."""
        return CHECKOUT / ".venv-cloud"

    @property
    def vifplug(self) -> Path:
        """The directory with vifplug as pip installs it, for those services that are to have it."""
        return self.root / "vifplug"

    @property
    def helper(self) -> Path:
        """What nova-compute may run as root, and nothing else."""
        return self.root / "bin" / "nova-helper"

    def netns(self, number: int) -> str:
        """The network namespace of the controller (0) or of a node."""
        return f"vifcloud-{hashlib.sha256(str(self.root).encode()).hexdigest()[:4]}-{number}"

    def folder(self, *names: str) -> Path:
        path = self.root.joinpath(*names)
        path.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def numbers(self) -> range:
        return range(1, self.choices.nodes + 1)

    def save(self) -> None:
        (self.root / "choices.json").write_text(json.dumps(asdict(self.choices)))


def default_root() -> Path:
    return Path(os.environ.get("VIFPLUG_CLOUD") or CHECKOUT / ".cloud")


def load(root: Path) -> Place | None:
    """The cloud that is up there, if one is."""
    try:
        choices = Choices(**json.loads((root / "choices.json").read_text()))
    except FileNotFoundError:
        return None
    return Place(root, choices)
