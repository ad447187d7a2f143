"""Names and policies of what a stack needs to exist. Nothing here calls anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from components.cloud import Cloud, Statement, allow, deny, policy

Rights = Literal["foundation", "releases", "read"]
GITHUB = "https://token.actions.githubusercontent.com"
AUDIENCE = "sts.amazonaws.com"
"""Audience of the tokens that are exchanged for credentials of a role."""
OLD_STATE_DAYS = 365
"""Overwritten state can be brought back this long."""
_REGIONAL = (
    "autoscaling", "cloudtrail", "cloudwatch", "dynamodb", "ec2", "ecr", "eks", "elasticloadbalancing", "events", "kms",
    "logs", "rds", "sagemaker", "scheduler", "secretsmanager", "servicequotas", "sns", "sqs",
)  # fmt: skip
"""Services that the foundation makes things in, as far as they know regions."""
_LOOKS = (
    "autoscaling:Describe*", "budgets:Describe*", "budgets:ListTagsForResource", "budgets:ViewBudget",
    "cloudtrail:DescribeTrails", "cloudtrail:Get*", "cloudtrail:ListTags", "cloudwatch:Describe*",
    "cloudwatch:ListTagsForResource", "dynamodb:Describe*", "dynamodb:ListTables", "dynamodb:ListTagsOfResource",
    "ec2:Describe*", "ec2:GetManagedPrefixListEntries", "ecr:Describe*", "ecr:GetLifecyclePolicy",
    "ecr:GetRepositoryPolicy", "ecr:ListTagsForResource", "eks:Describe*", "eks:List*",
    "elasticloadbalancing:Describe*", "events:Describe*", "events:List*", "iam:Get*", "iam:List*", "kms:Describe*",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus", "kms:List*", "logs:Describe*", "logs:ListTagsForResource", "rds:Describe*",
    "rds:ListTagsForResource", "s3:GetBucket*", "s3:GetEncryptionConfiguration", "s3:GetLifecycleConfiguration",
    "s3:ListAllMyBuckets", "sagemaker:Describe*", "sagemaker:List*", "scheduler:Get*", "scheduler:List*",
    "secretsmanager:DescribeSecret", "secretsmanager:GetResourcePolicy", "servicequotas:Get*", "servicequotas:List*",
    "sns:Get*", "sns:List*", "sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:ListQueueTags", "tag:GetResources",
)  # fmt: skip
"""What looking needs: how things are set up, and nothing of what is in them (no object, row, message or secret)."""


@dataclass(frozen=True, kw_only=True)
class Trust:
    """Whose pipelines may deploy.

    Attributes:
        issuer: address of the issuer of their tokens.
        repository: `owner/name`, as the tokens' claim `sub` has it.
        environment: deployment environment of the foundation's pipeline, whose protection rules guard it.
        releases_environment: that of the pipeline of releases.
    """

    issuer: str = GITHUB
    repository: str
    environment: str
    releases_environment: str

    @property
    def host(self) -> str:
        """The issuer without its scheme, as ARNs and conditions name it."""
        return self.issuer.removeprefix("https://").rstrip("/")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a stack needs, by name.

    Attributes:
        cloud: its environment.
        trust: whose pipelines may deploy; None makes nothing for pipelines.
    """

    cloud: Cloud
    trust: Trust | None

    @property
    def bucket(self) -> str:
        """Bucket of the state."""
        return self.cloud.names.bucket("state")

    @property
    def alias(self) -> str:
        """Alias of the key of secrets and state."""
        return f"alias/{self.cloud.names.path('alias', 'pulumi')}"

    @property
    def provider_arn(self) -> str:
        """ARN of the provider of identities; its issuer is the one of `trust`."""
        assert self.trust is not None
        return self.cloud.arn("iam", f"oidc-provider/{self.trust.host}", region=False)

    def role(self, rights: Rights) -> str:
        """Name of a pipeline's role."""
        return self.cloud.names.of("role", f"ci-{rights}")

    @property
    def login(self) -> str:
        """Address of the state for `pulumi login`."""
        return f"s3://{self.bucket}?region={self.cloud.region}"

    @property
    def secrets_provider(self) -> str:
        """Address of the key for `--secrets-provider`."""
        return f"awskms://{self.alias}?region={self.cloud.region}"


