"""What must be recorded, so that an intrusion can be told of afterwards: calls of APIs, traffic of networks."""

from __future__ import annotations

from collections.abc import Iterator

from policies.plan import Resource
from policies.rule import EVERYWHERE_ON_AWS, Answer, Problem, World, resource_rule

FLOW_LOG = "aws:ec2/flowLog:FlowLog"
_LOGS = ("api", "audit", "authenticator")


@resource_rule(
    id="security.cluster-audited",
    title="The cluster logs who asks its API for what",
    severity="high",
    why="Without the audit log nobody can tell what a stolen token did.",
    fix="name api, audit and authenticator in enabledClusterLogTypes",
    references=("AWS FSBP EKS.8",),
    types=("aws:eks/cluster:Cluster",),
    levels=EVERYWHERE_ON_AWS,
)
def cluster_audited(cluster: Resource, world: World) -> Iterator[Answer]:
    """Look for the logs that matter."""
    stated = cluster.value("enabledClusterLogTypes", default=())
    if missing := [one for one in _LOGS if one not in stated]:
        yield Problem(f"it does not log {', '.join(missing)}", path="enabledClusterLogTypes")


@resource_rule(
    id="security.cluster-access-by-entries",
    title="Who may enter the cluster is said by access entries alone",
    severity="medium",
    why="A config map inside the cluster that names its administrators is changed by whoever may change config maps.",
    fix="set accessConfig.authenticationMode to API",
    types=("aws:eks/cluster:Cluster",),
    levels=EVERYWHERE_ON_AWS,
)
def cluster_access_by_entries(cluster: Resource, world: World) -> Iterator[Answer]:
    """Look at the mode; the config map rules where nothing is stated."""
    mode = cluster.value("accessConfig", "authenticationMode", default="CONFIG_MAP")
    if mode != "API":
        yield Problem(f"authenticationMode is {mode}; allowed: API", path="accessConfig.authenticationMode")


@resource_rule(
    id="security.network-logged",
    title="Every network logs its traffic",
    severity="medium",
    why="Where data went after an intrusion is in no other record.",
    fix="give the network a FlowLog of all traffic",
    references=("CIS AWS Foundations 3.0 3.7", "AWS FSBP EC2.6"),
    types=("aws:ec2/vpc:Vpc",),
    levels=EVERYWHERE_ON_AWS,
)
def network_logged(network: Resource, world: World) -> Iterator[Answer]:
    """Look for a flow log of the network that holds what was refused at least."""
    logs = world.plan.used_by(network, "vpcId", FLOW_LOG)
    if not logs:
        yield Problem("it has no flow log")
    for one in logs:
        if one.value("trafficType") == "ACCEPT":
            yield Problem("it leaves refused traffic out; allowed: ALL, REJECT", urn=one.urn, path="trafficType")
