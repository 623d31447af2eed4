"""Which scripts may run: names looked up in trusted directories, paths matched with an allow list."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator

from msgspec import Struct

from ..config import Config, ScriptSettings
from ..errors import ConfigError, ScriptNotFound, ScriptNotTrusted
from .replies import printable
from .trust import Digests, Examined, Refused, TrustedScript, examine

_LONGEST_NAME = 128
_LONGEST_PATH = 4095
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*\Z")
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})\Z")
#: What editors and package managers leave beside a file: often the older, weaker script.
_LEFTOVER = re.compile(r".*(~|\.(bak|old|orig|rej|tmp|swp|swo|dpkg-[a-z]+|rpm(new|save|orig)|ucf-[a-z]+))\Z")
_WILD = re.compile(r"[*?[]")


class Entry(Struct, frozen=True, kw_only=True):
    """One script on this host, and whether it would run."""

    #: what a binding would say: a bare name, or the path where only a path leads to it
    name: str
    path: str
    digest: str | None
    ok: bool
    #: why it would not run
    reason: str | None = None


class Catalogue:
    """The scripts that the configuration trusts. Nothing is remembered but digests."""

    def __init__(self, config: Config) -> None:
        """Raises ConfigError for a place that is not an absolute path or a digest that is none."""
        self._owners = frozenset(config.trust.owners)
        self._directories = list(dict.fromkeys(config.trust.directories))
        if config.trust.packaged:
            self._directories.append(f"{__file__.rpartition('/script/')[0]}/scripts")
        self._allow = config.trust.allow
        for key, places in (("trust.directories", self._directories), ("trust.allow", self._allow)):
            for place in places:
                if not place.startswith("/"):
                    raise ConfigError(f"{key}: {place!r} is not an absolute path", field=key, value=place)
        self._settings = config.script
        self._pins = {
            name: _digest(name, settings)
            for name, settings in config.script.items()
            if settings.sha256 is not None
        }
        self._digests = Digests()

    def find(self, name: str) -> TrustedScript:
        """The script that ``name`` stands for, checked now.

        Raises ScriptNotTrusted with the reason if it may not run, ScriptNotFound with the places
        that were searched if there is none.
        """
        try:
            _check_name(name)
            examined = self._at_path(name) if name.startswith("/") else self._by_name(name)
            settings = self._settings_of(name, examined)
        except Refused as refused:
            reason = printable(str(refused), 3 * _LONGEST_PATH)
            raise ScriptNotTrusted(
                f"plug script {_shown(name)} may not run: {reason}", script=name, reason=reason
            ) from None
        return TrustedScript(name=name, path=examined.path, digest=examined.digest, settings=settings)

    def entries(self) -> list[Entry]:
        """Everything in the trusted directories and all that the allow list matches, with the reason
        for what would not run. Dot files and README files are left out."""
        entries: list[Entry] = []
        first: dict[str, str] = {}
        for directory in self._directories:
            for base in _names_in(directory):
                path = f"{directory.rstrip('/')}/{base}"
                if base in first:
                    entries.append(_refused(base, path, f"hidden by {first[base]}, which is found first"))
                    continue
                first[base] = path
                entries.append(self._entry(base, path))
        for path in self._allowed_paths():
            entries.append(self._entry(path, path))
        return entries

    def _entry(self, name: str, path: str) -> Entry:
        try:
            script = self.find(name)
        except (ScriptNotTrusted, ScriptNotFound) as error:
            return _refused(name, path, error.context.get("reason") or error.message)
        return Entry(name=name, path=script.path, digest=script.digest, ok=True)

    def _by_name(self, name: str) -> Examined:
        for directory in self._directories:
            path = f"{directory.rstrip('/')}/{name}"
            try:
                return self._examine(path)
            except FileNotFoundError:
                continue
        from difflib import get_close_matches

        known = [base for directory in self._directories for base in _names_in(directory)]
        near = get_close_matches(name, known, n=3)
        raise ScriptNotFound(
            f"there is no plug script {name!r}: looked in {', '.join(self._directories) or 'no directory at all'}"
            + (
                f"; did you mean {' or '.join(near)}?"
                if near
                else "; install the mechanism's package on this host"
            ),
            script=name,
            searched=self._directories,
            near=near,
        )

    def _at_path(self, path: str) -> Examined:
        if not any(_matches(path, pattern) for pattern in self._allow):
            directory, _, base = path.rpartition("/")
            hint = (
                f'ask for it by its name, "{base}"'
                if directory in self._directories
                else "put it into a trusted directory and ask for it by name, or add its path to trust.allow"
            )
            allowed = ", ".join(self._allow) or "empty"
            raise Refused(f"its path matches nothing in trust.allow ({allowed}): {hint}")
        try:
            return self._examine(path)
        except FileNotFoundError:
            raise ScriptNotFound(
                f"there is no plug script {path}: install the mechanism's package on this host",
                script=path,
                searched=[path],
                near=[],
            ) from None

    def _examine(self, path: str) -> Examined:
        return examine(
            path, owners=self._owners, digests=self._digests, is_trusted_place=self._is_trusted_place
        )

    def _is_trusted_place(self, place: str) -> bool:
        """Whether ``place`` (without links) lies in a trusted directory or matches the allow list."""
        directories, patterns = self._real_places
        return any(place.startswith(directory + "/") for directory in directories) or any(
            _matches(place, pattern) for pattern in patterns
        )

    @property
    def _real_places(self) -> tuple[list[str], list[str]]:
        """The trusted places without links: /bin/x-* is /usr/bin/x-* where /bin is a link."""
        patterns = list(self._allow)
        for pattern in self._allow:
            fixed = pattern[: found.start()] if (found := _WILD.search(pattern)) else pattern
            directory, rest = fixed.rpartition("/")[0], pattern[fixed.rfind("/") :]
            patterns.append(_escaped(os.path.realpath(directory or "/").rstrip("/")) + rest)
        return [os.path.realpath(directory) for directory in self._directories], patterns

    def _allowed_paths(self) -> Iterator[str]:
        from glob import glob

        seen: set[str] = set()
        for pattern in self._allow:
            for path in sorted(glob(pattern)):  # noqa: PTH207 (pathlib is slow to import)
                if path not in seen and _matches(path, pattern):
                    seen.add(path)
                    yield path

    def _settings_of(self, name: str, examined: Examined) -> ScriptSettings:
        """The operator's settings, whichever name was asked for; every pin for this file must hold."""
        directory, _, base = examined.path.rpartition("/")
        sections = [key for key in dict.fromkeys([name, examined.path]) if key in self._settings]
        if base != name and base in self._settings and directory in self._real_places[0]:
            sections.append(base)
        for key in sections:
            if (pin := self._pins.get(key)) and pin != examined.digest:
                raise Refused(
                    f"{examined.path} is not what the configuration pins: [script.{key}] expects {pin}, found "
                    f"{examined.digest}: if this change was meant, set sha256 to that"
                )
        return self._settings[sections[0]] if sections else ScriptSettings()


