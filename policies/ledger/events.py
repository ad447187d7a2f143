"""The kinds of event that the ledger knows, each with what an auditor must find in it.

`person` is who did it: the principal of a human being, or the name of the part that acted (`controller`, `rule:local`).
The time is no part of an event: the ledger stamps it, by its clock, when the event is appended.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, StringConstraints, TypeAdapter, model_validator

from policies.releases.manifest import Version
from policies.releases.record import Digest, ModelName, Record, Time

Person = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\s\x00-\x1f\x7f]+$")]
Text = Annotated[str, StringConstraints(max_length=4000)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Place = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
"""A folder or a bucket as an address; a path of Linux has that many bytes at most."""
Evidence = dict[str, JsonValue]


class Event(Record):
    """What every event says. Model, version and digest are None where the event is not about one."""

    person: Person
    model: ModelName | None = None
    version: Version | None = None
    digest: Digest | None = None


class _OfModel(Event):
    model: ModelName


class _OfArtifact(Event):
    model: ModelName
    version: Version
    digest: Digest


class Training(_OfArtifact):
    """A training run registered a version."""

    kind: Literal["training"] = "training"
    run: Name
    commit: Name
    data_digest: Digest
    seed: int
    passed: bool
    reasons: tuple[Text, ...] = ()


class ApprovalGiven(_OfArtifact):
    """A person, or the rule of a baseline (`person` is then `rule:<environment>`), approved a digest."""

    kind: Literal["approval"] = "approval"
    role: Name
    key: Name | None = None  # fingerprint
    trust_root: Name | None = None
    environments: tuple[Name, ...]
    approved_at: Time
    expires_at: Time | None = None
    manifest_digest: Digest | None = None


class PolicyVerdict(Event):
    """A policy judged a change."""

    kind: Literal["policy-verdict"] = "policy-verdict"
    rule: Name
    subject: Name
    verdict: Literal["passed", "failed", "undetermined", "waived", "not-applicable", "deferred"]
    commit: Name | None = None
    reasons: tuple[Text, ...] = ()
    evidence: Evidence = Field(default_factory=dict)


class Approver(Record):
    """Who stands for a release."""

    principal: Person
    role: Name


class ReleaseStep(_OfArtifact):
    """A rollout took a step. `promoted` makes the version stable; `withdrawn` says that the model is no longer served.

    `weight` is the share of requests that the candidate gets from this step on.
    """

    kind: Literal["release-step"] = "release-step"
    rollout: Name
    step: Literal[
        "started", "weight", "paused", "resumed", "promoted", "baked", "aborted", "failed", "superseded", "withdrawn"
    ]
    strategy: Name
    weight: Annotated[float, Field(ge=0, le=1)] | None = None
    approvers: tuple[Approver, ...] = ()
    reason: Text = ""
    evidence: Evidence = Field(default_factory=dict)


class Rollback(_OfArtifact):
    """`version` and `digest` were taken away from users; `to_…` is what serves from now on, None if nothing does.

    `candidate`: it never was stable. `stable`: it was, and another version took its place.
    """

    kind: Literal["rollback"] = "rollback"
    rollout: Name
    arm: Literal["candidate", "stable"]
    to_version: Version | None = None
    to_digest: Digest | None = None
    trigger: Name
    reason: Text
    evidence: Evidence = Field(default_factory=dict)

    @model_validator(mode="after")
    def _target_is_whole(self) -> "Rollback":
        if (self.to_version is None) != (self.to_digest is None):
            raise ValueError("toVersion and toDigest are stated together")
        return self


class Quarantine(_OfModel):
    """A digest may not start a rollout any more, or may again."""

    kind: Literal["quarantine"] = "quarantine"
    digest: Digest
    action: Literal["quarantined", "lifted"]
    reason: Text
    evidence: Evidence = Field(default_factory=dict)


class Retraining(_OfModel):
    """A training was started by a schedule, an alarm or a person."""

    kind: Literal["retraining"] = "retraining"
    trigger: Name
    reason: Text
    job: Name | None = None
    evidence: Evidence = Field(default_factory=dict)


class AdministrativeAccess(Event):
    """Somebody used, or tried to use, a right over the platform."""

    kind: Literal["administrative-access"] = "administrative-access"
    action: Name
    resource: Name
    outcome: Literal["allowed", "refused"]
    reason: Text = ""
    address: Name | None = None


class CheckpointKey(Event):
    """From here on checkpoints are signed with a key, and kept in a place."""

    kind: Literal["checkpoint"] = "checkpoint"
    key: Name  # fingerprint
    place: Place


AnyEvent = Annotated[
    Training
    | ApprovalGiven
    | PolicyVerdict
    | ReleaseStep
    | Rollback
    | Quarantine
    | Retraining
    | AdministrativeAccess
    | CheckpointKey,
    Field(discriminator="kind"),
]
Kind = Literal[
    "training",
    "approval",
    "policy-verdict",
    "release-step",
    "rollback",
    "quarantine",
    "retraining",
    "administrative-access",
    "checkpoint",
]
# After an entry of these kinds a checkpoint is due at once.
RELEASE_KINDS: frozenset[str] = frozenset({"release-step", "rollback", "quarantine"})

_EVENTS: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)
_COLUMNS = ("kind", "person", "model", "version", "digest")


def split(event: AnyEvent) -> tuple[dict[str, str | None], dict[str, Any]]:
    """Take an event apart into what is searched for and the rest, as plain JSON data."""
    rest = event.to_json()
    return {name: rest.pop(name, None) for name in _COLUMNS}, rest


def join(columns: dict[str, str | None], rest: dict[str, Any]) -> AnyEvent:
    """Put an event together again.

    Raises:
        ValueError: (pydantic's) it is none of the kinds above.
    """
    return _EVENTS.validate_python({name: value for name, value in columns.items() if value is not None} | rest)
