"""Which resources hold what cannot be made again: their loss is a loss of data, not of time.

Rules about protection and backups, rules about steps, and the hooks that refuse a deletion in `up` all read this table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from policies.facts import EnvironmentKind


@dataclass(frozen=True, kw_only=True)
class Stateful:
    """A type of resource that holds state.

    Attributes:
        type: its type token.
        holds: what is lost with it.
        switch: input by which its service refuses or allows that it is deleted with its content; None where the
            service has none.
        safe: the value of the switch that keeps the content.
        default: what the service takes where the switch is not stated.
        guarded: whether the engine's own protection (`protect`) is asked for besides.
    """

    type: str
    holds: str
    switch: str | None = None
    safe: bool = True
    default: bool = False
    guarded: bool = True


_TABLE: Final = (
    Stateful(type="aws:s3/bucket:Bucket", holds="all objects of the bucket", switch="forceDestroy", safe=False),
    Stateful(type="aws:rds/instance:Instance", holds="the database", switch="deletionProtection"),
    Stateful(type="aws:rds/cluster:Cluster", holds="the database", switch="deletionProtection"),
    Stateful(type="aws:dynamodb/table:Table", holds="the table", switch="deletionProtectionEnabled"),
    Stateful(type="aws:kms/key:Key", holds="everything that the key encrypts"),
    Stateful(type="aws:ecr/repository:Repository", holds="all images", switch="forceDelete", safe=False),
    Stateful(type="aws:eks/cluster:Cluster", holds="all that runs in the cluster", switch="deletionProtection"),
    Stateful(type="aws:sagemaker/featureGroup:FeatureGroup", holds="the features of the group"),
    Stateful(type="aws:efs/fileSystem:FileSystem", holds="all files"),
    Stateful(type="aws:ebs/volume:Volume", holds="the disk"),
    Stateful(type="kubernetes:core/v1:PersistentVolumeClaim", holds="the disk behind the claim", guarded=False),
    Stateful(type="kubernetes:core/v1:Namespace", holds="everything in the namespace, disks too", guarded=False),
)
STATEFUL: Final[Mapping[str, Stateful]] = {one.type: one for one in _TABLE}
"""The types by their tokens."""
TYPES: Final[Sequence[str]] = tuple(STATEFUL)
KEPT_IN: Final[frozenset[EnvironmentKind]] = frozenset({"staging", "prod"})
"""Kinds of environment in which replacing or deleting one of them needs a waiver."""