def bucket_arn(wanted: Wanted) -> str:
    """ARN of the state's bucket."""
    return f"arn:{wanted.cloud.partition}:s3:::{wanted.bucket}"


def trust_statement(wanted: Wanted, rights: Rights) -> Statement:
    """Who may take a pipeline's role: jobs of one repository, in one deployment environment or for pull requests."""
    trust = wanted.trust
    assert trust is not None
    subject = {
        "foundation": f"repo:{trust.repository}:environment:{trust.environment}",
        "releases": f"repo:{trust.repository}:environment:{trust.releases_environment}",
        "read": f"repo:{trust.repository}:pull_request",
    }[rights]
    return {
        "Effect": "Allow",
        "Principal": {"Federated": wanted.provider_arn},
        "Action": ["sts:AssumeRoleWithWebIdentity"],
        "Condition": {"StringEquals": {f"{trust.host}:aud": AUDIENCE, f"{trust.host}:sub": subject}},
    }


def role_statements(wanted: Wanted, rights: Rights, key: str) -> list[Statement]:
    """What a pipeline may do.

    Args:
        wanted: what the stack needs.
        rights: which pipeline.
        key: ARN of the key of secrets and state.
    """
    if rights == "read":
        return [allow(_LOOKS, "*", Sid="Look"), *_state(wanted, key, reads=["*"], writes=[])]
    if rights == "releases":
        stack = f"{wanted.cloud.stack}-releases"
        own = [f"{kind}/mlops/{stack}{tail}" for kind in ("stacks", "backups", "history") for tail in ("/*", ".*")]
        # Locks of a file backend lie below the organisation, project and stack.
        own.append(f"locks/organization/mlops/{stack}/*")
        return [
            allow(["eks:DescribeCluster"], _cluster(wanted.cloud), Sid="ReachTheCluster"),
            *_state(wanted, key, reads=["*"], writes=own),
        ]
    return [*_foundation(wanted), *_state(wanted, key, reads=["*"], writes=["*"])]


def _cluster(cloud: Cloud) -> str:
    return cloud.arn("eks", f"cluster/{cloud.names.of('cluster', 'main')}")


def _state(wanted: Wanted, key: str, *, reads: Sequence[str], writes: Sequence[str]) -> list[Statement]:
    arn = bucket_arn(wanted)
    found = [
        allow(["s3:ListBucket", "s3:GetBucketLocation"], arn, Sid="ListState"),
        allow(["s3:GetObject"], [f"{arn}/.pulumi/{one}" for one in reads], Sid="ReadState"),
        allow(["kms:Decrypt", "kms:DescribeKey"], key, Sid="DecryptState"),
    ]
    if writes:
        objects = [f"{arn}/.pulumi/{one}" for one in writes]
        found += [
            allow(["s3:PutObject", "s3:DeleteObject"], objects, Sid="WriteState"),
            allow(["kms:Encrypt", "kms:GenerateDataKey"], key, Sid="EncryptState"),
        ]
    return found


