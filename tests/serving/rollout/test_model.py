"""A model over several releases: one rollout at a time, the queue, the quarantine, the way back."""

from collections.abc import Callable

import pytest

from serving.rollout.analysis.counts import ArmCounts
from serving.rollout.effects import Message, Record
from serving.rollout.model import History, ModelState, Request, dump, lift, load, request
from serving.rollout.observation import Alarm, Command, Version
from serving.rollout.simulate import Behaviour, Past, World, run
from serving.rollout.strategy import AfterPromotion, Limits, Step, Strategy

Ask = Callable[..., ModelState]

QUICK = Strategy(kind="canary", steps=(Step(weight=10, minutes=1),), bake_minutes=1)


@pytest.fixture
def world(old: Version, new: Version, third: Version) -> World:
    """All three versions are healthy."""
    scene = World(truth={version.digest: Behaviour() for version in (old, new, third)})
    scene.serve(old.digest)
    return scene


def messages(past: Past) -> str:
    """All that the operator was told."""
    return "\n".join(effect.text for effect in past.effects if isinstance(effect, Message))


def settled(state: ModelState) -> bool:
    """Whether nothing is under way or waiting."""
    return state.active is None and state.queued is None and state.returning is None


def test_a_to_b_and_back_to_a_works(world: World, served: ModelState, asked: Ask, old: Version, new: Version) -> None:
    there = run(world, asked(served, new, QUICK), tick=5)
    assert there.state.stable == new
    back = run(world, asked(there.state, old, QUICK, "r2"), tick=5)
    assert back.state.stable == old
    assert back.phases[-1] == "promoted"


def test_asking_for_what_is_served_changes_nothing(served: ModelState, asked: Ask, old: Version) -> None:
    assert asked(served, old, QUICK) == served


def test_asking_again_for_what_is_on_its_way_changes_nothing(served: ModelState, asked: Ask, new: Version) -> None:
    once = asked(served, new, QUICK)
    assert asked(once, new, QUICK, "r2") == once


def test_a_second_request_replaces_the_first(
    world: World, served: ModelState, asked: Ask, new: Version, third: Version
) -> None:
    begun = run(world, asked(served, new, QUICK), seconds=40, tick=5)
    past = run(world, asked(begun.state, third, QUICK, "r2"), tick=5, until=settled)
    assert past.phases[0] == "superseded"
    assert past.state.stable == third
    assert not past.state.quarantine


def test_a_second_request_waits_where_the_strategy_says_so(
    world: World, served: ModelState, asked: Ask, new: Version, third: Version
) -> None:
    begun = run(world, asked(served, new, QUICK), seconds=40, tick=5)
    waiting = asked(begun.state, third, QUICK.but(on_conflict="queue"), "r2")
    past = run(world, waiting, tick=5, until=settled)
    assert past.phases.count("promoted") == 2
    assert past.state.proven[-2:] == (new, third)


def test_asking_for_stable_ends_what_is_on_its_way(
    world: World, served: ModelState, asked: Ask, old: Version, new: Version
) -> None:
    begun = run(world, asked(served, new, QUICK), seconds=40, tick=5)
    past = run(world, asked(begun.state, old, QUICK, "r2"), tick=5, until=settled)
    assert past.phases == ["superseded"]
    assert past.state.stable == old


def test_a_quarantined_digest_never_starts(world: World, served: ModelState, asked: Ask, new: Version) -> None:
    world.truth[new.digest] = Behaviour(errors=0.3)
    fallen = run(world, asked(served, new, QUICK), tick=5).state
    again, effects = request(fallen, Request(id="r2", candidate=new, strategy=QUICK, by="ada"))
    assert again.active is None
    assert [effect.kind for effect in effects if isinstance(effect, Record)] == ["model.refused"]
    assert any("Only a new approval" in effect.text for effect in effects if isinstance(effect, Message))


def test_a_digest_that_is_banned_while_it_waits_never_starts(
    world: World, served: ModelState, asked: Ask, new: Version
) -> None:
    world.truth[new.digest] = Behaviour(errors=0.3)
    begun = asked(served, new, QUICK)
    queued = begun.but(queued=Request(id="r2", candidate=new, strategy=QUICK, by="ada"))
    past = run(world, queued, tick=5, until=settled)
    assert past.phases.count("starting") == 1
    assert past.state.stable == served.stable


def test_a_new_approval_lifts_the_quarantine(world: World, served: ModelState, asked: Ask, new: Version) -> None:
    banned = served.but(quarantine={new.digest: "errors"})
    assert asked(banned, new, QUICK).active is None
    assert asked(lift(banned, new.digest), new, QUICK).active is not None


def promoted(world: World, served: ModelState, asked: Ask, new: Version, strategy: Strategy = QUICK) -> ModelState:
    """The new version serves and is watched."""
    past = run(world, asked(served, new, strategy), tick=5)
    assert past.state.stable == new
    return past.state


@pytest.mark.parametrize(
    ("turned", "says"), [(Behaviour(errors=0.2), "failures"), (Behaviour(latency_seconds=0.05), "latency")]
)
def test_a_version_that_goes_bad_after_promotion_is_replaced_by_the_last_baked_one(
    world: World, served: ModelState, asked: Ask, old: Version, new: Version, turned: Behaviour, says: str
) -> None:
    strategy = QUICK.but(limits=Limits(latency_seconds=0.04))
    state = promoted(world, served, asked, new, strategy)
    world.truth[new.digest] = turned
    past = run(world, state, until=lambda now: now.stable == old, seconds=60)
    assert past.state.stable == old
    assert past.stables[-1] == {old.digest}
    assert past.state.quarantine[new.digest].startswith(says)
    assert past.seconds <= 10


