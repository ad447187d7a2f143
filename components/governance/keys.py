"""Encryption keys of an environment on AWS: one for each purpose, so that a right over one is no right over another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pulumi
from pulumi import Output
from pulumi_aws import kms

from components.cloud import Cloud, Statement, allow, policy
from components.component import Component

Purpose = Literal["data", "logs", "secrets", "audit", "cluster"]
PURPOSES: tuple[Purpose, ...] = ("data", "logs", "secrets", "audit", "cluster")
WHAT = {
    "data": "Models, features, captures, databases and queues",
    "logs": "Log groups",
    "secrets": "Secrets Manager, and secrets of Kubernetes",
    "audit": "Audit trail and checkpoints of the ledger",
    "cluster": "Disks of nodes and volumes",
}
_USE = ("kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey")


@dataclass(frozen=True, kw_only=True)
class KeysArgs:
    """What the keys are made with: the environment."""

    cloud: Cloud


class Keys(Component):
    """The encryption keys."""

    arns: Output[dict[str, str]]
    """ARN of each key by its purpose."""

    def __init__(self, name: str, args: KeysArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:governance:Keys", name, opts)
        self.by_purpose: dict[Purpose, kms.Key] = {}
        self._arns: dict[Purpose, Output[str]] = {}
        for purpose in PURPOSES:
            key = kms.Key(
                purpose,
                description=f"{args.cloud.names.prefix}: {WHAT[purpose]}",
                enable_key_rotation=True,
                deletion_window_in_days=30,
                policy=policy(*statements(args.cloud, purpose)),
                tags={"Name": args.cloud.names.of("alias", purpose), "Purpose": purpose},
                opts=pulumi.ResourceOptions.merge(self.child(), pulumi.ResourceOptions(protect=args.cloud.protected)),
            )
            alias = kms.Alias(
                purpose,
                name=args.cloud.alias(purpose),
                target_key_id=key.key_id,
                opts=self.child(),
            )
            self.by_purpose[purpose] = key
            self._arns[purpose] = Output.all(key.arn, alias.id).apply(lambda made: str(made[0]))
        self.register(arns=self._arns)

    def arn(self, purpose: Purpose) -> Output[str]:
        """ARN of the key of a purpose, known once its alias is there, by which rights over it are given."""
        return self._arns[purpose]


def statements(cloud: Cloud, purpose: Purpose) -> list[Statement]:
    """Who may use a key: whoever the account's own policies allow, and services that have no role of ours."""
    found = [allow(["kms:*"], "*", Sid="Account", Principal=cloud.root())]
    if purpose == "logs":
        found.append(
            allow(
                _USE,
                "*",
                Sid="Logs",
                Principal={"Service": f"logs.{cloud.region}.amazonaws.com"},
                Condition={
                    "ArnLike": {"kms:EncryptionContext:aws:logs:arn": cloud.arn("logs", "log-group:*")},
                },
            )
        )
    if purpose == "data":
        # Alarms go through an encrypted topic; without this grant they are lost silently.
        found.append(_service(cloud, "Alarms", ("cloudwatch", "budgets", "events")))
    if purpose == "audit":
        found.append(_service(cloud, "Trail", ("cloudtrail",)))
    if purpose == "cluster":
        found.append(_autoscaling(cloud))
        found.append(
            allow(
                ["kms:CreateGrant"],
                "*",
                Sid="NodesGrants",
                Principal=_autoscaling_role(cloud),
                Condition={"Bool": {"kms:GrantIsForAWSResource": "true"}},
            )
        )
    return found


def _service(cloud: Cloud, sid: str, services: Sequence[str]) -> Statement:
    return allow(
        ("kms:Decrypt", "kms:GenerateDataKey*", "kms:DescribeKey"),
        "*",
        Sid=sid,
        Principal={"Service": [f"{service}.amazonaws.com" for service in services]},
        Condition={"StringEquals": {"aws:SourceAccount": cloud.account}},
    )


def _autoscaling_role(cloud: Cloud) -> Statement:
    path = "role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
    return {"AWS": cloud.arn("iam", path, region=False)}


def _autoscaling(cloud: Cloud) -> Statement:
    return allow(_USE, "*", Sid="Nodes", Principal=_autoscaling_role(cloud))
