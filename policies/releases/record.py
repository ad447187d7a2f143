"""What the records of a release have in common: frozen, strict, camelCase on the wire, canonical bytes.

Names are snake_case in Python and camelCase in JSON and YAML, as everywhere outside of Python in this project.
"""

import json
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
# The name of a model is part of URLs, folders and metric labels.
ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]


def _with_zone(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("needs a time zone, for example 2026-11-02T10:00:00Z")
    return value


# A time without a zone means something else on each machine.
Time = Annotated[datetime, AfterValidator(_with_zone)]


class Record(BaseModel):
    """Base of all records: immutable, and an unknown key is an error instead of a lost statement."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        validate_default=True,
        # Not a method namespace here: a record has the field `model`.
        protected_namespaces=(),
    )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data with the names of the wire; absent optional values are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def canonical(data: Any) -> bytes:
    """Return the one form of JSON `data` that digests and signatures are made over.

    Keys sorted, no spaces, UTF-8, no NaN: two writers of the same data give the same bytes.

    Raises:
        ValueError: the data holds NaN or infinity, which JSON does not have.
    """
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
