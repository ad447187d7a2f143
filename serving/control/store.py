"""The release controller: keeps models, moves their rollouts by the pure machine, and publishes what is to be served.

Every step is one transaction of state, counters and ledger under the lease; memory, snapshot and replicas follow it. A
controller that is killed anywhere goes on from what was committed last.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from policies.ledger.checkpointer import Checkpointer, CheckpointPlace
from policies.ledger.store import Ledger
from policies.releases.decision import EnvironmentRules
from policies.releases.signing import PrivateKey
from serving.control import audit, shadows
from serving.control.admission import RefusedError, admit, approve, eligible, parse_strategy
from serving.control.database import Database
from serving.control.fleet import Fleet, Report, View
from serving.control.gate import Gate
from serving.control.managed import Managed, published
from serving.control.mover import Mover, last_rollout
from serving.control.records import Draft, Records, Said
from serving.control.reports import read_applications, read_report
from serving.control.series import Key, surplus
from serving.control.view import document, possible, public_state, stated
from serving.rollout import model
from serving.rollout.observation import Alarm, Batch, Command, CommandKind
from serving.state import Entry, Release, State, write_snapshot

log = logging.getLogger(__name__)

_FORGET_SECONDS = 7 * 24 * 3600.0
_RENEW_SECONDS = 1.5
_EXPIRY_SECONDS = 60.0

LOCAL = Gate(EnvironmentRules(environment="local", approval="rule", signature="optional"), {})
"""The gate where an environment states no rules: what passed its evaluation is approved by rule."""


class ConflictError(Exception):
    """A command has no effect in the present state; the message says what would."""


class UnknownError(Exception):
    """There is no such model."""


class Store:
    """The controller's state. Its methods are called from one thread."""

    def __init__(
        self,
        database: str,
        snapshot: Path,
        key: str,
        *,
        rollout_seconds: float,
        clock: Callable[[], float],
        monotonic: Callable[[], float] | None = None,
        gate: Gate = LOCAL,
        holder: str | None = None,
    ) -> None:
        """Take the lease, read the database and write the snapshot.

        Args:
            database: SQLAlchemy address.
            snapshot: path of the signed snapshot.
            key: what it is signed with.
            rollout_seconds: how long replicas may take to load a version.
            clock: the time in seconds since the epoch.
            monotonic: seconds that never jump; the clock by default.
            gate: the environment's rules.
            holder: name of this process for the lease.

        Raises:
            LeaseHeldError: another controller is at work.
        """
        self._snapshot, self._key, self._seconds, self._clock = snapshot, key, rollout_seconds, clock
        self._monotonic = monotonic or clock
        self.gate = gate
        self._fleet = Fleet()
        self._mover = Mover(self._fleet, gate, seconds=rollout_seconds, clock=clock, monotonic=self._monotonic)
        self.database = Database(database, holder or self._mover.boot, clock)
        self.ledger = Ledger(self.database.engine, lambda: datetime.fromtimestamp(clock(), UTC))
        self.checkpointer: Checkpointer | None = None
        self._records = Records(self.database, self.ledger)
        self._records.read()
        self._entries: dict[str, Entry] = {}
        self._written = self._expiry_due = self._monotonic()
        for name, managed in self._records.managed.items():
            if not managed.withdrawn:
                self._entries[name] = published(managed, View([], (), heard=False), settled=False)[1]
        self._snapshot_due = True
        self.write_snapshot()

    def seal_with(self, place: CheckpointPlace, key: PrivateKey) -> Checkpointer:
        """Make checkpoints of the ledger from now on, one at every release step."""
        self.checkpointer = Checkpointer(
            self.ledger, place, key, clock=lambda: datetime.fromtimestamp(self._clock(), UTC), monotonic=time.monotonic
        )
        return self.checkpointer

    # --- what is --------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """What is published now."""
        return State(self._records.generation, dict(self._entries))

    @property
    def series(self) -> dict[Key, float]:
        """The counters of all replicas together."""
        return self._records.series

    @property
    def time(self) -> float:
        """Seconds since 1970."""
        return self._clock()

    def replicas(self) -> dict[str, int]:
        """Return the number of live replicas by group."""
        return self._fleet.counts(self._monotonic())

    def models(self) -> list[str]:
        """Return the names of all models."""
        return sorted(self._entries)

    def model(self, name: str) -> dict[str, Any] | None:
        """Return a model as the API shows it, None if it is unknown."""
        managed = self._records.managed.get(name)
        if managed is None or managed.withdrawn:
            return None
        said = self._records.said(name, last_rollout(managed))
        view = View.of(self._fleet, name, managed.group or "", self._monotonic())
        return document(managed, said, shadows.conditions(managed, self._fleet), view.problems)

    def stated(self, name: str) -> dict[str, Any] | None:
        """Return the release that is served with its manifest and strategy, None if there is none."""
        managed = self._records.managed.get(name)
        if managed is None or managed.withdrawn or managed.published is None:
            return None
        return stated(managed)

    # --- what is asked --------------------------------------------------------------------------------------------

    def release(
        self,
        name: str,
        release: Release,
        strategy: Mapping[str, Any],
        approval: Any = None,
        *,
        manifest: Mapping[str, Any] | None = None,
        by: str = "unknown",
    ) -> dict[str, Any]:
        """Start a rollout; asking for what is served already, or for what is rolling out, changes nothing.

        Returns:
            The rollout as the API shows it.

        Raises:
            RefusedError: the strategy is wrong, or the release may not start here. That is written to the ledger.
        """
        self._sure()
        wanted = parse_strategy(strategy, self._seconds)
        managed = self._records.managed.get(name) or Managed(state=model.ModelState(model=name))
        managed = managed.but(withdrawn=False)
        draft, now = Draft(), self._mover.now()
        try:
            managed = admit(managed, release, wanted, approval, manifest, self.gate, by, now, draft)
        except RefusedError as error:
            event = audit.refusal(
                by, "release", name, {"version": release.version, "digest": release.digest}, str(error)
            )
            self._commit(Draft(events=[event]))
            raise
        self._advance({name: managed}, draft)
        found = self.model(name)
        assert found is not None
        rollout: dict[str, Any] = found["rollout"] or {}
        queued = found["queued"]
        if queued is not None and queued["candidate"]["digest"] == release.digest:
            # Until it begins the one before it is shown.
            rollout = {"id": queued["id"], "state": "starting", "reason": "waits for the rollout before it"}
        return rollout

    def command(self, name: str, kind: CommandKind, by: str, reason: str) -> dict[str, Any]:
        """Obey a person.

        Raises:
            UnknownError: there is no such model.
            ConflictError: it would have no effect.
        """
        managed = self._known(name)
        allowed = possible(managed)
        if kind not in allowed:
            rollout = managed.state.active
            where = f"while it is {public_state(rollout)}" if rollout else "while no rollout is running"
            raise ConflictError(
                f"{kind} has no effect on {name} {where}; possible now: {', '.join(allowed) or 'nothing'}"
            )
        draft = Draft(events=[audit.access(by, f"rollout-{kind}", name, reason)])
        self._advance({name: managed}, draft, commands={name: (Command(kind=kind, by=by, reason=reason),)})
        return self.model(name) or {}

    def approve(self, name: str, digest: str, approval: Any, by: str) -> dict[str, Any]:
        """Add an approval to the manifest of a release; enough of them lift a quarantine.

        Raises:
            UnknownError: there is no such model.
            RefusedError: there is no manifest of that digest, or the approval is malformed.
        """
        managed, draft = self._known(name), Draft()
        managed = approve(managed, digest, approval, self.gate, by, self._mover.now(), draft)
        self._advance({name: managed}, draft)
        return self.model(name) or {}

    def shadow(self, name: str, wanted: Sequence[Any], by: str) -> dict[str, Any]:
        """Let a model have these shadows and no others.

        Raises:
            UnknownError: there is no such model.
            RefusedError: one is malformed or may not run here. That is written to the ledger.
        """
        managed, draft = self._known(name), Draft()
        try:
            managed = shadows.state(managed, wanted, self.gate, by, self._mover.now(), last_rollout(managed), draft)
        except RefusedError as error:
            self._commit(Draft(events=[audit.refusal(by, "shadows", name, {}, str(error))]))
            raise
        self._advance({name: managed}, draft)
        return self.model(name) or {}

    def delete(self, name: str, by: str = "unknown") -> bool:
        """Stop serving a model; says whether it was known. Its quarantine stays."""
        self._sure()
        managed = self._records.managed.get(name)
        if managed is None or managed.withdrawn:
            return False
        draft = Draft(generation=self._records.generation + 1)
        event = audit.withdrawn(managed, by)
        if event is not None:
            draft.events.append(event)
        if managed.state.quarantine:
            kept = model.ModelState(
                model=name, quarantine=managed.state.quarantine, generation=managed.state.desired().generation
            )
            draft.managed[name] = Managed(
                state=kept, withdrawn=True, manifests=managed.manifests, quarantined=managed.quarantined
            )
        else:
            draft.removed.add(name)
        self._commit(draft)
        del self._entries[name]
        self._publish()
        return True

    # --- what is reported -----------------------------------------------------------------------------------------

    def report(self, replica: str, report: Any) -> int:
        """Take a replica's report; returns the number of the last batch of counters that was taken from it.

        Raises:
            RefusedError: it is malformed.
        """
        reported = read_report(report)
        self._sure()
        last = self._records.sequences.get(replica, 0)
        draft, batches = Draft(), dict[str, list[Batch]]()
        self._fleet.put(replica, Report(reported.group, self._monotonic(), reported.models))
        for one in reported.counted:
            if one.sequence > last:
                last = draft.sequences[replica] = one.sequence
                draft.add(one.added)
                for name, batch in one.arms:
                    batches.setdefault(name, []).append(batch)
        self._advance(self._due(batches), draft, batches=batches)
        return last

    def applications(self, reported: Any) -> None:
        """Take the actuator's report about candidates' applications.

        Raises:
            RefusedError: it is malformed.
        """
        told, wanted = read_applications(reported), self._beside()
        # A look from before a rollout ended may come after its end.
        self._fleet.put_applications({name: one for name, one in told.items() if name in wanted})
        self.step()

    def step(self) -> None:
        """Move everything as far as it can go, renew the lease, and write the snapshot if that has failed before.

        Raises:
            LeaseLostError: another controller took over.
        """
        self._sure()
        self._check_expiry()
        self._advance(self._due(()), Draft())
        if self._monotonic() - self._written >= _RENEW_SECONDS:
            self._commit(Draft())
        if self._snapshot_due:
            self.write_snapshot()

    def forget(self) -> None:
        """Drop replicas that are long gone, and the counters of versions that are."""
        served = {name: {release.version for release in entry.releases} for name, entry in self._entries.items()}
        self._records.forget(self._clock() - _FORGET_SECONDS, surplus(self.series, served))
        self._fleet.forget(self._monotonic())

    def write_snapshot(self) -> None:
        """Write the signed snapshot; a full disk is reported and tried again later."""
        try:
            write_snapshot(self._snapshot, self._key, self.state)
        except OSError as error:
            self._snapshot_due = True
            log.error("the snapshot cannot be written, replicas would start from an older one: %s", error)  # noqa: TRY400
        else:
            self._snapshot_due = False

    def close(self) -> None:
        """Give the lease back and close the database."""
        self.database.release()

    def take_in(
        self,
        draft: Draft,
        *,
        batches: Mapping[str, Sequence[Batch]] | None = None,
        alarms: Mapping[str, tuple[Alarm, ...]] | None = None,
    ) -> None:
        """Let models move by what came in beside the replicas' reports, in one transaction with what is to be written.

        Args:
            draft: what is to be written.
            batches: counts of labels, by model.
            alarms: alarms of monitors, by model.
        """
        self._sure()
        self._advance(self._due({**(batches or {}), **(alarms or {})}), draft, batches=batches, alarms=alarms)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _sure(self) -> None:
        """Go on from what the database says, if it went away while it was written to: it may have taken that or not.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: it is still away; nothing is decided meanwhile.
        """
        if not self._records.renew():
            return
        log.warning("the database is back; going on from what it says")
        now, self._entries = self._monotonic(), {}
        for name, managed in self._records.managed.items():
            if not managed.withdrawn:
                view, up = View.of(self._fleet, name, managed.group or "", now), shadows.ready(managed, self._fleet)
                self._entries[name] = published(managed, view, settled=False, shadowing=up)[1]
        self._publish()

    def _known(self, name: str) -> Managed:
        self._sure()
        managed = self._records.managed.get(name)
        if managed is None or managed.withdrawn:
            raise UnknownError(f"unknown model {name!r}")
        return managed

    def _due(self, counted: Sequence[str] | Mapping[str, Any]) -> dict[str, Managed]:
        """Return the models that may have to move: those in motion, and those with new counts."""
        due = {}
        for name, managed in self._records.managed.items():
            state = managed.state
            desired = state.desired().stable
            moving = state.active or state.returning or state.queued or managed.moving
            if not managed.withdrawn and (
                moving or name in counted or (desired and desired.digest) != managed.published or self._awaited(managed)
            ):
                due[name] = managed
        return due

    def _awaited(self, managed: Managed) -> bool:
        """Say whether a shadow has come up or gone down since copies were shared out."""
        entry = self._entries.get(managed.state.model, Entry())
        up = shadows.ready(managed, self._fleet)
        return any((one.release.digest in up) != (one.name in entry.split.shadows) for one in entry.shadows)

    def _advance(
        self,
        due: Mapping[str, Managed],
        draft: Draft,
        *,
        batches: Mapping[str, Sequence[Batch]] | None = None,
        commands: Mapping[str, tuple[Command, ...]] | None = None,
        alarms: Mapping[str, tuple[Alarm, ...]] | None = None,
    ) -> None:
        """Move models, write everything in one transaction, then publish."""
        entries: dict[str, Entry] = {}
        for name, managed in due.items():
            new = tuple((batches or {}).get(name, ()))
            asked, raised = (commands or {}).get(name, ()), (alarms or {}).get(name, ())
            draft.managed[name], entries[name] = self._mover.move(managed, new, asked, draft, raised)
        changed = {name: entry for name, entry in entries.items() if self._entries.get(name) != entry}
        if changed:
            draft.generation = self._records.generation + 1
        if not draft.empty:
            self._commit(draft)
        if changed:
            self._entries |= changed
            self._publish()

    def _beside(self) -> set[str]:
        return {one.name for entry in self._entries.values() for one in entry.beside}

    def _publish(self) -> None:
        self._fleet.keep_applications(self._beside())
        self.write_snapshot()

    def _check_expiry(self) -> None:
        """Send a stable version back whose approval has ended, if there is where to; restarts go on serving it.

        Shadows that may not run any more are ended.
        """
        now = self._monotonic()
        if now < self._expiry_due:
            return
        self._expiry_due = now + _EXPIRY_SECONDS
        for name, managed in list(self._records.managed.items()):
            if managed.shadows and not managed.withdrawn:
                ended = Draft()
                kept = shadows.kept(managed, self.gate, self._mover.now(), last_rollout(managed), ended)
                if kept != managed:
                    self._advance({name: kept}, ended)
        for name, managed in list(self._records.managed.items()):
            stable = managed.state.stable
            if stable is None or managed.withdrawn or stable.digest in eligible(managed, self.gate, self._mover.now()):
                continue
            if managed.expired == stable.digest or managed.state.active or managed.state.returning:
                continue
            reason = f"the approval of the stable version {stable.version} has ended"
            log.warning("%s: %s", name, reason)
            draft = Draft(said=[Said(name, last_rollout(managed), "alarm", f"{name}: {reason}")])
            command = Command(kind="rollback", by="rule:approval-expiry", reason=reason)
            self._advance({name: managed.but(expired=stable.digest)}, draft, commands={name: (command,)})

    def _commit(self, draft: Draft) -> None:
        entries = self._records.commit(draft, self._clock())
        self._written = self._monotonic()
        if entries and self.checkpointer is not None:
            try:
                self.checkpointer.after(entries)
            except Exception:
                # The state is stored, and the next look tries again; a broken ledger is for `audit verify` to tell.
                log.exception("no checkpoint of the ledger could be made")


__all__ = ["ConflictError", "RefusedError", "Store", "UnknownError"]
