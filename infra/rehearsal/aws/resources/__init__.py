"""The table: one `Kind` a resource type, a file a group of services."""

from collections.abc import Mapping

from infra.rehearsal.aws.kind import Kind
from infra.rehearsal.aws.resources import (
    ec2,
    eks,
    iam,
    keys,
    messages,
    registries,
    s3,
    sagemaker,
    security_groups,
    watching,
)

_MODULES = (ec2, security_groups, iam, keys, s3, eks, registries, sagemaker, messages, watching)

KINDS: Mapping[str, Kind] = {kind.token: kind for module in _MODULES for kind in module.KINDS}
