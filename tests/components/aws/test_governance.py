"""Governance on AWS: keys with the grants that services need, records nobody can change, a budget that is heard of."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from components.cloud import Cloud
from components.governance.aws import AwsRecords, AwsRecordsArgs
from components.governance.keys import PURPOSES
from components.identity.matrix import MATRIX
from components.testing import Recording

Run = Callable[[Callable[[], Any]], Recording]


@pytest.fixture
def records(cloud: Cloud, run: Run) -> Callable[..., Recording]:
    def make(**changes: Any) -> Recording:
        stated: dict[str, Any] = {
            "audit_days": 400,
            "audit_mode": "compliance",
            "budget_usd": 500,
            "budget_mails": ["money@acme.example"],
            "budget_stops": False,
            "alarm_mails": ["oncall@acme.example"],
        }
        return run(lambda: AwsRecords("records", AwsRecordsArgs(cloud=cloud, **(stated | changes))))

    return make


def principals(document: str) -> set[str]:
    found: set[str] = set()
    for statement in json.loads(document)["Statement"]:
        who = statement["Principal"]
        for value in who.values() if isinstance(who, dict) else [who]:
            found.update([value] if isinstance(value, str) else value)
    return found


def test_what_uses_a_key_waits_for_the_alias_by_which_rights_over_it_are_given(
    records: Callable[..., Recording], cloud: Cloud
) -> None:
    made = records()
    aliases = made.of_type("aws:kms/alias:Alias")

    assert {purpose: alias.inputs["name"] for purpose, alias in aliases.items()} == {
        purpose: cloud.alias(purpose) for purpose in made.of_type("aws:kms/key:Key")
    }
    assert made.waits_for(made.only("aws:sns/topic:Topic"), aliases["data"])


def test_every_purpose_has_a_rotated_key(records: Callable[..., Recording]) -> None:
    keys = records().of_type("aws:kms/key:Key")

    assert set(keys) == set(PURPOSES)
    assert all(key.inputs["enableKeyRotation"] for key in keys.values())


@pytest.mark.parametrize(
    ("purpose", "service"),
    [
        ("logs", "logs.eu-central-1.amazonaws.com"),
        ("data", "cloudwatch.amazonaws.com"),
        ("data", "budgets.amazonaws.com"),
        ("audit", "cloudtrail.amazonaws.com"),
        (
            "cluster",
            "arn:aws:iam::333333333333:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling",
        ),
    ],
)
def test_services_without_a_role_of_ours_may_use_their_key(
    records: Callable[..., Recording], purpose: str, service: str
) -> None:
    key = records().of_type("aws:kms/key:Key")[purpose]

    assert service in principals(key.inputs["policy"])


def test_audit_records_cannot_be_changed(records: Callable[..., Recording]) -> None:
    made = records()

    lock = made.only("aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration")
    assert lock.inputs["rule"]["defaultRetention"] == {"mode": "COMPLIANCE", "days": 400}
    assert made.only("aws:s3/bucket:Bucket").inputs["objectLockEnabled"] is True
    assert made.only("aws:s3/bucket:Bucket").inputs["forceDestroy"] is False
    trail = made.only("aws:cloudtrail/trail:Trail")
    assert trail.inputs["enableLogFileValidation"] is True
    assert trail.inputs["isMultiRegionTrail"] is True


def test_the_trail_waits_for_the_policy_that_lets_it_write(records: Callable[..., Recording]) -> None:
    made = records()

    assert made.waits_for(made.only("aws:cloudtrail/trail:Trail"), made.only("aws:s3/bucketPolicy:BucketPolicy"))


def test_buckets_are_private_encrypted_and_ask_for_tls(records: Callable[..., Recording]) -> None:
    made = records()

    block = made.only("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock")
    assert all(block.inputs[key] for key in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls"))
    rule = made.only("aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration")
    assert rule.inputs["rules"][0]["applyServerSideEncryptionByDefault"]["sseAlgorithm"] == "aws:kms"
    denied = [
        statement
        for statement in json.loads(made.only("aws:s3/bucketPolicy:BucketPolicy").inputs["policy"])["Statement"]
        if statement["Effect"] == "Deny"
    ]
    assert denied[0]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_people_hear_of_the_budget_before_it_is_spent(records: Callable[..., Recording]) -> None:
    budget = records().only("aws:budgets/budget:Budget")

    told = [(entry["notificationType"], entry["threshold"]) for entry in budget.inputs["notifications"]]
    assert told == [("ACTUAL", 50), ("ACTUAL", 80), ("ACTUAL", 100), ("FORECASTED", 100)]
    assert budget.inputs["limitAmount"] == "500"


def test_a_spent_budget_stops_training_where_asked(records: Callable[..., Recording]) -> None:
    assert not records().of_type("aws:budgets/budgetAction:BudgetAction")

    made = records(budget_stops=True)
    action = made.only("aws:budgets/budgetAction:BudgetAction")

    roles = action.inputs["definition"]["iamActionDefinition"]["roles"]
    signers = [one.name for one in MATRIX if any(grant.name == "signing-key" for grant in one.grants)]
    assert sorted(roles) == sorted(f"acme-prod-{name}" for name in signers) == ["acme-prod-jobs", "acme-prod-training"]
    assert action.inputs["approvalModel"] == "AUTOMATIC"
    [attaches] = json.loads(made.of_type("aws:iam/rolePolicy:RolePolicy")["budget"].inputs["policy"])["Statement"]
    assert attaches["Resource"] == [f"arn:aws:iam::333333333333:role/{role}" for role in roles]


def test_a_spent_budget_takes_the_key_that_every_training_signs_with(records: Callable[..., Recording]) -> None:
    stopped = records(budget_stops=True).of_type("aws:iam/policy:Policy")["budget-spent"]

    [denied] = json.loads(stopped.inputs["policy"])["Statement"]
    assert denied["Effect"] == "Deny"
    assert {"sagemaker:CreateProcessingJob", "secretsmanager:GetSecretValue"} <= set(denied["Action"])
