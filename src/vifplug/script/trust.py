"""May this file run? Every step of its path is looked at through a descriptor, and nothing assumed.

Whoever may write a directory may swap what is in it. So from the root directory down, each step
belongs to a trusted owner and nobody else may write it: then what was checked is what runs, because
nobody who is not trusted could change it in between.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Collection

from msgspec import Struct

from ..config import ScriptSettings

#: as many links as the kernel would follow (path_resolution(7))
_MOST_LINKS = 40
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class TrustedScript(Struct, frozen=True, kw_only=True):
    """A script that may run: found, and checked at the moment it was found."""

    #: the name or path that was asked for
    name: str
    #: absolute, without links
    path: str
    #: ``sha256:`` and 64 hexadecimal digits
    digest: str
    settings: ScriptSettings


class Refused(Exception):
    """Why something may not run: which part of the path, what is wrong with it, what would mend it."""


class Examined(Struct, frozen=True):
    path: str
    digest: str


class Digests:
    """SHA-256 of files, read once as long as the file stays what it was."""

    #: A file changed twice within one tick of the kernel's clock keeps its times (as Git found with
    #: its index), so a file is not remembered until its last change is this many seconds past.
    _SETTLED = 1.0

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], str] = {}

    def of(self, parent: int, name: str, path: str, seen: os.stat_result) -> str:
        key = (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
        if (known := self._known.get(key)) is not None:
            return known
        import hashlib

        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
        except OSError as error:
            raise Refused(
                f"{path} cannot be read, so nobody knows what is in it ({error.strerror}): chmod +r {_quoted(path)}"
            ) from error
        with open(fd, "rb") as file:  # noqa: PTH123
            now = os.fstat(fd)
            if (now.st_dev, now.st_ino) != (seen.st_dev, seen.st_ino):
                raise Refused(f"{path} was replaced while it was looked at: try again")
            if "security.capability" in os.listxattr(fd):
                raise Refused(
                    f"{path} has file capabilities: setcap -r {_quoted(path)}, and grant the script what it needs "
                    "in the configuration"
                )
            digest = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
        if time.time() - seen.st_ctime > self._SETTLED:
            self._known[key] = digest
        return digest


def examine(
    path: str, *, owners: Collection[int], digests: Digests, is_trusted_place: Callable[[str], bool]
) -> Examined:
    """Follow ``path`` (absolute) to its file; say where that really is, and its digest.

    ``is_trusted_place`` judges where each link, and the file in the end, really lies. Raises
    Refused with the reason, and FileNotFoundError if the file itself is not there.
    """
    walk = _Walk(path, owners)
    try:
        seen = walk.to_the_end()
        for place in walk.places:
            if place != path and not is_trusted_place(place):
                raise Refused(
                    f"{path} leads to {place}, outside the trusted places: put the script itself in its place"
                )
        _check_file(walk.places[-1], seen)
        return Examined(walk.places[-1], digests.of(walk.parent, walk.name, walk.places[-1], seen))
    finally:
        walk.close()


class _Walk:
    """One walk from the root directory to a file, each step through a descriptor of the one before."""

    def __init__(self, path: str, owners: Collection[int]) -> None:
        self._path = path
        self._owners = owners
        self._left = path.split("/")[::-1]
        self._links = 0
        #: where the file, and each link that took its place, really lies
        self.places: list[str] = []
        self.parent = -1
        self.name = ""
        self._here = ""

    def close(self) -> None:
        if self.parent >= 0:
            os.close(self.parent)
            self.parent = -1

    def to_the_end(self) -> os.stat_result:
        self._enter(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), "")
        while self._left:
            self.name = self._left.pop()
            if self.name in ("", "."):
                continue
            if self.name == "..":
                up = os.open("..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.parent)
                self._enter(up, self._here.rpartition("/")[0])
                continue
            if (seen := self._step()) is not None:
                return seen
        raise Refused(f"{self._here or '/'} is a directory, not a script")

    def _step(self) -> os.stat_result | None:
        """Take one step; the file's facts if it is the last one."""
        is_last = not any(self._left)
        place = f"{self._here}/{self.name}"
        try:
            fd = os.open(self.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.parent)
        except FileNotFoundError as error:
            if self._links:
                raise Refused(
                    f"{self._path} is a link that leads to {place}, and that is not there"
                ) from error
            raise
        except OSError as error:
            raise Refused(f"{place} cannot be looked at: {error.strerror}") from error
        seen = os.fstat(fd)
        if stat.S_ISDIR(seen.st_mode):
            self._enter(fd, place, seen)
            return None
        try:
            self._check_owner(place, seen)
            if stat.S_ISLNK(seen.st_mode):
                self._follow(place, os.readlink("", dir_fd=fd), is_last=is_last)
                return None
            if not is_last:
                raise Refused(f"{place} is not a directory")
            self._check_writable(place, seen)
            self.places.append(place)
            return seen
        finally:
            os.close(fd)

    def _enter(self, fd: int, place: str, seen: os.stat_result | None = None) -> None:
        self.close()
        self.parent, self._here = fd, place
        seen = seen or os.fstat(fd)
        self._check_owner(place or "/", seen)
        self._check_writable(place or "/", seen)

    def _follow(self, place: str, target: str, *, is_last: bool) -> None:
        self._links += 1
        if self._links > _MOST_LINKS:
            raise Refused(
                f"{self._path} leads through more than {_MOST_LINKS} links: there is a loop at {place}"
            )
        if is_last:
            self.places.append(place)
        self._left += target.split("/")[::-1]
        if target.startswith("/"):
            self._enter(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), "")

    def _check_owner(self, place: str, seen: os.stat_result) -> None:
        if seen.st_uid not in self._owners:
            wanted = " or ".join(_user(uid) for uid in sorted(self._owners)) or "anybody"
            new = _name(min(self._owners)) if self._owners else "root"
            link = "-h " if stat.S_ISLNK(seen.st_mode) else ""
            raise Refused(
                f"{_kind(seen)} {place} belongs to {_user(seen.st_uid)}, not to {wanted}: "
                f"chown {link}{new} {_quoted(place)}"
            )

    def _check_writable(self, place: str, seen: os.stat_result) -> None:
        if not seen.st_mode & _OTHERS_WRITE:
            return
        who = "everybody" if seen.st_mode & stat.S_IWOTH else f"the group {_group(seen.st_gid)}"
        wrong = f"{_kind(seen)} {place} may be written by {who} (mode {_mode(seen)})"
        if seen.st_mode & stat.S_ISVTX:  # as /tmp, which has to stay as it is
            raise Refused(f"{wrong}, and its sticky bit does not mend that: keep the script somewhere else")
        raise Refused(f"{wrong}: chmod go-w {_quoted(place)}")


