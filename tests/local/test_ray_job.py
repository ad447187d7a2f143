"""A training run of the `aws` target on a real Ray: the rendered RayJob is submitted as KubeRay's submitter does it.

The cluster is that of the platform, MLflow and its password are real, and S3, DynamoDB and Secrets Manager are played
by moto, which keeps every call: the policy of the role must allow each. What Kubernetes would do is done here:
variables and files of the pod, and its folders, which lie elsewhere.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from components.cloud import Cloud
from components.cluster.placement import NodePoolArgs
from components.feature_store.aws import store_environment
from components.identity.matrix import identity, statements
from components.models import Model
from components.naming import Names
from components.pipelines.ray_job import CODE, STEPS, WORK, RunArgs, name_of, ray_job
from components.pipelines.steps import steps_of
from components.pipelines.trainer_key import signing_environment
from components.workload import Resources
from infra.rehearsal.children import child
from infra.rehearsal.moto import MotoServer
from policies.access import evaluate
from policies.releases.keys import make_key
from tests.local import aws_calls
from tests.local.checkout import Platform
from training.pipelines.launch import RUN, Job, started

pytestmark = pytest.mark.local

REGION, DATA = "eu-central-1", "pipelines"
NAMES = Names(client="acme", environment="dev", account="123456789012", region=REGION)
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}


@dataclass
class Account:
    """What the program makes in an account for training, on moto; `recording` keeps the calls that a run makes."""

    server: MotoServer
    recording: Path

    def client(self, service: str) -> Any:
        return boto3.client(
            service, endpoint_url=self.server.url, region_name=REGION,
            aws_access_key_id="test", aws_secret_access_key="test",
        )  # fmt: skip

    def keys(self, prefix: str) -> dict[str, str]:
        """Times of the objects below a prefix, by what their keys are behind it."""
        answer = self.client("s3").list_objects_v2(Bucket=NAMES.bucket("data"), Prefix=prefix)
        return {one["Key"].removeprefix(prefix): str(one["LastModified"]) for one in answer.get("Contents", ())}


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """A small model of its own, which looks features up."""
    from tests.training.conftest import MODEL

    folder = tmp_path / "third-model"
    folder.mkdir()
    (folder / "model.py").write_text(MODEL)
    return Model(name="third-model", folder=str(folder), params={"trees": 12}, seed=3)


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    recording = tmp_path / "recording"
    environment = {"MOTO_ACCOUNT_ID": NAMES.account, aws_calls.FILE: str(recording)}
    with child("infra.rehearsal.aws.gaps", environment, tmp_path / "moto.log") as port:
        made = Account(MotoServer(f"http://127.0.0.1:{port}"), recording)
        for purpose in ("data", "features"):
            made.client("s3").create_bucket(
                Bucket=NAMES.bucket(purpose), CreateBucketConfiguration={"LocationConstraint": REGION}
            )
        made.client("dynamodb").create_table(
            TableName=NAMES.of("table", "features"),
            KeySchema=[{"AttributeName": "entity", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "entity", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        make_key(tmp_path / "trainer", "trainer@dev")
        made.client("secretsmanager").create_secret(
            Name=NAMES.path("secret", "signing-key"), SecretString=(tmp_path / "trainer").read_text()
        )
        aws_calls.record(made.server)
        yield made


@pytest.fixture
def cloud(platform: Platform) -> Cloud:
    return Cloud(
        stack="dev", names=NAMES, partition="aws", tags={}, protected=False, project=str(platform.checkout.root)
    )


def rendered(cloud: Cloud, platform: Platform, model: Model) -> dict[str, Any]:
    """The copy of the model's RayJob that the launcher makes for a Job."""
    tracking = platform.endpoints["tracking"]
    args = RunArgs(
        image="registry/training@sha256:" + "a" * 64,
        size=Resources(cpus=2, memory_gib=4),
        pool=NodePoolArgs(name="training", instance_types=("m7i.xlarge",), capacity="spot", cpus=8, memory_gib=32),
        max_hours=1,
        store=f"s3://{NAMES.bucket('data')}/{DATA}",
        environment={
            **store_environment(cloud, "feast"),
            **signing_environment(cloud, "dev", "dev"),
            "AWS_DEFAULT_REGION": REGION,
            "MLFLOW_TRACKING_URI": tracking["url"],
            "MLFLOW_TRACKING_USERNAME": tracking["username"],
        },
    )
    template = {"metadata": {}, "spec": ray_job(args, model, steps_of(cloud.project, model, WORK, {}, {}))}
    return started(template, Job("training", f"{name_of(model.name)}-29384920", "u"))


