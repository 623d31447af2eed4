"""The demo, run whole: as root, as an ordinary user, and where something is wrong."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent

# Makes /dev/net/tun what udev makes it on a Debian host, gives the user a way to Python and this
# checkout where they lie below a home of root's, and becomes that user. In a mount namespace.
AS_USER = """
mode=$1; shift
mount -t tmpfs -o mode=755 tmpfs /dev/net
mknod /dev/net/tun c 10 200
chmod "$mode" /dev/net/tun
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/root
mount --rbind /root /mnt/root
mount -t tmpfs -o mode=755 tmpfs /root
for path in $NEEDED; do
    case $path in /root/*) mkdir -p "$path"; mount --rbind "/mnt$path" "$path" ;; esac
done
umount -l /mnt
exec setpriv --reuid=1234 --regid=1234 --clear-groups --inh-caps=-all "$@"
"""


def demo(*prefix: str, checkout: Path = CHECKOUT, **variables: str) -> subprocess.CompletedProcess[str]:
    needed = {os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, checkout, CHECKOUT)}
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(checkout),
        "NEEDED": " ".join(needed),
    }
    return subprocess.run(
        [*prefix, sys.executable, "-m", "demo"],
        env=environment | variables,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def as_user(mode: str) -> list[str]:
    return ["unshare", "--mount", "sh", "-ec", AS_USER, "sh", mode]


def host_state() -> str:
    """What the demo might have touched of the host: devices, mounts, and its two script directories."""
    links = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
    installed = [path.exists() for path in map(Path, ("/usr/bin/neutron-demo-vif-plug", "/var/lib/vifplug"))]
    return f"{links}{Path('/proc/self/mountinfo').read_text()}{installed}{sorted(Path('/mnt').iterdir())}"


def assert_told_whole(output: str) -> None:
    assert output.count('<interface type="ethernet">') == 2
    assert re.search(r"✓ script plug +\d+\.\d ms  /usr/lib/vifplug/scripts/linux-bridge\n", output)
    assert re.search(r"✓ script plug +\d+\.\d ms  /usr/bin/neutron-demo-vif-plug\n", output)
    assert re.search(
        r"✓ web-1: who has 10\.20\.30\.12\? +fa:16:3e:0d:02:02 \(web-2\), \d+\.\d\d ms\n", output
    )
    assert re.search(r"✓ web-2: ping 10\.20\.30\.11 +(\d+\.\d\d ms(, )?){3}\n", output)
    assert re.search(r"✓ devices +lo \(before: lo\)\n", output)
    assert re.search(r"✓ VIFs on record +none\n", output)
    assert re.search(r"✓ processes +none\n", output)
    assert "✗" not in output
    seconds = re.search(r"\nDone in (\d+\.\d) s\.\n\Z", output)
    assert seconds is not None
    assert float(seconds[1]) < 10


def test_as_root_it_plugs_talks_and_unplugs_and_leaves_the_host_alone(netns: None) -> None:
    before = host_state()

    done = demo()

    assert done.returncode == 0, done.stderr
    assert_told_whole(done.stdout)
    assert host_state() == before


@pytest.mark.real_root
def test_an_ordinary_user_sees_the_same(netns: None) -> None:
    before = host_state()

    done = demo(*as_user("0666"))

    assert done.returncode == 0, done.stdout + done.stderr
    assert_told_whole(done.stdout)
    assert "the real root's files look like user 65534's: so 65534 is trusted too" in done.stdout
    assert host_state() == before


@pytest.mark.real_root
def test_a_user_who_may_not_open_taps_is_told_what_to_do() -> None:
    done = demo(*as_user("0600"))

    assert done.returncode == 1
    assert done.stderr.startswith("demo: /dev/net/tun cannot be opened here: run as root, or once as root: ")
    assert done.stderr.count("\n") == 1


def test_root_without_capabilities_is_told_why(netns: None) -> None:
    done = demo("setpriv", "--bounding-set=-all", "--inh-caps=-all")

    assert done.returncode == 1
    assert done.stderr == (
        "demo: the kernel gives no namespaces to this process (Operation not permitted): "
        "a container has to be a privileged one\n"
    )


def test_colours_are_for_terminals_and_for_those_who_want_them() -> None:
    on_terminal = [
        "script",
        "--quiet",
        "--return",
        "--command",
        f"{shlex.quote(sys.executable)} -m demo",
        "/dev/null",
    ]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "TERM": "xterm"}
    environment.pop("NO_COLOR", None)

    def shown(**variables: str) -> bytes:
        return subprocess.run(
            on_terminal, env=environment | variables, capture_output=True, check=True
        ).stdout

    assert b"\x1b[" in shown()
    assert b"\x1b[" not in shown(NO_COLOR="1")
    assert "\x1b[" not in demo().stdout


def test_a_reader_who_leaves_early_gets_no_traceback() -> None:
    told = subprocess.run(
        ["sh", "-c", f"{shlex.quote(sys.executable)} -m demo | head -n 1"],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert not told.stderr
    assert len(told.stdout.splitlines()) == 1


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A checkout of this test's own, to break something in."""
    for name in ("demo", "examples"):
        shutil.copytree(CHECKOUT / name, tmp_path / name)
    return tmp_path


@pytest.mark.slow
def test_guests_that_cannot_talk_make_it_fail(copy: Path) -> None:
    (copy / "examples/neutron-demo-vif-plug").write_text("#!/bin/sh\nexit 0\n")

    done = demo(checkout=copy)

    assert done.returncode == 1
    assert "✗ web-1: who has 10.20.30.12?   no answer" in done.stdout
    assert "✓ devices" in done.stdout  # and it is cleared away all the same


@pytest.mark.slow
def test_what_is_left_behind_makes_it_fail(copy: Path) -> None:
    (copy / "examples/neutron-demo-vif-plug").write_text(
        '#!/bin/sh\n[ "$1" = plug ] || exit 0\nip link add leftover type bridge\n(setsid sleep 60 >/dev/null 2>&1 &)\n'
    )

    done = demo(checkout=copy)

    assert done.returncode == 1
    assert "✗ devices                       lo, leftover (before: lo)" in done.stdout
    left = re.search(r"✗ processes +(\d+) \(sleep\)\n", done.stdout)
    assert left is not None
    assert not Path(f"/proc/{left[1]}").exists()  # shown, and then ended


def test_a_script_that_fails_is_told_in_its_own_words(copy: Path) -> None:
    (copy / "examples/neutron-demo-vif-plug").write_text("#!/bin/sh\necho no switch here >&2\nexit 69\n")

    done = demo(checkout=copy)

    assert done.returncode == 1
    assert "✗ script plug" in done.stdout
    assert done.stderr.startswith("demo: ")
    assert "no switch here" in done.stderr
    assert "Traceback" not in done.stderr
