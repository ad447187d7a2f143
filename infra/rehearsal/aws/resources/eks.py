"""Clusters: EKS, its node groups, add-ons, access and pod identities."""

from typing import Any

from infra.rehearsal.aws.kind import Call, Kind, Look, Situation, Tagging

_CLUSTER = {"name": "@id"}
_NODES = {"clusterName": ".clusterName", "nodegroupName": ".nodeGroupName"}
_ADDON = {"clusterName": ".clusterName", "addonName": ".addonName"}
_ENTRY = {"clusterName": ".clusterName", "principalArn": ".principalArn"}


def _tagging(source: str = "@arn") -> Tagging:
    return Tagging(
        "tag_resource", "untag_resource", "resourceArn", value=source, tags="tags", keys="tagKeys", at_creation="tags"
    )


def _labels(at: Situation) -> dict[str, Any]:
    new, old = at.inputs.get("labels") or {}, at.old.get("labels") or {}
    gone = [name for name in old if name not in new]
    return {"addOrUpdateLabels": new, **({"removeLabels": gone} if gone else {})}


def _taints(at: Situation) -> dict[str, Any]:
    new, old = at.inputs.get("taints") or [], at.old.get("taints") or []
    gone = [taint for taint in old if taint not in new]
    return {"addOrUpdateTaints": new, **({"removeTaints": gone} if gone else {})}


def _logging(at: Situation) -> dict[str, Any] | None:
    types = at.inputs.get("enabledClusterLogTypes")
    gone = [one for one in at.old.get("enabledClusterLogTypes") or () if one not in (types or ())]
    setups = [{"types": types, "enabled": True}] if types else []
    setups += [{"types": gone, "enabled": False}] if gone else []
    return {"clusterLogging": setups} if setups else None


def _in(service_list: str, member: str) -> Any:
    """Return how a list of every cluster's objects is read, for what is left at the end."""

    def find(aws: Any) -> list[str]:
        clusters = aws.every("eks", "list_clusters", "clusters", {})
        return [
            f"{cluster}/{one}"
            for cluster in clusters
            for one in aws.every("eks", service_list, member, {"clusterName": cluster})
        ]

    return find


