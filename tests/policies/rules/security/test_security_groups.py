"""Security groups: nothing is open to the whole internet."""

import pytest

from policies.rules.security.security_groups import default_group_closed, group_not_wide_open
from policies.testing import admit, deny, resource, undetermined, unknown

GROUP = "aws:ec2/securityGroup:SecurityGroup"
DEFAULT = "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
RULE = "aws:ec2/securityGroupRule:SecurityGroupRule"
VPC = "aws:ec2/vpc:Vpc"
EVERYBODY = ("0.0.0.0/0", "::/0", "128.0.0.0/1", "10.0.0.0/7", "2000::/3")
NAMED = ("10.0.0.0/8", "10.22.0.0/16", "10.1.2.3/8", "192.0.2.7/32", "2001:db8::/32", "fd00::/16")


@pytest.mark.parametrize("cidr", NAMED)
def test_networks_by_name_may_come_in(cidr: str) -> None:
    path = "cidrIpv6" if ":" in cidr else "cidrIpv4"
    admit(group_not_wide_open, resource(INGRESS, "https", {path: cidr, "fromPort": 443, "toPort": 443}))
    inline = "ipv6CidrBlocks" if ":" in cidr else "cidrBlocks"
    admit(group_not_wide_open, resource(GROUP, "web", ingress=[{inline: [cidr], "fromPort": 443, "toPort": 443}]))
    admit(group_not_wide_open, resource(RULE, "web", {"type": "ingress", inline: [cidr], "fromPort": 1, "toPort": 1}))


@pytest.mark.parametrize("cidr", EVERYBODY)
def test_the_internet_may_not_come_in_whichever_way_it_is_said(cidr: str) -> None:
    path = "cidrIpv6" if ":" in cidr else "cidrIpv4"
    rule = resource(INGRESS, "https", {path: cidr, "fromPort": 443, "toPort": 443, "ipProtocol": "tcp"})
    deny(group_not_wide_open, rule, says=f"{cidr} may come in on port 443", path=path)
    inline = "ipv6CidrBlocks" if ":" in cidr else "cidrBlocks"
    ports = {"fromPort": 22, "toPort": 80, "protocol": "tcp"}
    deny(
        group_not_wide_open, resource(RULE, "web", {"type": "ingress", inline: [cidr], **ports}), says="ports 22 to 80"
    )
    for kind in (GROUP, DEFAULT):
        group = resource(kind, "web", ingress=[{inline: ["10.0.0.0/16"]}, {inline: [cidr], "protocol": "-1"}])
        deny(group_not_wide_open, group, says="every port", path=f"ingress[1].{inline}")


def test_a_rule_over_all_protocols_or_without_ports_is_about_every_port() -> None:
    for stated in ({"ipProtocol": "-1", "fromPort": 0, "toPort": 0}, {"ipProtocol": "tcp"}):
        deny(group_not_wide_open, resource(INGRESS, "all", {"cidrIpv4": "0.0.0.0/0", **stated}), says="on every port")


def test_what_goes_out_and_what_comes_from_a_group_is_admitted() -> None:
    admit(group_not_wide_open, resource(RULE, "out", type="egress", cidrBlocks=["0.0.0.0/0"]))
    admit(group_not_wide_open, resource(INGRESS, "nodes", referencedSecurityGroupId=resource(GROUP, "nodes")))
    admit(group_not_wide_open, resource(GROUP, "web"))


def test_a_network_that_is_not_known_is_undetermined() -> None:
    undetermined(group_not_wide_open, resource(INGRESS, "https", cidrIpv4=unknown()), path="cidrIpv4")
    undetermined(group_not_wide_open, resource(RULE, "https", type="ingress", cidrBlocks=unknown()))
    undetermined(group_not_wide_open, resource(RULE, "https", type=unknown()), path="type")
    undetermined(group_not_wide_open, resource(GROUP, "web", ingress=[unknown()]), path="ingress[0]")
    undetermined(group_not_wide_open, resource(GROUP, "web", ingress=unknown()), path="ingress")
    undetermined(group_not_wide_open, resource(GROUP, "web", ingress=[{"cidrBlocks": [unknown()]}]))


def test_the_default_group_of_a_network_is_closed() -> None:
    network = resource(VPC, "network")
    admit(default_group_closed, network, resource(DEFAULT, "default", vpcId=network, ingress=[], egress=[]))
    deny(default_group_closed, network, at=network, says="left as AWS makes it")
    for path in ("ingress", "egress"):
        open_one = resource(DEFAULT, "default", {path: [{"protocol": "-1"}]}, vpcId=network)
        deny(default_group_closed, network, open_one, at=open_one, path=path, says="1 ")
    undetermined(default_group_closed, network, resource(DEFAULT, "default", vpcId=network, egress=unknown()))


def test_ports_are_told_as_they_are_stated() -> None:
    def rule(**ports: object) -> object:
        return resource(RULE, "web", {"type": "ingress", "cidrBlocks": ["0.0.0.0/0"], **ports})

    deny(group_not_wide_open, rule(protocol="-1", fromPort=1, toPort=2), says="every port")  # type: ignore[arg-type]
    deny(group_not_wide_open, rule(protocol="tcp"), says="every port")  # type: ignore[arg-type]


def test_half_a_host_address_is_a_network() -> None:
    admit(group_not_wide_open, resource(INGRESS, "one", cidrIpv4="10.22.0.7/16", fromPort=1, toPort=1))


def test_each_network_and_each_default_group_is_looked_at() -> None:
    cidrs = ["10.0.0.0/16", "0.0.0.0/0"]
    deny(group_not_wide_open, resource(RULE, "web", type="ingress", cidrBlocks=cidrs, fromPort=1, toPort=1))
    deny(group_not_wide_open, resource(GROUP, "web", ingress=[{"cidrBlocks": cidrs, "fromPort": 1, "toPort": 1}]))
    network = resource(VPC, "network")
    closed = resource(DEFAULT, "first", vpcId=network, ingress=[], egress=[])
    left = resource(DEFAULT, "second", vpcId=network, ingress=[{"protocol": "-1"}], egress=[])
    deny(default_group_closed, network, closed, left, at=left, path="ingress")


def test_sixteen_signs_of_an_ipv6_network_are_needed() -> None:
    deny(group_not_wide_open, resource(INGRESS, "one", cidrIpv6="2001::/15", fromPort=1, toPort=1))
