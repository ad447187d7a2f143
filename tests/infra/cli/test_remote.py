"""`mlops status` of an environment in an account says what is known, and what it did not look at."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from infra.cli import remote
from infra.cli.app import app
from infra.cli.context import Context


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoints: dict[str, Any] = {
        "audit": {"url": "s3://acme-prod-audit"},
        "cluster": {"url": "http://127.0.0.1:1", "token": "hidden"},
    }
    monkeypatch.setattr(Context, "outputs", {"endpoints": endpoints})


def test_what_is_known_is_shown_without_secrets(outputs: None) -> None:
    result = CliRunner().invoke(app, ["status", "prod", "--json"])

    document = json.loads(result.stdout)
    assert document["endpoints"] == {
        "audit": {"url": "s3://acme-prod-audit", "answers": ""},
        "cluster": {"url": "http://127.0.0.1:1", "answers": "not from here"},
    }
    assert document["account"] == "333333333333"
    assert any("--name acme-prod-main" in line for line in document["notLookedAt"])
    assert "hidden" not in result.stdout


def test_what_was_not_looked_at_is_said(outputs: None) -> None:
    text = CliRunner().invoke(app, ["status", "prod"]).stdout

    assert "Not looked at from here" in text
    assert "kubectl get nodes,pods -A" in text


def test_an_address_that_is_not_http_is_not_asked() -> None:
    assert remote.answers("arn:aws:sns:eu-central-1:1:alarms") == ""