def _foundation(wanted: Wanted) -> list[Statement]:
    """What makes an environment: its services in its region, and roles and policies of its own name only."""
    cloud = wanted.cloud
    prefix = cloud.names.prefix
    own = [cloud.arn("iam", f"{kind}/{prefix}-*", region=False) for kind in ("role", "policy", "instance-profile")]
    pipelines = [cloud.arn("iam", f"role/{prefix}-ci-*", region=False)]
    buckets = f"arn:{cloud.partition}:s3:::{prefix}-*"
    return [
        allow(
            [f"{service}:*" for service in _REGIONAL],
            "*",
            Sid="Region",
            Condition={"StringEquals": {"aws:RequestedRegion": cloud.region}},
        ),
        allow(["budgets:*"], cloud.arn("budgets", f"budget/{prefix}-*", region=False), Sid="Budgets"),
        allow(["s3:*"], [buckets, f"{buckets}/*"], Sid="Buckets"),
        allow(
            [
                "iam:Add*", "iam:Attach*", "iam:Create*", "iam:Delete*", "iam:Detach*", "iam:Get*", "iam:List*",
                "iam:Put*", "iam:Remove*", "iam:Tag*", "iam:Untag*", "iam:Update*",
            ],
            own,
            Sid="OwnRoles",
        ),
        allow(["iam:PassRole"], own[0], Sid="HandOwnRolesOver"),
        allow(
            ["iam:CreateServiceLinkedRole"],
            cloud.arn("iam", "role/aws-service-role/*", region=False),
            Sid="ServiceRoles",
        ),
        allow(_LOOKS, "*", Sid="Look"),
        # What lets it deploy is not its own to change.
        deny(["iam:*"], pipelines, Sid="NotThePipelines"),
        deny(
            ["s3:DeleteBucket", "s3:PutBucket*", "s3:PutEncryptionConfiguration", "s3:PutLifecycleConfiguration"],
            bucket_arn(wanted),
            Sid="NotTheStatesBucket",
        ),
    ]  # fmt: skip


def tags(wanted: Wanted) -> dict[str, str]:
    """Tags of all that is made here; the last tells it from what the stack makes."""
    return {**wanted.cloud.tags, "managed-by": "mlops-bootstrap"}


@dataclass(frozen=True)
class Setting:
    """One setting of a bucket.

    Attributes:
        what: what it is, for people.
        look: operation of S3 that reads it.
        change: operation that sets it.
        wanted: members of the answer to `look`, as they should be.
        arguments: arguments of `change` besides the bucket.
    """

    what: str
    look: str
    change: str
    wanted: dict[str, Any]
    arguments: dict[str, Any]


def bucket_settings(wanted: Wanted, key: str) -> list[Setting]:
    """Settings of the state's bucket; its policy is the last, since it refuses what comes without TLS."""
    closed = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
    owned = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    encryption = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    encrypted = {"Rules": [{"ApplyServerSideEncryptionByDefault": encryption, "BucketKeyEnabled": True}]}
    rule = {
        "ID": "old-state",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "NoncurrentVersionExpiration": {"NoncurrentDays": OLD_STATE_DAYS},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
    }
    tagged = {"TagSet": [{"Key": name, "Value": value} for name, value in sorted(tags(wanted).items())]}
    arn = bucket_arn(wanted)
    insecure = {"Bool": {"aws:SecureTransport": "false"}}
    tls_only = policy(deny(["s3:*"], [arn, f"{arn}/*"], Sid="TlsOnly", Principal="*", Condition=insecure))

    def setting(what: str, noun: str, looked: dict[str, Any], put: dict[str, Any] | None = None) -> Setting:
        return Setting(what, f"get_{noun}", f"put_{noun}", looked, put or looked)

    return [
        setting("public access", "public_access_block", {"PublicAccessBlockConfiguration": closed}),
        setting("owner of its objects", "bucket_ownership_controls", {"OwnershipControls": owned}),
        setting("encryption", "bucket_encryption", {"ServerSideEncryptionConfiguration": encrypted}),
        setting(
            "versions", "bucket_versioning", {"Status": "Enabled"}, {"VersioningConfiguration": {"Status": "Enabled"}}
        ),
        setting(
            "end of old versions",
            "bucket_lifecycle_configuration",
            {"Rules": [rule]},
            {"LifecycleConfiguration": {"Rules": [rule]}},
        ),
        setting("tags", "bucket_tagging", tagged, {"Tagging": tagged}),
        setting("policy", "bucket_policy", {"Policy": tls_only}),
    ]
