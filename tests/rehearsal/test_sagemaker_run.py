"""The rendered pipeline trains: its steps with their commands as they stand in the definition, in order.

What SageMaker does is played: it lays inputs below /opt/ml/processing, takes outputs from there, and starts commands.
The rest is real: MLflow behind the service proxy of a Kubernetes API server that knows the role's group (RBAC), and
moto for AWS (Secrets Manager, EKS, SageMaker's executions, DynamoDB and S3 of the feature store).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from components.cloud import Cloud
from components.cluster.service_access import TRAINING, registering
from components.feature_store.aws import store_environment
from components.models import Model
from components.naming import Names
from components.pipelines import definitions
from components.pipelines.trainer_key import signing_environment
from components.registry.kubernetes import NAMESPACE, PORT, SERVER
from infra.engine.errors import ToolError
from infra.rehearsal.aws.clients import Aws
from infra.rehearsal.kubernetes.api_server import ApiServer, api_server
from infra.rehearsal.kubernetes.services import publish
from infra.rehearsal.kubernetes.tunnel import tunnel
from infra.rehearsal.moto import MotoServer, moto_server
from policies.releases.approval import check_artifact
from policies.releases.keys import make_demo_keys
from policies.releases.manifest import Signature
from tests.registry import registry_server
from training.pipelines.through_cluster import Cluster, Service, way

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ACCOUNT, REGION, PASSWORD = "333333333333", "eu-central-1", "a-password-of-tests"


@dataclass(frozen=True)
class Surroundings:
    """What steps of SageMaker find around them, on loopback."""

    cloud: Cloud
    moto: MotoServer
    cluster: ApiServer
    registry: str
    folder: Path

    @property
    def aws(self) -> Aws:
        return Aws(self.moto.url, REGION)

    def environment(self, user: str) -> dict[str, str]:
        """Variables that SageMaker gives a step, whose role the cluster knows as a user."""
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "AWS_ENDPOINT_URL": self.moto.url,
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_DEFAULT_REGION": REGION,
            "MLOPS_COMMIT": "a" * 40,
            "MLOPS_KUBERNETES_TOKEN": self.cluster.tokens[user],
        }


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    folder = tmp_path_factory.mktemp("sagemaker")
    names = Names(client="acme", environment="staging", account=ACCOUNT, region=REGION)
    cloud = Cloud(stack="staging", names=names, partition="aws", tags={}, protected=False, project=str(ROOT))
    try:
        with ExitStack() as stack:
            port = stack.enter_context(
                registry_server(folder / "registry", PASSWORD, MLOPS_REGISTRY_HOSTS=f"{SERVER}.{NAMESPACE}.svc:{PORT}")
            )
            way = stack.enter_context(tunnel({PORT: port}))
            users = {"training": TRAINING, "stranger": "others"}
            kubernetes = folder / "kubernetes"
            server = stack.enter_context(api_server(kubernetes, users=users, tunnel=way, definitions=False))
            publish(server, registering(NAMESPACE, SERVER, PORT))
            cluster = {"endpoint": server.url, "ca": server.ca}
            moto = stack.enter_context(moto_server(folder / "moto.log", account=ACCOUNT, cluster=cluster))
            yield Surroundings(cloud, moto, server, f"http://127.0.0.1:{port}", folder)
    except ToolError as error:
        pytest.skip(f"no API server can be had on this machine: {error}")


@dataclass
class SageMaker:
    """Plays an execution: resolves what the definition leaves to it, moves files, starts commands."""

    at: Surroundings
    definition: Mapping[str, Any]
    execution: str
    bucket: Path

    def resolved(self, value: Any) -> str:
        if isinstance(value, Mapping) and "Std:Join" in value:
            joined = value["Std:Join"]
            return str(joined["On"]).join(self.resolved(part) for part in joined["Values"])
        if isinstance(value, Mapping):
            known = {f"Parameters.{one['Name']}": one["DefaultValue"] for one in self.definition["Parameters"]}
            known["Execution.PipelineExecutionId"] = self.execution.rpartition("/")[2]
            known["Execution.PipelineExecutionArn"] = self.execution
            return str(known[value["Get"]])
        return str(value)

    def place(self, uri: Any) -> Path:
        return self.bucket / self.resolved(uri).removeprefix("s3://")

    def step(self, name: str, user: str = "training") -> subprocess.CompletedProcess[str]:
        """Run one step on a machine of its own; its outputs are taken only where it ended well."""
        [stated] = [one["Arguments"] for one in self.definition["Steps"] if one["Name"] == name]
        machine = self.at.folder / "machines" / f"{self.execution.rpartition('/')[2]}-{name}-{user}"
        machine.mkdir(parents=True)

        def local(path: str) -> Path:
            return machine / path.removeprefix("/opt/ml/processing/")

        for one in stated.get("ProcessingInputs", []):
            shutil.copytree(self.place(one["S3Input"]["S3Uri"]), local(one["S3Input"]["LocalPath"]))
        outputs = [one["S3Output"] for one in stated["ProcessingOutputConfig"]["Outputs"]]
        for one in outputs:
            local(one["LocalPath"]).mkdir(parents=True, exist_ok=True)
        variables = {
            key: self.resolved(value).replace("/opt/ml/processing", str(machine))
            for key, value in stated["Environment"].items()
        }
        program = stated["AppSpecification"]
        command = [*program["ContainerEntrypoint"], *map(self.resolved, program.get("ContainerArguments", []))]
        done = subprocess.run(
            command, cwd=ROOT, env=self.at.environment(user) | variables, capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            for one in outputs:
                shutil.copytree(local(one["LocalPath"]), self.place(one["S3Uri"]))
        return done


@pytest.fixture(scope="module")
def pipeline(surroundings: Surroundings, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """The definition of a model with online features, rendered by the SDK and registered with SageMaker."""
    from tests.training.conftest import MODEL

    folder = tmp_path_factory.mktemp("models") / "third-model"
    folder.mkdir()
    (folder / "model.py").write_text(MODEL)
    cloud = surroundings.cloud
    described = definitions.description(
        cloud,
        Model(name="third-model", folder=str(folder), params={"trees": 12}, seed=5),
        image="image@sha256:" + "a" * 64,
        instance_type="ml.m7i.large",
        max_hours=1,
        subnets=1,
        environment=store_environment(cloud, "feast"),
        signing=signing_environment(cloud, "staging", "staging"),
        registry=definitions.RegistryWay(
            cluster=cloud.names.of("cluster", "main"),
            service=f"{NAMESPACE}/{SERVER}:{PORT}",
            username="mlops",
            password_secret=cloud.names.path("secret", "registry-password"),
        ),
    )
    marks = {definitions.KEY: "alias/data", definitions.SECURITY_GROUP: "sg-1", definitions.subnet(0): "subnet-a"}
    text = definitions.filled(definitions.definition(tmp_path_factory.mktemp("project"), described), marks)
    role = definitions.training_role(cloud)
    stated = {"PipelineName": described["name"], "PipelineDefinition": text, "RoleArn": role}
    surroundings.aws.call("sagemaker", "create_pipeline", {**stated, "ClientRequestToken": "x" * 32})
    found: Mapping[str, Any] = {"name": described["name"], **json.loads(text)}
    return found


def started(at: Surroundings, pipeline: Mapping[str, Any]) -> SageMaker:
    request = {"PipelineName": pipeline["name"], "ClientRequestToken": "y" * 32}
    answer = at.aws.call("sagemaker", "start_pipeline_execution", request)
    return SageMaker(at, pipeline, answer["PipelineExecutionArn"], at.folder / "bucket")


@pytest.fixture(scope="module")
def account(surroundings: Surroundings) -> Path:
    """The account as `up` and people leave it; returns the folder of the people's keys."""
    aws, names = surroundings.aws, surroundings.cloud.names
    aws.call("secretsmanager", "create_secret", {"Name": "acme/staging/registry-password", "SecretString": PASSWORD})
    people = surroundings.folder / "people"
    # As somebody pastes it, without the line break at its end.
    key = make_demo_keys(people, "staging").trainer.key.read_text().strip()
    aws.call("secretsmanager", "create_secret", {"Name": "acme/staging/signing-key", "SecretString": key})
    aws.call("eks", "create_cluster", {
        "name": names.of("cluster", "main"), "roleArn": f"arn:aws:iam::{ACCOUNT}:role/x", "resourcesVpcConfig": {},
    })  # fmt: skip
    aws.call("s3", "create_bucket", {
        "Bucket": names.bucket("features"), "CreateBucketConfiguration": {"LocationConstraint": REGION},
    })  # fmt: skip
    aws.call("dynamodb", "create_table", {
        "TableName": names.of("table", "features"), "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "entity", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "entity", "KeyType": "HASH"}],
    })  # fmt: skip
    return people


