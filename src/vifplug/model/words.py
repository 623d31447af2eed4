"""The words of a binding: the types of its single values, each with what it may be.

A description in a ``Meta`` completes the sentence "it must be …" of an error.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta


def named(pattern: str, description: str, *examples: str) -> Meta:
    return Meta(pattern=rf"\A{pattern}\Z", description=description, examples=list(examples) or None)


PortId = Annotated[
    str,
    named(
        r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "a UUID such as 4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01",
        "4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01",
    ),
]
Mac = Annotated[
    str,
    named(
        r"(?!00(:00){5})[0-9a-f][02468ace](:[0-9a-f]{2}){5}",
        "a unicast MAC address of six hexadecimal pairs such as fa:16:3e:00:00:01",
        "fa:16:3e:00:00:01",
    ),
]
#: stricter than the kernel, which takes almost any byte and expands "%d": dev_valid_name in
#: net/core/dev.c; "all" and "default" are taken by its sysctls, and a "-" in front would be an
#: option to whatever command a script hands the name to
DeviceName = Annotated[
    str,
    named(
        r"(?!(?:\.{1,2}|all|default)\Z)[A-Za-z0-9_.@][A-Za-z0-9_.\-@]{0,14}",
        "a network device name: 1 to 15 of the characters A-Z a-z 0-9 _ . - @, not beginning with -",
        "tap4c1b1b0a-7d",
    ),
]
Text = Annotated[
    str,
    named(r"[^\x00-\x1f\x7f-\x9f]{1,255}", "text of 1 to 255 characters without control characters"),
]
FilePath = Annotated[
    str,
    named(r"/[^\x00-\x1f\x7f-\x9f]{1,4094}", "an absolute path without control characters"),
]
ScriptName = Annotated[
    str,
    named(
        r"(?:/[^\x00-\x1f\x7f-\x9f]{1,4094}|[A-Za-z0-9_][A-Za-z0-9_.+\-]{0,127})",
        "a script's bare name or its absolute path",
        "linux-bridge",
        "/usr/bin/neutron-iovisor-vif-plug",
    ),
]
PciSlot = Annotated[
    str,
    named(
        r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]",
        "a PCI address as domain:bus:slot.function, such as 0000:3b:00.1",
        "0000:3b:00.1",
    ),
]
VdpaDevice = Annotated[
    str, named(r"/dev/vhost-vdpa-[0-9]{1,9}", "a vDPA device /dev/vhost-vdpa-N", "/dev/vhost-vdpa-0")
]
#: libvirt lets a user choose an alias only under this prefix
Alias = Annotated[
    str,
    named(
        r"ua-[A-Za-z0-9_\-]{1,60}",
        'an alias that begins with "ua-", then 1 to 60 of the characters A-Z a-z 0-9 _ -',
        "ua-net0",
    ),
]
Model = Annotated[
    str, named(r"[A-Za-z0-9_\-]{1,64}", "a NIC model's name, such as virtio or e1000e", "virtio")
]
Mtu = Annotated[
    int, Meta(ge=68, le=65521, description="an MTU in bytes, 68 to 65521 (the kernel's range for a tap)")
]
Queues = Annotated[int, Meta(ge=1, le=256, description="a number of queue pairs, 1 to 256")]
VlanTag = Annotated[int, Meta(ge=0, le=4095, description="a VLAN tag, 0 to 4095")]
TcpPort = Annotated[int, Meta(ge=1, le=65535, description="a port number, 1 to 65535")]
Kibibytes = Annotated[
    int, Meta(ge=1, le=4294967295, description="a number of kibibytes (a second), 1 to 4294967295")
]
RingSize = Literal[256, 512, 1024]
