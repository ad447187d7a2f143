"""One resource of every type of the rehearsal's table; `change` changes a property of each where that makes sense."""

import json

import pulumi
from pulumi_aws import (
    Provider,
    budgets,
    cloudtrail,
    cloudwatch,
    dynamodb,
    ec2,
    ecr,
    eks,
    get_availability_zones,
    get_caller_identity,
    get_partition,
    get_region,
    iam,
    kms,
    rds,
    s3,
    sagemaker,
    scheduler,
    secretsmanager,
    servicequotas,
    sns,
    sqs,
    vpc,
)

config = pulumi.Config()
account = config.require("account")
change = config.require("change")
second = change == "second"
days = 30 if second else 14
provider = Provider(
    "aws", region="eu-central-1", allowed_account_ids=[account], default_tags={"tags": {"stack": pulumi.get_stack()}}
)
options = pulumi.ResourceOptions(provider=provider)
asking = pulumi.InvokeOptions(provider=provider)
tags = {"change": change}


def trust(service: str) -> str:
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def allow(action: str, resource: str = "*", **more: object) -> str:
    statement = {"Effect": "Allow", "Action": action, "Resource": resource, **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


zones = get_availability_zones(state="available", opts=asking).names[:2]
pulumi.export("zones", zones)
pulumi.export("account", get_caller_identity(opts=asking).account_id)
pulumi.export("partition", get_partition(opts=asking).partition)
pulumi.export("region", get_region(opts=asking).region)
pulumi.export("memory", ec2.get_instance_type(instance_type="m6i.xlarge", opts=asking).memory_size)
pulumi.export(
    "gpu",
    ec2.get_instance_types(filters=[{"name": "instance-type", "values": ["g5.xlarge"]}], opts=asking).instance_types,
)
pulumi.export(
    "offered",
    ec2.get_instance_type_offerings(
        filters=[{"name": "instance-type", "values": ["m5.xlarge"]}],
        location_type="availability-zone",
        opts=asking,
    ).locations,
)
pulumi.export("quota", servicequotas.get_service_quota(service_code="ec2", quota_code="L-1216C47A", opts=asking).value)

# --- keys, buckets, identity ----------------------------------------------------------------------------------------
key = kms.Key("key", description=change, enable_key_rotation=True, deletion_window_in_days=7, tags=tags, opts=options)
kms.Alias("key", name="alias/everything", target_key_id=key.key_id, opts=options)
bucket = s3.Bucket("bucket", force_destroy=True, object_lock_enabled=True, tags=tags, opts=options)
s3.BucketVersioning("bucket", bucket=bucket.id, versioning_configuration={"status": "Enabled"}, opts=options)
s3.BucketNotification("bucket", bucket=bucket.id, eventbridge=second, opts=options)
s3.BucketServerSideEncryptionConfiguration(
    "bucket",
    bucket=bucket.id,
    rules=[
        {
            "apply_server_side_encryption_by_default": {"sse_algorithm": "aws:kms", "kms_master_key_id": key.arn},
            "bucket_key_enabled": not second,
        }
    ],
    opts=options,
)
s3.BucketPublicAccessBlock(
    "bucket",
    bucket=bucket.id,
    block_public_acls=True,
    block_public_policy=True,
    ignore_public_acls=True,
    restrict_public_buckets=not second,
    opts=options,
)
s3.BucketLifecycleConfiguration(
    "bucket",
    bucket=bucket.id,
    rules=[
        {
            "id": "old",
            "status": "Enabled",
            "filter": {"prefix": "logs/"},
            "expiration": {"days": days},
            "noncurrent_version_expiration": {"noncurrent_days": 7},
            "abort_incomplete_multipart_upload": {"days_after_initiation": 3},
        }
    ],
    opts=options,
)
s3.BucketObjectLockConfiguration(
    "bucket", bucket=bucket.id, rule={"default_retention": {"mode": "GOVERNANCE", "days": days}}, opts=options
)
s3.BucketOwnershipControls("bucket", bucket=bucket.id, rule={"object_ownership": "BucketOwnerEnforced"}, opts=options)
trails = s3.Bucket("trails", force_destroy=True, opts=options)
trail_policy = s3.BucketPolicy(
    "trails",
    bucket=trails.id,
    policy=trails.arn.apply(
        lambda arn: json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Sid": f"{change}{index}",
                        "Effect": "Allow",
                        "Principal": {"Service": service},
                        "Action": ["s3:PutObject"],
                        "Resource": f"{arn}/*",
                    }
                    for index, service in enumerate(("cloudtrail.amazonaws.com", "logging.s3.amazonaws.com"))
                ],
            }
        )
    ),
    opts=options,
)
s3.BucketLogging(
    "trails",
    bucket=trails.id,
    target_bucket=trails.id,
    target_prefix=f"{change}/",
    opts=pulumi.ResourceOptions(provider=provider, depends_on=[trail_policy]),
)
s3.BucketObjectv2("object", bucket=trails.id, key="readme.txt", content=change, opts=options)

