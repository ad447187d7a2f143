"""Keys."""

import json
from typing import Any

from policies.plan import Resource
from policies.rules.security.keys import key_deletion_waits, key_not_public, key_rotates
from policies.testing import admit, deny, resource, undetermined, unknown


def key(**inputs: Any) -> Resource:
    return resource("aws:kms/key:Key", "data", inputs)


def policy(principal: Any, **more: Any) -> str:
    return json.dumps({"Statement": [{"Effect": "Allow", "Action": "kms:*", "Principal": principal, **more}]})


def test_keys_rotate() -> None:
    admit(key_rotates, key(enableKeyRotation=True))
    admit(key_rotates, key(customerMasterKeySpec="RSA_2048"))
    deny(key_rotates, key(), path="enableKeyRotation")
    deny(key_rotates, key(customerMasterKeySpec="SYMMETRIC_DEFAULT", enableKeyRotation=False))
    undetermined(key_rotates, key(enableKeyRotation=unknown()))


def test_keys_are_not_for_everybody() -> None:
    root = {"AWS": "arn:aws:iam::333333333333:root"}
    admit(key_not_public, key())
    admit(key_not_public, key(policy=policy(root)))
    admit(key_not_public, key(policy=policy("*", Condition={"StringEquals": {"kms:CallerAccount": "333333333333"}})))
    admit(key_not_public, key(policy=policy("*", Effect="Deny")))
    for principal in ("*", {"AWS": "*"}, {"AWS": ["arn:aws:iam::333333333333:root", "*"]}):
        deny(key_not_public, key(policy=policy(principal)), path="policy", says="kms:*")
    for condition in (
        {"StringEquals": {"kms:ViaService": "s3.eu-central-1.amazonaws.com"}},
        {"StringLike": {"aws:PrincipalArn": "*"}},
        {"StringNotEquals": {"kms:CallerAccount": "333333333333"}},
    ):
        deny(key_not_public, key(policy=policy("*", Condition=condition)))
    undetermined(key_not_public, key(policy=unknown()), path="policy")


def test_the_deletion_of_a_key_waits() -> None:
    for days in (None, 14, 30):
        admit(key_deletion_waits, key(deletionWindowInDays=days))
    deny(key_deletion_waits, key(deletionWindowInDays=13), says="13 days", path="deletionWindowInDays")
    undetermined(key_deletion_waits, key(deletionWindowInDays=unknown()))


def test_each_statement_of_a_key_is_looked_at() -> None:
    root = {"Effect": "Allow", "Action": "kms:*", "Principal": {"AWS": "arn:aws:iam::333333333333:root"}}
    both = json.dumps({"Statement": [root, {"Effect": "Allow", "Action": "kms:Decrypt", "Principal": "*"}]})
    deny(key_not_public, key(policy=both), says="kms:Decrypt")
