"""The cluster on AWS: private, encrypted, closed by default, and made in an order that can be continued."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pulumi
import pytest
from pulumi_aws.eks import PodIdentityAssociation

from components.cloud import Cloud
from components.cluster import addons
from components.cluster.aws import AwsCluster, AwsClusterArgs, SystemNodesArgs
from components.cluster.charts import CHARTS
from components.cluster.karpenter import EVENTS, require_quota
from components.cluster.placement import NodePoolArgs, placed
from components.cluster.quotas import LEVELS, quotas
from components.cluster.runner import Runner, RunnerArgs
from components.cluster.secrets import ExternalSecrets
from components.testing import Recording, Registration, record
from tests.components.aws.conftest import FUNCTIONS, answer

Cluster = Callable[..., Recording]

SERVING = NodePoolArgs(
    name="serving", instance_types=("m7i.xlarge", "m7i.2xlarge"), capacity="on-demand", cpus=32, memory_gib=128
)
SPOT = NodePoolArgs(name="training", instance_types=("m7i.xlarge",), capacity="spot", cpus=16, memory_gib=64)
GPU = NodePoolArgs(
    name="gpu", instance_types=("g6.xlarge",), capacity="on-demand", cpus=8, memory_gib=32, gpus=2, gpu_name="l4"
)
QUOTA = "aws:servicequotas/getServiceQuota:getServiceQuota"
CLUSTER: Mapping[str, Any] = {
    "endpoint": "https://cluster.example",
    "certificateAuthority": {"data": "Q0E="},
    "vpcConfig": {"clusterSecurityGroupId": "sg-cluster"},
}


@pytest.fixture(scope="module")
def cluster(cloud: Cloud) -> Cluster:
    known: dict[str, Recording] = {}

    def make(**changes: Any) -> Recording:
        """The cluster with changes; made once for each, since it takes its time."""
        key = repr(sorted(changes.items()))
        if key not in known:
            known[key] = recorded(**changes)
        return known[key]

    def recorded(*, vcpus: float = 100, **changes: Any) -> Recording:
        stated: dict[str, Any] = {
            "cloud": cloud,
            "name": "acme-prod-main",
            "version": "1.35",
            "public_cidrs": (),
            "admin_roles": ("arn:aws:iam::333333333333:role/admins",),
            "release_roles": ("arn:aws:iam::333333333333:role/acme-prod-ci-releases",),
            "log_days": 365,
            "system": SystemNodesArgs(instance_types=("m7i.large",), min=2, max=4),
            "pools": (SERVING, SPOT, GPU),
            "quotas": quotas((SERVING, SPOT, GPU), serving=frozenset({"serving"}), training=frozenset({"training"})),
            "network_cidr": "10.22.0.0/16",
            "isolated": False,
            "control_subnet_ids": ["intra-0", "intra-1"],
            "node_subnet_ids": ["private-0", "private-1"],
            "logs_key": "LOGS",
            "secrets_key": "SECRETS",
            "disks_key": "DISKS",
            "queue_key": "QUEUES",
        }
        args = AwsClusterArgs(**(stated | changes))

        def answers(token: str, name: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
            more = CLUSTER if token == "aws:eks/cluster:Cluster" else {}
            merged = {**more, "vpcConfig": {**inputs.get("vpcConfig", {}), **more.get("vpcConfig", {})}} if more else {}
            return {**answer(token, name, inputs), **merged}

        functions = {**FUNCTIONS, QUOTA: {"value": vcpus, "quotaCode": "L-DB2E81BA", "serviceCode": "ec2"}}
        return record(lambda: AwsCluster("cluster", args), answers, functions=functions)

    return make


def custom(made: Recording, kind: str, name: str) -> Registration:
    found = [
        entry for entry in made if entry.inputs.get("kind") == kind and entry.inputs["metadata"].get("name") == name
    ]
    assert len(found) == 1, (kind, name)
    return found[0]


def statement(made: Recording, role: str, sid: str) -> dict[str, Any]:
    document = json.loads(made.of_type("aws:iam/rolePolicy:RolePolicy")[role].inputs["policy"])
    found: dict[str, Any] = next(one for one in document["Statement"] if one.get("Sid") == sid)
    return found


# --- control plane and system nodes ---


def test_the_api_server_is_private_encrypted_and_logged(cluster: Cluster) -> None:
    made = cluster()

    control = made.only("aws:eks/cluster:Cluster")
    assert control.inputs["vpcConfig"]["endpointPrivateAccess"] is True
    assert control.inputs["vpcConfig"]["endpointPublicAccess"] is False
    assert control.inputs["encryptionConfig"] == {"provider": {"keyArn": "SECRETS"}, "resources": ["secrets"]}
    assert control.inputs["accessConfig"]["authenticationMode"] == "API"
    assert set(control.inputs["enabledClusterLogTypes"]) >= {"audit", "authenticator"}
    assert control.inputs["deletionProtection"] is True
    logs = made.only("aws:cloudwatch/logGroup:LogGroup")
    assert logs.inputs["name"] == "/aws/eks/acme-prod-main/cluster"
    assert (logs.inputs["kmsKeyId"], logs.inputs["retentionInDays"]) == ("LOGS", 365)
    assert made.waits_for(control, logs)


def test_the_api_server_is_public_only_from_where_it_is_asked_for(cluster: Cluster) -> None:
    access = cluster(public_cidrs=("198.51.100.0/24",)).only("aws:eks/cluster:Cluster").inputs["vpcConfig"]

    assert access["endpointPublicAccess"] is True
    assert access["publicAccessCidrs"] == ["198.51.100.0/24"]


def test_people_are_admitted_by_access_entries(cluster: Cluster) -> None:
    made = cluster()

    granted = made.only("aws:eks/accessPolicyAssociation:AccessPolicyAssociation")
    assert granted.inputs["principalArn"] == "arn:aws:iam::333333333333:role/admins"
    assert granted.inputs["policyArn"].endswith("AmazonEKSClusterAdminPolicy")
    assert made.waits_for(granted, made.of_type("aws:eks/accessEntry:AccessEntry")["admin-0"])


def test_pipelines_of_releases_get_a_group_and_no_policy(cluster: Cluster) -> None:
    made = cluster()

    entry = made.of_type("aws:eks/accessEntry:AccessEntry")["releases-0"].inputs
    assert entry["principalArn"] == "arn:aws:iam::333333333333:role/acme-prod-ci-releases"
    assert entry["kubernetesGroups"] == ["mlops:releases"]
    granted = made.of_type("aws:eks/accessPolicyAssociation:AccessPolicyAssociation").values()
    assert entry["principalArn"] not in {one.inputs["principalArn"] for one in granted}


def test_pods_do_not_reach_the_credentials_of_their_node_and_disks_are_encrypted(cluster: Cluster) -> None:
    made = cluster()

    template = made.only("aws:ec2/launchTemplate:LaunchTemplate").inputs
    assert template["metadataOptions"]["httpTokens"] == "required"
    assert template["metadataOptions"]["httpPutResponseHopLimit"] == 1
    disks = [disk["ebs"] for disk in template["blockDeviceMappings"]]
    assert {(disk["encrypted"], disk["kmsKeyId"], disk["volumeType"]) for disk in disks} == {("true", "DISKS", "gp3")}
    nodes = custom(made, "EC2NodeClass", "bottlerocket").inputs["spec"]
    assert nodes["metadataOptions"]["httpPutResponseHopLimit"] == 1
    assert nodes["metadataOptions"]["httpTokens"] == "required"
    disks = [disk["ebs"] for disk in nodes["blockDeviceMappings"]]
    assert {(disk["encrypted"], disk["kmsKeyID"]) for disk in disks} == {(True, "DISKS")}
    assert nodes["securityGroupSelectorTerms"] == [{"id": "sg-cluster"}]


def test_system_nodes_run_bottlerocket_and_only_what_the_cluster_needs(cluster: Cluster) -> None:
    nodes = cluster().only("aws:eks/nodeGroup:NodeGroup").inputs

    assert nodes["amiType"] == "BOTTLEROCKET_x86_64"
    assert nodes["taints"] == [{"key": "CriticalAddonsOnly", "value": "true", "effect": "NO_SCHEDULE"}]
    assert nodes["labels"] == {"mlops/pool": "system"}


# --- add-ons and order ---


def test_every_addon_has_a_pinned_version(cluster: Cluster) -> None:
    found = cluster().of_type("aws:eks/addon:Addon")

    assert {name: entry.inputs["addonVersion"] for name, entry in found.items()} == addons.VERSIONS["1.35"]
    network = json.loads(found["vpc-cni"].inputs["configurationValues"])
    assert network["enableNetworkPolicy"] == "true"
    assert network["env"]["ENABLE_PREFIX_DELEGATION"] == "true"


def test_a_version_without_pinned_addons_says_what_to_do() -> None:
    with pytest.raises(pulumi.RunError, match=r"version is 1\.39, .*pins add-ons for 1\.34, 1\.35: .*add a row"):
        addons.versions("1.39")


def test_what_is_installed_waits_for_what_it_needs(cluster: Cluster) -> None:
    made = cluster()
    control = made.only("aws:eks/cluster:Cluster")
    addon = made.of_type("aws:eks/addon:Addon")
    nodes = made.only("aws:eks/nodeGroup:NodeGroup")
    charts = made.of_type("kubernetes:helm.sh/v3:Release")
    node_class = custom(made, "EC2NodeClass", "bottlerocket")

    assert made.waits_for(addon["vpc-cni"], control)
    for name in addons.BEFORE_NODES:
        assert made.waits_for(nodes, addon[name])
    for name in addons.AFTER_NODES:
        assert made.waits_for(addon[name], nodes)
    assert made.waits_for(charts["karpenter"], charts["karpenter-crd"])
    assert made.waits_for(node_class, charts["karpenter"])
    for pool in ("serving", "training", "gpu"):
        assert made.waits_for(custom(made, "NodePool", pool), node_class)
    spaces = made.of_type("kubernetes:core/v1:Namespace")
    for name in ("kuberay-operator", "envoy-gateway"):
        assert made.waits_for(charts[name], spaces["platform"])
        assert made.waits_for(charts[name], addon["coredns"])


def test_rights_outlive_what_uses_them(cluster: Cluster) -> None:
    """Else the nodes of a cluster that is destroyed could not be ended any more."""
    made = cluster()
    rights = made.of_type("aws:iam/rolePolicy:RolePolicy")
    attached = made.of_type("aws:iam/rolePolicyAttachment:RolePolicyAttachment")
    addon = made.of_type("aws:eks/addon:Addon")
    pool = custom(made, "NodePool", "serving")

    assert made.waits_for(pool, rights["karpenter"])
    assert made.waits_for(pool, made.of_type("aws:eks/accessEntry:AccessEntry")["karpenter-nodes"])
    assert made.waits_for(pool, attached["karpenter-nodes-AmazonEKSWorkerNodePolicy"])
    assert made.waits_for(addon["vpc-cni"], attached["vpc-cni"])
    assert made.waits_for(addon["aws-ebs-csi-driver"], rights["aws-ebs-csi-driver"])


def test_a_failed_installation_is_taken_back_so_that_the_next_up_repeats_it(cluster: Cluster) -> None:
    charts = cluster().of_type("kubernetes:helm.sh/v3:Release")

    assert all(chart.inputs["atomic"] for chart in charts.values())
    assert {name: chart.inputs["version"] for name, chart in charts.items()} == {
        name: CHARTS[name].version for name in charts
    }


# --- Karpenter ---


def test_karpenter_touches_only_nodes_of_its_cluster(cluster: Cluster) -> None:
    made = cluster()

    ends = statement(made, "karpenter", "EndItsNodes")
    assert ends["Condition"]["StringEquals"] == {"aws:ResourceTag/kubernetes.io/cluster/acme-prod-main": "owned"}
    starts = statement(made, "karpenter", "StartTagged")
    assert starts["Condition"]["StringEquals"]["aws:RequestTag/eks:eks-cluster-name"] == "acme-prod-main"
    gives = statement(made, "karpenter", "GiveNodesTheirRole")
    assert gives["Resource"] == "arn:aws:iam::333333333333:role/acme-prod-karpenter-nodes"
    document = json.loads(made.of_type("aws:iam/rolePolicy:RolePolicy")["karpenter"].inputs["policy"])
    unbounded = [one for one in document["Statement"] if one["Resource"] == "*" and "Condition" not in one]
    assert [one["Action"] for one in unbounded] == [["pricing:GetProducts"]]


def test_karpenter_hears_of_interruptions_through_an_encrypted_queue(cluster: Cluster) -> None:
    made = cluster()

    queue = made.only("aws:sqs/queue:Queue")
    assert queue.inputs["kmsMasterKeyId"] == "QUEUES"
    rules = made.of_type("aws:cloudwatch/eventRule:EventRule").values()
    assert {json.loads(rule.inputs["eventPattern"])["detail-type"][0] for rule in rules} == {
        detail for _, detail in EVENTS.values()
    }
    values = made.of_type("kubernetes:helm.sh/v3:Release")["karpenter"].inputs["values"]
    assert values["settings"]["interruptionQueue"] == "acme-prod-karpenter"
    bound = made.only("aws:eks/podIdentityAssociation:PodIdentityAssociation").inputs
    assert (bound["namespace"], bound["serviceAccount"]) == ("kube-system", "karpenter")


def test_there_are_no_more_controllers_than_nodes_to_put_them_on(cluster: Cluster) -> None:
    alone = cluster(system=SystemNodesArgs(instance_types=("m7i.large",), min=1, max=1))

    assert alone.of_type("kubernetes:helm.sh/v3:Release")["karpenter"].inputs["values"]["replicas"] == 1


def test_operators_run_where_there_are_nodes_from_the_beginning(cluster: Cluster) -> None:
    charts = cluster().of_type("kubernetes:helm.sh/v3:Release")

    gateway = charts["envoy-gateway"].inputs["values"]
    parts = [
        charts["kuberay-operator"].inputs["values"],
        charts["metrics-server"].inputs["values"],
        gateway["deployment"]["pod"],
        gateway["certgen"]["job"],
    ]
    assert all(part["nodeSelector"] == {"mlops/pool": "system"} for part in parts)
    assert all(part["tolerations"] == [{"key": "CriticalAddonsOnly", "operator": "Exists"}] for part in parts)


def test_pools_are_as_the_settings_state_them(cluster: Cluster) -> None:
    made = cluster()

    gpu = custom(made, "NodePool", "gpu").inputs["spec"]
    assert gpu["limits"] == {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "2"}
    assert gpu["template"]["spec"]["taints"] == [{"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}]
    assert gpu["template"]["metadata"]["labels"] == {"mlops/pool": "gpu"}
    spot = custom(made, "NodePool", "training").inputs["spec"]
    buys = {one["key"]: one["values"] for one in spot["template"]["spec"]["requirements"]}
    assert buys["karpenter.sh/capacity-type"] == ["spot"]
    assert buys["kubernetes.io/arch"] == ["amd64"]
    assert spot["template"]["spec"]["taints"][0]["key"] == "mlops/spot"
    assert spot["disruption"]["consolidateAfter"] == "120s"


def test_a_pod_that_names_a_pool_tolerates_its_taints() -> None:
    assert placed(GPU) == {
        "nodeSelector": {"mlops/pool": "gpu"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    }
    assert placed(SERVING)["tolerations"] == []


def test_gpus_that_the_account_does_not_allow_are_refused() -> None:
    with pytest.raises(pulumi.RunError, match=r"pools\.gpu: its limit is 8 vCPU.*'Running On-Demand G.*' is 4"):
        require_quota(GPU, "Running On-Demand G and VT instances", 4)


# --- namespaces ---


def test_every_namespace_is_closed_bounded_and_judged(cluster: Cluster) -> None:
    made = cluster()

    spaces = made.of_type("kubernetes:core/v1:Namespace")
    assert set(spaces) == set(LEVELS)
    enforced = {
        name: entry.inputs["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] for name, entry in spaces.items()
    }
    assert {name for name, level in enforced.items() if level != "restricted"} == {"platform", "monitoring"}
    policies = made.of_type("kubernetes:networking.k8s.io/v1:NetworkPolicy")
    for name in LEVELS:
        closed = policies[name].inputs["spec"]
        assert closed["podSelector"] == {}
        assert closed["policyTypes"] == ["Ingress", "Egress"]
        assert closed["ingress"] == []
        assert name in made.of_type("kubernetes:core/v1:ResourceQuota")
        assert name in made.of_type("kubernetes:core/v1:LimitRange")


def test_the_operators_are_called_from_the_network_only(cluster: Cluster) -> None:
    opened = cluster().of_type("kubernetes:networking.k8s.io/v1:NetworkPolicy")["operators"].inputs["spec"]["ingress"]

    blocks = [peer["ipBlock"]["cidr"] for rule in opened for peer in rule["from"] if "ipBlock" in peer]
    assert blocks == ["10.22.0.0/16"]


def test_volumes_are_encrypted_by_default(cluster: Cluster) -> None:
    volumes = cluster().only("kubernetes:storage.k8s.io/v1:StorageClass").inputs

    assert volumes["parameters"] == {"type": "gp3", "encrypted": "true", "kmsKeyId": "DISKS"}
    assert volumes["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true"


def test_what_is_on_the_cluster_comes_through_its_own_provider(cluster: Cluster) -> None:
    made = cluster()

    provider = made.only("pulumi:providers:kubernetes")
    assert "kubeconfig" in provider.secrets
    config = json.loads(provider.inputs["kubeconfig"])
    assert config["clusters"][0]["cluster"]["server"] == "https://cluster.example"
    assert "token" not in config["users"][0]["user"]


def test_the_runner_keeps_no_token_of_its_own(cloud: Cloud, run: Callable[[Callable[[], Any]], Recording]) -> None:
    made = run(
        lambda: Runner(
            "runner",
            RunnerArgs(cloud=cloud, url="https://github.com/acme/ml", image="registry/runner@sha256:" + "a" * 64),
        )
    )

    charts = made.of_type("kubernetes:helm.sh/v3:Release")
    assert charts["runner"].inputs["values"]["githubConfigSecret"] == "registration"
    token = custom(made, "ExternalSecret", "registration")
    assert token.inputs["spec"]["data"][0]["remoteRef"] == {"key": "acme/prod/runner-token"}
    assert made.waits_for(charts["runner"], charts["runner-controller"])
    assert made.waits_for(charts["runner"], token)


def test_external_secrets_waits_for_its_role(cloud: Cloud, run: Callable[[Callable[[], Any]], Recording]) -> None:
    def program() -> None:
        bound = PodIdentityAssociation(
            "bound", cluster_name="c", namespace="platform", service_account="external-secrets", role_arn="r"
        )
        ExternalSecrets("external-secrets", pulumi.ResourceOptions(depends_on=[bound]))

    made = run(program)

    chart = made.only("kubernetes:helm.sh/v3:Release")
    assert made.waits_for(chart, made.only("aws:eks/podIdentityAssociation:PodIdentityAssociation"))
    assert chart.inputs["values"]["serviceAccount"] == {"name": "external-secrets"}
    assert chart.inputs["values"]["certController"]["nodeSelector"] == {"mlops/pool": "system"}
