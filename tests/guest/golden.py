"""The golden folder, and libvirt's own two judges of it: its schema and its test driver."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

from lxml import etree  # type: ignore[import-untyped]  # it ships no types

GOLDEN = Path(__file__).parents[1] / "golden"
SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
INSTALL = "install it with: apt-get install --no-install-recommends libvirt-clients libvirt0 libxml2-utils"

CASES = sorted(path.parent.name for path in GOLDEN.glob("*/binding.json"))
HISTORIC = sorted(path.parent.name for path in GOLDEN.glob("*/nova-vif.json"))


def domain(interface: str, name: str) -> str:
    """The smallest domain that carries one ``<interface>``, for libvirt's test driver."""
    return (
        f"<domain type='test'><name>{name}</name><memory>8192</memory><os><type>hvm</type></os>"
        f"<devices>{interface}</devices></domain>"
    )


@cache
def _schema() -> etree.RelaxNG:
    assert SCHEMA.exists(), f"libvirt's schema {SCHEMA} is not here; {INSTALL}"
    return etree.RelaxNG(etree.parse(SCHEMA))


def schema_complaint(interface: str) -> str:
    """What libvirt's schema says against the interface; "" when it accepts it."""
    schema = _schema()
    if schema.validate(etree.fromstring(domain(interface, "guest"))):
        return ""
    return str(schema.error_log.last_error)


def libvirt_keeps(
    interfaces: dict[str, str], directory: Path
) -> dict[str, tuple[etree._Element | None, str]]:
    """Defines a domain for each interface in one ``test:///default``, with validation.

    Gives for each name what libvirt then shows as its ``<interface>``, or None and its complaint.
    """
    commands = []
    for name, interface in interfaces.items():
        path = directory / f"{name}.xml"
        path.write_text(domain(interface, name))
        commands += [f"echo @@{name}@@", f"define --validate {path}", f"dumpxml {name}"]
    try:
        done = subprocess.run(
            ["virsh", "--connect", "test:///default", ";".join([*commands, "echo @@"])],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise AssertionError(f"virsh is not here; {INSTALL}") from None
    _, *parts, end = done.stdout.split("@@")
    assert not end.strip(), f"virsh did not come to its end: {done.stdout[-2000:]}"
    answers = dict(zip(parts[0::2], parts[1::2], strict=True))
    assert answers.keys() == interfaces.keys()
    return {name: _answer(text) for name, text in answers.items()}


def _answer(text: str) -> tuple[etree._Element | None, str]:
    start, end = text.find("<domain"), text.find("</domain>")
    if start < 0:
        return None, text
    return etree.fromstring(text[start : end + len("</domain>")]).find("devices/interface"), text


def lost(ours: etree._Element, kept: etree._Element, path: str = "") -> list[str]:
    """Every element and attribute of ours that libvirt did not keep as it was."""
    path = f"{path}/{ours.tag}"
    missing = [
        f"{path}@{key}: {value!r} became {kept.get(key)!r}"
        for key, value in ours.items()
        if kept.get(key) != value
    ]
    left = list(kept)
    for child in ours:
        matches = [(lost(child, other, path), other) for other in left if other.tag == child.tag]
        if not matches:
            missing.append(f"{path}/{child.tag} is gone")
            continue
        differences, best = min(matches, key=lambda match: len(match[0]))
        left.remove(best)
        missing += differences
    return missing
