"""The table: one `Kind` a resource type, a file a service."""

from collections.abc import Mapping

from infra.rehearsal.aws.kind import Kind
from infra.rehearsal.aws.resources import ec2, iam, s3

KINDS: Mapping[str, Kind] = {kind.token: kind for module in (ec2, iam, s3) for kind in module.KINDS}
