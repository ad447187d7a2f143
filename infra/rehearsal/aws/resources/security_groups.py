"""Security groups and their rules; launch templates, which name them."""

from typing import Any

from infra.rehearsal.aws.kind import Call, Kind, Look, Situation, Tagging
from infra.rehearsal.aws.resources.ec2 import tagging
from infra.rehearsal.aws.resources.shared import arn

_GROUP = {"GroupId": "@id"}


def _permission(at: Situation, rule: dict[str, Any]) -> dict[str, Any]:
    """Return an inline rule as the API's permission."""
    groups = [*(rule.get("securityGroups") or ()), *([at.id] if rule.get("self") else ())]
    said = {"Description": rule["description"]} if rule.get("description") else {}
    made: dict[str, Any] = {"IpProtocol": rule["protocol"], "FromPort": rule["fromPort"], "ToPort": rule["toPort"]}
    if rule["protocol"] == "-1":
        made = {"IpProtocol": "-1"}
    for member, name, values in (
        ("IpRanges", "CidrIp", rule.get("cidrBlocks")),
        ("Ipv6Ranges", "CidrIpv6", rule.get("ipv6CidrBlocks")),
        ("PrefixListIds", "PrefixListId", rule.get("prefixListIds")),
        ("UserIdGroupPairs", "GroupId", groups),
    ):
        if values:
            made[member] = [{name: value, **said} for value in values]
    return made


def _flat(permission: dict[str, Any]) -> set[tuple[Any, ...]]:
    head = (permission["IpProtocol"], permission.get("FromPort"), permission.get("ToPort"))
    sources = (
        ("IpRanges", "CidrIp"),
        ("Ipv6Ranges", "CidrIpv6"),
        ("PrefixListIds", "PrefixListId"),
        ("UserIdGroupPairs", "GroupId"),
    )
    return {
        (*(head if head[0] != "-1" else ("-1", None, None)), name, source[name])
        for member, name in sources
        for source in permission.get(member) or ()
    }


def _changes(direction: str, *, gone: bool) -> Any:
    """Return a function that tells the permissions that an update takes away, or adds."""

    def find(at: Situation) -> list[dict[str, Any]]:
        new, old = at.inputs.get(direction) or [], at.old.get(direction) or []
        here, there = (old, new) if gone else (new, old)
        return [_permission(at, rule) for rule in here if rule not in there]

    return find


def _rules(direction: str, member: str) -> Any:
    """Return a function that tells the inline rules as they are: as stated, while they mean the same."""

    def read(at: Situation) -> Any:
        stated = at.inputs.get(direction)
        there = set().union(*(_flat(one) for one in at.world.get(member) or ())) if at.world.get(member) else set()
        if stated is None:
            return None
        wanted = set().union(*(_flat(_permission(at, rule)) for rule in stated)) if stated else set()
        if wanted == there:
            return stated
        names = {"CidrIp": "cidrBlocks", "CidrIpv6": "ipv6CidrBlocks", "PrefixListId": "prefixListIds"}
        return [
            {
                "protocol": protocol,
                "fromPort": first or 0,
                "toPort": last or 0,
                names.get(kind, "securityGroups"): [source],
            }
            for protocol, first, last, kind, source in sorted(there, key=str)
        ]

    return read


def _all_rules(member: str) -> Any:
    def find(at: Situation) -> list[Any]:
        group = at.aws.call("ec2", "describe_security_groups", {"GroupIds": [at.id]})["SecurityGroups"][0]
        return [{name: value for name, value in rule.items() if value != []} for rule in group.get(member) or ()]

    return find


def _inline() -> tuple[Call, ...]:
    """Return the calls that bring a group to the rules that are stated inside of it."""
    calls = []
    for direction in ("ingress", "egress"):
        arguments = {**_GROUP, "IpPermissions": ["@item"]}
        calls += [
            Call(
                f"revoke_security_group_{direction}", arguments, when=(direction,), each=_changes(direction, gone=True)
            ),
            Call(
                f"authorize_security_group_{direction}",
                arguments,
                when=(direction,),
                each=_changes(direction, gone=False),
            ),
        ]
    return tuple(calls)


