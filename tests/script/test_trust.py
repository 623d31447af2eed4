"""Nothing runs that the host's owner did not trust, and every refusal says exactly why."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from callers import as_user
from trusted import TrustedDir
from vifplug.errors import ScriptNotFound, ScriptNotTrusted
from vifplug.script.catalogue import Catalogue
from vifplug.script.trust import Digests

NOBODY = 65534


def refusal(place: TrustedDir, name: str = "s", **trust: Any) -> str:
    with pytest.raises(ScriptNotTrusted) as caught:
        Catalogue(place.config(**trust)).find(name)
    assert caught.value.context["script"] == name
    return str(caught.value.context["reason"])


@pytest.fixture
def elsewhere(trusted_dir: TrustedDir) -> Iterator[Path]:
    """A directory of root's that the configuration does not name."""
    path = trusted_dir.path.with_name(trusted_dir.path.name + "-elsewhere")
    path.mkdir()
    yield path
    subprocess.run(["rm", "-rf", str(path)], check=True)


# --- the file ---------------------------------------------------------------------------------


def test_a_script_of_roots_in_a_place_of_roots_may_run(trusted_dir: TrustedDir) -> None:
    path = trusted_dir.write("s", "echo hi")
    found = Catalogue(trusted_dir.config()).find("s")
    assert (found.name, found.path) == ("s", str(path))
    expected = subprocess.run(
        ["sha256sum", str(path)], capture_output=True, text=True, check=True
    ).stdout.split()[0]
    assert found.digest == f"sha256:{expected}"


@pytest.mark.parametrize(
    ("mode", "who"),
    [(0o775, "the group root (gid 0)"), (0o757, "everybody"), (0o777, "everybody"), (0o722, "everybody")],
)
def test_a_script_that_others_may_write_is_refused(trusted_dir: TrustedDir, mode: int, who: str) -> None:
    path = trusted_dir.write("s", ":", mode=mode)
    assert (
        refusal(trusted_dir)
        == f"the file {path} may be written by {who} (mode {mode:04o}): chmod go-w {path}"
    )


@pytest.mark.real_root
def test_a_script_of_somebody_else_is_refused(trusted_dir: TrustedDir) -> None:
    path = trusted_dir.write("s", ":")
    os.chown(path, NOBODY, 0)
    assert refusal(trusted_dir) == (
        f"the file {path} belongs to nobody (uid 65534), not to root (uid 0): chown root {path}"
    )
    assert Catalogue(trusted_dir.config(owners=[0, NOBODY])).find("s").path == str(path)


@pytest.mark.real_root
def test_a_user_without_a_name_is_told_by_number(trusted_dir: TrustedDir) -> None:
    os.chown(trusted_dir.write("s", ":"), 54321, 0)
    assert "belongs to 54321 (uid 54321)" in refusal(trusted_dir)


@pytest.mark.parametrize("mode", [0o4755, 0o2755])
def test_a_setuid_or_setgid_script_is_refused(trusted_dir: TrustedDir, mode: int) -> None:
    path = trusted_dir.write("s", ":", mode=mode)
    assert refusal(trusted_dir) == (
        f"{path} is setuid or setgid (mode {mode:04o}), which no script may be: chmod ug-s {path}"
    )


def test_a_file_with_capabilities_of_its_own_is_refused(trusted_dir: TrustedDir) -> None:
    path = trusted_dir.write("s", ":")
    os.setxattr(path, "security.capability", bytes.fromhex("0100000202000000000000000000000000000000"))
    assert "file capabilities: setcap -r" in refusal(trusted_dir)


def test_a_file_that_is_not_executable_is_refused(trusted_dir: TrustedDir) -> None:
    path = trusted_dir.write("s", ":", mode=0o644)
    assert refusal(trusted_dir) == f"{path} is not executable (mode 0644): chmod +x {path}"


def test_an_empty_file_is_refused(trusted_dir: TrustedDir) -> None:
    path = trusted_dir.path / "s"
    path.touch(mode=0o755)
    assert refusal(trusted_dir) == f"{path} is empty"


@pytest.mark.real_root
def test_what_is_no_file_is_refused(trusted_dir: TrustedDir) -> None:
    at = trusted_dir.path
    os.mkfifo(at / "fifo", 0o755)
    (at / "directory").mkdir()
    os.mknod(at / "device", 0o20755, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(at / "socket"))
        (at / "socket").chmod(0o755)
        assert refusal(trusted_dir, "fifo") == f"{at}/fifo is a FIFO, not a regular file"
        assert refusal(trusted_dir, "directory") == f"{at}/directory is a directory, not a script"
        assert refusal(trusted_dir, "device") == f"{at}/device is a character device, not a regular file"
        assert refusal(trusted_dir, "socket") == f"{at}/socket is a socket, not a regular file"