role = iam.Role("role", assume_role_policy=trust("ec2.amazonaws.com"), description=change, tags=tags, opts=options)
cluster_role = iam.Role("cluster", assume_role_policy=trust("eks.amazonaws.com"), opts=options)
policy = iam.Policy("policy", policy=allow("s3:GetObject" if second else "s3:ListBucket"), tags=tags, opts=options)
iam.RolePolicy("inline", role=role.name, policy=allow("sqs:*", Sid=change), opts=options)
attachment = iam.RolePolicyAttachment("policy", role=role.name, policy_arn=policy.arn, opts=options)
iam.OpenIdConnectProvider(
    "github",
    url="https://token.actions.githubusercontent.com",
    client_id_lists=["sts.amazonaws.com"],
    thumbprint_lists=["a" * 40],
    tags=tags,
    opts=options,
)
profile = iam.InstanceProfile("nodes", role=role.name, tags=tags, opts=options)

# --- network --------------------------------------------------------------------------------------------------------
network = ec2.Vpc(
    "network", cidr_block="10.9.0.0/16", enable_dns_support=True, enable_dns_hostnames=second, tags=tags, opts=options
)
gateway = ec2.InternetGateway("network", vpc_id=network.id, tags=tags, opts=options)
subnets = [
    ec2.Subnet(
        f"subnet-{index}",
        vpc_id=network.id,
        cidr_block=f"10.9.{index}.0/24",
        availability_zone=zone,
        map_public_ip_on_launch=second,
        tags=tags,
        opts=options,
    )
    for index, zone in enumerate(zones)
]
address = ec2.Eip("nat", domain="vpc", tags=tags, opts=options)
nat = ec2.NatGateway("nat", allocation_id=address.id, subnet_id=subnets[0].id, tags=tags, opts=options)
table = ec2.RouteTable("table", vpc_id=network.id, tags=tags, opts=options)
ec2.Route("out", route_table_id=table.id, destination_cidr_block="0.0.0.0/0", gateway_id=gateway.id, opts=options)
ec2.RouteTableAssociation("table", subnet_id=subnets[0].id, route_table_id=table.id, opts=options)
ec2.DefaultSecurityGroup("closed", vpc_id=network.id, tags=tags, opts=options)
group = ec2.SecurityGroup(
    "group",
    vpc_id=network.id,
    egress=[{"protocol": "-1", "from_port": 0, "to_port": 0, "cidr_blocks": ["0.0.0.0/0"]}],
    ingress=[{"protocol": "tcp", "from_port": days, "to_port": days, "cidr_blocks": ["10.9.0.0/16"]}],
    tags=tags,
    opts=options,
)
bare = ec2.SecurityGroup("bare", vpc_id=network.id, description="Rules of their own", opts=options)
vpc.SecurityGroupIngressRule(
    "in",
    security_group_id=bare.id,
    ip_protocol="tcp",
    from_port=443,
    to_port=443,
    referenced_security_group_id=group.id,
    description=change,
    tags=tags,
    opts=options,
)
vpc.SecurityGroupEgressRule(
    "out", security_group_id=bare.id, ip_protocol="-1", cidr_ipv4="10.9.0.0/16", description=change, opts=options
)
ec2.VpcEndpoint(
    "s3",
    vpc_id=network.id,
    service_name="com.amazonaws.eu-central-1.s3",
    vpc_endpoint_type="Gateway",
    route_table_ids=[table.id],
    policy=allow("s3:*", Principal="*", Sid=change),
    tags=tags,
    opts=options,
)
ec2.VpcEndpoint(
    "sts",
    vpc_id=network.id,
    service_name="com.amazonaws.eu-central-1.sts",
    vpc_endpoint_type="Interface",
    subnet_ids=[subnet.id for subnet in subnets],
    security_group_ids=[group.id],
    private_dns_enabled=True,
    opts=options,
)
flow_logs = cloudwatch.LogGroup("flow", retention_in_days=days, tags=tags, opts=options)
ec2.FlowLog(
    "network",
    vpc_id=network.id,
    traffic_type="ALL",
    log_destination=flow_logs.arn,
    iam_role_arn=role.arn,
    max_aggregation_interval=60,
    tags=tags,
    opts=options,
)
template = ec2.LaunchTemplate(
    "nodes",
    instance_type="m6i.large" if second else "m6i.xlarge",
    update_default_version=True,
    vpc_security_group_ids=[group.id],
    metadata_options={"http_tokens": "required", "http_put_response_hop_limit": 1},
    block_device_mappings=[
        {"device_name": "/dev/xvda", "ebs": {"encrypted": "true", "volume_size": 40, "volume_type": "gp3"}}
    ],
    tag_specifications=[{"resource_type": "instance", "tags": {"part": "nodes"}}],
    tags=tags,
    opts=options,
)