def test_the_definition_trains_signs_and_registers(
    surroundings: Surroundings, pipeline: Mapping[str, Any], account: Path
) -> None:
    run = started(surroundings, pipeline)
    done = [run.step(name) for name in ("ingest", "materialize", "train")]

    assert [one.returncode for one in done] == [0, 0, 0], done[-1].stderr
    output = "".join(one.stdout + one.stderr for one in done)
    assert PASSWORD not in output
    assert "PRIVATE KEY" not in output

    [result] = surroundings.folder.glob("bucket/*/pipelines/*/*/train/result.json")
    candidate = json.loads(result.read_text())
    assert (candidate["model"], candidate["version"], candidate["seed"]) == ("third-model", "1", 5)
    assert candidate["trainedBy"] == "trainer@staging"
    root = make_demo_keys(account, "staging").trust_root
    signature = Signature.model_validate(candidate["signature"])
    assert check_artifact("third-model", candidate["digest"], signature, {"staging": root}, datetime.now(UTC))
    with httpx.Client(base_url=surroundings.registry, auth=("mlops", PASSWORD), timeout=60) as client:
        asked = {"name": "third-model", "version": "1"}
        version = client.get("/api/2.0/mlflow/model-versions/get", params=asked).json()["model_version"]
        tracked = client.get("/api/2.0/mlflow/runs/get", params={"run_id": candidate["run"]}).json()["run"]
    tags = {one["key"]: one["value"] for one in version["tags"]}
    assert tags["mlops.digest"] == candidate["digest"]
    assert {one["key"]: one["value"] for one in tracked["data"]["params"]}["trees"] == "12"


@pytest.mark.parametrize(
    ("user", "password", "expected"),
    [("training", PASSWORD, 200), ("training", "guessed", 401), ("stranger", PASSWORD, 403)],
)
def test_the_way_asks_who_calls_and_for_the_password(
    surroundings: Surroundings, user: str, password: str, expected: int
) -> None:
    server = surroundings.cluster
    cluster = Cluster(server.url, server.ca, lambda: server.tokens[user])

    with way(cluster, Service(NAMESPACE, SERVER, PORT)) as address:
        asked = f"{address}/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
        answer = httpx.get(asked, auth=("mlops", password), timeout=60)

    assert answer.status_code == expected, answer.text
