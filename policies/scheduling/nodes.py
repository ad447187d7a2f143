"""What a node of an instance type has left for pods.

`instances.csv` holds figures of EC2's DescribeInstanceTypes (vCPUs, memory, GPUs, architecture) for the families that
platforms of this kind run on. Of the memory a hypervisor keeps a part that nobody documents: 7.5 % is what Karpenter
assumes (`--vm-memory-overhead-percent`). What the kubelet reserves is the EKS nodes' formula (Amazon EKS user guide,
"reserved resources"; the node's bootstrap computes it): 255 MiB + 11 MiB a pod, and 100 MiB before pods are evicted; of
the CPUs 6 % of the first, 1 % of the second, 0.5 % of the third and fourth, 0.25 % of the rest.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PODS = 110
"""Pods of a node with prefix delegation, as our node classes set it."""
HYPERVISOR_SHARE = 0.075
_TABLE = Path(__file__).with_name("instances.csv")


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """CPUs, memory in MiB, and GPUs."""

    cpus: float
    memory_mib: float
    gpus: int = 0

    def minus(self, other: Capacity) -> Capacity:
        """What is left; may be negative."""
        return Capacity(
            cpus=self.cpus - other.cpus,
            memory_mib=self.memory_mib - other.memory_mib,
            gpus=self.gpus - other.gpus,
        )

    def times(self, count: int) -> Capacity:
        """The same several times."""
        return Capacity(cpus=self.cpus * count, memory_mib=self.memory_mib * count, gpus=self.gpus * count)

    def holds(self, other: Capacity) -> bool:
        """Whether the other fits into it."""
        return self.cpus >= other.cpus and self.memory_mib >= other.memory_mib and self.gpus >= other.gpus


DAEMONS = Capacity(cpus=0.3, memory_mib=512)
"""What the daemon sets of a node ask for: the network's agent, kube-proxy, volumes, identities, metrics of the node."""


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One instance type."""

    type: str
    size: Capacity
    gpu_name: str | None
    architecture: str

    @property
    def allocatable(self) -> Capacity:
        """What is left for pods, those of daemon sets included."""
        memory = self.size.memory_mib * (1 - HYPERVISOR_SHARE) - (255 + 11 * PODS) - 100
        return Capacity(cpus=self.size.cpus - _reserved(self.size.cpus), memory_mib=memory, gpus=self.size.gpus)


def _reserved(cpus: float) -> float:
    steps = ((1, 0.06), (1, 0.01), (2, 0.005), (float("inf"), 0.0025))
    kept, left = 0.0, cpus
    for width, share in steps:
        kept += min(width, left) * share
        left = max(left - width, 0)
    return kept


@cache
def instances() -> dict[str, Instance]:
    """Every instance type of the table by its name."""
    with _TABLE.open(encoding="utf-8", newline="") as file:
        return {
            row["type"]: Instance(
                type=row["type"],
                size=Capacity(cpus=float(row["vcpus"]), memory_mib=float(row["memory_mib"]), gpus=int(row["gpus"])),
                gpu_name=row["gpu_name"] or None,
                architecture=row["architecture"],
            )
            for row in csv.DictReader(file)
        }
