"""Anti-spoofing: a guest may only say that it is who it is. For scripts that plug a tap.

What the guest sends is looked at where it enters the host, before any bridge or route: in a chain of the
VIF's own at its device (nftables, family netdev, hook ingress), in the table ``vifplug``. A frame passes with
the guest's MAC address alone, and an IP packet, ARP message or neighbour advertisement with the guest's addresses
alone: those of ``network.subnets``, and what ``allowed_address_pairs`` adds, as Neutron writes it.

A script in Python calls ``load``, ``clear`` and ``drift``. A script in sh starts this file with plug, unplug or check,
and leaves its standard input to it.
"""

from __future__ import annotations

import os
import sys
from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton  # socket and ipaddress are slow to import

try:
    import plugscript
except ImportError:  # started by a script in sh: the SDK is beside vifplug's package, or in it
    _here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path[:0] = [os.path.dirname(_here), _here]
    import plugscript

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing takes milliseconds to import
    from collections.abc import Iterable, Iterator
    from typing import Any

    #: the first and the last of addresses that follow each other
    Span = tuple[int, int]

TABLE = "vifplug"
#: the details that scripts with anti-spoofing declare
DETAILS: dict[str, dict[str, Any]] = {
    "anti_spoofing": {
        "type": "boolean",
        "default": False,
        "description": "drop what the guest sends under another MAC or IP address than its own",
    },
    "allowed_address_pairs": {
        "type": "array",
        "items": {"type": "object"},
        "description": 'what else the guest may send from, as Neutron writes it: {"ip_address": …, "mac_address": …}',
    },
}

# a guest that has no address yet asks for one (DHCP), or whether its own is free (IPv6)
_NEWCOMERS = (
    'ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept comment "dhcp client"',
    "ip6 saddr :: icmpv6 type { nd-neighbor-solicit, mld-listener-report, mld2-listener-report } accept "
    'comment "duplicate address detection"',
)


def load(request: plugscript.Request) -> None:
    """Put the VIF's rules in force, all at once, in place of those that were. Its device must be there."""
    plugscript.run("nft", "-f", "-", input=ruleset(request))


def clear(request: plugscript.Request) -> None:
    """Take the VIF's rules away, if there are any, and the table with the last of them."""
    chain = ("netdev", TABLE, _chain(request))
    try:
        plugscript.run("nft", "delete", "chain", *chain, missing_ok=["No such file or directory"])
    except plugscript.BackendUnavailable as error:  # without nft there were never any
        plugscript.log(error.message)
    if not request.dry_run:
        _delete_table_if_empty()


def _delete_table_if_empty() -> None:
    """nft has no word for it: deletion with NLM_F_NONREC, which the kernel refuses while there is a chain.

    The numbers are from linux/netlink.h, linux/netfilter/nfnetlink.h and nf_tables.h. There is nothing to be
    done about a refusal, so the answer is not read.
    """
    from _socket import AF_NETLINK, SOCK_RAW, htons, socket
    from _struct import pack

    def message(kind: int, flags: int, family: int, resource: int, data: bytes = b"") -> bytes:
        return pack("=IHHIIBBH", 20 + len(data), kind, flags, 0, 0, family, 0, htons(resource)) + data

    netfilter, nf_tables, delete_table, netdev, request, ack, nonrec = 12, 10, 10 << 8 | 2, 5, 1, 4, 0x100
    name = pack("=HH", 4 + len(TABLE) + 1, 1) + TABLE.encode() + bytes(4 - len(TABLE) % 4)
    begin, end = message(0x10, request, 0, nf_tables), message(0x11, request, 0, nf_tables)
    connection = socket(AF_NETLINK, SOCK_RAW, netfilter)
    connection.send(begin + message(delete_table, request | ack | nonrec, netdev, 0, name) + end)
    connection.close()


def drift(request: plugscript.Request) -> list[plugscript.Drift]:
    """How the rules in force differ from those that ``load`` makes, if they do: which ones; the log has them whole."""
    device = request.vif.devname
    listed = plugscript.ask("nft", "-s", "list", "chain", "netdev", TABLE, _chain(request), check=False)
    if not listed and "No such file or directory" not in listed.stderr:
        raise plugscript.Failed(f"nft cannot list the rules of {device}: {listed.stderr.strip()}")
    about = f"anti-spoofing of {device}"
    if f'"{device}"' not in listed.stdout:
        return [plugscript.Drift(about, "in force", "not in force")]
    wanted = _by_meaning(rules(request))
    found = _by_meaning([line.strip() for line in listed.stdout.splitlines()])
    differ = {}
    for sign, here, there in (("expected", wanted, found), ("found", found, wanted)):
        for key, rule in here.items():
            if key not in there:
                differ[key[0]] = True
                plugscript.log(f"{sign}: {rule}")
    return [plugscript.Drift(about, "in force", f"other rules: {', '.join(differ)}")] if differ else []


