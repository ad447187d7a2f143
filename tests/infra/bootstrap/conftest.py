"""An account to bootstrap: that of a rehearsal's server, a fresh one for each test."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.cloud import Cloud
from components.naming import Names
from infra.bootstrap.documents import Trust, Wanted
from infra.rehearsal.moto import MotoServer, moto_server

ACCOUNT = "333333333333"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    with moto_server(tmp_path_factory.mktemp("server") / "server.log", account=ACCOUNT) as running:
        yield running


@pytest.fixture
def account(server: MotoServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MotoServer:
    """The server as this process's account, without anything in it."""
    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "rehearsal",
        "AWS_SECRET_ACCESS_KEY": "rehearsal",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    server.ask("faults", [])
    urllib.request.urlopen(urllib.request.Request(f"{server.url}/moto-api/reset", b""), timeout=60).close()
    return server


@pytest.fixture(scope="session")
def wanted() -> Wanted:
    """What production of a client needs, with pipelines."""
    return Wanted(
        cloud=Cloud(
            stack="prod",
            names=Names(client="acme", environment="prod", account=ACCOUNT, region="eu-central-1"),
            partition="aws",
            tags={"owner": "ml", "environment": "prod"},
            protected=True,
            project="/project",
        ),
        trust=Trust(repository="acme/platform", environment="prod", releases_environment="prod-releases"),
    )