# --- cluster --------------------------------------------------------------------------------------------------------
cluster = eks.Cluster(
    "cluster",
    role_arn=cluster_role.arn,
    version="1.35",
    vpc_config={
        "subnet_ids": [subnet.id for subnet in subnets],
        "endpoint_private_access": True,
        "endpoint_public_access": False,
    },
    access_config={"authentication_mode": "API", "bootstrap_cluster_creator_admin_permissions": False},
    enabled_cluster_log_types=["api", "audit"] if second else ["audit"],
    encryption_config={"provider": {"key_arn": key.arn}, "resources": ["secrets"]},
    tags=tags,
    opts=options,
)
nodes = eks.NodeGroup(
    "system",
    cluster_name=cluster.name,
    node_role_arn=role.arn,
    subnet_ids=[subnet.id for subnet in subnets],
    scaling_config={"desired_size": 2, "min_size": 2, "max_size": 4 if second else 3},
    ami_type="BOTTLEROCKET_x86_64",
    instance_types=["m6i.large"],
    labels={"pool": "system"},
    taints=[{"key": "system", "value": "true", "effect": "PREFER_NO_SCHEDULE"}],
    tags=tags,
    opts=options,
)
eks.Addon(
    "dns",
    cluster_name=cluster.name,
    addon_name="coredns",
    addon_version="v1.13.1-eksbuild.1",
    configuration_values=json.dumps({"replicaCount": days}),
    resolve_conflicts_on_create="OVERWRITE",
    resolve_conflicts_on_update="OVERWRITE",
    tags=tags,
    opts=options,
)
entry = eks.AccessEntry(
    "admins", cluster_name=cluster.name, principal_arn=role.arn, kubernetes_groups=[change], tags=tags, opts=options
)
eks.AccessPolicyAssociation(
    "admins",
    cluster_name=cluster.name,
    principal_arn=entry.principal_arn,
    policy_arn="arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",
    access_scope={"type": "cluster"},
    opts=options,
)
eks.PodIdentityAssociation(
    "server",
    cluster_name=cluster.name,
    namespace="registry",
    service_account="mlflow",
    role_arn=role.arn,
    tags=tags,
    opts=options,
)

