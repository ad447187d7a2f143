"""Messages and schedules: SQS, SNS, EventBridge rules, EventBridge Scheduler."""

import json
from collections.abc import Mapping
from typing import Any

from infra.rehearsal.aws.kind import Call, Kind, Look, Situation, Tagging
from infra.rehearsal.aws.resources.shared import arn

_QUEUE = {
    "policy": "Policy",
    "delaySeconds": "DelaySeconds",
    "messageRetentionSeconds": "MessageRetentionPeriod",
    "visibilityTimeoutSeconds": "VisibilityTimeout",
    "maxMessageSize": "MaximumMessageSize",
    "receiveWaitTimeSeconds": "ReceiveMessageWaitTimeSeconds",
    "kmsMasterKeyId": "KmsMasterKeyId",
    "kmsDataKeyReusePeriodSeconds": "KmsDataKeyReusePeriodSeconds",
    "sqsManagedSseEnabled": "SqsManagedSseEnabled",
    "redrivePolicy": "RedrivePolicy",
    "redriveAllowPolicy": "RedriveAllowPolicy",
    "contentBasedDeduplication": "ContentBasedDeduplication",
    "fifoQueue": "FifoQueue",
}
_TOPIC = {
    "displayName": "DisplayName",
    "kmsMasterKeyId": "KmsMasterKeyId",
    "policy": "Policy",
    "deliveryPolicy": "DeliveryPolicy",
    "signatureVersion": "SignatureVersion",
    "tracingConfig": "TracingConfig",
    "fifoTopic": "FifoTopic",
    "contentBasedDeduplication": "ContentBasedDeduplication",
}
_SUBSCRIPTION = {
    "filterPolicy": "FilterPolicy",
    "filterPolicyScope": "FilterPolicyScope",
    "rawMessageDelivery": "RawMessageDelivery",
    "redrivePolicy": "RedrivePolicy",
    "deliveryPolicy": "DeliveryPolicy",
}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _attributes(names: Mapping[str, str]) -> Any:
    """Return a function that makes the API's attributes, all of them texts."""

    def make(at: Situation) -> dict[str, str] | None:
        return {
            member: _text(at.inputs[name]) for name, member in names.items() if at.inputs.get(name) is not None
        } or None

    return make


def _changed(names: Mapping[str, str]) -> Any:
    """Return a function that lists the attributes that an update changes, one call each."""

    def find(at: Situation) -> list[dict[str, str]]:
        return [
            {"name": member, "value": _text(at.inputs.get(name, ""))}
            for name, member in names.items()
            if at.inputs.get(name) != at.old.get(name)
        ]

    return find


def _open_policy(at: Situation) -> str:
    """Return the policy that a topic has when nobody stated one: only its own account may use it."""
    statement = {
        "Sid": "__default_statement_ID",
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": ["SNS:Publish", "SNS:Subscribe", "SNS:GetTopicAttributes"],
        "Resource": at.inputs["arn"],
        "Condition": {"StringEquals": {"AWS:SourceOwner": at.account}},
    }
    return json.dumps({"Version": "2008-10-17", "Id": "__default_policy_ID", "Statement": [statement]})


def _subscriptions(aws: Any) -> list[str]:
    return [one["SubscriptionArn"] for one in aws.every("sns", "list_subscriptions", "Subscriptions", {})]


_RULE = {"Name": ".name", "EventBusName": ".eventBusName"}
_TARGET = {"Rule": ".rule", "EventBusName": ".eventBusName"}
_TARGET_INPUTS = (
    "arn",
    "roleArn",
    "input",
    "inputPath",
    "inputTransformer",
    "deadLetterConfig",
    "retryPolicy",
    "sqsTarget",
    "sagemakerPipelineTarget",
    "targetId",
)


def _target(at: Situation) -> list[dict[str, Any]]:
    return [{name: at.inputs[name] for name in _TARGET_INPUTS if at.inputs.get(name) is not None}]


def _schedule_id(at: Situation) -> str:
    return f"{at.inputs.get('groupName') or 'default'}/{at.inputs['name']}"


_PUT_TARGET = Call("put_targets", {**_TARGET, "Targets": _target}, uses=_TARGET_INPUTS)
_SCHEDULE_RENAMES = {
    "sagemakerPipelineParameters": "SageMakerPipelineParameters",
    "pipelineParameters": "PipelineParameterList",
}

