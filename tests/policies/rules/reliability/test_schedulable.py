"""Every workload fits on some pool."""

from typing import Any

from policies.plan import Resource
from policies.rules.reliability.schedulable import SETTING, account_quota, schedulable
from policies.testing import admit, defer, deny, resource, undetermined, unknown

ASKS = {"requests": {"cpu": "1", "memory": "2Gi"}}
RECREATED: dict[str, Any] = {"strategy": {"type": "Recreate"}}


def pool(
    name: str = "platform", types: Any = ("m7i.xlarge",), *, taints: Any = (), limits: Any = None, **more: Any
) -> Resource:
    requirements = [{"key": "node.kubernetes.io/instance-type", "operator": "In", "values": types}]
    requirements += [{"key": key.replace("__", "/"), "operator": "In", "values": value} for key, value in more.items()]
    template = {
        "metadata": {"labels": {"mlops/pool": name}},
        "spec": {"requirements": requirements, "taints": [{"key": one, "effect": "NoSchedule"} for one in taints]},
    }
    limits = {"cpu": "16", "memory": "64Gi"} if limits is None else limits
    inputs = {"metadata": {"name": name}, "spec": {"template": template, "limits": limits}}
    return resource("kubernetes:karpenter.sh/v1:NodePool", f"pool-{name}", inputs)