# --- images, databases, features ------------------------------------------------------------------------------------
repository = ecr.Repository(
    "serving",
    image_tag_mutability="MUTABLE" if second else "IMMUTABLE",
    image_scanning_configuration={"scan_on_push": True},
    encryption_configurations=[{"encryption_type": "KMS", "kms_key": key.arn}],
    force_delete=True,
    tags=tags,
    opts=options,
)
rule = {
    "rulePriority": 1,
    "selection": {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": days},
    "action": {"type": "expire"},
}
ecr.LifecyclePolicy("serving", repository=repository.name, policy=json.dumps({"rules": [rule]}), opts=options)
ecr.RepositoryPolicy(
    "serving",
    repository=repository.name,
    policy=json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Sid": change, "Effect": "Allow", "Principal": {"AWS": account}, "Action": "ecr:BatchGetImage"}
            ],
        }
    ),
    opts=options,
)
subnet_group = rds.SubnetGroup(
    "database", subnet_ids=[subnet.id for subnet in subnets], description=change, tags=tags, opts=options
)
parameters = rds.ParameterGroup(
    "database",
    family="postgres17",
    parameters=[
        {"name": "rds.force_ssl", "value": "1", "apply_method": "pending-reboot"},
        {"name": "log_min_duration_statement", "value": str(days)},
    ],
    tags=tags,
    opts=options,
)
rds.Instance(
    "database",
    engine="postgres",
    engine_version="17.4",
    instance_class="db.t4g.medium",
    allocated_storage=40 if second else 20,
    storage_type="gp3",
    storage_encrypted=True,
    kms_key_id=key.arn,
    db_name="mlflow",
    username="mlflow",
    password=pulumi.Output.secret("correct-horse-battery"),
    db_subnet_group_name=subnet_group.name,
    parameter_group_name=parameters.name,
    vpc_security_group_ids=[group.id],
    multi_az=True,
    backup_retention_period=7,
    skip_final_snapshot=True,
    apply_immediately=True,
    tags=tags,
    opts=options,
)
dynamodb.Table(
    "features",
    attributes=[{"name": "entity", "type": "S"}],
    hash_key="entity",
    billing_mode="PAY_PER_REQUEST",
    point_in_time_recovery={"enabled": second},
    server_side_encryption={"enabled": True, "kms_key_arn": key.arn},
    ttl={"attribute_name": "expires", "enabled": True},
    tags=tags,
    opts=options,
)
sagemaker.FeatureGroup(
    "features",
    feature_group_name="flights",
    record_identifier_feature_name="id",
    event_time_feature_name="at",
    role_arn=role.arn,
    feature_definitions=[
        {"feature_name": "id", "feature_type": "String"},
        {"feature_name": "at", "feature_type": "Fractional"},
    ],
    online_store_config={"enable_online_store": True},
    tags=tags,
    opts=options,
)
sagemaker.ModelPackageGroup(
    "models",
    model_package_group_name="flight-delay",
    model_package_group_description="Flights",
    tags=tags,
    opts=options,
)
pipeline = sagemaker.Pipeline(
    "train",
    pipeline_name="train",
    pipeline_display_name="train",
    pipeline_definition=json.dumps({"Version": "2020-12-01", "Metadata": {"change": change}, "Steps": []}),
    role_arn=role.arn,
    tags=tags,
    opts=options,
)

