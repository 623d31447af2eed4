"""The keeper: one comparison of all VIFs with the kernel, and how soon a deleted tap is back."""

from __future__ import annotations

from functools import partial

from vifplug import VifplugError
from vifplug.host.netlink import Netlink

from .figures import Figure, figure
from .floor import Kernel
from .place import Place, binding, vif_id
from .turns import Steps, take_turns
from .vifplugd import Served

PART = "daemon: keeper"


def measure(place: Place, rounds: int, taps: int) -> list[Figure]:
    return [_compare(place, rounds, taps), _repair(place, rounds)]


def _compare(place: Place, rounds: int, taps: int) -> Figure:
    """All VIFs of a host with so many live taps, against the kernel's own list of its devices."""
    with place.host() as host, Netlink() as netlink:
        for answer in host.plug_all(binding(number) for number in range(taps)):
            if isinstance(answer, VifplugError):
                raise answer
        samples = take_turns(
            rounds,
            {
                "compared with the record": {"look": lambda: list(host.drifts.suspects())},
                "listed by netlink": {"look": netlink.links},
            },
        )["look"]
        host.unplug_all()
    return figure(PART, f"full comparison of {taps:,} taps", samples)


def _repair(place: Place, rounds: int) -> Figure:
    """From the end of the deletion to the event that says that the tap is back, a VIF a round."""
    with Served(place, on_drift="repair").client() as client, place.host() as host:
        numbers = iter(range(1000, 1000 + rounds + 1))
        heard = client.events()
        kernel = Kernel()
        gone: list[str] = []

        def delete() -> None:
            number = next(numbers)
            gone[:] = [vif_id(number)]
            kernel.remove(client.plug(binding(number)).vif["devname"])

        def repaired() -> None:
            for event in heard:
                if event.kind == "repaired" and event.vif_id == gone[0]:
                    return

        contenders: dict[str, Steps] = {
            "repaired by the daemon": {"_delete": delete, "mend": repaired},
            "plugged in process": {
                "mend": partial(host.plug, binding(1)),
                "_unplug": partial(host.unplug, vif_id(1)),
            },
        }
        samples = take_turns(rounds, contenders)["mend"]
        heard.close()
        kernel.close()
    return figure(PART, "a deleted tap is back", samples)
