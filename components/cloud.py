"""Where an environment of the `aws` target lives, and what all its components share. Imports nothing of AWS."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.naming import Names

Statement = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """One environment in an account.

    Attributes:
        stack: name of the stack.
        names: names of its resources.
        partition: AWS partition, the second part of ARNs.
        tags: what every resource carries: owner, client, environment, cost centre, data class.
        protected: whether what holds state is protected from deletion.
        project: folder of the project's code (absolute).
    """

    stack: str
    names: Names
    partition: str
    tags: Mapping[str, str]
    protected: bool
    project: str

    @property
    def account(self) -> str:
        """The account, 12 digits."""
        return self.names.account

    @property
    def region(self) -> str:
        """The region."""
        return self.names.region

    def arn(self, service: str, resource: str, *, region: bool = True, account: bool = True) -> str:
        """ARN of a resource of this account and region, or of none where a service has neither."""
        place = f"{self.region if region else ''}:{self.account if account else ''}"
        return f"arn:{self.partition}:{service}:{place}:{resource}"

    def service(self, name: str) -> Statement:
        """Principal of an AWS service."""
        return {"Service": f"{name}.amazonaws.com"}

    def alias(self, purpose: str) -> str:
        """Alias of the key of a purpose."""
        return f"alias/{self.names.path('alias', purpose)}"

    def root(self) -> Statement:
        """Principal of the account itself: whoever its own policies allow."""
        return {"AWS": self.arn("iam", "root", region=False)}


def policy(*statements: Statement) -> str:
    """A policy document from its statements, as JSON."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(actions: Sequence[str], resources: Sequence[str] | str, **rest: Any) -> Statement:
    """A statement that allows; further keys such as `Principal` and `Condition` by name."""
    return {"Effect": "Allow", "Action": list(actions), "Resource": resources} | rest


def allow_key(
    cloud: Cloud, purpose: str, actions: Sequence[str], *, condition: Mapping[str, Any] | None = None
) -> Statement:
    """A statement that allows the use of the key of a purpose, known by its alias.

    A key's ARN is not known before the key is there, and with it in a document nobody could read the document in a
    preview. The alias is: `kms:ResourceAliases` (AWS KMS developer guide, "ABAC for AWS KMS") holds for whichever key
    of this account and region carries it. Giving an alias takes a right that no workload has.

    Args:
        cloud: the environment.
        purpose: what the key is for.
        actions: what may be done.
        condition: further conditions, operator → key → value.
    """
    carries = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": cloud.alias(purpose)}}
    return allow(actions, cloud.arn("kms", "key/*"), Condition={**(condition or {}), **carries})


def deny(actions: Sequence[str], resources: Sequence[str] | str, **rest: Any) -> Statement:
    """A statement that denies."""
    return {"Effect": "Deny", "Action": list(actions), "Resource": resources} | rest


def trust(principal: Statement, *, actions: Sequence[str] = ("sts:AssumeRole",), **rest: Any) -> str:
    """Trust policy of a role: who may take it."""
    return policy({"Effect": "Allow", "Principal": principal, "Action": list(actions)} | rest)
