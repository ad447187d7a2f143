"""Identity: roles, policies, OpenID Connect providers, instance profiles."""

from infra.rehearsal.aws.kind import Call, Kind, Look, Situation, Tagging


def _tagging(noun: str, member: str) -> Tagging:
    return Tagging(f"tag_{noun}", f"untag_{noun}", member)


def _attachment_id(at: Situation) -> str:
    return f"{at.inputs['role']}/{at.inputs['policyArn']}"


def _old_versions(at: Situation) -> list[str]:
    found = at.aws.call("iam", "list_policy_versions", {"PolicyArn": at.id})["Versions"]
    return [one["VersionId"] for one in found if not one["IsDefaultVersion"]]


def _managed(at: Situation) -> list[str]:
    answer = at.aws.call("iam", "list_attached_role_policies", {"RoleName": at.id})
    return [one["PolicyArn"] for one in answer["AttachedPolicies"]] if at.inputs.get("forceDetachPolicies") else []


KINDS = (
    Kind(
        token="aws:iam/role:Role",
        service="iam",
        cloudformation="AWS::IAM::Role",
        create=Call("create_role", auto=True),
        update=(
            Call("update_role", {"RoleName": "@id"}, auto=True, when=("description", "maxSessionDuration")),
            Call(
                "update_assume_role_policy",
                {"RoleName": "@id", "PolicyDocument": ".assumeRolePolicy"},
                when=("assumeRolePolicy",),
            ),
            Call(
                "put_role_permissions_boundary",
                {"RoleName": "@id", "PermissionsBoundary": ".permissionsBoundary"},
                when=("permissionsBoundary",),
            ),
        ),
        looks=(Look("get_role", {"RoleName": "@id"}, "Role"),),
        delete=(
            Call("detach_role_policy", {"RoleName": "@id", "PolicyArn": "@item"}, each=_managed),
            Call("delete_role", {"RoleName": "@id"}),
        ),
        id="Role.RoleName",
        name="name",
        renames={"name": "RoleName", "assumeRolePolicy": "AssumeRolePolicyDocument"},
        outputs={
            "permissionsBoundary": "PermissionsBoundary.PermissionsBoundaryArn",
            "uniqueId": "RoleId",
            "createDate": "CreateDate",
        },
        local=("forceDetachPolicies",),
        tagging=_tagging("role", "RoleName"),
        listing=("list_roles", {}, "Roles[].RoleName"),
    ),
    Kind(
        token="aws:iam/policy:Policy",
        service="iam",
        cloudformation="AWS::IAM::ManagedPolicy",
        create=Call("create_policy", auto=True),
        update=(
            Call(
                "delete_policy_version",
                {"PolicyArn": "@id", "VersionId": "@item"},
                when=("policy",),
                each=_old_versions,
            ),
            Call(
                "create_policy_version",
                {"PolicyArn": "@id", "PolicyDocument": ".policy", "SetAsDefault": True},
                when=("policy",),
            ),
        ),
        looks=(
            Look("get_policy", {"PolicyArn": "@id"}, "Policy"),
            Look(
                "get_policy_version",
                {
                    "PolicyArn": "@id",
                    "VersionId": lambda at: at.aws.call("iam", "get_policy", {"PolicyArn": at.id})["Policy"][
                        "DefaultVersionId"
                    ],
                },
                "PolicyVersion.{Document: Document}",
            ),
        ),
        delete=(
            Call("delete_policy_version", {"PolicyArn": "@id", "VersionId": "@item"}, each=_old_versions),
            Call("delete_policy", {"PolicyArn": "@id"}),
        ),
        id="Policy.Arn",
        name="name",
        name_length=128,
        renames={"name": "PolicyName", "policy": "PolicyDocument"},
        replaces=("description", "path"),
        outputs={"policy": "Document"},
        tagging=_tagging("policy", "PolicyArn"),
        listing=("list_policies", {"Scope": "Local"}, "Policies[].Arn"),
    ),
    Kind(
        token="aws:iam/rolePolicy:RolePolicy",
        service="iam",
        create=Call("put_role_policy", {"RoleName": ".role", "PolicyName": ".name", "PolicyDocument": ".policy"}),
        update=(
            Call(
                "put_role_policy",
                {"RoleName": ".role", "PolicyName": ".name", "PolicyDocument": ".policy"},
                when=("policy",),
            ),
        ),
        looks=(Look("get_role_policy", {"RoleName": ".role", "PolicyName": ".name"}),),
        delete=(Call("delete_role_policy", {"RoleName": ".role", "PolicyName": ".name"}),),
        id=lambda at: f"{at.inputs['role']}:{at.inputs['name']}",
        name="name",
        name_length=128,
        replaces=("role",),
        outputs={"policy": "PolicyDocument", "name": "PolicyName", "role": "RoleName"},
    ),
    Kind(
        token="aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        service="iam",
        create=Call("attach_role_policy", {"RoleName": ".role", "PolicyArn": ".policyArn"}),
        looks=(
            Look(
                "list_attached_role_policies",
                {"RoleName": ".role"},
                "{all: AttachedPolicies[].PolicyArn}",
            ),
        ),
        delete=(Call("detach_role_policy", {"RoleName": ".role", "PolicyArn": ".policyArn"}),),
        id=_attachment_id,
        replaces=("role", "policyArn"),
        present=lambda at: at.inputs["policyArn"] in (at.world["all"] or ()),
    ),
    Kind(
        token="aws:iam/openIdConnectProvider:OpenIdConnectProvider",
        service="iam",
        cloudformation="AWS::IAM::OIDCProvider",
        create=Call("create_open_id_connect_provider", auto=True),
        update=(
            Call(
                "update_open_id_connect_provider_thumbprint",
                {"OpenIDConnectProviderArn": "@id", "ThumbprintList": ".thumbprintLists"},
                when=("thumbprintLists",),
            ),
        ),
        looks=(Look("get_open_id_connect_provider", {"OpenIDConnectProviderArn": "@id"}),),
        delete=(Call("delete_open_id_connect_provider", {"OpenIDConnectProviderArn": "@id"}),),
        id="OpenIDConnectProviderArn",
        renames={"clientIdLists": "ClientIDList", "thumbprintLists": "ThumbprintList", "url": "Url"},
        replaces=("clientIdLists",),
        outputs={"arn": "@id", "url": lambda at: at.inputs["url"]},
        tagging=_tagging("open_id_connect_provider", "OpenIDConnectProviderArn"),
        listing=("list_open_id_connect_providers", {}, "OpenIDConnectProviderList[].Arn"),
    ),
    Kind(
        token="aws:iam/instanceProfile:InstanceProfile",
        service="iam",
        cloudformation="AWS::IAM::InstanceProfile",
        create=Call("create_instance_profile", auto=True),
        then=(Call("add_role_to_instance_profile", {"InstanceProfileName": "@id", "RoleName": ".role"}),),
        looks=(Look("get_instance_profile", {"InstanceProfileName": "@id"}, "InstanceProfile"),),
        delete=(
            Call(
                "remove_role_from_instance_profile",
                {"InstanceProfileName": "@id", "RoleName": "@item"},
                each=lambda at: [at.inputs["role"]] if at.inputs.get("role") else [],
            ),
            Call("delete_instance_profile", {"InstanceProfileName": "@id"}),
        ),
        id="InstanceProfile.InstanceProfileName",
        name="name",
        name_length=128,
        renames={"name": "InstanceProfileName"},
        replaces=("role",),
        outputs={"role": "Roles[0].RoleName", "uniqueId": "InstanceProfileId"},
        tagging=_tagging("instance_profile", "InstanceProfileName"),
        listing=("list_instance_profiles", {}, "InstanceProfiles[].InstanceProfileName"),
    ),
)
