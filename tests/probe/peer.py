"""A peer on the bridge that answers as a test wants: for networks that spoil or refuse things."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from vifplug.errors import DeviceFailed
from vifplug.probe import frames
from vifplug.probe.frames import Dhcp, Ethernet, IPv4, Udp
from vifplug.probe.tap import Tap

MAC = "fa:16:3e:00:00:99"


class Peer:
    """Reads frames from a tap of its own and sends what ``answer`` makes of each, until the tap goes."""

    def __init__(self, devname: str, answer: Callable[[Ethernet], bytes | None]) -> None:
        self._tap = Tap(devname)
        self._answer = answer
        self._stopped = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = True
        self._thread.join()
        self._tap.close()

    def _run(self) -> None:
        import select

        poll = select.poll()
        poll.register(self._tap, select.POLLIN)
        while not self._stopped:
            if not poll.poll(20):
                continue
            try:
                data = self._tap.read()
            except DeviceFailed:
                return
            frame = frames.read_ethernet(data) if data else None
            reply = self._answer(frame) if frame else None
            if reply is not None:
                self._tap.write(reply)


def dhcp_server(
    answer: Callable[[Dhcp], Dhcp | None], *, spoil: bool = False
) -> Callable[[Ethernet], bytes | None]:
    """A DHCP server in a line; with ``spoil`` its UDP checksums are wrong."""

    def reply(frame: Ethernet) -> bytes | None:
        packet = frames.read_ipv4(frame.payload) if frame.kind == frames.IPV4 else None
        udp = frames.read_udp(packet) if packet else None
        request = frames.read_dhcp(udp.payload) if udp and udp.destination_port == 67 else None
        message = answer(request) if request else None
        if message is None:
            return None
        source, destination = "10.0.0.3", "255.255.255.255"
        data = bytearray(frames.build_udp(Udp(67, 68, frames.build_dhcp(message)), source, destination))
        if spoil:
            data[6] ^= 0xFF
        packet = IPv4(source, destination, frames.UDP, bytes(data))
        return frames.build_ethernet(Ethernet(frame.source, MAC, frames.IPV4, frames.build_ipv4(packet)))

    return reply
