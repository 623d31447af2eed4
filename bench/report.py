"""The figures, for people."""

from __future__ import annotations

from collections.abc import Iterator

from .figures import Figure, Results


def lines(figures: list[Figure]) -> Iterator[str]:
    """A paragraph for each figure: its contenders with their times and ratios, then the aims."""
    for figure in figures:
        yield f"{figure.part}: {figure.name}"
        for who, timing in figure.timings.items():
            ratio = figure.ratios.get(who)
            yield (
                f"  {who:<36} {timing.median:9.3f} ms  [{timing.low:.3f} … {timing.high:.3f}]"
                + (f"   vifplug takes {ratio:.2f} of it" if ratio is not None and who != figure.name else "")
            )
        for aim in figure.aims:
            yield f"  {'met   ' if aim.met else 'MISSED'} {aim.value:.2f} {aim.text}; the aim is at most {aim.limit:g}"
        if figure.costs:
            dearest = ", ".join(f"{name} {cost:.2f}" for name, cost in list(figure.costs.items())[:6])
            yield f"  of it, in ms: {dearest}"
        if figure.sizes:
            yield "  memory, in MiB: " + ", ".join(
                f"{name} {size:.1f}" for name, size in figure.sizes.items()
            )
        yield ""


def summary(results: Results) -> str:
    aims = [aim for figure in results.figures for aim in figure.aims]
    met = sum(aim.met for aim in aims)
    around = results.surroundings
    return (
        f"{met} of {len(aims)} aims met in {results.seconds:.0f} s. vifplug {results.vifplug}, kernel {around.kernel},"
        f" {around.cpus} cpus, Python {around.python}, SQLite {around.sqlite}, state on {around.file_system},"
        f" load {around.load[0]:.1f} to {around.load[1]:.1f}."
        + (" This was --quick: too few rounds to quote." if results.quick else "")
    )
