"""The alarms that a rollback depends on exist, reach somebody, and fire when the data is gone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from policies.plan import MISSING, Plan, Resource
from policies.rule import EVERYWHERE_ON_AWS, GATED, Answer, Problem, World, plan_rule, resource_rule

ALERTS: Final = (
    "PredictionErrors", "PredictionsSlow", "PredictionsInvalid", "NoReplica", "RolloutFailed", "TargetDown",
    "TargetMissing",
)  # fmt: skip
"""Alerts by which somebody learns that a version is bad, that it went back, or that nobody would learn of it."""
_RULES: Final = "kubernetes:monitoring.coreos.com/v1:PrometheusRule"
_SERVICE: Final = "kubernetes:ray.io/v1:RayService"
_ALARM: Final = "aws:cloudwatch/metricAlarm:MetricAlarm"
_DATABASE: Final = "aws:rds/instance:Instance"
_TOPIC: Final = "aws:sns/topic:Topic"
_SUBSCRIPTION: Final = "aws:sns/topicSubscription:TopicSubscription"
_METRICS: Final = ("CPUUtilization", "FreeStorageSpace", "DatabaseConnections")
_REFERENCES: Final = ("EU AI Act Art. 26", "NIST AI RMF MEASURE 2.4", "NIST AI RMF MANAGE 4.1", "ISO/IEC 42001 A.6.2.6")


@plan_rule(
    id="rollback.alerts-exist",
    title="The alerts that tell of a bad version exist wherever predictions are served",
    severity="high",
    why="What a rollout does not catch, somebody must hear of; and a rollback that failed must be heard of at once.",
    fix="leave components/monitoring/rules in the monitoring of the platform",
    references=_REFERENCES,
    types=(_SERVICE,),
    levels=EVERYWHERE_ON_AWS,
)
def alerts_exist(world: World) -> Iterator[Answer]:
    """Look for each alert in the rules of Prometheus."""
    found: dict[str, tuple[Resource, Any]] = {}
    for rules in world.plan.of(_RULES):
        for group in rules.value("spec", "groups", default=()):
            for rule in group.get("rules") or ():
                if "alert" in rule:
                    found[rule["alert"]] = (rules, rule)
    for name in ALERTS:
        if name not in found:
            yield Problem(f"the alert {name} is in no PrometheusRule of this stack")
            continue
        owner, rule = found[name]
        if not str(rule.get("expr") or "").strip():
            yield Problem(f"the alert {name} has no expression: it never fires", urn=owner.urn)
        if not (rule.get("labels") or {}).get("severity"):
            yield Problem(f"the alert {name} has no severity, by which it is routed", urn=owner.urn)


@plan_rule(
    id="rollback.database-alarms-exist",
    title="The database that rollouts are kept in is watched",
    severity="medium",
    why="Without its database the controller can neither roll out nor back; predictions go on, and nobody notices.",
    fix="leave the alarms of the database in the monitoring of the platform",
    references=_REFERENCES,
    types=(_DATABASE,),
    levels=EVERYWHERE_ON_AWS,
)
def database_alarms_exist(world: World) -> Iterator[Answer]:
    """Look for an alarm of each kind on each database, by its name."""
    watched = {
        (alarm.peek("dimensions", "DBInstanceIdentifier"), alarm.peek("metricName"))
        for alarm in world.plan.of(_ALARM)
        if isinstance(alarm.peek("dimensions", "DBInstanceIdentifier"), str)
    }
    for database in world.plan.of(_DATABASE):
        name = database.value("identifier", default="")
        for metric in _METRICS:
            if (name, metric) not in watched:
                yield Problem(f"no alarm watches {metric} of {name}", urn=database.urn)


@resource_rule(
    id="rollback.alarm-heard",
    title="Every alarm goes to a topic that somebody has subscribed to",
    severity="high",
    why="An alarm without an action is a colour in a console that nobody looks at.",
    fix="give it the environment's topic as its action, and state `aws.monitoring.alarmMails`",
    references=_REFERENCES,
    types=(_ALARM,),
    levels=GATED,
)
def alarm_heard(alarm: Resource, world: World) -> Iterator[Answer]:
    """Follow the alarm's actions, by reference, to topics and their subscriptions."""
    if alarm.value("actionsEnabled", default=True) is not True:
        yield Problem("actionsEnabled is false: it tells nobody", path="actionsEnabled")
    if alarm.peek("alarmActions") is MISSING or not alarm.items("alarmActions"):
        yield Problem("alarmActions is empty: it tells nobody", path="alarmActions")
        return
    heard = _heard(world.plan)
    if not any(one.urn in heard for one in world.plan.origins(alarm, "alarmActions")):
        yield Problem(
            "its actions lead to no topic of this stack that has a subscription",
            path="alarmActions",
            setting="aws.monitoring.alarmMails",
        )


def _heard(plan: Plan) -> frozenset[str]:
    """Return the topics that somebody has subscribed to."""

    def find() -> frozenset[str]:
        topics = (one for subscription in plan.of(_SUBSCRIPTION) for one in plan.origins(subscription, "topic"))
        return frozenset(one.urn for one in topics if one.type == _TOPIC)

    return plan.once("alarms.heard", find)
