"""A model with a stable version that has a record, in a world that tests can break."""

from collections.abc import Callable
from typing import Any

import pytest

from serving.rollout.analysis.counts import ArmCounts
from serving.rollout.model import History, ModelState, Request, request
from serving.rollout.observation import Version
from serving.rollout.simulate import Behaviour, Past, World, run
from serving.rollout.strategy import Strategy

OLD, NEW, THIRD = (Version(version=str(number), digest=f"sha256:{number}") for number in (1, 2, 3))


@pytest.fixture
def old() -> Version:
    """The version that is served."""
    return OLD


@pytest.fixture
def new() -> Version:
    """The version that is released."""
    return NEW


@pytest.fixture
def third() -> Version:
    """Another version."""
    return THIRD


@pytest.fixture
def served(old: Version) -> ModelState:
    """A model that serves the old version and knows its record."""
    record = ArmCounts(requests=20_000, errors=20)
    return ModelState(model="flight-delay", stable=old, proven=(old,), history=History(last=record))


@pytest.fixture
def asked() -> Callable[..., ModelState]:
    """Ask for a version: `asked(state, version, strategy)`."""

    def ask(state: ModelState, version: Version, strategy: Strategy | None = None, id: str = "r1") -> ModelState:  # noqa: A002
        state, _ = request(
            state, Request(id=id, candidate=version, strategy=strategy or Strategy(kind="canary"), by="ada")
        )
        return state

    return ask


@pytest.fixture
def release(served: ModelState, asked: Callable[..., ModelState]) -> Callable[..., Past]:
    """Release the new version and see what comes of it: `release(Behaviour(…), strategy, **world)`."""

    def play(
        candidate: Behaviour | None = None,
        strategy: Strategy | None = None,
        *,
        state: ModelState | None = None,
        commands: Any = None,
        killed: frozenset[int] = frozenset(),
        tick: float = 5.0,
        seconds: float = 20_000,
        **world: Any,
    ) -> Past:
        begin = served if state is None else state
        scene = World(truth={OLD.digest: Behaviour(), NEW.digest: candidate or Behaviour()}, **world)
        if begin.stable:
            scene.serve(begin.stable.digest)
        return run(scene, asked(begin, NEW, strategy), commands=commands, killed=killed, tick=tick, seconds=seconds)

    return play
