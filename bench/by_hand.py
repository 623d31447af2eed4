"""The same job done by a shell script with ip (iproute2), as people do it without vifplug: nothing is recorded."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

_PLUG = """
ip tuntap add dev "$1" mode tap vnet_hdr
ip link set dev "$1" address "$2" mtu "$3" up"""
_UNPLUG = """
ip link delete dev "$1" """
_JOIN = """
ip link set dev "$1" master "$4" """
PLUG = "set -e" + _PLUG
UNPLUG = "set -e" + _UNPLUG
PLUG_INTO_BRIDGE = PLUG + _JOIN


def run(script: str, *arguments: str | int, given: Sequence[str] = ()) -> None:
    """Run a script of sh with these arguments, ``given`` being the lines on its standard input."""
    subprocess.run(
        ["/bin/sh", "-c", script, "sh", *map(str, arguments)],
        input="".join(f"{line}\n" for line in given).encode(),
        check=True,
    )


def for_all(script: str) -> str:
    """The script made to work on many: a name and an address on each line of standard input, the MTU its argument."""
    body = {PLUG: _PLUG, UNPLUG: _UNPLUG}[script]
    return f"""set -e
mtu=$1
while read -r name address; do
set -- "$name" "$address" "$mtu"{body}
done"""
