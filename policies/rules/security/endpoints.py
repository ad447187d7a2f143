"""Endpoints: what the internet may not reach. Buckets and security groups have files of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_network

from policies.plan import Resource
from policies.rule import EVERYWHERE_ON_AWS, Answer, Problem, World, resource_rule

CLUSTER = "aws:eks/cluster:Cluster"
_SWITCHES: Mapping[str, tuple[tuple[str, ...], object, object]] = {
    # type: (path, what it is when it is not stated, what makes it public)
    "aws:ec2/instance:Instance": (("associatePublicIpAddress",), False, True),
    "aws:ec2/subnet:Subnet": (("mapPublicIpOnLaunch",), False, True),
    "aws:ec2/subnet:Subnet ipv6": (("assignIpv6AddressOnCreation",), False, True),
    "aws:lambda/functionUrl:FunctionUrl": (("authorizationType",), None, "NONE"),
    "aws:sagemaker/notebookInstance:NotebookInstance": (("directInternetAccess",), "Enabled", "Enabled"),
    "aws:sagemaker/domain:Domain": (("appNetworkAccessType",), "PublicInternetOnly", "PublicInternetOnly"),
    "aws:msk/cluster:Cluster": (
        ("brokerNodeGroupInfo", "connectivityInfo", "publicAccess", "type"), "DISABLED", "SERVICE_PROVIDED_EIPS",
    ),
}  # fmt: skip
_DATABASES = (
    "aws:rds/instance:Instance",
    "aws:rds/clusterInstance:ClusterInstance",
    "aws:docdb/clusterInstance:ClusterInstance",
    "aws:neptune/clusterInstance:ClusterInstance",
    "aws:redshift/cluster:Cluster",
    "aws:redshiftserverless/workgroup:Workgroup",
    "aws:dms/replicationInstance:ReplicationInstance",
    "aws:mq/broker:Broker",
)
"""Kinds that have the switch `publiclyAccessible`."""
_WIDEST = {4: 8, 6: 16}
"""Shortest prefix of addresses that counts as named."""
_BALANCERS = (
    "aws:lb/loadBalancer:LoadBalancer",
    "aws:alb/loadBalancer:LoadBalancer",
    "aws:elb/loadBalancer:LoadBalancer",
)
_OPENSEARCH = ("aws:opensearch/domain:Domain", "aws:elasticsearch/domain:Domain")


@resource_rule(
    id="security.database-not-public",
    title="No database can be reached from the internet",
    severity="critical",
    why="A database's password is then all that stands between the internet and the registry and ledger.",
    fix="set publiclyAccessible to false and place it in subnets without a way out",
    references=("CIS AWS Foundations 3.0 2.3.3", "AWS FSBP RDS.2"),
    types=_DATABASES,
    levels=EVERYWHERE_ON_AWS,
    waivable=False,
)
def database_not_public(database: Resource, world: World) -> Iterator[Answer]:
    """Look at the switch."""
    if database.value("publiclyAccessible", default=False) is not False:
        yield Problem("publiclyAccessible is on", path="publiclyAccessible")


@resource_rule(
    id="security.cluster-endpoint-private",
    title="The Kubernetes API is not open to the internet",
    severity="critical",
    why="Whoever reaches the API server can try stolen credentials and its next fault.",
    fix="turn endpointPublicAccess off (and endpointPrivateAccess on), or name the networks that may reach it",
    references=("AWS FSBP EKS.1",),
    types=(CLUSTER,),
    levels=EVERYWHERE_ON_AWS,
)
def cluster_endpoint_private(cluster: Resource, world: World) -> Iterator[Answer]:
    """Look at both endpoints. AWS opens the public one to everybody where nothing is stated."""
    config, setting = "vpcConfig", "aws.kubernetes.publicCidrs"
    if cluster.value(config, "endpointPrivateAccess", default=False) is not True:
        yield Problem(
            "endpointPrivateAccess is off: nodes would go by the internet", path=f"{config}.endpointPrivateAccess"
        )
    if cluster.value(config, "endpointPublicAccess", default=True) is False:
        return
    path = f"{config}.publicAccessCidrs"
    cidrs = cluster.value(config, "publicAccessCidrs", default=["0.0.0.0/0"]) or ["0.0.0.0/0"]
    for cidr in cidrs:
        network = ip_network(str(cidr), strict=False)
        if network.prefixlen < _WIDEST[network.version]:
            yield Problem(f"{cidr} may reach its public endpoint", path=path, setting=setting)
    if world.facts.environment == "prod":
        yield Problem(
            "its public endpoint is on; allowed in prod: off", path=f"{config}.endpointPublicAccess", setting=setting
        )


@resource_rule(
    id="security.endpoint-not-public",
    title="Nothing gets a public address or an endpoint without authentication",
    severity="high",
    why="The platform has one door to the outside, its gateway; every other one is watched by nobody.",
    fix="place it in private subnets and reach it by the gateway or by an endpoint of the network",
    references=("AWS FSBP EC2.9", "AWS FSBP EC2.15", "AWS FSBP Lambda.1", "AWS FSBP SageMaker.1"),
    types=tuple({one.partition(" ")[0]: None for one in _SWITCHES}),
    levels=EVERYWHERE_ON_AWS,
)
def endpoint_not_public(resource: Resource, world: World) -> Iterator[Answer]:
    """Look at the switches of its type."""
    for kind, (path, default, public) in _SWITCHES.items():
        if kind.partition(" ")[0] == resource.type and (found := resource.value(*path, default=default)) == public:
            yield Problem(f"{path[-1]} is {'on' if found is True else found}", path=".".join(path))


@resource_rule(
    id="security.balancer-internal",
    title="No load balancer of our own faces the internet",
    severity="high",
    why="Predictions go by the gateway, which authenticates and limits; a balancer beside it does neither.",
    fix="set internal to true, or publish by the gateway",
    types=_BALANCERS,
    levels=EVERYWHERE_ON_AWS,
)
def balancer_internal(balancer: Resource, world: World) -> Iterator[Answer]:
    """Look at its scheme; what states none faces the internet."""
    if balancer.value("internal", default=False) is not True:
        yield Problem("it faces the internet; allowed: internal", path="internal")


@resource_rule(
    id="security.search-in-network",
    title="Every search domain stands inside a network",
    severity="high",
    why="A search domain outside a network has a public endpoint.",
    fix="state vpcOptions with private subnets",
    references=("AWS FSBP Opensearch.2",),
    types=_OPENSEARCH,
    levels=EVERYWHERE_ON_AWS,
)
def search_in_network(domain: Resource, world: World) -> Iterator[Answer]:
    """Look for its subnets; which ids they have does not matter."""
    path = ("vpcOptions", "subnetIds")
    if any(one.type == "aws:ec2/subnet:Subnet" for one in world.plan.origins(domain, *path)):
        return
    if not domain.items(*path):
        yield Problem("it has no vpcOptions.subnetIds: its endpoint is public", path="vpcOptions.subnetIds")