def test_a_version_that_gets_slower_under_load_is_told_about_and_stays(
    world: World, served: ModelState, asked: Ask, new: Version
) -> None:
    state = promoted(world, served, asked, new)
    world.truth[new.digest] = Behaviour(latency_seconds=0.05)
    past = run(world, state, until=lambda _now: False, seconds=60)
    assert past.state.stable == new
    assert not past.state.quarantine
    assert any(isinstance(effect, Message) and "slower than before" in effect.text for effect in past.effects)


def test_a_first_version_that_goes_bad_is_told_about_and_not_banned(
    world: World, served: ModelState, old: Version
) -> None:
    world.truth[old.digest] = Behaviour(errors=0.3)
    alone = served.but(proven=(old,), active=None)
    past = run(world, alone, until=lambda _now: False, seconds=120)
    assert past.state.stable == old
    assert not past.state.quarantine
    assert any(isinstance(effect, Message) and "still serving" in effect.text for effect in past.effects)


def test_accuracy_that_falls_by_the_configured_amount_rolls_back(
    world: World, served: ModelState, asked: Ask, old: Version, new: Version
) -> None:
    world.labels = 0.3
    strategy = QUICK.but(after=AfterPromotion(quality_drop=0.08, quality_days=0.02))
    state = promoted(world, served, asked, new, strategy)
    world.truth[new.digest] = Behaviour(wrong=0.23)
    quiet = run(world, state, until=lambda now: now.stable == old, seconds=3_000, tick=10)
    assert quiet.state.stable == new  # 0.80 → 0.77 is less than 8 %
    world.truth[new.digest] = Behaviour(wrong=0.30)
    past = run(world, quiet.state, until=lambda now: now.stable == old, seconds=6_000, tick=10)
    assert past.state.stable == old
    assert "accuracy fell" in past.state.quarantine[new.digest]


def test_alert_only_tells_once_and_keeps_serving(world: World, served: ModelState, asked: Ask, new: Version) -> None:
    state = promoted(world, served, asked, new, QUICK.but(after=AfterPromotion(action="alert")))
    world.truth[new.digest] = Behaviour(errors=0.2)
    past = run(world, state, until=lambda _now: False, seconds=60)
    assert past.state.stable == new
    assert messages(past).count("more requests fail than before") == 1


def test_without_an_approved_target_it_keeps_serving_and_says_so(
    world: World, served: ModelState, asked: Ask, new: Version
) -> None:
    state = promoted(world, served, asked, new)
    world.truth[new.digest] = Behaviour(errors=0.2)
    world.eligible = frozenset({new.digest})
    past = run(world, state, until=lambda _now: False, seconds=60)
    assert past.state.stable == new
    assert "no baked and approved version to go back to" in messages(past)


def test_a_healthy_served_version_is_left_alone(world: World, served: ModelState, asked: Ask, new: Version) -> None:
    state = promoted(world, served, asked, new)
    past = run(world, state, until=lambda _now: False, seconds=20_000, tick=10)
    assert past.state.stable == new
    assert not past.effects


def test_a_person_can_roll_back_after_promotion_without_a_ban(
    world: World, served: ModelState, asked: Ask, old: Version, new: Version
) -> None:
    state = promoted(world, served, asked, new)
    order = (Command(kind="rollback", by="ada", reason="the approval has expired"),)
    past = run(world, state, commands={0: order}, until=settled, seconds=60)
    past = run(world, past.state, until=lambda now: now.stable == old, seconds=60)
    assert past.state.stable == old
    assert not past.state.quarantine


def test_a_drift_alarm_after_promotion_rolls_back_where_it_says_so(
    world: World, served: ModelState, asked: Ask, old: Version, new: Version
) -> None:
    state = promoted(world, served, asked, new)
    world.alarms = lambda _second: (Alarm(kind="drift", digest=new.digest, reason="PSI 0.4", action="rollback"),)
    past = run(world, state, until=lambda now: now.stable == old, seconds=60)
    assert past.state.quarantine[new.digest] == "drift: PSI 0.4"


def test_a_failed_version_is_no_target_of_a_later_rollback(
    world: World, served: ModelState, asked: Ask, old: Version, new: Version, third: Version
) -> None:
    state = promoted(world, served, asked, new)
    world.truth[new.digest] = Behaviour(errors=0.2)
    state = run(world, state, until=lambda now: now.stable == old, seconds=60).state
    world.rate = 40
    state = run(world, asked(state, third, QUICK, "r2"), tick=5).state
    assert state.stable == third
    assert new not in state.proven


def test_the_state_of_a_model_survives_json(world: World, served: ModelState, asked: Ask, new: Version) -> None:
    for seconds in (5, 30, 100, 250):
        state = run(world, asked(served, new, QUICK), seconds=seconds, tick=5).state
        assert load(dump(state)) == state


def test_the_record_of_stable_forgets_what_is_old() -> None:
    record = History()
    for _ in range(100):
        record = record.plus(ArmCounts(requests=1_000, errors=1), 60)
    assert 20_000 <= record.counts.requests <= 40_000
