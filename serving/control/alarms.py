"""Alarms that monitors report about a version: drift, fairness, a failed check.

Each has a name of the monitor's choosing and counts once, so that a monitor may report it until it is answered. It is
written to the ledger in the transaction that moves the model by it.
"""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import sqlalchemy as sa
from pydantic import Field, ValidationError

from policies.ledger.events import PolicyVerdict
from policies.ledger.store import write_transaction
from serving.control.admission import RefusedError
from serving.control.audit import clean
from serving.control.drift import KIND as DRIFT
from serving.control.drift import Drift
from serving.control.records import Draft
from serving.control.schema import metadata
from serving.control.store import ConflictError, Store, UnknownError
from serving.rollout.observation import Alarm
from serving.rollout.record import Value

_KEYS = ("id", "kind", "digest", "reason", "action", "figures")
_IDENTIFIER = r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$"
_KIND = r"^[a-z][a-z0-9-]{0,59}$"

alarms_table = sa.Table(
    "alarms", metadata,
    sa.Column("model", sa.String, primary_key=True), sa.Column("id", sa.String, primary_key=True),
    sa.Column("body", sa.Text, nullable=False), sa.Column("at", sa.Float, nullable=False),
)  # fmt: skip


class Reported(Value):
    """An alarm as a monitor reports it."""

    id: str = Field(pattern=_IDENTIFIER)
    """Its name: the same on a repetition."""
    kind: str = Field(pattern=_KIND)
    """What was found: `drift`, `fairness`, …"""
    digest: str = Field(min_length=1, max_length=200)
    """The version that it is about."""
    reason: str = Field(min_length=1, max_length=1000)
    action: str = Field("alert", pattern="^(rollback|pause|alert)$")
    figures: dict[str, float] = Field(default_factory=dict, max_length=50)
    """What it was concluded from, for the ledger."""


class Alarms:
    """Takes alarms. Its methods belong to the controller's event loop."""

    def __init__(self, store: Store, drift: Drift | None = None) -> None:
        """Make it.

        Args:
            store: the controller's state.
            drift: where drift of a stable version is told to who trains; None where nobody listens.
        """
        self._store, self._drift = store, drift
        with write_transaction(store.database.engine) as connection:
            metadata.create_all(connection)

    def take(self, model: str, body: Mapping[str, Any], by: str) -> dict[str, Any]:
        """Take an alarm, once.

        Args:
            model: what it is about.
            body: the alarm.
            by: the monitor, as the ledger will name it.

        Returns:
            Whether it is new (`accepted`), and what the version is now: stable, candidate, or none of them, so that
            nothing but an entry in the ledger follows.

        Raises:
            UnknownError: there is no such model.
            RefusedError: it is malformed.
            ConflictError: there is another alarm of this name.
        """
        try:
            reported = Reported.model_validate(dict(body))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise RefusedError(f"{where}: {first['msg']}; allowed keys: by, {', '.join(_KEYS)}") from None
        document = self._store.model(model)
        if document is None:
            raise UnknownError(f"unknown model {model!r}")
        text, about = json.dumps(reported.to_json(), sort_keys=True), _about(document, reported.digest)
        with self._store.database.engine.connect() as connection:
            query = sa.select(alarms_table.c.body).where(
                alarms_table.c.model == model, alarms_table.c.id == reported.id
            )
            known = connection.execute(query).scalar_one_or_none()
        if known is not None:
            if known != text:
                raise ConflictError(f"there is another alarm {reported.id!r} about {model}; an alarm does not change")
            return {"accepted": False, "about": about}
        row = {"model": model, "id": reported.id, "body": text, "at": self._store.time}
        event = PolicyVerdict(
            person=by,
            model=model,
            digest=reported.digest,
            rule=f"monitor:{reported.kind}",
            subject=reported.id,
            verdict="failed",
            reasons=(clean(reported.reason),),
            evidence={"action": reported.action, "about": about, **reported.figures},
        )
        draft = Draft(events=[event], writes=[partial(_insert, row=row)])
        # A candidate is judged by its rollout; what it was trained on is about to be the data of today.
        if self._drift is not None and reported.kind == DRIFT and about == "stable":
            told = partial(self._drift.note, model=model, alarm=reported.to_json(), by=by, at=self._store.time)
            draft.writes.append(told)
        draft.add({("alarms", model, "", reported.action): 1.0})
        alarm = Alarm.model_validate(reported.model_dump(include={"kind", "digest", "reason", "action"}))
        self._store.take_in(draft, alarms={model: (alarm,)})
        return {"accepted": True, "about": about}


def _insert(connection: sa.Connection, row: Mapping[str, Any]) -> None:
    connection.execute(alarms_table.insert(), dict(row))


def _about(document: Mapping[str, Any], digest: str) -> str:
    rollout = document["rollout"] or {}
    running = rollout.get("state") in ("starting", "smoke", "step", "paused", "baking")
    if running and rollout["candidate"]["digest"] == digest:
        return "candidate"
    return "stable" if (document["served"] or {}).get("digest") == digest else "none"