_EMPTIED = (
    Call(
        "revoke_security_group_ingress",
        {**_GROUP, "IpPermissions": ["@item"]},
        each=_all_rules("IpPermissions"),
        always=True,
    ),
    Call(
        "revoke_security_group_egress",
        {**_GROUP, "IpPermissions": ["@item"]},
        each=_all_rules("IpPermissionsEgress"),
        always=True,
    ),
)
_LOOK = Look("describe_security_groups", {"GroupIds": ["@id"]}, "SecurityGroups[0]")
_OUTPUTS = {
    "arn": arn("ec2", "security-group/{id}"),
    "ingress": _rules("ingress", "IpPermissions"),
    "egress": _rules("egress", "IpPermissionsEgress"),
}


_RULE_INPUTS = (
    "ipProtocol",
    "fromPort",
    "toPort",
    "cidrIpv4",
    "cidrIpv6",
    "prefixListId",
    "referencedSecurityGroupId",
    "description",
)


def _port(name: str) -> Any:
    """Return a function that tells a port; a rule for all protocols has -1."""
    return lambda at: -1 if at.inputs["ipProtocol"] == "-1" else at.inputs.get(name)


def _rule(direction: str) -> Kind:
    """Return the kind of a rule that is a resource of its own."""
    end = {
        "IpProtocol": ".ipProtocol",
        "FromPort": _port("fromPort"),
        "ToPort": _port("toPort"),
        "CidrIpv4": ".cidrIpv4",
        "CidrIpv6": ".cidrIpv6",
        "PrefixListId": ".prefixListId",
        "ReferencedGroupId": ".referencedSecurityGroupId",
        "Description": ".description",
    }

    def permission(at: Situation) -> list[dict[str, Any]]:
        given = at.inputs
        said = {"Description": given["description"]} if given.get("description") else {}
        made: dict[str, Any] = {"IpProtocol": given["ipProtocol"]}
        made |= {
            member: given[name] for member, name in (("FromPort", "fromPort"), ("ToPort", "toPort")) if name in given
        }
        for member, name, inner in (
            ("IpRanges", "cidrIpv4", "CidrIp"),
            ("Ipv6Ranges", "cidrIpv6", "CidrIpv6"),
            ("PrefixListIds", "prefixListId", "PrefixListId"),
            ("UserIdGroupPairs", "referencedSecurityGroupId", "GroupId"),
        ):
            if given.get(name):
                made[member] = [{inner: given[name], **said}]
        return [made]

    return Kind(
        token=f"aws:vpc/securityGroup{direction.title()}Rule:SecurityGroup{direction.title()}Rule",
        service="ec2",
        create=Call(
            f"authorize_security_group_{direction}",
            {"GroupId": ".securityGroupId", "IpPermissions": permission},
            uses=_RULE_INPUTS,
        ),
        update=(
            Call(
                "modify_security_group_rules",
                {
                    "GroupId": ".securityGroupId",
                    "SecurityGroupRules": [{"SecurityGroupRuleId": "@id", "SecurityGroupRule": end}],
                },
                when=_RULE_INPUTS,
            ),
        ),
        looks=(Look("describe_security_group_rules", {"SecurityGroupRuleIds": ["@id"]}, "SecurityGroupRules[0]"),),
        delete=(
            Call(
                f"revoke_security_group_{direction}", {"GroupId": ".securityGroupId", "SecurityGroupRuleIds": ["@id"]}
            ),
        ),
        id="SecurityGroupRules[0].SecurityGroupRuleId",
        replaces=("securityGroupId",),
        renames={"securityGroupId": "GroupId"},
        outputs={
            "arn": arn("ec2", "security-group-rule/{id}"),
            "securityGroupRuleId": "@id",
            "referencedSecurityGroupId": "ReferencedGroupInfo.GroupId",
        },
        tagging=tagging("security-group-rule"),
    )


_TEMPLATE = (
    "blockDeviceMappings",
    "cpuOptions",
    "ebsOptimized",
    "iamInstanceProfile",
    "imageId",
    "instanceMarketOptions",
    "instanceType",
    "keyName",
    "metadataOptions",
    "monitoring",
    "networkInterfaces",
    "tagSpecifications",
    "userData",
    "vpcSecurityGroupIds",
)


