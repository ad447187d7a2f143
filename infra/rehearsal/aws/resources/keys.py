"""Keys and secrets: KMS and Secrets Manager."""

from collections.abc import Callable
from typing import Any

from infra.rehearsal.aws.clients import Aws
from infra.rehearsal.aws.kind import Call, Kind, Look, Situation, Tagging

_KEY = {"KeyId": "@id"}


def _keys(aws: Aws) -> list[str]:
    """Return the keys that are not waiting for their deletion, which takes AWS a week at least."""
    keys = [one["KeyId"] for one in aws.every("kms", "list_keys", "Keys", {})]
    described = [aws.call("kms", "describe_key", {"KeyId": key})["KeyMetadata"] for key in keys]
    return [one["KeyId"] for one in described if one["KeyState"] != "PendingDeletion" and one["KeyManager"] != "AWS"]


def _aliases(aws: Aws) -> list[str]:
    found = aws.every("kms", "list_aliases", "Aliases", {})
    return [one["AliasName"] for one in found if not one["AliasName"].startswith("alias/aws/")]


def _secrets(aws: Aws) -> list[str]:
    return [one["ARN"] for one in aws.every("secretsmanager", "list_secrets", "SecretList", {})]


def _rotation(wanted: bool) -> Callable[[Situation], list[Any]]:
    return lambda at: [True] if bool(at.inputs.get("enableKeyRotation")) is wanted else []


def _deletion(at: Situation) -> list[dict[str, object]]:
    days = at.inputs.get("recoveryWindowInDays")
    return [{"force": True, "days": None} if days == 0 else {"force": None, "days": days or 30}]


KINDS = (
    Kind(
        token="aws:kms/key:Key",
        service="kms",
        cloudformation="AWS::KMS::Key",
        create=Call("create_key", auto=True),
        then=(
            Call("enable_key_rotation", _KEY, when=("enableKeyRotation",), each=_rotation(True)),
            Call("disable_key_rotation", _KEY, when=("enableKeyRotation",), each=_rotation(False)),
        ),
        update=(
            Call("update_key_description", {**_KEY, "Description": ".description"}),
            Call("put_key_policy", {**_KEY, "PolicyName": "default", "Policy": ".policy"}),
        ),
        looks=(
            Look("describe_key", _KEY, "KeyMetadata"),
            Look("get_key_policy", {**_KEY, "PolicyName": "default"}),
            Look("get_key_rotation_status", _KEY, needed=False),
        ),
        present=lambda at: at.world["KeyState"] != "PendingDeletion",
        delete=(Call("schedule_key_deletion", {**_KEY, "PendingWindowInDays": ".deletionWindowInDays"}),),
        id="KeyMetadata.KeyId",
        renames={"customerMasterKeySpec": "KeySpec"},
        updates=("multiRegion",),
        local=("deletionWindowInDays",),
        outputs={"enableKeyRotation": "KeyRotationEnabled", "isEnabled": "Enabled"},
        tagging=Tagging("tag_resource", "untag_resource", "KeyId", listing="list_resource_tags Tags"),
        listing=_keys,
    ),
    Kind(
        token="aws:kms/alias:Alias",
        service="kms",
        create=Call("create_alias", {"AliasName": ".name", "TargetKeyId": ".targetKeyId"}),
        update=(Call("update_alias", {"AliasName": "@id", "TargetKeyId": ".targetKeyId"}),),
        looks=(
            Look(
                "list_aliases",
                {},
                lambda answer, at: next((one for one in answer["Aliases"] if one["AliasName"] == at.id), None),
            ),
        ),
        delete=(Call("delete_alias", {"AliasName": "@id"}),),
        id=".name",
        name="name",
        name_start="alias/",
        name_length=256,
        renames={"name": "AliasName"},
        outputs={
            "arn": "AliasArn",
            # the API tells the key's id; the program may have stated its ARN
            "targetKeyId": lambda at: (
                at.inputs["targetKeyId"]
                if str(at.inputs["targetKeyId"]).endswith(str(at.world["TargetKeyId"]).rpartition("/")[2])
                else at.world["TargetKeyId"]
            ),
            "targetKeyArn": lambda at: (
                f"arn:{at.partition}:kms:{at.region}:{at.account}:key/{str(at.world['TargetKeyId']).rpartition('/')[2]}"
            ),
        },
        listing=_aliases,
    ),
    Kind(
        token="aws:secretsmanager/secret:Secret",
        service="secretsmanager",
        cloudformation="AWS::SecretsManager::Secret",
        create=Call("create_secret", {"Name": ".name", "Description": ".description", "KmsKeyId": ".kmsKeyId"}),
        then=(Call("put_resource_policy", {"SecretId": "@id", "ResourcePolicy": ".policy"}),),
        update=(Call("update_secret", {"SecretId": "@id", "Description": ".description", "KmsKeyId": ".kmsKeyId"}),),
        looks=(
            Look("describe_secret", {"SecretId": "@id"}),
            Look("get_resource_policy", {"SecretId": "@id"}, "{ResourcePolicy: ResourcePolicy}", needed=False),
        ),
        present=lambda at: at.world.get("DeletedDate") is None,
        delete=(
            Call(
                "delete_secret",
                {
                    "SecretId": "@id",
                    "ForceDeleteWithoutRecovery": "@item.force",
                    "RecoveryWindowInDays": "@item.days",
                },
                each=_deletion,
            ),
        ),
        id="ARN",
        name="name",
        name_length=512,
        renames={"policy": "ResourcePolicy"},
        local=("recoveryWindowInDays", "forceOverwriteReplicaSecret"),
        tagging=Tagging("tag_resource", "untag_resource", "SecretId"),
        listing=_secrets,
    ),
    Kind(
        token="aws:secretsmanager/secretVersion:SecretVersion",
        service="secretsmanager",
        create=Call(
            "put_secret_value",
            {"SecretId": ".secretId", "SecretString": ".secretString", "VersionStages": ".versionStages"},
        ),
        looks=(
            Look(
                "get_secret_value",
                {"SecretId": ".secretId", "VersionId": lambda at: at.id.rpartition("|")[2]},
            ),
        ),
        delete=(),  # a version goes with its secret
        id=lambda at: f"{at.inputs['secretId']}|{at.world['VersionId']}",
        replaces=("secretId", "secretString"),
        outputs={
            "arn": "ARN",
            "secretArn": "ARN",
            "hasSecretStringWo": lambda _at: False,
            "secretId": lambda at: at.inputs["secretId"],
        },
    ),
)
