"""A made-up world with seeds: what the analysis and the machine do, how fast and how often wrongly.

Two levels. `trial` feeds one candidate's outcomes to the tests alone, request by request where it matters: from it
comes the operating curve. `World` plays replicas, candidate, metrics and clocks around a whole `ModelState`, with
everything that can go wrong in between: from it come the tests of the machine. Used by tests and benchmarks, never by
the controller.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from serving.rollout import model
from serving.rollout.analysis.counts import Analysis, ArmCounts
from serving.rollout.analysis.histogram import BUCKETS, EDGES
from serving.rollout.analysis.judge import judge
from serving.rollout.analysis.verdict import Verdict
from serving.rollout.effects import Desired, Effect, Record
from serving.rollout.model import ModelState
from serving.rollout.observation import Alarm, Batch, Candidate, Clock, Command, Tick
from serving.rollout.strategy import Strategy
from serving.traffic import CANDIDATE, SLOTS

Random = np.random.Generator


@dataclass(frozen=True)
class Behaviour:
    """What a version really does. Rates are per request, latencies log-normal."""

    errors: float = 0.001
    invalid: float = 0.0
    latency_seconds: float = 0.004
    """Median."""
    spread: float = 0.4
    """Standard deviation of the logarithm."""
    wrong: float = 0.2
    """Of the labelled predictions."""
    disagree: float = 0.0
    start_seconds: float = 2.0
    crash: str | None = None
    """Why it fails to load, if it does."""
    dies_after: float | None = None
    """Seconds of traffic after which its application stops being ready."""

    def buckets(self) -> np.ndarray:
        """Return the probability of each bucket of `analysis.histogram`."""
        edges = np.log(np.array(EDGES[:-1]) / self.latency_seconds) / (self.spread * math.sqrt(2))
        below = np.append(0.5 * (1 + np.vectorize(math.erf)(edges)), 1.0)
        return np.diff(below, prepend=0.0)


def draw(
    random: Random, behaviour: Behaviour, requests: int, *, labels: float = 0.0, mirrored: bool = False
) -> ArmCounts:
    """Draw the outcomes of a number of requests."""
    errors = int(random.binomial(requests, behaviour.errors))
    invalid = int(random.binomial(requests - errors, behaviour.invalid))
    labelled = int(random.binomial(requests, labels)) if labels else 0
    return ArmCounts(
        requests=requests,
        errors=errors,
        invalid=invalid,
        latency=_latencies(random, behaviour, requests),
        labelled=labelled,
        wrong=int(random.binomial(labelled, behaviour.wrong)) if labelled else 0,
        compared=requests if mirrored else 0,
        disagreed=int(random.binomial(requests, behaviour.disagree)) if mirrored else 0,
        assigned=0 if mirrored else requests,
    )


_PROBABILITIES: dict[Behaviour, np.ndarray] = {}


def _latencies(random: Random, behaviour: Behaviour, requests: int) -> dict[int, int]:
    if not requests:
        return {}
    if behaviour not in _PROBABILITIES:
        _PROBABILITIES[behaviour] = behaviour.buckets()
    counts = random.multinomial(requests, _PROBABILITIES[behaviour])
    assert len(counts) == BUCKETS
    return {int(bucket): int(counts[bucket]) for bucket in np.flatnonzero(counts)}


# --- the tests alone


@dataclass(frozen=True)
class Stage:
    """A step of a trial: the candidate's share and how many requests it answers."""

    weight: int
    """Basis points."""
    requests: int


CANARY = (Stage(500, 500), Stage(2_500, 1_500), Stage(5_000, 3_000))
"""The steps of a canary with 30 to 50 requests a second and five minutes each, a tenth as many in the first."""


@dataclass(frozen=True)
class Decision:
    """What the tests said in one trial."""

    verdict: Verdict
    requests: int
    """Of the candidate, until then."""


