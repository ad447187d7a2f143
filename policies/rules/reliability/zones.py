"""Zones: in production the loss of one is survived by the database, the control plane, the nodes and the way out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from policies.facts import EnvironmentKind
from policies.plan import Resource, UndeterminedError, Unknown
from policies.rule import EVERYWHERE_ON_AWS, PRODUCTION_ONLY, Answer, Level, Problem, World, resource_rule

PAID_FOR_IN_PROD: Mapping[EnvironmentKind, Level] = {**PRODUCTION_ONLY, "staging": "off"}
"""Standbys double a bill: elsewhere an outage costs less than they do."""
SUBNET = "aws:ec2/subnet:Subnet"
_PLACES: Mapping[str, tuple[str, ...]] = {
    "aws:eks/cluster:Cluster": ("vpcConfig", "subnetIds"),
    "aws:eks/nodeGroup:NodeGroup": ("subnetIds",),
    "aws:rds/subnetGroup:SubnetGroup": ("subnetIds",),
    "aws:elasticache/subnetGroup:SubnetGroup": ("subnetIds",),
    "aws:lb/loadBalancer:LoadBalancer": ("subnets",),
}
_SWITCHES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "aws:rds/instance:Instance": (("multiAz",), "aws.registry.database.multiZone"),
    "aws:elasticache/replicationGroup:ReplicationGroup": (("multiAzEnabled",), ""),
    "aws:opensearch/domain:Domain": (("clusterConfig", "zoneAwarenessEnabled"), ""),
}
GATEWAY = "aws:ec2/natGateway:NatGateway"


@resource_rule(
    id="reliability.subnets-in-zones",
    title="Cluster, nodes, databases and load balancers have subnets in two zones or more",
    severity="high",
    why="What has subnets in one zone goes down with it.",
    fix="give it a subnet in each zone of the network",
    types=tuple(_PLACES),
    levels=EVERYWHERE_ON_AWS,
)
def subnets_in_zones(resource: Resource, world: World) -> Iterator[Answer]:
    """Look at the zones of the subnets that it is made from; which ids those have does not matter."""
    path = _PLACES[resource.type]
    subnets = [one for one in world.plan.origins(resource, *path) if one.type == SUBNET]
    found = resource.peek(*path)
    if not subnets and isinstance(found, Unknown):
        raise UndeterminedError(".".join(path), found.origins)
    zones = sorted({str(one.value("availabilityZone", default="?")) for one in subnets})
    if len(zones) < 2:
        said = ", ".join(zones) or "none that this stack makes"
        yield Problem(f"the zones of its subnets are {said}; allowed: two or more", path=".".join(path))


@resource_rule(
    id="reliability.database-multi-zone",
    title="In production databases, caches and search domains have a standby in another zone",
    severity="high",
    why="The registry and the ledger stand still, and releases with them, until a snapshot is restored by hand.",
    fix="switch on the standby (multiAz)",
    references=("AWS FSBP RDS.5",),
    types=tuple(_SWITCHES),
    levels=PAID_FOR_IN_PROD,
)
def database_multi_zone(database: Resource, world: World) -> Iterator[Answer]:
    """Look at the switch of its type."""
    path, setting = _SWITCHES[database.type]
    if database.value(*path, default=False) is not True:
        yield Problem(f"{'.'.join(path)} is off; allowed in prod: on", path=".".join(path), setting=setting)


@resource_rule(
    id="reliability.way-out-per-zone",
    title="In production each zone has its own way out",
    severity="medium",
    why="With one gateway the loss of its zone cuts all others off from images, keys and AWS.",
    fix="set aws.network.nat to per-zone",
    types=("aws:ec2/vpc:Vpc",),
    levels=PAID_FOR_IN_PROD,
)
def way_out_per_zone(network: Resource, world: World) -> Iterator[Answer]:
    """Count the zones of gateways beside those of subnets; a network without any gateway has no way out by intent."""
    plan = world.plan
    subnets = plan.used_by(network, "vpcId", SUBNET)
    zones = {one.value("availabilityZone", default="?") for one in subnets}
    placed = {
        subnet.value("availabilityZone", default="?") for subnet in subnets if plan.used_by(subnet, "subnetId", GATEWAY)
    }
    if placed and (missing := sorted(zones - placed)):
        text = f"{', '.join(missing)} go out by a gateway of {', '.join(sorted(placed))}; allowed: one a zone"
        yield Problem(text, setting="aws.network.nat")
