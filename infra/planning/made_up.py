"""Outputs of AWS resources that nobody made: of the right form, and the same ones each time.

A program goes on with what a resource puts out (a role's ARN stands in a policy, a repository's address in a pod), so a
made-up value has to have the form of a real one, or what is planned from it could not be judged. They are made from the
resource's URN, never from chance.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from infra.provider.codec import UNKNOWN, Properties
from infra.rehearsal.aws.kind import Kind, Situation
from infra.rehearsal.aws.schema import Resource, Type

_CA: Final = base64.b64encode(b"-----BEGIN CERTIFICATE-----\nplanned\n-----END CERTIFICATE-----\n").decode()

_IDS: Final[Mapping[str, str]] = {
    "aws:cloudtrail/trail:Trail": "{arn}",
    "aws:cloudwatch/eventTarget:EventTarget": "{in[rule]}-{in[targetId]}",
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": "sg-{hex17}",
    "aws:ec2/eip:Eip": "eipalloc-{hex17}",
    "aws:ec2/flowLog:FlowLog": "fl-{hex17}",
    "aws:ec2/internetGateway:InternetGateway": "igw-{hex17}",
    "aws:ec2/launchTemplate:LaunchTemplate": "lt-{hex17}",
    "aws:ec2/natGateway:NatGateway": "nat-{hex17}",
    "aws:ec2/routeTable:RouteTable": "rtb-{hex17}",
    "aws:ec2/routeTableAssociation:RouteTableAssociation": "rtbassoc-{hex17}",
    "aws:ec2/securityGroup:SecurityGroup": "sg-{hex17}",
    "aws:ec2/subnet:Subnet": "subnet-{hex17}",
    "aws:ec2/vpc:Vpc": "vpc-{hex17}",
    "aws:ec2/vpcEndpoint:VpcEndpoint": "vpce-{hex17}",
    "aws:ecr/repository:Repository": "{name}",
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": "a-{hex17}",
    "aws:iam/instanceProfile:InstanceProfile": "{name}",
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider": "{arn}",
    "aws:iam/policy:Policy": "{arn}",
    "aws:iam/role:Role": "{name}",
    "aws:kms/key:Key": "{uuid}",
    "aws:rds/instance:Instance": "{in[identifier]}",
    "aws:rds/parameterGroup:ParameterGroup": "{name}",
    "aws:rds/subnetGroup:SubnetGroup": "{name}",
    "aws:secretsmanager/secret:Secret": "{arn}",
    "aws:secretsmanager/secretVersion:SecretVersion": "{in[secretId]}|{uuid}",
    "aws:sns/topic:Topic": "{arn}",
    "aws:sns/topicSubscription:TopicSubscription": "{in[topic]}:{uuid}",
    "aws:sqs/queue:Queue": "https://sqs.{region}.{suffix}/{account}/{name}",
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": "sgr-{hex17}",
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": "sgr-{hex17}",
}
"""The forms of ids that AWS gives; any other id is made of inputs, as the table of kinds says."""

_ARNS: Final[Mapping[str, str]] = {
    "aws:budgets/budget:Budget": "budgets::{account}:budget/{name}",
    "aws:budgets/budgetAction:BudgetAction": "budgets::{account}:budget/{in[budgetName]}/action/{uuid}",
    "aws:cloudtrail/trail:Trail": "cloudtrail:{region}:{account}:trail/{name}",
    "aws:cloudwatch/compositeAlarm:CompositeAlarm": "cloudwatch:{region}:{account}:alarm:{in[alarmName]}",
    "aws:cloudwatch/eventRule:EventRule": "events:{region}:{account}:rule/{name}",
    "aws:cloudwatch/logGroup:LogGroup": "logs:{region}:{account}:log-group:{name}",
    "aws:cloudwatch/metricAlarm:MetricAlarm": "cloudwatch:{region}:{account}:alarm:{name}",
    "aws:dynamodb/table:Table": "dynamodb:{region}:{account}:table/{name}",
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": "ec2:{region}:{account}:security-group/{id}",
    "aws:ec2/eip:Eip": "ec2:{region}:{account}:elastic-ip/{id}",
    "aws:ec2/flowLog:FlowLog": "ec2:{region}:{account}:vpc-flow-log/{id}",
    "aws:ec2/internetGateway:InternetGateway": "ec2:{region}:{account}:internet-gateway/{id}",
    "aws:ec2/launchTemplate:LaunchTemplate": "ec2:{region}:{account}:launch-template/{id}",
    "aws:ec2/routeTable:RouteTable": "ec2:{region}:{account}:route-table/{id}",
    "aws:ec2/securityGroup:SecurityGroup": "ec2:{region}:{account}:security-group/{id}",
    "aws:ec2/subnet:Subnet": "ec2:{region}:{account}:subnet/{id}",
    "aws:ec2/vpc:Vpc": "ec2:{region}:{account}:vpc/{id}",
    "aws:ec2/vpcEndpoint:VpcEndpoint": "ec2:{region}:{account}:vpc-endpoint/{id}",
    "aws:ecr/repository:Repository": "ecr:{region}:{account}:repository/{name}",
    "aws:eks/addon:Addon": "eks:{region}:{account}:addon/{in[clusterName]}/{in[addonName]}/{uuid}",
    "aws:eks/cluster:Cluster": "eks:{region}:{account}:cluster/{name}",
    "aws:eks/nodeGroup:NodeGroup": "eks:{region}:{account}:nodegroup/{in[clusterName]}/{in[nodeGroupName]}/{uuid}",
    "aws:iam/instanceProfile:InstanceProfile": "iam::{account}:instance-profile/{name}",
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider": "iam::{account}:oidc-provider/{name}",
    "aws:iam/policy:Policy": "iam::{account}:policy/{name}",
    "aws:iam/role:Role": "iam::{account}:role/{name}",
    "aws:kms/alias:Alias": "kms:{region}:{account}:{name}",
    "aws:kms/key:Key": "kms:{region}:{account}:key/{id}",
    "aws:rds/instance:Instance": "rds:{region}:{account}:db:{in[identifier]}",
    "aws:rds/parameterGroup:ParameterGroup": "rds:{region}:{account}:pg:{name}",
    "aws:rds/subnetGroup:SubnetGroup": "rds:{region}:{account}:subgrp:{name}",
    "aws:s3/bucket:Bucket": "s3:::{in[bucket]}",
    "aws:s3/bucketObjectv2:BucketObjectv2": "s3:::{in[bucket]}/{in[key]}",
    "aws:sagemaker/featureGroup:FeatureGroup": "sagemaker:{region}:{account}:feature-group/{in[featureGroupName]}",
    "aws:sagemaker/modelPackageGroup:ModelPackageGroup": (
        "sagemaker:{region}:{account}:model-package-group/{in[modelPackageGroupName]}"
    ),
    "aws:sagemaker/pipeline:Pipeline": "sagemaker:{region}:{account}:pipeline/{in[pipelineName]}",
    "aws:scheduler/schedule:Schedule": "scheduler:{region}:{account}:schedule/{in[groupName]}/{name}",
    "aws:scheduler/scheduleGroup:ScheduleGroup": "scheduler:{region}:{account}:schedule-group/{name}",
    "aws:secretsmanager/secret:Secret": "secretsmanager:{region}:{account}:secret:{name}-{hex6}",
    "aws:secretsmanager/secretVersion:SecretVersion": "{in[secretId]}",
    "aws:sns/topic:Topic": "sns:{region}:{account}:{name}",
    "aws:sns/topicSubscription:TopicSubscription": "{id}",
    "aws:sqs/queue:Queue": "sqs:{region}:{account}:{name}",
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": "ec2:{region}:{account}:security-group-rule/{id}",
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": "ec2:{region}:{account}:security-group-rule/{id}",
}
"""ARNs after `arn:<partition>:`."""

_OTHERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "aws:dynamodb/table:Table": {"streamArn": "{arn}/stream/planned"},
    "aws:ec2/eip:Eip": {"allocationId": "{id}", "publicIp": "203.0.113.{octet}"},
    "aws:ec2/launchTemplate:LaunchTemplate": {"latestVersion": 1, "defaultVersion": 1},
    "aws:ec2/natGateway:NatGateway": {"publicIp": "203.0.113.{octet}"},
    "aws:ec2/vpc:Vpc": {"defaultSecurityGroupId": "sg-{hex17}", "mainRouteTableId": "rtb-{hex17}"},
    "aws:ecr/repository:Repository": {
        "repositoryUrl": "{account}.dkr.ecr.{region}.{suffix}/{name}", "registryId": "{account}",
    },
    "aws:eks/cluster:Cluster": {
        "endpoint": "https://{hex32}.gr7.{region}.eks.{suffix}",
        "certificateAuthority": {"data": _CA},
        "identities": [{"oidcs": [{"issuer": "https://oidc.eks.{region}.{suffix}/id/{hex32}"}]}],
        "vpcConfig": {"clusterSecurityGroupId": "sg-{hex17}", "vpcId": "vpc-{hex17}"},
        "platformVersion": "eks.1", "status": "ACTIVE",
    },
    "aws:eks/accessEntry:AccessEntry": {
        "accessEntryArn": "arn:{partition}:eks:{region}:{account}:access-entry/{in[clusterName]}/role/{hex17}",
    },
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": {
        "associationArn": "arn:{partition}:eks:{region}:{account}:podidentityassociation/{in[clusterName]}/{id}",
        "associationId": "{id}",
    },
    "aws:kms/key:Key": {"keyId": "{id}"},
    "aws:rds/instance:Instance": {
        "address": "{in[identifier]}.{hex12}.{region}.rds.{suffix}",
        "endpoint": "{in[identifier]}.{hex12}.{region}.rds.{suffix}:5432",
        "port": 5432,
        "resourceId": "db-{hex17}",
        "masterUserSecrets": [
            {
                "secretArn": "arn:{partition}:secretsmanager:{region}:{account}:secret:rds!db-{uuid}-{hex6}",
                "secretStatus": "active",
            }
        ],
        "status": "available",
    },
    "aws:s3/bucket:Bucket": {
        "bucketDomainName": "{in[bucket]}.s3.{suffix}",
        "bucketRegionalDomainName": "{in[bucket]}.s3.{region}.{suffix}",
    },
    "aws:sqs/queue:Queue": {"url": "{id}"},
}  # fmt: skip
"""Further outputs that programs go on with."""


@dataclass(frozen=True)
class Place:
    """Where resources would be.

    Attributes:
        partition: AWS partition.
        region: its region.
        account: number of the account.
        suffix: domain of its services.
    """

    partition: str
    region: str
    account: str
    suffix: str = "amazonaws.com"


def identity(kind: Kind, urn: str, at: Situation) -> str:
    """Return the id of a resource as it would be given, and its ARN where that is its id."""
    filled = _filler(urn, at)
    if kind.token in _IDS:
        if _IDS[kind.token] == "{arn}":
            return _arn(kind.token, filled, at)
        return filled(_IDS[kind.token])
    try:
        if callable(kind.id):
            return str(kind.id(at))
        if kind.id.startswith(".") and (stated := at.inputs.get(kind.id[1:])) is not None:
            return str(stated)
    except (KeyError, TypeError, AttributeError, IndexError):  # it reads what only AWS would tell
        pass
    return filled("planned-{hex17}")


def outputs(kind: Kind, known: Resource, urn: str, at: Situation, promised: Properties) -> Properties:
    """Return everything that a resource puts out.

    Args:
        kind: what the table of kinds says of it.
        known: what the SDK says of it.
        urn: its URN.
        at: its inputs and surroundings, with its id.
        promised: the outputs of a preview; what is unknown there is made up.
    """
    filled = _filler(urn, at)
    arn = _arn(kind.token, filled, at) if kind.token in _ARNS else ""
    special = _inside(_OTHERS.get(kind.token, {}), lambda text: filled(text, id=at.id, arn=arn))
    found: Properties = {}
    for name, value in promised.items():
        wanted = known.outputs[name].type if name in known.outputs else Type("any")
        if name in special:
            found[name] = {**value, **special[name]} if isinstance(value, dict) else special[name]
        elif value is UNKNOWN:
            found[name] = arn if name == "arn" and arn else _of_type(wanted, filled(f"{name}-" + "{hex8}"))
        else:
            found[name] = value
    found |= {name: value for name, value in special.items() if name not in found}
    if arn and "arn" in known.outputs:
        found["arn"] = arn
    return found


def _arn(token: str, filled: Callable[..., str], at: Situation) -> str:
    text = filled(_ARNS.get(token, "planned:::{hex17}"), id=at.id)
    return text if text.startswith("arn:") else f"arn:{at.partition}:{text}"


def _filler(urn: str, at: Situation) -> Callable[..., str]:
    digest = hashlib.sha256(urn.encode()).hexdigest()
    values = {
        **{f"hex{length}": digest[:length] for length in (6, 8, 12, 17)},
        "hex32": digest[:32].upper(),
        "uuid": f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-a{digest[17:20]}-{digest[20:32]}",
        "octet": str(1 + int(digest[:2], 16) % 254),
        "account": at.account, "region": at.region, "partition": at.partition, "suffix": "amazonaws.com",
        "name": str(at.inputs.get("name") or at.name), "id": at.id, "in": _Inputs(at.inputs),
    }  # fmt: skip
    return lambda text, **more: text.format_map({**values, **more})


class _Inputs(dict[str, Any]):
    def __missing__(self, name: str) -> str:
        return "default"


def _inside(value: Any, change: Callable[[str], str]) -> Any:
    match value:
        case str():
            return change(value)
        case Mapping():
            return {name: _inside(item, change) for name, item in value.items()}
        case list():
            return [_inside(item, change) for item in value]
    return value


def _of_type(wanted: Type, text: str) -> Any:
    """Return a value of a type, for outputs that only have to be there."""
    match wanted.shape:
        case "integer" | "number":
            return 1
        case "boolean":
            return False
        case "list":
            return []
        case "map" | "object":
            return {}
    return text