KINDS = (
    Kind(
        token="aws:eks/cluster:Cluster",
        service="eks",
        cloudformation="AWS::EKS::Cluster",
        create=Call("create_cluster", {"logging": _logging}, auto=True, uses=("enabledClusterLogTypes",)),
        update=(
            Call(
                "update_cluster_config",
                {
                    **_CLUSTER,
                    "resourcesVpcConfig": {
                        "endpointPrivateAccess": ".vpcConfig.endpointPrivateAccess",
                        "endpointPublicAccess": ".vpcConfig.endpointPublicAccess",
                        "publicAccessCidrs": ".vpcConfig.publicAccessCidrs",
                        "subnetIds": ".vpcConfig.subnetIds",
                        "securityGroupIds": ".vpcConfig.securityGroupIds",
                    },
                },
            ),
            Call("update_cluster_config", {**_CLUSTER, "logging": _logging}, uses=("enabledClusterLogTypes",)),
            Call(
                "update_cluster_config",
                {**_CLUSTER, "accessConfig": {"authenticationMode": ".accessConfig.authenticationMode"}},
            ),
            Call("update_cluster_config", {**_CLUSTER, "upgradePolicy": ".upgradePolicy"}),
            Call("update_cluster_config", {**_CLUSTER, "deletionProtection": ".deletionProtection"}),
            Call("update_cluster_version", {**_CLUSTER, "version": ".version"}),
        ),
        looks=(Look("describe_cluster", _CLUSTER, "cluster"),),
        delete=(Call("delete_cluster", _CLUSTER),),
        id=".name",
        name="name",
        name_length=100,
        renames={"vpcConfig": "resourcesVpcConfig"},
        local=("defaultAddonsToRemoves", "forceUpdateVersion"),
        outputs={"enabledClusterLogTypes": "logging.clusterLogging[?enabled].types | []", "clusterId": "id"},
        tagging=_tagging(),
        listing=("list_clusters", {}, "clusters"),
    ),
    Kind(
        token="aws:eks/nodeGroup:NodeGroup",
        service="eks",
        cloudformation="AWS::EKS::Nodegroup",
        create=Call("create_nodegroup", auto=True),
        update=(
            Call("update_nodegroup_config", {**_NODES, "scalingConfig": ".scalingConfig"}),
            Call("update_nodegroup_config", {**_NODES, "updateConfig": ".updateConfig"}),
            Call("update_nodegroup_config", {**_NODES, "labels": _labels}, uses=("labels",)),
            Call("update_nodegroup_config", {**_NODES, "taints": _taints}, uses=("taints",)),
            Call(
                "update_nodegroup_version",
                {
                    **_NODES,
                    "version": ".version",
                    "releaseVersion": ".releaseVersion",
                    "launchTemplate": ".launchTemplate",
                },
                when=("version", "releaseVersion", "launchTemplate"),
            ),
        ),
        looks=(Look("describe_nodegroup", _NODES, "nodegroup"),),
        delete=(Call("delete_nodegroup", _NODES),),
        id=lambda at: f"{at.inputs['clusterName']}:{at.inputs['nodeGroupName']}",
        name="nodeGroupName",
        name_length=63,
        renames={"nodeRoleArn": "nodeRole", "subnetIds": "subnets"},
        updates=("launchTemplate",),
        local=("forceUpdateVersion",),
        outputs={"arn": "nodegroupArn"},
        tagging=_tagging(),
        listing=_in("list_nodegroups", "nodegroups"),
    ),
    Kind(
        token="aws:eks/addon:Addon",
        service="eks",
        cloudformation="AWS::EKS::Addon",
        create=Call("create_addon", {"resolveConflicts": ".resolveConflictsOnCreate"}, auto=True),
        update=(Call("update_addon", {"resolveConflicts": ".resolveConflictsOnUpdate"}, auto=True),),
        looks=(Look("describe_addon", _ADDON, "addon"),),
        delete=(Call("delete_addon", {**_ADDON, "preserve": ".preserve"}),),
        id=lambda at: f"{at.inputs['clusterName']}:{at.inputs['addonName']}",
        replaces=("clusterName", "addonName"),
        local=("resolveConflictsOnUpdate", "preserve"),
        outputs={"arn": "addonArn", "podIdentityAssociations": lambda at: at.inputs.get("podIdentityAssociations")},
        tagging=_tagging(),
        listing=_in("list_addons", "addons"),
    ),
    Kind(
        token="aws:eks/accessEntry:AccessEntry",
        service="eks",
        cloudformation="AWS::EKS::AccessEntry",
        create=Call("create_access_entry", auto=True),
        update=(Call("update_access_entry", auto=True, when=("kubernetesGroups", "userName")),),
        looks=(Look("describe_access_entry", _ENTRY, "accessEntry"),),
        delete=(Call("delete_access_entry", _ENTRY),),
        id=lambda at: f"{at.inputs['clusterName']}:{at.inputs['principalArn']}",
        renames={"userName": "username"},
        tagging=_tagging("@accessEntryArn"),
        listing=_in("list_access_entries", "accessEntries"),
    ),
    Kind(
        token="aws:eks/accessPolicyAssociation:AccessPolicyAssociation",
        service="eks",
        create=Call("associate_access_policy", auto=True),
        looks=(
            Look(
                "list_associated_access_policies",
                _ENTRY,
                lambda answer, at: next(
                    (one for one in answer["associatedAccessPolicies"] if one["policyArn"] == at.inputs["policyArn"]),
                    None,
                ),
            ),
        ),
        delete=(Call("disassociate_access_policy", {**_ENTRY, "policyArn": ".policyArn"}),),
        id=lambda at: f"{at.inputs['clusterName']}#{at.inputs['principalArn']}#{at.inputs['policyArn']}",
        replaces=("clusterName", "principalArn", "policyArn", "accessScope"),
    ),
    Kind(
        token="aws:eks/podIdentityAssociation:PodIdentityAssociation",
        service="eks",
        cloudformation="AWS::EKS::PodIdentityAssociation",
        create=Call("create_pod_identity_association", auto=True),
        update=(
            Call(
                "update_pod_identity_association",
                {"clusterName": ".clusterName", "associationId": "@associationId"},
                auto=True,
                when=("roleArn", "targetRoleArn", "disableSessionTags"),
            ),
        ),
        looks=(
            Look(
                "describe_pod_identity_association",
                {"clusterName": ".clusterName", "associationId": "@id"},
                "association",
            ),
        ),
        delete=(Call("delete_pod_identity_association", {"clusterName": ".clusterName", "associationId": "@id"}),),
        id="association.associationId",
        replaces=("clusterName", "namespace", "serviceAccount"),
        tagging=_tagging("@associationArn"),
        listing=_in("list_pod_identity_associations", "associations[].associationId"),
    ),
)
