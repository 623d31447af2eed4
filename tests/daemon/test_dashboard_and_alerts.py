"""The dashboard and the alerts that ship ask for nothing that a daemon at work does not tell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml  # type: ignore[import-untyped]

from collector import Collector
from prometheus import read
from vifplug.errors import TooBusy, VifplugError
from vifplug.host.results import Step
from watched import Watched
from world import ID, World, binding

PACKAGING = Path(__file__).parents[2] / "packaging"
DASHBOARD = json.loads((PACKAGING / "grafana/vifplug.json").read_text())
ALERTS = yaml.safe_load((PACKAGING / "prometheus/alerts.yaml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

#: what Prometheus itself adds, and a histogram's own
_ADDED = {"instance", "job", "le"}
_METRIC = re.compile(r"\b((?:vifplug|process)_[a-z_]+)\b(?:\{([^}]*)\})?")
_GROUPS = re.compile(r"\b(?:by|on) \(([^)]*)\)")
_MATCHER = re.compile(r'(\w+)(?:=~|!~|!=|=)"([^"]*)"')

Labels = dict[str, dict[str, set[str]]]


@pytest.fixture
def told(world: World) -> Iterator[Labels]:
    """What a daemon that did all kinds of work tells: by metric, by label, its values."""
    with Collector() as collector:
        daemon = msgspec.structs.replace(world.config.daemon, otlp=collector.address, rate=1)
        config = msgspec.structs.replace(world.config, daemon=daemon)
        with Watched(world, config) as watched, watched.client() as client:
            client.plug(binding())
            world.on("unplug", status=1)
            with pytest.raises(VifplugError):
                client.unplug(ID)
            watched.service.host.backup()
            watched.events.publish("drift", ID, drift=[{"what": "device mtu"}])
            with pytest.raises(TooBusy):
                for _ in range(20):
                    watched.service.admission.pace(4242)
            with watched.service.activity.verb("plug", ID):
                script = str(world.scripts / "recorder")
                step = Step(vif_id=ID, name="script plug", phase="begin", seconds=0, text=script)
                watched.service.activity.on_step(step)
                found = read(watched.observer.metrics)
        labels: Labels = {}
        for name, pairs in found:
            for label, value in pairs | {("instance", "")}:
                labels.setdefault(name, {}).setdefault(label, set()).add(value)
        yield labels


def check(expr: str, told: Labels) -> None:
    """Every metric is told, and has the labels that it is asked by."""
    asked = [(name, matchers) for name, matchers in _METRIC.findall(expr)]
    labels: set[str] = set()
    for name, matchers in asked:
        assert name in told, f"{name} is told by no daemon: {expr}"
        labels |= told[name].keys()
        for label, wanted in _MATCHER.findall(matchers):
            assert label in told[name].keys() | _ADDED, f"{name} has no label {label}: {expr}"
            assert "$" in wanted or not re.search(r"[^\w|-]", wanted), f"{wanted}: {expr}"
    for group in _GROUPS.findall(expr):
        assert set(group.split(", ")) <= labels | _ADDED, expr


def targets() -> list[tuple[str, str]]:
    return [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]


def test_every_panel_asks_for_what_a_daemon_tells(told: Labels) -> None:
    assert len(targets()) > 30
    for _, expr in targets():
        check(expr, told)
    for variable in DASHBOARD["templating"]["list"][1:]:
        name, label = re.fullmatch(
            r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", variable["definition"]
        ).groups()  # type: ignore[union-attr]
        assert label in told[name]


def test_every_alert_asks_for_what_a_daemon_tells(told: Labels) -> None:
    for rule in RULES:
        if rule["alert"] != "VifplugDown":  # up is Prometheus's own
            check(rule["expr"], told)


def test_every_metric_of_ours_has_its_place_on_the_dashboard(told: Labels) -> None:
    asked = " ".join(expr for _, expr in targets()) + str(DASHBOARD["annotations"])
    for name in told:
        if name.startswith("vifplug_") and not name.endswith(("_count", "_sum")):
            assert re.search(rf"\b{name}\b", asked), f"{name} is on no panel"


def test_no_two_panels_have_one_id_or_one_place() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_panel_says_what_it_shows_of_the_chosen_source_and_host() -> None:
    for panel in PANELS:
        assert panel["description"]
        for target in panel["targets"]:
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            for name, matchers in _METRIC.findall(target["expr"]):
                assert 'instance=~"$instance"' in matchers or name == "vifplug_build_info", target["expr"]


def test_rows_are_what_an_operator_looks_for() -> None:
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == ["At a glance", "Plugs", "Plug scripts", "VIFs", "Drift", "Queue", "The daemon"]


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    assert {rule["alert"] for rule in RULES} >= {
        "VifplugDown", "VifplugDebts", "VifplugScriptFailing", "VifplugDriftNotRepaired", "VifplugBackupOld",
    }  # fmt: skip
    for rule in RULES:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert "{{ $labels.instance }}" in rule["annotations"]["summary"]
        assert re.search(r"'(vifplug|journalctl|systemctl) ", rule["annotations"]["description"])
        shown: Any = rule["annotations"]["summary"]
        for label in re.findall(r"\$labels\.(\w+)", shown):
            assert label in ("instance",) or label in rule["expr"]


def test_the_page_lists_every_metric_with_its_labels(told: Labels) -> None:
    page = (PACKAGING.parent / "docs/observing.md").read_text()
    rows = re.findall(r"^\| (`vifplug_.*?) \| (.*?) \|", page, re.MULTILINE)
    listed = {
        name: re.findall(r"`(\w+)`", labels)
        for names, labels in rows
        for name in re.findall(r"`(\w+)`", names)
    }
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in told if name.startswith("vifplug_")}
    assert families == listed.keys()
    for name, labels in listed.items():
        sample = name if name in told else f"{name}_count"
        if name not in ("vifplug_start_time_seconds", "vifplug_build_info"):  # they share a row
            assert set(labels) | {"instance"} == told[sample].keys(), name
