"""EKS add-ons: what every node and every pod of the cluster needs from the first moment.

Versions are pinned for each Kubernetes version, so that two `up`s make the same cluster. Which ones EKS offers for a
version: `aws eks describe-addon-versions --kubernetes-version 1.35`. Those below are the ones that it marks as default
(`defaultVersion`), as public configurations had recorded its answer: for 1.35 on 2 October 2026, for 1.34 on 24 June
2026. We have not asked an account.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_aws import eks

from components.cloud import Cloud

BEFORE_NODES = ("vpc-cni", "kube-proxy", "eks-pod-identity-agent")
"""Without these no node becomes ready; they are daemon sets, which need no node to be installed."""
AFTER_NODES = ("coredns", "aws-ebs-csi-driver")

VERSIONS: Mapping[str, Mapping[str, str]] = {
    "1.34": {
        "vpc-cni": "v1.21.2-eksbuild.2",
        "kube-proxy": "v1.34.6-eksbuild.11",
        "coredns": "v1.12.4-eksbuild.17",
        "eks-pod-identity-agent": "v1.3.10-eksbuild.3",
        "aws-ebs-csi-driver": "v1.62.0-eksbuild.1",
    },
    "1.35": {
        "vpc-cni": "v1.22.4-eksbuild.3",
        "kube-proxy": "v1.35.3-eksbuild.29",
        "coredns": "v1.13.2-eksbuild.31",
        "eks-pod-identity-agent": "v1.3.10-eksbuild.3",
        "aws-ebs-csi-driver": "v1.66.0-eksbuild.1",
    },
}
"""Version of each add-on by the version of Kubernetes."""


@dataclass(frozen=True, kw_only=True)
class AddonsArgs:
    """What the add-ons are made with.

    Attributes:
        cloud: the environment.
        cluster: name of the cluster.
        version: its Kubernetes version.
        roles: ARNs of the roles of add-ons that call AWS, by add-on.
    """

    cloud: Cloud
    cluster: pulumi.Input[str]
    version: str
    roles: Mapping[str, pulumi.Input[str]]


SERVICE_ACCOUNTS = {"vpc-cni": "aws-node", "aws-ebs-csi-driver": "ebs-csi-controller-sa"}
"""Service account of each add-on that calls AWS, as the add-on names it."""


def versions(version: str) -> Mapping[str, str]:
    """The pinned add-ons of a version of Kubernetes.

    Raises:
        pulumi.RunError: none are pinned for it.
    """
    if version not in VERSIONS:
        raise pulumi.RunError(
            f"aws.kubernetes.version is {version}, but components/cluster/addons.py pins add-ons for "
            f"{', '.join(sorted(VERSIONS))}: state one of these, or add a row with what "
            f"`aws eks describe-addon-versions --kubernetes-version {version}` names"
        )
    return VERSIONS[version]


def configuration(addon: str, cloud: Cloud) -> dict[str, Any] | None:
    """Settings of an add-on; None where its defaults do."""
    tolerate = [{"key": "CriticalAddonsOnly", "operator": "Exists"}]
    match addon:
        case "vpc-cni":
            # Prefixes instead of single addresses: 110 pods on every size of node (policies/scheduling/nodes.py).
            return {
                "enableNetworkPolicy": "true",
                "env": {"ENABLE_PREFIX_DELEGATION": "true", "WARM_PREFIX_TARGET": "1"},
            }
        case "coredns":
            return {"tolerations": tolerate, "nodeSelector": {"mlops/pool": "system"}}
        case "aws-ebs-csi-driver":
            return {"controller": {"tolerations": tolerate, "extraVolumeTags": dict(cloud.tags)}}
    return None


def install(args: AddonsArgs, names: Sequence[str], opts: pulumi.ResourceOptions) -> list[eks.Addon]:
    """Install add-ons.

    Args:
        args: what they are made with.
        names: which ones.
        opts: options of each.
    """
    pinned = versions(args.version)
    made = []
    for name in names:
        settings = configuration(name, args.cloud)
        identity = (
            {"role_arn": args.roles[name], "service_account": SERVICE_ACCOUNTS[name]} if name in args.roles else None
        )
        made.append(
            eks.Addon(
                name,
                cluster_name=args.cluster,
                addon_name=name,
                addon_version=pinned[name],
                configuration_values=json.dumps(settings) if settings else None,
                pod_identity_associations=[eks.AddonPodIdentityAssociationArgs(**identity)] if identity else None,
                resolve_conflicts_on_create="OVERWRITE",
                resolve_conflicts_on_update="OVERWRITE",
                opts=opts,
            )
        )
    return made
