"""The foundation of an environment: what stands before any model is there, whatever the target."""

from __future__ import annotations

from dataclasses import dataclass

from components.cluster import Cluster
from components.feature_store import FeatureStore
from components.governance import Governance
from components.inference import Inference
from components.monitoring import Monitoring
from components.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Foundation:
    """One component for each capability."""

    cluster: Cluster
    registry: Registry
    feature_store: FeatureStore
    inference: Inference
    monitoring: Monitoring
    governance: Governance
