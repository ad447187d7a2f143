"""What neither a definition's schema nor the API server notices, and a controller would refuse later, or worse.

The rules are those of KubeRay 1.6's own validation, which its operator applies to what the API server has accepted.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from infra.provider.codec import Properties, Unknown, is_known, plain
from infra.rehearsal.properties import at

UPGRADES = ("NewCluster", "NewClusterWithIncrementalUpgrade", "None")
_NAME_LIMITS = {"RayCluster": 53, "RayJob": 47, "RayService": 47}
_CLUSTERS = {"RayCluster": ("spec",), "RayJob": ("spec", "rayClusterSpec"), "RayService": ("spec", "rayClusterConfig")}
_SERVE_SECONDS = 120.0

_SERVE_SCHEMA = Path(__file__).with_name("serve_schema.py")
_REFUSED = 3


def problems(api_version: str, kind: str, inputs: Properties) -> list[str]:
    """Return what is wrong with an object, one reason each. Unknown values are left for the next look."""
    if api_version.partition("/")[0] != "ray.io" or kind not in _CLUSTERS:
        return []
    found = list(_name(kind, inputs))
    found += _cluster(kind, inputs)
    if kind == "RayService":
        found += _upgrade(inputs)
        found += _serve(at(inputs, ("spec", "serveConfigV2")))
    return found


def _name(kind: str, inputs: Properties) -> Iterator[str]:
    name, limit = at(inputs, ("metadata", "name")), _NAME_LIMITS[kind]
    if not isinstance(name, str):
        return
    if len(name) > limit:
        yield f"metadata.name: {name} has {len(name)} characters; KubeRay takes at most {limit} for a {kind}"
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
        yield f"metadata.name: {name} must begin with a letter and hold only a-z, 0-9 and - (it names a Service)"


def _cluster(kind: str, inputs: Properties) -> Iterator[str]:
    path = _CLUSTERS[kind]
    groups = at(inputs, (*path, "workerGroupSpecs"))
    names: list[str] = []
    for index, each in enumerate(groups if isinstance(groups, list) else []):
        group = plain(each)
        if not isinstance(group, dict):
            continue
        where = f"{'.'.join(path)}.workerGroupSpecs[{index}]"
        low, count, high = (group.get(key) for key in ("minReplicas", "replicas", "maxReplicas"))
        if _exceeds(low, high):
            yield f"{where}: minReplicas {low} is more than maxReplicas {high}"
        elif _exceeds(low, count) or _exceeds(count, high):
            yield f"{where}: replicas {count} is not between minReplicas {low} and maxReplicas {high}"
        if group.get("groupName") in names:
            yield f"{where}.groupName: {group['groupName']} is the name of another group, too"
        names += [group["groupName"]] if isinstance(group.get("groupName"), str) else []


def _exceeds(low: Any, high: Any) -> bool:
    return isinstance(low, int) and isinstance(high, int) and low > high


def _upgrade(inputs: Properties) -> Iterator[str]:
    strategy = plain(at(inputs, ("spec", "upgradeStrategy")))
    if not isinstance(strategy, dict):
        return
    kind = strategy.get("type")
    if isinstance(kind, Unknown) or kind is None:
        return
    if kind not in UPGRADES:
        yield f"spec.upgradeStrategy.type: {kind} is none of {', '.join(UPGRADES)}"
    if kind != "NewClusterWithIncrementalUpgrade":
        return
    if at(inputs, ("spec", "rayClusterConfig", "enableInTreeAutoscaling")) in (None, False):
        yield "spec.rayClusterConfig.enableInTreeAutoscaling: an incremental upgrade needs it"
    options = strategy.get("clusterUpgradeOptions")
    if options is None:
        yield "spec.upgradeStrategy.clusterUpgradeOptions: an incremental upgrade needs them"
    elif isinstance(options, dict):
        limits: tuple[tuple[str, Callable[[int], bool], str], ...] = (
            ("maxSurgePercent", lambda value: 0 <= value <= 100, "between 0 and 100"),
            ("stepSizePercent", lambda value: 0 <= value <= 100, "between 0 and 100"),
            ("intervalSeconds", lambda value: value > 0, "more than 0"),
        )
        for key, fits, allowed in limits:
            value = options.get(key)
            if isinstance(value, int) and not fits(value):
                yield f"spec.upgradeStrategy.clusterUpgradeOptions.{key}: {value} is not {allowed}"
        if not options.get("gatewayClassName"):
            yield "spec.upgradeStrategy.clusterUpgradeOptions.gatewayClassName: an incremental upgrade needs it"


def _serve(config: Any) -> list[str]:
    """Ask Ray's own schema, in a process of its own."""
    text = plain(config)
    if text is None or not is_known(text):
        return []
    if not isinstance(text, str):
        return ["spec.serveConfigV2: must be text in YAML form"]
    done = subprocess.run(
        [sys.executable, str(_SERVE_SCHEMA)],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SERVE_SECONDS,
    )
    if done.returncode == _REFUSED:
        return [f"spec.serveConfigV2: {line}" for line in done.stdout.splitlines()]
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return [f"spec.serveConfigV2: can't be judged, since Ray's schema can't be loaded ({last})"]
    return []