def trial(
    random: Random,
    stable: Behaviour,
    candidate: Behaviour,
    stages: Sequence[Stage] = CANARY,
    *,
    strategy: Strategy | None = None,
    history: int = 20_000,
    batch: int = 1,
    labels: float = 0.0,
    before: Behaviour | None = None,
) -> Decision | None:
    """Run the tests on made-up outcomes until they stop the candidate or the stages are over.

    Args:
        random: source of chance; seed it.
        stable: what stable does during the trial.
        candidate: what the candidate does.
        stages: shares and lengths.
        strategy: limits, budget and minimum of evidence.
        history: requests of stable's record from before.
        batch: candidate requests between two looks; 1 reports at once, so that runs of requests without a failure are
            drawn in one go, which changes nothing, because nothing looks at them.
        labels: share of predictions whose outcome becomes known.
        before: what stable did while its record was made; None is the same as now.
    """
    strategy = strategy or Strategy(kind="canary")
    analysis = Analysis(history=draw(random, before or stable, history).but(assigned=0))
    answered = 0
    for generation, stage in enumerate(stages):
        analysis = analysis.opened(generation, stage.weight)
        share, left = stage.weight / SLOTS, stage.requests
        while left > 0:
            own, size = (
                _next(random, candidate, min(left, 200), labels)
                if batch == 1
                else _block(random, candidate, min(left, batch), labels)
            )
            left, answered = left - size, answered + size
            others = int(random.negative_binomial(size, share)) if share < 1 else 0
            if others:
                analysis = analysis.observed(generation, draw(random, stable, others, labels=labels), candidate=False)
            analysis = analysis.observed(generation, own, candidate=True)
            analysis, verdicts = judge(analysis, strategy)
            if verdicts:
                return Decision(verdicts[0], answered)
    return None


def _block(random: Random, candidate: Behaviour, size: int, labels: float) -> tuple[ArmCounts, int]:
    return draw(random, candidate, size, labels=labels), size


def _next(random: Random, candidate: Behaviour, most: int, labels: float) -> tuple[ArmCounts, int]:
    """Draw requests up to the next failure."""
    failing = candidate.errors + (1 - candidate.errors) * candidate.invalid
    size = int(random.geometric(failing)) if failing else most + 1
    good = replace(candidate, errors=0.0, invalid=0.0)
    if size > most:
        return draw(random, good, most, labels=labels), most
    bad = random.random() * failing < candidate.errors
    return draw(random, good, size, labels=labels).but(errors=int(bad), invalid=int(not bad)), size


# --- the whole machine


@dataclass
class Replica:
    """One ingress replica as the world sees it."""

    stable: str | None = None
    warm: set[str] = field(default_factory=set)
    generation: int = -1
    share: int = 0
    mirror: int = 0
    candidate: str | None = None
    loading: tuple[str, float] | None = None
    """Digest and the second at which it is loaded."""