def ruleset(request: plugscript.Request) -> str:
    """What nft reads. Raises BadDetails where it is not known what the guest may send."""
    device, chain = request.vif.devname, _chain(request)
    if not device.replace("-", "").replace("_", "").replace(".", "").isalnum() or len(device) > 15:
        raise plugscript.BadDetails(f"vif.devname {device!r} is no device name")
    hook = f'type filter hook ingress device "{device}" priority 0; policy accept;'
    body = "".join(f"    {rule}\n" for rule in rules(request))
    return (
        f"add table netdev {TABLE}\n"
        f"add chain netdev {TABLE} {chain} {{ {hook} }}\n"
        f"flush chain netdev {TABLE} {chain}\n"
        f"table netdev {TABLE} {{\n  chain {chain} {{\n{body}  }}\n}}\n"
    )


def rules(request: plugscript.Request) -> list[str]:
    """Each is named by its comment; those that drop count what they drop."""
    pairs = allowed(request)
    return [
        _drop(f"ether saddr != {_set(pairs)}", "mac"),
        # neither VLAN tags nor what speaks for switches; 0x8035, RARP, is how QEMU announces a guest that has moved
        _drop("ether type != { ip, arp, ip6, 0x8035 }", "protocol"),
        _drop("udp sport 67 udp dport 68", "dhcp server"),
        _drop("udp sport 547 udp dport 546", "dhcpv6 server"),
        _drop("icmpv6 type nd-router-advert", "router advertisement"),
        *_NEWCOMERS,
        *(rule for mac, (four, six) in pairs.items() for rule in _rules_of(mac, four, six)),
    ]


def _rules_of(mac: str, four: list[Span], six: list[Span]) -> Iterator[str]:
    """What may be sent from one MAC address."""
    sender = f"ether saddr {mac}"
    yield _drop(f"{sender} arp saddr ether != {mac}", "arp")
    if four != [(0, _LAST[AF_INET])]:  # else every address is allowed
        # 0.0.0.0 asks whether an address is free (RFC 5227)
        yield _drop(f"{sender} arp saddr ip != {_set(_texts(AF_INET, _joined([(0, 0), *four])))}", "arp")
        yield _drop(
            f"{sender} " + (f"ip saddr != {_set(_texts(AF_INET, four))}" if four else "ether type ip"), "ip"
        )
    if six != [(0, _LAST[AF_INET6])]:
        # the target of an advertisement, by its place in it: nft has had a name for it since 1.0.9 only
        target = f"@th,64,128 != {_set(_texts(None, six))}"
        yield _drop(f"{sender} icmpv6 type nd-neighbor-advert {target}", "neighbour advertisement")
        yield _drop(f"{sender} ip6 saddr != {_set(_texts(AF_INET6, six))}", "ip6")


def allowed(request: plugscript.Request) -> dict[str, tuple[list[Span], list[Span]]]:
    """The IPv4 and IPv6 addresses that each MAC address may send from; each has its IPv6 link-local address."""
    own = request.vif.address
    if not own:
        raise plugscript.BadDetails(
            "anti_spoofing needs the guest's MAC address: give the binding an address"
        )
    pairs = [(own, address) for subnet in request.network.subnets for address in subnet.addresses]
    for number, pair in enumerate(request.vif.details.get("allowed_address_pairs") or ()):
        address, mac = pair.get("ip_address"), pair.get("mac_address") or own
        if not isinstance(address, str) or not isinstance(mac, str):
            raise plugscript.BadDetails(
                f'vif_details.allowed_address_pairs[{number}] must be {{"ip_address": "10.0.0.0/24", "mac_address": '
                f'"fa:16:3e:00:00:01"}}, the second only if it is not the guest\'s own; it is {pair!r:.100}'
            )
        pairs.append((mac, address))
    if not pairs:
        raise plugscript.BadDetails(
            "anti_spoofing is asked for, but no address of the guest is known: give network.subnets with its "
            "addresses, or vif_details.allowed_address_pairs (0.0.0.0/0 and ::/0 for any)"
        )
    spans: dict[str, dict[int, list[Span]]] = {}
    for text, address in [(own, ""), *pairs]:
        mac = _mac(text)
        found = spans.setdefault(mac, {AF_INET: [], AF_INET6: [_span(_link_local(mac))[1]]})
        if address:
            family, span = _span(address)
            found[family].append(span)
    return {mac: (_joined(found[AF_INET]), _joined(found[AF_INET6])) for mac, found in spans.items()}


def _chain(request: plugscript.Request) -> str:
    if not (
        request.vif.id.replace("-", "").isalnum() and request.vif.id.isascii() and len(request.vif.id) <= 64
    ):
        raise plugscript.BadDetails(f"vif.id {request.vif.id!r} cannot name a chain of rules")
    return f"vif-{request.vif.id}"


