"""The Grafana dashboard and Prometheus's alerts ask for what the service tells, and for nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from ruamel.yaml import YAML

from actions.metrics import ACTION_SECONDS
from bot.metrics import TURNS
from handoff.metrics import TICKETS

DOCS = Path(__file__).parent.parent / "docs"
DASHBOARD: dict[str, Any] = json.loads((DOCS / "grafana.json").read_text(encoding="utf-8"))
ALERTS: dict[str, Any] = YAML(typ="safe").load(DOCS / "alerts.yml")

#: Of every scrape; what prometheus_client and Prometheus themselves add.
ALWAYS = {"job", "instance", "le"}
NOT_OURS = {"up": set(), "process_cpu_seconds_total": set(), "process_resident_memory_bytes": set()}

NAME = re.compile(r"\b((?:support|process)_[a-z_]+|up)\b(?:{([^}]*)})?")
GROUPED = re.compile(r"\bby \(([^)]*)\)")


def told() -> dict[str, set[str]]:
    """The labels of everything that `/metrics` holds, by the name it is asked for."""
    assert all((ACTION_SECONDS, TURNS, TICKETS))  # they are there once their modules are imported
    found: dict[str, set[str]] = {}
    for metric in REGISTRY._collector_to_names:
        labels = set(getattr(metric, "_labelnames", ()))
        found |= {name: labels for name in REGISTRY._collector_to_names[metric] if not name.endswith("_created")}
    return found


def queries() -> Iterator[tuple[str, str]]:
    """Every question of the dashboard and of the alerts, by where it stands."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield f"{panel['title']}: {target['refId']}", target["expr"]
    for rule in (rule for group in ALERTS["groups"] for rule in group["rules"]):
        yield rule["alert"], rule["expr"]


@pytest.mark.parametrize(("place", "query"), list(queries()), ids=[place for place, _ in queries()])
def test_a_question_is_about_metrics_and_labels_that_exist(place: str, query: str):
    """A renamed metric would leave an empty panel, or an alert that never comes."""
    known = told() | NOT_OURS

    asked = NAME.findall(query)

    assert asked
    assert [name for name, _ in asked if name not in known] == []
    for name, selector in asked:
        assert set(re.findall(r"(\w+)\s*[=!]", selector)) <= known[name] | ALWAYS, f"{place}: {name}"
    grouped = {label.strip() for labels in GROUPED.findall(query) for label in labels.split(",")}
    assert grouped <= ALWAYS.union(*(known[name] for name, _ in asked))


def test_the_dashboard_shows_every_metric_of_ours():
    """What nobody looks at need not be measured."""
    asked = {name for place, query in queries() for name, _ in NAME.findall(query)}
    shown = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in asked}

    ours = {metric.name for metric in REGISTRY.collect() if metric.name.startswith("support_")}

    assert ours - shown == set()


def test_the_dashboard_can_be_imported_anywhere():
    """Grafana wants unique ids; the data source has another name in each Grafana."""
    panels = DASHBOARD["panels"]
    ids = [panel["id"] for panel in panels]
    sources = [
        part["datasource"] for panel in panels for part in [panel, *panel.get("targets", [])] if "targets" in panel
    ]
    [source] = [one for one in DASHBOARD["templating"]["list"] if one["type"] == "datasource"]

    assert DASHBOARD["schemaVersion"] >= 36
    assert len(ids) == len(set(ids))
    assert {name["uid"] for name in sources if isinstance(name, dict)} == {f"${{{source['name']}}}"}
    assert all(panel["type"] in ("row", "stat", "timeseries") for panel in panels)


def test_no_panel_covers_another():
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]

    for one, other in combinations(places, 2):
        aside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert aside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"], (one, other)
    assert all(place["x"] + place["w"] <= 24 for place in places)


def test_every_alert_says_what_to_do():
    rules = [rule for group in ALERTS["groups"] for rule in group["rules"]]

    assert all(rule["annotations"].keys() == {"summary", "action"} for rule in rules)
    assert all(rule["labels"]["severity"] in ("page", "warn") for rule in rules)
