"""Start and memory of the daemon with few and many VIFs on record."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence

from vifplug.host.ledger import Ledger
from vifplug.host.pool import side_by_side
from vifplug.model import read_binding
from vifplug.script.marks import Mark

from .figures import Aim, Figure, figure
from .place import Place, binding
from .start_up import BARE
from .turns import Steps, take_turns
from .vifplugd import Served

PART = "daemon: VIFs on record"
#: MiB
_MOST = 80.0


def measure(place: Place, rounds: int, counts: Sequence[int]) -> list[Figure]:
    """The VIFs are records alone, of a kind that libvirt makes the devices of: none is missed by the keeper."""
    with place.host() as host:
        boot_id = host.boot_id
    contenders: dict[str, Steps] = {BARE: {"start": _bare}}
    served = {count: Served(place, f"served-{count}") for count in counts}
    for count, one in served.items():
        _fill(Ledger(place.folder / f"served-{count}", boot_id), count)
        contenders[_name(count)] = {"start": one.start, "_stop": one.stop}
    samples = take_turns(rounds, contenders)["start"]
    return [
        figure(
            PART,
            f"start to ready with {count:,}",
            {_name(count): samples[_name(count)], BARE: samples[BARE]},
            [
                Aim.at_most(_MOST, sizes[f"{which} when all was asked"], f"MiB {which}")
                for which in ("Rss", "Pss")
            ],
            sizes=sizes,
        )
        for count, one in served.items()
        for sizes in [_sizes(one)]
    ]


def _sizes(served: Served) -> dict[str, float]:
    """MiB when it is ready, and after it was asked for all that it can list and count."""
    with served.client() as client:
        first = served.memory()
        asked: list[Callable[[], object]] = [client.list, client.counts, client.status]
        for ask in asked * 3:
            ask()
        after = served.memory()
    return {
        **{f"{which} when ready": size for which, size in first.items()},
        **{f"{which} when all was asked": size for which, size in after.items()},
    }


def _name(count: int) -> str:
    return f"{count:,} on record"


def _bare() -> None:
    subprocess.run([sys.executable, "-c", "pass"], check=True)


def _fill(ledger: Ledger, count: int) -> None:
    def one(number: int) -> None:
        vif = read_binding(binding(number, made_by="libvirt"))
        ledger.plugged(ledger.begin_plug(vif, None, Mark.new().to_text()), vif, {}, None, [])

    side_by_side(one, range(count), 32)
    ledger.close()
