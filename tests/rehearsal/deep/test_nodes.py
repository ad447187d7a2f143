"""Nodes as pools make them, and which pool a pod that waits gets one of."""

from typing import Any

import pytest

from components.cluster.karpenter import pool_spec
from components.cluster.placement import SPOT_TAINT, NodePoolArgs, placed
from infra.rehearsal.deep.nodes import NodeSource, asked, from_node_group, from_node_pool, node, waits, wanted
from policies.scheduling.nodes import instances

ZONES = ("eu-central-1a", "eu-central-1b")


def a_pool(name: str = "serving", **more: Any) -> NodePoolArgs:
    given: dict[str, Any] = {"instance_types": ["m7i.xlarge", "m7i.2xlarge"], "capacity": "on-demand", "cpus": 32}
    return NodePoolArgs(name=name, **{**given, "memory_gib": 128, **more})


def source(args: NodePoolArgs) -> NodeSource:
    spec = pool_spec(args, str(args.cpus))
    return from_node_pool({"metadata": {"name": args.name}, "spec": spec}, ZONES)


def a_pod(cpus: str = "3", memory: str = "10Gi", *, init_cpus: str = "0", **spec: Any) -> dict[str, Any]:
    requests = {"cpu": cpus, "memory": memory}
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    return {
        "metadata": {"name": "pod", "namespace": "serving", "uid": "1"},
        "spec": {
            "containers": [{"name": "main", "resources": {"requests": requests}}],
            "initContainers": [{"name": "first", "resources": {"requests": {"cpu": init_cpus}}}],
            **spec,
        },
        "status": {"conditions": [unscheduled]},
    }


def test_node_of_a_pool_has_its_labels_taints_and_what_is_left_of_its_instance_type() -> None:
    made = source(a_pool(capacity="spot"))
    body = node(made, instances()["m7i.xlarge"], ZONES[0], "eu-central-1", "one", "10.255.0.1")

    labels = body["metadata"]["labels"]
    assert labels["mlops/pool"] == "serving"
    assert labels["karpenter.sh/capacity-type"] == "spot"
    assert labels["topology.kubernetes.io/zone"] == ZONES[0]
    assert [one["key"] for one in body["spec"]["taints"]] == [SPOT_TAINT]
    assert body["status"]["capacity"]["cpu"] == "4000m"
    assert float(body["status"]["allocatable"]["cpu"].rstrip("m")) < 3700


def test_node_group_has_the_size_that_it_wishes_and_its_taints_in_kubernetes_words() -> None:
    group = {
        "nodegroupName": "system",
        "instanceTypes": ["m7i.large"],
        "labels": {"mlops/pool": "system"},
        "taints": [{"key": "CriticalAddonsOnly", "value": "true", "effect": "NO_SCHEDULE"}],
        "scalingConfig": {"desiredSize": 3},
    }
    found = from_node_group(group, ZONES)
    assert found.size == 3
    assert found.taints == ({"key": "CriticalAddonsOnly", "value": "true", "effect": "NoSchedule"},)
    assert found.labels["eks.amazonaws.com/nodegroup"] == "system"


def test_requirement_that_is_not_played_is_an_error() -> None:
    spec = pool_spec(a_pool(), "32")
    spec["template"]["spec"]["requirements"].append({"key": "karpenter.k8s.aws/instance-cpu", "operator": "Gt"})
    with pytest.raises(ValueError, match="instance-cpu Gt is not played"):
        from_node_pool({"metadata": {"name": "serving"}, "spec": spec}, ZONES)


def test_pod_asks_for_its_containers_together_or_its_largest_init_container() -> None:
    assert asked(a_pod("3", init_cpus="2")).cpus == 3
    assert asked(a_pod("3", init_cpus="4")).cpus == 4


def test_pod_waits_only_while_the_scheduler_found_no_node() -> None:
    assert waits(a_pod()) == "0/1 nodes"
    assert waits(a_pod(nodeName="one")) is None
    assert waits({**a_pod(), "status": {}}) is None


def test_smallest_instance_type_that_holds_a_pod_is_started() -> None:
    [small] = wanted([a_pod("3", "10Gi")], [source(a_pool())], [])
    [large] = wanted([a_pod("6", "10Gi")], [source(a_pool())], [])
    assert (small.instance.type, large.instance.type) == ("m7i.xlarge", "m7i.2xlarge")


def test_pods_share_a_node_as_far_as_they_fit_and_nodes_are_spread_over_zones() -> None:
    assert len(wanted([a_pod("1", "4Gi"), a_pod("1", "4Gi")], [source(a_pool())], [])) == 1
    several = wanted([a_pod("3", "10Gi"), a_pod("3", "10Gi")], [source(a_pool())], [])
    assert {one.zone for one in several} == set(ZONES)


def test_pool_at_its_limit_starts_no_more() -> None:
    full = source(a_pool(cpus=4, memory_gib=16))
    there = node(full, instances()["m7i.xlarge"], ZONES[0], "eu-central-1", "one", "10.255.0.1")
    assert len(wanted([a_pod()], [full], [])) == 1
    assert wanted([a_pod()], [full], [there]) == []


@pytest.mark.parametrize(
    ("pod", "held"),
    [
        (a_pod(), False),
        (a_pod(**placed(a_pool(capacity="spot"))), True),
        (a_pod(nodeSelector={"mlops/pool": "other"}, tolerations=[{"operator": "Exists"}]), False),
        (a_pod(tolerations=[{"key": SPOT_TAINT, "operator": "Equal", "value": "true"}]), True),
        (a_pod(tolerations=[{"key": SPOT_TAINT, "value": "false"}]), False),
        (a_pod(tolerations=[{"key": SPOT_TAINT, "operator": "Exists", "effect": "NoExecute"}]), False),
    ],
)
def test_pool_is_used_only_by_pods_that_select_it_and_tolerate_its_taints(pod: dict[str, Any], held: bool) -> None:
    assert bool(wanted([pod], [source(a_pool(capacity="spot"))], [])) is held


def test_node_group_is_not_filled_by_pods() -> None:
    group = NodeSource(
        name="nodegroup/system", instance_types=("m7i.xlarge",), labels={}, taints=(), zones=ZONES, size=2
    )
    assert wanted([a_pod()], [group], []) == []
