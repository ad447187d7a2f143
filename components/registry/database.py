"""The environment's PostgreSQL database on AWS (RDS): private, encrypted, reached over TLS only and from nodes alone.

RDS makes the master password, keeps it in Secrets Manager and changes it; it is in nobody's state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi import Output
from pulumi_aws import cloudwatch, ec2, rds, vpc

from components.cloud import Cloud
from components.component import Component

PORT = 5432
USER = NAME = "mlops"
LOGS = ("postgresql", "upgrade")


@dataclass(frozen=True, kw_only=True)
class DatabaseSection:
    """The database as the settings state it.

    Attributes:
        instance_class: its size.
        version: version of PostgreSQL, with or without the minor one.
        storage_gib: storage at first, GiB.
        max_storage_gib: it grows up to this, GiB.
        multi_zone: whether a second zone holds a standby.
        backup_days: backups allow a return to any second of this many days.
        restore_from: snapshot that it is made from; only looked at when it is made.
    """

    instance_class: str
    version: str
    storage_gib: int
    max_storage_gib: int
    multi_zone: bool
    backup_days: int
    restore_from: str | None = None


@dataclass(frozen=True, kw_only=True)
class DatabaseArgs:
    """What the database is made with.

    Attributes:
        cloud: the environment.
        section: what the settings state.
        vpc_id: the network.
        subnet_ids: subnets without a way out, one a zone.
        client_security_group_id: security group of the nodes, which alone may connect.
        data_key: ARN of the key that encrypts it and its backups.
        secrets_key: ARN of the key that encrypts its password.
        logs_key: ARN of the key that encrypts its logs.
        log_days: its logs are kept this long.
    """

    cloud: Cloud
    section: DatabaseSection
    vpc_id: pulumi.Input[str]
    subnet_ids: pulumi.Input[Sequence[str]]
    client_security_group_id: pulumi.Input[str]
    data_key: pulumi.Input[str]
    secrets_key: pulumi.Input[str]
    logs_key: pulumi.Input[str]
    log_days: int


class Database(Component):
    """A PostgreSQL database."""

    address: Output[str]
    """Its host name."""
    password_secret: Output[str]
    """ARN of the secret that RDS keeps user name and password in, as JSON (`username`, `password`)."""

    def __init__(self, name: str, args: DatabaseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:registry:Database", name, opts)
        cloud, section = args.cloud, args.section
        called = cloud.names.of("database", "main")
        subnets = rds.SubnetGroup(
            name,
            name=called,
            description="Subnets without a way out",
            subnet_ids=args.subnet_ids,
            opts=self.child(),
        )
        family = f"postgres{section.version.partition('.')[0]}"
        parameters = rds.ParameterGroup(
            name,
            name=cloud.names.of("parameter-group", family),
            family=family,
            description="TLS is forced, slow statements and connections are logged",
            parameters=[
                {"name": "rds.force_ssl", "value": "1", "apply_method": "immediate"},
                {"name": "log_connections", "value": "1", "apply_method": "immediate"},
                {"name": "log_min_duration_statement", "value": "1000", "apply_method": "immediate"},
            ],
            opts=self.child(),
        )
        guard = self._guard(args, called)
        logs = [
            cloudwatch.LogGroup(
                f"{name}-{one}",
                # The names that RDS writes to.
                name=f"/aws/rds/instance/{called}/{one}",
                retention_in_days=args.log_days,
                kms_key_id=args.logs_key,
                opts=self.child(),
            )
            for one in LOGS
        ]
        instance = rds.Instance(
            name,
            identifier=called,
            engine="postgres",
            engine_version=section.version,
            instance_class=section.instance_class,
            allocated_storage=section.storage_gib,
            max_allocated_storage=section.max_storage_gib,
            storage_type="gp3",
            storage_encrypted=True,
            kms_key_id=args.data_key,
            db_name=NAME,
            username=USER,
            manage_master_user_password=True,
            master_user_secret_kms_key_id=args.secrets_key,
            port=PORT,
            db_subnet_group_name=subnets.name,
            parameter_group_name=parameters.name,
            vpc_security_group_ids=[guard.id],
            publicly_accessible=False,
            multi_az=section.multi_zone,
            backup_retention_period=section.backup_days,
            backup_window="01:00-02:00",
            maintenance_window="sun:02:30-sun:03:30",
            copy_tags_to_snapshot=True,
            delete_automated_backups=not cloud.protected,
            deletion_protection=cloud.protected,
            skip_final_snapshot=not cloud.protected,
            final_snapshot_identifier=f"{called}-final" if cloud.protected else None,
            auto_minor_version_upgrade=True,
            apply_immediately=not cloud.protected,
            performance_insights_enabled=True,
            performance_insights_kms_key_id=args.data_key,
            enabled_cloudwatch_logs_exports=list(LOGS),
            ca_cert_identifier="rds-ca-rsa2048-g1",
            snapshot_identifier=section.restore_from,
            opts=pulumi.ResourceOptions.merge(
                self.child(depends_on=logs),
                # A database that is there is never made anew because somebody states or unstates a snapshot.
                pulumi.ResourceOptions(protect=cloud.protected, ignore_changes=["snapshotIdentifier"]),
            ),
        )
        self.register(
            address=instance.address,
            password_secret=instance.master_user_secrets.apply(lambda found: found[0]["secret_arn"]),
        )

    def _guard(self, args: DatabaseArgs, called: str) -> ec2.SecurityGroup:
        guard = ec2.SecurityGroup(
            "database",
            vpc_id=args.vpc_id,
            description="Database: PostgreSQL from nodes",
            tags={"Name": called},
            opts=self.child(),
        )
        vpc.SecurityGroupIngressRule(
            "database-nodes",
            security_group_id=guard.id,
            referenced_security_group_id=args.client_security_group_id,
            ip_protocol="tcp",
            from_port=PORT,
            to_port=PORT,
            description="PostgreSQL from nodes",
            opts=self.child(),
        )
        return guard


def url(address: pulumi.Input[str]) -> Output[str]:
    """Address of the database for SQLAlchemy, without the password. TLS is asked for, and forced by the server."""
    return Output.concat("postgresql+psycopg://", USER, "@", address, f":{PORT}/{NAME}?sslmode=require")
