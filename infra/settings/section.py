"""What all sections of the settings share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Section(BaseModel):
    """What all sections share: frozen, unknown keys refused, keys in camel case."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=False,
        validate_by_alias=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


def listed(value: object) -> object:
    """Settings name sequences as lists; tuples are only how a frozen value holds them."""
    return tuple(value) if isinstance(value, list) else value
