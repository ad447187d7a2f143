"""Buckets, and the settings that Pulumi keeps as resources of their own beside them."""

from typing import Any

from infra.rehearsal.aws.kind import Call, Kind, Look, Situation, Tagging
from infra.rehearsal.aws.resources.shared import arn

_BUCKET = {"Bucket": ".bucket"}


def _setting(
    token: str,
    put: Call,
    look: Look,
    delete: Call | None,
    *,
    cloudformation: str = "",
    **more: Any,
) -> Kind:
    """Return the kind of a setting of a bucket, which is put whole and goes with its bucket."""
    return Kind(
        token=token,
        service="s3",
        cloudformation=cloudformation,
        create=put,
        update=(put,),
        looks=(look,),
        delete=(delete,) if delete else (),
        id=".bucket",
        **{"replaces": ("bucket",), **more},
    )


def _emptied(at: Situation) -> list[dict[str, Any]]:
    """Return every version of every object of a bucket that may be removed with its content."""
    if not at.inputs.get("forceDestroy"):
        return []
    found = at.aws.call("s3", "list_object_versions", {"Bucket": at.id})
    return [*found.get("Versions", ()), *found.get("DeleteMarkers", ())]


def _encryption(at: Situation) -> dict[str, Any]:
    rules = [
        {
            "ApplyServerSideEncryptionByDefault": {
                "SSEAlgorithm": one["sseAlgorithm"],
                **({"KMSMasterKeyID": one["kmsMasterKeyId"]} if one.get("kmsMasterKeyId") else {}),
            },
            **({"BucketKeyEnabled": rule["bucketKeyEnabled"]} if "bucketKeyEnabled" in rule else {}),
        }
        for rule in at.inputs["rules"]
        for one in [rule["applyServerSideEncryptionByDefault"]]
    ]
    return {"Rules": rules}


def _lifecycle(at: Situation) -> dict[str, Any]:
    return {"Rules": [_lifecycle_rule(rule) for rule in at.inputs["rules"]]}


def _lifecycle_rule(rule: dict[str, Any]) -> dict[str, Any]:
    named = {
        "expiration": "Expiration",
        "abortIncompleteMultipartUpload": "AbortIncompleteMultipartUpload",
        "noncurrentVersionExpiration": "NoncurrentVersionExpiration",
        "transitions": "Transitions",
        "noncurrentVersionTransitions": "NoncurrentVersionTransitions",
    }
    made: dict[str, Any] = {"id": rule["id"], "status": rule["status"]}
    made["filter"] = rule.get("filter") or {"prefix": rule.get("prefix", "")}
    return {**made, **{member: rule[name] for name, member in named.items() if name in rule}}