def _check_name(name: str) -> None:
    if not name.isprintable():
        raise Refused("its name has characters that cannot be printed")
    if name.startswith("/"):
        if len(os.fsencode(name)) > _LONGEST_PATH:
            raise Refused(f"its path is longer than {_LONGEST_PATH} bytes")
        if os.path.normpath(name) != name or name.startswith("//"):
            raise Refused(
                f"its path is not in plain form; that would be {os.path.normpath('/' + name.lstrip('/'))}"
            )
    elif "/" in name:
        raise Refused("it is neither a bare name nor an absolute path")
    elif len(name) > _LONGEST_NAME or not _NAME.match(name):
        raise Refused(
            f"a name is 1 to {_LONGEST_NAME} of the characters A-Z a-z 0-9 _ . + -, and begins with none of . + -"
        )
    if _LEFTOVER.match(name):
        raise Refused("it looks like what an editor or a package manager left behind: rename it to use it")


def _names_in(directory: str) -> list[str]:
    """What lies in a trusted directory, without dot files, README and Python's caches."""
    try:
        names = os.listdir(directory)  # noqa: PTH208
    except OSError:
        return []
    return sorted(
        name
        for name in names
        if not name.startswith((".", "README")) and name not in ("__pycache__", "__init__.py")
    )


def _refused(name: str, path: str, reason: str) -> Entry:
    return Entry(
        name=printable(name, _LONGEST_PATH),
        path=printable(path, _LONGEST_PATH),
        digest=None,
        ok=False,
        reason=reason,
    )


def _matches(path: str, pattern: str) -> bool:
    """Shell patterns where ``*`` does not cross a ``/``."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def _escaped(path: str) -> str:
    return _WILD.sub(lambda found: f"[{found[0]}]", path)


def _digest(name: str, settings: ScriptSettings) -> str:
    found = _DIGEST.match((settings.sha256 or "").lower())
    if not found:
        raise ConfigError(
            f"script.{name}.sha256: {settings.sha256!r} is not 64 hexadecimal digits, as sha256sum prints them",
            field=f"script.{name}.sha256",
            value=settings.sha256,
        )
    return "sha256:" + found[1]


def _shown(name: str) -> str:
    return f'"{printable(name, 200)}"'
