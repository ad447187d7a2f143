"""The `blueprint` provider of a plan has no effects, and does not mind where a checkout lies."""

from __future__ import annotations

from typing import Any

from infra.provider.codec import UNKNOWN, Secret
from tests.infra.planning.conftest import PROJECT, Client

TOKEN = "blueprint:index:Token"
JOB = "blueprint:index:Job"


def _job(project: str) -> dict[str, Any]:
    return {
        "name": "train", "home": f"{project}/.mlops/stacks/local", "key": {"code": "1"},
        "command": [f"{project}/.mlops/venv/bin/python", "-m", "x"], "directory": project,
        "environment": {"SOCKET": "/tmp/mlops-0123456789/x.sock"},
    }  # fmt: skip


def test_a_token_is_secret_and_nobody_drew_it(blueprint: Client) -> None:
    inputs, _ = blueprint.check(TOKEN, "registry-password", {})
    _, promised = blueprint.create(TOKEN, "registry-password", inputs, preview=True)
    _, made = blueprint.create(TOKEN, "registry-password", inputs)
    assert promised["value"] == Secret(UNKNOWN)
    assert isinstance(made["value"], Secret)
    assert blueprint.create(TOKEN, "registry-password", inputs)[1] == made


def test_where_a_checkout_lies_is_no_change(blueprint: Client) -> None:
    here, reasons = blueprint.check(JOB, "train", _job(PROJECT))
    assert reasons == []
    assert here["home"] == "/project/.mlops/stacks/local"
    assert here["command"][0] == "/project/.mlops/venv/bin/python"
    assert here["environment"] == {"SOCKET": "/tmp/mlops-planned/x.sock"}


def test_a_program_reads_into_the_result_of_a_job(blueprint: Client) -> None:
    inputs, _ = blueprint.check(JOB, "train", _job(PROJECT))
    _, made = blueprint.create(JOB, "train", inputs)
    assert made["result"]["dataDigest"].startswith("sha256:")


def test_no_refresh_is_asked_for(blueprint: Client) -> None:
    from pulumi.runtime.proto import provider_pb2

    from infra.provider.codec import encode
    from tests.infra.planning.conftest import urn

    inputs, _ = blueprint.check(TOKEN, "one", {})
    answer = blueprint.stub.Create(provider_pb2.CreateRequest(urn=urn(TOKEN, "one"), properties=encode(inputs)))
    assert answer.refresh_before_update is False
