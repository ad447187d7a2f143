"""Looks at an account and makes what is missing: each thing by itself, so that a broken run goes on when repeated.

Nothing is deleted, and nothing is changed that is as it should be.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)

from components.cloud import allow, policy
from infra.bootstrap.documents import (
    AUDIENCE,
    Rights,
    Wanted,
    bucket_settings,
    role_statements,
    tags,
    trust_statement,
)

Done = Literal["made", "changed", "kept", "would make", "would change"]
_MISSING = frozenset(
    {
        "404", "NoSuchBucket", "NoSuchTagSet", "NoSuchBucketPolicy", "NoSuchEntity", "NoSuchLifecycleConfiguration",
        "NoSuchPublicAccessBlockConfiguration", "NotFoundException", "OwnershipControlsNotFoundError",
        "ServerSideEncryptionConfigurationNotFoundError",
    }
)  # fmt: skip
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
_WRONG = frozenset({"InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException", "AuthFailure"})
_UNKNOWN_KEY = "the key, when it is made"
_ADDED = frozenset({"BlockedEncryptionTypes", "Prefix"})
"""What AWS adds to encryption rules and lifecycle filters that were stated without."""
_SESSION_SECONDS = 2 * 3600
"""Longest session of a pipeline: a whole first `up` fits."""


class BootstrapError(Exception):
    """The account cannot be looked at or changed; `hint` says how to go on."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Outcome:
    """What became of one thing."""

    what: str
    name: str
    done: Done


@dataclass
class Account:
    """An account as the credentials of this machine see it.

    Attributes:
        wanted: what the stack needs.
        dry: only look.
        told: hears of each thing as it is done.
    """

    wanted: Wanted
    dry: bool = False
    told: Callable[[Outcome], None] = lambda _: None
    outcomes: list[Outcome] = field(default_factory=list)
    _clients: dict[str, Any] = field(default_factory=dict, repr=False)

    def run(self) -> list[Outcome]:
        """Look, and make what is missing.

        Raises:
            BootstrapError: the credentials are missing, expired or of another account, or a call was refused.
        """
        with _in_words():
            self._session = boto3.Session(region_name=self.wanted.cloud.region)
        self._check_account()
        key = self._key()
        self._bucket(key)
        if self.wanted.trust is not None:
            self._provider()
            for rights in get_args(Rights):
                self._role(rights, key)
        return self.outcomes

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            retries = Config(retries={"mode": "standard", "max_attempts": 8})
            self._clients[service] = self._session.client(service, config=retries)
        return self._clients[service]

    def _check_account(self) -> None:
        """Refuse credentials of another account than the stack pins."""
        with _in_words("sts get_caller_identity"):
            identity = self._client("sts").get_caller_identity()
        pinned = self.wanted.cloud.account
        if identity["Account"] != pinned:
            raise BootstrapError(
                f"the credentials are of account {identity['Account']} ({identity['Arn']}), but stack "
                f"{self.wanted.cloud.stack} is pinned to {pinned} (aws.accountId); nothing was touched",
                "take credentials of that account (AWS_PROFILE), or correct aws.accountId",
            )

    def _call(self, service: str, operation: str, **arguments: Any) -> Any:
        """Call the API; None when what the call is about does not exist."""
        with _in_words(f"{service} {operation}"):
            try:
                return getattr(self._client(service), operation)(**arguments)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in _MISSING:
                    return None
                raise

    def _settle(self, what: str, name: str, found: Any, wanted: Any, make: Callable[[], Any]) -> None:
        """Make or change one thing where it is not as wanted; `found` is None where it is missing."""
        if found == wanted:
            self._tell(what, name, "kept")
            return
        if self.dry:
            self._tell(what, name, "would make" if found is None else "would change")
            return
        make()
        self._tell(what, name, "made" if found is None else "changed")

    def _tell(self, what: str, name: str, done: Done) -> None:
        outcome = Outcome(what, name, done)
        self.outcomes.append(outcome)
        self.told(outcome)

    def _key(self) -> str:
        """Return the ARN of the key of secrets and state."""
        alias = self.wanted.alias
        named = self._call("kms", "describe_key", KeyId=alias)
        # A run that broke off between key and alias has left one with our tag.
        arn = named["KeyMetadata"]["Arn"] if named else self._tagged_key()
        if named and named["KeyMetadata"]["KeyState"] != "Enabled":
            raise BootstrapError(
                f"the key {alias} is {named['KeyMetadata']['KeyState']}; the state and its secrets need it",
                "cancel its deletion or enable it (aws kms cancel-key-deletion, enable-key)",
            )
        if arn is None and self.dry:
            self._tell("key", alias, "would make")
            return _UNKNOWN_KEY
        done: Done = "kept"
        if arn is None:
            arn, done = self._make_key(), "made"
        self._tell("key", alias, done)
        if not named:
            make = partial(self._call, "kms", "create_alias", AliasName=alias, TargetKeyId=arn)
            self._settle("alias", alias, None, arn, make)
        status = self._call("kms", "get_key_rotation_status", KeyId=arn)
        rotate = partial(self._call, "kms", "enable_key_rotation", KeyId=arn)
        self._settle("rotation of the key", alias, status["KeyRotationEnabled"], True, rotate)
        return str(arn)

    def _tagged_key(self) -> str | None:
        ours = {"TagKey": "mlops-bootstrap", "TagValue": self.wanted.alias}
        with _in_words("kms list_keys"):
            keys = [key for page in self._client("kms").get_paginator("list_keys").paginate() for key in page["Keys"]]
        for key in keys:
            try:
                listed = self._call("kms", "list_resource_tags", KeyId=key["KeyId"])
                state = self._call("kms", "describe_key", KeyId=key["KeyId"])["KeyMetadata"]["KeyState"]
            except BootstrapError:
                continue  # a key whose policy lets nobody look is not ours
            if listed and ours in listed["Tags"] and state == "Enabled":
                return str(key["KeyArn"])
        return None

    def _make_key(self) -> str:
        wanted = self.wanted
        answer = self._call(
            "kms",
            "create_key",
            Description=f"State and secrets of {wanted.cloud.names.prefix}",
            Policy=policy(allow(["kms:*"], "*", Sid="Account", Principal=wanted.cloud.root())),
            Tags=[
                {"TagKey": name, "TagValue": value}
                for name, value in {**tags(wanted), "mlops-bootstrap": wanted.alias}.items()
            ],
        )
        return str(answer["KeyMetadata"]["Arn"])

    def _bucket(self, key: str) -> None:
        """Make the bucket of the state, and each of its settings by itself."""
        name, cloud = self.wanted.bucket, self.wanted.cloud
        there = self._call("s3", "head_bucket", Bucket=name, ExpectedBucketOwner=cloud.account) is not None
        # The one region that must not be named.
        place = {"LocationConstraint": cloud.region}
        rest = {} if cloud.region == "us-east-1" else {"CreateBucketConfiguration": place}
        make = partial(self._call, "s3", "create_bucket", Bucket=name, **rest)
        self._settle("bucket of the state", name, there or None, True, make)
        for setting in bucket_settings(self.wanted, key):
            look = partial(self._call, "s3", setting.look, Bucket=name)
            answer = look() if there or not self.dry else None
            found = {member: answer.get(member) for member in setting.wanted} if answer else {}
            nothing = all(value is None for value in found.values())
            change = partial(self._call, "s3", setting.change, Bucket=name, **setting.arguments)
            self._settle(setting.what, name, None if nothing else _plain(found), _plain(setting.wanted), change)

    def _provider(self) -> None:
        trust = self.wanted.trust
        assert trust is not None
        arn = self.wanted.provider_arn
        found = self._call("iam", "get_open_id_connect_provider", OpenIDConnectProviderArn=arn)
        self._settle(
            "provider of identities",
            trust.issuer,
            True if found else None,
            True,
            partial(
                self._call,
                "iam",
                "create_open_id_connect_provider",
                Url=trust.issuer,
                ClientIDList=[AUDIENCE],
                Tags=_listed(tags(self.wanted)),
            ),
        )
        if found:
            add = partial(
                self._call, "iam", "add_client_id_to_open_id_connect_provider",
                OpenIDConnectProviderArn=arn, ClientID=AUDIENCE,
            )  # fmt: skip
            self._settle("audience", AUDIENCE, AUDIENCE in found["ClientIDList"], True, add)

    def _role(self, rights: Rights, key: str) -> None:
        name = self.wanted.role(rights)
        trusted = policy(trust_statement(self.wanted, rights))
        found = self._call("iam", "get_role", RoleName=name)
        make = partial(
            self._call,
            "iam",
            "create_role",
            RoleName=name,
            AssumeRolePolicyDocument=trusted,
            Description=f"Pipelines of {self.wanted.cloud.names.prefix}: {rights}",
            MaxSessionDuration=_SESSION_SECONDS,
            Tags=_listed(tags(self.wanted)),
        )
        self._settle("role", name, True if found else None, True, make)
        if found:
            change = partial(self._call, "iam", "update_assume_role_policy", RoleName=name, PolicyDocument=trusted)
            self._settle("trust", name, found["Role"]["AssumeRolePolicyDocument"], json.loads(trusted), change)
        held = self._call("iam", "get_role_policy", RoleName=name, PolicyName=rights) if found else None
        allowed = policy(*role_statements(self.wanted, rights, key))
        put = partial(self._call, "iam", "put_role_policy", RoleName=name, PolicyName=rights, PolicyDocument=allowed)
        self._settle("rights", name, held["PolicyDocument"] if held else None, json.loads(allowed), put)


