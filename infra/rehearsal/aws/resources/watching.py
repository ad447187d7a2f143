"""What watches: log groups, alarms, trails, budgets."""

from typing import Any

from infra.rehearsal.aws.kind import Call, Kind, Look, Situation, Tagging

_GROUP = {"logGroupName": "@id"}
_BUDGET = {"AccountId": "@account", "BudgetName": ".name"}
_ACTION = {"AccountId": "@account", "BudgetName": ".budgetName", "ActionId": "@id"}


def _named(member: str, key: str) -> Any:
    """Return a selection of the entry of `member` whose `key` is the resource's id; listings match by prefix."""
    return lambda answer, at: next((one for one in answer[member] if one[key] == at.id), None)


def _metrics(at: Situation) -> list[dict[str, Any]] | None:
    found = []
    for query in at.inputs.get("metricQueries") or ():
        made = {name: value for name, value in query.items() if name not in ("metric", "period")}
        if metric := query.get("metric"):
            made["metricStat"] = {
                "metric": {name: metric[name] for name in ("namespace", "metricName", "dimensions") if name in metric},
                **{name: metric[name] for name in ("period", "stat", "unit") if name in metric},
            }
        found.append(made)
    return found or None


def _metrics_there(at: Situation) -> Any:
    """Return the stated metric queries while the alarm has as many of equal ids."""
    stated = at.inputs.get("metricQueries")
    ids = [one["Id"] for one in at.world.get("Metrics") or ()]
    return stated if stated and sorted(ids) == sorted(one["id"] for one in stated) else [{"id": one} for one in ids]


def _budget(at: Situation) -> dict[str, Any]:
    given = at.inputs
    made: dict[str, Any] = {
        "BudgetName": given["name"],
        "BudgetType": given["budgetType"],
        "TimeUnit": given["timeUnit"],
        "BudgetLimit": {"Amount": str(given["limitAmount"]), "Unit": given["limitUnit"]},
    }
    if given.get("costFilters"):
        made["CostFilters"] = {one["name"]: one["values"] for one in given["costFilters"]}
    if given.get("costTypes"):
        made["costTypes"] = given["costTypes"]
    return made


def _notification(one: dict[str, Any]) -> dict[str, Any]:
    mails = [{"SubscriptionType": "EMAIL", "Address": mail} for mail in one.get("subscriberEmailAddresses") or ()]
    topics = [{"SubscriptionType": "SNS", "Address": topic} for topic in one.get("subscriberSnsTopicArns") or ()]
    return {
        "Notification": {
            "NotificationType": one["notificationType"],
            "ComparisonOperator": one["comparisonOperator"],
            "Threshold": one["threshold"],
            "ThresholdType": one["thresholdType"],
        },
        "Subscribers": mails + topics,
    }


def _notifications(at: Situation) -> list[dict[str, Any]] | None:
    return [_notification(one) for one in at.inputs.get("notifications") or ()] or None


def _notification_changes(*, gone: bool) -> Any:
    def find(at: Situation) -> list[dict[str, Any]]:
        new, old = at.inputs.get("notifications") or [], at.old.get("notifications") or []
        here, there = (old, new) if gone else (new, old)
        return [_notification(one) for one in here if one not in there]

    return find


def _notifications_there(at: Situation) -> Any:
    """Return the stated notifications whose thresholds are there."""
    found = at.aws.call(
        "budgets", "describe_notifications_for_budget", {"AccountId": at.account, "BudgetName": at.inputs["name"]}
    )
    there = {(one["NotificationType"], float(one["Threshold"])) for one in found.get("Notifications", ())}
    stated = at.inputs.get("notifications") or []
    return [one for one in stated if (one["notificationType"], float(one["threshold"])) in there]


_BUDGET_INPUTS = ("budgetType", "timeUnit", "limitAmount", "limitUnit", "costFilters", "costTypes")
_TRAIL = {
    "cloudWatchLogsGroupArn": "CloudWatchLogsLogGroupArn",
    "isMultiRegionTrail": "IsMultiRegionTrail",
}
_LOGS_TAGS = Tagging(
    "tag_resource",
    "untag_resource",
    "resourceArn",
    value="@arn",
    tags="tags",
    keys="tagKeys",
    at_creation="tags",
    listing="list_tags_for_resource tags",
)
_BUDGET_TAGS = Tagging(
    "tag_resource",
    "untag_resource",
    "ResourceARN",
    value="@arn",
    tags="ResourceTags",
    keys="ResourceTagKeys",
    at_creation="ResourceTags",
    listing="list_tags_for_resource ResourceTags",
)


