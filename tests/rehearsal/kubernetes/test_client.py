"""What is read of an API server that changes meanwhile; its answers are made up."""

import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.rehearsal.kubernetes import certificates
from infra.rehearsal.kubernetes.api_server import ApiServer
from infra.rehearsal.kubernetes.client import Client, Kind


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """A client of a server that makes its Service only now, and knows no kinds of others."""

    def answer(request: httpx.Request) -> httpx.Response:
        known: dict[str, list[Any]] = {
            "/api": [{"metadata": {"name": ""}, "versions": [{"version": "v1", "resources": resources}]}],
            "/apis": [],
            "/api/v1/services": [made("kubernetes")],
            "/api/v1/configmaps": [made("forgotten")],
        }
        if request.url.path not in known:
            return httpx.Response(404, json={"message": "the server could not find the requested resource"})
        return httpx.Response(200, json={"metadata": {}, "items": known[request.url.path]})

    shared = {"scope": "Namespaced", "verbs": ["list", "delete"]}
    resources = [
        {"responseKind": {"kind": name}, "resource": f"{name.lower()}s", **shared} for name in ("ConfigMap", "Service")
    ]
    found = Client("https://127.0.0.1:1", certificates.make(tmp_path).authority.read_text(), "token")
    found._http = httpx.Client(base_url=found.url, transport=httpx.MockTransport(answer))
    return found


def made(name: str) -> dict[str, Any]:
    return {"metadata": {"namespace": "default", "name": name, "uid": f"uid of {name}"}}


def test_a_kind_whose_definition_went_since_it_was_looked_up_has_no_objects(client: Client) -> None:
    gone = Kind("example.com/v1", "Thing", "things", True, frozenset())
    assert list(client.list(gone, "default")) == []


def test_what_the_server_makes_late_is_nobody_s_leftover(client: Client, tmp_path: Path) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    server = ApiServer(client.url, "", "token", client, [], tmp_path, process)
    assert server.leftovers() == ["ConfigMap default/forgotten"]
