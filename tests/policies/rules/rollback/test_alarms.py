"""Alarms that a rollback depends on: they exist, watch what they should, and somebody hears them."""

from typing import Any

import pytest

from policies.plan import Resource
from policies.rules.rollback.alarms import ALERTS, alarm_heard, alerts_exist, database_alarms_exist
from policies.testing import admit, deny, resource, skip, undetermined, unknown

SERVICE = resource("kubernetes:ray.io/v1:RayService", "inference")
TOPIC = resource("aws:sns/topic:Topic", "alarms")
MAIL = resource("aws:sns/topicSubscription:TopicSubscription", "mail", topic=TOPIC, protocol="email")


def alert(name: str, **changes: Any) -> dict[str, Any]:
    return {"alert": name, "expr": "up == 0", "labels": {"severity": "critical"}} | changes


def rules(*alerts: Any) -> Resource:
    spec = {"groups": [{"name": "records", "rules": [{"record": "a", "expr": "b"}]}, {"name": "a", "rules": alerts}]}
    return resource("kubernetes:monitoring.coreos.com/v1:PrometheusRule", "rules", spec=spec)


def test_all_alerts_are_admitted() -> None:
    admit(alerts_exist, SERVICE, rules(*map(alert, ALERTS)))


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_is_asked_for(name: str) -> None:
    others = [alert(one) for one in ALERTS if one != name]
    deny(alerts_exist, SERVICE, rules(*others), says=f"the alert {name} is in no PrometheusRule", at="")
    deny(alerts_exist, SERVICE, rules(*others, alert(name, expr=" ")), says="has no expression")
    deny(alerts_exist, SERVICE, rules(*others, alert(name, labels=None)), says="has no severity")


def test_stack_that_serves_nothing_is_not_asked_for_alerts() -> None:
    skip(alerts_exist, rules())


def test_alerts_that_are_not_known_leave_it_open() -> None:
    undetermined(alerts_exist, SERVICE, rules(unknown()))


DATABASE = resource("aws:rds/instance:Instance", "database", identifier="main")
METRICS = ("CPUUtilization", "FreeStorageSpace", "DatabaseConnections")


def watching(metric: Any, database: Any = "main") -> Resource:
    kind = "aws:cloudwatch/metricAlarm:MetricAlarm"
    return resource(kind, f"watch-{metric}", metricName=metric, dimensions={"DBInstanceIdentifier": database})


def test_database_that_is_watched_is_admitted() -> None:
    admit(database_alarms_exist, DATABASE, *map(watching, METRICS))


@pytest.mark.parametrize("metric", METRICS)
def test_each_alarm_of_the_database_is_asked_for(metric: str) -> None:
    others = [watching(one) for one in METRICS if one != metric]
    deny(database_alarms_exist, DATABASE, *others, says=f"no alarm watches {metric} of main", at=DATABASE)
    deny(database_alarms_exist, DATABASE, *others, watching(metric, "other"), at=DATABASE)
    deny(database_alarms_exist, DATABASE, *others, watching(metric, unknown()), at=DATABASE)


def test_database_whose_name_is_not_known_leaves_it_open() -> None:
    undetermined(database_alarms_exist, resource(DATABASE.type, "database", identifier=unknown()), path="identifier")


def alarm(actions: Any, **changes: Any) -> Resource:
    return resource("aws:cloudwatch/metricAlarm:MetricAlarm", "cpu", alarmActions=actions, **changes)


def test_alarm_that_leads_to_a_subscription_is_admitted() -> None:
    admit(alarm_heard, alarm([TOPIC]), TOPIC, MAIL)


def test_alarm_that_nobody_hears_is_denied() -> None:
    deny(alarm_heard, alarm([]), TOPIC, MAIL, path="alarmActions", says="is empty")
    deny(alarm_heard, alarm(None), TOPIC, MAIL, path="alarmActions", says="is empty")
    deny(alarm_heard, alarm([TOPIC]), TOPIC, says="no topic of this stack that has a subscription")
    deny(alarm_heard, alarm(["arn:aws:sns:x:1:elsewhere"]), TOPIC, MAIL, setting="aws.monitoring.alarmMails")
    deny(alarm_heard, alarm([TOPIC], actionsEnabled=False), TOPIC, MAIL, path="actionsEnabled")


def test_alarm_whose_actions_are_not_known_leaves_it_open() -> None:
    undetermined(alarm_heard, alarm([TOPIC], actionsEnabled=unknown()), TOPIC, MAIL, path="actionsEnabled")
    undetermined(alarm_heard, alarm(unknown()), TOPIC, MAIL, path="alarmActions")


def test_every_rule_of_prometheus_and_every_database_is_looked_at() -> None:
    first, second = map(alert, ALERTS[:3]), map(alert, ALERTS[3:])
    admit(alerts_exist, SERVICE, rules(*first), resource(rules().type, "more", spec=rules(*second).inputs["spec"]))
    broken = [alert(one) for one in ALERTS[1:-1]] + [alert(ALERTS[-1], expr="")]
    deny(alerts_exist, SERVICE, rules(*broken), times=2)
    other = resource(DATABASE.type, "other", identifier="other")
    deny(database_alarms_exist, DATABASE, other, *map(watching, METRICS), at=other, times=3)
