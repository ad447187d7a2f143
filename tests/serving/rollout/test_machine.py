"""One rollout in a world where things go well, and in worlds where they do not."""

from collections.abc import Callable

import pytest

from serving.rollout import machine
from serving.rollout.analysis.counts import ArmCounts
from serving.rollout.effects import Message, Quarantine, Record
from serving.rollout.model import ModelState
from serving.rollout.observation import Alarm, Candidate, Clock, Command, Tick, Version
from serving.rollout.simulate import Behaviour, Past
from serving.rollout.state import Rollout, dump, load, summary
from serving.rollout.strategy import Deadlines, Evidence, Limits, Step, Strategy
from serving.traffic import CANDIDATE, STABLE

Release = Callable[..., Past]

SHORT = Strategy(kind="canary", steps=(Step(weight=5, minutes=1), Step(weight=50, minutes=1)), bake_minutes=1)


def command(kind: str, reason: str = "") -> tuple[Command, ...]:
    """What a person types."""
    return (Command.model_validate({"kind": kind, "by": "ada", "reason": reason}),)


def quarantined(past: Past) -> list[str]:
    """Digests that were banned, in order."""
    return [effect.digest for effect in past.effects if isinstance(effect, Quarantine)]


def said(past: Past) -> list[Message]:
    """What the operator was told."""
    return [effect for effect in past.effects if isinstance(effect, Message)]


def ended(past: Past) -> Rollout:
    """The rollout at the end."""
    assert past.state.rollout is not None
    return past.state.rollout


# --- the good way


@pytest.mark.parametrize(
    ("kind", "phases"),
    [
        ("canary", ["starting", "smoke", *["analysing"] * 3, "promoting", "baking", "promoted"]),
        ("blue-green", ["starting", "smoke", "analysing", "promoting", "baking", "promoted"]),
        ("shadow", ["starting", "smoke", "analysing", "promoting", "baking", "promoted"]),
        ("ab", ["starting", "smoke", "analysing", "promoting", "baking", "promoted"]),
        ("all-at-once", ["starting", "promoting", "baking", "promoted"]),
    ],
)
def test_a_healthy_candidate_is_promoted(release: Release, new: Version, kind: str, phases: list[str]) -> None:
    steps = (Step(weight=50, minutes=10),) if kind == "ab" else ()
    past = release(strategy=Strategy.model_validate({"kind": kind, "steps": [step.to_json() for step in steps]}))
    assert past.phases == phases
    assert past.state.stable == new
    assert past.state.proven[-1] == new
    assert not past.state.quarantine


def test_a_first_release_passes_smoke_set_and_fixed_limits(release: Release, new: Version) -> None:
    past = release(strategy=SHORT, state=ModelState(model="flight-delay"))
    assert past.phases == ["starting", "smoke", "promoting", "baking", "promoted"]
    assert past.state.stable == new


def test_a_first_release_that_fails_its_smoke_set_is_never_served(release: Release, new: Version) -> None:
    past = release(Behaviour(errors=0.4), SHORT, state=ModelState(model="flight-delay"))
    assert past.phases[-1] == "rolled-back"
    assert past.state.stable is None
    assert set(past.stables) == {frozenset({None})}
    assert quarantined(past) == [new.digest]


# --- bad candidates

BAD = {
    "errors": Behaviour(errors=0.2),
    "invalid outputs": Behaviour(invalid=1.0),
    "slow": Behaviour(latency_seconds=0.03),
    "crash at load": Behaviour(crash="cannot read model.onnx"),
    "dies of memory": Behaviour(dies_after=10),
}


GRADUAL = ("canary", "shadow", "ab")
ALL = (*GRADUAL, "blue-green", "all-at-once")


# Under blue-green and all-at-once the candidate's own application gets no traffic that it could die of.
@pytest.mark.parametrize(
    ("fault", "strategy"),
    [(fault, strategy) for fault in BAD for strategy in (GRADUAL if fault == "dies of memory" else ALL)],
)
def test_a_bad_candidate_is_rolled_back_and_banned(
    release: Release, old: Version, new: Version, fault: str, strategy: str
) -> None:
    past = release(BAD[fault], Strategy.model_validate({"kind": strategy}), tick=1.0)
    # One that never came up was never told to a replica: there is nothing to take back.
    assert past.phases[-2:] == ["starting" if fault == "crash at load" else "rolling-back", "rolled-back"]
    assert past.state.stable == old
    assert past.stables[-1] == {old.digest}
    assert quarantined(past) == [new.digest]
    assert new.digest in past.state.quarantine


