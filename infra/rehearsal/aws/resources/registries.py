"""Images, databases and tables: ECR, RDS, DynamoDB."""

from typing import Any

from infra.rehearsal.aws.kind import Call, Instead, Kind, Look, Situation, Tagging

_REPOSITORY = {"repositoryName": "@id"}
_INSTANCE = {"DBInstanceIdentifier": "@id"}
_TABLE = {"TableName": "@id"}


def _parameters(at: Situation) -> list[dict[str, Any]]:
    return [
        {
            "ParameterName": one["name"],
            "ParameterValue": str(one["value"]),
            "ApplyMethod": one.get("applyMethod", "immediate"),
        }
        for one in at.inputs.get("parameters") or ()
    ]


def _parameters_there(at: Situation) -> Any:
    """Return the stated parameters with the values that are there; a group has hundreds that nobody stated."""
    found = at.aws.every("rds", "describe_db_parameters", "Parameters", {"DBParameterGroupName": at.id})
    values = {one["ParameterName"]: one.get("ParameterValue") for one in found}
    return [
        one if str(one["value"]) == values.get(one["name"]) else {**one, "value": values.get(one["name"], "")}
        for one in at.inputs.get("parameters") or ()
    ]


def _schema(hash_key: Any, range_key: Any) -> list[dict[str, str]]:
    keys = [(hash_key, "HASH"), (range_key, "RANGE")]
    return [{"AttributeName": name, "KeyType": kind} for name, kind in keys if name]


def _indexes(at: Situation) -> list[dict[str, Any]] | None:
    found = [
        {
            "IndexName": one["name"],
            "KeySchema": _schema(one.get("hashKey"), one.get("rangeKey")),
            "Projection": {
                "ProjectionType": one["projectionType"],
                **({"NonKeyAttributes": one["nonKeyAttributes"]} if one.get("nonKeyAttributes") else {}),
            },
        }
        for one in at.inputs.get("globalSecondaryIndexes") or ()
    ]
    return found or None


def _throughput(at: Situation) -> dict[str, Any] | None:
    if at.inputs.get("billingMode") == "PAY_PER_REQUEST":
        return None
    return {
        "ReadCapacityUnits": at.inputs.get("readCapacity", 1),
        "WriteCapacityUnits": at.inputs.get("writeCapacity", 1),
    }


def _encryption(at: Situation) -> dict[str, Any] | None:
    given = at.inputs.get("serverSideEncryption")
    if not given:
        return None
    key = {"KMSMasterKeyId": given["kmsKeyArn"], "SSEType": "KMS"} if given.get("kmsKeyArn") else {}
    return {"Enabled": given["enabled"], **key}


def _stream(at: Situation) -> dict[str, Any] | None:
    if not at.inputs.get("streamEnabled"):
        return None
    return {"StreamEnabled": True, "StreamViewType": at.inputs.get("streamViewType")}


def _key(kind: str) -> str:
    return f"KeySchema[?KeyType=='{kind}'].AttributeName | [0]"


def _recovery(at: Situation) -> dict[str, Any] | None:
    given = at.inputs.get("pointInTimeRecovery")
    if not given:
        return None
    days = given.get("recoveryPeriodInDays")
    return {"PointInTimeRecoveryEnabled": given["enabled"], **({"RecoveryPeriodInDays": days} if days else {})}


_ECR_TAGS = Tagging(
    "tag_resource",
    "untag_resource",
    "resourceArn",
    value="@arn",
    tags="tags",
    keys="tagKeys",
    at_creation="tags",
    listing="list_tags_for_resource tags",
)
_RDS_TAGS = Tagging(
    "add_tags_to_resource",
    "remove_tags_from_resource",
    "ResourceName",
    value="@arn",
    listing="list_tags_for_resource TagList",
)


def _policy(token: str, put: str, get: str, delete: str, member: str) -> Kind:
    call = Call(put, {"repositoryName": ".repository", member: ".policy"})
    return Kind(
        token=token,
        service="ecr",
        create=call,
        update=(call,),
        looks=(Look(get, {"repositoryName": ".repository"}),),
        delete=(Call(delete, {"repositoryName": ".repository"}),),
        id=".repository",
        replaces=("repository",),
        renames={"policy": member, "repository": "repositoryName"},
    )


