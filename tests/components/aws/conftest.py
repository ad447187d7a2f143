"""One environment on AWS for component tests, and what the cloud answers there."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from components.cloud import Cloud
from components.naming import Names
from components.testing import Recording, record

ZONES = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
FUNCTIONS: Mapping[str, Mapping[str, Any]] = {
    "aws:index/getAvailabilityZones:getAvailabilityZones": {"names": ZONES, "zoneIds": [], "id": "eu-central-1"},
}


@pytest.fixture(scope="session")
def cloud() -> Cloud:
    """A protected environment."""
    return Cloud(
        stack="prod",
        names=Names(client="acme", environment="prod", account="333333333333", region="eu-central-1"),
        partition="aws",
        tags={"owner": "ml", "environment": "prod"},
        protected=True,
        project="/project",
    )


def answer(token: str, name: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Outputs as AWS gives them: an ARN that tells what it is of."""
    if token == "blueprint:index:Token":
        return {"value": f"TOKEN-{name}"}
    if token == "aws:rds/instance:Instance":
        secret = "arn:aws:secretsmanager:eu-central-1:333333333333:secret:rds!db-1"
        return {"address": "db.example", "masterUserSecrets": [{"secretArn": secret, "secretStatus": "active"}]}
    if not token.startswith("aws:"):
        return {}
    called = inputs.get("name") or inputs.get("bucket") or name
    return {"arn": f"arn:aws:{token.split(':')[1].split('/')[0]}:eu-central-1:333333333333:{called}", "keyId": name}


@pytest.fixture
def run() -> Callable[[Callable[[], Any]], Recording]:
    """Run a program and return what it has registered."""

    def made(program: Callable[[], Any]) -> Recording:
        return record(program, answer, functions=FUNCTIONS)

    return made
