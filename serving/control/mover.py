"""One model's step: what was reported goes through the rollout machine again and again, until nothing moves any more.

Nothing is written here: messages, quarantine and ledger entries go into the caller's draft.
"""

import logging
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from serving.control import audit, shadows
from serving.control.admission import eligible, waiting
from serving.control.fleet import Fleet, View
from serving.control.gate import Gate
from serving.control.managed import Managed, Move, observed, published
from serving.control.records import Draft, Said
from serving.control.view import public_state
from serving.rollout import effects, model
from serving.rollout.observation import Alarm, Batch, Clock, Command
from serving.state import Entry

log = logging.getLogger(__name__)

_MOST_MOVES = 8
_SETTLED_SECONDS = 10.0
_ELIGIBLE_SECONDS = 30.0
_ENDINGS = frozenset({"promoted", "rolled-back", "aborted", "superseded", "finished"})


class Mover:
    """Moves models by what the fleet reported."""

    def __init__(
        self, fleet: Fleet, gate: Gate, *, seconds: float, clock: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        """Make it.

        Args:
            fleet: what replicas and applications reported.
            gate: the environment's rules.
            seconds: how long replicas may take to load a version.
            clock: the time in seconds since the epoch.
            monotonic: seconds that never jump.
        """
        self._fleet, self._gate, self._seconds = fleet, gate, seconds
        self._clock, self._monotonic = clock, monotonic
        self.boot = uuid.uuid4().hex
        """Names this run of the controller."""
        self._began = monotonic()
        self._eligible: dict[str, tuple[float, frozenset[str]]] = {}

    def now(self) -> datetime:
        """Return the time."""
        return datetime.fromtimestamp(self._clock(), UTC)

    def move(
        self,
        managed: Managed,
        batches: tuple[Batch, ...],
        commands: tuple[Command, ...],
        draft: Draft,
        alarms: tuple[Alarm, ...] = (),
    ) -> tuple[Managed, Entry]:
        """Move one model until it stands still; returns it and what replicas are to do.

        Args:
            managed: the model.
            batches: new counts.
            commands: new commands.
            draft: takes what is to be written besides.
            alarms: new alarms of monitors.
        """
        name, now = managed.state.model, self._monotonic()
        clock = Clock(boot=self.boot, monotonic=now, wall=self._clock())
        settled = now - self._began >= _SETTLED_SECONDS
        managed = shadows.counted(managed, batches, draft)
        up = shadows.ready(managed, self._fleet)
        view = View.of(self._fleet, name, managed.group or "", now)
        managed, entry = published(managed, view, settled=settled, shadowing=up)
        for _ in range(_MOST_MOVES):
            before = managed
            managed = waiting(managed, self._gate, self.now(), draft)
            tick, view = observed(
                managed, self._fleet, now, clock,
                batches=batches, commands=commands, alarms=alarms, eligible=self._allowed(managed, now),
            )  # fmt: skip
            passed = clock.since(managed.state.clock)
            state, happened = model.advance(managed.state, tick)
            managed = self._told(managed.but(state=state), happened, draft)
            managed = self._relocated(managed, view, passed, draft)
            view = View.of(self._fleet, name, managed.group or "", now)
            managed, entry = published(managed, view, settled=settled, shadowing=up)
            batches, commands, alarms = (), (), ()
            if _standing(before) == _standing(managed):
                break
        return managed, entry

    def _told(self, managed: Managed, happened: Sequence[effects.Effect], draft: Draft) -> Managed:
        """Take over what the machine tells: messages, quarantine and events."""
        name, rollout = managed.state.model, last_rollout(managed)
        for effect in happened:
            if isinstance(effect, effects.Message):
                log.log(logging.WARNING if effect.level == "alarm" else logging.INFO, "%s", effect.text)
                draft.said.append(Said(name, rollout, effect.level, effect.text))
            elif isinstance(effect, effects.Quarantine):
                managed = managed.but(quarantined={**managed.quarantined, effect.digest: self.now()})
            draft.events += audit.events(managed, effect, f"{self._gate.rules.environment}:watch")
            if isinstance(effect, effects.Record) and effect.kind.removeprefix("rollout.") in _ENDINGS:
                last = managed.state.rollout
                draft.add({("rollouts", name, "", public_state(last) if last else "failed"): 1.0})
        return managed

    def _relocated(self, managed: Managed, view: View, passed: float, draft: Draft) -> Managed:
        """Finish a change of group once the replicas there have loaded the version."""
        move, stable = managed.moving, managed.state.stable
        if move is None or stable is None:
            return managed
        name, waited = managed.state.model, move.waited + passed
        if view.loaded((stable.version, stable.digest)):
            moved = {**managed.releases[stable.digest], "group": move.group}
            draft.said.append(Said(name, move.id, "info", f"{name} {stable.version}: served by group {move.group!r}"))
            return managed.but(
                releases={**managed.releases, stable.digest: moved}, move=move.but(state="promoted", waited=waited)
            )
        if waited < self._seconds:
            return managed.but(move=move.but(waited=waited))
        error = view.failed((stable.version, stable.digest))
        reason = f"group {move.group!r} did not load it in time" + (f": {error[0]}" if error else "")
        draft.said.append(Said(name, move.id, "alarm", f"{name} {stable.version}: {reason}"))
        return managed.but(move=Move(id=move.id, group=move.group, state="failed", reason=reason))

    def _allowed(self, managed: Managed, now: float) -> frozenset[str]:
        """Return the digests that may be gone back to; asked anew twice a minute, since signatures cost time."""
        name = managed.state.model
        until, known = self._eligible.get(name, (0.0, frozenset()))
        wanted = frozenset(version.digest for version in managed.state.proven)
        if now >= until or not known <= wanted or len(wanted) > len(known):
            known = eligible(managed, self._gate, self.now())
            self._eligible[name] = (now + _ELIGIBLE_SECONDS, known)
        return known


def last_rollout(managed: Managed) -> str:
    """Return the id of what was asked for last, empty before anything was."""
    if managed.move is not None:
        return managed.move.id
    return managed.state.rollout.id if managed.state.rollout else ""


def _standing(managed: Managed) -> tuple[Any, ...]:
    """What changes when a model moves; clocks and counts do not."""
    state, rollout = managed.state, managed.state.rollout
    return (
        rollout and (rollout.id, rollout.phase, rollout.step, rollout.generation),
        state.stable, state.returning and state.returning.target, state.queued, managed.published, managed.move,
    )  # fmt: skip
