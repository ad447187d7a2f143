"""One broken version, rolled out under load against the real service, and what was seen of it until stable was back.

The rollout is asked for at the controller like every other; what is shown comes from the controller's own view of the
model and from the answers that users got, by the version that signed them.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from infra.cli.control import Control
from infra.cli.output import CommandFailed
from infra.demo.users import Answered, Labels, Users
from infra.provider.release_controller import ENDED, person
from policies.releases.manifest import Manifest

CANARY: dict[str, Any] = {
    "kind": "canary",
    "steps": [{"weight": 20, "minutes": 0.5}, {"weight": 50, "minutes": 0.5}],
    "bakeMinutes": 0.1,
    # No more rows than the faults spare, so that the smoke set passes and users meet the candidate.
    "evidence": {"requests": 200, "smoke": 20},
    "deadlines": {"start": 300, "smoke": 120},
}
"""How the trials roll out, unless told otherwise. Users ask some hundred times a second, so that seconds suffice."""

PATIENT = CANARY | {"steps": [{"weight": 50, "minutes": 4}]}
"""For what only labels show: predictions meet their labels once a capture file is closed, after a minute by default."""

LOOK_SECONDS = 0.2
_START_SECONDS = 180.0
_DECIDED = ("rolling-back", "rolled-back", "aborted", "promoted")


@dataclass(frozen=True, slots=True)
class Sample:
    """One look: seconds since the trial began, the rollout's phase, and what users saw since the look before."""

    at: float
    phase: str
    share: float
    """Part of the users' requests that the candidate answered, 0 to 1."""
    per_second: float
    candidate_requests: int
    candidate_failures: int
    user_failures: int


@dataclass(frozen=True)
class Outcome:
    """How a trial ended. Times in seconds; `samples` and `messages` are its course."""

    fault: str
    version: str
    digest: str
    strategy: str
    state: str
    reason: str
    quarantined: bool
    user_requests: int
    user_failures: int
    candidate_requests: int
    """What the candidate was asked until the decision, rows of the evaluation sample included."""
    seconds_to_decision: float | None
    """From the first share of traffic, or from the start where there was none."""
    seconds_to_stable: float
    """From the decision until every replica had confirmed that stable answers everything."""
    seconds_to_last_answer: float | None
    """From the decision until the last answer of the candidate that a user got; None when it had come before."""
    problems: tuple[str, ...] = ()
    samples: tuple[Sample, ...] = field(default=(), repr=False)
    messages: tuple[tuple[float, str], ...] = field(default=(), repr=False)
    """Seconds since the beginning, and what the controller said."""

    def to_json(self) -> dict[str, Any]:
        """Return it as `--json` prints it, without its course."""
        names = {name: value for name, value in asdict(self).items() if name not in ("samples", "messages")}
        return {"".join([part if not i else part.title() for i, part in enumerate(name.split("_"))]): value
                for name, value in names.items()}  # fmt: skip


Look = Callable[[Sample, Mapping[str, Any]], None]


def ask(control: Control, manifest: Manifest, group: str, strategy: Mapping[str, Any]) -> dict[str, Any]:
    """Ask for a release as an `up` does; return the rollout."""
    body = {
        "version": manifest.version,
        "digest": manifest.digest,
        "source": manifest.source,
        "files": manifest.files,
        "group": group,
        "strategy": dict(strategy),
        "manifest": manifest.to_json(),
        "requestedBy": person(),
    }
    rollout: dict[str, Any] = control.ask("PUT", f"/v1/models/{manifest.model}/release", body)["rollout"]
    return rollout


def settle(control: Control, manifest: Manifest, group: str) -> None:
    """Bring a sound version into service at once, and wait until it answers.

    Raises:
        CommandFailed: it does not come to be served.
    """
    ask(control, manifest, group, {"kind": "all-at-once"})
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        seen = control.model(manifest.model)
        rollout = seen.get("rollout") or {}
        if (seen.get("served") or {}).get("digest") == manifest.digest and rollout.get("state") == "promoted":
            return
        if rollout.get("state") in ENDED and rollout["state"] != "promoted":
            raise CommandFailed(f"the sound version of {manifest.model} was not promoted: {rollout.get('reason')}")
        time.sleep(LOOK_SECONDS)
    raise CommandFailed(f"the sound version of {manifest.model} is not served after {_START_SECONDS:.0f} s")


