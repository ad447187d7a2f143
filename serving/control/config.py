"""control.json: the settings of the control plane."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from policies.releases.decision import EnvironmentRules, TierRule, default_tiers
from policies.releases.keys import KeyFileError, make_demo_keys, read_trust_root
from policies.releases.manifest import RiskTier
from serving.config import ConfigError, load
from serving.control.gate import Gate

_STORE = r"^(s3|file)://\S+$"
"""Addresses of stores as pyarrow takes them."""


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class TrustRootConfig(_Model):
    """A trust root that this environment accepts: its name and its allowed-signers file."""

    name: str = Field(min_length=1)
    path: Path


class LedgerConfig(_Model):
    """Where checkpoints of the ledger are kept, and what signs them.

    `checkpoints` is a folder; with a `store` only for as long as they are not there. The key is a file that is made at
    the first start (`key`), or derived from a `secret` where no disk outlives the process.
    """

    checkpoints: Path
    store: str | None = Field(None, pattern=_STORE)
    key: Path | None = None
    secret: str | None = Field(None, repr=False)

    @property
    def key_file(self) -> Path:
        """The file of the key, where there is no secret."""
        assert self.key is not None
        return self.key

    @model_validator(mode="after")
    def _stated(self) -> Self:
        if (self.key is None) == (self.secret is None):
            raise ValueError("expected either a key or a secret")
        return self


class CapturesConfig(_Model):
    """Where replicas keep captured predictions, which labels are compared with, and how long they are kept.

    Either the `directory` that they write to, or the `store` that they put finished files into.
    """

    directory: Path | None = None
    store: str | None = Field(None, pattern=_STORE)
    retention_days: int = Field(30, ge=1)

    @property
    def place(self) -> Path | str:
        """The one that is stated."""
        return _one_place(self.directory, self.store)

    @model_validator(mode="after")
    def _stated(self) -> Self:
        _one_place(self.directory, self.store)
        return self


def _one_place(directory: Path | None, store: str | None) -> Path | str:
    found: list[Path | str] = [one for one in (directory, store) if one is not None]
    if len(found) != 1:
        raise ValueError("expected either a directory or a store")
    return found[0]


class ControlConfig(_Model):
    """The whole file. `database` is an SQLAlchemy address, `snapshot` the path that replicas read.

    `approval` is `rule` where a version that passed its evaluation may start, `signatures` where people must have
    approved its manifest; `signature` says whether its artifact must be signed (by default where people approve).
    """

    host: str = "127.0.0.1"
    port: int = Field(8090, ge=1, le=65535)
    database: str
    snapshot: Path
    snapshot_key: str = Field(repr=False, min_length=16)
    admin_token: str = Field(repr=False, min_length=16)
    replica_token: str = Field(repr=False, min_length=16)
    rollout_timeout_seconds: float = Field(600, gt=0, le=86_400)
    environment: str = Field("local", min_length=1)
    approval: Literal["rule", "signatures"] = "rule"
    signature: Literal["required", "optional"] | None = None
    trust_roots: tuple[TrustRootConfig, ...] = ()
    demo_keys: Path | None = None
    """Folder of demo keys, made at the first start: a trust root of the environment's name, to try approvals with."""
    rehearsal: bool = False
    tiers: dict[RiskTier, TierRule] | None = None
    ledger: LedgerConfig | None = None
    captures: CapturesConfig | None = None
    """None where nothing is captured: labels are then refused."""
    drift_store: str | None = Field(None, pattern=_STORE)
    """Where alarms of drift are put for who trains; None where nobody listens."""

    def gate(self) -> Gate:
        """Build the gate of the environment.

        Raises:
            ConfigError: the rules contradict one another, or a trust root cannot be read.
        """
        try:
            roots = {root.name: read_trust_root(root.name, root.path) for root in self.trust_roots}
            if self.demo_keys is not None:
                roots[self.environment] = make_demo_keys(self.demo_keys, self.environment).trust_root
            rules = EnvironmentRules(
                environment=self.environment,
                approval="rule" if self.approval == "rule" else "people",
                signature=self.signature or ("optional" if self.approval == "rule" else "required"),
                trust_roots=tuple(roots),
                rehearsal=self.rehearsal,
                tiers=self.tiers or default_tiers(),
            )
            return Gate(rules, roots)
        except KeyFileError as error:
            raise ConfigError(f"trustRoots: {error}") from None
        except ValidationError as error:
            raise ConfigError("; ".join(str(one["msg"]) for one in error.errors())) from None


def read(path: str | Path) -> ControlConfig:
    """Read control.json.

    Raises:
        ConfigError: with the file, the key and what is allowed; never with a value, which may be a secret.
    """
    try:
        return ControlConfig.model_validate(load(path))
    except ValidationError as error:
        lines = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()]
        raise ConfigError(f"{path}: " + "; ".join(lines)) from None
