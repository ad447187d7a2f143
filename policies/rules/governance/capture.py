"""What production predicts is recorded, where it outlives the process that predicted it, and long enough."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from policies.plan import Resource
from policies.pods import pods_of
from policies.rule import PRODUCTION_ONLY, Answer, Problem, World, resource_rule

DAYS: Final = 183
"""Days that logs of a system of high risk are kept: at least six months, EU AI Act Art. 19 and Art. 26(6)."""
_DOCUMENT: Final = "mlops/serving.json"


@resource_rule(
    id="governance.capture-on",
    title="Production records what it was asked and what it answered",
    severity="high",
    why="Drift, quality, complaints and incidents are judged by what was predicted; what was not recorded is gone.",
    fix="leave `inference.capture.enabled` on, and keep captures for `inference.capture.retentionDays`",
    references=(
        "EU AI Act Art. 12", "EU AI Act Art. 19", "EU AI Act Art. 26", "NIST AI RMF MEASURE 2.4", "SR 26-2",
        "ISO/IEC 42001 A.6.2.8",
    ),
    types=("kubernetes:ray.io/v1:RayService",),
    levels={**PRODUCTION_ONLY, "staging": "mandatory"},
)  # fmt: skip
def capture_on(service: Resource, world: World) -> Iterator[Answer]:
    """Read the configuration of replicas, which lies in an annotation of their pods."""
    for pods in pods_of(service):
        if pods.group == "head":  # it starts no replicas
            continue
        path = (*pods.path, "metadata", "annotations", _DOCUMENT)
        text = service.value(*path, default="")
        capture: Any = json.loads(text).get("capture") if text else None
        shown = f"{pods.title}: mlops/serving.json, capture"
        if not isinstance(capture, Mapping):
            yield Problem(f"{pods.title}: there is no configuration of capture", path=_DOCUMENT)
            continue
        if capture.get("enabled") is not True:
            yield Problem(
                f"{shown}.enabled is {str(capture.get('enabled')).lower()}, it must be true",
                path=_DOCUMENT,
                setting="inference.capture.enabled",
            )
            continue
        if not str(capture.get("store") or "").startswith("s3://"):
            yield Problem(f"{shown}.store names no bucket: captures end with the pod that wrote them", path=_DOCUMENT)
        days = capture.get("retentionDays") or 0
        if world.facts.environment == "prod" and days < DAYS:
            yield Problem(
                f"{shown}.retentionDays is {days}, it must be at least {DAYS}",
                path=_DOCUMENT,
                setting="inference.capture.retentionDays",
            )