SPOT: dict[str, Any] = {"karpenter.sh__capacity-type": ["spot"]}
GPUS = pool(
    "gpu", ["g5.xlarge"], taints=["nvidia.com/gpu"], limits={"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "2"}
)


def deployment(resources: Any = None, count: Any = 2, *, spec: Any = None, **pod: Any) -> Resource:
    template = {"spec": {"containers": [{"name": "web", "resources": resources or ASKS}], **pod}}
    inputs = {"metadata": {"namespace": "serving"}, "spec": {"replicas": count, "template": template, **(spec or {})}}
    return resource("kubernetes:apps/v1:Deployment", "web", inputs)


def ray(most: Any = 2, upgrade: Any = None, **worker: Any) -> Resource:
    def group(**pod: Any) -> dict[str, Any]:
        return {"template": {"spec": {"containers": [{"name": "ray", "resources": ASKS}], **pod}}}

    workers = {"groupName": "general", "maxReplicas": most, **group(**worker)}
    options = {"enableInTreeAutoscaling": True, "autoscalerOptions": {"resources": ASKS}}
    cluster = {"headGroupSpec": group(), "workerGroupSpecs": [workers], **options}
    spec = {"rayClusterConfig": cluster, "upgradeStrategy": upgrade or {}}
    return resource(
        "kubernetes:ray.io/v1:RayService", "inference", {"metadata": {"namespace": "serving"}, "spec": spec}
    )


def quota(cpus: Any) -> Resource:
    inputs = {"metadata": {"namespace": "serving"}, "spec": {"hard": {"requests.cpu": cpus}}}
    return resource("kubernetes:core/v1:ResourceQuota", "quota", inputs)


def test_what_fits_on_a_pool_is_admitted() -> None:
    admit(schedulable, pool(), deployment())
    admit(schedulable, pool(), deployment(nodeSelector={"mlops/pool": "platform"}))
    admit(schedulable, pool(taints=["mlops/own"]), deployment(tolerations=[{"key": "mlops/own", "operator": "Exists"}]))
    admit(schedulable, pool(taints=["mlops/own"]), deployment(tolerations=[{"operator": "Exists"}]))
    admit(schedulable, pool(), deployment(nodeSelector={"kubernetes.io/arch": "amd64"}))
    admit(schedulable, pool(types=["m7g.xlarge"]), deployment(nodeSelector={"kubernetes.io/arch": "arm64"}))
    admit(
        schedulable,
        pool(),
        GPUS,
        deployment({"limits": {"nvidia.com/gpu": 1}}, 1, tolerations=[{"key": "nvidia.com/gpu"}]),
    )


def test_what_fits_nowhere_is_denied_with_the_reason_of_each_pool() -> None:
    web = deployment(nodeSelector={"mlops/pool": "serving"})
    deny(schedulable, pool(), web, at=web, says="platform: its nodes have no label mlops/pool=serving", setting=SETTING)
    deny(schedulable, pool(taints=["mlops/own"]), deployment(), says="tainted with mlops/own")
    deny(schedulable, pool(), deployment({"requests": {"cpu": "9"}}), says="m7i.xlarge has")
    deny(schedulable, pool(), deployment({"requests": {"memory": "99Gi"}}), says="m7i.xlarge has")
    deny(schedulable, pool(), deployment({"limits": {"nvidia.com/gpu": 1}}), says="1 GPU")
    deny(schedulable, pool(types=["m7g.xlarge"]), deployment(), says="runs x86_64")
    zone = {"topology.kubernetes.io/zone": "eu-central-1c"}
    elsewhere: dict[str, Any] = {"topology.kubernetes.io__zone": ["eu-central-1a"]}
    deny(schedulable, pool(**elsewhere), deployment(nodeSelector=zone), says="starts no nodes in eu-central-1c")
    deny(schedulable, deployment(), pool("spot", **SPOT), says="must not lose its node")


def test_a_pool_holds_what_runs_at_most_an_update_included() -> None:
    six = {"requests": {"cpu": "2", "memory": "2Gi"}}
    admit(schedulable, pool(), deployment(six, 6))
    deny(schedulable, pool(), deployment(six, 7), says="up to 9 of")
    admit(schedulable, pool(), deployment(six, 7, spec={"strategy": {"rollingUpdate": {"maxSurge": 1}}}))
    admit(schedulable, pool(), deployment(six, 8, spec={"strategy": {"type": "Recreate"}}))


def run_again(times: Any, **head: Any) -> Resource:
    template = {"spec": {"containers": [{"name": "ray", "resources": ASKS}], **head}}
    spec = {"backoffLimit": times, "rayClusterSpec": {"headGroupSpec": {"template": template}}}
    return resource("kubernetes:ray.io/v1:RayJob", "train", {"metadata": {"namespace": "training"}, "spec": spec})


def test_a_head_may_lose_its_node_where_its_job_is_run_again() -> None:
    spot = pool("spot", taints=["mlops/spot"], **SPOT)
    tolerates = {"tolerations": [{"key": "mlops/spot", "operator": "Exists"}]}
    admit(schedulable, spot, run_again(1, **tolerates))
    deny(schedulable, spot, run_again(0, **tolerates), says="it is a Spot pool, and this must not lose its node")
    deny(schedulable, spot, run_again(1), says="it is tainted with mlops/spot")
    undetermined(schedulable, spot, run_again(unknown(), **tolerates))


def test_a_ray_service_has_two_heads_and_more_workers_while_it_is_upgraded() -> None:
    step = {"type": "NewClusterWithIncrementalUpgrade", "clusterUpgradeOptions": {"stepSizePercent": 10}}
    admit(schedulable, pool(), ray(8))
    deny(schedulable, pool(), ray(9), says="up to 18 of")
    admit(schedulable, pool(), ray(14, step))
    deny(schedulable, pool(), ray(15, step), says="up to 17 of")
    spot = pool("spot", taints=["mlops/spot"], **SPOT)
    worker = {"nodeSelector": {"mlops/pool": "spot"}, "tolerations": [{"key": "mlops/spot"}]}
    admit(schedulable, pool(), spot, ray(2, **worker))
    deny(schedulable, spot, ray(2, **worker), says="inference head: spot: it is tainted")


def test_the_quota_of_a_namespace_holds_all_of_it() -> None:
    admit(schedulable, pool(), deployment(), quota("3"))
    found = quota("2900m")
    deny(schedulable, pool(), deployment(), found, at=found, says="namespace serving")
    admit(schedulable, pool(), ray(2), quota("8"))
    deny(schedulable, pool(), ray(2), quota("7"), says="ask for up to 8 CPU")


def test_pools_that_contradict_themselves_are_denied() -> None:
    wrong = pool(types=["m7i.huge"])
    deny(schedulable, wrong, at=wrong, says="is not in the table")
    low = pool(limits={"cpu": "1", "memory": "1Gi"})
    deny(schedulable, low, at=low, says="does not hold a single m7i.xlarge")


def test_groups_of_nodes_are_pools_too() -> None:
    def nodes(most: int = 4, **more: Any) -> Resource:
        inputs = {"nodeGroupName": "system", "instanceTypes": ["m7i.large"], "scalingConfig": {"maxSize": most}, **more}
        return resource("aws:eks/nodeGroup:NodeGroup", "system", inputs)

    admit(schedulable, nodes(), deployment())
    deny(schedulable, nodes(1), deployment(), says="exceed the limit")
    deny(schedulable, nodes(taints=[{"key": "CriticalAddonsOnly"}]), deployment(), says="CriticalAddonsOnly")
    deny(schedulable, nodes(capacityType="SPOT"), deployment(), says="Spot pool")
    admit(schedulable, nodes(labels={"mlops/pool": "x"}), deployment(nodeSelector={"mlops/pool": "x"}))


def test_pods_before_others_count_as_the_largest() -> None:
    setup = [{"name": "setup", "resources": {"requests": {"cpu": "3500m", "memory": "2Gi"}}}]
    admit(schedulable, pool(), deployment(count=1, initContainers=setup))
    beside = [{**setup[0], "restartPolicy": "Always"}]
    deny(schedulable, pool(), deployment(count=1, initContainers=beside), says="asks for 4.5 CPU")


def test_daemons_and_jobs() -> None:
    daemon = {"metadata": {"namespace": "serving"}, "spec": {"template": {"spec": {"nodeSelector": {"no": "where"}}}}}
    admit(schedulable, pool(), resource("kubernetes:apps/v1:DaemonSet", "agent", daemon))
    spec = {"parallelism": 17, "template": {"spec": {"containers": [{"name": "job", "resources": ASKS}]}}}
    job = resource("kubernetes:batch/v1:Job", "job", {"metadata": {"namespace": "training"}, "spec": spec})
    deny(schedulable, pool(), job, says="up to 17 of")


def test_what_is_not_known_is_undetermined() -> None:
    undetermined(schedulable, pool(), deployment(unknown()))
    undetermined(schedulable, pool(limits={"cpu": unknown(), "memory": "1Gi"}))
    undetermined(schedulable, pool(), quota(unknown()))
    undetermined(account_quota, pool(types=[unknown()]))


def test_what_the_account_allows_is_left_to_the_deploy_job() -> None:
    (found,) = defer(account_quota, pool(), pool("other"), check="quota")
    assert found.check == {"name": "quota", "service": "ec2", "quota": "L-1216C47A", "needed": 32}
    (spot,) = defer(account_quota, pool(**SPOT), check="quota")
    assert spot.check["quota"] == "L-34B43A08"
    (gpus,) = defer(account_quota, GPUS, check="quota")
    assert (gpus.check["quota"], gpus.check["needed"]) == ("L-DB2E81BA", 8)


def test_quotas_are_added_up_over_pools() -> None:
    found = defer(account_quota, pool(limits={}), pool("spot", **SPOT), pool("own"), GPUS, pool("all"), check="quota")
    needed = {one.check["quota"]: one.check["needed"] for one in found}
    assert needed == {"L-1216C47A": 32, "L-34B43A08": 16, "L-DB2E81BA": 8}
    both = defer(account_quota, pool(types=["m7i.xlarge", "g5.xlarge"]), check="quota")
    assert {one.check["quota"] for one in both} == {"L-1216C47A", "L-DB2E81BA"}


def test_a_pool_without_a_limit_asks_for_nothing() -> None:
    admit(account_quota, pool(limits={}))


def test_a_type_whose_quota_nobody_can_ask_for_is_denied() -> None:
    wrong = pool(types=["inf2.xlarge"])
    deny(account_quota, wrong, at=wrong, says="no quota is known for inf2.xlarge", setting=SETTING)


def test_each_quota_and_each_refusal_is_told() -> None:
    other = {"metadata": {"namespace": "other"}, "spec": {"hard": {"requests.cpu": "1"}}}
    first = resource("kubernetes:core/v1:ResourceQuota", "other", other)
    deny(schedulable, pool(), deployment(), first, quota("2900m"), says="namespace serving")
    lost = deployment(nodeSelector={"mlops/pool": "nowhere"})
    deny(schedulable, pool(), lost, resource(lost.type, "second", lost.inputs), times=2)


def test_a_daemon_does_not_hide_what_comes_behind_it() -> None:
    daemon = {"metadata": {"namespace": "serving"}, "spec": {"template": {"spec": {}}}}
    lost = deployment(nodeSelector={"mlops/pool": "nowhere"})
    deny(schedulable, pool(), resource("kubernetes:apps/v1:DaemonSet", "agent", daemon), lost, at=lost)


def test_a_pool_with_half_a_limit_has_none() -> None:
    for half in ({"cpu": "4"}, {"memory": "16Gi"}):
        admit(schedulable, pool(limits=half), deployment(count=100))


def test_a_requirement_of_one_value_is_a_label_and_one_of_several_is_none() -> None:
    wants = deployment(nodeSelector={"mlops/kind": "fast"})
    admit(schedulable, pool(mlops__kind=["fast"]), wants)
    deny(schedulable, pool(mlops__kind=["fast", "slow"]), wants, says="no label mlops/kind=fast")


def test_a_group_of_nodes_counts_as_its_largest_type() -> None:
    inputs = {"instanceTypes": ["m7i.large", "m7i.xlarge"], "scalingConfig": {"maxSize": 1}}
    group = resource("aws:eks/nodeGroup:NodeGroup", "system", inputs)
    admit(schedulable, group, deployment({"requests": {"cpu": "3", "memory": "2Gi"}}, 1, spec=RECREATED))


def test_of_pods_before_others_each_and_each_need_counts() -> None:
    small = {"cpu": "1", "memory": "1Gi"}
    for large, says in (
        ({"cpu": "9", "memory": "1Gi"}, "m7i.xlarge has"),
        ({"cpu": "1", "memory": "99Gi"}, "m7i.xlarge has"),
        ({"nvidia.com/gpu": "1", **small}, "1 GPU"),
    ):
        for order in ((large, small), (small, large)):
            setup = [{"name": f"s{at}", "resources": {"requests": one}} for at, one in enumerate(order)]
            deny(schedulable, pool(), deployment(count=1, spec=RECREATED, initContainers=setup), says=says)


def hard(**bounds: str) -> Resource:
    names = {"cpu": "requests.cpu", "memory": "requests.memory", "gpu": "requests.nvidia.com/gpu"}
    inputs = {"metadata": {"namespace": "serving"}, "spec": {"hard": {names[key]: to for key, to in bounds.items()}}}
    return resource("kubernetes:core/v1:ResourceQuota", "quota", inputs)


def test_a_container_that_states_nothing_asks_for_nothing() -> None:
    nothing = deployment({"requests": {}}, 10, spec=RECREATED)
    admit(schedulable, pool(), nothing, hard(cpu="0", memory="0", gpu="0"))
    hundred = deployment({"requests": {"memory": "100Mi"}}, 1, spec=RECREATED)
    admit(schedulable, pool(), hundred, hard(memory="100Mi"))
    deny(schedulable, pool(), hundred, hard(memory="101888Ki"), says="namespace serving")


def test_most_of_a_number_of_pods_is_in_hundredths() -> None:
    large = pool(limits={"cpu": "4000", "memory": "16000Gi"})
    web = deployment(count=101, spec={"strategy": {"rollingUpdate": {"maxSurge": "100%"}}})
    admit(schedulable, large, web, hard(cpu="202"))
    deny(schedulable, large, web, hard(cpu="201500m"), says="up to 202 CPU")
    step = {"type": "NewClusterWithIncrementalUpgrade", "clusterUpgradeOptions": {"stepSizePercent": 100}}
    admit(schedulable, large, ray(101, step), hard(cpu="206"))
    deny(schedulable, large, ray(101, step), hard(cpu="205500m"), says="up to 206 CPU")


def test_a_head_that_nothing_replaces_is_one_and_has_no_autoscaler_unless_told() -> None:
    head = {"template": {"spec": {"containers": [{"name": "ray", "resources": ASKS}]}}}
    spec = {"headGroupSpec": head, "autoscalerOptions": {"resources": ASKS}}
    one = resource("kubernetes:ray.io/v1:RayCluster", "one", {"metadata": {"namespace": "serving"}, "spec": spec})
    admit(schedulable, pool(), one, hard(cpu="1"))
    deny(schedulable, pool(), one, hard(cpu="900m"), says="up to 1 CPU")


def test_the_first_gpu_that_is_stated_counts() -> None:
    stated: dict[str, Any] = {"karpenter.k8s.aws__instance-gpu-name": ["a10g", "t4"]}
    limits = {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "2"}
    admit(schedulable, pool("gpu", ["g5.xlarge"], taints=["nvidia.com/gpu"], limits=limits, **stated))


def test_each_toleration_counts() -> None:
    tolerated = [{"key": "other"}, {"key": "mlops/own", "operator": "Exists"}]
    admit(schedulable, pool(taints=["mlops/own"]), deployment(tolerations=tolerated))
