"""The network on AWS: what reaches what, and that nothing is open that was not asked for."""

from collections.abc import Callable
from typing import Any

import pulumi
import pytest

from components.cloud import Cloud
from components.network.aws import INTERFACE_ENDPOINTS, AwsNetwork, AwsNetworkArgs, chosen_zones
from components.testing import Recording

Run = Callable[[Callable[[], Any]], Recording]


@pytest.fixture
def network(cloud: Cloud, run: Run) -> Callable[..., Recording]:
    def make(**changes: Any) -> Recording:
        stated: dict[str, Any] = {
            "cidr": "10.22.0.0/16",
            "zones": 3,
            "nat": "one",
            "interface_endpoints": False,
            "flow_log_days": 30,
        }
        args = AwsNetworkArgs(cloud=cloud, cluster="acme-prod-main", logs_key="KEY", **(stated | changes))
        return run(lambda: AwsNetwork("network", args))

    return make


def test_each_zone_has_a_subnet_of_each_kind(network: Callable[..., Recording]) -> None:
    subnets = network().of_type("aws:ec2/subnet:Subnet")

    assert sorted(subnets) == [f"{kind}-{zone}" for kind in ("intra", "private", "public") for zone in range(3)]
    assert subnets["private-2"].inputs["availabilityZone"] == "eu-central-1c"
    assert not any(subnet.inputs["mapPublicIpOnLaunch"] for subnet in subnets.values())


@pytest.mark.parametrize(("nat", "gateways"), [("none", 0), ("one", 1), ("per-zone", 3)])
def test_ways_out_are_as_many_as_asked_for(network: Callable[..., Recording], nat: str, gateways: int) -> None:
    made = network(nat=nat)

    assert len(made.of_type("aws:ec2/natGateway:NatGateway")) == gateways
    routes = made.of_type("aws:ec2/route:Route")
    used = [route.inputs["natGatewayId"] for route in routes.values() if "natGatewayId" in route.inputs]
    assert len(used) == (3 if gateways else 0)
    assert len(set(used)) == gateways


def test_intra_subnets_have_no_way_out(network: Callable[..., Recording]) -> None:
    routes = network(nat="per-zone").of_type("aws:ec2/route:Route")

    assert all(route.inputs["routeTableId"] != "intra-id" for route in routes.values())


def test_without_a_way_out_aws_is_reached_inside(network: Callable[..., Recording]) -> None:
    endpoints = network(nat="none").of_type("aws:ec2/vpcEndpoint:VpcEndpoint").values()

    inside = {entry.inputs["serviceName"] for entry in endpoints if entry.inputs["vpcEndpointType"] == "Interface"}
    assert inside == {f"com.amazonaws.eu-central-1.{service}" for service in INTERFACE_ENDPOINTS}
    assert all(
        entry.inputs["privateDnsEnabled"] for entry in endpoints if entry.inputs["vpcEndpointType"] == "Interface"
    )


def test_nothing_is_open_by_default(network: Callable[..., Recording]) -> None:
    made = network()

    default = made.only("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup")
    assert default.inputs.get("ingress", []) == default.inputs.get("egress", []) == []
    rules = made.of_type("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule")
    assert {rule.inputs["cidrIpv4"] for rule in rules.values()} == {"10.22.0.0/16"}


def test_flow_logs_are_kept_encrypted(network: Callable[..., Recording]) -> None:
    made = network()

    group = made.only("aws:cloudwatch/logGroup:LogGroup")
    assert group.inputs["kmsKeyId"] == "KEY"
    assert group.inputs["retentionInDays"] == 30
    assert made.only("aws:ec2/flowLog:FlowLog").inputs["trafficType"] == "ALL"


def test_too_few_zones_are_said_with_what_to_do() -> None:
    with pytest.raises(pulumi.RunError, match=r"us-west-1 has 2 zones for this account .*state fewer zones"):
        chosen_zones(["us-west-1b", "us-west-1a"], 3, "us-west-1")
