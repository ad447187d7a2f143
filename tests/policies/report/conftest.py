"""A review with a bit of everything, for the renderers' tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from policies.evaluation import Evaluation, Finding
from policies.report.document import (
    Amount,
    ComponentCost,
    CostChange,
    GateChange,
    PlannedStep,
    Review,
    StackReview,
)

URN = "urn:pulumi:prod::mlops::"


def finding(**changed: Any) -> Finding:
    """A failed mandatory finding, unless changed."""
    stated: dict[str, Any] = {
        "rule": "security.bucket-not-public", "status": "failed", "level": "mandatory", "severity": "critical",
        "text": "blockPublicAcls is off", "urn": URN + "aws:s3/bucket:Bucket::models", "path": "blockPublicAcls",
        "place": "components/registry/aws.py:88", "fix": "switch it on",
    }  # fmt: skip
    return Finding(**{**stated, **changed})


def evaluation(*findings: Finding, **counts: int) -> Evaluation:
    """An evaluation with findings, in which something was asked."""
    return Evaluation(findings=findings, counts=counts, asked=["security.bucket-not-public"])


def stack(**changed: Any) -> StackReview:
    """A stack that nothing is wrong with, unless changed."""
    good: dict[str, Any] = {"stack": "prod", "environment": "prod", "evaluation": evaluation(passed=12)}
    return StackReview(**{**good, **changed})


@pytest.fixture
def review() -> Callable[..., Review]:
    """A review that may be merged, unless changed."""
    good = Review(
        base="a" * 40, head="b" * 40, made_at="2026-11-20T09:00:00+00:00", stacks=[stack()], untouched=["dev"]
    )
    return lambda **changed: replace(good, **changed)


@pytest.fixture
def full(review: Callable[..., Review]) -> Review:
    """A review with a bit of everything, which must not be merged."""
    waived = finding(
        rule="rollback.no-replacement", status="waived", severity="high", text="the database is replaced",
        urn=URN + "aws:rds/instance:Instance::tracking", place="", setting="aws.registry.instance",
        waiver="dora@acme.example, until 2026-12-01: moved to a new subnet group",
    )  # fmt: skip
    deferred = finding(
        rule="reliability.quota", status="deferred", severity="medium", text="16 vCPU of G instances",
        check={"name": "quota", "code": "L-DB2E81BA"}, urn="", place="",
    )  # fmt: skip
    unknown = finding(
        rule="cost.budget", status="undetermined", severity="high", text="worst case is not known", urn="", place="",
        setting="aws.governance.budgetUsd",
    )  # fmt: skip
    advisory = finding(rule="cost.retention", level="advisory", severity="low", text="logs kept 400 days", place="")
    steps = [
        PlannedStep(operation="create", urn=URN + "aws:s3/bucket:Bucket::models", type="aws:s3/bucket:Bucket"),
        PlannedStep(
            operation="update", urn=URN + "aws:eks/cluster:Cluster::eks", type="aws:eks/cluster:Cluster",
            changed=["tags"],
        ),
        PlannedStep(
            operation="delete", urn=URN + "kubernetes:core/v1:ConfigMap::old", type="kubernetes:core/v1:ConfigMap"
        ),
        PlannedStep(
            operation="replace", urn=URN + "aws:rds/instance:Instance::tracking", type="aws:rds/instance:Instance",
            changed=["dbSubnetGroupName"], replaces=["dbSubnetGroupName"], stateful=True,
        ),
    ]  # fmt: skip
    cost = CostChange(
        before=Amount(expected=4000.0, worst=8000.0), after=Amount(expected=4120.5, worst=9900.0),
        components=[
            ComponentCost(
                component="cluster",
                before=Amount(expected=3000, worst=7000),
                after=Amount(expected=3100, worst=8900),
            )
        ],
        unpriced=["tracking (aws:rds/instance:Instance): no price for db.z9.huge in eu-central-1"],
        budget=9000.0, prices="price book of 2026-11-02, eu-central-1",
    )  # fmt: skip
    prod = stack(
        steps=steps, unchanged=300, cost=cost, notes=["planned with stand-ins, without the account's state"],
        evaluation=evaluation(
            finding(), waived, deferred, unknown, advisory,
            failed=2, waived=1, deferred=1, undetermined=1, passed=412, **{"not applicable": 9},
        ),
    )  # fmt: skip
    gates = [
        GateChange(
            kind="level", subject="cost.budget", before="mandatory", after="advisory", weakens=True,
            text="the rule no longer stops prod",
        ),
        GateChange(
            kind="waiver", subject="rollback.no-replacement on prod: tracking", weakens=True,
            text="a new waiver", after="until 2026-12-01", waiver="dora@acme.example: moved to a new subnet group",
            place="stacks/waivers.yaml:12",
        ),
        GateChange(kind="rule", subject="security.new", text="a new rule", after="high"),
    ]  # fmt: skip
    return review(stacks=[prod], gate_changes=gates)
