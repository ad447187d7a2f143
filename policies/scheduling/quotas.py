"""Quotas of EC2 that bound how many instances an account may run, in vCPUs (Service Quotas, service `ec2`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

GPU_QUOTAS: Final[Mapping[tuple[str, str], tuple[str, str]]] = {
    ("g", "on-demand"): ("L-DB2E81BA", "Running On-Demand G and VT instances"),
    ("g", "spot"): ("L-3819A6DF", "All G and VT Spot Instance Requests"),
    ("p", "on-demand"): ("L-417A185B", "Running On-Demand P instances"),
    ("p", "spot"): ("L-7212CCBC", "All P4, P3 and P2 Spot Instance Requests"),
}
"""Code and title by family and way of buying: a new account has none for GPUs."""
STANDARD_QUOTAS: Final[Mapping[str, tuple[str, str]]] = {
    "on-demand": ("L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances"),
    "spot": ("L-34B43A08", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests"),
}
_STANDARD: Final = frozenset("acdhimrtz")
_OWN: Final = frozenset({"dl", "hpc", "inf", "mac", "trn"})
"""Families with quotas of their own, though they begin like others."""
_FAMILY: Final = re.compile(r"^[a-z]+")


def quota_of(instance_type: str, capacity: str) -> tuple[str, str] | None:
    """Return code and title of the quota that an instance counts against; None for a family whose quota is not here.

    Args:
        instance_type: such as `g5.xlarge`.
        capacity: `on-demand` or `spot`.
    """
    family = _FAMILY.match(instance_type)
    if family is None or family[0] in _OWN:
        return None
    first = family[0][0]
    if first in _STANDARD:
        return STANDARD_QUOTAS.get(capacity)
    return GPU_QUOTAS.get((first, capacity))
