"""The provider's own settings: region, the accounts it may touch, default tags. They arrive as texts, nested ones as
JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.provider.codec import UNKNOWN, Properties, plain
from infra.rehearsal.aws import schema

_SHARED = frozenset({"version", "pluginDownloadURL"})
_ACCEPTED = frozenset(
    {
        "region",
        "allowedAccountIds",
        "forbiddenAccountIds",
        "defaultTags",
        "assumeRoles",  # the rehearsal's server has one identity
        "profile",
        "maxRetries",
        "retryMode",
        "skipCredentialsValidation",
        "skipMetadataApiCheck",
        "skipRegionValidation",
        "skipRequestingAccountId",
        "s3UsePathStyle",
    }
)


@dataclass(frozen=True)
class ProviderSettings:
    """What the resources of one provider share.

    Attributes:
        region: AWS region.
        allowed_accounts: Only these accounts may be touched; empty for any.
        forbidden_accounts: These may not.
        default_tags: Tags of every resource that can have some.
    """

    region: str
    allowed_accounts: tuple[str, ...] = ()
    forbidden_accounts: tuple[str, ...] = ()
    default_tags: Mapping[str, str] = field(default_factory=dict)

    def refusal(self, account: str) -> str | None:
        """Return why resources of `account` may not be touched, or None."""
        if self.allowed_accounts and account not in self.allowed_accounts:
            allowed = ", ".join(self.allowed_accounts)
            return (
                f"the credentials are those of account {account}, but this stack is pinned to {allowed}"
                " (allowedAccountIds). Nothing was touched: take the credentials of that account"
            )
        if account in self.forbidden_accounts:
            return f"account {account} is forbidden by this stack (forbiddenAccountIds). Nothing was touched"
        return None


def problems(given: Properties) -> list[str]:
    """Return what is wrong with a provider's settings."""
    values = {name: _decoded(value) for name, value in given.items() if name not in _SHARED}
    found = schema.problems(schema.provider_inputs(), values)
    for name in values:
        if name in schema.provider_inputs() and name not in _ACCEPTED:
            found.append(f"`{name}`: the rehearsal's provider does not know this setting")
    if not values.get("region"):
        found.append("`region` is missing: state it on the provider, nothing is taken from this machine's settings")
    return found


def provider_settings(given: Properties) -> ProviderSettings:
    """Read checked settings."""
    values = {name: plain(_decoded(value)) for name, value in given.items()}
    tags = (values.get("defaultTags") or {}).get("tags") or {}
    return ProviderSettings(
        region=str(values["region"]),
        allowed_accounts=tuple(map(str, values.get("allowedAccountIds") or ())),
        forbidden_accounts=tuple(map(str, values.get("forbiddenAccountIds") or ())),
        default_tags={str(name): str(value) for name, value in tags.items()},
    )


def _decoded(value: Any) -> Any:
    """Undo the JSON of nested settings."""
    if value is UNKNOWN or not isinstance(value, str):
        return value
    if value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return {"true": True, "false": False}.get(value, value)
