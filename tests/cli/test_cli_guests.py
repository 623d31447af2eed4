"""attach, detach and domain where there is nothing to attach to: one clear message each. No guest runs here."""

from __future__ import annotations

import sys

import pytest

from cli_shell import Shell
from world import ID, binding

#: libvirt's own stand-in: a hypervisor in the process, with one domain, "test", which runs
STAND_IN = "test:///default"


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", STAND_IN)


def test_a_domain_that_is_not_there_is_named_with_where_it_was_looked_for(vifplug: Shell) -> None:
    for arguments in (
        ["attach", "nobody", vifplug.file(binding())],
        ["detach", "nobody", ID],
        ["domain", "nobody"],
        ["domain", "nobody", vifplug.file(binding())],
    ):
        ended = vifplug(*arguments)
        assert ended.status == 66
        assert ended.err == (f"vifplug: libvirt at {STAND_IN} has no domain nobody: see 'virsh list --all'\n")
    assert vifplug("list").err == "no VIF is on record\n"


def test_a_domain_is_found_by_name_uuid_and_number(vifplug: Shell) -> None:
    for name in ("test", "6695eb01-f6a4-8304-79aa-97f2502e193f", "1"):
        ended = vifplug("domain", name)
        assert (ended.status, ended.err) == (0, "domain test has no VIF of vifplug's\n")


def test_a_libvirt_that_does_not_answer_is_named_with_what_to_do(vifplug: Shell) -> None:
    ended = vifplug("domain", "guest", "--connect", "qemu+unix:///system?socket=/run/nobody")
    assert ended.status == 69
    assert ended.err.startswith(
        "vifplug: libvirt does not answer at qemu+unix:///system?socket=/run/nobody (Failed to connect socket to"
        " '/run/nobody': No such file or directory): start libvirtd, or name another with --connect URI"
    )
    assert (
        vifplug("domain", "guest", "--connect", "no uri", "--json").json["error"]["code"]
        == "libvirt_unreachable"
    )


def test_without_the_binding_to_libvirt_it_is_said_what_to_install(
    vifplug: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "libvirt", None)
    for arguments in (
        ["attach", "test", vifplug.file(binding())],
        ["detach", "test", ID],
        ["domain", "--watch"],
    ):
        ended = vifplug(*arguments)
        assert ended.status == 69
        assert "pip install 'vifplug[libvirt]'" in ended.err and len(ended.err.splitlines()) == 1


def test_a_binding_is_read_before_anybody_is_asked(vifplug: Shell) -> None:
    ended = vifplug("attach", "nobody", vifplug.file("{"))
    assert ended.status == 65 and "binding.json" in ended.err


def test_words_that_do_not_go_together_are_told(vifplug: Shell) -> None:
    for arguments, told in (
        (["domain"], "name a DOMAIN, or mind all with --watch"),
        (["domain", "test", "--ready"], "--ready and --not-ready go with BINDINGS"),
        (["domain", "test", "--watch"], "--watch minds all domains: name none"),
        (["detach", "test", ID, "--wait", "0"], "0.0 is not more than 0"),
    ):
        ended = vifplug(*arguments)
        assert ended.status == 64 and told in ended.err


def test_an_id_that_nobody_knows_is_told(vifplug: Shell) -> None:
    ended = vifplug("detach", "test", ID)
    assert ended.status == 66
    assert f"domain test has no interface of VIF {ID}, nor is it plugged" in ended.err
    assert "no VIF on record has the id or the device" in vifplug("detach", "test", "4c1b").err
