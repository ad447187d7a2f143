"""A release reaches people step by step, is watched, and goes back by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from policies.facts import EnvironmentKind
from policies.manifests import RELEASE
from policies.plan import Resource
from policies.rule import PRODUCTION_ONLY, Answer, Problem, World, resource_rule

GRADUAL: Final = ("canary", "blue-green", "shadow")
FIRST_SHARE: Final = 25
"""Per cent of the traffic that a canary may get at first."""
BAKE_MINUTES: Final[Mapping[EnvironmentKind, float]] = {"prod": 10, "staging": 5}
"""Minutes that the version before stays warm, at least; the controller takes ten where a strategy states none."""
LAXEST: Final[Mapping[tuple[str, str], float]] = {
    ("limits", "failureRate"): 0.05,
    ("limits", "toleratedRate"): 0.01,
    ("limits", "toleratedRatio"): 2.0,
    ("limits", "latencyRatio"): 2.0,
    ("limits", "wrongRatio"): 1.25,
    ("after", "failureRatio"): 3.0,
    ("after", "latencyRatio"): 3.0,
    ("after", "qualityDrop"): 0.15,
    ("deadlines", "silence"): 60.0,
    ("deadlines", "absent"): 1800.0,
}
"""Above these the analysis calls a candidate healthy that users would not; what is not stated is below them."""
LEAST: Final[Mapping[tuple[str, str], float]] = {("evidence", "requests"): 50, ("evidence", "smoke"): 10}
"""Below these nothing can be told of a candidate."""
_LEVELS: Final = {**PRODUCTION_ONLY, "staging": "mandatory"}


@resource_rule(
    id="rollback.release-gradual",
    title="Releases use canary, blue-green or shadow, and the version before stays warm while the new one is watched",
    severity="high",
    why="All at once, everybody meets a bad version before anything can be seen of it.",
    fix="state `strategy: {kind: canary}` for the model, with steps that begin small and a bake time",
    references=("EU AI Act Art. 9", "NIST AI RMF MANAGE 2.4", "NIST AI RMF MANAGE 4.1", "ISO/IEC 42001 A.6.2.5"),
    types=(RELEASE,),
    levels=_LEVELS,
)
def release_gradual(release: Resource, world: World) -> Iterator[Answer]:
    """Look at the kind of the strategy, at its steps and at its bake time."""
    strategy: Any = release.value("strategy", default={})
    key, kind = f"models.{release.value('model')}.strategy", strategy.get("kind", "all-at-once")
    if kind not in GRADUAL:
        yield Problem(
            f"the strategy is {kind}, it must be one of {', '.join(GRADUAL)}", "", "strategy.kind", f"{key}.kind"
        )
        return
    steps = strategy.get("steps") or ()
    opening: Mapping[str, Any] = next(iter(steps), {})
    first = opening.get("weight") or FIRST_SHARE
    if kind == "canary" and first > FIRST_SHARE:
        yield Problem(
            f"the first step gives the candidate {first} % of the traffic, {FIRST_SHARE} % at most",
            path="strategy.steps[0].weight",
            setting=f"{key}.steps",
        )
    for index, step in enumerate(steps if kind != "blue-green" else ()):
        if not (step.get("minutes") or step.get("requests") or step.get("gate")):
            yield Problem(
                f"step {index + 1} ends at once: it states neither minutes, nor requests, nor a gate",
                path=f"strategy.steps[{index}]",
                setting=f"{key}.steps",
            )
    bake, least = strategy.get("bakeMinutes"), BAKE_MINUTES.get(world.facts.environment)
    if strategy.get("then") != "stop" and bake is not None and least is not None and bake < least:
        yield Problem(
            f"the version before stays warm for {bake} minutes, at least {least:g} are asked for",
            path="strategy.bakeMinutes",
            setting=f"{key}.bakeMinutes",
        )


@resource_rule(
    id="rollback.release-watched",
    title="A rollout is judged by limits that mean something, and goes back by itself, then and afterwards",
    severity="high",
    why="A rollback that waits for a person to see a graph takes an hour of wrong decisions.",
    fix="leave out what loosens the analysis, and leave `after.action: rollback` and `inference.rollout.wait` on",
    references=("EU AI Act Art. 15", "NIST AI RMF MANAGE 2.4", "NIST AI RMF MANAGE 4.1", "SR 26-2"),
    types=(RELEASE,),
    levels=_LEVELS,
)
def release_watched(release: Resource, _: World) -> Iterator[Answer]:
    """Compare what the strategy states with the laxest that is allowed."""
    strategy: Any = release.value("strategy", default={})
    key = f"models.{release.value('model')}.strategy"
    for bounds, above in ((LAXEST, True), (LEAST, False)):
        for (section, name), bound in bounds.items():
            found = (strategy.get(section) or {}).get(name)
            if found is not None and (found > bound if above else found < bound):
                yield Problem(
                    f"{section}.{name} is {found:g}, it must be at {'most' if above else 'least'} {bound:g}",
                    path=f"strategy.{section}.{name}",
                    setting=f"{key}.{section}.{name}",
                )
    action = (strategy.get("after") or {}).get("action", "rollback")
    if action != "rollback":
        yield Problem(
            f"after promotion the action is {action!r}, it must be 'rollback'",
            path="strategy.after.action",
            setting=f"{key}.after.action",
        )
    if release.value("wait", default=True) is not True:
        yield Problem(
            "`up` does not wait for the rollout, so that a rollback does not fail it",
            path="wait",
            setting="inference.rollout.wait",
        )
