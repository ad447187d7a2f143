"""For tests of rules, ours and those of other teams: plans in few words, and verdicts as assertions.

    from policies.testing import admit, deny, resource, undetermined, unknown

    def test_a_bucket_with_its_block_is_admitted() -> None:
        bucket = resource("aws:s3/bucket:Bucket", "data")
        admit(bucket_not_public, bucket, block_of(bucket))

What a rule gets in such a test is what the real engine sends; docs/policies.md has the whole of it.
"""

from policies.testing.build import (
    NOW,
    component,
    gate,
    made_from,
    resource,
    secret,
    step,
    unknown,
    world,
)
from policies.testing.verdicts import admit, ask, defer, deny, reads_nothing_unknown, skip, undetermined

__all__ = [
    "NOW",
    "admit",
    "ask",
    "component",
    "defer",
    "deny",
    "gate",
    "made_from",
    "reads_nothing_unknown",
    "resource",
    "secret",
    "skip",
    "step",
    "undetermined",
    "unknown",
    "world",
]
