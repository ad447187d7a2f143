"""The network on AWS: a VPC over several zones, closed by default, with its calls of AWS kept inside where asked.

Private subnets hold nodes and pods, public ones only load balancers and NAT gateways, intra ones have no way out at
all. Subnets carry the tags by which EKS' load balancers and Karpenter find them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
from pulumi import Output
from pulumi_aws import cloudwatch, ec2, iam, vpc

from components.cloud import Cloud, allow, policy, trust
from components.network import Network, NetworkArgs
from components.network.plan import divide

ANYWHERE = "0.0.0.0/0"
INTERFACE_ENDPOINTS = (
    "autoscaling", "ec2", "ecr.api", "ecr.dkr", "eks", "eks-auth", "elasticloadbalancing", "kms", "logs", "monitoring",
    "sagemaker.api", "sagemaker.featurestore-runtime", "secretsmanager", "sns", "sqs", "ssm", "sts",
)  # fmt: skip
"""Services that nodes, Karpenter, the platform's pods and SageMaker's jobs call."""
GATEWAY_ENDPOINTS = ("s3", "dynamodb")


@dataclass(frozen=True, kw_only=True)
class AwsNetworkArgs(NetworkArgs):
    """What the network on AWS needs besides.

    Attributes:
        cloud: the environment.
        cluster: name of the Kubernetes cluster whose nodes live here.
        logs_key: ARN of the key that encrypts logs.
    """

    cloud: Cloud
    cluster: str
    logs_key: pulumi.Input[str]


class AwsNetwork(Network):
    """A VPC."""

    def __init__(self, name: str, args: AwsNetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:network:AwsNetwork", name, opts)
        self._args = args
        self._zones = _zones(args, self)
        network = ec2.Vpc(
            name,
            cidr_block=args.cidr,
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags=self._named(name),
            opts=self.child(),
        )
        self._vpc = network
        # What AWS gives to whoever names no group: nothing gets in or out.
        ec2.DefaultSecurityGroup(f"{name}-default", vpc_id=network.id, ingress=[], egress=[], opts=self.child())
        blocks = divide(args.cidr, args.zones)
        public = self._subnets("public", [one.public for one in blocks], {"kubernetes.io/role/elb": "1"})
        private = self._subnets(
            "private",
            [one.private for one in blocks],
            {"kubernetes.io/role/internal-elb": "1", "karpenter.sh/discovery": args.cluster},
        )
        intra = self._subnets("intra", [one.intra for one in blocks], {})
        tables = self._routes(public, private, intra)
        guard = self._endpoints(tables, intra)
        self._flow_logs()
        self.register(
            vpc_id=network.id,
            zones=self._zones,
            private_subnet_ids=Output.all(*(subnet.id for subnet in private)),
            public_subnet_ids=Output.all(*(subnet.id for subnet in public)),
            intra_subnet_ids=Output.all(*(subnet.id for subnet in intra)),
            endpoint_security_group_id=guard.id,
        )

    def _named(self, purpose: str) -> dict[str, str]:
        return {"Name": f"{self._args.cloud.names.prefix}-{purpose}"}

    def _subnets(self, kind: str, blocks: Sequence[str], tags: dict[str, str]) -> list[ec2.Subnet]:
        return [
            ec2.Subnet(
                f"{kind}-{number}",
                vpc_id=self._vpc.id,
                cidr_block=block,
                availability_zone=self._zones[number],
                map_public_ip_on_launch=False,
                tags=self._named(f"{kind}-{number}") | tags,
                opts=self.child(),
            )
            for number, block in enumerate(blocks)
        ]

    def _routes(
        self, public: list[ec2.Subnet], private: list[ec2.Subnet], intra: list[ec2.Subnet]
    ) -> list[ec2.RouteTable]:
        """Routes of every subnet; returns the tables that reach S3 and DynamoDB by gateway endpoints."""
        internet = ec2.InternetGateway("internet", vpc_id=self._vpc.id, tags=self._named("internet"), opts=self.child())
        outside = self._table("public", public)
        ec2.Route(
            "public-internet",
            route_table_id=outside.id,
            destination_cidr_block=ANYWHERE,
            gateway_id=internet.id,
            opts=self.child(),
        )
        inside = [self._table(f"private-{number}", [subnet]) for number, subnet in enumerate(private)]
        gateways = self._nat(public[: {"none": 0, "one": 1, "per-zone": len(public)}[self._args.nat]], internet)
        for number, table in enumerate(inside if gateways else []):
            ec2.Route(
                f"private-{number}-nat",
                route_table_id=table.id,
                destination_cidr_block=ANYWHERE,
                nat_gateway_id=gateways[min(number, len(gateways) - 1)].id,
                opts=self.child(),
            )
        return [*inside, self._table("intra", intra)]

    def _table(self, name: str, subnets: list[ec2.Subnet]) -> ec2.RouteTable:
        table = ec2.RouteTable(name, vpc_id=self._vpc.id, tags=self._named(name), opts=self.child())
        for number, subnet in enumerate(subnets):
            ec2.RouteTableAssociation(
                f"{name}-{number}" if len(subnets) > 1 else name,
                route_table_id=table.id,
                subnet_id=subnet.id,
                opts=self.child(),
            )
        return table

    def _nat(self, subnets: list[ec2.Subnet], internet: ec2.InternetGateway) -> list[ec2.NatGateway]:
        gateways = []
        for number, subnet in enumerate(subnets):
            address = ec2.Eip(
                f"nat-{number}", domain="vpc", tags=self._named(f"nat-{number}"), opts=self.child(depends_on=[internet])
            )
            gateways.append(
                ec2.NatGateway(
                    f"nat-{number}",
                    allocation_id=address.id,
                    subnet_id=subnet.id,
                    tags=self._named(f"nat-{number}"),
                    opts=self.child(depends_on=[internet]),
                )
            )
        return gateways

    def _endpoints(self, tables: list[ec2.RouteTable], intra: list[ec2.Subnet]) -> ec2.SecurityGroup:
        args = self._args
        guard = ec2.SecurityGroup(
            "endpoints",
            vpc_id=self._vpc.id,
            description="Interface endpoints: HTTPS from inside the network",
            tags=self._named("endpoints"),
            opts=self.child(),
        )
        vpc.SecurityGroupIngressRule(
            "endpoints-https",
            security_group_id=guard.id,
            cidr_ipv4=args.cidr,
            ip_protocol="tcp",
            from_port=443,
            to_port=443,
            description="HTTPS from inside the network",
            opts=self.child(),
        )
        for service in GATEWAY_ENDPOINTS:
            ec2.VpcEndpoint(
                service,
                vpc_id=self._vpc.id,
                service_name=f"com.amazonaws.{args.cloud.region}.{service}",
                vpc_endpoint_type="Gateway",
                route_table_ids=[table.id for table in tables],
                tags=self._named(service),
                opts=self.child(),
            )
        if args.interface_endpoints or args.nat == "none":
            for service in INTERFACE_ENDPOINTS:
                ec2.VpcEndpoint(
                    service.replace(".", "-"),
                    vpc_id=self._vpc.id,
                    service_name=f"com.amazonaws.{args.cloud.region}.{service}",
                    vpc_endpoint_type="Interface",
                    private_dns_enabled=True,
                    subnet_ids=[subnet.id for subnet in intra],
                    security_group_ids=[guard.id],
                    tags=self._named(service),
                    opts=self.child(),
                )
        return guard

    def _flow_logs(self) -> None:
        cloud = self._args.cloud
        called = f"/{cloud.names.path('log-group', 'network')}"
        group = cloudwatch.LogGroup(
            "flow-logs",
            name=called,
            retention_in_days=self._args.flow_log_days,
            kms_key_id=self._args.logs_key,
            opts=self.child(),
        )
        role = iam.Role(
            "flow-logs",
            name=cloud.names.of("role", "flow-logs"),
            assume_role_policy=trust(
                cloud.service("vpc-flow-logs"), Condition={"StringEquals": {"aws:SourceAccount": cloud.account}}
            ),
            opts=self.child(),
        )
        arn = cloud.arn("logs", f"log-group:{called}")
        writes = ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"]
        iam.RolePolicy(
            "flow-logs",
            role=role.name,
            policy=policy(allow(writes, [arn, f"{arn}:*"])),
            opts=self.child(),
        )
        ec2.FlowLog(
            "flow-logs",
            vpc_id=self._vpc.id,
            traffic_type="ALL",
            log_destination_type="cloud-watch-logs",
            log_destination=group.arn,
            iam_role_arn=role.arn,
            max_aggregation_interval=60,
            tags=self._named("flow-logs"),
            opts=self.child(),
        )


def _zones(args: AwsNetworkArgs, parent: pulumi.Resource) -> Output[list[str]]:
    """Names of the zones to use: the first of the region's, in their order."""
    found = aws.get_availability_zones_output(
        state="available",
        filters=[aws.GetAvailabilityZonesFilterArgs(name="opt-in-status", values=["opt-in-not-required"])],
        opts=pulumi.InvokeOutputOptions(parent=parent),
    )
    zones: Output[list[str]] = found.names.apply(lambda names: chosen_zones(names, args.zones, args.cloud.region))
    return zones


def chosen_zones(names: Sequence[str], wanted: int, region: str) -> list[str]:
    """The zones to use of those that a region has.

    Raises:
        pulumi.RunError: the region has fewer than are wanted.
    """
    if len(names) < wanted:
        raise pulumi.RunError(
            f"aws.network.zones is {wanted}, but {region} has {len(names)} zones for this account "
            f"({', '.join(sorted(names)) or 'none'}): state fewer zones (2 at least), or another region"
        )
    return sorted(names)[:wanted]