def of_the_pod(
    job: Mapping[str, Any], platform: Platform, account: Account, folder: Path
) -> tuple[str, dict[str, str]]:
    """Entrypoint and variables of a run as its pod has them, with the folders of this machine."""
    template = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
    annotations = template["metadata"]["annotations"]
    here = {WORK: str(folder / "work"), CODE: str(platform.checkout.root), '"python"': json.dumps(sys.executable)}
    steps = annotations["mlops/steps.json"]
    for inside, outside in here.items():
        steps = steps.replace(inside, outside)
    file = folder / "steps.json"
    file.write_text(steps)
    [container] = template["spec"]["containers"]
    given = {one["name"]: one["value"] for one in container["env"] if "value" in one}
    taken = {one["name"]: one["valueFrom"] for one in container["env"] if "valueFrom" in one}
    assert taken == {
        "MLFLOW_TRACKING_PASSWORD": {"secretKeyRef": {"name": "registry-password", "key": "value"}},
        "MLOPS_RUN": {"fieldRef": {"fieldPath": f"metadata.annotations['{RUN}']"}},
    }
    variables = {
        **{name: value for name, value in given.items() if not name.startswith("RAY_")},
        "PYTHONPATH": str(platform.checkout.root),
        "MLFLOW_TRACKING_PASSWORD": platform.endpoints["tracking"]["token"],
        "MLOPS_RUN": annotations[RUN],
        "AWS_ENDPOINT_URL": account.server.url,
        **CREDENTIALS,
    }
    return job["spec"]["entrypoint"].replace("python", sys.executable, 1).replace(STEPS, str(file)), variables


def submit(
    platform: Platform, name: str, entrypoint: str, variables: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """What the submitter of KubeRay 1.6 runs (`BuildJobSubmitCommand`); there the variables are those of the pod."""
    dashboard = platform.endpoints["dashboard"]
    ray, address = f"{Path(sys.executable).parent}/ray job", f"--address {dashboard['url']}"
    line = (
        f"if ! {ray} status {address} {name} >/dev/null 2>&1 ; then "
        f'{ray} submit {address} --no-wait --runtime-env-json "$VARIABLES" --submission-id {name} -- {entrypoint} ; '
        "fi ; "
        f"{ray} logs {address} --follow {name}"
    )
    return subprocess.run(
        ["/bin/bash", "-ce", "--", line],
        env={
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": dashboard["token"],
            "VARIABLES": json.dumps({"env_vars": variables}),
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def refused(recording: str, cloud: Cloud) -> list[str]:
    """What the role of Ray jobs may not do, of the calls that a run made."""
    rights = [json.dumps({"Version": "2012-10-17", "Statement": statements(identity("jobs"), cloud)})]
    calls = aws_calls.recorded(recording, cloud)
    assert any(call.action == "secretsmanager:GetSecretValue" for call in calls), "the run was not recorded"
    judged = [(call, evaluate(rights, call)) for call in calls]
    return [f"{call.action} on {call.resource}" for call, verdict in judged if verdict.outcome != "allowed"]


def test_a_rendered_run_trains_and_another_attempt_repeats_nothing(
    platform: Platform, account: Account, cloud: Cloud, model: Model, tmp_path: Path
) -> None:
    job = rendered(cloud, platform, model)
    entrypoint, variables = of_the_pod(job, platform, account, tmp_path)
    place = f"{DATA}/{job['metadata']['name']}/"

    done = submit(platform, "attempt-1", entrypoint, variables)

    assert "succeeded" in done.stdout, done.stdout + done.stderr
    assert "passed its evaluation" in done.stdout
    assert refused(account.recording.read_text(), cloud) == []
    kept = account.keys(place)
    assert {"ingest/result.json", "materialize/result.json", "train/result.json"} <= kept.keys()
    assert any(key.startswith("snapshots/") for key in kept)
    body = account.client("s3").get_object(Bucket=NAMES.bucket("data"), Key=f"{place}train/result.json")["Body"]
    candidate = json.loads(body.read())
    assert (candidate["trainedBy"], candidate["seed"]) == ("trainer@dev", 3)
    assert candidate["signature"]["trustRoot"] == "dev"
    with platform.http("tracking") as http:
        asked = {"name": model.name, "version": candidate["version"]}
        registered = http.get("/api/2.0/mlflow/model-versions/get", params=asked).raise_for_status().json()
    assert {"key": "mlops.digest", "value": candidate["digest"]} in registered["model_version"]["tags"]
    rows = account.client("dynamodb").scan(TableName=NAMES.of("table", "features"), Limit=1)
    assert rows["Count"] == 1

    # As after the loss of the node that had just ended the last step: nothing is done twice.
    again = submit(platform, "attempt-2", entrypoint, variables)

    assert again.stdout.count("has ended in an earlier attempt") == 3, again.stdout + again.stderr
    assert f"version {candidate['version']} ({candidate['digest']}) passed" in again.stdout
    assert account.keys(place) == kept