def _template(at: Situation) -> dict[str, Any]:
    return {name: at.inputs[name] for name in _TEMPLATE if at.inputs.get(name) is not None}


KINDS = (
    Kind(
        token="aws:ec2/securityGroup:SecurityGroup",
        service="ec2",
        cloudformation="AWS::EC2::SecurityGroup",
        create=Call("create_security_group", {"GroupName": ".name", "Description": ".description", "VpcId": ".vpcId"}),
        then=(*_EMPTIED, *_inline()),
        looks=(_LOOK,),
        delete=(Call("delete_security_group", _GROUP),),
        id="GroupId",
        name="name",
        name_length=255,
        defaults={"description": "Managed by Pulumi"},
        renames={"name": "GroupName", "description": "Description"},
        replaces=("description", "vpcId"),
        local=("revokeRulesOnDelete",),
        outputs=_OUTPUTS,
        tagging=tagging("security-group"),
        listing=("describe_security_groups", {}, "SecurityGroups[].GroupId"),
    ),
    Kind(
        token="aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
        service="ec2",
        create=Call(
            "describe_security_groups",
            {
                "Filters": [
                    {"Name": "vpc-id", "Values": [".vpcId"]},
                    {"Name": "group-name", "Values": ["default"]},
                ]
            },
        ),
        then=(*_EMPTIED, *_inline()),
        looks=(_LOOK,),
        delete=(),
        id="SecurityGroups[0].GroupId",
        replaces=("vpcId",),
        local=("revokeRulesOnDelete",),
        outputs={**_OUTPUTS, "name": "GroupName", "description": "Description"},
        tagging=Tagging("create_tags", "delete_tags", "Resources", keys="Tags", at_creation=""),
    ),
    _rule("ingress"),
    _rule("egress"),
    Kind(
        token="aws:ec2/launchTemplate:LaunchTemplate",
        service="ec2",
        create=Call(
            "create_launch_template",
            {"LaunchTemplateName": ".name", "VersionDescription": ".description", "LaunchTemplateData": _template},
            uses=_TEMPLATE,
        ),
        update=(
            Call(
                "create_launch_template_version",
                {"LaunchTemplateId": "@id", "VersionDescription": ".description", "LaunchTemplateData": _template},
                uses=_TEMPLATE,
            ),
            Call(
                "modify_launch_template",
                {
                    "LaunchTemplateId": "@id",
                    "DefaultVersion": lambda at: str(
                        at.aws.call("ec2", "describe_launch_templates", {"LaunchTemplateIds": [at.id]})[
                            "LaunchTemplates"
                        ][0]["LatestVersionNumber"]
                    ),
                },
                when=("updateDefaultVersion", *_TEMPLATE),
                each=lambda at: [True] if at.inputs.get("updateDefaultVersion") else [],
            ),
        ),
        looks=(
            Look("describe_launch_templates", {"LaunchTemplateIds": ["@id"]}, "LaunchTemplates[0]"),
            Look(
                "describe_launch_template_versions",
                {"LaunchTemplateId": "@id", "Versions": ["$Latest"]},
                "LaunchTemplateVersions[0].LaunchTemplateData",
            ),
            Look(  # moto's template keeps telling the tags that it was made with
                "describe_tags",
                {"Filters": [{"Name": "resource-id", "Values": ["@id"]}]},
                "Tags && {Tags: Tags}",
                needed=False,
            ),
        ),
        delete=(Call("delete_launch_template", {"LaunchTemplateId": "@id"}),),
        id="LaunchTemplate.LaunchTemplateId",
        name="name",
        name_length=128,
        renames={"vpcSecurityGroupIds": "SecurityGroupIds", "name": "LaunchTemplateName"},
        outputs={
            "arn": arn("ec2", "launch-template/{id}"),
            "latestVersion": "LatestVersionNumber",
            "defaultVersion": "DefaultVersionNumber",
        },
        volatile=("latestVersion", "defaultVersion"),
        tagging=tagging("launch-template"),
        listing=("describe_launch_templates", {}, "LaunchTemplates[].LaunchTemplateId"),
    ),
)
