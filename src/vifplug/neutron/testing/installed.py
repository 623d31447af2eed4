"""Whether this Python has Neutron, where its files are, and a project's drivers as if they were installed."""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

import msgspec
from msgspec import Struct, field

from ...errors import InvalidInput, VifplugError

GROUP = "neutron.ml2.mechanism_drivers"
_PASTE = "api-paste.ini"


class NeutronMissing(VifplugError):
    """There is no Neutron to test with; the message says what to install."""

    code = "neutron_missing"


def missing() -> str | None:
    """What has to be installed before a ``Neutron`` can be started, in one sentence; None where it is all there."""
    lacks = [name for name in ("neutron", "jsonschema", "packaging") if not _is_there(name)]
    if not lacks:
        return None
    what = (
        "Neutron is" if "neutron" in lacks else f"what vifplug needs beside Neutron ({', '.join(lacks)}) is"
    )
    return f"{what} not installed for {sys.executable}: python3 -m pip install neutron 'vifplug[neutron]'"


def _is_there(name: str) -> bool:
    spec = find_spec(name)
    return spec is not None and spec.origin is not None  # a folder of that name is no package, and has none


def paste_file() -> Path:
    """Neutron's api-paste.ini: pip puts it below the prefix, packages into /etc. Raises NeutronMissing."""
    candidates = [Path(sys.prefix, "etc/neutron", _PASTE)]
    try:
        own = distribution("neutron")
        candidates += [Path(str(own.locate_file(file))) for file in own.files or () if file.name == _PASTE]
    except PackageNotFoundError:
        pass  # from a distribution's package, say: without metadata of pip's
    candidates.append(Path("/etc/neutron", _PASTE))
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise NeutronMissing(
        f"Neutron is installed for {sys.executable}, but not its {_PASTE}: python3 -m pip install neutron"
    )


class _About(Struct):
    """[project] of a pyproject.toml, as far as it matters here."""

    name: str
    version: str = "0"
    entry_points: dict[str, dict[str, str]] = field(default_factory=dict, name="entry-points")


class _Project(Struct):
    project: _About


def drivers_of(project: Path) -> dict[str, str]:
    """The mechanism drivers in a project's pyproject.toml, "module:Class" by name.

    Raises InvalidInput where it has none.
    """
    named = _read(project).entry_points.get(GROUP, {})
    if not named:
        raise _refused(
            project,
            f'names no mechanism driver: it needs [project.entry-points."{GROUP}"] with a line such as '
            'blue = "blue:BlueMechanismDriver"',
        )
    return named


def as_if_installed(project: Path, folder: Path) -> list[str]:
    """What PYTHONPATH needs to begin with for the project's entry points to be found, in ``folder`` and its own.

    The metadata bear the project's name, so they stand before those of an installed copy, and not beside.
    """
    about = _read(project)
    metadata = folder / f"{about.name.replace('-', '_')}-{about.version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {about.name}\nVersion: {about.version}\n"
    )
    lines = [f"{driver} = {place}" for driver, place in drivers_of(project).items()]
    (metadata / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines, ""]))
    return [str(folder), *(str(path) for path in (project / "src", project) if path.is_dir())]


def _read(project: Path) -> _About:
    try:
        text = (project / "pyproject.toml").read_text(encoding="utf-8")
        return msgspec.convert(tomllib.loads(text), _Project).project
    except OSError as error:
        reason = f"cannot be read ({error.strerror}): say the directory of the mechanism's project"
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        reason = f"is no TOML: {error}"
    except msgspec.ValidationError as error:
        reason = f"describes no project: {error}"
    raise _refused(project, reason)


def _refused(project: Path, reason: str) -> InvalidInput:
    return InvalidInput(f"{project / 'pyproject.toml'} {reason}", field="project", value=str(project))


__all__ = ["NeutronMissing", "as_if_installed", "drivers_of", "missing", "paste_file"]
