"""The harness beside a real engine: one small program, registered for real, and built in few words.

What the pack is told of each resource must be what the harness makes of it, in every field.
"""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.planning.runs import Program
from policies.testing import component, made_from, resource, secret, unknown

ROOT = Path(__file__).resolve().parents[3]
PACK = Path(__file__).parent / "recording_pack"

PROGRAM = """\
import json
import pulumi
import pulumi_aws as aws

class Storage(pulumi.ComponentResource):
    def __init__(self, name):
        super().__init__("mlops:storage:Bucket", name, {"size": 3, "wanted": True})
        self.register_outputs({})

to = aws.Provider("aws", region="eu-central-1", allowed_account_ids=["111111111111"])
storage = Storage("data")
inside = pulumi.ResourceOptions(parent=storage, provider=to)
bucket = aws.s3.Bucket("data", bucket="acme-data", tags={"owner": "ann"},
    opts=pulumi.ResourceOptions.merge(inside, pulumi.ResourceOptions(protect=True)))
aws.s3.BucketPublicAccessBlock("data", bucket=bucket.id, block_public_acls=True, block_public_policy=False,
    ignore_public_acls=True, opts=inside)
key = aws.kms.Key("data", deletion_window_in_days=30, enable_key_rotation=True,
    opts=pulumi.ResourceOptions(provider=to))
aws.s3.BucketPolicy("data", bucket=bucket.bucket, policy=pulumi.Output.json_dumps({"Resource": bucket.arn}),
    opts=pulumi.ResourceOptions(provider=to))
aws.s3.BucketServerSideEncryptionConfiguration("data", bucket=bucket.id,
    rules=[{"apply_server_side_encryption_by_default": {"sse_algorithm": "aws:kms", "kms_master_key_id": key.arn},
            "bucket_key_enabled": True}], opts=pulumi.ResourceOptions(provider=to))
aws.secretsmanager.SecretVersion("login", secret_id="login", secret_string=pulumi.Output.secret("hush"),
    opts=pulumi.ResourceOptions(provider=to, depends_on=[bucket]))
aws.secretsmanager.SecretVersion("where", secret_id="where", secret_string=pulumi.Output.secret(key.arn),
    opts=pulumi.ResourceOptions(provider=to))
aws.cloudwatch.MetricAlarm("late", name="late", comparison_operator="GreaterThanThreshold", evaluation_periods=3,
    threshold=0.5, metric_name="latency", namespace="mlops", period=60, statistic="Average", alarm_actions=[],
    opts=pulumi.ResourceOptions(provider=to))
"""


def recording() -> Any:
    spec = importlib.util.spec_from_file_location("recording_pack", PACK / "__main__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def built() -> list[Any]:
    """The same program in the harness's words."""
    aws = "urn:pulumi:test::mlops::pulumi:providers:aws::aws"
    at: dict[str, Any] = {"stack": "test", "provider": aws}
    storage = component("mlops:storage:Bucket", "data", {"size": 3, "wanted": True}, stack="test")
    bucket = resource(
        "aws:s3/bucket:Bucket", "data", bucket="acme-data", tags={"owner": "ann"},
        parent=storage, protect=True, **at,
    )  # fmt: skip
    block = resource(
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "data", bucket=bucket, blockPublicAcls=True,
        blockPublicPolicy=False, ignorePublicAcls=True, parent=storage, **at,
    )  # fmt: skip
    key = resource("aws:kms/key:Key", "data", deletionWindowInDays=30, enableKeyRotation=True, **at)
    policy = resource(
        "aws:s3/bucketPolicy:BucketPolicy", "data", bucket=made_from(bucket, value="acme-data"),
        policy=unknown(bucket), **at,
    )  # fmt: skip
    default = {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": key}
    encryption = resource(
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration", "data",
        bucket=bucket, rules=[{"applyServerSideEncryptionByDefault": default, "bucketKeyEnabled": True}], **at,
    )  # fmt: skip
    version = "aws:secretsmanager/secretVersion:SecretVersion"
    login = resource(version, "login", secretId="login", secretString=secret("hush"), depends_on=[bucket], **at)
    where = resource(version, "where", secretId="where", secretString=secret(key), **at)
    late = resource(
        "aws:cloudwatch/metricAlarm:MetricAlarm", "late", {"name": "late"}, comparisonOperator="GreaterThanThreshold",
        evaluationPeriods=3, threshold=0.5, metricName="latency", namespace="mlops", period=60, statistic="Average",
        alarmActions=[], **at,
    )  # fmt: skip
    return [storage, bucket, block, key, policy, encryption, login, where, late]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the pack was told by a real engine, by URN."""
    folder = tmp_path_factory.mktemp("told")
    project = folder / "project"
    (project / "infra").mkdir(parents=True)
    (project / "stacks").mkdir()
    (project / ".mlops").mkdir()
    (project / ".mlops" / "venv").symlink_to(sys.prefix)
    (project / "infra" / "engine").symlink_to(ROOT / "infra" / "engine")
    (project / "infra" / "__main__.py").write_text(PROGRAM)
    (project / "stacks" / "Pulumi.test.yaml").write_text("config: {}\n")
    (project / "Pulumi.yaml").write_text(
        "name: mlops\nruntime:\n  name: python\n  options:\n    virtualenv: .mlops/venv\nmain: infra/\n"
        "stackConfigDir: stacks\n"
    )
    file = folder / "told.json"
    Program(project, "test", folder / "plan", ROOT, {recording().TO: str(file)}).preview(PACK)
    return {one["urn"]: one for one in json.loads(file.read_text())}


@pytest.mark.engine
@pytest.mark.parametrize("one", built(), ids=lambda one: f"{one.type.rpartition(':')[2]}-{one.name}")
def test_harness_builds_what_the_engine_tells_a_pack(one: Any, told: dict[str, Any]) -> None:
    assert json.loads(json.dumps(recording().described(one))) == told.get(one.urn), sorted(told)
