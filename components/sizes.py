"""What the platform's own pods ask for, and what every node gives to daemon sets. Pure.

One place, so that the check whether all of it fits (`infra/schedulability.py`) judges what is installed.
"""

from __future__ import annotations

from policies.scheduling.nodes import Capacity

DAEMONS = Capacity(cpus=0.3, memory_mib=512)
"""What the daemon sets of a node ask for: the network's agent, kube-proxy, volumes, identities, metrics of the node."""
OPERATOR = Capacity(cpus=0.25, memory_mib=768)
"""The largest of the pods on the system nodes (Karpenter, DNS, operators)."""
MLFLOW = Capacity(cpus=1, memory_mib=2048)
"""A server of the registry."""
FEATURES = Capacity(cpus=1, memory_mib=2048)
"""A server of online features."""
PROMETHEUS = Capacity(cpus=1, memory_mib=4096)
"""Prometheus."""