@pytest.mark.real_root
def test_a_script_that_cannot_be_read_is_refused(trusted_dir: TrustedDir) -> None:
    trusted_dir.write("s", ":", mode=0o711)
    assert "cannot be read, so nobody knows what is in it" in as_user(lambda: refusal(trusted_dir))


@pytest.mark.real_root
def test_an_access_list_that_lets_somebody_write_is_seen(trusted_dir: TrustedDir) -> None:
    """Its mask shows in the group bits (acl(5))."""
    path = trusted_dir.write("s", ":")
    # version 2; user:: rwx, user:65534: rwx, group:: r-x, mask:: rwx, other:: r-x
    acl = "02000000 01000700ffffffff 02000700feff0000 04000500ffffffff 10000700ffffffff 20000500ffffffff"
    os.setxattr(path, "system.posix_acl_access", bytes.fromhex(acl.replace(" ", "")))
    assert "may be written by the group" in refusal(trusted_dir)


# --- the directories above it -----------------------------------------------------------------


def test_a_directory_above_that_others_may_write_is_refused(trusted_dir: TrustedDir) -> None:
    below = trusted_dir.path / "a" / "b"
    below.mkdir(parents=True)
    TrustedDir(below).write("s", ":")
    (trusted_dir.path / "a").chmod(0o775)
    assert refusal(trusted_dir, directories=[str(below)]) == (
        f"the directory {trusted_dir.path}/a may be written by the group root (gid 0) (mode 0775): "
        f"chmod go-w {trusted_dir.path}/a"
    )


def test_a_sticky_bit_mends_nothing(trusted_dir: TrustedDir) -> None:
    trusted_dir.write("s", ":")
    trusted_dir.path.chmod(0o1777)
    reason = refusal(trusted_dir)
    assert reason.endswith(
        "may be written by everybody (mode 1777), and its sticky bit does not mend that: keep the script somewhere else"
    )


@pytest.mark.real_root
def test_a_directory_of_somebody_else_is_refused(trusted_dir: TrustedDir) -> None:
    trusted_dir.write("s", ":")
    os.chown(trusted_dir.path, NOBODY, 0)
    assert refusal(trusted_dir) == (
        f"the directory {trusted_dir.path} belongs to nobody (uid 65534), not to root (uid 0): "
        f"chown root {trusted_dir.path}"
    )


@pytest.mark.real_root
def test_a_directory_that_its_owner_may_swap_cannot_be_swapped_in(trusted_dir: TrustedDir) -> None:
    """The race that matters: nobody's directory holds root's script until it is checked."""
    theirs = trusted_dir.path / "theirs"
    theirs.mkdir()
    os.chown(theirs, NOBODY, 0)
    (theirs / "scripts").mkdir()
    TrustedDir(theirs / "scripts").write("s", "echo good")

    def swap() -> None:
        (theirs / "scripts").rename(theirs / "old")
        (theirs / "scripts").mkdir()
        TrustedDir(theirs / "scripts").write("s", "echo evil")

    assert "belongs to nobody" in refusal(trusted_dir, directories=[f"{theirs}/scripts"])
    as_user(swap)  # nobody could indeed have done it
    assert (theirs / "scripts" / "s").read_text().endswith("evil\n")


def test_a_file_of_a_path_above_is_no_directory(trusted_dir: TrustedDir) -> None:
    trusted_dir.write("file", ":")
    reason = refusal(trusted_dir, f"{trusted_dir.path}/file/s", allow=[f"{trusted_dir.path}/*/s"])
    assert reason == f"{trusted_dir.path}/file is not a directory"


# --- links ------------------------------------------------------------------------------------


def test_a_link_within_the_trusted_places_is_followed(trusted_dir: TrustedDir) -> None:
    path = trusted_dir.write("real", ":")
    (trusted_dir.path / "s").symlink_to("real")
    (trusted_dir.path / "t").symlink_to(path)
    (trusted_dir.path / "u").symlink_to(f"../{trusted_dir.path.name}/./real")
    for name in "stu":
        assert Catalogue(trusted_dir.config()).find(name).path == str(path)


def test_a_link_out_of_the_trusted_places_is_refused(trusted_dir: TrustedDir, elsewhere: Path) -> None:
    path = TrustedDir(elsewhere).write("real", ":")
    (trusted_dir.path / "s").symlink_to(path)
    assert refusal(trusted_dir) == (
        f"{trusted_dir.path}/s leads to {path}, outside the trusted places: put the script itself in its place"
    )
    assert Catalogue(trusted_dir.config(allow=[str(path)])).find("s").path == str(path)


def test_every_hop_must_lie_in_a_trusted_place(trusted_dir: TrustedDir, elsewhere: Path) -> None:
    trusted_dir.write("real", ":")
    (elsewhere / "hop").symlink_to(trusted_dir.path / "real")
    (trusted_dir.path / "s").symlink_to(elsewhere / "hop")
    assert f"leads to {elsewhere}/hop, outside the trusted places" in refusal(trusted_dir)


