"""Training on a real API server: it takes what the component makes, and the launcher starts a run by its own rights."""

import base64
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from components.cloud import Cloud
from components.cluster.placement import NodePoolArgs
from components.models import Model
from components.naming import Names
from components.pipelines.kubernetes import KubernetesPipelines, KubernetesPipelinesArgs
from components.pipelines.ray_job import LAUNCHER, NAMESPACE, name_of
from components.testing import record
from components.workload import Resources
from infra.cli.context import Context
from infra.cli.output import CommandFailed
from infra.cli.train_remote import start
from infra.provider.cluster_access import TOKEN
from infra.rehearsal.kubernetes.api_server import ApiServer
from infra.rehearsal.kubernetes.client import ApiError, Client
from infra.rehearsal.kubernetes.controllers import pod_templates, refused_pods
from infra.rehearsal.kubernetes.validation import problems
from training.errors import TrainingError
from training.pipelines import launch as launching

pytestmark = pytest.mark.engine

MODEL = Model(name="flight", folder="models/flight", schedule="0 3 * * 7")
JOB = f"{name_of(MODEL.name)}-29384920"
RUN = launching.run_name(JOB)
RAY_JOBS = f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayjobs"


@pytest.fixture(scope="module")
def made(server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The objects of one model, in a namespace that enforces the level `restricted`."""
    root = tmp_path_factory.mktemp("project")
    (root / "models" / "flight").mkdir(parents=True)
    (root / "models" / "flight" / "model.py").write_text("MODEL = ModelSpec(name='flight', online=STORE)\n")
    names = Names(client="acme", environment="dev", account="111111111111", region="eu-central-1")
    args = KubernetesPipelinesArgs(
        cloud=Cloud(stack="dev", names=names, partition="aws", tags={}, protected=False, project=str(root)),
        models=[MODEL],
        image="registry/training@sha256:" + "a" * 64,
        size=Resources(cpus=2, memory_gib=8),
        pool=NodePoolArgs(name="training", instance_types=("m7i.xlarge",), capacity="spot", cpus=8, memory_gib=32),
        max_hours=2,
        store="s3://acme-dev-data/pipelines",
        tracking="http://registry.registry.svc:5000",
        username="mlops",
    )
    recording = record(lambda: KubernetesPipelines("pipelines", args), lambda *_: {})
    objects: list[dict[str, Any]] = []
    for entry in recording.registrations.values():
        if entry.type.startswith("kubernetes:"):
            _, api_version, kind = entry.type.split(":")
            objects.append({"apiVersion": api_version.removeprefix("core/"), "kind": kind, **entry.inputs})
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    for body in (namespace, *objects):
        apply(server.client, body)
    return objects


def apply(client: Client, body: dict[str, Any]) -> dict[str, Any]:
    kind = client.kind(body["apiVersion"], body["kind"])
    assert kind is not None, body["kind"]
    return client.apply(kind, body["metadata"].get("namespace"), body)


def test_the_server_takes_every_object_and_every_pod(server: ApiServer, made: list[dict[str, Any]]) -> None:
    pods = {}
    for body in made:
        kept = apply(server.client, body)
        pods[body["kind"]] = len(list(pod_templates(body["kind"], kept)))
        assert refused_pods(server.client, body["kind"], kept, NAMESPACE) == []
        assert problems(body["apiVersion"], body["kind"], body) == []
    assert {kind: count for kind, count in pods.items() if count} == {"RayJob": 2, "CronJob": 1}


def test_a_pod_that_gave_up_its_confinement_would_be_refused(server: ApiServer, made: list[dict[str, Any]]) -> None:
    [body] = [apply(server.client, one) for one in made if one["kind"] == "RayJob"]
    spec = {**body["spec"], "submitterPodTemplate": {"spec": {"containers": [{"name": "submitter", "image": "i"}]}}}

    said = refused_pods(server.client, "RayJob", {**body, "spec": spec}, NAMESPACE)

    assert len(said) == 1, said
    assert "spec.submitterPodTemplate: its pods would be refused" in said[0]
    assert "allowPrivilegeEscalation" in said[0]


def test_a_run_by_hand_is_a_job_that_the_server_takes_and_the_only_one(
    server: ApiServer, made: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks, jobs = (server.client.kind("batch/v1", kind) for kind in ("CronJob", "Job"))
    assert clocks is not None
    assert jobs is not None
    clock = server.client.get(clocks, NAMESPACE, name_of(MODEL.name))
    assert clock is not None
    assert clock["spec"]["schedule"] == "0 3 * * 0"
    endpoint = {
        "url": server.url,
        "runner": "ray",
        "runs": {MODEL.name: name_of(MODEL.name)},
        "cluster": "acme-dev-main",
        "region": "eu-central-1",
        "authority": base64.b64encode(server.ca.encode()).decode(),
    }
    monkeypatch.setattr(Context, "outputs", {"endpoints": {"pipelines": endpoint}})
    monkeypatch.setenv(TOKEN, server.token)

    job = start(Context("dev"), MODEL.name)["job"]

    try:
        kept = server.client.get(jobs, NAMESPACE, job)
        assert kept is not None
        assert refused_pods(server.client, "Job", kept, NAMESPACE) == []
        with pytest.raises(CommandFailed, match=f"being trained already, by job {job} of stack dev"):
            start(Context("dev"), MODEL.name)
    finally:
        server.client.delete(jobs, NAMESPACE, job)


@pytest.fixture
def account(server: ApiServer, made: list[dict[str, Any]], tmp_path: Path) -> Path:
    """What a pod of the launcher finds of its service account, with a token that the API server gave."""
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{LAUNCHER}/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    (tmp_path / "token").write_text(server.client.request("POST", path, body=asked)["status"]["token"])
    (tmp_path / "ca.crt").write_text(server.ca)
    return tmp_path


@pytest.fixture
def pod(server: ApiServer, account: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process as the launcher's pod."""
    address = httpx.URL(server.url)
    variables = {"KUBERNETES_SERVICE_HOST": address.host, "KUBERNETES_SERVICE_PORT": str(address.port)}
    variables |= {"MLOPS_NAMESPACE": NAMESPACE, "MLOPS_JOB": JOB, "MLOPS_JOB_UID": "0b1c"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["launch", f"--template={name_of(MODEL.name)}"])
    monkeypatch.setattr(launching, "_ACCOUNT", account)
    monkeypatch.setattr(launching, "_POLL_SECONDS", 0.1)
    yield
    kind = server.client.kind("ray.io/v1", "RayJob")
    assert kind is not None
    server.client.delete(kind, NAMESPACE, RUN)


def operate(server: ApiServer, *states: dict[str, str]) -> threading.Thread:
    """Play KubeRay's operator: give the run one status after the other, once it is there."""

    def play() -> None:
        kind = server.client.kind("ray.io/v1", "RayJob")
        assert kind is not None
        while server.client.get(kind, NAMESPACE, RUN) is None:
            time.sleep(0.05)
        for state in states:
            server.client.request(
                "PATCH",
                f"{RAY_JOBS}/{RUN}/status",
                body={"status": state},
                content_type="application/merge-patch+json",
            )
            time.sleep(0.3)

    operator = threading.Thread(target=play, daemon=True)
    operator.start()
    return operator


def test_a_run_is_started_and_its_end_is_the_launchers(
    server: ApiServer, pod: None, capsys: pytest.CaptureFixture[str]
) -> None:
    operator = operate(
        server,
        {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"},
        {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"},
    )

    launching.main()
    operator.join()

    run = server.client.request("GET", f"{RAY_JOBS}/{RUN}")
    assert "suspend" not in run["spec"]
    assert run["metadata"]["ownerReferences"][0] | {"uid": "0b1c"} == run["metadata"]["ownerReferences"][0]
    assert refused_pods(server.client, "RayJob", run, NAMESPACE) == []
    assert "Complete, Ray says SUCCEEDED" in capsys.readouterr().out


def test_a_run_that_failed_fails_the_launcher(server: ApiServer, pod: None) -> None:
    operator = operate(server, {"jobDeploymentStatus": "Failed", "reason": "AppFailed", "message": "train: ended"})

    with pytest.raises(TrainingError, match="AppFailed, train: ended"):
        launching.main()
    operator.join()


def test_nothing_is_started_beside_a_run_that_goes_on(server: ApiServer, pod: None) -> None:
    kind = server.client.kind("ray.io/v1", "RayJob")
    assert kind is not None
    template = server.client.get(kind, NAMESPACE, name_of(MODEL.name))
    assert template is not None
    other = launching.started(template, launching.Job(NAMESPACE, f"{name_of(MODEL.name)}-29384921", "0b1d"))
    server.client.create(kind, NAMESPACE, other)
    try:
        with pytest.raises(TrainingError, match=f"{other['metadata']['name']} still trains flight"):
            launching.main()
    finally:
        server.client.delete(kind, NAMESPACE, other["metadata"]["name"])
    assert server.client.get(kind, NAMESPACE, RUN) is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", f"{RAY_JOBS}/train-flight"),
        ("PUT", f"{RAY_JOBS}/train-flight"),
        ("GET", "/apis/ray.io/v1/rayjobs"),
        ("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/registry-password"),
        ("POST", f"/api/v1/namespaces/{NAMESPACE}/pods"),
        ("GET", "/apis/ray.io/v1/namespaces/serving/rayjobs/train-flight"),
    ],
)
def test_the_launcher_may_do_nothing_else(server: ApiServer, account: Path, method: str, path: str) -> None:
    client = Client(server.url, server.ca, (account / "token").read_text())
    try:
        with pytest.raises(ApiError) as refused:
            client.request(method, path, body=None if method in ("GET", "DELETE") else {})
    finally:
        client.close()
    assert refused.value.status == 403
