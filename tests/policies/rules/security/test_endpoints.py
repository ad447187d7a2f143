"""Endpoints that the internet may not reach."""

from typing import Any

import pytest

from policies.plan import Resource
from policies.rules.security.endpoints import (
    balancer_internal,
    cluster_endpoint_private,
    database_not_public,
    endpoint_not_public,
    search_in_network,
)
from policies.testing import admit, deny, resource, undetermined, unknown

DATABASES = (
    "aws:rds/instance:Instance", "aws:rds/clusterInstance:ClusterInstance", "aws:redshift/cluster:Cluster",
    "aws:docdb/clusterInstance:ClusterInstance", "aws:neptune/clusterInstance:ClusterInstance",
    "aws:redshiftserverless/workgroup:Workgroup", "aws:dms/replicationInstance:ReplicationInstance",
    "aws:mq/broker:Broker",
)  # fmt: skip


def cluster(**config: Any) -> Resource:
    return resource("aws:eks/cluster:Cluster", "cluster", vpcConfig={"endpointPrivateAccess": True, **config})


@pytest.mark.parametrize("kind", DATABASES)
def test_a_database_is_not_public(kind: str) -> None:
    admit(database_not_public, resource(kind, "main"))
    admit(database_not_public, resource(kind, "main", publiclyAccessible=False))
    deny(database_not_public, resource(kind, "main", publiclyAccessible=True), path="publiclyAccessible")
    undetermined(database_not_public, resource(kind, "main", publiclyAccessible=unknown()))


def test_the_endpoint_of_the_cluster_is_private() -> None:
    admit(cluster_endpoint_private, cluster(endpointPublicAccess=False))
    undetermined(cluster_endpoint_private, cluster(endpointPublicAccess=unknown()))
    closed = resource("aws:eks/cluster:Cluster", "cluster", vpcConfig={"endpointPublicAccess": False})
    off = cluster(endpointPublicAccess=False, endpointPrivateAccess=False)
    deny(cluster_endpoint_private, off, path="vpcConfig.endpointPrivateAccess")
    deny(cluster_endpoint_private, closed, says="endpointPrivateAccess is off")


def test_a_public_endpoint_of_the_cluster_is_for_named_networks_and_not_in_prod() -> None:
    named = cluster(endpointPublicAccess=True, publicAccessCidrs=["192.0.2.7/24", "10.0.0.0/8", "2001:db8::/32"])
    admit(cluster_endpoint_private, named, environment="dev")
    setting = "aws.kubernetes.publicCidrs"
    deny(cluster_endpoint_private, named, says="public endpoint is on", setting=setting, environment="prod")
    everybody: list[dict[str, Any]] = [{}, {"publicAccessCidrs": ["0.0.0.0/0"]}, {"publicAccessCidrs": []}]
    for config in everybody:
        deny(
            cluster_endpoint_private, cluster(**config), says="0.0.0.0/0 may reach", environment="dev", setting=setting
        )
    deny(cluster_endpoint_private, cluster(publicAccessCidrs=["::/1", "10.0.0.0/7"]), times=2, environment="dev")
    undetermined(cluster_endpoint_private, cluster(publicAccessCidrs=[unknown()]), environment="dev")


@pytest.mark.parametrize(
    ("kind", "good", "bad", "path"),
    [
        ("aws:ec2/instance:Instance", {}, {"associatePublicIpAddress": True}, "associatePublicIpAddress"),
        ("aws:ec2/subnet:Subnet", {"mapPublicIpOnLaunch": False}, {"mapPublicIpOnLaunch": True}, "mapPublicIpOnLaunch"),
        ("aws:ec2/subnet:Subnet", {}, {"assignIpv6AddressOnCreation": True}, "assignIpv6AddressOnCreation"),
        (
            "aws:lambda/functionUrl:FunctionUrl",
            {"authorizationType": "AWS_IAM"},
            {"authorizationType": "NONE"},
            "authorizationType",
        ),
        (
            "aws:sagemaker/notebookInstance:NotebookInstance",
            {"directInternetAccess": "Disabled"},
            {},
            "directInternetAccess",
        ),
        ("aws:sagemaker/domain:Domain", {"appNetworkAccessType": "VpcOnly"}, {}, "appNetworkAccessType"),
        (
            "aws:msk/cluster:Cluster",
            {},
            {"brokerNodeGroupInfo": {"connectivityInfo": {"publicAccess": {"type": "SERVICE_PROVIDED_EIPS"}}}},
            "brokerNodeGroupInfo.connectivityInfo.publicAccess.type",
        ),
    ],
)
def test_nothing_gets_a_public_address(kind: str, good: dict[str, Any], bad: dict[str, Any], path: str) -> None:
    admit(endpoint_not_public, resource(kind, "one", good))
    deny(endpoint_not_public, resource(kind, "one", bad), path=path)
    first = path.partition(".")[0]
    undetermined(endpoint_not_public, resource(kind, "one", {first: unknown()}), path=path)


def test_load_balancers_are_internal() -> None:
    for kind in ("aws:lb/loadBalancer:LoadBalancer", "aws:elb/loadBalancer:LoadBalancer"):
        admit(balancer_internal, resource(kind, "web", internal=True))
        deny(balancer_internal, resource(kind, "web"), path="internal")
        undetermined(balancer_internal, resource(kind, "web", internal=unknown()))


def test_search_domains_stand_in_a_network() -> None:
    kind = "aws:opensearch/domain:Domain"
    subnet = resource("aws:ec2/subnet:Subnet", "private-0")
    admit(search_in_network, resource(kind, "logs", vpcOptions={"subnetIds": [subnet]}), subnet)
    deny(search_in_network, resource(kind, "logs"), path="vpcOptions.subnetIds")
    group = resource("aws:ec2/securityGroup:SecurityGroup", "logs")
    deny(search_in_network, group, resource(kind, "logs", vpcOptions={"securityGroupIds": [group]}))
    admit(search_in_network, subnet, resource(kind, "logs", vpcOptions={"subnetIds": unknown(subnet)}))
    deny(search_in_network, resource(kind, "logs", vpcOptions={"subnetIds": []}))
    undetermined(search_in_network, resource(kind, "logs", vpcOptions=unknown()))


def test_a_search_domain_whose_subnets_come_from_elsewhere_is_judged_by_what_it_states() -> None:
    network = resource("aws:ec2/vpc:Vpc", "network")
    undetermined(
        search_in_network, resource("aws:opensearch/domain:Domain", "one", vpcOptions={"subnetIds": network}), network
    )


def test_what_is_public_is_said_in_words_of_people() -> None:
    deny(
        endpoint_not_public,
        resource("aws:ec2/instance:Instance", "one", associatePublicIpAddress=True),
        says="associatePublicIpAddress is on",
    )
    deny(
        endpoint_not_public,
        resource("aws:lambda/functionUrl:FunctionUrl", "one", authorizationType="NONE"),
        says="NONE",
    )


def test_a_network_of_the_endpoint_may_be_told_by_one_of_its_addresses() -> None:
    admit(cluster_endpoint_private, cluster(publicAccessCidrs=["192.0.2.7/24"]), environment="dev")


def test_sixteen_signs_of_an_ipv6_network_are_needed() -> None:
    admit(cluster_endpoint_private, cluster(publicAccessCidrs=["2001::/16"]), environment="dev")
    deny(cluster_endpoint_private, cluster(publicAccessCidrs=["2000::/15"]), environment="dev")
