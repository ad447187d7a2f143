"""Namespaces of an environment and what their pods may ask for together. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from components.cluster.placement import NodePoolArgs

Level = Literal["restricted", "baseline", "privileged"]

LEVELS: Mapping[str, Level] = {
    "serving": "restricted",
    "training": "restricted",
    "registry": "restricted",
    "feature-store": "restricted",
    "runner": "restricted",
    # Charts of others, whose pods no rehearsal can judge: no host access, but their own users and profiles.
    "platform": "baseline",
    # Prometheus' node exporter reads the node's own files and network.
    "monitoring": "privileged",
}
"""Namespaces, each with the level of Pod Security that it enforces."""


@dataclass(frozen=True, kw_only=True)
class Quota:
    """CPUs, memory in GiB, and GPUs."""

    cpus: float
    memory_gib: float
    gpus: int = 0

    def document(self) -> dict[str, str]:
        """As the `hard` limits of a ResourceQuota."""
        return {
            "requests.cpu": f"{self.cpus:g}",
            "requests.memory": f"{self.memory_gib:g}Gi",
            "requests.nvidia.com/gpu": str(self.gpus),
        }


FIXED: Mapping[str, Quota] = {
    "registry": Quota(cpus=12, memory_gib=48),
    "feature-store": Quota(cpus=24, memory_gib=96),
    "monitoring": Quota(cpus=16, memory_gib=64),
    "platform": Quota(cpus=16, memory_gib=32),
    "runner": Quota(cpus=8, memory_gib=32),
}
"""Of namespaces whose demand no setting changes much."""


def quotas(pools: Sequence[NodePoolArgs], *, serving: frozenset[str], training: frozenset[str]) -> dict[str, Quota]:
    """Quota of every namespace.

    Serving and training may fill the pools that they run in, and use those that everybody may besides (the head of a
    Ray cluster, the controller of the rollouts).

    Args:
        pools: the pools.
        serving: names of those that serving's workers run in.
        training: names of those that training runs in.
    """
    shared = frozenset(pool.name for pool in pools if not pool.taints) - serving - training

    def together(names: frozenset[str]) -> Quota:
        found = [pool for pool in pools if pool.name in names]
        return Quota(
            cpus=sum(pool.cpus for pool in found),
            memory_gib=sum(pool.memory_gib for pool in found),
            gpus=sum(pool.gpus for pool in found),
        )

    return {**FIXED, "serving": together(serving | shared), "training": together(training | shared)}
