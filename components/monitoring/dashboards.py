"""Grafana dashboards of the platform, built from short descriptions. Pure; a test holds their metrics against the code.

A panel is a title, a unit and the series it shows, each a PromQL expression with a legend. What rules record is used
where it exists, so that a dashboard and an alert never mean different things by one name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Unit = Literal["percentunit", "reqps", "s", "short"]
WIDTH, HEIGHT, COLUMNS = 12, 8, 2


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A chart over time: its title, unit, and series as expression → legend."""

    title: str
    unit: Unit
    series: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """A page of panels; `name` is its identity in Grafana, lower case."""

    name: str
    title: str
    panels: Sequence[Panel]


DASHBOARDS: Sequence[Dashboard] = (
    Dashboard(
        name="serving",
        title="Serving",
        panels=(
            Panel(title="Predictions", unit="reqps", series={"model:predictions:rate5m": "{{model}}"}),
            Panel(title="Errors", unit="percentunit", series={"model:prediction_errors:ratio5m": "{{model}}"}),
            Panel(
                title="Latency",
                unit="s",
                series={
                    "model:prediction_latency_seconds:p50": "{{model}} p50",
                    "model:prediction_latency_seconds:p99": "{{model}} p99",
                },
            ),
            Panel(
                title="Availability, last hour", unit="percentunit", series={"model:availability:ratio1h": "{{model}}"}
            ),
            Panel(title="Replicas", unit="short", series={"mlops_replicas": "{{group}}"}),
            Panel(
                title="Outcomes",
                unit="reqps",
                series={
                    "sum by (model, outcome) (rate(mlops_predictions_total[5m]))": "{{model}} {{outcome}}",
                },
            ),
            Panel(
                title="Captured rows dropped",
                unit="reqps",
                series={"sum by (model) (rate(mlops_capture_dropped_total[5m]))": "{{model}}"},
            ),
        ),
    ),
    Dashboard(
        name="releases",
        title="Releases",
        panels=(
            Panel(title="Share of the traffic", unit="short", series={"mlops_rollout_weight": "{{model}} {{version}}"}),
            Panel(
                title="Rollouts, last day",
                unit="short",
                series={"sum by (model, state) (increase(mlops_rollouts_total[1d]))": "{{model}} {{state}}"},
            ),
            Panel(
                title="Predictions by version",
                unit="reqps",
                series={"sum by (model, version) (rate(mlops_predictions_total[5m]))": "{{model}} {{version}}"},
            ),
            Panel(
                title="Accuracy of labelled predictions",
                unit="percentunit",
                series={"mlops_accuracy": "{{model}} {{version}}"},
            ),
            Panel(
                title="Copies to shadows",
                unit="reqps",
                series={
                    "sum by (model, outcome) (rate(mlops_shadow_copies_total[5m]))": "{{model}} {{outcome}}",
                },
            ),
            Panel(
                title="Alarms of monitors, last day",
                unit="short",
                series={"sum by (model, action) (increase(mlops_alarms_total[1d]))": "{{model}} {{action}}"},
            ),
        ),
    ),
    Dashboard(
        name="platform",
        title="Platform",
        panels=(
            Panel(title="Servers that answer", unit="short", series={"sum by (job) (up)": "{{job}}"}),
            Panel(
                title="Registry, errors", unit="percentunit", series={"job:registry_request_errors:ratio5m": "registry"}
            ),
            Panel(
                title="Feature store, errors",
                unit="percentunit",
                series={"job:feature_store_request_errors:ratio5m": "feature store"},
            ),
            Panel(
                title="Feature store, p99", unit="s", series={"job:feature_store_request_seconds:p99": "feature store"}
            ),
            Panel(
                title="Memory left",
                unit="percentunit",
                series={"ray_node_mem_available / ray_node_mem_total": "{{instance}}"},
            ),
            Panel(
                title="Disk left",
                unit="percentunit",
                series={
                    "ray_node_disk_free / (ray_node_disk_free + ray_node_disk_usage)": "{{instance}}",
                },
            ),
        ),
    ),
)


def files() -> dict[str, str]:
    """The dashboards as Grafana reads them: JSON by file name."""
    return {f"{one.name}.json": json.dumps(document(one), indent=1, sort_keys=True) for one in DASHBOARDS}


def document(dashboard: Dashboard) -> dict[str, Any]:
    """A dashboard in Grafana's model (schema version 39)."""
    return {
        "uid": f"mlops-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["mlops"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "panels": [_panel(panel, number) for number, panel in enumerate(dashboard.panels)],
    }


def _panel(panel: Panel, number: int) -> dict[str, Any]:
    row, column = divmod(number, COLUMNS)
    source = {"type": "prometheus", "uid": "prometheus"}
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": source,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "expr": expression, "legendFormat": legend, "datasource": source}
            for index, (expression, legend) in enumerate(panel.series.items())
        ],
    }