@dataclass
class World:
    """Replicas, a candidate's application, traffic, metrics and clocks.

    Attributes:
        truth: Digest → what that version does.
        rate: Requests a second.
        incident: Extra rate of errors for every version, by the second.
        metrics: Whether counts reach the controller, by the second; what does not is reported later.
        skew: What the wall clock is off by, by the second.
        room: Share of copies that replicas take, and of calls that are not excused, by the second.
        sample: Whether there is an evaluation sample to replay; what really happened is known of all its rows.
        load: Seconds that a replica takes to load a version that is not warm.
    """

    truth: dict[str, Behaviour]
    rate: float = 40.0
    seed: int = 0
    replicas: int = 2
    labels: float = 0.0
    incident: Callable[[float], float] = lambda _second: 0.0
    metrics: Callable[[float], bool] = lambda _second: True
    skew: Callable[[float], float] = lambda _second: 0.0
    room: Callable[[float], float] = lambda _second: 1.0
    sample: bool = True
    load: float = 3.0
    loading_fails: frozenset[str] = frozenset()
    alarms: Callable[[float], tuple[Alarm, ...]] = lambda _second: ()
    eligible: frozenset[str] | None = None
    now: float = 0.0
    boot: str = "first"

    def __post_init__(self) -> None:
        """Set up replicas and chance."""
        self.random = np.random.default_rng(self.seed)
        self.nodes = [Replica() for _ in range(self.replicas)]
        self.application: tuple[str, float] | None = None
        self.served_seconds = 0.0
        self.pending: list[Batch] = []
        self.failed_users = 0
        self.swap_error: Candidate | None = None

    def serve(self, digest: str) -> None:
        """Begin with a version that every replica serves."""
        for node in self.nodes:
            node.stable, node.warm = digest, {digest}

    def actuate(self, desired: Desired, nodes: Sequence[Replica] | None = None) -> None:
        """Bring the world nearer to the wish; may be repeated, and may reach only some replicas."""
        wanted = desired.candidate.digest if desired.candidate else None
        if wanted is None:
            self.application = None
        elif self.application is None or self.application[0] != wanted:
            self.application, self.served_seconds = (wanted, self.now), 0.0
        for node in self.nodes if nodes is None else nodes:
            self._swap(node, desired)
            if node.generation != desired.generation:
                node.generation = desired.generation
                node.share = sum(length for arm, length in desired.runs if arm == CANDIDATE)
                node.mirror, node.candidate = desired.mirror, wanted

    def _swap(self, node: Replica, desired: Desired) -> None:
        target = desired.stable.digest if desired.stable else None
        if node.stable != target:
            if target is None or target in node.warm:
                node.stable, node.loading = target, None
            elif target in self.loading_fails:
                self.swap_error = Candidate(status="failed", reason="digest does not match", fault="model")
            elif node.loading is None or node.loading[0] != target:
                node.loading = (target, self.now + self.load)
            elif node.loading[1] <= self.now:
                node.stable, node.loading = target, None
                node.warm.add(target)
        keep = {desired.stable, desired.warm} - {None}
        node.warm &= {version.digest for version in keep if version} | {node.stable or ""}

    def tick(self, desired: Desired, seconds: float = 1.0, commands: tuple[Command, ...] = ()) -> Tick:
        """Let time pass and say what the controller sees."""
        self.now += seconds
        if self.application and any(node.share or node.mirror for node in self.nodes):
            self.served_seconds += seconds
        status = self._status()
        for node in self.nodes:
            self._traffic(node, seconds / len(self.nodes), status.status == "ready")
        if desired.replay and self.sample and status.status == "ready":
            self._replay(desired, seconds)
        heard = self.metrics(self.now)
        batches: tuple[Batch, ...] = ()
        if heard:
            batches, self.pending = tuple(self.pending), []
        stables = {node.stable for node in self.nodes}
        error, self.swap_error = self.swap_error, None
        return Tick(
            clock=Clock(boot=self.boot, monotonic=self.now, wall=1.8e9 + self.now + self.skew(self.now)),
            heard=heard,
            batches=batches,
            candidate=status,
            serving=stables.pop() if len(stables) == 1 else None,
            applied=min(node.generation for node in self.nodes),
            swap_failed=error,
            replay_failed=None if self.sample else "the manifest names no evaluation sample",
            alarms=self.alarms(self.now),
            commands=commands,
            eligible=frozenset(self.truth) if self.eligible is None else self.eligible,
        )

    def _status(self) -> Candidate:
        if self.application is None:
            return Candidate()
        digest, since = self.application
        truth = self.truth[digest]
        if truth.crash:
            return Candidate(status="failed", reason=truth.crash, fault="model")
        if self.now - since < truth.start_seconds:
            return Candidate(status="starting")
        if truth.dies_after is not None and self.served_seconds >= truth.dies_after:
            return Candidate(status="unhealthy", reason="out of memory", fault="model")
        return Candidate(status="ready")

    def _traffic(self, node: Replica, seconds: float, ready: bool) -> None:
        if node.stable is None:
            return
        requests = int(self.random.poisson(self.rate * seconds))
        sent = int(self.random.binomial(requests, node.share / SLOTS)) if node.candidate else 0
        if sent and node.candidate:
            told = self._room(sent)
            self._lose(node, node.candidate, ArmCounts(excused=sent - told, assigned=sent - told))
            self._count(node, node.candidate, told, ready=ready)
        self._count(node, node.stable, requests - sent)
        copies = int(self.random.binomial(requests, node.mirror / SLOTS)) if node.candidate else 0
        if copies and node.candidate and ready:
            taken = self._room(copies)
            self._lose(node, node.candidate, ArmCounts(shed=copies - taken))
            self._count(node, node.candidate, taken, mirrored=True)

    def _room(self, requests: int) -> int:
        share = self.room(self.now)
        return requests if share >= 1 else int(self.random.binomial(requests, share))

    def _lose(self, node: Replica, digest: str, counts: ArmCounts) -> None:
        self.pending.append(Batch(generation=node.generation, digest=digest, counts=counts))

    def _count(self, node: Replica, digest: str, requests: int, *, ready: bool = True, mirrored: bool = False) -> None:
        truth = self.truth[digest]
        extra = self.incident(self.now)
        errors = 1.0 if not ready else 1 - (1 - truth.errors) * (1 - extra)
        counts = draw(self.random, replace(truth, errors=errors), requests, labels=self.labels, mirrored=mirrored)
        if digest == node.stable and not mirrored:
            # Whoever stable fails is a user who sees it; a candidate's failure is answered by stable.
            self.failed_users += counts.failures
        self.pending.append(Batch(generation=node.generation, digest=digest, counts=counts))

    def _replay(self, desired: Desired, seconds: float) -> None:
        assert desired.replay is not None
        rows = max(1, int(20 * seconds))
        for version in (desired.candidate, desired.stable):
            if version:
                counts = draw(self.random, self.truth[version.digest], rows, labels=1.0).but(assigned=0)
                self.pending.append(Batch(generation=desired.replay.generation, digest=version.digest, counts=counts))


