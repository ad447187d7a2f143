"""Governance on AWS: keys, audit records, the budget, and the topic that alarms go to.

Made before anything else of an environment, since the keys encrypt all the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pulumi
from pulumi import Output
from pulumi_aws import budgets, iam, sns

from components.cloud import Cloud, allow, deny, policy, trust
from components.component import Component
from components.governance.audit import Audit, AuditArgs
from components.governance.keys import Keys, KeysArgs

_TRAINERS = ("training", "jobs")
"""Workloads that train (`components.identity.matrix`), by either runner."""
WARN_AT = (50, 80, 100)
"""Per cent of the budget at which people hear of it; at the last, of the forecast as well."""


@dataclass(frozen=True, kw_only=True)
class AwsRecordsArgs:
    """What governance on AWS is made with.

    Attributes:
        cloud: the environment.
        audit_days: for how long audit records can't be changed or deleted.
        audit_mode: whether anybody may override that.
        budget_usd: budget of a month, US dollars.
        budget_mails: who hears of it.
        budget_stops: whether training is stopped when the budget is spent.
        alarm_mails: who gets alarms.
    """

    cloud: Cloud
    audit_days: int
    audit_mode: Literal["governance", "compliance"]
    budget_usd: int
    budget_mails: Sequence[str]
    budget_stops: bool
    alarm_mails: Sequence[str]


class AwsRecords(Component):
    """Keys, audit records, budget and the topic of alarms."""

    alarm_topic: Output[str]
    """ARN of the topic that alarms go to."""
    audit_bucket: Output[str]
    """Bucket of the trail and of the ledger's checkpoints."""
    keys: Output[dict[str, str]]
    """ARN of each key by its purpose."""

    def __init__(self, name: str, args: AwsRecordsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:governance:AwsRecords", name, opts)
        cloud = args.cloud
        self.key = Keys("keys", KeysArgs(cloud=cloud), self.child())
        self.audit = Audit(
            "audit",
            AuditArgs(cloud=cloud, key=self.key.arn("audit"), days=args.audit_days, mode=args.audit_mode),
            self.child(),
        )
        topic = self._alarms(args)
        self._budget(args, topic)
        self.register(alarm_topic=topic.arn, audit_bucket=self.audit.bucket, keys=self.key.arns)

    def _alarms(self, args: AwsRecordsArgs) -> sns.Topic:
        cloud = args.cloud
        called = cloud.names.of("topic", "alarms")
        topic = sns.Topic("alarms", name=called, kms_master_key_id=self.key.arn("data"), opts=self.child())
        arn = cloud.arn("sns", called)
        services = {"Service": [f"{one}.amazonaws.com" for one in ("cloudwatch", "budgets", "events")]}
        sns.TopicPolicy(
            "alarms",
            arn=topic.arn,
            policy=policy(
                allow(
                    ["sns:Publish"],
                    arn,
                    Sid="Alarms",
                    Principal=services,
                    Condition={"StringEquals": {"aws:SourceAccount": cloud.account}},
                ),
                deny(
                    ["sns:Publish"],
                    arn,
                    Sid="TlsOnly",
                    Principal="*",
                    Condition={"Bool": {"aws:SecureTransport": "false"}},
                ),
            ),
            opts=self.child(),
        )
        for number, mail in enumerate(args.alarm_mails):
            sns.TopicSubscription(
                f"alarms-{number}", topic=topic.arn, protocol="email", endpoint=mail, opts=self.child()
            )
        return topic

    def _budget(self, args: AwsRecordsArgs, topic: sns.Topic) -> None:
        cloud = args.cloud
        kinds = [("ACTUAL", percent) for percent in WARN_AT] + [("FORECASTED", WARN_AT[-1])]
        budget = budgets.Budget(
            "month",
            name=cloud.names.of("budget", "month"),
            account_id=cloud.account,
            budget_type="COST",
            time_unit="MONTHLY",
            limit_amount=str(args.budget_usd),
            limit_unit="USD",
            cost_filters=[
                {"name": "TagKeyValue", "values": [f"user:{key}${cloud.tags[key]}" for key in ("environment",)]}
            ],
            notifications=[
                {
                    "comparison_operator": "GREATER_THAN",
                    "threshold": percent,
                    "threshold_type": "PERCENTAGE",
                    "notification_type": kind,
                    "subscriber_email_addresses": list(args.budget_mails),
                    "subscriber_sns_topic_arns": [topic.arn],
                }
                for kind, percent in kinds
            ],
            opts=self.child(),
        )
        if args.budget_stops:
            self._stop_training(args, budget)

    def _stop_training(self, args: AwsRecordsArgs, budget: budgets.Budget) -> None:
        """When the budget is spent, the roles of training start nothing and train nothing more; serving goes on.

        What Ray jobs start AWS does not see. But without its key the trainer fits no model, and the run ends.
        """
        cloud = args.cloud
        called = cloud.names.of("policy", "budget-spent")
        stopped = iam.Policy(
            "budget-spent",
            name=called,
            description="Attached when the month's budget is spent",
            policy=policy(
                deny(
                    [
                        "sagemaker:CreateTrainingJob",
                        "sagemaker:CreateProcessingJob",
                        "sagemaker:StartPipelineExecution",
                        "secretsmanager:GetSecretValue",
                    ],
                    "*",
                )
            ),
            opts=self.child(),
        )
        trained_by = [cloud.names.of("role", name) for name in _TRAINERS]
        executes = iam.Role(
            "budget",
            name=cloud.names.of("role", "budget"),
            assume_role_policy=trust(
                cloud.service("budgets"), Condition={"StringEquals": {"aws:SourceAccount": cloud.account}}
            ),
            opts=self.child(),
        )
        iam.RolePolicy(
            "budget",
            role=executes.name,
            policy=policy(
                allow(
                    ["iam:AttachRolePolicy", "iam:DetachRolePolicy"],
                    [cloud.arn("iam", f"role/{role}", region=False) for role in trained_by],
                    Condition={"ArnEquals": {"iam:PolicyARN": cloud.arn("iam", f"policy/{called}", region=False)}},
                )
            ),
            opts=self.child(),
        )
        budgets.BudgetAction(
            "stop-training",
            budget_name=budget.name,
            account_id=cloud.account,
            action_type="APPLY_IAM_POLICY",
            approval_model="AUTOMATIC",
            notification_type="ACTUAL",
            execution_role_arn=executes.arn,
            action_threshold={"action_threshold_type": "PERCENTAGE", "action_threshold_value": 100},
            definition={"iam_action_definition": {"policy_arn": stopped.arn, "roles": trained_by}},
            subscribers=[{"subscription_type": "EMAIL", "address": mail} for mail in args.budget_mails],
            opts=self.child(),
        )
