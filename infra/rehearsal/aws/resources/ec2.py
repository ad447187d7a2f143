"""The network: VPC, subnets, gateways, routes, endpoints, flow logs, addresses."""

from typing import Any

from infra.rehearsal.aws.kind import Call, Kind, Look, Situation, Tagging
from infra.rehearsal.aws.resources.shared import arn, differences


def tagging(kind: str) -> Tagging:
    """Return how EC2's objects of one kind are tagged."""
    return Tagging("create_tags", "delete_tags", "Resources", tags=kind, keys="Tags", at_creation="TagSpecifications")


def _route(at: Situation) -> dict[str, Any] | None:
    """Return the route of a table to this resource's destination."""
    wanted = at.inputs.get("destinationCidrBlock") or at.inputs.get("destinationPrefixListId")
    return next(
        (
            one
            for one in at.world.get("Routes", ())
            if wanted in (one.get("DestinationCidrBlock"), one.get("DestinationPrefixListId"))
        ),
        None,
    )


def _association(at: Situation) -> dict[str, Any] | None:
    found = (one for one in at.world.get("Associations", ()) if one["RouteTableAssociationId"] == at.id)
    return next(found, None)


def _inline_routes(at: Situation) -> list[dict[str, Any]]:
    return [dict(route) for route in at.inputs.get("routes") or ()]


_ROUTE = {
    "RouteTableId": "@id",
    "DestinationCidrBlock": "@item.cidrBlock",
    "GatewayId": "@item.gatewayId",
    "NatGatewayId": "@item.natGatewayId",
    "VpcEndpointId": "@item.vpcEndpointId",
}
_ROUTE_TARGETS = ("gatewayId", "natGatewayId", "vpcEndpointId", "networkInterfaceId", "transitGatewayId")
_ENDPOINT_LISTS = ("routeTableIds", "subnetIds", "securityGroupIds")