def test_a_candidate_that_is_wrong_is_rolled_back_when_labels_come(release: Release) -> None:
    past = release(Behaviour(wrong=0.35), SHORT.but(bake_minutes=30), labels=0.5)
    assert past.phases[-1] == "rolled-back"
    assert ended(past).reason.startswith("quality")


@pytest.mark.parametrize("kind", [*GRADUAL, "blue-green"])
def test_a_candidate_that_says_the_opposite_is_found_by_the_sample_before_anybody_meets_it(
    release: Release, kind: str
) -> None:
    past = release(Behaviour(wrong=0.8), Strategy.model_validate({"kind": kind}), tick=1.0)
    assert past.phases == ["starting", "smoke", "rolling-back", "rolled-back"]
    assert ended(past).reason.startswith("quality")


def test_a_mirrored_candidate_that_is_wrong_more_often_is_found_by_labels_of_what_users_asked(release: Release) -> None:
    past = release(Behaviour(wrong=0.3), Strategy(kind="shadow"), labels=0.2)
    assert past.phases == ["starting", "smoke", "analysing", "rolling-back", "rolled-back"]
    assert ended(past).reason.startswith("quality")


def test_a_model_that_turns_bad_while_it_bakes_goes_back_to_the_warm_version(release: Release, old: Version) -> None:
    alarm = Alarm(kind="drift", digest="sha256:2", reason="scores moved", action="rollback")
    past = release(strategy=SHORT.but(bake_minutes=10), alarms=lambda second: (alarm,) if second > 300 else ())
    assert past.phases[-3:] == ["baking", "rolling-back", "rolled-back"]
    assert past.stables[-1] == {old.digest}


def test_a_replica_that_cannot_load_the_candidate_stops_the_promotion(release: Release, new: Version) -> None:
    past = release(strategy=SHORT, loading_fails=frozenset({new.digest}))
    assert past.phases[-3:] == ["promoting", "rolling-back", "rolled-back"]
    assert "digest does not match" in ended(past).reason


def test_a_platform_that_cannot_start_the_candidate_does_not_ban_it(release: Release) -> None:
    past = release(Behaviour(start_seconds=10_000), SHORT)
    assert past.phases == ["starting", "aborted"]
    assert not quarantined(past)


def test_the_verdict_is_in_the_ledger_with_its_numbers(release: Release) -> None:
    past = release(Behaviour(invalid=0.3), SHORT)
    entry = next(effect for effect in past.effects if isinstance(effect, Record) and "verdict" in effect.data)
    assert entry.data["verdict"]["probability"] <= entry.data["verdict"]["level"]
    assert "invalid" in entry.data["reason"]


# --- pauses, absent metrics, little traffic


def test_absent_metrics_pause_and_their_return_goes_on(release: Release) -> None:
    past = release(strategy=SHORT, metrics=lambda second: not 40 < second < 100)
    assert past.phases[2:5] == ["analysing", "paused", "analysing"]
    assert past.phases[-1] == "promoted"


def test_a_rollout_without_metrics_is_never_promoted_but_aborted(release: Release) -> None:
    past = release(strategy=SHORT, metrics=lambda second: second < 40 or second > 2_000)
    assert past.phases[-3:] == ["paused", "rolling-back", "aborted"]
    assert "no replica has reported" in ended(past).reason
    assert not quarantined(past)


@pytest.mark.parametrize("from_second", [20, 50, 100, 170])
def test_no_phase_moves_forward_while_metrics_are_absent(release: Release, from_second: int) -> None:
    past = release(strategy=SHORT, metrics=lambda second: second < from_second, seconds=3_000)
    before = release(strategy=SHORT, seconds=from_second)
    assert [phase for phase in past.phases if phase not in ("paused", "rolling-back")] == before.phases


def test_too_little_traffic_is_filled_by_replaying_the_evaluation_sample(release: Release) -> None:
    past = release(strategy=SHORT, rate=0.05)
    assert past.phases[-1] == "promoted"
    assert any(isinstance(effect, Message) and "replaying" in effect.text for effect in past.effects)
    candidate, _ = ended(past).analysis.totals(synthetic=True)
    assert candidate.requests >= SHORT.evidence.requests * len(SHORT.steps)


def test_without_a_sample_to_replay_a_rollout_pauses_and_is_aborted(release: Release) -> None:
    past = release(strategy=SHORT, rate=0.05, sample=False)
    assert past.phases[-3:] == ["paused", "rolling-back", "aborted"]
    assert "evaluation sample" in ended(past).reason


def test_a_bad_candidate_shows_in_the_replay_when_there_is_no_traffic(release: Release) -> None:
    past = release(Behaviour(errors=0.3), Strategy(kind="blue-green"), rate=0.0)
    assert past.phases[-1] == "rolled-back"


