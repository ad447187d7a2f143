"""Arguments and answers that component tests share."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from components.blueprint import Strategy
from components.cluster.local import ClusterPorts
from components.gate import GateArgs
from components.inference import Batching, Capture, Limits
from components.inference.local import ServingPorts
from components.local import LocalPorts, LocalTarget
from components.models import Model, Replicas
from components.platform import Platform, PlatformArgs
from components.site import Site
from components.testing import Recording, record

MODEL = "from training.spec import ModelSpec\nMODEL = ModelSpec(name='x'{extra})\n"


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the code that components take digests of, and three models."""
    root = tmp_path_factory.mktemp("project")
    for file in (
        "requirements.lock",
        "training/errors.py",
        "training/spec.py",
        "training/workspace.py",
        "training/registry_server.py",
        "training/features/server.py",
        "training/pipelines/train.py",
        "serving/actuator.py",
        "serving/runtime/model.py",
        "policies/releases/manifest.py",
        "policies/ledger/store.py",
    ):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(f"# {file}\n")
    for name, extra in (("flight", ", online=STORE"), ("loan", ""), ("churn", ", online=None")):
        folder = root / "training" / "examples" / name
        folder.mkdir(parents=True)
        (folder / "model.py").write_text(MODEL.format(extra=extra))
    return root


@pytest.fixture(scope="session")
def site(project: Path) -> Site:
    """The place of an environment in that project."""
    home = str(project / ".mlops" / "stacks" / "test")
    return Site(stack="test", home=home, project=str(project), python="/venv/bin/python")


@pytest.fixture(scope="session")
def target(site: Site) -> LocalTarget:
    """An environment on one machine with ports that are easy to tell apart."""
    return LocalTarget(
        site=site,
        ports=LocalPorts(
            registry=5000,
            feature_store=6566,
            metrics=9090,
            cluster=ClusterPorts(
                gcs=6379,
                dashboard=8265,
                client=6385,
                node_manager=6380,
                object_manager=6381,
                agent=6382,
                agent_grpc=6383,
                runtime_env=6384,
                metrics=8085,
                dashboard_metrics=8087,
                workers_first=20000,
                workers_last=20399,
            ),
            serving=ServingPorts(
                inference=8000,
                control=8090,
                fallback=8500,
                haproxy_stats=8404,
                haproxy_metrics=9101,
                replicas_first=21000,
                replicas_last=21199,
            ),
        ),
        logical_cpus=16,
        object_store_mb=150,
        registry_username="mlops",
        feature_deadline_ms=100,
        replicas=Replicas(),
        limits=Limits(max_body_bytes=1_000_000, max_rows=1000, request_seconds=10),
        capture=Capture(enabled=True, rotate_seconds=60, rotate_rows=1000, retention_days=30, queue_rows=1000),
        batching=Batching(max_rows=64, wait_ms=0),
        rollout_timeout_seconds=600,
        prometheus="/tools/prometheus",
        metrics_username="mlops",
        scrape_seconds=15,
        metrics_retention_days=15,
    )


@pytest.fixture(scope="session")
def models() -> list[Model]:
    """One model with online features in the shared group, one with a group of its own and a schedule."""
    return [
        Model(name="flight", folder="training/examples/flight", params={"depth": 3, "fast": True}),
        Model(
            name="loan",
            folder="training/examples/loan",
            own_group=True,
            replicas=Replicas(min=1, max=2, target_ongoing=8),
            schedule="0 3 * * *",
            strategy=Strategy(),
        ),
    ]


def answer(token: str, name: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the provider would answer, with secrets that are easy to find."""
    if token == "blueprint:index:Gate":
        return {"passed": {"by": "not asked"}}
    if token == "blueprint:index:Token":
        return {"value": f"TOKEN-{name}"}
    if token == "blueprint:index:Process":
        return {"status": "running", "pid": 1}
    if token == "blueprint:index:Job":
        digest = f"sha256:{name}"
        result = {"dataDigest": digest, "digest": digest, "version": "1", "passed": True, "name": name}
        return {"result": result, "adopted": False, "status": "done"}
    if token == "blueprint:index:ModelRelease":
        return {"served": {"version": "1", "digest": "sha256:1"}, "rollout": {"state": "promoted"}, "resolved": {}}
    raise AssertionError(f"no answer for {token}")


Record = Callable[[Callable[[], Any]], Recording]


@pytest.fixture(scope="session")
def run() -> Record:
    """Run a program against the recorder, with answers as the provider gives them."""
    return lambda program: record(program, answer)


@pytest.fixture(scope="session")
def platform_args(target: LocalTarget, models: list[Model]) -> PlatformArgs:
    """A platform with two models."""
    gate = GateArgs(environment="local", stack="test", client="acme", target="local")
    return PlatformArgs(gate=gate, target=target, releases=True, models=models, wait=True, rollout_timeout_seconds=600)


@pytest.fixture(scope="session")
def platform(platform_args: PlatformArgs, run: Record) -> Recording:
    """The registrations of a whole platform."""
    return run(lambda: Platform("platform", platform_args))
