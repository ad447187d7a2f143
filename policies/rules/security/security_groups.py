"""Security groups: nothing is open to the whole internet, and the network's default group lets nothing through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Any

from policies.plan import Resource, UndeterminedError, Unknown, known
from policies.rule import EVERYWHERE_ON_AWS, Answer, Problem, World, resource_rule

GROUP = "aws:ec2/securityGroup:SecurityGroup"
DEFAULT_GROUP = "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"
RULE = "aws:ec2/securityGroupRule:SecurityGroupRule"
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
_INLINE = ("cidrBlocks", "ipv6CidrBlocks")
_WIDEST = {4: 8, 6: 16}
"""Shortest prefix that may come in: 10.0.0.0/8 is the widest private network of IPv4."""


@resource_rule(
    id="security.group-not-wide-open",
    title="No security group lets the whole internet in",
    severity="critical",
    why="Scanners find an open port within minutes; what listens there is then as safe as its next fault.",
    fix="name the security group or the network that may come in",
    references=("CIS AWS Foundations 3.0 5.2", "CIS AWS Foundations 3.0 5.3", "AWS FSBP EC2.18", "AWS FSBP EC2.19"),
    types=(GROUP, DEFAULT_GROUP, RULE, INGRESS),
    levels=EVERYWHERE_ON_AWS,
    waivable=False,
)
def group_not_wide_open(resource: Resource, world: World) -> Iterator[Answer]:
    """Look at the rules that stand in a group, and at those that are resources of their own."""
    if resource.type == INGRESS:
        for path in ("cidrIpv4", "cidrIpv6"):
            yield from _judged(resource.value(path), _ports(resource.inputs), path)
    elif resource.type == RULE:
        if resource.value("type") == "ingress":
            for path in _INLINE:
                for cidr in resource.value(path, default=[]):
                    yield from _judged(cidr, _ports(resource.inputs), path)
    else:
        for index, rule in enumerate(resource.items("ingress")):
            where = f"ingress[{index}]"
            if isinstance(rule, Unknown):
                raise UndeterminedError(where, rule.origins)
            for path in _INLINE:
                for cidr in known(rule.get(path) or [], f"{where}.{path}"):
                    yield from _judged(cidr, _ports(rule), f"{where}.{path}")


@resource_rule(
    id="security.default-group-closed",
    title="The default security group of a network lets nothing in or out",
    severity="medium",
    why="What is made without a group gets the default one: it must not reach anything by accident.",
    fix="give the network a DefaultSecurityGroup with no rules",
    references=("CIS AWS Foundations 3.0 5.4", "AWS FSBP EC2.2"),
    types=("aws:ec2/vpc:Vpc",),
    levels=EVERYWHERE_ON_AWS,
)
def default_group_closed(network: Resource, world: World) -> Iterator[Answer]:
    """Look for the network's default group, and at its rules."""
    groups = world.plan.used_by(network, "vpcId", DEFAULT_GROUP)
    if not groups:
        yield Problem("its default security group is left as AWS makes it: open among its members")
    for group in groups:
        for path in ("ingress", "egress"):
            if rules := group.items(path):
                yield Problem(f"{len(rules)} {path} rules; allowed: none", urn=group.urn, path=path)


def _judged(cidr: Any, ports: str, path: str) -> Iterator[Answer]:
    """Judge one range of addresses; whole halves of the internet count as all of it."""
    if cidr is None:
        return
    network = ip_network(str(cidr), strict=False)
    if network.prefixlen < _WIDEST[network.version]:
        yield Problem(f"{cidr} may come in on {ports}", path=path)


def _ports(rule: Mapping[str, Any]) -> str:
    first, last = rule.get("fromPort"), rule.get("toPort")
    if str(rule.get("ipProtocol", rule.get("protocol"))) == "-1" or first is None:
        return "every port"
    return f"port {first}" if first == last else f"ports {first} to {last}"
