"""What the layer supplies, service by service: EKS, Budgets, SageMaker, Service Quotas, CloudWatch Logs."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

from infra.rehearsal.aws.gaps.collections import Collection, Record
from infra.rehearsal.aws.gaps.routing import Request
from infra.rehearsal.aws.gaps.supplied import Handler, Owner, Refused, Supplied

_CLUSTER_EXTRAS = ("accessConfig", "upgradePolicy", "deletionProtection", "bootstrapSelfManagedAddons")

QUOTAS: Mapping[str, Mapping[str, tuple[str, float]]] = {
    "ec2": {
        "L-1216C47A": ("Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", 640.0),
        "L-34B43A08": ("All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", 640.0),
        "L-DB2E81BA": ("Running On-Demand G and VT instances", 192.0),
        "L-3819A6DF": ("All G and VT Spot Instance Requests", 192.0),
        "L-417A185B": ("Running On-Demand P instances", 192.0),
        "L-7212CCBC": ("All P4, P3 and P2 Spot Instance Requests", 192.0),
        "L-0263D0A3": ("EC2-VPC Elastic IPs", 5.0),
    },
    "vpc": {
        "L-F678F1CE": ("VPCs per Region", 5.0),
        "L-FE5A380F": ("NAT gateways per Availability Zone", 5.0),
        "L-29B6F2EB": ("Interface VPC endpoints per VPC", 50.0),
    },
    "eks": {"L-1194D53C": ("Clusters", 100.0)},
}
"""Quotas of the account that is played: one whose GPU quotas have been raised."""


class Services:
    """The state of what the layer supplies.

    Args:
        account: The account it plays.
        cluster: `endpoint` and `ca` (PEM) that clusters are said to have; empty for moto's.
    """

    def __init__(self, account: str, cluster: Mapping[str, str]) -> None:
        self._account, self._cluster = account, cluster
        self._extras: dict[tuple[str, str], Record] = {}
        self._guards: dict[tuple[str, str], str] = {}
        self._budget_tags: dict[str, dict[str, str]] = {}
        self._policies: dict[tuple[str, str, str], dict[str, Record]] = {}
        in_cluster = self._cluster_is_there
        self._addons = Collection(
            "eks", "Addon", ("clusterName", "addonName"), "addon", ("ListAddons", "addons", "addonName"),
            self._addon, account, parent=in_cluster,
        )  # fmt: skip
        self._entries = Collection(
            "eks", "AccessEntry", ("clusterName", "principalArn"), "accessEntry",
            ("ListAccessEntries", "accessEntries", "principalArn"), self._entry, account, parent=in_cluster,
        )  # fmt: skip
        self._identities = Collection(
            "eks", "PodIdentityAssociation", ("clusterName", "associationId"), "association",
            ("ListPodIdentityAssociations", "associations", ""), self._identity, account, parent=in_cluster,
            unique=("clusterName", "namespace", "serviceAccount"),
        )  # fmt: skip
        self._actions = Collection(
            "budgets", "BudgetAction", ("AccountId", "BudgetName", "ActionId"), "",
            ("DescribeBudgetActionsForBudget", "Actions", ""), self._action, account, absent="NotFoundException",
        )  # fmt: skip
        self._features = Collection(
            "sagemaker", "FeatureGroup", ("FeatureGroupName",), "",
            ("ListFeatureGroups", "FeatureGroupSummaries", ""), self._feature_group, account,
            absent="ResourceNotFound", taken="ResourceInUse",
        )  # fmt: skip
        self._collections = (self._addons, self._entries, self._identities, self._actions, self._features)

    def supplied(self) -> Supplied:
        """Return the operations that are answered."""
        handlers: dict[str, Handler] = {}
        for collection in self._collections:
            handlers |= collection.handlers()
        handlers |= {
            "eks.AssociateAccessPolicy": self._associate,
            "eks.DisassociateAccessPolicy": self._disassociate,
            "eks.ListAssociatedAccessPolicies": self._associated,
            "eks.UpdateClusterVersion": self._cluster_version,
            "eks.UpdateNodegroupVersion": self._nodegroup_version,
            "budgets.UpdateBudget": self._update_budget,
            "budgets.TagResource": self._tag_budget,
            "budgets.UntagResource": self._untag_budget,
            "budgets.ListTagsForResource": self._budget_tags_of,
            "sagemaker.DeleteModelPackageGroup": self._delete_packages,
            "sagemaker.UpdateFeatureGroup": self._update_features,
            "service-quotas.GetServiceQuota": self._quota,
            "service-quotas.ListServiceQuotas": self._quotas,
            "logs.AssociateKmsKey": self._log_key,
            "logs.DisassociateKmsKey": self._log_key,
        }
        conditional: dict[str, tuple[Owner, Handler]] = {
            "eks.TagResource": (self._owns, self._tag),
            "eks.UntagResource": (self._owns, self._untag),
            "eks.ListTagsForResource": (self._owns, self._tags),
            **{f"sagemaker.{name}": (self._owns, self._retag) for name in ("AddTags", "DeleteTags", "ListTags")},
        }
        return Supplied(handlers, self._leftovers, conditional, self._observe, self._rewrite)

    def _leftovers(self) -> dict[str, list[str]]:
        found = {
            f"{collection.service} {collection.noun}": ["/".join(key[1:]) for key in collection.records]
            for collection in self._collections
        }
        return {kind: names for kind, names in found.items() if names}

    # --- beside moto -----------------------------------------------------------------------------------------------

    def _observe(self, request: Request, arguments: Record) -> None:
        """Keep what moto ignores of a call that it took."""
        where = (request.region, str(arguments.get("name", "")))
        match request.name:
            case "eks.CreateCluster" | "eks.UpdateClusterConfig":
                kept = {name: arguments[name] for name in _CLUSTER_EXTRAS if name in arguments}
                self._extras[where] = {**self._extras.get(where, {}), **kept}
                if request.name == "eks.CreateCluster":
                    self._guard(where, arguments)
            case "eks.DeleteCluster":
                self._extras.pop(where, None)
                if guard := self._guards.pop(where, None):
                    self._backend("ec2", request.region).delete_security_group(group_id=guard)
                for collection in (self._addons, self._entries, self._identities):
                    collection.drop(request.region, clusterName=where[1])
            case "budgets.CreateBudget":
                name = arguments["Budget"]["BudgetName"]
                self._tag_budget(
                    request, {**arguments, "ResourceARN": f"arn:aws:budgets::{self._account}:budget/{name}"}
                )
            case "budgets.DeleteBudget":
                self._budget_tags.pop(f"arn:aws:budgets::{self._account}:budget/{arguments['BudgetName']}", None)
                self._actions.drop(request.region, BudgetName=arguments["BudgetName"])

    def _guard(self, where: tuple[str, str], arguments: Record) -> None:
        """Make the security group that EKS makes with a cluster, so that rules can name it."""
        network = self._backend("ec2", where[0])
        subnets = [one for one in arguments["resourcesVpcConfig"].get("subnetIds") or () if one in _subnets(network)]
        if subnets:
            made = network.create_security_group(
                f"eks-cluster-sg-{where[1]}", "EKS created security group", vpc_id=network.get_subnet(subnets[0]).vpc_id
            )
            self._guards[where] = made.id

    def _rewrite(self, request: Request, document: Record) -> Record:
        """Return an answer of moto with what only the rehearsal knows."""
        if request.name in ("eks.CreateCluster", "eks.DescribeCluster") and "cluster" in document:
            cluster = document["cluster"]
            cluster |= self._extras.get((request.region, cluster["name"]), {})
            vpc = cluster.get("resourcesVpcConfig") or {}
            if guard := self._guards.get((request.region, cluster["name"])):
                vpc["clusterSecurityGroupId"] = guard
            if self._cluster:
                cluster["endpoint"] = self._cluster["endpoint"]
                cluster["certificateAuthority"] = {"data": base64.b64encode(self._cluster["ca"].encode()).decode()}
        return document

    # --- EKS -------------------------------------------------------------------------------------------------------

    def _cluster_is_there(self, region: str, arguments: Record) -> None:
        if arguments["clusterName"] not in self._backend("eks", region).clusters:
            raise Refused("ResourceNotFoundException", f"No cluster found for name: {arguments['clusterName']}.", 404)

    def _backend(self, service: str, region: str) -> Any:
        from moto.backends import get_backend

        return get_backend(service)[self._account][region]

    def _arn(self, region: str, path: str) -> str:
        return f"arn:aws:eks:{region}:{self._account}:{path}"

    def _addon(self, region: str, _account: str, given: Record) -> Record:
        path = f"addon/{given['clusterName']}/{given['addonName']}/{uuid.uuid4()}"
        now = time.time()
        return {
            "addonArn": self._arn(region, path),
            "addonVersion": given.get("addonVersion") or "v1.0.0-eksbuild.1",
            "status": "ACTIVE",
            "health": {"issues": []},
            "createdAt": now,
            "modifiedAt": now,
            "podIdentityAssociations": None,
        }

    def _entry(self, region: str, _account: str, given: Record) -> Record:
        path = f"access-entry/{given['clusterName']}/{given['principalArn'].rpartition('/')[2]}/{uuid.uuid4()}"
        now = time.time()
        return {
            "accessEntryArn": self._arn(region, path),
            "type": given.get("type") or "STANDARD",
            "username": given.get("username") or given["principalArn"],
            "kubernetesGroups": given.get("kubernetesGroups") or [],
            "createdAt": now,
            "modifiedAt": now,
        }

    def _identity(self, region: str, _account: str, given: Record) -> Record:
        identity = f"a-{uuid.uuid4().hex[:17]}"
        now = time.time()
        return {
            "associationId": identity,
            "associationArn": self._arn(region, f"podidentityassociation/{given['clusterName']}/{identity}"),
            "createdAt": now,
            "modifiedAt": now,
        }

    def _associate(self, request: Request, given: Record) -> Record:
        entry = self._entries.find(request, given)
        now = time.time()
        made = {
            "policyArn": given["policyArn"],
            "accessScope": given["accessScope"],
            "associatedAt": now,
            "modifiedAt": now,
        }
        entry.setdefault("_policies", {})[given["policyArn"]] = made
        return {
            "clusterName": given["clusterName"],
            "principalArn": given["principalArn"],
            "associatedAccessPolicy": made,
        }

    def _disassociate(self, request: Request, given: Record) -> Record:
        policies = self._entries.find(request, given).get("_policies", {})
        if policies.pop(given["policyArn"], None) is None:
            raise Refused("ResourceNotFoundException", f"{given['policyArn']} is not associated", 404)
        return {}

    def _associated(self, request: Request, given: Record) -> Record:
        policies = self._entries.find(request, given).get("_policies", {})
        return {
            "clusterName": given["clusterName"],
            "principalArn": given["principalArn"],
            "associatedAccessPolicies": list(policies.values()),
        }

    def _cluster_version(self, request: Request, given: Record) -> Record:
        clusters = self._backend("eks", request.region).clusters
        if given["name"] not in clusters:
            raise Refused("ResourceNotFoundException", f"No cluster found for name: {given['name']}.", 404)
        clusters[given["name"]].version = given["version"]
        return {"update": {"id": str(uuid.uuid4()), "status": "Successful", "type": "VersionUpdate"}}

    def _nodegroup_version(self, request: Request, given: Record) -> Record:
        group = self._backend("eks", request.region).clusters[given["clusterName"]].nodegroups[given["nodegroupName"]]
        for name, attribute in (
            ("version", "version"),
            ("releaseVersion", "release_version"),
            ("launchTemplate", "launch_template"),
        ):
            if given.get(name):
                setattr(group, attribute, given[name])
        return {"update": {"id": str(uuid.uuid4()), "status": "Successful", "type": "VersionUpdate"}}

    def _owns(self, given: Record) -> bool:
        arn = _arn_in(given)
        return ":nodegroup/" in arn or any(collection.by_arn(arn) for collection in self._collections)

    def _record(self, given: Record) -> Record:
        return next(one for collection in self._collections if (one := collection.by_arn(_arn_in(given))))

    def _tags_kept(self, request: Request, given: Record) -> dict[str, str]:
        """Return the tags of an object of EKS, for changing them. Moto does not find its own node groups by ARN."""
        arn = _arn_in(given)
        if ":nodegroup/" not in arn:
            tags: dict[str, str] = self._record(given).setdefault("tags", {})
            return tags
        cluster, name, _ = arn.partition(":nodegroup/")[2].split("/")
        group = self._backend("eks", request.region).clusters[cluster].nodegroups[name]
        group.tags = group.tags or {}
        found: dict[str, str] = group.tags
        return found

    def _tag(self, request: Request, given: Record) -> Record:
        self._tags_kept(request, given).update(given["tags"])
        return {}

    def _untag(self, request: Request, given: Record) -> Record:
        keys = given["tagKeys"] if isinstance(given["tagKeys"], list) else [given["tagKeys"]]
        for key in keys:
            self._tags_kept(request, given).pop(key, None)
        return {}

    def _tags(self, request: Request, given: Record) -> Record:
        return {"tags": self._tags_kept(request, given)}

    def _retag(self, request: Request, given: Record) -> Record:
        """Add or delete tags that are kept as pairs."""
        record = self._record(given)
        tags = {one["Key"]: one["Value"] for one in (*(record.get("Tags") or ()), *(given.get("Tags") or ()))}
        gone = given.get("TagKeys") or ()
        record["Tags"] = [{"Key": name, "Value": value} for name, value in tags.items() if name not in gone]
        return {"Tags": record["Tags"]} if request.operation != "DeleteTags" else {}

    # --- Budgets ---------------------------------------------------------------------------------------------------

    def _action(self, _region: str, account: str, given: Record) -> Record:
        del account
        return {"ActionId": str(uuid.uuid4()), "Status": "STANDBY", "BudgetName": given["BudgetName"]}

    def _update_budget(self, _request: Request, given: Record) -> Record:
        new = given["NewBudget"]
        budgets = self._backend("budgets", "aws").budgets[self._account]
        if new["BudgetName"] not in budgets:
            raise Refused("NotFoundException", f"Unable to get budget: {new['BudgetName']} - the budget doesn't exist.")
        budgets[new["BudgetName"]].budget |= new
        return {}

    def _tag_budget(self, _request: Request, given: Record) -> Record:
        tags = self._budget_tags.setdefault(given["ResourceARN"], {})
        tags.update({one["Key"]: one["Value"] for one in given.get("ResourceTags") or ()})
        return {}

    def _untag_budget(self, _request: Request, given: Record) -> Record:
        for name in given["ResourceTagKeys"]:
            self._budget_tags.get(given["ResourceARN"], {}).pop(name, None)
        return {}

    def _budget_tags_of(self, _request: Request, given: Record) -> Record:
        arn = given["ResourceARN"]
        tags = self._budget_tags.get(arn)
        if tags is None:
            action = self._actions.records.values()
            found = next((one for one in action if arn.endswith(one["ActionId"])), {})
            return {"ResourceTags": found.get("ResourceTags") or []}
        return {"ResourceTags": [{"Key": name, "Value": value} for name, value in tags.items()]}

    # --- SageMaker -------------------------------------------------------------------------------------------------

    def _feature_group(self, region: str, account: str, given: Record) -> Record:
        name = given["FeatureGroupName"]
        return {
            "FeatureGroupArn": f"arn:aws:sagemaker:{region}:{account}:feature-group/{name.lower()}",
            "CreationTime": time.time(),
            "FeatureGroupStatus": "Created",
        }

    def _update_features(self, request: Request, given: Record) -> Record:
        group = self._features.find(request, given)
        group["FeatureDefinitions"] = [*group["FeatureDefinitions"], *(given.get("FeatureAdditions") or ())]
        for name in ("OnlineStoreConfig", "ThroughputConfig"):
            if given.get(name):
                group[name] = {**(group.get(name) or {}), **given[name]}
        return {"FeatureGroupArn": group["FeatureGroupArn"]}

    def _delete_packages(self, request: Request, given: Record) -> Record:
        groups = self._backend("sagemaker", request.region).model_package_groups
        if groups.pop(given["ModelPackageGroupName"], None) is None:
            raise Refused("ValidationException", f"ModelPackageGroup {given['ModelPackageGroupName']} does not exist.")
        return {}

    # --- Service Quotas and Logs -----------------------------------------------------------------------------------

    def _quota(self, request: Request, given: Record) -> Record:
        quotas = QUOTAS.get(given["ServiceCode"], {})
        if given["QuotaCode"] not in quotas:
            raise Refused("NoSuchResourceException", f"no quota {given['QuotaCode']} of {given['ServiceCode']}")
        return {"Quota": self._quota_record(request, given["ServiceCode"], given["QuotaCode"])}

    def _quotas(self, request: Request, given: Record) -> Record:
        codes = QUOTAS.get(given["ServiceCode"], {})
        return {"Quotas": [self._quota_record(request, given["ServiceCode"], code) for code in codes]}

    def _quota_record(self, request: Request, service: str, code: str) -> Record:
        name, value = QUOTAS[service][code]
        return {
            "ServiceCode": service,
            "ServiceName": service.upper(),
            "QuotaArn": f"arn:aws:servicequotas:{request.region}:{self._account}:{service}/{code}",
            "QuotaCode": code,
            "QuotaName": name,
            "Value": value,
            "Unit": "None",
            "Adjustable": True,
            "GlobalQuota": False,
        }

    def _log_key(self, request: Request, given: Record) -> Record:
        groups = self._backend("logs", request.region).groups
        if given.get("logGroupName") not in groups:
            raise Refused("ResourceNotFoundException", "The specified log group does not exist.")
        groups[given["logGroupName"]].kms_key_id = given.get("kmsKeyId")
        return {}


def _subnets(network: Any) -> set[str]:
    return {subnet.id for subnet in network.describe_subnets()}


def _arn_in(given: Record) -> str:
    return str(given.get("resourceArn") or given.get("ResourceArn") or "")


def cluster_setting(text: str) -> Mapping[str, str]:
    """Read the variable MLOPS_REHEARSAL_CLUSTER."""
    found: Mapping[str, str] = json.loads(text or "{}")
    return found
