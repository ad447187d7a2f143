"""A RayService as our component declares it, with the real controllers: to Running, to another image, and gone."""

import base64
import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest

from components.cluster.karpenter import NODE_CLASS, pool_spec
from components.cluster.placement import NodePoolArgs
from components.inference import Group
from components.inference.ray_service import NAME, NAMESPACE, RayServiceArgs, WorkerGroup, specification
from components.models import Model, Replicas
from components.pipelines.ray_job import RunArgs, ray_job
from components.workload import Resources
from infra.rehearsal.aws.clients import Aws
from infra.rehearsal.deep import control_plane
from infra.rehearsal.deep.life import Deep, deep
from infra.rehearsal.kubernetes.api_server import ApiServer, api_server
from infra.rehearsal.kubernetes.client import Object
from infra.rehearsal.moto import MotoServer, moto_server

# Two clusters come and go; on a busy machine each step waits for several processes.
pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(1500)]

REGION, STEP = "eu-central-1", 50
POOL = NodePoolArgs(name="serving", instance_types=["m7i.xlarge"], capacity="on-demand", cpus=32, memory_gib=128)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ApiServer, MotoServer, Deep]]:
    """Servers, controllers and players; a network whose subnets the node class selects."""
    if lacking := control_plane.missing():
        pytest.skip(f"not in the tool cache: {', '.join(lacking)}; `./mlops rehearse dev --deep` gets them")
    folder = tmp_path_factory.mktemp("deep")
    with (
        moto_server(folder / "aws.log") as aws,
        api_server(folder / "kubernetes", users=control_plane.USERS) as server,
        deep(server, aws, folder / "kubernetes", REGION, step=STEP) as running,
    ):
        yield server, aws, running
    shutil.rmtree(folder, ignore_errors=True)


def put(server: ApiServer, api_version: str, kind: str, name: str, body: Object, *, space: str | None = None) -> None:
    found = server.client.kind(api_version, kind)
    assert found is not None
    metadata = {"name": name} | ({"namespace": space} if space else {})
    whole = {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}
    server.client.apply(found, space, whole, force=True)


def ray_service(image: str) -> dict[str, Any]:
    workers = WorkerGroup(name="general", size=Resources(cpus=3, memory_gib=10), pool=POOL, min=1, max=2)
    spec = specification(
        RayServiceArgs(
            image=f"registry.example/serving@sha256:{image * 64}",
            head=Resources(cpus=2, memory_gib=6),
            workers=[workers],
            groups=[Group(name="shared", route="/v2", replicas=Replicas())],
            document="{}",
            signers="",
            gateway_class="inner",
            upgrade_step=STEP,
            upgrade_seconds=1,
        )
    )
    spec["rayClusterDeletionDelaySeconds"] = 5
    cluster = spec["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        group["template"]["metadata"]["annotations"]["mlops/serving.json"] = "{}"
    return {"spec": spec}


def network(aws: MotoServer) -> None:
    ec2 = Aws(aws.url, REGION).client("ec2")
    made = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    tags = [{"Key": "karpenter.sh/discovery", "Value": "test"}]
    ec2.create_subnet(
        VpcId=made,
        CidrBlock="10.0.0.0/24",
        AvailabilityZone=f"{REGION}a",
        TagSpecifications=[{"ResourceType": "subnet", "Tags": tags}],
    )


def declare(server: ApiServer) -> None:
    put(server, "v1", "Namespace", NAMESPACE, {"metadata": {"name": NAMESPACE}})
    put(server, "v1", "ServiceAccount", NAME, {}, space=NAMESPACE)
    value = base64.b64encode(b"token").decode()
    volumes = ray_service("a")["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["volumes"]
    sources = [source for volume in volumes for source in (volume.get("projected") or {}).get("sources", ())]
    mounted = [source["secret"]["name"] for source in sources]
    for name, key in (("ray-auth", "auth_token"), *((name, "value") for name in mounted)):
        put(server, "v1", "Secret", name, {"data": {key: value}}, space=NAMESPACE)
    node_class = {
        "amiSelectorTerms": [{"alias": "bottlerocket@latest"}],
        "instanceProfile": "nodes",
        "subnetSelectorTerms": [{"tags": {"karpenter.sh/discovery": "test"}}],
        "securityGroupSelectorTerms": [{"id": "sg-1"}],
    }
    put(server, "karpenter.k8s.aws/v1", "EC2NodeClass", NODE_CLASS, {"spec": node_class})
    put(server, "karpenter.sh/v1", "NodePool", POOL.name, {"spec": pool_spec(POOL, str(POOL.cpus))})
    controller = {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"}
    put(server, "gateway.networking.k8s.io/v1", "GatewayClass", "inner", {"spec": controller})


def test_ray_service_runs_moves_to_another_image_step_by_step_and_leaves_nothing(
    environment: tuple[ApiServer, MotoServer, Deep],
) -> None:
    server, aws, running = environment
    network(aws)
    declare(server)

    put(server, "ray.io/v1", "RayService", NAME, ray_service("a"), space=NAMESPACE)
    first = running.running()
    assert first.ok, first.detail
    assert "nodepool/serving" in first.detail

    put(server, "ray.io/v1", "RayService", NAME, ray_service("b"), space=NAMESPACE)
    second = running.upgraded()
    assert second.ok, second.detail
    assert "100/0 → 50/50 → 0/100" in second.detail

    for api_version, kind, name, space in (
        ("ray.io/v1", "RayService", NAME, NAMESPACE),
        ("karpenter.sh/v1", "NodePool", POOL.name, None),
        ("karpenter.k8s.aws/v1", "EC2NodeClass", NODE_CLASS, None),
        ("gateway.networking.k8s.io/v1", "GatewayClass", "inner", None),
        ("v1", "Namespace", NAMESPACE, None),
    ):
        found = server.client.kind(api_version, kind)
        assert found is not None
        server.client.delete(found, space, name)
    gone = running.ended()
    assert gone.ok, gone.detail


def test_suspended_ray_job_stays_the_programs_though_its_operator_writes_it_back(
    environment: tuple[ApiServer, MotoServer, Deep],
) -> None:
    server, _, _ = environment
    kind = server.client.kind("ray.io/v1", "RayJob")
    assert kind is not None
    put(server, "v1", "Namespace", "training", {"metadata": {"name": "training"}})
    args = RunArgs(
        image="registry.example/training@sha256:" + "a" * 64,
        size=Resources(cpus=2, memory_gib=8),
        pool=POOL,
        max_hours=2,
        store="s3://data/pipelines",
        environment={},
    )
    job = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": "train-flight", "namespace": "training"},
        "spec": ray_job(args, Model(name="flight", folder="models/flight"), ()),
    }
    server.client.apply(kind, "training", job)
    until = time.monotonic() + 120
    while not ((found := server.client.get(kind, "training", "train-flight")) and found["metadata"].get("finalizers")):
        assert time.monotonic() < until, "the operator has not taken it"
        time.sleep(0.2)

    again = server.client.apply(kind, "training", job)

    assert again["spec"]["suspend"] is True
    server.client.delete(kind, "training", "train-flight")