@dataclass
class Past:
    """What happened in a run."""

    state: ModelState
    effects: list[Effect] = field(default_factory=list)
    stables: list[frozenset[str | None]] = field(default_factory=list)
    """After each tick: what replicas serve as stable."""
    seconds: float = 0.0

    @property
    def phases(self) -> list[str]:
        """Phases in order, as the ledger has them."""
        kinds = [effect.kind for effect in self.effects if isinstance(effect, Record)]
        return [kind.removeprefix("rollout.") for kind in kinds if kind.startswith("rollout.")]


def run(
    world: World,
    state: ModelState,
    *,
    until: Callable[[ModelState], bool] = lambda state: state.active is None,
    seconds: float = 7_200,
    tick: float = 1.0,
    commands: Mapping[int, tuple[Command, ...]] | None = None,
    killed: frozenset[int] = frozenset(),
) -> Past:
    """Drive a model's state through a world until a condition holds.

    Args:
        world: the world, changed by this.
        state: where to begin.
        until: when to stop; asked after each tick.
        seconds: when to give up.
        tick: seconds between ticks.
        commands: number of the tick → what people ask for in it.
        killed: numbers of ticks after which the controller dies between storing its state and acting on it. It comes
            back at the next tick with what it stored, and another clock.
    """
    past = Past(state)
    world.actuate(state.desired())
    for number in range(int(seconds / tick)):
        seen = world.tick(past.state.desired(), tick, (commands or {}).get(number, ()))
        past.state, effects = model.advance(past.state, seen)
        past.effects.extend(effects)
        if number in killed:
            past.state = model.load(model.dump(past.state))
            world.boot = f"after {number}"
        else:
            world.actuate(past.state.desired())
        past.stables.append(frozenset(node.stable for node in world.nodes))
        past.seconds += tick
        if until(past.state):
            break
    return past