KINDS = (
    Kind(
        token="aws:s3/bucket:Bucket",
        service="s3",
        cloudformation="AWS::S3::Bucket",
        create=Call(
            "create_bucket",
            {
                "Bucket": ".bucket",
                "ObjectLockEnabledForBucket": ".objectLockEnabled",
                "CreateBucketConfiguration": lambda at: (
                    None if at.region == "us-east-1" else {"LocationConstraint": at.region}
                ),
            },
        ),
        looks=(
            Look("list_buckets", {"Prefix": "@id"}, "Buckets[] | {found: [].Name}"),
            Look("get_object_lock_configuration", {"Bucket": "@id"}, needed=False),
        ),
        present=lambda at: at.id in at.world["found"],
        delete=(
            Call(
                "delete_object",
                {"Bucket": "@id", "Key": "@item.Key", "VersionId": "@item.VersionId"},
                each=_emptied,
            ),
            Call("delete_bucket", {"Bucket": "@id"}),
        ),
        id=".bucket",
        name="bucket",
        name_length=63,
        replaces=("bucket", "objectLockEnabled"),
        local=("forceDestroy",),
        outputs={
            "arn": arn("s3", "{id}", region=False, account=False),
            "bucketDomainName": lambda at: f"{at.id}.s3.amazonaws.com",
            "bucketRegionalDomainName": lambda at: f"{at.id}.s3.{at.region}.amazonaws.com",
            "bucketRegion": "@region",
            "objectLockEnabled": lambda at: (
                at.world.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled"
            ),
        },
        tagging=Tagging(
            "put_bucket_tagging",
            "delete_bucket_tagging",
            "Bucket",
            at_creation="",
            whole=True,
            listing="get_bucket_tagging TagSet",
        ),
        listing=("list_buckets", {}, "Buckets[].Name"),
    ),
    _setting(
        "aws:s3/bucketVersioning:BucketVersioning",
        Call("put_bucket_versioning", {**_BUCKET, "VersioningConfiguration": ".versioningConfiguration"}),
        Look("get_bucket_versioning", _BUCKET, "{VersioningConfiguration: {Status: Status, MFADelete: MFADelete}}"),
        None,
    ),
    _setting(
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        Call(
            "put_bucket_encryption",
            {**_BUCKET, "ServerSideEncryptionConfiguration": _encryption},
            uses=("rules",),
        ),
        Look("get_bucket_encryption", _BUCKET, "ServerSideEncryptionConfiguration"),
        Call("delete_bucket_encryption", _BUCKET),
    ),
    _setting(
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
        Call(
            "put_public_access_block",
            {
                **_BUCKET,
                "PublicAccessBlockConfiguration": {
                    "BlockPublicAcls": ".blockPublicAcls",
                    "BlockPublicPolicy": ".blockPublicPolicy",
                    "IgnorePublicAcls": ".ignorePublicAcls",
                    "RestrictPublicBuckets": ".restrictPublicBuckets",
                },
            },
        ),
        Look("get_public_access_block", _BUCKET, "PublicAccessBlockConfiguration"),
        Call("delete_public_access_block", _BUCKET),
    ),
    _setting(
        "aws:s3/bucketPolicy:BucketPolicy",
        Call("put_bucket_policy", {**_BUCKET, "Policy": ".policy"}),
        Look("get_bucket_policy", _BUCKET),
        Call("delete_bucket_policy", _BUCKET),
    ),
    _setting(
        "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
        Call(
            "put_bucket_lifecycle_configuration",
            {**_BUCKET, "LifecycleConfiguration": _lifecycle},
            uses=("rules",),
        ),
        Look("get_bucket_lifecycle_configuration", _BUCKET),
        Call("delete_bucket_lifecycle", _BUCKET),
        renames={"id": "ID", "noncurrentDays": "NoncurrentDays"},
        outputs={"rules": lambda at: [_stated_rule(rule) for rule in at.world.get("Rules", ())]},
    ),
    _setting(
        "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration",
        Call(
            "put_object_lock_configuration",
            {
                **_BUCKET,
                "ObjectLockConfiguration": lambda at: {
                    "objectLockEnabled": "Enabled",
                    **({"rule": at.inputs["rule"]} if at.inputs.get("rule") else {}),
                },
            },
            uses=("rule", "objectLockEnabled"),
        ),
        Look("get_object_lock_configuration", _BUCKET, "ObjectLockConfiguration"),
        None,
        replaces=("bucket", "objectLockEnabled"),
    ),
    _setting(
        "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
        Call("put_bucket_ownership_controls", {**_BUCKET, "OwnershipControls": {"Rules": [".rule"]}}),
        Look("get_bucket_ownership_controls", _BUCKET, "OwnershipControls.Rules | {Rule: [0]}"),
        Call("delete_bucket_ownership_controls", _BUCKET),
    ),
    _setting(
        "aws:s3/bucketLogging:BucketLogging",
        Call(
            "put_bucket_logging",
            {
                **_BUCKET,
                "BucketLoggingStatus": {
                    "LoggingEnabled": {"TargetBucket": ".targetBucket", "TargetPrefix": ".targetPrefix"}
                },
            },
        ),
        Look("get_bucket_logging", _BUCKET, "LoggingEnabled"),
        Call("put_bucket_logging", {**_BUCKET, "BucketLoggingStatus": lambda _at: {}}),
    ),
    _setting(
        "aws:s3/bucketNotification:BucketNotification",
        Call(
            "put_bucket_notification_configuration",
            {
                **_BUCKET,
                "NotificationConfiguration": lambda at: (
                    {"EventBridgeConfiguration": {}} if at.inputs.get("eventbridge") else {}
                ),
            },
            uses=("eventbridge",),
            always=True,
        ),
        Look(
            "get_bucket_notification_configuration",
            _BUCKET,
            lambda found, _at: {"eventbridge": "EventBridgeConfiguration" in found},
        ),
        Call("put_bucket_notification_configuration", {**_BUCKET, "NotificationConfiguration": lambda _at: {}}),
        outputs={"eventbridge": lambda at: at.world["eventbridge"]},
    ),
    Kind(
        token="aws:s3/bucketObjectv2:BucketObjectv2",
        service="s3",
        create=Call(
            "put_object",
            {
                "Body": ".content",
                "ServerSideEncryption": ".serverSideEncryption",
                "SSEKMSKeyId": ".kmsKeyId",
                "BucketKeyEnabled": ".bucketKeyEnabled",
            },
            auto=True,
        ),
        update=(Call("put_object", {"Body": ".content"}, auto=True),),
        looks=(Look("head_object", {"Bucket": ".bucket", "Key": ".key"}),),
        delete=(
            Call(
                "delete_object",
                {"Bucket": ".bucket", "Key": ".key", "VersionId": "@item.VersionId"},
                each=lambda at: _versions_of(at),
            ),
        ),
        id=".key",
        replaces=("bucket", "key"),
        local=("forceDestroy", "sourceHash"),
        outputs={
            "arn": lambda at: f"arn:{at.partition}:s3:::{at.inputs['bucket']}/{at.inputs['key']}",
            "etag": lambda at: str(at.world.get("ETag", "")).strip('"'),
        },
        volatile=("etag", "versionId"),
        tagging=Tagging(
            "put_object_tagging",
            "delete_object_tagging",
            "Bucket",
            value=".bucket",
            more={"Key": ".key"},
            at_creation="",
            whole=True,
            listing="get_object_tagging TagSet",
        ),
    ),
)


def _versions_of(at: Situation) -> list[dict[str, Any]]:
    found = at.aws.call("s3", "list_object_versions", {"Bucket": at.inputs["bucket"], "Prefix": at.inputs["key"]})
    all_versions = [*found.get("Versions", ()), *found.get("DeleteMarkers", ())]
    return [one for one in all_versions if one["Key"] == at.inputs["key"]]


def _stated_rule(rule: dict[str, Any]) -> dict[str, Any]:
    """Return a lifecycle rule as it is stated: a filter by prefix is a prefix as well."""
    return {**rule, "Prefix": rule.get("Filter", {}).get("Prefix", rule.get("Prefix", ""))}