def test_an_incident_that_hits_both_arms_pauses_without_a_ban(release: Release) -> None:
    past = release(strategy=SHORT, incident=lambda second: 0.3 if second > 60 else 0.0)
    assert "paused" in past.phases
    assert past.phases[-1] == "aborted"
    assert not quarantined(past)


@pytest.mark.parametrize("begin", [45, 60, 90])
def test_an_incident_that_passes_only_delays(release: Release, begin: int) -> None:
    past = release(strategy=SHORT, incident=lambda second: 0.3 if begin < second < begin + 120 else 0.0)
    assert "paused" in past.phases
    assert past.phases[-1] == "promoted"


def test_a_gate_waits_for_a_person(release: Release) -> None:
    gated = SHORT.but(steps=(Step(weight=5, minutes=1, gate=True), Step(weight=50, minutes=1)))
    waiting = release(strategy=gated, seconds=1_000)
    assert waiting.phases[-1] == "paused"
    assert ended(waiting).paused == "gate"
    opened = release(strategy=gated, commands={150: command("resume")})
    assert opened.phases[-1] == "promoted"


def test_a_gate_that_nobody_opens_ends_at_its_deadline(release: Release) -> None:
    strategy = SHORT.but(then="gate", deadlines=Deadlines(gate_minutes=10))
    past = release(strategy=strategy)
    assert past.phases[-3:] == ["paused", "rolling-back", "aborted"]


def test_a_shadow_that_only_observes_ends_without_promotion(release: Release, old: Version) -> None:
    past = release(strategy=Strategy(kind="shadow", steps=(Step(mirror=100, minutes=2),), then="stop"))
    assert past.phases[-2:] == ["rolling-back", "finished"]
    assert past.state.stable == old


@pytest.mark.parametrize(
    "strategy",
    [Strategy(kind="shadow", steps=(Step(mirror=100, minutes=2),)), SHORT.but(evidence=Evidence(requests=100))],
)
def test_a_machine_without_room_ends_a_rollout_at_its_deadline_and_is_named(
    release: Release, old: Version, strategy: Strategy
) -> None:
    past = release(strategy=strategy.but(deadlines=Deadlines(absent=300)), room=lambda _second: 0.0)
    assert past.phases[-4:] == ["analysing", "paused", "rolling-back", "aborted"]
    assert "no processor to spare" in ended(past).reason
    assert past.state.stable == old
    assert not quarantined(past)


def test_a_rollout_goes_on_when_there_is_room_again(release: Release, new: Version) -> None:
    strategy = Strategy(kind="shadow", steps=(Step(mirror=100, minutes=2),))
    past = release(strategy=strategy, room=lambda second: 0.0 if second < 300 else 0.3)
    assert past.phases == [
        "starting",
        "smoke",
        *["analysing", "paused"],
        "analysing",
        "promoting",
        "baking",
        "promoted",
    ]
    assert past.state.stable == new
    assert "enough requests have come" in [one.text.rpartition(": ")[2] for one in said(past)]


# --- commands


def test_a_paused_rollout_holds_until_it_is_resumed(release: Release) -> None:
    past = release(strategy=SHORT, commands={10: command("pause"), 200: command("resume")})
    assert past.phases[2:5] == ["analysing", "paused", "analysing"]
    assert past.phases[-1] == "promoted"
    assert past.seconds > 1_000


def test_bad_evidence_ends_a_paused_rollout_too(release: Release) -> None:
    alarm = Alarm(kind="fairness", digest="sha256:2", reason="gap of 0.3", action="rollback")
    past = release(
        strategy=SHORT, commands={10: command("pause")}, alarms=lambda second: (alarm,) if second > 90 else ()
    )
    assert past.phases[-3:] == ["paused", "rolling-back", "rolled-back"]


def test_promote_skips_the_steps_that_remain(release: Release) -> None:
    past = release(strategy=SHORT, commands={8: command("promote", "hotfix")})
    assert past.phases == ["starting", "smoke", "analysing", "promoting", "baking", "promoted"]


@pytest.mark.parametrize(("kind", "ending"), [("abort", "aborted"), ("rollback", "rolled-back")])
@pytest.mark.parametrize("when", [0, 2, 10, 33])
def test_a_person_can_end_a_rollout_at_any_time_without_a_ban(
    release: Release, old: Version, kind: str, ending: str, when: int
) -> None:
    past = release(strategy=SHORT, commands={when: command(kind, "not today")})
    assert past.phases[-1] == ending
    assert past.stables[-1] == {old.digest}
    assert not quarantined(past)
    assert "not today" in ended(past).reason


def test_a_command_that_does_not_fit_says_so(release: Release) -> None:
    past = release(strategy=SHORT, commands={10: command("resume")})
    assert any(isinstance(effect, Message) and "no effect while analysing" in effect.text for effect in past.effects)


