"""The serving cluster is upgraded beside itself: a little traffic at a time, and back by the same way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from policies.plan import Resource
from policies.rule import EVERYWHERE_ON_AWS, Answer, Problem, World, plan_rule, resource_rule

INCREMENTAL: Final = "NewClusterWithIncrementalUpgrade"
_SERVICE: Final = "kubernetes:ray.io/v1:RayService"
_CHART: Final = "kubernetes:helm.sh/v3:Release"
_FEATURE: Final = "RayServiceIncrementalUpgrade"
_RANGES: Final = (
    # The new cluster grows by this share at a time; KubeRay takes 0 to 100, and 0 never ends.
    ("maxSurgePercent", 1, 100),
    # More than a quarter of the traffic at a time is no step.
    ("stepSizePercent", 1, 25),
    # Faster than the first failed requests can be seen it is no step either; slower than an hour it never ends.
    ("intervalSeconds", 10, 3600),
)
_OPTIONS: Final = ("spec", "upgradeStrategy", "clusterUpgradeOptions")


@resource_rule(
    id="rollback.ray-upgrade-incremental",
    title="Ray clusters that serve are upgraded incrementally, with surge and step in range",
    severity="high",
    why="A cluster that is replaced at once drops requests while the new one is not ready, and leaves no way back.",
    fix="leave the upgrade strategy incremental, and state `aws.inference.upgradeStep` and `upgradeSeconds` in range",
    references=("EU AI Act Art. 15", "NIST AI RMF MANAGE 2.4"),
    types=(_SERVICE,),
    levels=EVERYWHERE_ON_AWS,
)
def ray_upgrade_incremental(service: Resource, _: World) -> Iterator[Answer]:
    """Look at the kind of upgrade and at its numbers."""
    kind = service.value("spec", "upgradeStrategy", "type", default="NewCluster")
    if kind != INCREMENTAL:
        yield Problem(f"the upgrade is {kind}, it must be {INCREMENTAL}", path="spec.upgradeStrategy.type")
        return
    if not service.value(*_OPTIONS, "gatewayClassName", default=""):
        yield Problem("no gateway class divides the traffic", path=f"{'.'.join(_OPTIONS)}.gatewayClassName")
    found: dict[str, Any] = {name: service.value(*_OPTIONS, name) for name, _, _ in _RANGES}
    for name, least, most in _RANGES:
        value = found[name]
        if value is None or not least <= value <= most:
            yield Problem(
                f"{name} is {'not stated' if value is None else value}, it must be {least} to {most}",
                path=f"{'.'.join(_OPTIONS)}.{name}",
                setting="aws.inference.upgradeSeconds" if name == "intervalSeconds" else "aws.inference.upgradeStep",
            )
    surge, step = found["maxSurgePercent"], found["stepSizePercent"]
    if surge is not None and step is not None and step > surge:
        yield Problem(
            f"stepSizePercent ({step}) is above maxSurgePercent ({surge}): traffic would move to what is not there",
            path=f"{'.'.join(_OPTIONS)}.stepSizePercent",
            setting="aws.inference.upgradeStep",
        )


@plan_rule(
    id="rollback.ray-operator-can",
    title="The operator of Ray is told to upgrade incrementally",
    severity="high",
    why="Without its feature gate the operator refuses the strategy, or replaces the cluster at once.",
    fix=f"leave the feature gate {_FEATURE} on in the values of kuberay-operator",
    references=("EU AI Act Art. 15",),
    types=(_SERVICE,),
    levels=EVERYWHERE_ON_AWS,
)
def ray_operator_can(world: World) -> Iterator[Answer]:
    """Look for the operator's chart and for its feature gate."""
    operators = [one for one in world.plan.of(_CHART) if str(one.peek("chart")).endswith("kuberay-operator")]
    if not operators:
        yield Problem("the chart kuberay-operator is not in this stack")
    for operator in operators:
        gates = operator.value("values", "featureGates", default=())
        if not any(one.get("name") == _FEATURE and one.get("enabled") is True for one in gates):
            yield Problem(f"the feature gate {_FEATURE} is not on", urn=operator.urn, path="values.featureGates")