@pytest.mark.real_root
def test_a_link_of_somebody_else_is_refused(trusted_dir: TrustedDir) -> None:
    trusted_dir.write("real", ":")
    link = trusted_dir.path / "s"
    link.symlink_to("real")
    os.lchown(link, NOBODY, 0)
    assert refusal(trusted_dir) == (
        f"the link {link} belongs to nobody (uid 65534), not to root (uid 0): chown -h root {link}"
    )


def test_a_loop_of_links_ends(trusted_dir: TrustedDir) -> None:
    (trusted_dir.path / "s").symlink_to("t")
    (trusted_dir.path / "t").symlink_to("s")
    assert "more than 40 links: there is a loop" in refusal(trusted_dir)


def test_a_link_to_nothing_is_refused_with_what_is_missing(trusted_dir: TrustedDir) -> None:
    (trusted_dir.path / "s").symlink_to("gone")
    assert refusal(trusted_dir) == (
        f"{trusted_dir.path}/s is a link that leads to {trusted_dir.path}/gone, and that is not there"
    )


def test_a_trusted_directory_may_itself_be_reached_by_a_link(trusted_dir: TrustedDir) -> None:
    real = trusted_dir.path / "real"
    real.mkdir()
    path = TrustedDir(real).write("s", ":")
    (trusted_dir.path / "link").symlink_to("real")
    assert Catalogue(trusted_dir.config(directories=[f"{trusted_dir.path}/link"])).find("s").path == str(path)


def test_an_allowed_path_may_go_through_links_above_its_pattern_only(
    trusted_dir: TrustedDir, elsewhere: Path
) -> None:
    """/bin/x-* is /usr/bin/x-* where /bin is a link; a link in the place of a * could lead anywhere."""
    (elsewhere / "bin").mkdir()
    path = TrustedDir(elsewhere / "bin").write("x-plug", ":")
    (trusted_dir.path / "bin").symlink_to(elsewhere / "bin")
    asked = f"{trusted_dir.path}/bin/x-plug"
    assert Catalogue(trusted_dir.config(allow=[f"{trusted_dir.path}/bin/*-plug"])).find(asked).path == str(
        path
    )
    assert "outside the trusted places" in refusal(trusted_dir, asked, allow=[f"{trusted_dir.path}/*/x-plug"])


# --- digests ----------------------------------------------------------------------------------


def test_a_change_is_seen_even_when_size_and_time_stay(
    trusted_dir: TrustedDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Digests, "_SETTLED", -1.0)
    path = trusted_dir.write("s", "echo a")
    catalogue = Catalogue(trusted_dir.config())
    first, before = catalogue.find("s").digest, path.stat()
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # the kernel's clock for files ticks slowly
        path.write_text("#!/bin/sh\necho b\n")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert catalogue.find("s").digest != first


def test_a_file_that_changes_within_one_tick_of_the_clock_is_read_again(trusted_dir: TrustedDir) -> None:
    path = trusted_dir.write("s", "echo a")
    seen, digests = path.stat(), Digests()
    folder = os.open(trusted_dir.path, os.O_RDONLY)
    try:
        first = digests.of(folder, "s", str(path), seen)
        path.write_text("#!/bin/sh\necho b\n")
        assert digests.of(folder, "s", str(path), seen) != first
    finally:
        os.close(folder)


def test_a_settled_file_is_read_once(trusted_dir: TrustedDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Digests, "_SETTLED", -1.0)
    trusted_dir.write("s", ":")
    catalogue = Catalogue(trusted_dir.config())
    first = catalogue.find("s")
    opened: list[Any] = []
    monkeypatch.setattr("hashlib.file_digest", opened.append)
    assert catalogue.find("s") == first
    assert opened == []


# --- not there --------------------------------------------------------------------------------


def test_a_missing_script_is_named_with_the_places_searched_and_those_like_it(
    trusted_dir: TrustedDir, elsewhere: Path
) -> None:
    trusted_dir.write("linux-bridge", ":")
    with pytest.raises(ScriptNotFound) as caught:
        Catalogue(trusted_dir.config(directories=[str(elsewhere), str(trusted_dir.path)])).find(
            "linux-brigde"
        )
    assert caught.value.message == (
        f"there is no plug script 'linux-brigde': looked in {elsewhere}, {trusted_dir.path}; "
        "did you mean linux-bridge?"
    )


@pytest.mark.real_root
def test_a_missing_path_is_named(trusted_dir: TrustedDir) -> None:
    with pytest.raises(ScriptNotFound, match="/usr/bin/neutron-none-vif-plug: install"):
        Catalogue(trusted_dir.config(allow=["/usr/bin/neutron-*-vif-plug"])).find(
            "/usr/bin/neutron-none-vif-plug"
        )
