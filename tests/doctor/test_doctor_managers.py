"""Network managers: none runs where tests do, so all of this is a tree of files."""

from __future__ import annotations

import pytest

from doctored import Patient

_MANAGER = "/etc/NetworkManager/conf.d/10-site.conf"


def test_a_host_without_managers_is_well(elsewhere: Patient) -> None:
    elsewhere.running("systemd-udevd", "sshd")
    assert elsewhere.look("managers").is_well()


def test_this_host_is_understood(patient: Patient) -> None:
    assert not patient.look("managers").unseen()


def test_a_host_without_udev_is_noted(elsewhere: Patient) -> None:
    elsewhere.running("sshd")
    assert "udev does not run" in elsewhere.look("renaming").at("note")[0].found


# --- NetworkManager ------------------------------------------------------------------------------


def test_networkmanager_that_was_told_nothing_is_a_warning_with_the_file_to_write(elsewhere: Patient) -> None:
    elsewhere.running("NetworkManager")
    warned = elsewhere.look("networkmanager").one("warning")
    assert "unmanaged-devices=interface-name:tap*" in warned.do
    lines = warned.do.split("'")[1::2]
    elsewhere.write("/etc/NetworkManager/conf.d/90-vifplug.conf", "\n".join(lines))
    assert elsewhere.look("networkmanager").is_well()


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("[keyfile]\nunmanaged-devices=interface-name:tap*;mac:52:54:00:00:00:01\n", "ok"),
        ("[keyfile]\nunmanaged-devices=mac:00:11:22:33:44:55,interface-name:eth*\n", "warning"),
        ("[keyfile]\nunmanaged-devices=*;except:type:ethernet\n", "ok"),
        ("[keyfile]\nunmanaged-devices=*;except:interface-name:tap*\n", "warning"),
        ("[keyfile]\nunmanaged-devices=type:tun\n", "ok"),
        ("[device-vifs]\nmatch-device=interface-name:tap*\nmanaged=0\n", "ok"),
        ("[device-vifs]\nmatch-device=interface-name:tap*\nmanaged=1\n", "warning"),
        ("[device-vifs]\nmatch-device=interface-name:tap*\n", "warning"),
        ("[main]\nplugins=keyfile\n", "warning"),
        ("no section at all\n", "warning"),
    ],
)
def test_what_networkmanager_was_told_is_read(elsewhere: Patient, text: str, level: str) -> None:
    elsewhere.running("NetworkManager")
    elsewhere.write(_MANAGER, text)
    assert elsewhere.look("networkmanager").only.level == level


# --- systemd-networkd ----------------------------------------------------------------------------


_ALL = "[Match]\nName=*\n[Network]\nDHCP=yes\n"
_NOT_TAPS = "[Match]\nName=tap*\n[Link]\nUnmanaged=yes\n"


@pytest.mark.parametrize(
    ("files", "level"),
    [
        ({}, "ok"),
        ({"10-eth.network": "[Match]\nName=en*\n[Network]\nDHCP=yes\n"}, "ok"),
        ({"10-all.network": _ALL}, "warning"),
        ({"10-all.network": "[Match]\n[Network]\nDHCP=yes\n"}, "warning"),
        ({"10-ether.network": "[Match]\nType=ether\n[Network]\nDHCP=yes\n"}, "warning"),
        ({"10-taps.network": "[Match]\nKind=tun tap\n[Network]\nBridge=br0\n"}, "warning"),
        ({"10-taps.network": "[Match]\nDriver=tun\n[Network]\nBridge=br0\n"}, "warning"),
        ({"10-not.network": "[Match]\nName=!tap* lo\n[Network]\nDHCP=yes\n"}, "ok"),
        ({"10-not.network": "[Match]\nName=!en*\n[Network]\nDHCP=yes\n"}, "warning"),
        ({"10-mac.network": "[Match]\nMACAddress=52:54:00:00:00:01\n[Network]\nDHCP=yes\n"}, "ok"),
        ({"00-taps.network": _NOT_TAPS, "10-all.network": _ALL}, "ok"),
        ({"20-taps.network": _NOT_TAPS, "10-all.network": _ALL}, "warning"),
    ],
)  # fmt: skip
def test_what_networkd_was_told_is_read_and_the_first_file_counts(
    elsewhere: Patient, files: dict[str, str], level: str
) -> None:
    elsewhere.running("systemd-networkd")
    for name, text in files.items():
        elsewhere.write(f"/etc/systemd/network/{name}", text)
    assert elsewhere.look("networkd").only.level == level


def test_a_file_in_etc_goes_before_one_of_its_name_in_usr(elsewhere: Patient) -> None:
    elsewhere.running("systemd-networkd")
    elsewhere.write("/usr/lib/systemd/network/10-all.network", "[Match]\nName=*\n")
    assert elsewhere.look("networkd").one("warning").items == ["/usr/lib/systemd/network/10-all.network"]
    elsewhere.write("/etc/systemd/network/10-all.network", "[Match]\nName=en*\n")
    assert elsewhere.look("networkd").is_well()


def test_networkd_that_does_not_run_changes_nothing(elsewhere: Patient) -> None:
    elsewhere.write("/etc/systemd/network/10-all.network", "[Match]\nName=*\n")
    assert elsewhere.look("networkd").is_well()


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "renames"),
    [
        ("/etc/udev/rules.d/70-net.rules", 'SUBSYSTEM=="net", KERNEL=="tap*", NAME="guest%n"\n', True),
        ("/etc/udev/rules.d/70-net.rules", 'SUBSYSTEM=="net", \\\n  KERNEL=="eth*|tap*", NAME:="x"\n', True),
        ("/etc/udev/rules.d/70-net.rules", '# SUBSYSTEM=="net", KERNEL=="tap*", NAME="guest%n"\n', False),
        ("/etc/udev/rules.d/70-net.rules", 'SUBSYSTEM=="net", KERNEL=="eth*", NAME="lan0"\n', False),
        ("/usr/lib/udev/rules.d/80-net.rules", 'NAME=="", ENV{ID_NET_NAME}!="", NAME="$env{ID_NET_NAME}"\n', False),
        ("/etc/udev/rules.d/70-net.rules", 'KERNEL=="tap*", RUN+="/bin/true", SYMLINK+="x"\n', False),
        ("/etc/systemd/network/10-tap.link", "[Match]\nOriginalName=tap*\n[Link]\nName=guest0\n", True),
        ("/etc/systemd/network/10-tap.link", "[Match]\nOriginalName=tap*\n[Link]\nMACAddressPolicy=none\n", False),
        ("/usr/lib/systemd/network/99.link", "[Match]\nOriginalName=*\n[Link]\nNamePolicy=keep kernel\n", False),
    ],
)  # fmt: skip
def test_rules_that_rename_taps_are_found(elsewhere: Patient, name: str, text: str, renames: bool) -> None:
    elsewhere.running("systemd-udevd")
    elsewhere.write(name, text)
    found = elsewhere.look("renaming")
    if renames:
        assert found.one("warning").items == [name]
    else:
        assert found.is_well()
