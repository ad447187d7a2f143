"""The blueprint's own database in a network of its own."""

import sys
from pathlib import Path

import pulumi
from pulumi_aws import Provider, ec2, kms

sys.path.insert(0, str(Path(__file__).resolve().parents[4]))

from components.cloud import Cloud
from components.naming import Names
from components.registry.database import Database, DatabaseArgs, DatabaseSection

config = pulumi.Config()
account, region = config.require("account"), "eu-central-1"
provider = Provider("aws", region=region, allowed_account_ids=[account])
options = pulumi.ResourceOptions(provider=provider)
vpc = ec2.Vpc("network", cidr_block="10.9.0.0/16", opts=options)
subnets = [
    ec2.Subnet(zone, vpc_id=vpc.id, cidr_block=f"10.9.{number}.0/24", availability_zone=f"{region}{zone}", opts=options)
    for number, zone in enumerate("ab")
]
nodes = ec2.SecurityGroup("nodes", vpc_id=vpc.id, description="Nodes", opts=options)
key = kms.Key("key", description="All", opts=options)
database = Database(
    "database",
    DatabaseArgs(
        cloud=Cloud(
            stack="test", names=Names(client="acme", environment="restored", account=account, region=region),
            partition="aws", tags={}, protected=False, project=".",
        ),
        section=DatabaseSection(
            instance_class="db.t4g.medium", version="17", storage_gib=20, max_storage_gib=100, multi_zone=False,
            backup_days=7, restore_from=config.get("restoreFrom"),
        ),
        vpc_id=vpc.id, subnet_ids=[one.id for one in subnets], client_security_group_id=nodes.id,
        data_key=key.arn, secrets_key=key.arn, logs_key=key.arn, log_days=30,
    ),
    pulumi.ResourceOptions(provider=provider),
)  # fmt: skip
pulumi.export("address", database.address)