def warm(users: Users, seconds: float) -> None:
    """Let users ask for a while, so that stable has a record to compare with.

    Raises:
        CommandFailed: stable itself fails.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
    if failed := users.failed:
        raise CommandFailed(f"the stable version fails before anything was released: {failed[0].problem}")
    if not users.answers:
        raise CommandFailed("the service gives no answer")


def run(
    control: Control,
    users: Users,
    manifest: Manifest,
    *,
    fault: str,
    group: str,
    strategy: Mapping[str, Any] = CANARY,
    look: Look = lambda _sample, _seen: None,
    labels: Labels | None = None,
    seconds: float = 900.0,
) -> Outcome:
    """Roll a version out and watch until its rollout is over.

    Args:
        control: the controller.
        users: who ask meanwhile; they have begun already.
        manifest: the version.
        fault: what is wrong with it.
        group: the serving group of the model.
        strategy: how it is rolled out.
        look: is called with every sample and the controller's view.
        labels: tells the service what really happened; None: nobody ever knows.
        seconds: how long it may take.

    Raises:
        CommandFailed: the rollout does not end in time.
    """
    answered, began = len(users.answers), time.time()
    asked = ask(control, manifest, group, strategy)
    samples: list[Sample] = []
    last, deadline = answered, time.monotonic() + seconds
    while True:
        time.sleep(LOOK_SECONDS)
        seen = control.model(manifest.model)
        rollout = seen.get("rollout") or {}
        now = len(users.answers)
        samples.append(_sample(users.answers[last:now], rollout, manifest.version, samples, time.time() - began))
        if labels is not None:
            labels.tell(users.answers[last:now])
        last = now
        look(samples[-1], seen)
        if rollout.get("id") == asked["id"] and rollout.get("state") in ENDED:
            break
        if time.monotonic() > deadline:
            raise CommandFailed(f"the rollout of {manifest.model} has not ended within {seconds:.0f} s")
    # Whoever was asked last is heard as well.
    time.sleep(2 * LOOK_SECONDS)
    return _outcome(users.answers[answered:], seen, manifest, fault, str(strategy["kind"]), samples, began)


def _sample(
    answers: list[Answered], rollout: Mapping[str, Any], version: str, before: list[Sample], at: float
) -> Sample:
    counts = (rollout.get("counts") or {}).get("candidate") or {}
    own = sum(one.version == version for one in answers)
    passed = at - before[-1].at if before else at
    return Sample(
        at=round(at, 3),
        phase=str(rollout.get("phase") or "waiting"),
        share=own / len(answers) if answers else 0.0,
        per_second=len(answers) / passed if passed else 0.0,
        candidate_requests=int(counts.get("requests") or 0),
        candidate_failures=int(counts.get("errors") or 0) + int(counts.get("invalid") or 0),
        user_failures=(before[-1].user_failures if before else 0) + sum(bool(one.problem) for one in answers),
    )


def _outcome(
    answers: list[Answered],
    seen: Mapping[str, Any],
    manifest: Manifest,
    fault: str,
    kind: str,
    samples: list[Sample],
    began: float,
) -> Outcome:
    rollout = seen["rollout"]
    said = [(float(one["at"]), _told(one["text"], manifest)) for one in rollout.get("messages") or []]
    decided = next((at for at, text in said if text.startswith("rolling-back:")), None)
    ended = next((at for at, text in reversed(said) if text.split(":")[0] in ("rolled-back", "aborted")), None)
    first = next(
        (at for at, text in said if text.startswith(("analysing:", "promoting:"))), said[0][0] if said else began
    )
    # One that never came so far as to answer anybody had nothing to be taken back.
    decision = decided or ended
    own = [one.at for one in answers if one.version == manifest.version]
    failed = [one for one in answers if one.problem]
    until = next((one for one in samples if one.phase in _DECIDED), samples[-1])
    return Outcome(
        fault=fault,
        version=manifest.version,
        digest=manifest.digest,
        strategy=kind,
        state=str(rollout["state"]),
        reason=str(rollout.get("reason") or ""),
        quarantined=any(one["digest"] == manifest.digest for one in seen.get("quarantined") or ()),
        user_requests=len(answers),
        user_failures=len(failed),
        candidate_requests=until.candidate_requests,
        seconds_to_decision=None if decision is None else round(max(decision - first, 0.0), 3),
        seconds_to_stable=round(ended - decided, 3) if decided and ended else 0.0,
        seconds_to_last_answer=_after(own, decision),
        problems=tuple(sorted({one.problem for one in failed}))[:5],
        samples=tuple(samples),
        messages=tuple((round(at - began, 3), text) for at, text in said),
    )


def _told(text: str, manifest: Manifest) -> str:
    return text.removeprefix(f"{manifest.model} {manifest.version}: ")


def _after(own: list[float], decision: float | None) -> float | None:
    if decision is None or not own or max(own) <= decision:
        return None
    return round(max(own) - decision, 3)
