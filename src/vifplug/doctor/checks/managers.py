"""Programs that take new devices for theirs: NetworkManager, systemd-networkd, udev."""

from __future__ import annotations

import re
from collections.abc import Iterator
from configparser import ConfigParser, Error
from fnmatch import fnmatchcase

from ..check import Findings, check, few, note, ok, warning
from ..place import Place

#: names as vifplug gives them by default, and as its scripts name what belongs to a VIF
_TAP = "tap4c1b1b0a-7d"
_NETWORKD = (
    "/etc/systemd/network",
    "/run/systemd/network",
    "/usr/local/lib/systemd/network",
    "/usr/lib/systemd/network",
)
_UDEV = ("/etc/udev/rules.d", "/run/udev/rules.d", "/usr/local/lib/udev/rules.d", "/usr/lib/udev/rules.d")
_MANAGER = ("/etc/NetworkManager/conf.d", "/run/NetworkManager/conf.d", "/usr/lib/NetworkManager/conf.d")
_WHY = "it may give a tap addresses, take it from its bridge, set it down or change its MTU, and its guest is cut off"


@check("managers", "networkmanager", "Whether NetworkManager leaves taps alone")
def networkmanager(place: Place) -> Findings:
    """NetworkManager.conf(5): unmanaged-devices in [keyfile], or managed=0 in a [device-…] section."""
    if "NetworkManager" not in place.processes:
        yield ok("NetworkManager does not run")
        return
    files = [*place.files(*_MANAGER, suffix=".conf"), "/etc/NetworkManager/NetworkManager.conf"]
    for name in files:
        if any(_unmanaged(section, values) for section, values in _sections(place.read(name) or "")):
            yield ok(f"NetworkManager leaves taps alone ({name})")
            return
    yield warning(
        "NetworkManager runs, and no file tells it to leave taps alone",
        why=_WHY,
        do="write /etc/NetworkManager/conf.d/90-vifplug.conf with the two lines '[keyfile]' and"
        " 'unmanaged-devices=interface-name:tap*;interface-name:qbr*;interface-name:qvb*;interface-name:qvo*',"
        " then: nmcli general reload",
    )


def _unmanaged(section: str, values: dict[str, str]) -> bool:
    if section == "keyfile":
        return _names_taps(values.get("unmanaged-devices", ""))
    managed = values.get("managed", "1").lower()
    return section.startswith("device") and managed in ("0", "false", "no", "off") and _names_taps(
        values.get("match-device", "*")
    )  # fmt: skip


def _names_taps(devices: str) -> bool:
    """Whether a device list of NetworkManager's has taps among them; "except:" takes out what it names."""
    found = False
    for device in re.split(r"[;,\s]+", devices):
        spared = device.startswith("except:")
        spec = device.removeprefix("except:")
        if spec.startswith("interface-name:"):
            pattern = spec.removeprefix("interface-name:").removeprefix("=")
            matches = fnmatchcase(_TAP, pattern)
        else:
            matches = spec in ("*", "type:tun", "driver:tun")
        if matches and spared:
            return False
        found = found or matches
    return found


@check("managers", "networkd", "Whether systemd-networkd leaves taps alone")
def networkd(place: Place) -> Findings:
    """systemd.network(5): of the files that match a link, the first in order of names is applied."""
    if "systemd-network" not in place.processes:  # the kernel keeps 15 bytes of a name
        yield ok("systemd-networkd does not run")
        return
    for name in place.files(*_NETWORKD, suffix=".network"):
        sections = dict(_sections(place.read(name) or ""))
        if not _matches(sections.get("Match")):
            continue
        if sections.get("Link", {}).get("unmanaged", "").lower() in ("yes", "true", "1", "on"):
            yield ok(f"systemd-networkd leaves taps alone ({name})")
        else:
            yield warning(
                f"systemd-networkd runs, and {name} is for taps too",
                why=_WHY,
                do="write /etc/systemd/network/00-vifplug.network with the lines '[Match]', 'Name=tap* qbr* qvb* qvo*',"
                " '[Link]', 'Unmanaged=yes', then: networkctl reload",
                items=[name],
            )
        return
    yield ok("systemd-networkd has no file for taps")


def _matches(match: dict[str, str] | None) -> bool:
    """Whether [Match] takes a tap in. What cannot be told from its name and kind is taken for no match."""
    if not match:
        return match is not None  # an empty section matches everything
    return all(_is_a_tap(key, value.split()) for key, value in match.items())


def _is_a_tap(key: str, patterns: list[str]) -> bool:
    if key in ("name", "originalname"):
        inverted = bool(patterns) and patterns[0].startswith("!")
        patterns = [pattern.removeprefix("!") for pattern in patterns]
        return any(fnmatchcase(_TAP, pattern) for pattern in patterns) is not inverted
    facts = {"kind": ("tap", "tun"), "type": ("ether",), "driver": ("tun",)}
    return any(fnmatchcase(fact, pattern) for fact in facts.get(key, ()) for pattern in patterns)


@check("managers", "renaming", "udev rules and link files that rename taps")
def renaming(place: Place) -> Findings:
    """udev(7): NAME= in a rule; systemd.link(5): Name= in a file whose [Match] takes the device in."""
    renaming = [name for name in place.files(*_UDEV, suffix=".rules") if any(_rules(place.read(name) or ""))]
    for name in place.files(*_NETWORKD, suffix=".link"):
        sections = dict(_sections(place.read(name) or ""))
        if _matches(sections.get("Match")) and sections.get("Link", {}).get("name"):
            renaming.append(name)
    if renaming:
        yield warning(
            f"taps are renamed by {few(renaming)}",
            why="a VIF's device is known by its name: its script, its guest's XML and its unplug would miss it",
            do='take taps out of the rule (KERNEL!="tap*", OriginalName=!tap*), then: udevadm control --reload',
            items=renaming,
        )
    else:
        yield ok("no rule renames taps")
    if place.processes and not {"systemd-udevd", "udevd"} & set(place.processes):
        yield note(
            "udev does not run", why="nodes such as /dev/tapN of a macvtap are then made by devtmpfs alone"
        )


def _rules(text: str) -> Iterator[str]:
    """Lines that assign a name to a device which may be a tap."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.lstrip().startswith("#") or not re.search(r'(^|,|\s)NAME\s*:?="[^"]+"', line):
            continue
        named = re.search(r'(?:^|,|\s)KERNEL\s*==\s*"([^"]*)"', line)
        if named and any(fnmatchcase(_TAP, pattern) for pattern in named[1].split("|")):
            yield line


def _sections(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Sections of an ini file and their keys in small letters; nothing at all of one that is none."""
    parser = ConfigParser(strict=False, interpolation=None, allow_no_value=True, delimiters=("=",))
    try:
        parser.read_string(text)
    except Error:
        return
    for name in parser.sections():
        yield name, {key: value or "" for key, value in parser.items(name)}
