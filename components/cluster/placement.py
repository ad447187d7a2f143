"""Where pods run: pools of nodes, their labels and taints, and what a pod says to get onto one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from policies.scheduling.preflight import GPU_TAINT

POOL_LABEL = "mlops/pool"
"""Label of every node: the pool that it belongs to."""
SPOT_TAINT = "mlops/spot"
"""Taint of Spot nodes, so that nothing gets onto them that must not lose its node."""
SYSTEM_TAINT = "CriticalAddonsOnly"
"""Taint of the system nodes; by custom it is tolerated by what clusters themselves run."""
SYSTEM_POOL = "system"
"""Value of the pool's label on the system nodes."""


@dataclass(frozen=True, kw_only=True)
class NodePoolArgs:
    """A pool that Karpenter fills and empties.

    Attributes:
        name: its name, which is the value of the label `mlops/pool` on its nodes.
        instance_types: what it may start.
        capacity: how it buys.
        cpus: its limit, vCPUs.
        memory_gib: its limit, GiB.
        gpus: its limit, GPUs; 0 for a pool without.
        gpu_name: GPU model of its instance types, as Karpenter names it.
        idle_seconds: a node that is empty or badly used is given back after this long.
    """

    name: str
    instance_types: Sequence[str]
    capacity: Literal["on-demand", "spot"]
    cpus: int
    memory_gib: int
    gpus: int = 0
    gpu_name: str | None = None
    idle_seconds: int = 120

    @property
    def taints(self) -> tuple[str, ...]:
        """Keys of the taints of its nodes."""
        return (*((GPU_TAINT,) if self.gpus else ()), *((SPOT_TAINT,) if self.capacity == "spot" else ()))


def placed(pool: NodePoolArgs) -> dict[str, Any]:
    """Part of a pod's specification that gets it onto a pool: `nodeSelector` and `tolerations`."""
    tolerations = [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in pool.taints]
    return {"nodeSelector": {POOL_LABEL: pool.name}, "tolerations": tolerations}
