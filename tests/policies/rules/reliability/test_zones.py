"""Zones."""

from typing import Any

import pytest

from policies.plan import Resource
from policies.rules.reliability.zones import database_multi_zone, subnets_in_zones, way_out_per_zone
from policies.testing import admit, deny, made_from, resource, undetermined, unknown

NETWORK = resource("aws:ec2/vpc:Vpc", "network")


def subnet(name: str, zone: Any) -> Resource:
    return resource("aws:ec2/subnet:Subnet", name, vpcId=NETWORK, availabilityZone=zone)


A, AGAIN, B = subnet("a", "eu-central-1a"), subnet("again", "eu-central-1a"), subnet("b", "eu-central-1b")
PLACES = [
    ("aws:eks/cluster:Cluster", ("vpcConfig", "subnetIds")),
    ("aws:eks/nodeGroup:NodeGroup", ("subnetIds",)),
    ("aws:rds/subnetGroup:SubnetGroup", ("subnetIds",)),
    ("aws:lb/loadBalancer:LoadBalancer", ("subnets",)),
]


def placed(kind: str, path: tuple[str, ...], ids: Any) -> Resource:
    return resource(kind, "one", {path[0]: {path[1]: ids} if len(path) == 2 else ids})


@pytest.mark.parametrize(("kind", "path"), PLACES)
def test_subnets_are_in_two_zones(kind: str, path: tuple[str, ...]) -> None:
    admit(subnets_in_zones, A, B, placed(kind, path, unknown(A, B)))
    admit(subnets_in_zones, A, B, placed(kind, path, made_from(A, B, value=["subnet-1", "subnet-2"])))
    where = ".".join(path)
    deny(subnets_in_zones, A, AGAIN, placed(kind, path, unknown(A, AGAIN)), says="eu-central-1a; allowed", path=where)
    deny(subnets_in_zones, placed(kind, path, ["subnet-1", "subnet-2"]), says="none that this stack makes")
    elsewhere = resource("pulumi:pulumi:StackReference", "other")
    undetermined(subnets_in_zones, elsewhere, placed(kind, path, unknown(elsewhere)), path=where)
    hidden = subnet("hidden", unknown())
    undetermined(subnets_in_zones, A, hidden, placed(kind, path, unknown(A, hidden)))


@pytest.mark.parametrize(
    ("kind", "path", "setting"),
    [
        ("aws:rds/instance:Instance", ("multiAz",), "aws.registry.database.multiZone"),
        ("aws:elasticache/replicationGroup:ReplicationGroup", ("multiAzEnabled",), ""),
        ("aws:opensearch/domain:Domain", ("clusterConfig", "zoneAwarenessEnabled"), ""),
    ],
)
def test_a_standby_waits_in_another_zone(kind: str, path: tuple[str, ...], setting: str) -> None:
    def made(value: Any) -> Resource:
        return resource(kind, "main", {path[0]: {path[1]: value} if len(path) == 2 else value})

    admit(database_multi_zone, made(True))
    for value in (False, None):
        deny(database_multi_zone, made(value), path=".".join(path), setting=setting)
    undetermined(database_multi_zone, made(unknown()))


def gateway(of: Resource) -> Resource:
    return resource("aws:ec2/natGateway:NatGateway", f"nat-{of.name}", subnetId=of)


def test_each_zone_has_its_own_way_out() -> None:
    admit(way_out_per_zone, NETWORK, A, AGAIN, B, gateway(A), gateway(B))
    admit(way_out_per_zone, NETWORK, A, B)
    found = deny(way_out_per_zone, NETWORK, A, B, gateway(A), setting="aws.network.nat", at=NETWORK)
    assert found[0].text == "eu-central-1b go out by a gateway of eu-central-1a; allowed: one a zone"
    undetermined(way_out_per_zone, NETWORK, A, subnet("hidden", unknown()), gateway(A))
