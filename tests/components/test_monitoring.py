"""Local monitoring: what is scraped, who may look, and rules that alert when they should (promtool)."""

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import yaml

from components.monitoring import RULES, rule_files
from components.monitoring.dashboards import DASHBOARDS, Dashboard
from components.monitoring.passwords import password_hash
from components.testing import Recording, Registration
from infra.engine import tools

PROCESS = "blueprint:index:Process"
PROMTOOL_TESTS = sorted((Path(__file__).parent / "monitoring").glob("*.test.yaml"))
OF_RAY = {"ray_node_disk_free", "ray_node_disk_usage", "ray_node_mem_available", "ray_node_mem_total"}
"""Metrics of Ray's agent that rules use; the end-to-end tests see whether it still has them."""


@pytest.fixture
def prometheus(platform: Recording) -> Registration:
    return platform.of_type(PROCESS)["prometheus"]


def rules() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, text in rule_files().items():
        for group in yaml.safe_load(text)["groups"]:
            for rule in group["rules"]:
                yield name, rule


ALERTS = [rule for _, rule in rules() if "alert" in rule]


# --- what is scraped --------------------------------------------------------------------------------------------------


def test_every_server_that_has_metrics_is_scraped(prometheus: Registration) -> None:
    config = json.loads(prometheus.inputs["files"]["prometheus.json"])
    targets = {entry["job_name"]: entry["static_configs"][0]["targets"] for entry in config["scrape_configs"]}

    assert targets == {
        "control": ["127.0.0.1:8090"],
        "feature-store": ["127.0.0.1:6566"],
        "haproxy": ["127.0.0.1:9101"],
        "prometheus": ["127.0.0.1:9090"],
        "ray": ["127.0.0.1:8085", "127.0.0.1:8087"],
        "registry": ["127.0.0.1:5000"],
    }


def test_configuration_names_the_rule_files_that_are_written(prometheus: Registration) -> None:
    config = json.loads(prometheus.inputs["files"]["prometheus.json"])

    written = {name for name in prometheus.inputs["files"] if name.endswith(".yaml")}
    assert {Path(path).name for path in config["rule_files"]} == written == set(rule_files())


def test_prometheus_listens_on_loopback_and_asks_for_a_password(prometheus: Registration) -> None:
    assert "--web.listen-address=127.0.0.1:9090" in prometheus.inputs["command"]
    assert any(part.startswith("--web.config.file=") for part in prometheus.inputs["command"])

    users = json.loads(prometheus.inputs["files"]["web.json"])["basic_auth_users"]
    assert bcrypt.checkpw(b"TOKEN-monitoring-password", users["mlops"].encode())


def test_retention_follows_the_settings(prometheus: Registration) -> None:
    assert "--storage.tsdb.retention.time=15d" in prometheus.inputs["command"]


def test_hash_of_a_password_is_the_same_every_time() -> None:
    assert password_hash("secret") == password_hash("secret")
    assert bcrypt.checkpw(b"secret", password_hash("secret").encode())
    assert not bcrypt.checkpw(b"other", password_hash("secret").encode())


# --- rules ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_alert_says_how_bad_what_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"].endswith(".")


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_alert_has_a_test_in_which_it_fires_and_is_in_no_doubt(rule: dict[str, Any]) -> None:
    fired = {
        case["alertname"]
        for file in PROMTOOL_TESTS
        for test in yaml.safe_load(file.read_text())["tests"]
        for case in test.get("alert_rule_test", [])
        if case["exp_alerts"]
    }

    assert rule["alert"] in fired


def test_names_of_rules_are_unique() -> None:
    names = [rule.get("alert") or rule["record"] for _, rule in rules()]

    assert len(names) == len(set(names))


def scraped(application: Any) -> str:
    """The metrics page of an ASGI application."""
    import httpx

    async def get() -> str:
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return (await client.get("/metrics")).text

    return asyncio.run(get())


@pytest.fixture(scope="module")
def emitted() -> set[str]:
    """Names of the metrics that our servers really have on their pages."""
    from serving.control.metrics import page
    from serving.state import State
    from training.features.server import Lookup, create_app
    from training.registry_server import Guard

    async def nothing(*_: Any) -> None:
        """The application behind the guard, which is not asked."""

    series = {("seconds", "m", "1", ""): 1.0}
    text = (
        page(series, State(), {}, unsealed=0.0)
        + scraped(create_app(Lookup(None), None))
        + scraped(Guard(nothing, "user", "password"))
    )
    names = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        names |= {name, name + "_bucket", name + "_sum", name + "_count"} if kind == "histogram" else {name}
    return names


@pytest.mark.parametrize(("file", "rule"), list(rules()), ids=lambda value: str(value)[:40])
def test_rule_uses_only_metrics_that_exist(file: str, rule: dict[str, Any], emitted: set[str]) -> None:
    recorded = {rule["record"] for _, rule in rules() if "record" in rule}
    used = set(re.findall(r"\b((?:mlops|registry|feature_store|ray|haproxy)_\w+|\w+:[\w:]+)", rule["expr"]))

    unknown = used - emitted - OF_RAY - recorded
    assert used or "up" in rule["expr"]
    assert not unknown, f"{file}: nothing emits {sorted(unknown)}"


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one.name)
def test_dashboard_shows_only_what_exists(dashboard: Dashboard, emitted: set[str]) -> None:
    recorded = {rule["record"] for _, rule in rules() if "record" in rule}
    for panel in dashboard.panels:
        for expression in panel.series:
            used = set(re.findall(r"\b((?:mlops|registry|feature_store|ray|haproxy)_\w+|\w+:[\w:]+)", expression))

            assert used or "up" in expression
            assert not used - emitted - OF_RAY - recorded, f"{panel.title}: nothing emits {sorted(used)}"


@pytest.fixture(scope="module")
def promtool() -> Path:
    found = tools.find("prometheus")
    if found is None:
        pytest.skip("promtool is not installed; ./mlops up gets it")
    return found.folder / "promtool"


def test_rules_are_valid(promtool: Path) -> None:
    command = [str(promtool), "check", "rules", *(str(path) for path in sorted(RULES.glob("*.yaml")))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", PROMTOOL_TESTS, ids=lambda file: file.name)
def test_rules_record_and_alert_as_they_should(promtool: Path, file: Path) -> None:
    done = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_generated_configuration_is_valid(promtool: Path, prometheus: Registration, tmp_path: Path) -> None:
    files = dict(prometheus.inputs["files"])
    config = json.loads(files["prometheus.json"])
    config["rule_files"] = [str(tmp_path / Path(path).name) for path in config["rule_files"]]
    files["prometheus.json"] = json.dumps(config)
    for name, content in files.items():
        (tmp_path / name).write_text(content)

    for kind, file in (("config", "prometheus.json"), ("web-config", "web.json")):
        done = subprocess.run([promtool, "check", kind, tmp_path / file], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