def _check_file(place: str, seen: os.stat_result) -> None:
    if not stat.S_ISREG(seen.st_mode):
        raise Refused(f"{place} is {_kind(seen)}, not a regular file")
    if seen.st_mode & (stat.S_ISUID | stat.S_ISGID):
        raise Refused(
            f"{place} is setuid or setgid (mode {_mode(seen)}), which no script may be: chmod ug-s {_quoted(place)}"
        )
    if not seen.st_mode & 0o111:
        raise Refused(f"{place} is not executable (mode {_mode(seen)}): chmod +x {_quoted(place)}")
    if seen.st_size == 0:
        raise Refused(f"{place} is empty")


_KINDS = {
    stat.S_IFDIR: "the directory",
    stat.S_IFLNK: "the link",
    stat.S_IFREG: "the file",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


def _kind(seen: os.stat_result) -> str:
    return _KINDS.get(stat.S_IFMT(seen.st_mode), "something")


def _mode(seen: os.stat_result) -> str:
    return f"{stat.S_IMODE(seen.st_mode):04o}"


def _name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _user(uid: int) -> str:
    return f"{_name(uid)} (uid {uid})"


def _group(gid: int) -> str:
    import grp

    try:
        return f"{grp.getgrgid(gid).gr_name} (gid {gid})"
    except KeyError:
        return f"{gid} (gid {gid})"


def _quoted(path: str) -> str:
    import shlex

    return shlex.quote(path)
