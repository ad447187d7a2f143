"""Keys: they rotate, are not lost by a slip, and nobody outside the account may use them."""

from __future__ import annotations

from collections.abc import Iterator

from policies.documents import statements
from policies.plan import Resource
from policies.rule import EVERYWHERE_ON_AWS, Answer, Problem, World, resource_rule

KEY = "aws:kms/key:Key"


@resource_rule(
    id="security.key-rotates",
    title="Every symmetric key rotates by itself",
    severity="medium",
    why="What one key encrypts, and what its loss costs, is bounded by how long it is used.",
    fix="set enableKeyRotation to true",
    references=("CIS AWS Foundations 3.0 3.6", "AWS FSBP KMS.4"),
    types=(KEY,),
    levels=EVERYWHERE_ON_AWS,
)
def key_rotates(key: Resource, world: World) -> Iterator[Answer]:
    """Look at the switch; asymmetric and HMAC keys cannot rotate."""
    if key.value("customerMasterKeySpec", default="SYMMETRIC_DEFAULT") != "SYMMETRIC_DEFAULT":
        return
    if key.value("enableKeyRotation", default=False) is not True:
        yield Problem("enableKeyRotation is off", path="enableKeyRotation")


@resource_rule(
    id="security.key-not-public",
    title="No key can be used by everybody",
    severity="critical",
    why="Whoever may use the key reads all that it encrypts.",
    fix="name the principals, or narrow the statement by account",
    references=("AWS FSBP KMS.5",),
    types=(KEY, "aws:kms/keyPolicy:KeyPolicy"),
    levels=EVERYWHERE_ON_AWS,
    waivable=False,
)
def key_not_public(key: Resource, world: World) -> Iterator[Answer]:
    """Look for a statement of its policy that allows everybody."""
    document = key.value("policy")
    for one in statements(document) if document is not None else ():
        if one.allows and one.everyone and not one.narrowed:
            yield Problem(f"{one.sid} allows {', '.join(one.actions)} to everybody", path="policy")


@resource_rule(
    id="security.key-deletion-waits",
    title="The deletion of a key can be taken back for at least 14 days",
    severity="high",
    why="With its key everything that it encrypted is gone; somebody must have the time to notice.",
    fix="state deletionWindowInDays of 14 to 30",
    types=(KEY,),
)
def key_deletion_waits(key: Resource, world: World) -> Iterator[Answer]:
    """Look at the window. AWS waits 30 days where nothing is stated, and at most."""
    days = key.value("deletionWindowInDays", default=30)
    if days < 14:
        yield Problem(f"it can be taken back for {days} days; allowed: 14 to 30", path="deletionWindowInDays")
