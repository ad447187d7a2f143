"""Does what the settings ask for fit onto the pools that they state? Asked before anything is made.

The decisions are those of `policies.scheduling`; here pools and workloads come out of the settings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from components.cluster.placement import POOL_LABEL, SYSTEM_POOL, SYSTEM_TAINT, NodePoolArgs
from components.cluster.quotas import Quota, quotas
from components.feature_store import kubernetes as feature_store
from components.pipelines import ray_job
from components.registry import kubernetes as registry
from components.sizes import OPERATOR, PROMETHEUS
from components.workload import Resources
from infra.settings import SettingsError
from infra.settings.aws import Aws, Size
from infra.settings.problems import Problem
from policies.scheduling.nodes import DAEMONS, Capacity
from policies.scheduling.preflight import Environment, Pool, Workload, check

_GIB = 1024


def node_pools(aws: Aws) -> list[NodePoolArgs]:
    """The pools that Karpenter fills, in order of their names."""
    return [NodePoolArgs(name=name, **pool.model_dump()) for name, pool in sorted(aws.kubernetes.pools.items())]


def namespace_quotas(aws: Aws) -> dict[str, Quota]:
    """Quota of every namespace."""
    training = {aws.pipelines.pool} if aws.pipelines.pool and aws.pipelines.runner == "ray" else set()
    serving = frozenset(workers.pool for workers in aws.inference.workers.values())
    return quotas(node_pools(aws), serving=serving, training=frozenset(training))


def require_schedulable(aws: Aws, stack: str, models: int = 1) -> None:
    """Refuse settings whose workloads fit on no pool, or exceed the quota of their namespace.

    Args:
        aws: the settings.
        stack: name of the stack, for the message.
        models: how many models there are.

    Raises:
        SettingsError: with every workload that does not fit, and why on each pool.
    """
    refusals = check(environment(aws), list(workloads(aws, models)))
    if refusals:
        raise SettingsError(
            Problem(path="aws.kubernetes.pools", reason=str(refusal), file=f"stacks/Pulumi.{stack}.yaml")
            for refusal in refusals
        )


def environment(aws: Aws) -> Environment:
    """The pools, and what pods have to share."""
    system = Pool(
        name=SYSTEM_POOL, instance_types=aws.kubernetes.system.instance_types, taints=frozenset({SYSTEM_TAINT})
    )
    return Environment(
        pools=[system, *(_pool(pool) for pool in node_pools(aws))],
        daemons=DAEMONS,
        quotas={name: _capacity(quota) for name, quota in namespace_quotas(aws).items()},
    )


def workloads(aws: Aws, models: int = 1) -> Iterator[Workload]:
    """Pods of every kind that the environment runs, as many as there are at most.

    An upgrade of serving runs a second cluster beside the first: another head, and the share of the workers that one
    step moves. All models may be trained at the same time, each once.

    Args:
        aws: the settings.
        models: how many models there are.
    """
    pools = {pool.name: pool for pool in node_pools(aws)}
    yield Workload(
        name="operators",
        namespace="kube-system",
        size=OPERATOR,
        selector={POOL_LABEL: SYSTEM_POOL},
        tolerations=frozenset({SYSTEM_TAINT}),
        survives_spot=False,
    )
    inference = aws.inference
    yield Workload(name="ray-head", namespace="serving", size=_size(inference.head), replicas=2, survives_spot=False)
    yield Workload(name="control", namespace="serving", size=_size(inference.control), survives_spot=False)
    for name, workers in sorted(inference.workers.items()):
        at_most = math.ceil(workers.max * (1 + inference.upgrade_step / 100))
        yield _in_pool(f"ray-worker {name}", "serving", workers, at_most, pools[workers.pool])
    if aws.pipelines.runner == "ray" and aws.pipelines.pool is not None:
        yield _in_pool("ray-training", ray_job.NAMESPACE, aws.pipelines.size, models, pools[aws.pipelines.pool])
        beside = {"training-submitter": ray_job.SUBMITTER_SIZE, "training-launcher": ray_job.LAUNCHER_SIZE}
        for name, asked in beside.items():
            yield Workload(
                name=name, namespace=ray_job.NAMESPACE, size=_size(asked), replicas=models, survives_spot=False
            )
    servers: Sequence[tuple[str, str, Capacity, int]] = (
        (registry.SERVER, registry.NAMESPACE, _size(registry.SIZE), aws.registry.replicas),
        (feature_store.SERVER, feature_store.NAMESPACE, _size(feature_store.SIZE), aws.feature_store.replicas),
        ("prometheus", "monitoring", PROMETHEUS, 1),
    )
    for name, namespace, size, replicas in servers:
        # Besides, one more while a new version takes over.
        yield Workload(name=name, namespace=namespace, size=size, replicas=replicas + 1, survives_spot=False)


def _in_pool(name: str, namespace: str, size: Size, replicas: int, pool: NodePoolArgs) -> Workload:
    return Workload(
        name=name,
        namespace=namespace,
        size=_size(size),
        replicas=replicas,
        selector={POOL_LABEL: pool.name},
        tolerations=frozenset(pool.taints),
    )


def _pool(pool: NodePoolArgs) -> Pool:
    return Pool(
        name=pool.name,
        instance_types=pool.instance_types,
        spot=pool.capacity == "spot",
        taints=frozenset(pool.taints),
        limit=Capacity(cpus=pool.cpus, memory_mib=pool.memory_gib * _GIB, gpus=pool.gpus),
        gpu_name=pool.gpu_name,
    )


def _size(size: Size | Resources) -> Capacity:
    return Capacity(cpus=size.cpus, memory_mib=size.memory_gib * _GIB, gpus=size.gpus)


def _capacity(quota: Quota) -> Capacity:
    return Capacity(cpus=quota.cpus, memory_mib=quota.memory_gib * _GIB, gpus=quota.gpus)
