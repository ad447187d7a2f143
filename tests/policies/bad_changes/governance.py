"""Bad changes after which nobody can tell who answers for what, or from where it came."""

from tests.policies.bad_changes.draft import Bad

CONTAINER = "spec.template.spec.containers.0"
DIGEST = "sha256:" + "a" * 64

CHANGES = [
    Bad("namespace without an owner", "took the owner's label off", "governance.namespace-labelled",
        lambda d: d.set("core/v1:Namespace", "training", ("metadata", "labels", "mlops/owner"), None)),
    Bad("missing tags", "left the tags out of a provider of one's own", "governance.resource-tagged",
        lambda d: d.set("pulumi:providers:aws", "aws", "defaultTags", None)),
    Bad("machines without tags", "started machines that no bill explains", "governance.nodes-tagged",
        lambda d: d.set("EC2NodeClass", "bottlerocket", "spec.tags", None)),
    Bad("image by tag", "deployed the latest image", "governance.image-by-digest",
        lambda d: d.set("apps/v1:Deployment", "registry", f"{CONTAINER}.image",
                        "333333333333.dkr.ecr.eu-central-1.amazonaws.com/acme/prod/training:latest")),
    Bad("foreign registry", "took an image from a public registry", "governance.image-by-digest",
        lambda d: d.set("apps/v1:Deployment", "registry", f"{CONTAINER}.image", f"docker.io/acme/training@{DIGEST}")),
    Bad("wrong region", "moved to a region that is not allowed for the data", "governance.region-allowed",
        lambda d: d.set("pulumi:providers:aws", "aws", "region", "us-east-1")),
    Bad("Object Lock shorter", "kept audit records for a month", "governance.audit-immutable",
        lambda d: d.set("BucketObjectLockConfiguration", "audit", "rule.defaultRetention.days", 30)),
    Bad("Object Lock that can be lifted", "chose the mode that an administrator can lift", "governance.audit-immutable",
        lambda d: d.set("BucketObjectLockConfiguration", "audit", "rule.defaultRetention.mode", "GOVERNANCE")),
    Bad("trail switched off", "stopped the records of the account", "governance.audit-trail-on",
        lambda d: d.set("cloudtrail/trail:Trail", "audit", "enableLogging", False)),
]  # fmt: skip
