"""Who answers for a resource: the five marks that everything carries which can carry them.

On AWS they are tags; on Kubernetes labels under `mlops/`, whose values allow fewer characters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from policies.facts import Facts

MARKS: Final = ("owner", "client", "environment", "cost-center", "data-class")
"""Names of the tags."""
_STATED: Final[Mapping[str, tuple[str, ...]]] = {
    "owner": ("aws", "governance", "owner"),
    "environment": ("environment",),
    "cost-center": ("aws", "governance", "costCenter"),
    "data-class": ("aws", "governance", "dataClass"),
}


def stated(facts: Facts) -> Mapping[str, str | None]:
    """Return the value that each mark has in an environment; None where its settings do not say."""
    found = {mark: facts.setting(*path) for mark, path in _STATED.items()}
    return {mark: facts.client if mark == "client" else found[mark] for mark in MARKS}


def label(mark: str) -> str:
    """Return the name of a mark as a label."""
    return f"mlops/{mark}"


def label_value(value: str) -> str:
    """Return a value as a label may have it: at most 63 letters, digits, `-`, `_` and `.`, ending in no mark.

    Kubernetes, "Labels and Selectors", syntax and character set.
    """
    return re.sub(r"[^A-Za-z0-9_.-]", "-", value)[:63].strip("-_.")


def labels(values: Mapping[str, str]) -> dict[str, str]:
    """Return the marks among some values as labels."""
    return {label(mark): label_value(values[mark]) for mark in MARKS if mark in values}
