"""control.json: the settings of the control plane."""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from serving.config import ConfigError


class ControlConfig(BaseModel):
    """The whole file. `database` is an SQLAlchemy address, `snapshot` the path that replicas read."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(8090, ge=1, le=65535)
    database: str
    snapshot: Path
    snapshot_key: str = Field(repr=False, min_length=16)
    admin_token: str = Field(repr=False, min_length=16)
    replica_token: str = Field(repr=False, min_length=16)
    rollout_timeout_seconds: float = Field(600, gt=0)


def read(path: str | Path) -> ControlConfig:
    """Read control.json.

    Raises:
        ConfigError: with the file, the key and what is allowed; never with a value, which may be a secret.
    """
    try:
        return ControlConfig.model_validate(json.loads(Path(path).read_bytes()))
    except (OSError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    except ValidationError as error:
        lines = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()]
        raise ConfigError(f"{path}: " + "; ".join(lines)) from None
