"""The estimate: what is billed, not priced, not known; worst is never below expected, and more never cheaper."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from policies.costs.book import BookError
from policies.costs.estimate import estimate
from policies.costs.model import Estimate
from policies.costs.usage import Usage, usage_of
from policies.plan import Plan, Resource
from policies.testing import resource, unknown

REGION = "eu-central-1"


def of(*things: Resource, usage: Usage | None = None, settings: dict[str, Any] | None = None) -> Estimate:
    return estimate(Plan(stack="prod", resources=things), REGION, usage=usage, settings=settings)


def node_class(gib: int = 84) -> Resource:
    disks = [{"deviceName": "/dev/xvda", "ebs": {"volumeSize": f"{gib}Gi", "kmsKeyID": unknown()}}]
    kind = "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass"
    return resource(kind, "nodes", metadata={"name": "nodes"}, spec={"blockDeviceMappings": disks})


def pool(
    types: tuple[str, ...] = ("m7i.xlarge",), cpu: Any = 32, memory: int = 128, capacity: str = "on-demand",
    name: str = "serving", gpus: int = 0,
) -> Resource:  # fmt: skip
    requirements = [
        {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": types},
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": [capacity]},
    ]
    limits = {"cpu": str(cpu) if not isinstance(cpu, Resource) else cpu, "memory": f"{memory}Gi"}
    limits |= {"nvidia.com/gpu": str(gpus)} if gpus else {}
    template = {
        "metadata": {"labels": {"mlops/pool": name}},
        "spec": {"requirements": requirements, "nodeClassRef": {"name": "nodes"}},
    }
    spec = {"limits": limits, "template": template}
    return resource("kubernetes:karpenter.sh/v1:NodePool", f"pool-{name}", metadata={"name": name}, spec=spec)


def deployment(replicas: int, cpu: str = "1", memory: str = "4Gi", name: str = "app") -> Resource:
    container = {"name": "app", "resources": {"requests": {"cpu": cpu, "memory": memory}}}
    spec = {"replicas": replicas, "template": {"spec": {"containers": [container]}}}
    return resource("kubernetes:apps/v1:Deployment", name, spec=spec)


def database(**more: Any) -> Resource:
    stated = {"engine": "postgres", "instanceClass": "db.t3.medium", "allocatedStorage": 20, "storageType": "gp3"}
    return resource("aws:rds/instance:Instance", "database", {**stated, **more})


def test_resource_of_an_unknown_type_is_unpriced_and_never_nothing() -> None:
    found = of(resource("aws:redshift/cluster:Cluster", "warehouse"))
    assert [one.kind for one in found.gaps] == ["unpriced"]
    assert not found.lines


def test_input_that_is_not_known_makes_the_line_undetermined_and_says_where_it_comes_from() -> None:
    source = resource("aws:ssm/parameter:Parameter", "size")
    found = of(database(instanceClass=unknown(source)), resource("aws:iam/role:Role", "free"))
    (gap,) = found.gaps
    assert (gap.kind, "instanceClass" in gap.why, "size" in gap.why) == ("undetermined", True, True)
    assert found.total.expected == 0


def test_free_resources_are_counted_and_are_no_gap() -> None:
    found = of(resource("aws:iam/role:Role", "a"), resource("aws:ec2/subnet:Subnet", "b"))
    assert (found.free, list(found.gaps)) == (2, [])


def test_region_without_prices_is_an_error() -> None:
    with pytest.raises(BookError, match="no prices for region 'mars-1'"):
        estimate(Plan(stack="x", resources=()), "mars-1")


def test_assumptions_and_the_use_are_listed() -> None:
    found = of(database(), settings={"aws": {"usage": {"natGb": 7}}})
    assert found.usage["natGb"] == 7
    assert any("730 hours" in one for one in found.assumptions)


@pytest.mark.parametrize("stated", [{"natGib": 1}, {"natGb": -1}, {"natGb": "many"}, {"natGb": True}])
def test_use_that_is_none_is_refused(stated: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"aws\.usage\.nat"):
        usage_of({"aws": {"usage": stated}})


def test_pool_is_at_worst_its_limit_of_the_dearest_type_that_fits() -> None:
    found = of(pool(("m7i.xlarge", "m6i.2xlarge", "m7i.16xlarge")), node_class())
    nodes = next(one for one in found.lines if "at worst" in one.charge.what)
    assert nodes.expected == 0
    assert nodes.worst == pytest.approx(Decimal(32) / 4 * Decimal("0.2415") * 730)


def test_spot_pool_is_at_worst_at_the_on_demand_price_and_expected_at_that_of_spot() -> None:
    spot = of(pool(capacity="spot"), node_class(), deployment(1))
    nodes = next(one for one in spot.lines if "at worst" in one.charge.what)
    assert nodes.charge.price.sku == "spot m7i.xlarge"
    assert nodes.worst == pytest.approx(Decimal(32) / 4 * Decimal("0.2415") * 730)


def test_what_only_starts_when_asked_keeps_no_node() -> None:
    template = {"spec": {"containers": [{"name": "ray", "resources": {"requests": {"cpu": "2", "memory": "8Gi"}}}]}}
    idle = resource(
        "kubernetes:ray.io/v1:RayJob",
        "train",
        spec={"suspend": True, "rayClusterSpec": {"headGroupSpec": {"template": template}}},
    )
    clock = resource("kubernetes:batch/v1:CronJob", "train", spec={"jobTemplate": {"spec": {"template": template}}})

    assert of(pool(), node_class(), idle, clock).total.expected == of(pool(), node_class()).total.expected
    running = resource(idle.type, "run", spec={**idle.inputs["spec"], "suspend": False})
    assert of(pool(), node_class(), running).total.expected > of(pool(), node_class()).total.expected


def test_pool_without_limits_has_no_bound_and_is_unpriced() -> None:
    bare = pool()
    spec = {name: value for name, value in bare.inputs["spec"].items() if name != "limits"}
    found = of(resource(bare.type, "bare", metadata={"name": "serving"}, spec=spec), node_class())
    assert ["no limits" in one.why for one in found.gaps] == [True]


def test_limit_that_is_not_known_makes_the_pool_undetermined() -> None:
    quota = resource("aws:ssm/parameter:Parameter", "quota")
    found = of(pool(cpu=quota), node_class())
    assert [one.kind for one in found.gaps if "pool" in one.urn] == ["undetermined"]


def test_pods_are_packed_onto_the_cheapest_type() -> None:
    three = of(pool(("m7i.xlarge", "m6i.2xlarge")), node_class(), deployment(3))
    nodes = next(one for one in three.lines if "at worst" in one.charge.what)
    assert nodes.charge.what.startswith("1 x m7i.xlarge")
    six = of(pool(("m7i.large", "m7i.xlarge", "m6i.2xlarge")), node_class(), deployment(6))
    assert next(one for one in six.lines if "at worst" in one.charge.what).charge.what.startswith("1 x m6i.2xlarge")


_GROWS: dict[str, Callable[[int], list[Resource]]] = {
    "pods": lambda n: [pool(cpu=400, memory=1600), node_class(), deployment(n)],
    "cpus of a limit": lambda n: [pool(cpu=4 + n, memory=16 + 4 * n), node_class()],
    "disk of nodes": lambda n: [pool(), node_class(20 + n), deployment(2)],
    "storage": lambda n: [database(allocatedStorage=20 + n)],
    "storage at most": lambda n: [database(maxAllocatedStorage=20 + n)],
    "days of logs": lambda n: [resource("aws:cloudwatch/logGroup:LogGroup", "l", retentionInDays=n + 1)],
    "zones of an endpoint": lambda n: [
        resource("aws:ec2/vpcEndpoint:VpcEndpoint", "e", vpcEndpointType="Interface", subnetIds=["s"] * n)
    ],
    "gateways": lambda n: [resource("aws:ec2/natGateway:NatGateway", f"nat-{i}") for i in range(n)],
    "nodes of a group": lambda n: [
        resource(
            "aws:eks/nodeGroup:NodeGroup", "g", instanceTypes=["m7i.large"], diskSize=20,
            scalingConfig={"minSize": 1, "desiredSize": n + 1, "maxSize": 2 * n + 1},
        )
    ],
}  # fmt: skip


@pytest.mark.parametrize("what", sorted(_GROWS))
@hypothesis(max_examples=12, deadline=None)
@given(few=st.integers(0, 60), more=st.integers(0, 60))
def test_more_of_anything_never_costs_less(what: str, few: int, more: int) -> None:
    small, large = of(*_GROWS[what](few)), of(*_GROWS[what](few + more))
    assert not small.gaps
    assert not large.gaps
    assert large.total.expected >= small.total.expected
    assert large.total.worst >= small.total.worst


@pytest.mark.parametrize("what", sorted(_GROWS))
@hypothesis(max_examples=12, deadline=None)
@given(n=st.integers(0, 60), times=st.floats(0, 10), name=st.sampled_from(sorted(Usage.__dataclass_fields__)))
def test_worst_month_is_never_below_the_expected_one(what: str, n: int, times: float, name: str) -> None:
    usage = Usage(**{"worst_times": times, name: 17.0})
    for one in of(*_GROWS[what](n), usage=usage).lines:
        assert one.worst >= one.expected


@hypothesis(max_examples=60, deadline=None)
@given(
    types=st.lists(st.sampled_from(["m7i.large", "m7i.xlarge", "m7i.2xlarge", "m6i.xlarge"]), min_size=1),
    counts=st.lists(st.integers(0, 12), min_size=5, max_size=5),
    cpu=st.integers(2, 200), memory=st.integers(8, 800),
)  # fmt: skip
def test_no_mix_of_nodes_within_the_limit_costs_more_than_the_worst_month(
    types: list[str], counts: list[int], cpu: int, memory: int
) -> None:
    from policies.costs.book import shipped
    from policies.scheduling.nodes import instances

    chosen = sorted(set(types))
    mix = dict(zip(chosen, counts, strict=False))
    sizes = instances()
    used_cpu = sum(sizes[kind].size.cpus * count for kind, count in mix.items())
    used_memory = sum(sizes[kind].size.memory_mib * count for kind, count in mix.items()) / 1024
    if used_cpu > cpu or used_memory > memory:
        return
    usd = sum(shipped().price("AmazonEC2", f"linux {kind}", REGION).usd * count for kind, count in mix.items()) * 730
    found = of(pool(tuple(chosen), cpu=cpu, memory=memory), node_class())
    assert usd <= next(one for one in found.lines if "at worst" in one.charge.what).worst + Decimal("0.000001")
