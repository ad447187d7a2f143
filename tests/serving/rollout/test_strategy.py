"""The settings of a rollout: what is refused, and that every kind becomes a list of steps."""

import pytest
from pydantic import ValidationError

from serving.rollout.strategy import Budget, Step, Strategy


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kind": "all-at-once", "steps": [{"weight": 5}]}, "takes no steps"),
        ({"kind": "canary", "steps": [{"weight": 25}, {"weight": 5}]}, "must not fall"),
        ({"kind": "canary", "steps": [{"minutes": 5}]}, "weight above 0"),
        ({"kind": "canary", "steps": [{"weight": 100}]}, "nothing to compare with"),
        ({"kind": "shadow", "steps": [{"weight": 5}]}, "weight 0"),
        ({"kind": "blue-green", "steps": [{"weight": 5}]}, "weight 0"),
        ({"kind": "canary", "bakeMinute": 3}, "Extra inputs"),
        ({"kind": "canary", "budget": {"history": 0.2}}, "adds up to"),
        ({"kind": "rolling"}, "Input should be"),
    ],
)
def test_a_strategy_that_makes_no_sense_is_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Strategy.model_validate(settings)


def test_the_wire_uses_camel_case_and_comes_back_the_same() -> None:
    strategy = Strategy(kind="canary", steps=(Step(weight=5, minutes=2),), bake_minutes=3)
    assert strategy.to_json()["bakeMinutes"] == 3
    assert Strategy.model_validate(strategy.to_json()) == strategy


@pytest.mark.parametrize("kind", ["canary", "blue-green", "shadow", "ab"])
def test_every_gradual_kind_has_steps_of_its_own(kind: str) -> None:
    assert Strategy.model_validate({"kind": kind}).plan()


def test_all_at_once_has_no_steps() -> None:
    assert Strategy().plan() == ()


def test_a_final_gate_is_a_gate_at_the_last_step() -> None:
    assert [step.gate for step in Strategy(kind="canary", then="gate").plan()] == [False, False, True]


def test_the_default_budget_of_false_rollbacks_is_within_one_per_cent() -> None:
    assert Budget().total == pytest.approx(0.01)
