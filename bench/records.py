"""One plug and unplug while few or many VIFs are on record."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from statistics import median

from vifplug import Host, read_binding
from vifplug.host.ledger import Ledger
from vifplug.host.pool import side_by_side
from vifplug.script.marks import Mark

from .figures import Aim, Figure, figure
from .place import Place, binding, vif_id
from .turns import take_turns

PART = "VIFs on record"


def measure(place: Place, rounds: int, counts: Sequence[int]) -> list[Figure]:
    """The VIFs on record are records alone, written through the ledger's own API: no device stands behind them."""
    most = counts[-1]
    with contextlib.ExitStack() as stack:
        hosts: dict[str, Host] = {}
        for count in reversed(counts):
            host = stack.enter_context(place.host(f"state-{count}"))
            fill(Ledger(place.folder / f"state-{count}", host.boot_id), count)
            hosts[f"{count:,} on record"] = host
        request, mine = binding(most + 1), vif_id(most + 1)
        samples = take_turns(
            rounds,
            {
                name: {"plug": partial(host.plug, request), "unplug": partial(host.unplug, mine)}
                for name, host in hosts.items()
            },
        )
    figures = []
    for verb, times in samples.items():
        many, *_, few = (median(taken) for taken in times.values())
        flat = Aim.at_most(1.25, many / few, f"times what it takes with {counts[0]:,} on record")
        figures.append(figure(PART, verb, times, [flat]))
    return figures


def fill(ledger: Ledger, count: int) -> None:
    """Put ``count`` VIFs on record as plugged."""

    def one(number: int) -> None:
        vif = read_binding(binding(number))
        row = ledger.begin_plug(vif, None, Mark.new().to_text())
        ledger.plugged(row, vif, {}, None, [])

    side_by_side(one, range(count), 32)
    ledger.close()