KINDS = (
    Kind(
        token="aws:ecr/repository:Repository",
        service="ecr",
        cloudformation="AWS::ECR::Repository",
        create=Call("create_repository", auto=True),
        update=(
            Call("put_image_tag_mutability", {**_REPOSITORY, "imageTagMutability": ".imageTagMutability"}),
            Call(
                "put_image_scanning_configuration",
                {**_REPOSITORY, "imageScanningConfiguration": ".imageScanningConfiguration"},
            ),
        ),
        looks=(Look("describe_repositories", {"repositoryNames": ["@id"]}, "repositories[0]"),),
        delete=(Call("delete_repository", {**_REPOSITORY, "force": ".forceDelete"}),),
        id="repository.repositoryName",
        name="name",
        name_length=256,
        renames={"name": "repositoryName"},
        local=("forceDelete",),
        outputs={"arn": "repositoryArn", "repositoryUrl": "repositoryUri"},
        tagging=_ECR_TAGS,
        listing=("describe_repositories", {}, "repositories[].repositoryName"),
    ),
    _policy(
        "aws:ecr/lifecyclePolicy:LifecyclePolicy",
        "put_lifecycle_policy",
        "get_lifecycle_policy",
        "delete_lifecycle_policy",
        "lifecyclePolicyText",
    ),
    _policy(
        "aws:ecr/repositoryPolicy:RepositoryPolicy",
        "set_repository_policy",
        "get_repository_policy",
        "delete_repository_policy",
        "policyText",
    ),
    Kind(
        token="aws:rds/instance:Instance",
        service="rds",
        cloudformation="AWS::RDS::DBInstance",
        create=Call("create_db_instance", auto=True),
        instead=Instead(
            "snapshotIdentifier",
            Call("restore_db_instance_from_db_snapshot", {"DBSnapshotIdentifier": ".snapshotIdentifier"}, auto=True),
            Call("modify_db_instance", {**_INSTANCE, "ApplyImmediately": True}, auto=True),
        ),
        update=(Call("modify_db_instance", {**_INSTANCE, "ApplyImmediately": ".applyImmediately"}, auto=True),),
        looks=(Look("describe_db_instances", _INSTANCE, "DBInstances[0]"),),
        delete=(
            Call(
                "delete_db_instance",
                {
                    **_INSTANCE,
                    "SkipFinalSnapshot": lambda at: bool(at.inputs.get("skipFinalSnapshot")),
                    "FinalDBSnapshotIdentifier": ".finalSnapshotIdentifier",
                    "DeleteAutomatedBackups": ".deleteAutomatedBackups",
                },
            ),
        ),
        id="DBInstance.DBInstanceIdentifier",
        name="identifier",
        name_length=63,
        renames={
            "identifier": "DBInstanceIdentifier",
            "instanceClass": "DBInstanceClass",
            "parameterGroupName": "DBParameterGroupName",
            "username": "MasterUsername",
            "password": "MasterUserPassword",
            "enabledCloudwatchLogsExports": "EnableCloudwatchLogsExports",
            "iamDatabaseAuthenticationEnabled": "EnableIAMDatabaseAuthentication",
            "performanceInsightsEnabled": "EnablePerformanceInsights",
            "performanceInsightsKmsKeyId": "PerformanceInsightsKMSKeyId",
            "backupWindow": "PreferredBackupWindow",
            "maintenanceWindow": "PreferredMaintenanceWindow",
            "caCertIdentifier": "CACertificateIdentifier",
        },
        local=(
            "skipFinalSnapshot",
            "finalSnapshotIdentifier",
            "applyImmediately",
            "deleteAutomatedBackups",
            "allowMajorVersionUpgrade",
            "snapshotIdentifier",
        ),
        replaces=("snapshotIdentifier",),
        outputs={
            "arn": "DBInstanceArn",
            "address": "Endpoint.Address",
            "endpoint": lambda at: f"{at.world['Endpoint']['Address']}:{at.world['Endpoint']['Port']}",
            "port": "Endpoint.Port",
            "status": "DBInstanceStatus",
            "resourceId": "DbiResourceId",
            "engineVersionActual": "EngineVersion",
            "dbSubnetGroupName": "DBSubnetGroup.DBSubnetGroupName",
            "parameterGroupName": "DBParameterGroups[0].DBParameterGroupName",
            "vpcSecurityGroupIds": "VpcSecurityGroups[].VpcSecurityGroupId",
            "enabledCloudwatchLogsExports": "EnabledCloudwatchLogsExports",
            "iamDatabaseAuthenticationEnabled": "IAMDatabaseAuthenticationEnabled",
            "performanceInsightsEnabled": "PerformanceInsightsEnabled",
            "masterUserSecrets": "MasterUserSecret && [MasterUserSecret] || `[]`",
            "hostedZoneId": lambda _at: "Z1RLNUO7B9Q6NB",
            "password": lambda _at: None,
        },
        tagging=_RDS_TAGS,
        listing=("describe_db_instances", {}, "DBInstances[].DBInstanceIdentifier"),
    ),
    Kind(
        token="aws:rds/subnetGroup:SubnetGroup",
        service="rds",
        cloudformation="AWS::RDS::DBSubnetGroup",
        create=Call(
            "create_db_subnet_group",
            {"DBSubnetGroupName": ".name", "DBSubnetGroupDescription": ".description", "SubnetIds": ".subnetIds"},
        ),
        update=(
            Call(
                "modify_db_subnet_group",
                {"DBSubnetGroupName": "@id", "DBSubnetGroupDescription": ".description", "SubnetIds": ".subnetIds"},
            ),
        ),
        looks=(Look("describe_db_subnet_groups", {"DBSubnetGroupName": "@id"}, "DBSubnetGroups[0]"),),
        delete=(Call("delete_db_subnet_group", {"DBSubnetGroupName": "@id"}),),
        id="DBSubnetGroup.DBSubnetGroupName",
        name="name",
        name_length=255,
        defaults={"description": "Managed by Pulumi"},
        renames={"name": "DBSubnetGroupName", "description": "DBSubnetGroupDescription"},
        outputs={"arn": "DBSubnetGroupArn", "subnetIds": "Subnets[].SubnetIdentifier"},
        tagging=_RDS_TAGS,
        listing=("describe_db_subnet_groups", {}, "DBSubnetGroups[].DBSubnetGroupName"),
    ),
    Kind(
        token="aws:rds/parameterGroup:ParameterGroup",
        service="rds",
        cloudformation="AWS::RDS::DBParameterGroup",
        create=Call(
            "create_db_parameter_group",
            {"DBParameterGroupName": ".name", "DBParameterGroupFamily": ".family", "Description": ".description"},
        ),
        then=(
            Call(
                "modify_db_parameter_group",
                {"DBParameterGroupName": "@id", "Parameters": _parameters},
                when=("parameters",),
            ),
        ),
        looks=(Look("describe_db_parameter_groups", {"DBParameterGroupName": "@id"}, "DBParameterGroups[0]"),),
        delete=(Call("delete_db_parameter_group", {"DBParameterGroupName": "@id"}),),
        id="DBParameterGroup.DBParameterGroupName",
        name="name",
        name_length=255,
        defaults={"description": "Managed by Pulumi"},
        renames={"name": "DBParameterGroupName", "family": "DBParameterGroupFamily"},
        replaces=("family", "description"),
        local=("skipDestroy",),
        outputs={"arn": "DBParameterGroupArn", "parameters": _parameters_there},
        tagging=_RDS_TAGS,
        listing=("describe_db_parameter_groups", {}, "DBParameterGroups[].DBParameterGroupName"),
    ),
    Kind(
        token="aws:dynamodb/table:Table",
        service="dynamodb",
        cloudformation="AWS::DynamoDB::Table",
        create=Call(
            "create_table",
            {
                "TableName": ".name",
                "AttributeDefinitions": lambda at: [
                    {"AttributeName": one["name"], "AttributeType": one["type"]} for one in at.inputs["attributes"]
                ],
                "KeySchema": lambda at: _schema(at.inputs["hashKey"], at.inputs.get("rangeKey")),
                "BillingMode": ".billingMode",
                "ProvisionedThroughput": _throughput,
                "GlobalSecondaryIndexes": _indexes,
                "SSESpecification": _encryption,
                "StreamSpecification": _stream,
                "DeletionProtectionEnabled": ".deletionProtectionEnabled",
                "TableClass": ".tableClass",
            },
            uses=(
                "attributes",
                "hashKey",
                "rangeKey",
                "readCapacity",
                "writeCapacity",
                "globalSecondaryIndexes",
                "serverSideEncryption",
                "streamEnabled",
                "streamViewType",
            ),
        ),
        then=(
            Call(
                "update_continuous_backups",
                {**_TABLE, "PointInTimeRecoverySpecification": _recovery},
                when=("pointInTimeRecovery",),
                each=lambda at: [True] if at.inputs.get("pointInTimeRecovery") else [],
            ),
            Call(
                "update_time_to_live",
                {
                    **_TABLE,
                    "TimeToLiveSpecification": {"Enabled": ".ttl.enabled", "AttributeName": ".ttl.attributeName"},
                },
                when=("ttl",),
            ),
        ),
        update=(
            Call(
                "update_table",
                {
                    **_TABLE,
                    "BillingMode": ".billingMode",
                    "ProvisionedThroughput": _throughput,
                    "DeletionProtectionEnabled": ".deletionProtectionEnabled",
                },
                when=("billingMode", "readCapacity", "writeCapacity", "deletionProtectionEnabled"),
            ),
            Call("update_table", {**_TABLE, "SSESpecification": _encryption}, when=("serverSideEncryption",)),
            Call("update_table", {**_TABLE, "StreamSpecification": _stream}, when=("streamEnabled", "streamViewType")),
        ),
        looks=(
            Look("describe_table", _TABLE, "Table"),
            Look(
                "describe_continuous_backups",
                _TABLE,
                "ContinuousBackupsDescription.PointInTimeRecoveryDescription",
                into="recovery",
            ),
            Look("describe_time_to_live", _TABLE, "TimeToLiveDescription", into="live"),
        ),
        delete=(Call("delete_table", _TABLE),),
        id=".name",
        name="name",
        name_length=255,
        renames={"name": "TableName"},
        replaces=("hashKey", "rangeKey", "globalSecondaryIndexes"),
        outputs={
            "arn": "TableArn",
            "attributes": lambda at: [
                {"name": one["AttributeName"], "type": one["AttributeType"]} for one in at.world["AttributeDefinitions"]
            ],
            "hashKey": _key("HASH"),
            "rangeKey": _key("RANGE"),
            "billingMode": "BillingModeSummary.BillingMode",
            "pointInTimeRecovery": lambda at: {
                "enabled": (at.world["recovery"] or {}).get("PointInTimeRecoveryStatus") == "ENABLED",
                "recoveryPeriodInDays": (at.world["recovery"] or {}).get("RecoveryPeriodInDays"),
            },
            "ttl": lambda at: {
                "enabled": (at.world["live"] or {}).get("TimeToLiveStatus") == "ENABLED",
                "attributeName": (at.world["live"] or {}).get("AttributeName"),
            },
            "serverSideEncryption": lambda at: {
                "enabled": (at.world.get("SSEDescription") or {}).get("Status") == "ENABLED",
                "kmsKeyArn": (at.world.get("SSEDescription") or {}).get("KMSMasterKeyArn"),
            },
            "globalSecondaryIndexes": lambda at: at.inputs.get("globalSecondaryIndexes"),
            "streamArn": "LatestStreamArn",
            "streamLabel": "LatestStreamLabel",
            "streamEnabled": "StreamSpecification.StreamEnabled",
            "streamViewType": "StreamSpecification.StreamViewType",
        },
        tagging=Tagging(
            "tag_resource", "untag_resource", "ResourceArn", value="@arn", listing="list_tags_of_resource Tags"
        ),
        listing=("list_tables", {}, "TableNames"),
    ),
)