# --- what is asked for


def rollout(strategy: Strategy = SHORT) -> Rollout:
    """A rollout that has not begun."""
    return machine.start(
        id="r9",
        model="m",
        strategy=strategy,
        candidate=Version(version="2", digest="sha256:2"),
        stable=Version(version="1", digest="sha256:1"),
        history=ArmCounts(),
        generation=40,
    )


def test_a_rollback_is_over_only_when_every_replica_applies_it() -> None:
    state, _ = machine.supersede(rollout().but(phase="smoke"), "another")
    clock, split = Clock(boot="a", monotonic=0, wall=0), state.split
    for serving, applied, phase in [
        ("sha256:1", split - 1, "rolling-back"),
        (None, split, "rolling-back"),
        ("sha256:2", split, "rolling-back"),
        ("sha256:1", split, "superseded"),
    ]:
        after, _ = machine.advance(state, Tick(clock=clock, serving=serving, applied=applied))
        assert after.phase == phase


def test_numbers_of_splits_go_on_from_earlier_rollouts() -> None:
    assert rollout().desired().generation == 41


def test_the_candidate_gets_no_traffic_before_its_smoke_set_has_passed() -> None:
    state = rollout()
    for second in range(30):
        state, _ = machine.advance(state, Tick(clock=Clock(boot="a", monotonic=second, wall=second), candidate=READY))
    assert state.phase == "smoke"
    assert dict(state.desired().runs).get(CANDIDATE) is None
    assert state.desired().replay is not None


READY = Candidate(status="ready")


def test_during_a_step_the_split_is_that_of_the_step(release: Release) -> None:
    past = release(strategy=SHORT, seconds=50)
    desired = past.state.desired()
    assert dict(desired.runs) == {STABLE: 9_500, CANDIDATE: 500}
    assert desired.candidate == ended(past).candidate
    assert not desired.sticky


def test_ab_is_sticky_and_others_are_not(release: Release) -> None:
    past = release(strategy=Strategy(kind="ab"), seconds=60)
    assert past.state.desired().sticky


def test_the_previous_version_stays_warm_while_the_new_one_bakes(release: Release, old: Version, new: Version) -> None:
    past = release(strategy=SHORT.but(bake_minutes=60), seconds=600)
    desired = past.state.desired()
    assert ended(past).phase == "baking"
    assert (desired.stable, desired.warm, desired.candidate) == (new, old, None)


def test_event_keys_are_unique(release: Release) -> None:
    past = release(Behaviour(errors=0.05), SHORT)
    keys = [effect.key for effect in past.effects]
    assert len(keys) == len(set(keys))


def test_the_summary_shows_share_and_counts(release: Release) -> None:
    shown = summary(ended(release(strategy=SHORT, seconds=60)))
    assert shown["weight"] == 5
    assert shown["phase"] == "analysing"
    assert shown["stable"]["requests"] > shown["candidate"]["requests"] > 0


def test_a_state_of_another_schema_version_is_refused() -> None:
    text = dump(rollout()).replace('"schemaVersion":1', '"schemaVersion":2')
    with pytest.raises(ValueError, match="schemaVersion"):
        load(text)


# --- clocks


@pytest.mark.parametrize("jump", [-1e9, -3_600.0, 3_600.0, 1e9])
def test_a_jump_of_the_wall_clock_changes_nothing(release: Release, jump: float) -> None:
    plain = release(strategy=SHORT)
    jumped = release(strategy=SHORT, skew=lambda second: jump if second > 60 else 0.0)
    assert jumped.phases == plain.phases
    assert jumped.seconds == plain.seconds


@pytest.mark.parametrize("jump", [-1e9, 1e9])
def test_a_restart_with_another_wall_clock_costs_at_most_one_long_tick(release: Release, jump: float) -> None:
    plain = release(strategy=SHORT)
    jumped = release(strategy=SHORT, skew=lambda second: jump if second > 60 else 0.0, killed=frozenset({12}))
    assert jumped.phases == plain.phases
    assert abs(jumped.seconds - plain.seconds) <= 15


def test_time_that_nobody_watched_does_not_count(release: Release) -> None:
    early, late = Clock(boot="a", monotonic=0, wall=0), Clock(boot="a", monotonic=5_000, wall=5_000)
    assert late.since(early) == 10.0
    assert early.since(late) == 0.0
    assert late.since(None) == 0.0


def test_limits_reach_the_tests(release: Release) -> None:
    strategy = SHORT.but(limits=Limits(latency_seconds=0.001), evidence=Evidence(smoke=5))
    assert ended(release(strategy=strategy)).reason.startswith("latency-seconds")