def _listed(pairs: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as AWS lists them, in order."""
    return [{"Key": name, "Value": value} for name, value in sorted(pairs.items())]


def _plain(value: Any) -> Any:
    """A value to compare with: policies by their meaning, tags in order, and without what AWS adds to a rule."""
    if isinstance(value, str) and value.startswith("{"):
        return json.loads(value)
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items() if name not in _ADDED}
    if isinstance(value, list) and all(isinstance(one, dict) and "Key" in one for one in value):
        return sorted(value, key=lambda one: str(one["Key"]))
    return [_plain(one) for one in value] if isinstance(value, list) else value


@contextmanager
def _in_words(call: str = "") -> Iterator[None]:
    """Turn boto3's errors into ours."""
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound, TokenRetrievalError) as error:
        raise BootstrapError(
            f"there are no credentials of AWS: {error}", "log in (aws sso login), or name a profile by AWS_PROFILE"
        ) from None
    except ClientError as error:
        said = error.response.get("Error", {})
        code = str(said.get("Code", ""))
        if code in _EXPIRED:
            raise BootstrapError(
                f"the credentials of AWS have expired ({call})",
                "log in again and repeat the command: what was made is kept, the rest follows",
            ) from None
        if code in _WRONG:
            raise BootstrapError(f"AWS does not know these credentials ({code})", "log in again") from None
        raise BootstrapError(
            f"AWS refused {call}: {code}: {said.get('Message', '')}",
            "mend it and repeat the command: what was made is kept, the rest follows",
        ) from None
    except BotoCoreError as error:
        raise BootstrapError(f"{call} never left: {error}", "see AWS_ENDPOINT_URL and the network") from None
