"""serving.json: the settings of the actuator and of every replica, read by path so that no secret enters Ray.

Written by the platform; unknown keys are errors, because a misspelt limit would otherwise be no limit.
"""

import hashlib
import hmac
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

SECRET_FILE = "secretFile"  # noqa: S105 - the name of a key
"""The only key of an object that stands for a secret in a settings file, see `load`."""


class ConfigError(Exception):
    """The file is missing or wrong; the message names file and key."""


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class RaySettings(_Model):
    """Where the Ray cluster is: `address` as host:port of its GCS, and its token."""

    address: str
    token: str | None = Field(None, repr=False)


class HttpSettings(_Model):
    """Where predictions are served."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)


class ControlSettings(_Model):
    """The control plane, and the token of replicas."""

    url: str
    token: str = Field(repr=False)


class RegistrySettings(_Model):
    """The MLflow server that artifacts are fetched from."""

    url: str
    username: str | None = None
    password: str | None = Field(None, repr=False)


class TrustRootSettings(_Model):
    """A trust root: its name, and its file of allowed signers. A replica reads it anew for each model that it loads."""

    name: str = Field(min_length=1)
    path: Path


class TrustSettings(_Model):
    """Whose signatures make an artifact loadable. The registry and the controller have no say in it.

    Where nothing is stated a signature is required and nobody is trusted. `signature: optional` lets artifacts without
    one be loaded; a bad one never is. `rehearsal` says that this environment is one, see `policies.releases.keys`.
    """

    signature: Literal["required", "optional"] = "required"
    roots: tuple[TrustRootSettings, ...] = ()
    rehearsal: bool = False


class ReplicaSettings(_Model):
    """How many replicas a group has: fixed where `min` = `max`, else by ongoing requests per replica."""

    min: int = Field(1, ge=1)
    max: int = Field(1, ge=1)
    target_ongoing: float = Field(32, gt=0)
    upscale_delay_seconds: float = Field(10, ge=0)
    downscale_delay_seconds: float = Field(300, ge=0)
    cpus: float = Field(1, ge=0)
    memory_mb: int | None = Field(None, ge=64)


class GroupSettings(_Model):
    """One serving group: its name, its route prefix and its replicas."""

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63)
    route: str = Field(pattern=r"^/v2(/models/[A-Za-z0-9._-]+)?$")
    replicas: ReplicaSettings = ReplicaSettings()

    @property
    def own_model(self) -> str | None:
        """The model that has this group to itself; None for the shared group."""
        return self.route.removeprefix("/v2/models/") if self.route != "/v2" else None


class FeatureSettings(_Model):
    """The online feature store. A lookup may take `deadline_ms`."""

    url: str
    deadline_ms: float = Field(100, gt=0)
    token: str | None = Field(None, repr=False)


class CaptureSettings(_Model):
    """What is kept of requests, see serving.capture."""

    enabled: bool = True
    directory: Path
    rotate_seconds: float = Field(60, gt=0)
    rotate_rows: int = Field(50_000, ge=1)
    retention_days: int = Field(30, ge=1)
    queue_rows: int = Field(100_000, ge=1)
    store: str | None = Field(None, pattern=r"^(s3|file)://\S+$")


class LimitSettings(_Model):
    """Bounds of one request. A candidate that has not answered after `candidate_seconds` is passed over for stable."""

    max_body_bytes: int = Field(8 * 1024 * 1024, ge=1024)
    max_rows: int = Field(10_000, ge=1)
    request_seconds: float = Field(10, gt=0)
    candidate_seconds: float = Field(1, gt=0)
    max_pending: int = Field(1024, ge=1)


class BatchingSettings(_Model):
    """Micro-batches: at most `max_rows`; under load wait up to `wait_ms` for more (0: never)."""

    max_rows: int = Field(64, ge=1)
    wait_ms: float = Field(0, ge=0)


class Settings(_Model):
    """The whole file."""

    ray: RaySettings
    http: HttpSettings = HttpSettings()
    control: ControlSettings
    registry: RegistrySettings
    trust: TrustSettings = TrustSettings()
    inference_token: str | None = Field(None, repr=False)
    snapshot: Path
    snapshot_key: str = Field(repr=False, min_length=16)
    model_cache: Path
    groups: Sequence[GroupSettings] = Field(min_length=1)
    groups_declared: bool = False
    """Whether the cluster's own configuration (a RayService) deploys the groups, so that the actuator must not."""
    features: FeatureSettings | None = None
    capture: CaptureSettings | None = None
    limits: LimitSettings = LimitSettings()
    batching: BatchingSettings = BatchingSettings()

    def group(self, name: str) -> GroupSettings:
        """Return a group by name.

        Raises:
            ConfigError: there is none.
        """
        for group in self.groups:
            if group.name == name:
                return group
        raise ConfigError(f"groups: there is no {name!r}")

    def fingerprint(self) -> str:
        """Name what replicas depend on, so that they restart when it changes and only then.

        Keyed, because the result is shown in Ray's dashboard and the settings hold secrets.
        """
        content = self.model_dump_json(exclude={"groups", "groups_declared", "ray", "http"}).encode()
        return hmac.new(self.snapshot_key.encode(), content, hashlib.sha256).hexdigest()[:12]


def load(path: str | Path) -> Any:
    """Read a settings file; where it says `{"secretFile": PATH}` the value is the text of that file without line end.

    So the file itself may lie in the open (a ConfigMap, an annotation) while secrets are mounted.

    Raises:
        ConfigError: it or a secret's file can't be read, or it is not JSON.
    """
    try:
        return _opened(json.loads(Path(path).read_bytes()))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _opened(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {SECRET_FILE}:
            return Path(value[SECRET_FILE]).read_text("utf-8").rstrip("\r\n")
        return {key: _opened(member) for key, member in value.items()}
    return [_opened(member) for member in value] if isinstance(value, list) else value


def read(path: str | Path) -> Settings:
    """Read serving.json.

    Raises:
        ConfigError: with the file, the key and what is allowed; never with a value, which may be a secret.
    """
    data = load(path)
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        lines = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()]
        raise ConfigError(f"{path}: " + "; ".join(lines)) from None
    for group in settings.groups:
        if group.replicas.max < group.replicas.min:
            raise ConfigError(f"{path}: groups {group.name!r}: replicas.max is less than replicas.min")
    for key in ("name", "route"):
        values = [getattr(group, key) for group in settings.groups]
        for value in values:
            if values.count(value) > 1:
                raise ConfigError(f"{path}: groups: the {key} {value!r} is used twice")
    return settings
