"""What a run of the benchmark says: the shape of ``--json FILE``, and of bench/results.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median, quantiles

from msgspec import Struct, field


class Timing(Struct, frozen=True, kw_only=True):
    """One thing that was timed many times. All in milliseconds."""

    median: float
    #: a tenth of the samples were faster than this
    low: float
    #: a tenth of the samples were slower than this
    high: float
    samples: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Timing:
        tenths = quantiles(seconds, n=10, method="inclusive") if len(seconds) > 1 else [seconds[0]] * 9
        return cls(
            median=_ms(median(seconds)), low=_ms(tenths[0]), high=_ms(tenths[-1]), samples=len(seconds)
        )


class Aim(Struct, frozen=True, kw_only=True):
    """A promise, and whether this run keeps it."""

    text: str
    value: float
    limit: float
    met: bool

    @classmethod
    def at_most(cls, limit: float, value: float, text: str) -> Aim:
        return cls(text=text, value=round(value, 4), limit=limit, met=value <= limit)


class Figure(Struct, frozen=True, kw_only=True):
    """Contenders for one job, timed in turn (A B C, B C A, …) in one run."""

    part: str
    name: str
    timings: dict[str, Timing]
    #: median of the part's own contender (the first) over that of each other
    ratios: dict[str, float]
    aims: list[Aim] = field(default_factory=list)
    #: milliseconds by what they were spent on, where a figure has such a thing
    costs: dict[str, float] = field(default_factory=dict)
    #: MiB of memory, where a figure has such a thing
    sizes: dict[str, float] = field(default_factory=dict)


class Surroundings(Struct, frozen=True, kw_only=True):
    """What the numbers were measured on."""

    kernel: str
    cpus: int
    python: str
    sqlite: str
    file_system: str
    #: load average of the last minute, before and after
    load: tuple[float, float]


class Results(Struct, frozen=True, kw_only=True):
    """One run."""

    vifplug: str
    #: UTC, ISO 8601
    when: str
    quick: bool
    seconds: float
    surroundings: Surroundings
    figures: list[Figure]


def figure(
    part: str,
    name: str,
    samples: Mapping[str, Sequence[float]],
    aims: Sequence[Aim] = (),
    *,
    costs: dict[str, float] | None = None,
    sizes: dict[str, float] | None = None,
) -> Figure:
    """The figure of these samples (seconds); the first contender is the one that the part is about."""
    timings = {who: Timing.of(seconds) for who, seconds in samples.items()}
    ours, *others = timings
    ratios = {who: round(timings[ours].median / timings[who].median, 3) for who in others}
    return Figure(
        part=part,
        name=name,
        timings=timings,
        ratios=ratios,
        aims=list(aims),
        costs=costs or {},
        sizes=sizes or {},
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 4)
