"""A place of the kit's own: this process is in new namespaces, and makes its mounts private.

/run, /tmp, /var/tmp and /dev/shm become empty, /etc and /var keep what is written to them in memory. The
script under test is taken along; one that is not trusted where it lies is copied to where it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from msgspec import Struct

from ..config import Config, ScriptSettings, Trust, load
from ..errors import HostError, InvalidInput, VifplugError
from ..script.catalogue import Catalogue
from .subject import Subject

#: the kit's own files
OWN = "/run/vifplug-conform"
_HIDDEN = ("/run", "/tmp", "/var/tmp", "/dev/shm")  # noqa: S108
_OVERLAID = ("/etc", "/var")
_LIBRARIES = Path(__file__).resolve().parent.parent


class Place(Struct, frozen=True):
    config: Config
    #: what to ask the catalogue for
    script: str
    #: where the file is
    path: str
    #: where to look for files that a script left
    roots: list[str]
    #: what is not as it would be on a real host
    notes: list[str]


def enter(subject: Subject) -> Place:
    """Make the place. Raises VifplugError when it, or the subject's setup, cannot be made."""
    found = _found(subject)
    places = _kept(subject, found)
    kept = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in places]
    _mount("--make-rprivate", "/")
    _mount("-t", "sysfs", "sysfs", "/sys")  # /sys/class/net is that of the one who mounts it
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    Path(OWN).mkdir()
    roots = ["/run", "/tmp", "/dev/shm"]  # noqa: S108
    roots += [root for root in (_overlay(path) for path in _OVERLAID) if root]
    for path in _HIDDEN[1:]:
        if Path(path).is_dir() and not Path(path).is_symlink():
            # no script is trusted below a directory that others may write
            mode = "755" if any(place.startswith(f"{path}/") for place in places) else "1777"
            _mount("-t", "tmpfs", "-o", f"mode={mode}", "tmpfs", path)
    for descriptor, path in zip(kept, places, strict=True):
        Path(path).mkdir(parents=True, exist_ok=True)
        _mount("--no-canonicalize", "--bind", f"/proc/{os.getpid()}/fd/{descriptor}", path)
        os.close(descriptor)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    owners = [0] if Path("/usr").stat().st_uid == 0 else [0, Path("/usr").stat().st_uid]
    place = _install(subject, found, owners, roots)
    for command in subject.setup:
        _set_up(command, subject)
    return place


class _Found(Struct):
    #: a name or path as the host trusts it, or None
    trusted: str | None
    path: str
    content: bytes
    reason: str = ""


def _found(subject: Subject) -> _Found:
    """The script: as this host would run it, else the file of that path."""
    name, reason = subject.script, ""
    path = Path(name)
    if "/" not in name or path.is_absolute():
        try:
            script = Catalogue(load().config).find(name)
            return _Found(name, script.path, Path(script.path).read_bytes())
        except VifplugError as error:
            if "/" not in name:
                raise
            reason = error.message
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInput(
            f"the script {name} cannot be read: {error.strerror}", field="script", value=name
        ) from error
    if not os.access(path, os.X_OK):
        raise InvalidInput(
            f"the script {name} is not executable: chmod +x {name}", field="script", value=name
        )
    return _Found(None, str(path.resolve()), content, reason or "it lies in no trusted place")


def _kept(subject: Subject, found: _Found) -> list[str]:
    """Directories below the hidden ones that have to be seen."""
    wanted = [*subject.keep, sys.prefix, sys.base_prefix, str(_LIBRARIES.parent)]
    if found.trusted:
        wanted.append(str(Path(found.path).parent.parent))
    elif library := _library_of(found.path):
        wanted.append(str(library))
    places = []
    for path in dict.fromkeys(str(Path(path).resolve()) for path in wanted):
        if not any(path.startswith(f"{hidden}/") for hidden in _HIDDEN):
            continue
        if not Path(path).is_dir():
            raise InvalidInput(f"keep: there is no directory {path}", field="keep", value=path)
        places.append(path)
    return places


def _install(subject: Subject, found: _Found, owners: list[int], roots: list[str]) -> Place:
    settings = ScriptSettings(capabilities=subject.capabilities, environment=subject.environment)
    notes = []
    if os.geteuid() == 0 and owners != [0]:
        notes.append(
            f"In a user namespace root's files look like user {owners[1]}'s: so that one is trusted too."
        )
    if found.trusted:
        trust = Trust(
            **{
                **{key: getattr(load().config.trust, key) for key in ("directories", "allow", "packaged")},
                "owners": owners,
            }
        )
        return Place(
            Config(trust=trust, script={found.trusted: settings}), found.trusted, found.path, roots, notes
        )
    library = Path(OWN, "lib")
    scripts = library / "scripts"
    scripts.mkdir(parents=True)
    copy = scripts / _plain_name(found.path)
    copy.write_bytes(found.content)
    copy.chmod(0o755)
    shutil.copy(_LIBRARIES / "plugscript.sh", library)
    shutil.copy(_LIBRARIES.parent / "plugscript.py", library)
    shutil.copytree(
        _LIBRARIES / "scriptlib", library / "scriptlib", ignore=shutil.ignore_patterns("__pycache__")
    )
    if own := _library_of(found.path):
        shutil.copytree(own, library / own.name)
    notes.append(
        f"{found.path} may not run on this host ({found.reason}): a copy of it in a trusted place is tested."
    )
    trust = Trust(directories=[str(scripts)], allow=[], packaged=False, owners=owners)
    return Place(Config(trust=trust, script={copy.name: settings}), copy.name, str(copy), roots, notes)


def _library_of(path: str) -> Path | None:
    """``../NAME`` of a script ``scripts/NAME``, where a package of its own has the library that it brings."""
    script = Path(path)
    library = script.parent.parent / script.name
    return library if script.parent.name == "scripts" and library.is_dir() else None


def _plain_name(path: str) -> str:
    name = "".join(c if c.isascii() and (c.isalnum() or c in "_.+-") else "_" for c in Path(path).name)
    return name.lstrip("._+-") or "script"


def _overlay(path: str) -> str | None:
    """What is written below ``path`` stays here from now on; where, or None if this kernel cannot do that."""
    upper, work = Path(OWN, "upper" + path), Path(OWN, "work" + path)
    for folder in (upper, work):
        folder.mkdir(parents=True)
    options = f"lowerdir={path},upperdir={upper},workdir={work}"
    done = subprocess.run(
        ["mount", "-t", "overlay", "-o", options, "overlay", path], capture_output=True, check=False
    )
    return str(upper) if done.returncode == 0 else None


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HostError(
            f"the kit's own mounts cannot be made: mount {' '.join(arguments)}: {done.stderr.strip()}"
        )


def _set_up(command: str, subject: Subject) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", check=False, env={**os.environ, **subject.environment},
    )  # fmt: skip
    if done.returncode != 0:
        raise InvalidInput(
            f"setup: {command!r} ended with exit status {done.returncode}: {done.stdout.strip() or 'it said nothing'}",
            field="setup", value=command,
        )  # fmt: skip