def _logging(wanted: bool) -> Any:
    return lambda at: [True] if at.inputs.get("enableLogging", True) is wanted else []


def _budgets(aws: Any) -> list[str]:
    account = aws.call("sts", "get_caller_identity", {})["Account"]
    return [one["BudgetName"] for one in aws.every("budgets", "describe_budgets", "Budgets", {"AccountId": account})]


KINDS = (
    Kind(
        token="aws:cloudwatch/logGroup:LogGroup",
        service="logs",
        cloudformation="AWS::Logs::LogGroup",
        create=Call("create_log_group", auto=True),
        then=(Call("put_retention_policy", {**_GROUP, "retentionInDays": ".retentionInDays"}),),
        update=(Call("associate_kms_key", {**_GROUP, "kmsKeyId": ".kmsKeyId"}),),
        looks=(Look("describe_log_groups", {"logGroupNamePrefix": "@id"}, _named("logGroups", "logGroupName")),),
        delete=(Call("delete_log_group", _GROUP, each=lambda at: [] if at.inputs.get("skipDestroy") else [True]),),
        id=".name",
        name="name",
        name_length=512,
        renames={"name": "logGroupName"},
        replaces=("logGroupClass",),
        local=("skipDestroy",),
        outputs={"arn": lambda at: str(at.world["arn"]).removesuffix(":*")},
        tagging=_LOGS_TAGS,
        listing=("describe_log_groups", {}, "logGroups[].logGroupName"),
    ),
    Kind(
        token="aws:cloudwatch/logResourcePolicy:LogResourcePolicy",
        service="logs",
        create=Call("put_resource_policy", auto=True),
        update=(Call("put_resource_policy", auto=True, when=("policyDocument",)),),
        looks=(Look("describe_resource_policies", {}, _named("resourcePolicies", "policyName")),),
        delete=(Call("delete_resource_policy", {"policyName": "@id"}),),
        id=".policyName",
        replaces=("policyName",),
        listing=("describe_resource_policies", {}, "resourcePolicies[].policyName"),
    ),
    Kind(
        token="aws:cloudwatch/metricAlarm:MetricAlarm",
        service="cloudwatch",
        cloudformation="AWS::CloudWatch::Alarm",
        create=Call("put_metric_alarm", {"Metrics": _metrics}, auto=True, uses=("metricQueries",)),
        update=(Call("put_metric_alarm", {"Metrics": _metrics}, auto=True, uses=("metricQueries",)),),
        looks=(Look("describe_alarms", {"AlarmNames": ["@id"]}, "MetricAlarms[0]"),),
        delete=(Call("delete_alarms", {"AlarmNames": ["@id"]}),),
        id=".name",
        name="name",
        name_length=255,
        renames={"name": "AlarmName", "okActions": "OKActions"},
        outputs={"arn": "AlarmArn", "metricQueries": _metrics_there},
        tagging=Tagging(
            "tag_resource", "untag_resource", "ResourceARN", value="@arn", listing="list_tags_for_resource Tags"
        ),
        listing=("describe_alarms", {}, "MetricAlarms[].AlarmName"),
    ),
    Kind(
        token="aws:cloudtrail/trail:Trail",
        service="cloudtrail",
        cloudformation="AWS::CloudTrail::Trail",
        create=Call("create_trail", auto=True),
        then=(
            Call("put_event_selectors", {"TrailName": "@id", "EventSelectors": ".eventSelectors"}),
            Call("put_event_selectors", {"TrailName": "@id", "AdvancedEventSelectors": ".advancedEventSelectors"}),
            Call("put_insight_selectors", {"TrailName": "@id", "InsightSelectors": ".insightSelectors"}),
            Call("start_logging", {"Name": "@id"}, when=("enableLogging",), each=_logging(True), always=True),
            Call("stop_logging", {"Name": "@id"}, when=("enableLogging",), each=_logging(False)),
        ),
        update=(
            Call(
                "update_trail",
                auto=True,
                when=(
                    "s3BucketName",
                    "s3KeyPrefix",
                    "kmsKeyId",
                    "enableLogFileValidation",
                    "includeGlobalServiceEvents",
                    "isMultiRegionTrail",
                    "cloudWatchLogsGroupArn",
                    "cloudWatchLogsRoleArn",
                    "snsTopicName",
                ),
            ),
        ),
        looks=(
            Look("get_trail", {"Name": "@id"}, "Trail"),
            Look("get_trail_status", {"Name": "@id"}, "{IsLogging: IsLogging}"),
            Look("get_event_selectors", {"TrailName": "@id"}, needed=False),
        ),
        delete=(Call("delete_trail", {"Name": "@id"}),),
        id="Name",
        name="name",
        name_length=128,
        renames=_TRAIL,
        outputs={
            "arn": "TrailARN",
            "enableLogging": "IsLogging",
            "enableLogFileValidation": "LogFileValidationEnabled",
            "eventSelectors": lambda at: at.world.get("EventSelectors") or None,
        },
        tagging=Tagging(
            "add_tags",
            "remove_tags",
            "ResourceId",
            value="@arn",
            tags="TagsList",
            keys="TagsList",
            at_creation="TagsList",
            listing="list_tags ResourceTagList[0].TagsList",
            listing_member="ResourceIdList",
        ),
        listing=("list_trails", {}, "Trails[].Name"),
    ),
    Kind(
        token="aws:budgets/budget:Budget",
        service="budgets",
        create=Call(
            "create_budget",
            {"AccountId": "@account", "Budget": _budget, "NotificationsWithSubscribers": _notifications},
            uses=(*_BUDGET_INPUTS, "name", "notifications"),
        ),
        update=(
            Call("update_budget", {"AccountId": "@account", "NewBudget": _budget}, when=_BUDGET_INPUTS),
            Call(
                "delete_notification",
                {**_BUDGET, "Notification": "@item.Notification"},
                when=("notifications",),
                each=_notification_changes(gone=True),
            ),
            Call(
                "create_notification",
                {**_BUDGET, "Notification": "@item.Notification", "Subscribers": "@item.Subscribers"},
                when=("notifications",),
                each=_notification_changes(gone=False),
            ),
        ),
        looks=(Look("describe_budget", _BUDGET, "Budget"),),
        delete=(Call("delete_budget", _BUDGET),),
        id=lambda at: f"{at.account}:{at.inputs['name']}",
        name="name",
        name_length=100,
        renames={"name": "BudgetName"},
        local=("timePeriodStart", "timePeriodEnd", "accountId"),
        outputs={
            "arn": lambda at: f"arn:{at.partition}:budgets::{at.account}:budget/{at.inputs['name']}",
            "limitAmount": "BudgetLimit.Amount",
            "limitUnit": "BudgetLimit.Unit",
            "costFilters": lambda at: at.inputs.get("costFilters"),
            "notifications": _notifications_there,
            "accountId": "@account",
        },
        tagging=_BUDGET_TAGS,
        listing=_budgets,
    ),
    Kind(
        token="aws:budgets/budgetAction:BudgetAction",
        service="budgets",
        create=Call("create_budget_action", {"AccountId": "@account"}, auto=True),
        update=(
            Call(
                "update_budget_action",
                _ACTION,
                auto=True,
                when=(
                    "actionThreshold",
                    "approvalModel",
                    "definition",
                    "executionRoleArn",
                    "notificationType",
                    "subscribers",
                ),
            ),
        ),
        looks=(Look("describe_budget_action", {**_ACTION, "ActionId": "@id"}, "Action"),),
        delete=(Call("delete_budget_action", _ACTION),),
        id="ActionId",
        replaces=("actionType", "budgetName"),
        local=("accountId",),
        outputs={
            "arn": lambda at: (
                f"arn:{at.partition}:budgets::{at.account}:budget/{at.inputs['budgetName']}/action/{at.id}"
            ),
            "accountId": "@account",
        },
        tagging=_BUDGET_TAGS,
    ),
)
