"""Monitoring in the cloud: what is watched, who hears of it; rules and dashboards are those of every target."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from components.cloud import Cloud
from components.monitoring import rule_files
from components.monitoring.aws import AwsMonitoring, AwsMonitoringArgs, MonitoringSection
from components.testing import Recording, Registration

Run = Callable[[Callable[[], Any]], Recording]
Make = Callable[..., Recording]


@pytest.fixture
def monitoring(cloud: Cloud, run: Run) -> Make:
    def make(*, container_insights: bool = True) -> Recording:
        args = AwsMonitoringArgs(
            cloud=cloud,
            section=MonitoringSection(
                retention_days=15,
                scrape_seconds=30,
                storage_gib=50,
                storage_class="gp3",
                container_insights=container_insights,
                log_days=365,
            ),
            cluster="acme-prod-main",
            cluster_made="acme-prod-main",
            alarm_topic="TOPIC",
            database_storage_gib=100,
            tables=["acme-prod-features"],
            secrets_key="KEY",
            logs_key="LOGS",
        )
        return run(lambda: AwsMonitoring("monitoring", args))

    return make


def of_kind(made: Recording, kind: str) -> dict[str, Registration]:
    return {entry.inputs["metadata"]["name"]: entry for entry in made if entry.inputs.get("kind") == kind}


def test_the_rules_are_those_of_every_target(monitoring: Make) -> None:
    found = of_kind(monitoring(), "PrometheusRule")

    stated = {f"mlops-{name.removesuffix('.yaml')}": yaml.safe_load(text) for name, text in rule_files().items()}
    assert {name: entry.inputs["spec"] for name, entry in found.items()} == stated


def test_jobs_have_the_names_that_rules_ask_for(monitoring: Make) -> None:
    made = monitoring()

    ends = [
        end
        for kind, key in (("ServiceMonitor", "endpoints"), ("PodMonitor", "podMetricsEndpoints"))
        for entry in of_kind(made, kind).values()
        for end in entry.inputs["spec"][key]
    ]
    jobs = {end["relabelings"][0]["replacement"] for end in ends}
    missing = next(
        rule["expr"]
        for text in rule_files().values()
        for group in yaml.safe_load(text)["groups"]
        for rule in group["rules"]
        if rule.get("alert") == "TargetMissing"
    )
    assert all(f'job="{job}"' in missing for job in jobs)
    assert missing.count("absent(") == len(jobs)


def test_definitions_come_before_what_they_define(monitoring: Make) -> None:
    made = monitoring()
    chart = made.only("kubernetes:helm.sh/v3:Release")

    for kind in ("ServiceMonitor", "PodMonitor", "PrometheusRule"):
        for entry in of_kind(made, kind).values():
            assert made.waits_for(entry, chart)


def test_alerts_and_alarms_reach_the_same_topic(monitoring: Make) -> None:
    made = monitoring()

    values = made.only("kubernetes:helm.sh/v3:Release").inputs["values"]
    receiver = values["alertmanager"]["config"]["receivers"][1]
    assert receiver["sns_configs"][0]["topic_arn"] == "TOPIC"
    alarms = made.of_type("aws:cloudwatch/metricAlarm:MetricAlarm").values()
    assert all(alarm.inputs["alarmActions"] == ["TOPIC"] for alarm in alarms)


def test_database_tables_ways_out_and_api_server_are_watched(monitoring: Make) -> None:
    assert set(monitoring().of_type("aws:cloudwatch/metricAlarm:MetricAlarm")) == {
        "acme-prod-features-read-throttled",
        "acme-prod-features-write-throttled",
        "cluster-api-errors",
        "database-connections",
        "database-cpu",
        "database-storage",
        "nat-ports",
    }


def test_a_database_that_says_nothing_is_in_trouble(monitoring: Make) -> None:
    alarm = monitoring().of_type("aws:cloudwatch/metricAlarm:MetricAlarm")["database-cpu"]

    assert alarm.inputs["treatMissingData"] == "breaching"


def test_dashboards_are_found_by_grafana(monitoring: Make) -> None:
    pages = monitoring().of_type("kubernetes:core/v1:ConfigMap")

    assert set(pages) == {"dashboard-serving", "dashboard-releases", "dashboard-platform"}
    for entry in pages.values():
        assert entry.inputs["metadata"]["labels"] == {"grafana_dashboard": "1"}
        assert all(json.loads(text)["panels"] for text in entry.inputs["data"].values())


def test_container_insights_are_off_unless_asked_for(monitoring: Make) -> None:
    assert not monitoring(container_insights=False).of_type("aws:eks/addon:Addon")

    made = monitoring()

    groups = made.of_type("aws:cloudwatch/logGroup:LogGroup").values()
    assert {(entry.inputs["retentionInDays"], entry.inputs["kmsKeyId"]) for entry in groups} == {(365, "LOGS")}
    assert all(made.waits_for(made.only("aws:eks/addon:Addon"), entry) for entry in groups)
