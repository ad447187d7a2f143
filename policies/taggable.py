"""Which AWS resource types carry tags, and whether the provider's default tags reach them.

The table is read off Pulumi's AWS SDK by `python -m infra.taggable --write`, since a policy pack that imported the SDK
would take gigabytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("taggable.csv")


@cache
def taggable() -> Mapping[str, bool]:
    """Return the type tokens that carry tags, each with whether default tags of the provider reach it."""
    found = {}
    for line in FILE.read_text("utf-8").splitlines()[1:]:
        token, _, reached = line.partition(",")
        found[token] = reached == "yes"
    return found
