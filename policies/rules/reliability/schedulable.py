"""Every workload fits on some pool of nodes, and the account may start as many nodes as the pools allow."""

from __future__ import annotations

from collections.abc import Iterator

from policies.plan import Resource
from policies.rule import EVERYWHERE_ON_AWS, Answer, Deferred, Problem, World, plan_rule
from policies.rules.reliability.demand import NODE_GROUP, NODE_POOL, QUOTA, capacity_of, pool_of, quota_of, workloads_of
from policies.scheduling.nodes import DAEMONS
from policies.scheduling.preflight import Environment, check
from policies.scheduling.quotas import quota_of as service_quota

SETTING = "aws.kubernetes.pools"


@plan_rule(
    id="reliability.schedulable",
    title="Every workload fits on some pool: by selectors, taints, GPUs, size, zones, limits and quota",
    severity="high",
    why="A pod that fits nowhere waits for ever, and says so only in an event that nobody reads.",
    fix="give a pool the labels, types or limit that the workload needs, or the workload less",
    types=(NODE_POOL, NODE_GROUP),
    levels=EVERYWHERE_ON_AWS,
)
def schedulable(world: World) -> Iterator[Answer]:
    """Hold the pods of the plan against its pools and the quotas of its namespaces."""
    plan = world.plan
    places: dict[str, Resource] = {}
    pools = []
    for resource in plan.of(NODE_POOL, NODE_GROUP):
        pool = pool_of(resource)
        pools.append(pool)
        places[f"pool {pool.name}"] = resource
    quotas = {}
    for resource in plan.of(QUOTA):
        namespace = str(resource.value("metadata", "namespace", default="default"))
        quotas[namespace] = quota_of(resource)
        places[f"namespace {namespace}"] = resource
    workloads = []
    for resource, workload in workloads_of(plan):
        workloads.append(workload)
        places[f"workload {workload.namespace}/{workload.name}"] = resource
    for refusal in check(Environment(pools=pools, daemons=DAEMONS, quotas=quotas), workloads):
        found = places.get(refusal.subject)
        yield Problem(str(refusal), urn=found.urn if found else "", setting=SETTING)


@plan_rule(
    id="reliability.account-quota",
    title="The account may start as many vCPUs as the pools may ask for",
    severity="high",
    why="A new account may start few instances and no GPUs at all: pools then stay empty when load comes.",
    fix="ask for a higher quota in Service Quotas (EC2), lower the limits of the pools, or choose other types",
    types=(NODE_POOL, NODE_GROUP),
)
def account_quota(world: World) -> Iterator[Answer]:
    """Add up the limits of pools by quota; what the account allows is asked by the deploy job."""
    needed: dict[tuple[str, str], float] = {}
    for resource in world.plan.of(NODE_POOL, NODE_GROUP):
        pool, capacity = pool_of(resource), capacity_of(resource)
        if pool.limit is None:
            continue  # that nothing bounds it is a finding of the cost rules
        quotas = {kind: service_quota(kind, capacity) for kind in pool.instance_types}
        if unknown := sorted(kind for kind, quota in quotas.items() if quota is None):
            text = f"no quota is known for {', '.join(unknown)}, so nobody can ask whether the account may start them"
            yield Problem(text, urn=resource.urn, setting=SETTING)
        for quota in {found for found in quotas.values() if found is not None}:
            needed[quota] = needed.get(quota, 0) + pool.limit.cpus
    for (code, title), vcpus in sorted(needed.items()):
        arguments = {"service": "ec2", "quota": code, "needed": vcpus}
        yield Deferred(f"the pools may ask for {vcpus:g} vCPU of the quota '{title}'", "quota", arguments)