# --- messages, schedules, watching ----------------------------------------------------------------------------------
queue = sqs.Queue(
    "jobs", message_retention_seconds=86400 * days // 10, sqs_managed_sse_enabled=True, tags=tags, opts=options
)
sqs.QueuePolicy(
    "jobs",
    queue_url=queue.url,
    policy=queue.arn.apply(
        lambda arn: allow("sqs:SendMessage", arn, Principal={"Service": "events.amazonaws.com"}, Sid=change)
    ),
    opts=options,
)
topic = sns.Topic("alarms", display_name=change, kms_master_key_id=key.id, tags=tags, opts=options)
sns.TopicPolicy(
    "alarms",
    arn=topic.arn,
    policy=topic.arn.apply(
        lambda arn: allow("sns:Publish", arn, Principal={"Service": "cloudwatch.amazonaws.com"}, Sid=change)
    ),
    opts=options,
)
sns.TopicSubscription(
    "alarms", topic=topic.arn, protocol="sqs", endpoint=queue.arn, raw_message_delivery=second, opts=options
)
cloudwatch.LogResourcePolicy(
    "events",
    policy_name="events",
    policy_document=allow("logs:PutLogEvents", Principal={"Service": "events.amazonaws.com"}, Sid=change),
    opts=options,
)
cloudwatch.MetricAlarm(
    "full",
    comparison_operator="GreaterThanThreshold",
    evaluation_periods=2,
    metric_name="FreeStorageSpace",
    namespace="AWS/RDS",
    period=300,
    statistic="Average",
    threshold=float(days),
    dimensions={"DBInstanceIdentifier": "database"},
    alarm_actions=[topic.arn],
    tags=tags,
    opts=options,
)
event_rule = cloudwatch.EventRule(
    "drift",
    description=change,
    event_pattern=json.dumps({"source": ["mlops.monitor"]}),
    tags=tags,
    opts=options,
)
cloudwatch.EventTarget("drift", rule=event_rule.name, arn=queue.arn, input=json.dumps({"why": change}), opts=options)
schedules = scheduler.ScheduleGroup("training", tags=tags, opts=options)
scheduler.Schedule(
    "training",
    group_name=schedules.name,
    schedule_expression=f"rate({days} days)",
    flexible_time_window={"mode": "OFF"},
    target={
        "arn": pipeline.arn,
        "role_arn": role.arn,
        "sagemaker_pipeline_parameters": {"pipeline_parameters": [{"name": "why", "value": change}]},
    },
    opts=options,
)
cloudtrail.Trail(
    "audit",
    s3_bucket_name=trails.bucket,
    enable_log_file_validation=True,
    is_multi_region_trail=second,
    include_global_service_events=True,
    kms_key_id=key.arn,
    tags=tags,
    opts=pulumi.ResourceOptions(provider=provider, depends_on=[trail_policy]),
)
budget = budgets.Budget(
    "month",
    budget_type="COST",
    time_unit="MONTHLY",
    limit_amount=str(days * 100),
    limit_unit="USD",
    notifications=[
        {
            "comparison_operator": "GREATER_THAN",
            "notification_type": "ACTUAL",
            "threshold": 80.0,
            "threshold_type": "PERCENTAGE",
            "subscriber_email_addresses": ["team@example.com"],
        }
    ],
    tags=tags,
    opts=options,
)
budgets.BudgetAction(
    "stop",
    budget_name=budget.name,
    action_type="APPLY_IAM_POLICY",
    approval_model="AUTOMATIC",
    notification_type="ACTUAL",
    action_threshold={"action_threshold_type": "PERCENTAGE", "action_threshold_value": float(days)},
    definition={"iam_action_definition": {"policy_arn": policy.arn, "roles": [role.name]}},
    execution_role_arn=role.arn,
    subscribers=[{"subscription_type": "EMAIL", "address": "team@example.com"}],
    tags=tags,
    opts=options,
)
secret = secretsmanager.Secret(
    "token", description=change, kms_key_id=key.arn, recovery_window_in_days=0, tags=tags, opts=options
)
secretsmanager.SecretVersion(
    "token", secret_id=secret.id, secret_string=pulumi.Output.secret("rehearsed-token-value"), opts=options
)

pulumi.export("endpoint", cluster.endpoint)
pulumi.export("issuer", cluster.identities[0].oidcs[0].issuer)
