"""Contenders take turns, so that what else the machine does falls on all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter

#: the steps of one contender in their order; a step whose name begins with "_" is done and not timed
Steps = Mapping[str, Callable[[], object]]
#: seconds of every round, by step and contender
Samples = dict[str, dict[str, list[float]]]


class Took(float):
    """Seconds, from a step that was timed where it was done, in another process."""


def take_turns(rounds: int, contenders: Mapping[str, Steps], *, warm_up: int = 1) -> Samples:
    """Run every contender once a round, each round beginning with another; the first rounds do not count."""
    samples: Samples = {}
    for name, steps in contenders.items():
        for step in steps:
            samples.setdefault(step, {})[name] = []
    names = list(contenders)
    for number in range(-warm_up, rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            for step, action in contenders[name].items():
                began = perf_counter()
                done = action()
                took = float(done) if isinstance(done, Took) else perf_counter() - began
                if number >= 0:
                    samples[step][name].append(took)
    return {step: by_name for step, by_name in samples.items() if not step.startswith("_")}


def ratio(samples: Mapping[str, list[float]], ours: str, other: str) -> float:
    """How many times the median of ``other`` the median of ``ours`` is."""
    return median(samples[ours]) / median(samples[other])


def difference_ms(samples: Mapping[str, list[float]], ours: str, *others: str) -> float:
    """Milliseconds that ``ours`` takes more than ``others`` together: the median over the rounds."""
    more = [
        mine - sum(theirs)
        for mine, *theirs in zip(samples[ours], *(samples[other] for other in others), strict=True)
    ]
    return 1000 * float(median(more))