def _drop(condition: str, name: str) -> str:
    return f'{condition} counter drop comment "{name}"'


def _set(values: Iterable[str]) -> str:
    return "{ " + ", ".join(values) + " }"


# --- addresses -------------------------------------------------------------------------------------

_LAST = {AF_INET: (1 << 32) - 1, AF_INET6: (1 << 128) - 1}


def _mac(text: str) -> str:
    parts = text.lower().split(":")
    if len(parts) != 6 or any(len(part) != 2 or set(part) - set("0123456789abcdef") for part in parts):
        raise plugscript.BadDetails(f"{text!r} is no MAC address that anti_spoofing could allow")
    return ":".join(parts)


def _link_local(mac: str) -> str:
    """The address that a guest makes of its MAC address (RFC 4291, appendix A), as Neutron allows it."""
    parts = bytes.fromhex(mac.replace(":", ""))
    return inet_ntop(
        AF_INET6, b"\xfe\x80" + bytes(6) + bytes([parts[0] ^ 2]) + parts[1:3] + b"\xff\xfe" + parts[3:]
    )


def _span(text: str) -> tuple[int, Span]:
    """The family and the ends of an address or a network ("10.0.0.5", "10.0.0.0/24")."""
    address, slash, length = text.partition("/")
    family, bits = (AF_INET6, 128) if ":" in address else (AF_INET, 32)
    try:
        number = int.from_bytes(inet_pton(family, address), "big")
        host_bits = bits - int(length) if slash else 0
        first = number >> host_bits << host_bits  # a length that cannot be makes a shift that cannot be
    except (OSError, ValueError):
        host_bits = bits + 1
    if host_bits > bits:
        raise plugscript.BadDetails(f"{text!r} is no IP address or network that anti_spoofing could allow")
    return family, (first, first + (1 << host_bits) - 1)


def _joined(spans: Iterable[Span]) -> list[Span]:
    """In order, without overlaps (which nft refuses) and with neighbours joined (as nft does)."""
    whole: list[Span] = []
    for first, last in sorted(spans):
        if whole and first <= whole[-1][1] + 1:
            whole[-1] = (whole[-1][0], max(last, whole[-1][1]))
        else:
            whole.append((first, last))
    return whole


def _texts(family: int | None, spans: Iterable[Span]) -> Iterator[str]:
    """As nft reads them; for no family, as plain numbers of 128 bits."""
    for first, last in spans:
        ends = [_text(family, end) for end in ((first,) if first == last else (first, last))]
        yield "-".join(ends)


def _text(family: int | None, number: int) -> str:
    if family is None:
        return f"0x{number:032x}"
    return inet_ntop(family, number.to_bytes(16 if family == AF_INET6 else 4, "big"))


# --- what a rule means, however nft writes it ------------------------------------------------------


def _by_meaning(lines: list[str]) -> dict[tuple[str, Any], str]:
    """The rules by name, verdict and the addresses in them: nft may write the rest in several ways."""
    named = [(line, line.split(' comment "')) for line in lines]
    return {
        (parts[1].rstrip('"'), (" drop" in parts[0], *_addresses(parts[0]))): line
        for line, parts in named
        if len(parts) == 2
    }


def _addresses(rule: str) -> tuple[Any, ...]:
    """The MAC addresses of a rule, and its spans of IP addresses."""
    import re

    # 0x8035 is no address, and a later nft may have a name for it
    ip = r"0x(?!8035\b)[0-9a-f]+|[0-9a-f:]*:[0-9a-f:.]*(?:/\d+)?|\d+(?:\.\d+){3}(?:/\d+)?"
    macs, spans = [], []
    for mac, first, last in re.findall(
        rf"\b((?:[0-9a-f]{{2}}:){{5}}[0-9a-f]{{2}})\b|({ip})(?:-({ip}))?", rule
    ):
        if mac:
            macs.append(mac)
        else:
            spans.append((_ends(first)[0], _ends(last or first)[1]))
    return (*sorted(macs), *_joined(spans))


def _ends(text: str) -> Span:
    return (int(text, 16), int(text, 16)) if text.startswith("0x") else _span(text)[1]


# --- for scripts in sh -------------------------------------------------------------------------------


def _main() -> None:
    script = plugscript.Script("anti-spoofing", details=DETAILS)

    @script.verb
    def plug(request: plugscript.Request) -> None:
        load(request)

    @script.verb
    def unplug(request: plugscript.Request) -> None:
        clear(request)

    @script.verb
    def check(request: plugscript.Request) -> list[plugscript.Drift]:
        return drift(request)

    script.main()


if __name__ == "__main__":
    _main()
