"""The registry on AWS: what is kept is encrypted, private and protected, and only the server reaches it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from components.cloud import Cloud
from components.registry.aws import AwsRegistry, AwsRegistryArgs, RegistrySection
from components.registry.database import DatabaseSection
from components.registry.images import Images, ImagesArgs, reference
from components.testing import Recording
from policies.access import Call, evaluate

Run = Callable[[Callable[[], Any]], Recording]
SECTION = RegistrySection(
    replicas=2,
    old_artifact_days=365,
    database=DatabaseSection(
        instance_class="db.m7g.large",
        version="17.4",
        storage_gib=100,
        max_storage_gib=500,
        multi_zone=True,
        backup_days=35,
    ),
)


@pytest.fixture
def registry(cloud: Cloud, run: Run) -> Callable[..., Recording]:
    def make(**changes: Any) -> Recording:
        stated: dict[str, Any] = {
            "cloud": cloud,
            "username": "mlops",
            "section": SECTION,
            "image": "IMAGE",
            "vpc_id": "vpc-1",
            "network_cidr": "10.22.0.0/16",
            "database_subnet_ids": ["intra-0", "intra-1"],
            "node_security_group_id": "sg-nodes",
            "data_key": "DATA",
            "secrets_key": "SECRETS",
            "logs_key": "LOGS",
            "log_days": 365,
            "clients": ["serving", "training"],
        }
        return run(lambda: AwsRegistry("registry", AwsRegistryArgs(**(stated | changes))))

    return make


def test_the_database_is_private_encrypted_and_protected(registry: Callable[..., Recording]) -> None:
    database = registry().only("aws:rds/instance:Instance").inputs

    assert database["publiclyAccessible"] is False
    assert (database["storageEncrypted"], database["kmsKeyId"]) == (True, "DATA")
    assert (database["multiAz"], database["backupRetentionPeriod"]) == (True, 35)
    assert (database["deletionProtection"], database["skipFinalSnapshot"]) == (True, False)
    assert database["finalSnapshotIdentifier"] == "acme-prod-main-final"
    assert database["performanceInsightsKmsKeyId"] == "DATA"


def test_an_environment_without_protection_can_be_destroyed(cloud: Cloud, registry: Callable[..., Recording]) -> None:
    database = registry(cloud=replace(cloud, protected=False)).only("aws:rds/instance:Instance").inputs

    assert (database["deletionProtection"], database["skipFinalSnapshot"]) == (False, True)
    assert "finalSnapshotIdentifier" not in database


def test_nobody_knows_the_password_of_the_database(registry: Callable[..., Recording]) -> None:
    made = registry()

    database = made.only("aws:rds/instance:Instance").inputs
    assert database["manageMasterUserPassword"] is True
    assert database["masterUserSecretKmsKeyId"] == "SECRETS"
    assert "password" not in database
    copy = made.of_type("kubernetes:external-secrets.io/v1:ExternalSecret")["database"]
    reference = copy.inputs["spec"]["data"][0]["remoteRef"]
    assert reference == {
        "key": "arn:aws:secretsmanager:eu-central-1:333333333333:secret:rds!db-1",
        "property": "password",
    }


def test_tls_is_forced(registry: Callable[..., Recording]) -> None:
    made = registry()

    group = made.only("aws:rds/parameterGroup:ParameterGroup").inputs
    assert group["family"] == "postgres17"
    assert {"name": "rds.force_ssl", "value": "1", "applyMethod": "immediate"} in group["parameters"]
    assert made.only("aws:rds/instance:Instance").inputs["parameterGroupName"] == "acme-prod-postgres17"
    address = variables(made)["MLOPS_REGISTRY_DATABASE"]
    assert address == "postgresql+psycopg://mlops@db.example:5432/mlops?sslmode=require"


def test_only_nodes_reach_the_database(registry: Callable[..., Recording]) -> None:
    made = registry()

    rule = made.only("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule").inputs
    assert (rule["referencedSecurityGroupId"], rule["fromPort"], rule["toPort"]) == ("sg-nodes", 5432, 5432)
    assert "cidrIpv4" not in rule
    assert not made.of_type("aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule")
    assert made.only("aws:rds/subnetGroup:SubnetGroup").inputs["subnetIds"] == ["intra-0", "intra-1"]


def test_logs_are_encrypted_and_kept_as_long_as_asked_before_anything_is_written(
    registry: Callable[..., Recording],
) -> None:
    made = registry()

    groups = made.of_type("aws:cloudwatch/logGroup:LogGroup").values()
    assert {group.inputs["name"] for group in groups} == {
        "/aws/rds/instance/acme-prod-main/postgresql",
        "/aws/rds/instance/acme-prod-main/upgrade",
    }
    for group in groups:
        assert (group.inputs["kmsKeyId"], group.inputs["retentionInDays"]) == ("LOGS", 365)
        assert made.waits_for(made.only("aws:rds/instance:Instance"), group)


def variables(made: Recording) -> dict[str, Any]:
    (container,) = made.only("kubernetes:apps/v1:Deployment").inputs["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


def test_the_server_waits_for_its_secrets_and_holds_none_in_plain(registry: Callable[..., Recording]) -> None:
    made = registry()

    server = made.only("kubernetes:apps/v1:Deployment")
    assert server.inputs["spec"]["replicas"] == 2
    assert variables(made)["MLOPS_REGISTRY_PASSWORD"] == {"secretKeyRef": {"name": "registry-password", "key": "value"}}
    assert "TOKEN-" not in str(server.inputs)
    copies = made.of_type("kubernetes:external-secrets.io/v1:ExternalSecret")
    for name in ("database", "registry-password-registry"):
        assert made.waits_for(server, copies[name])


def test_clients_get_the_password_and_nothing_else(registry: Callable[..., Recording]) -> None:
    made = registry()

    (policy,) = made.of_type("kubernetes:networking.k8s.io/v1:NetworkPolicy").values()
    (rule,) = policy.inputs["spec"]["ingress"]
    callers = {one["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for one in rule["from"]}
    assert callers == {"serving", "training", "monitoring"}
    component = made.only("mlops:registry:AwsRegistry")
    assert component.outputs_secret == {"password"}
    assert component.outputs is not None
    assert component.outputs["url"] == "http://registry.registry.svc:5000"


def test_outside_of_the_cluster_only_its_api_server_may_ask_and_only_where_that_is_wanted(
    registry: Callable[..., Recording],
) -> None:
    def blocks(found: Recording) -> list[str]:
        [rule] = found.of_type("kubernetes:networking.k8s.io/v1:NetworkPolicy")["registry"].inputs["spec"]["ingress"]
        assert [one["port"] for one in rule["ports"]] == [5000]
        return [one["ipBlock"]["cidr"] for one in rule["from"] if "ipBlock" in one]

    assert blocks(registry()) == []
    assert blocks(registry(proxy_blocks=["10.22.240.0/24"])) == ["10.22.240.0/24"]


def test_without_an_image_there_is_all_but_the_server(registry: Callable[..., Recording]) -> None:
    made = registry(image=None)

    assert not made.of_type("kubernetes:apps/v1:Deployment")
    assert len(made.of_type("aws:rds/instance:Instance")) == 1


@pytest.fixture
def images(cloud: Cloud, run: Run) -> Recording:
    args = ImagesArgs(cloud=cloud, key="DATA", kept=50, pullers=["nodes", "training"])
    return run(lambda: Images("images", args))


def test_images_stay_what_they_are(images: Recording) -> None:
    repositories = images.of_type("aws:ecr/repository:Repository")

    named = {entry.inputs["name"] for entry in repositories.values()}
    assert named == {"acme/prod/runner", "acme/prod/serving", "acme/prod/training"}
    for entry in repositories.values():
        assert entry.inputs["imageTagMutability"] == "IMMUTABLE"
        assert entry.inputs["imageScanningConfiguration"] == {"scanOnPush": True}
        assert entry.inputs["encryptionConfigurations"] == [{"encryptionType": "KMS", "kmsKey": "DATA"}]
        assert entry.inputs["forceDelete"] is False


def test_old_images_go(images: Recording) -> None:
    rules = json.loads(images.of_type("aws:ecr/lifecyclePolicy:LifecyclePolicy")["serving"].inputs["policy"])["rules"]

    assert rules[1]["selection"]["countNumber"] == 50


@pytest.mark.parametrize(
    ("role", "outcome"), [("acme-prod-nodes", "allowed"), ("acme-prod-training", "allowed"), ("somebody", "denied")]
)
def test_only_roles_of_the_environment_pull(images: Recording, role: str, outcome: str) -> None:
    document = json.loads(images.of_type("aws:ecr/repositoryPolicy:RepositoryPolicy")["serving"].inputs["policy"])
    arn = f"arn:aws:iam::333333333333:role/{role}"

    verdict = evaluate([document], Call("ecr:BatchGetImage", "", {"aws:PrincipalArn": arn}))

    assert verdict.outcome == outcome


def test_an_image_is_named_by_its_digest(cloud: Cloud) -> None:
    found: Sequence[str] = reference(cloud, "training", "sha256:1").rpartition("/")

    assert found[-1] == "training@sha256:1"
    assert found[0] == "333333333333.dkr.ecr.eu-central-1.amazonaws.com/acme/prod"