KINDS = (
    Kind(
        token="aws:sqs/queue:Queue",
        service="sqs",
        cloudformation="AWS::SQS::Queue",
        create=Call("create_queue", {"QueueName": ".name", "Attributes": _attributes(_QUEUE)}, uses=tuple(_QUEUE)),
        update=(
            Call("set_queue_attributes", {"QueueUrl": "@id", "Attributes": _attributes(_QUEUE)}, uses=tuple(_QUEUE)),
        ),
        looks=(Look("get_queue_attributes", {"QueueUrl": "@id", "AttributeNames": ["All"]}, "Attributes"),),
        delete=(Call("delete_queue", {"QueueUrl": "@id"}),),
        id="QueueUrl",
        name="name",
        name_length=80,
        renames=_QUEUE,
        replaces=("fifoQueue",),
        outputs={"arn": "QueueArn", "url": "@id", "name": lambda at: at.id.rpartition("/")[2]},
        tagging=Tagging("tag_queue", "untag_queue", "QueueUrl", at_creation="tags", listing="list_queue_tags Tags"),
        listing=("list_queues", {}, "QueueUrls"),
    ),
    Kind(
        token="aws:sqs/queuePolicy:QueuePolicy",
        service="sqs",
        create=Call("set_queue_attributes", {"QueueUrl": ".queueUrl", "Attributes": {"Policy": ".policy"}}),
        update=(Call("set_queue_attributes", {"QueueUrl": ".queueUrl", "Attributes": {"Policy": ".policy"}}),),
        looks=(Look("get_queue_attributes", {"QueueUrl": ".queueUrl", "AttributeNames": ["Policy"]}, "Attributes"),),
        present=lambda at: bool(at.world.get("Policy")),
        delete=(Call("set_queue_attributes", {"QueueUrl": ".queueUrl", "Attributes": lambda _at: {"Policy": ""}}),),
        id=".queueUrl",
        replaces=("queueUrl",),
    ),
    Kind(
        token="aws:sns/topic:Topic",
        service="sns",
        cloudformation="AWS::SNS::Topic",
        create=Call("create_topic", {"Name": ".name", "Attributes": _attributes(_TOPIC)}, uses=tuple(_TOPIC)),
        update=(
            Call(
                "set_topic_attributes",
                {"TopicArn": "@id", "AttributeName": "@item.name", "AttributeValue": "@item.value"},
                when=tuple(_TOPIC),
                each=_changed(_TOPIC),
            ),
        ),
        looks=(Look("get_topic_attributes", {"TopicArn": "@id"}, "Attributes"),),
        delete=(Call("delete_topic", {"TopicArn": "@id"}),),
        id="TopicArn",
        name="name",
        name_length=256,
        renames=_TOPIC,
        replaces=("fifoTopic",),
        outputs={"arn": "TopicArn", "owner": "Owner", "name": lambda at: at.id.rpartition(":")[2]},
        tagging=Tagging("tag_resource", "untag_resource", "ResourceArn", listing="list_tags_for_resource Tags"),
        listing=("list_topics", {}, "Topics[].TopicArn"),
    ),
    Kind(
        token="aws:sns/topicPolicy:TopicPolicy",
        service="sns",
        create=Call(
            "set_topic_attributes", {"TopicArn": ".arn", "AttributeName": "Policy", "AttributeValue": ".policy"}
        ),
        update=(
            Call("set_topic_attributes", {"TopicArn": ".arn", "AttributeName": "Policy", "AttributeValue": ".policy"}),
        ),
        looks=(Look("get_topic_attributes", {"TopicArn": ".arn"}, "Attributes"),),
        delete=(
            Call(
                "set_topic_attributes",
                {"TopicArn": ".arn", "AttributeName": "Policy", "AttributeValue": _open_policy},
            ),
        ),
        id=".arn",
        replaces=("arn",),
        renames={"arn": "TopicArn"},
    ),
    Kind(
        token="aws:sns/topicSubscription:TopicSubscription",
        service="sns",
        cloudformation="AWS::SNS::Subscription",
        create=Call(
            "subscribe",
            {
                "TopicArn": ".topic",
                "Protocol": ".protocol",
                "Endpoint": ".endpoint",
                "Attributes": _attributes(_SUBSCRIPTION),
                "ReturnSubscriptionArn": True,
            },
            uses=tuple(_SUBSCRIPTION),
        ),
        update=(
            Call(
                "set_subscription_attributes",
                {"SubscriptionArn": "@id", "AttributeName": "@item.name", "AttributeValue": "@item.value"},
                when=tuple(_SUBSCRIPTION),
                each=_changed(_SUBSCRIPTION),
            ),
        ),
        looks=(Look("get_subscription_attributes", {"SubscriptionArn": "@id"}, "Attributes"),),
        delete=(Call("unsubscribe", {"SubscriptionArn": "@id"}),),
        id="SubscriptionArn",
        renames={**_SUBSCRIPTION, "topic": "TopicArn"},
        replaces=("topic", "protocol", "endpoint"),
        local=("confirmationTimeoutInMinutes", "endpointAutoConfirms"),
        outputs={"arn": "SubscriptionArn", "ownerId": "Owner"},
        listing=_subscriptions,
    ),
    Kind(
        token="aws:cloudwatch/eventRule:EventRule",
        service="events",
        cloudformation="AWS::Events::Rule",
        create=Call("put_rule", auto=True),
        update=(
            Call(
                "put_rule",
                auto=True,
                when=("description", "eventPattern", "scheduleExpression", "state", "roleArn"),
            ),
        ),
        looks=(Look("describe_rule", _RULE),),
        delete=(Call("delete_rule", _RULE),),
        id=".name",
        name="name",
        replaces=("eventBusName",),
        local=("forceDestroy",),
        tagging=Tagging(
            "tag_resource", "untag_resource", "ResourceARN", value="@arn", listing="list_tags_for_resource Tags"
        ),
        listing=("list_rules", {}, "Rules[].Name"),
    ),
    Kind(
        token="aws:cloudwatch/eventTarget:EventTarget",
        service="events",
        create=_PUT_TARGET,
        update=(_PUT_TARGET,),
        looks=(
            Look(
                "list_targets_by_rule",
                _TARGET,
                lambda answer, at: next((one for one in answer["Targets"] if one["Id"] == at.inputs["targetId"]), None),
            ),
        ),
        delete=(Call("remove_targets", {**_TARGET, "Ids": [".targetId"]}),),
        id=lambda at: f"{at.inputs['rule']}-{at.inputs['targetId']}",
        name="targetId",
        renames={
            "targetId": "Id",
            "sqsTarget": "SqsParameters",
            "sagemakerPipelineTarget": "SageMakerPipelineParameters",
            "pipelineParameterLists": "PipelineParameterList",
            "inputPaths": "InputPathsMap",
        },
        replaces=("rule", "eventBusName"),
        local=("forceDestroy",),
        outputs={"rule": lambda at: at.inputs["rule"]},
    ),
    Kind(
        token="aws:scheduler/schedule:Schedule",
        service="scheduler",
        cloudformation="AWS::Scheduler::Schedule",
        create=Call("create_schedule", auto=True),
        update=(
            Call(
                "update_schedule",
                auto=True,
                when=(
                    "flexibleTimeWindow",
                    "scheduleExpression",
                    "scheduleExpressionTimezone",
                    "target",
                    "state",
                    "description",
                    "startDate",
                    "endDate",
                    "kmsKeyArn",
                    "actionAfterCompletion",
                ),
            ),
        ),
        looks=(Look("get_schedule", {"Name": ".name", "GroupName": ".groupName"}),),
        delete=(Call("delete_schedule", {"Name": ".name", "GroupName": ".groupName"}),),
        id=_schedule_id,
        name="name",
        renames=_SCHEDULE_RENAMES,
        replaces=("groupName",),
        listing=("list_schedules", {}, "Schedules[].Arn"),
    ),
    Kind(
        token="aws:scheduler/scheduleGroup:ScheduleGroup",
        service="scheduler",
        create=Call("create_schedule_group", {"Name": ".name"}),
        looks=(Look("get_schedule_group", {"Name": "@id"}),),
        delete=(Call("delete_schedule_group", {"Name": "@id"}),),
        id=".name",
        name="name",
        tagging=Tagging(
            "tag_resource",
            "untag_resource",
            "ResourceArn",
            value="@arn",
            listing="list_tags_for_resource Tags",
        ),
        outputs={"arn": arn("scheduler", "schedule-group/{id}")},
        listing=("list_schedule_groups", {}, "ScheduleGroups[].Name"),
    ),
)
