"""What pods of charts ask for, and what every node gives to daemon sets: at most, for the check whether all of it fits.

What our own servers ask for stands with them.
"""

from __future__ import annotations

from policies.scheduling.nodes import Capacity

OPERATOR = Capacity(cpus=0.25, memory_mib=768)
"""The largest of the pods on the system nodes (Karpenter, DNS, operators)."""
PROMETHEUS = Capacity(cpus=1, memory_mib=4096)
"""Prometheus."""
