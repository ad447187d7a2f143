"""How releases reach people: step by step, watched, and back by themselves."""

from typing import Any

import pytest

from policies.plan import Resource
from policies.rules.rollback.strategy import LAXEST, LEAST, release_gradual, release_watched
from policies.testing import admit, deny, undetermined, unknown
from tests.policies.rules.releases import release

CANARY = {"kind": "canary", "steps": [{"weight": 5, "minutes": 5}, {"weight": 50, "requests": 100}], "bakeMinutes": 10}


def by(strategy: Any, **changes: Any) -> Resource:
    return release({}, strategy=strategy, **changes)


@pytest.mark.parametrize(
    "strategy",
    [
        CANARY,
        {"kind": "canary"},
        {"kind": "canary", "steps": [{"weight": 25, "gate": True}]},
        {"kind": "blue-green", "steps": [{}]},
        {"kind": "shadow", "steps": [{"mirror": 100, "minutes": 30}], "bakeMinutes": 60},
        {"kind": "shadow", "then": "stop", "bakeMinutes": 0},
    ],
)
def test_gradual_strategies_are_admitted(strategy: Any) -> None:
    admit(release_gradual, by(strategy))


@pytest.mark.parametrize(
    ("strategy", "path", "says"),
    [
        ({"kind": "all-at-once"}, "strategy.kind", "the strategy is all-at-once"),
        ({"kind": "ab"}, "strategy.kind", "the strategy is ab"),
        ({}, "strategy.kind", "the strategy is all-at-once"),
        (None, "strategy.kind", "the strategy is all-at-once"),
        (CANARY | {"steps": [{"weight": 26, "minutes": 5}]}, "strategy.steps[0].weight", "26 % of the traffic, 25 %"),
        (CANARY | {"steps": [{"weight": 5}]}, "strategy.steps[0]", "step 1 ends at once"),
        (CANARY | {"bakeMinutes": 9}, "strategy.bakeMinutes", "9 minutes, at least 10"),
        (CANARY | {"bakeMinutes": 0}, "strategy.bakeMinutes", "0 minutes"),
    ],
)
def test_strategies_that_show_a_bad_version_to_everybody_are_denied(strategy: Any, path: str, says: str) -> None:
    deny(release_gradual, by(strategy), path=path, says=says)


def test_staging_bakes_half_as_long() -> None:
    admit(release_gradual, by(CANARY | {"bakeMinutes": 5}), environment="staging")
    deny(
        release_gradual,
        by(CANARY | {"bakeMinutes": 4}),
        environment="staging",
        setting="models.loans.strategy.bakeMinutes",
    )


def test_strategy_that_is_not_known_leaves_it_open() -> None:
    undetermined(release_gradual, by(unknown()), path="strategy")
    undetermined(release_watched, by(CANARY | {"limits": {"failureRate": unknown()}}))


def test_what_is_not_stated_is_strict_enough() -> None:
    admit(release_watched, by(CANARY), by({"kind": "canary"}, wait=None))


@pytest.mark.parametrize(("section", "name"), sorted(LAXEST))
def test_laxer_analysis_is_denied(section: str, name: str) -> None:
    bound = LAXEST[section, name]
    admit(release_watched, by(CANARY | {section: {name: bound}}))
    path = f"strategy.{section}.{name}"
    deny(
        release_watched,
        by(CANARY | {section: {name: bound * 1.01}}),
        path=path,
        setting=f"models.loans.{path}",
        says="at most",
    )


@pytest.mark.parametrize(("section", "name"), sorted(LEAST))
def test_less_evidence_is_denied(section: str, name: str) -> None:
    bound = LEAST[section, name]
    admit(release_watched, by(CANARY | {section: {name: bound}}))
    deny(release_watched, by(CANARY | {section: {name: bound - 1}}), path=f"strategy.{section}.{name}", says="at least")


def test_rollback_that_waits_for_a_person_is_denied() -> None:
    deny(release_watched, by(CANARY | {"after": {"action": "alert"}}), path="strategy.after.action")
    deny(release_watched, by(CANARY, wait=False), path="wait", setting="inference.rollout.wait")


def test_bounds_are_these() -> None:
    assert LAXEST == {
        ("limits", "failureRate"): 0.05, ("limits", "toleratedRate"): 0.01, ("limits", "toleratedRatio"): 2.0,
        ("limits", "latencyRatio"): 2.0, ("limits", "wrongRatio"): 1.25, ("after", "failureRatio"): 3.0,
        ("after", "latencyRatio"): 3.0, ("after", "qualityDrop"): 0.15, ("deadlines", "silence"): 60.0,
        ("deadlines", "absent"): 1800.0,
    }  # fmt: skip
    assert LEAST == {("evidence", "requests"): 50, ("evidence", "smoke"): 10}


def test_every_step_is_looked_at() -> None:
    steps = [{"weight": 5, "minutes": 5}, {"weight": 50}]
    deny(release_gradual, by(CANARY | {"steps": steps}), path="strategy.steps[1]", says="step 2 ends at once")


def test_other_environments_bake_as_they_like() -> None:
    admit(release_gradual, by(CANARY | {"bakeMinutes": 0}), environment="dev")
