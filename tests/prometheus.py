"""What a Prometheus would read."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from vifplug.daemon.metrics import Metrics

Read = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(metrics: Metrics) -> Read:
    """Every sample by its name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def value(metrics: Metrics, sample: str, **labels: str) -> float | None:
    """The value of one sample; None when it is not there."""
    return read(metrics).get((sample, frozenset(labels.items())))
