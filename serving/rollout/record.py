"""What all values of the rollout have in common: frozen, camelCase in JSON, unknown keys refused.

Changes make a copy. A copy of values that the machine computed itself is not validated again; what comes from outside
(settings, persisted state) is.
"""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Value(BaseModel):
    """Base of settings, observations, state and effects."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        protected_namespaces=(),
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data with the names of the wire."""
        return self.model_dump(mode="json", by_alias=True)

    def but(self, **changes: object) -> Self:
        """Return a copy with other values for some fields, by their Python names."""
        return self.model_copy(update=changes)
