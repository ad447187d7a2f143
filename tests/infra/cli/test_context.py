"""How the command line reaches what a stack has exported."""

import base64
from pathlib import Path
from typing import Any

import pytest

from infra.cli.context import Context
from infra.cli.output import CommandFailed
from infra.provider import cluster_access
from infra.rehearsal.kubernetes import certificates


def context(**control: Any) -> Context:
    made = Context("prod-releases")
    made.__dict__["outputs"] = {"endpoints": {"control": control}}
    return made


@pytest.fixture
def proxied(tmp_path: Path) -> dict[str, str]:
    authority = certificates.make(tmp_path).authority.read_bytes()
    return {
        "url": "https://eks.example/api/v1/x/proxy",
        "token": "ADMIN",
        "cluster": "acme-prod-main",
        "region": "eu-central-1",
        "authority": base64.b64encode(authority).decode(),
    }


def test_what_is_inside_a_cluster_is_asked_through_its_api_server(
    proxied: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cluster_access.TOKEN, "STATED")

    with context(**proxied).http("control") as client:
        request = client.build_request("GET", "/v1/models/loan")

    assert str(request.url) == "https://eks.example/api/v1/x/proxy/v1/models/loan"
    assert request.headers["authorization"] == "Bearer STATED"
    assert request.headers["x-mlops-authorization"] == "Bearer ADMIN"


def test_what_stands_for_itself_is_asked_directly() -> None:
    with context(url="http://127.0.0.1:8090", token="ADMIN").http("control") as client:
        assert client.headers["authorization"] == "Bearer ADMIN"
        assert "x-mlops-authorization" not in client.headers


def test_an_authority_that_is_no_certificate_is_an_error_for_people(
    proxied: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cluster_access.TOKEN, "STATED")

    with pytest.raises(CommandFailed, match="certificate authority of cluster acme-prod-main"):
        context(**{**proxied, "authority": "bm90aGluZw=="}).http("control")
