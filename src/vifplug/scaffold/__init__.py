"""A package of a mechanism's own, made from templates: plug script, Neutron driver, tests, Debian package and wheel."""

from __future__ import annotations

import re
import tempfile
from importlib.util import find_spec
from pathlib import Path

from .._version import __version__
from ..errors import HostError, InvalidInput

_HERE = Path(__file__).parent
_TEMPLATE = _HERE / "template"
#: what vifplug itself has below /usr/lib/vifplug, and the name of its mechanism driver
_OURS = {"scripts", "scriptlib", "vifplug"}
_NAME = re.compile(r"(?=.{2,40}\Z)[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")


def new_mechanism(name: str, directory: Path, *, shell: bool = False) -> list[Path]:
    """Make the package of the mechanism ``name`` in ``directory``, whole or not at all; the files made.

    The plug script is written in Python, or with ``shell`` in POSIX sh. Raises InvalidInput for a name
    that a script, a driver, a Debian package and a wheel cannot all have, or that vifplug or a script of its own has,
    or for a directory that is there already; HostError if it cannot be written.
    """
    _check(name)
    if directory.exists() or directory.is_symlink():
        raise InvalidInput(
            f"{directory} is there already, and nothing was written: say another place with --directory",
            field="directory",
            value=str(directory),
        )
    files = _files(name, shell=shell)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}-") as folder:
            made = Path(folder) / directory.name
            made.mkdir()  # with the user's umask, which the temporary directory does not have
            for path, text in files.items():
                file = made / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
                if text.startswith("#!"):
                    file.chmod(file.stat().st_mode | 0o111)
            made.rename(directory)
    except OSError as error:
        raise HostError(
            f"{directory} cannot be made: {error.filename}: {error.strerror}", path=str(directory)
        ) from error
    return [directory / path for path in files]


def _check(name: str) -> None:
    if not _NAME.match(name):
        raise InvalidInput(
            f"{name!r} is no name for a mechanism: use 2 to 40 lower-case letters, digits and single hyphens, a letter "
            "first, such as blue-fabric. A script, a mechanism driver, a Debian package and a wheel are called by it",
            field="name",
            value=name,
        )
    if name in _OURS:
        raise InvalidInput(
            f"{name!r} is a name of vifplug's own, and files of the two would be mixed up: choose another name",
            field="name",
            value=name,
        )
    if (_HERE.parent / "scripts" / name).exists() or Path("/usr/lib/vifplug/scripts", name).exists():
        raise InvalidInput(
            f"{name!r} is a plug script that this host has already, and one of the two would hide the other: "
            "choose another name",
            field="name",
            value=name,
        )


def _files(name: str, *, shell: bool) -> dict[str, str]:
    library = _HERE.parent / "plugscript.sh" if shell else _python_library()
    words = {
        "NAME": name,
        "MODULE": name.replace("-", "_"),
        "CLASS": "".join(part.capitalize() for part in name.split("-")),
        "LIBRARY": library.name,
        "DEPENDS": "" if shell else ", python3 (>= 3.9)",
        "VERSION": __version__,
    }

    def filled(template: str) -> str:
        text = (_TEMPLATE / template).read_text(encoding="utf-8")
        return re.sub(r"@([A-Z]+)@", lambda place: words[place[1]], text)

    return {
        "README.md": filled("README.md"),
        f"vifplug/scripts/{name}": filled("script-shell" if shell else "script-python"),
        f"vifplug/{name}/{library.name}": library.read_text(encoding="utf-8"),
        f"src/vifplug_{words['MODULE']}.py": filled("driver.py.in"),
        f"tests/test_{words['MODULE']}.py": filled("test_script.py.in"),
        f"tests/test_{words['MODULE']}_neutron.py": filled("test_neutron.py.in"),
        "pyproject.toml": filled("pyproject.toml.in"),
        "build-deb": filled("build-deb"),
        ".gitignore": filled("gitignore"),
    }


def _python_library() -> Path:
    found = find_spec("plugscript")
    if found is None or found.origin is None:
        raise HostError(
            "the module plugscript, which is installed with vifplug, is missing: install vifplug again"
        )
    return Path(found.origin)


__all__ = ["new_mechanism"]
