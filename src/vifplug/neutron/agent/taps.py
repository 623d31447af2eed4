"""Nova's taps, as the kernel tells of them: rtnetlink, and no polling."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Callable, Iterator

from ...host.netlink import Link
from ...host.watch import LinkWatch

_LOG = logging.getLogger(__name__)

#: what Nova calls the tap of a port (nova.network.model.VIF.devname): "tap" and 11 characters of the port's id
_NAME = re.compile(r"tap([0-9a-f]{8}-[0-9a-f]{2})\Z")
#: seconds until devices are looked at anew when the kernel could not be heard
_DEAF = 1.0
_IDLE = 60.0


def name_of(port_id: str) -> str:
    """The tap of a port."""
    return f"tap{port_id[:11]}"


def start_of_id(name: str) -> str | None:
    """The first 11 characters of the id of a tap's port; None for what is no such tap."""
    match = _NAME.match(name)
    return match[1] if match else None


class Taps:
    """The taps of this network namespace that may be Nova's.

    ``on_change``: called with the names of those that came, went, were made anew, or that a guest opened or let go
    of; ``on_all``: called when it begins to hear, and may have missed something.
    """

    def __init__(self, on_change: Callable[[set[str]], object], on_all: Callable[[], object]) -> None:
        self._on_change = on_change
        self._on_all = on_all
        self._guard = threading.Lock()
        self._links: dict[str, Link] = {}
        self._stopping = threading.Event()
        self._watch: LinkWatch | None = None
        self._thread = threading.Thread(target=self._run, name="vifplug-taps", daemon=True)

    def start(self) -> None:
        """Begin, in a thread that lives in the network namespace of the caller's."""
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        with self._guard:
            if self._watch is not None:
                self._watch.wake()

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()

    def link(self, name: str) -> Link | None:
        """The tap as it is now."""
        with self._guard:
            return self._links.get(name)

    def names(self) -> set[str]:
        with self._guard:
            return set(self._links)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with LinkWatch() as watch, self._to_be_woken(watch):
                    self._take(watch)
                    self._on_all()
                    while not self._stopping.is_set():
                        if watch.next(_IDLE) and (changed := self._take(watch)):
                            self._on_change(changed)
            except Exception as error:  # whatever it is: nobody else hears of taps
                unexpected = not isinstance(error, OSError)
                _LOG.error("The kernel cannot be heard: %s; it is tried again", error, exc_info=unexpected)
                self._stopping.wait(_DEAF)

    @contextlib.contextmanager
    def _to_be_woken(self, watch: LinkWatch) -> Iterator[None]:
        """As long as it is open."""
        with self._guard:
            self._watch = watch
        try:
            yield
        finally:
            with self._guard:
                self._watch = None

    def _take(self, watch: LinkWatch) -> set[str]:
        """Which of them are not as before."""
        now = {link.name: link for link in watch.links.values() if _NAME.match(link.name)}
        with self._guard:
            before, self._links = self._links, now
        return {
            name for name in before.keys() | now.keys() if _seen(before.get(name)) != _seen(now.get(name))
        }


def _seen(link: Link | None) -> tuple[int, bool] | None:
    """Of a tap, what is of concern: whether it is the same one, and whether a guest has it open."""
    return None if link is None else (link.index, link.carrier)
