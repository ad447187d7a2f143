"""A network, a bucket and a role."""

import json

import pulumi
from pulumi_aws import Provider, ec2, iam, s3
from pulumi_aws.get_caller_identity import get_caller_identity

config = pulumi.Config()
provider = Provider(
    "aws",
    region="eu-central-1",
    allowed_account_ids=[config.require("account")],
    default_tags={"tags": {"stack": pulumi.get_stack()}},
)
options = pulumi.ResourceOptions(provider=provider)
account = get_caller_identity(opts=pulumi.InvokeOptions(provider=provider)).account_id

vpc = ec2.Vpc("network", cidr_block="10.7.0.0/16", enable_dns_hostnames=True, tags={"Name": "network"}, opts=options)
subnet = ec2.Subnet(
    "subnet",
    vpc_id=vpc.id,
    cidr_block="10.7.1.0/24",
    availability_zone="eu-central-1a",
    tags={"purpose": config.require("purpose")},
    opts=options,
)
bucket = s3.Bucket("artifacts", force_destroy=True, opts=options)
s3.BucketVersioning("artifacts", bucket=bucket.bucket, versioning_configuration={"status": "Enabled"}, opts=options)
role = iam.Role(
    "reader",
    description=config.require("purpose"),
    assume_role_policy=json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
            ],
        }
    ),
    opts=options,
)
iam.RolePolicyAttachment(
    "reader", role=role.name, policy_arn="arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess", opts=options
)

pulumi.export("account", account)
pulumi.export("vpc", vpc.id)
pulumi.export("bucket", bucket.bucket)
pulumi.export("role", role.arn)
