"""What holds whatever happens: never two stables, and a killed controller ends where an undisturbed one does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.rollout import model
from serving.rollout.analysis.counts import ArmCounts
from serving.rollout.effects import Effect, Message
from serving.rollout.model import History, ModelState, Request, request
from serving.rollout.observation import Command, Tick, Version
from serving.rollout.simulate import Behaviour, Past, World, run
from serving.rollout.strategy import Deadlines, Step, Strategy
from serving.traffic import SLOTS

OLD, NEW = Version(version="1", digest="sha256:1"), Version(version="2", digest="sha256:2")
KINDS: dict[str, Strategy] = {
    "canary": Strategy(kind="canary", steps=(Step(weight=5, minutes=1), Step(weight=50, minutes=1)), bake_minutes=1),
    "blue-green": Strategy(kind="blue-green", bake_minutes=1),
    "shadow": Strategy(kind="shadow", steps=(Step(mirror=50, minutes=1),), bake_minutes=1),
    "ab": Strategy(kind="ab", steps=(Step(weight=30, minutes=2),), bake_minutes=1),
    "all-at-once": Strategy(bake_minutes=1),
}
TRUTHS = {
    "healthy": Behaviour(),
    "errors": Behaviour(errors=0.6),
    "slow": Behaviour(latency_seconds=0.2),
    "crash": Behaviour(crash="no"),
}


def play(
    kind: str, truth: str, seed: int = 0, killed: frozenset[int] = frozenset(), first: bool = False, **world: object
) -> Past:
    """One release."""
    scene = World(truth={OLD.digest: Behaviour(), NEW.digest: TRUTHS[truth]}, seed=seed, rate=20, **world)  # type: ignore[arg-type]
    state = ModelState(model="m")
    if not first:
        scene.serve(OLD.digest)
        record = History(last=ArmCounts(requests=20_000, errors=20))
        state = state.but(stable=OLD, proven=(OLD,), history=record)
    state, _ = request(state, Request(id="r", candidate=NEW, strategy=KINDS[kind], by="ada"))
    return run(scene, state, killed=killed, tick=5, seconds=5_000)


@given(
    kind=st.sampled_from(sorted(KINDS)),
    truth=st.sampled_from(sorted(TRUTHS)),
    killed=st.frozensets(st.integers(0, 60), max_size=8),
    first=st.booleans(),
)
def test_a_controller_killed_anywhere_ends_where_an_undisturbed_one_does(
    kind: str, truth: str, killed: frozenset[int], first: bool
) -> None:
    undisturbed, disturbed = play(kind, truth, first=first), play(kind, truth, killed=killed, first=first)
    assert disturbed.phases[-1] == undisturbed.phases[-1]
    assert disturbed.state.stable == undisturbed.state.stable
    assert disturbed.stables[-1] == undisturbed.stables[-1]
    assert disturbed.state.quarantine.keys() == undisturbed.state.quarantine.keys()


def recorded(kind: str, truth: str) -> list[tuple[ModelState, Tick, ModelState, tuple[Effect, ...]]]:
    """Every tick of a release: state before, tick, state after, effects."""
    scene = World(truth={OLD.digest: Behaviour(), NEW.digest: TRUTHS[truth]}, rate=20)
    scene.serve(OLD.digest)
    state = ModelState(
        model="m", stable=OLD, proven=(OLD,), history=History(last=ArmCounts(requests=20_000, errors=20))
    )
    state, _ = request(state, Request(id="r", candidate=NEW, strategy=KINDS[kind], by="ada"))
    steps = []
    scene.actuate(state.desired())
    while state.active:
        tick = scene.tick(state.desired(), 5)
        after, effects = model.advance(state, tick)
        steps.append((state, tick, after, effects))
        state = after
        scene.actuate(state.desired())
    return steps


@pytest.mark.parametrize("truth", sorted(TRUTHS))
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_stored_state_goes_on_to_the_same_end(kind: str, truth: str) -> None:
    steps = recorded(kind, truth)
    for before, tick, after, effects in steps:
        restored, again = model.advance(
            model.load(model.dump(before)), Tick.model_validate_json(tick.model_dump_json())
        )
        assert restored == after
        assert again == effects  # the same keys: nothing is told, banned or written twice


@pytest.mark.parametrize("truth", sorted(TRUTHS))
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_exactly_one_version_is_wanted_as_stable_at_any_time(kind: str, truth: str) -> None:
    for before, _, after, _ in recorded(kind, truth):
        wanted = after.desired()
        assert wanted.stable in (OLD, NEW)
        assert sum(length for _, length in wanted.runs) == SLOTS
        assert wanted.generation >= before.desired().generation
        if wanted.stable == OLD:
            assert wanted.warm is None
        rollout = after.rollout
        assert rollout is not None
        if rollout.phase in ("rolling-back", "rolled-back", "aborted"):
            assert wanted.stable == OLD
            assert wanted.runs == (("stable", SLOTS),)


@given(
    orders=st.dictionaries(
        st.integers(0, 80),
        st.sampled_from(["pause", "resume", "promote", "abort", "rollback"]),
        max_size=6,
    ),
    silence=st.tuples(st.integers(0, 300), st.integers(0, 300)),
    kind=st.sampled_from(sorted(KINDS)),
    truth=st.sampled_from(sorted(TRUTHS)),
    jump=st.sampled_from([0.0, -1e6, 1e6]),
)
def test_whatever_people_and_metrics_do_all_replicas_agree_in_the_end(
    orders: dict[int, str], silence: tuple[int, int], kind: str, truth: str, jump: float
) -> None:
    scene = World(
        truth={OLD.digest: Behaviour(), NEW.digest: TRUTHS[truth]},
        rate=20,
        metrics=lambda second: not silence[0] < second < silence[0] + silence[1],
        skew=lambda second: jump if second > 77 else 0.0,
    )
    scene.serve(OLD.digest)
    state = ModelState(
        model="m", stable=OLD, proven=(OLD,), history=History(last=ArmCounts(requests=20_000, errors=20))
    )
    strategy = KINDS[kind].but(deadlines=Deadlines(absent=60))
    state, _ = request(state, Request(id="r", candidate=NEW, strategy=strategy, by="ada"))
    commands = {when: (Command.model_validate({"kind": order, "by": "ada"}),) for when, order in orders.items()}
    # Whoever pauses resumes in the end.
    commands |= {400: (Command(kind="resume", by="ada"),)}
    past = run(scene, state, commands=commands, tick=5, seconds=5_000)
    assert past.state.active is None
    assert past.state.stable in (OLD, NEW)
    assert past.state.stable is not None
    assert past.stables[-1] == {past.state.stable.digest}
    assert past.state.desired().stable == past.state.stable
    if truth != "healthy" and "promote" not in orders.values():
        assert past.state.stable == OLD


def test_metrics_that_come_every_third_tick_change_no_outcome() -> None:
    lossy = play("canary", "errors", metrics=lambda second: int(second) % 3 > 0)
    assert lossy.state.stable == OLD
    assert lossy.phases[-1] == "rolled-back"


def test_effects_of_a_release_are_told_in_words_for_people() -> None:
    texts = [effect.text for effect in play("canary", "errors").effects if isinstance(effect, Message)]
    assert texts[0] == "m 2: starting: deploying m 2"
    assert all("\n" not in text for text in texts)
