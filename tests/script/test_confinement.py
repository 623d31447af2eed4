"""What a script is when it runs, told by scripts themselves."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from callers import Caller, a_request, as_user, in_child
from vifplug.config import ScriptSettings
from vifplug.errors import ConfigError, NoPermission
from vifplug.script import capabilities, confine
from vifplug.script.catalogue import Catalogue
from vifplug.script.marks import Mark
from vifplug.script.runner import Call, Runner

STATUS = "cat /proc/self/status >&2"
NET = capabilities.bits(["CAP_NET_ADMIN", "CAP_NET_RAW"], "")


def status(call: Call) -> dict[str, str]:
    assert call.error is None, call.error
    return dict(line.split(":\t", 1) for line in call.stderr.splitlines() if ":\t" in line)


def sets(call: Call) -> dict[str, int]:
    return {key: int(value, 16) for key, value in status(call).items() if key.startswith("Cap")}


def test_a_script_has_two_capabilities_and_can_never_have_more(call: Caller) -> None:
    ended = call(STATUS)
    assert sets(ended) == {"CapInh": NET, "CapPrm": NET, "CapEff": NET, "CapBnd": NET, "CapAmb": 0}
    assert status(ended)["NoNewPrivs"] == "1"


def test_a_grant_widens_by_exactly_what_it_names(call: Caller) -> None:
    wanted = NET | 1 << capabilities.NAMES.index("CAP_SYS_ADMIN")
    ended = call(STATUS, settings=ScriptSettings(capabilities=["CAP_SYS_ADMIN"]))
    assert sets(ended) == {
        "CapInh": wanted,
        "CapPrm": wanted,
        "CapEff": wanted,
        "CapBnd": wanted,
        "CapAmb": 0,
    }


@pytest.mark.real_root
def test_the_only_groups_are_the_mark(call: Caller) -> None:
    mark = Mark.new()
    assert sorted(map(int, status(call(STATUS, mark=mark))["Groups"].split())) == sorted(mark.groups)


def test_directory_umask_and_process_group_are_the_contracts(call: Caller) -> None:
    before = os.umask(0o077)
    try:
        ended = call("pwd >&2; umask >&2; cut -d' ' -f1,5 /proc/$$/stat >&2")
    finally:
        os.umask(before)
    directory, umask, numbers = ended.stderr.split("\n")[:3]
    assert (directory, umask) == ("/", "0022")
    pid, group = numbers.split()
    assert pid == group


def test_no_descriptor_is_inherited_but_three(call: Caller) -> None:
    leak = os.open("/etc", os.O_RDONLY)
    os.set_inheritable(leak, True)
    try:
        # the shell expands the pattern itself, without opening anything that would count
        ended = call("for fd in /proc/$$/fd/*; do readlink $fd >&2; done")
    finally:
        os.close(leak)
    opened = [
        line for line in ended.stderr.splitlines() if not line.startswith("/run/")
    ]  # sh reads its script
    assert [target.split(":")[0] for target in opened] == ["/memfd", "pipe", "pipe"]


def test_nothing_of_our_environment_is_inherited(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD_LIKE", "secret")
    ended = call("tr '\\0' '\\n' < /proc/$$/environ | cut -d= -f1 >&2")
    assert set(ended.stderr.split()) == {
        *("PATH", "LANG", "TRACEPARENT", "VIFPLUG_CALL", "VIFPLUG_PROTOCOL", "VIFPLUG_DEADLINE"),
        *("VIF_ID", "VIF_TYPE", "VIF_DEVNAME", "VIF_ADDRESS", "VIF_MTU", "VIF_INSTANCE_ID", "VIF_NETWORK_ID"),
        *("VIF_NETWORK_BRIDGE", "VIF_OVS_INTERFACEID", "VIF_INSTANCE_NAME", "VIF_PROJECT_ID"),
        *("VIF_NETWORK_LABEL", "VIF_FIXED_IPS"),
    }


def test_no_signal_is_blocked_or_ignored_whatever_the_caller_does(call: Caller) -> None:
    def strange_caller() -> Call:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
        # not sh, which unblocks all signals by itself
        return call("#!/usr/bin/perl\nopen F, '/proc/self/status'; print STDERR <F>;")

    facts = status(in_child(strange_caller))
    assert int(facts["SigBlk"], 16) == 0
    ignored = {number for number in range(1, 65) if int(facts["SigIgn"], 16) >> (number - 1) & 1}
    # glibc's posix_spawn leaves its own two signals ignored, and perl the eighth
    assert ignored <= {signal.SIGFPE, 32, 33}


def test_the_caller_stays_what_it_was(call: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o077)
    try:
        mine = Path("/proc/thread-self/status").read_text().split("voluntary")[0]
        groups = os.getgroups()
        call(":")
        assert (
            Path("/proc/thread-self/status").read_text().split("voluntary")[0].split("Cap")[1:]
            == (mine.split("Cap")[1:])
        )
        assert os.getgroups() == groups
        assert Path.cwd() == tmp_path
        assert os.umask(0o077) == 0o077
        assert threading.active_count() == len(threading.enumerate())
    finally:
        os.umask(before)


def test_a_script_may_make_devices_in_its_network_namespace(call: Caller, netns: None) -> None:
    ended = call('ip link add "vp-$VIF_MTU" type bridge && ip link set "vp-$VIF_MTU" up')
    assert ended.error is None, ended.stderr
    assert (
        "vp-1450" in subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
    )


@pytest.mark.real_root
@pytest.mark.parametrize(
    ("what", "needs"),
    [
        ("mount -t tmpfs none /mnt", ["CAP_SYS_ADMIN"]),
        ("chown root $FOREIGN", ["CAP_CHOWN"]),
        ("echo x > $FOREIGN", ["CAP_DAC_OVERRIDE"]),
        ("chroot / /bin/true", ["CAP_SYS_CHROOT"]),
        ("setpriv --reuid 65534 --clear-groups true", ["CAP_SETUID", "CAP_SETGID"]),
        ("setpriv --groups 1 true", ["CAP_SETGID"]),
    ],
)
def test_what_a_script_may_not_do_it_may_with_the_grant_that_it_needs(
    call: Caller, tmp_path: Path, what: str, needs: list[str]
) -> None:
    foreign = tmp_path / "foreign"
    foreign.write_text("")
    foreign.chmod(0o600)
    os.chown(foreign, 65534, 65534)
    for directory in (tmp_path, *tmp_path.parents):
        if directory.owner() == "root" and directory != Path("/tmp"):
            directory.chmod(directory.stat().st_mode | 0o111)
    text = what.replace("$FOREIGN", str(foreign))
    # the mount goes away with the mount namespace that the test makes around it
    text = f"unshare -m sh -c '{text}'" if "mount" in what else text
    refused = call(text)
    assert refused.exit_status not in (0, None)
    allowed = call(text, settings=ScriptSettings(capabilities=needs))
    assert allowed.error is None, allowed.stderr


def test_a_setuid_program_gives_a_script_nothing(call: Caller, trusted_dir: object) -> None:
    ended = call("setpriv --nnp true; su -c true nobody")
    assert ended.exit_status not in (0, None)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("CAP_SYS_ADMN", "CAP_SYS_ADMIN"), ("NET_ADMIN", "CAP_NET_ADMIN"), ("CAP_ZZZ", "capabilities(7)")],
)
def test_an_unknown_capability_is_named_with_those_like_it(call: Caller, name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=r"script\.s\.capabilities") as caught:
        Runner(call.config(ScriptSettings(capabilities=[name])))
    assert repr(name) in caught.value.message
    assert hint in caught.value.message


def test_every_capability_of_this_kernel_has_a_name() -> None:
    assert confine.last_capability() < len(capabilities.NAMES)


def test_without_setpcap_a_root_with_more_than_the_grant_is_refused(call: Caller) -> None:
    ended = in_child(
        _keep_only("CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SETGID", "CAP_SYS_ADMIN"), lambda: call(STATUS)
    )
    assert isinstance(ended.error, NoPermission)
    assert "CAP_SETGID, CAP_SYS_ADMIN" in ended.error.message
    assert "CAP_SETPCAP" in ended.error.message
    assert ended.exit_status is None


def test_without_setpcap_a_root_with_no_more_than_the_grant_may_run_scripts(call: Caller) -> None:
    ended = in_child(_keep_only("CAP_NET_ADMIN"), lambda: call(STATUS))
    one = capabilities.bits(["CAP_NET_ADMIN"], "")
    assert {key: value for key, value in sets(ended).items() if key != "CapBnd"} == (
        {"CapInh": one, "CapPrm": one, "CapEff": one, "CapAmb": 0}
    )


@pytest.mark.real_root
def test_an_ordinary_user_without_any_capability_may_run_scripts(call: Caller) -> None:
    call.place.write("s", STATUS)
    ended = as_user(lambda: call_as(call))
    assert {key: value for key, value in sets(ended).items() if key != "CapBnd"} == (
        {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapAmb": 0}
    )
    assert status(ended)["NoNewPrivs"] == "1"


@pytest.mark.real_root
def test_an_ordinary_user_in_a_user_namespace_may_run_scripts_that_make_devices(call: Caller) -> None:
    call.place.write("s", f"{STATUS}; ip link add vp0 type bridge")
    ended = as_user(lambda: call_as(call), namespaces=True)
    assert sets(ended) == {"CapInh": NET, "CapPrm": NET, "CapEff": NET, "CapBnd": NET, "CapAmb": 0}


@pytest.mark.real_root
def test_a_service_user_with_a_capability_hands_it_on(call: Caller) -> None:
    """As under systemd with User= and AmbientCapabilities=CAP_NET_ADMIN."""
    call.place.write("s", STATUS)
    one = capabilities.bits(["CAP_NET_ADMIN"], "")
    ended = in_child(_become_with("CAP_NET_ADMIN"), lambda: call_as(call))
    assert {key: value for key, value in sets(ended).items() if key != "CapBnd"} == (
        {"CapInh": one, "CapPrm": one, "CapEff": one, "CapAmb": one}
    )


def call_as(call: Caller) -> Call:
    """Call the script that is already there, as somebody to whom root may look like nobody."""
    config = call.config(owners=[0, 65534])
    return Runner(config).call(Catalogue(config).find("s"), a_request(), seconds=20, mark=Mark.new())


def _keep_only(*names: str) -> Callable[[], None]:
    """Give up all capabilities but these, as a service manager does for a service."""
    kept = capabilities.bits(names, "")

    def give_up() -> None:
        confine._set_capabilities(kept, kept, 0)

    return give_up


def _become_with(*names: str) -> Callable[[], None]:
    """Become an ordinary user who keeps these capabilities."""
    kept = capabilities.bits(names, "")

    def become() -> None:
        libc = ctypes.CDLL(None)
        assert libc.prctl(8, 1, 0, 0, 0) == 0  # PR_SET_KEEPCAPS
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        confine._set_capabilities(kept, kept, 0)

    return become