KINDS = (
    Kind(
        token="aws:ec2/vpc:Vpc",
        service="ec2",
        cloudformation="AWS::EC2::VPC",
        create=Call("create_vpc", auto=True),
        then=(
            Call("modify_vpc_attribute", {"VpcId": "@id", "EnableDnsSupport": {"Value": ".enableDnsSupport"}}),
            Call("modify_vpc_attribute", {"VpcId": "@id", "EnableDnsHostnames": {"Value": ".enableDnsHostnames"}}),
        ),
        looks=(
            Look("describe_vpcs", {"VpcIds": ["@id"]}, "Vpcs[0]"),
            Look(
                "describe_vpc_attribute",
                {"VpcId": "@id", "Attribute": "enableDnsSupport"},
                "EnableDnsSupport",
                into="support",
            ),
            Look(
                "describe_vpc_attribute",
                {"VpcId": "@id", "Attribute": "enableDnsHostnames"},
                "EnableDnsHostnames",
                into="hostnames",
            ),
            Look(
                "describe_security_groups",
                {"Filters": [{"Name": "vpc-id", "Values": ["@id"]}, {"Name": "group-name", "Values": ["default"]}]},
                "SecurityGroups[0]",
                into="group",
            ),
            Look(
                "describe_route_tables",
                {"Filters": [{"Name": "vpc-id", "Values": ["@id"]}, {"Name": "association.main", "Values": ["true"]}]},
                "RouteTables[0]",
                into="main",
            ),
            Look(
                "describe_network_acls",
                {"Filters": [{"Name": "vpc-id", "Values": ["@id"]}, {"Name": "default", "Values": ["true"]}]},
                "NetworkAcls[0]",
                into="acl",
            ),
        ),
        delete=(Call("delete_vpc", {"VpcId": "@id"}),),
        id="Vpc.VpcId",
        outputs={
            "arn": arn("ec2", "vpc/{id}"),
            "enableDnsSupport": "support.Value",
            "enableDnsHostnames": "hostnames.Value",
            "defaultSecurityGroupId": "group.GroupId",
            "defaultRouteTableId": "main.RouteTableId",
            "mainRouteTableId": "main.RouteTableId",
            "defaultNetworkAclId": "acl.NetworkAclId",
        },
        tagging=tagging("vpc"),
        listing=("describe_vpcs", {}, "Vpcs[].VpcId"),
    ),
    Kind(
        token="aws:ec2/subnet:Subnet",
        service="ec2",
        cloudformation="AWS::EC2::Subnet",
        create=Call("create_subnet", auto=True),
        then=(
            Call(
                "modify_subnet_attribute", {"SubnetId": "@id", "MapPublicIpOnLaunch": {"Value": ".mapPublicIpOnLaunch"}}
            ),
            Call(
                "modify_subnet_attribute",
                {"SubnetId": "@id", "PrivateDnsHostnameTypeOnLaunch": ".privateDnsHostnameTypeOnLaunch"},
            ),
        ),
        looks=(Look("describe_subnets", {"SubnetIds": ["@id"]}, "Subnets[0]"),),
        delete=(Call("delete_subnet", {"SubnetId": "@id"}),),
        id="Subnet.SubnetId",
        outputs={"arn": "SubnetArn"},
        replaces=("vpcId", "availabilityZone", "availabilityZoneId", "cidrBlock"),
        tagging=tagging("subnet"),
        listing=("describe_subnets", {}, "Subnets[].SubnetId"),
    ),
    Kind(
        token="aws:ec2/internetGateway:InternetGateway",
        service="ec2",
        create=Call("create_internet_gateway"),
        then=(Call("attach_internet_gateway", {"InternetGatewayId": "@id", "VpcId": ".vpcId"}),),
        looks=(Look("describe_internet_gateways", {"InternetGatewayIds": ["@id"]}, "InternetGateways[0]"),),
        delete=(
            Call(
                "detach_internet_gateway",
                {"InternetGatewayId": "@id", "VpcId": "@item"},
                each=lambda at: [at.inputs["vpcId"]] if at.inputs.get("vpcId") else [],
            ),
            Call("delete_internet_gateway", {"InternetGatewayId": "@id"}),
        ),
        id="InternetGateway.InternetGatewayId",
        replaces=("vpcId",),
        outputs={"vpcId": "Attachments[0].VpcId", "arn": arn("ec2", "internet-gateway/{id}")},
        tagging=tagging("internet-gateway"),
        listing=("describe_internet_gateways", {}, "InternetGateways[].InternetGatewayId"),
    ),
    Kind(
        token="aws:ec2/eip:Eip",
        service="ec2",
        cloudformation="AWS::EC2::EIP",
        create=Call("allocate_address", auto=True),
        looks=(Look("describe_addresses", {"AllocationIds": ["@id"]}, "Addresses[0]"),),
        delete=(Call("release_address", {"AllocationId": "@id"}),),
        id="AllocationId",
        replaces=("domain", "publicIpv4Pool"),
        outputs={"arn": arn("ec2", "elastic-ip/{id}"), "allocationId": "AllocationId"},
        tagging=tagging("elastic-ip"),
        listing=("describe_addresses", {}, "Addresses[].AllocationId"),
    ),
    Kind(
        token="aws:ec2/natGateway:NatGateway",
        service="ec2",
        cloudformation="AWS::EC2::NatGateway",
        create=Call("create_nat_gateway", auto=True),
        looks=(
            Look(
                "describe_nat_gateways",
                {"NatGatewayIds": ["@id"]},
                "NatGateways[?State!='deleted' && State!='deleting'] | [0]",
            ),
        ),
        delete=(Call("delete_nat_gateway", {"NatGatewayId": "@id"}),),
        id="NatGateway.NatGatewayId",
        replaces=("allocationId", "subnetId", "connectivityType"),
        outputs={
            "allocationId": "NatGatewayAddresses[0].AllocationId",
            "publicIp": "NatGatewayAddresses[0].PublicIp",
            "privateIp": "NatGatewayAddresses[0].PrivateIp",
            "networkInterfaceId": "NatGatewayAddresses[0].NetworkInterfaceId",
            "associationId": "NatGatewayAddresses[0].AssociationId",
        },
        tagging=tagging("natgateway"),
        listing=("describe_nat_gateways", {}, "NatGateways[?State!='deleted'].NatGatewayId"),
    ),
    Kind(
        token="aws:ec2/routeTable:RouteTable",
        service="ec2",
        cloudformation="AWS::EC2::RouteTable",
        create=Call("create_route_table", {"VpcId": ".vpcId"}),
        then=(Call("create_route", _ROUTE, when=("routes",), each=_inline_routes),),
        looks=(Look("describe_route_tables", {"RouteTableIds": ["@id"]}, "RouteTables[0]"),),
        delete=(Call("delete_route_table", {"RouteTableId": "@id"}),),
        id="RouteTable.RouteTableId",
        replaces=("routes",),
        outputs={"arn": arn("ec2", "route-table/{id}"), "routes": lambda at: at.inputs.get("routes") or []},
        tagging=tagging("route-table"),
        listing=("describe_route_tables", {}, "RouteTables[].RouteTableId"),
    ),
    Kind(
        token="aws:ec2/route:Route",
        service="ec2",
        cloudformation="AWS::EC2::Route",
        create=Call("create_route", auto=True),
        update=(Call("replace_route", auto=True, when=_ROUTE_TARGETS),),
        looks=(Look("describe_route_tables", {"RouteTableIds": [".routeTableId"]}, "RouteTables[0]"),),
        present=lambda at: _route(at) is not None,
        delete=(
            Call(
                "delete_route",
                {
                    "RouteTableId": ".routeTableId",
                    "DestinationCidrBlock": ".destinationCidrBlock",
                    "DestinationPrefixListId": ".destinationPrefixListId",
                },
            ),
        ),
        id=lambda at: f"r-{at.inputs['routeTableId']}-{at.inputs.get('destinationCidrBlock')}",
        replaces=("routeTableId", "destinationCidrBlock", "destinationPrefixListId"),
        outputs={
            "state": lambda at: (_route(at) or {}).get("State"),
            "origin": lambda at: (_route(at) or {}).get("Origin"),
            "gatewayId": lambda at: (_route(at) or {}).get("GatewayId"),
            "natGatewayId": lambda at: (_route(at) or {}).get("NatGatewayId"),
        },
    ),
    Kind(
        token="aws:ec2/routeTableAssociation:RouteTableAssociation",
        service="ec2",
        create=Call("associate_route_table", auto=True),
        looks=(
            Look(
                "describe_route_tables",
                {"Filters": [{"Name": "association.route-table-association-id", "Values": ["@id"]}]},
                "RouteTables[0]",
            ),
        ),
        present=lambda at: _association(at) is not None,
        delete=(Call("disassociate_route_table", {"AssociationId": "@id"}),),
        id="AssociationId",
        replaces=("subnetId", "gatewayId", "routeTableId"),
        outputs={"subnetId": lambda at: (_association(at) or {}).get("SubnetId")},
    ),
    Kind(
        token="aws:ec2/vpcEndpoint:VpcEndpoint",
        service="ec2",
        cloudformation="AWS::EC2::VPCEndpoint",
        create=Call("create_vpc_endpoint", auto=True),
        update=(
            Call(
                "modify_vpc_endpoint",
                {
                    "VpcEndpointId": "@id",
                    "PolicyDocument": ".policy",
                    "PrivateDnsEnabled": ".privateDnsEnabled",
                    **{
                        f"{verb}{member}": differences(name, verb)
                        for verb in ("Add", "Remove")
                        for name, member in zip(
                            _ENDPOINT_LISTS, ("RouteTableIds", "SubnetIds", "SecurityGroupIds"), strict=True
                        )
                    },
                },
                uses=_ENDPOINT_LISTS,
            ),
        ),
        looks=(Look("describe_vpc_endpoints", {"VpcEndpointIds": ["@id"]}, "VpcEndpoints[?State!='deleted'] | [0]"),),
        delete=(Call("delete_vpc_endpoints", {"VpcEndpointIds": ["@id"]}),),
        id="VpcEndpoint.VpcEndpointId",
        replaces=("vpcId", "serviceName", "vpcEndpointType"),
        renames={"policy": "PolicyDocument"},
        outputs={"arn": arn("ec2", "vpc-endpoint/{id}"), "securityGroupIds": "Groups[].GroupId"},
        tagging=tagging("vpc-endpoint"),
        listing=("describe_vpc_endpoints", {}, "VpcEndpoints[?State!='deleted'].VpcEndpointId"),
    ),
    Kind(
        token="aws:ec2/flowLog:FlowLog",
        service="ec2",
        cloudformation="AWS::EC2::FlowLog",
        create=Call(
            "create_flow_logs",
            {
                "ResourceIds": lambda at: [
                    at.inputs.get("vpcId") or at.inputs.get("subnetId") or at.inputs.get("eniId")
                ],
                "ResourceType": lambda at: (
                    "VPC" if at.inputs.get("vpcId") else "Subnet" if at.inputs.get("subnetId") else "NetworkInterface"
                ),
                "DeliverLogsPermissionArn": ".iamRoleArn",
            },
            auto=True,
            uses=("vpcId", "subnetId", "eniId"),
        ),
        looks=(Look("describe_flow_logs", {"FlowLogIds": ["@id"]}, "FlowLogs[0]"),),
        delete=(Call("delete_flow_logs", {"FlowLogIds": ["@id"]}),),
        id="FlowLogIds[0]",
        replaces=(
            "vpcId",
            "subnetId",
            "eniId",
            "trafficType",
            "logDestination",
            "logDestinationType",
            "iamRoleArn",
            "maxAggregationInterval",
            "logFormat",
            "destinationOptions",
        ),
        outputs={
            "arn": arn("ec2", "vpc-flow-log/{id}"),
            "vpcId": lambda at: at.inputs.get("vpcId") and at.world.get("ResourceId"),
        },
        tagging=tagging("vpc-flow-log"),
        listing=("describe_flow_logs", {}, "FlowLogs[].FlowLogId"),
    ),
)
