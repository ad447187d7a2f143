"""What holds state stays: it cannot be deleted by mistake, and no step replaces, deletes or unprotects it unseen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from policies.facts import EnvironmentKind
from policies.plan import Resource, Step
from policies.rule import Answer, Level, Problem, World, resource_rule, step_rule
from policies.stateful import STATEFUL, TYPES

PROD: Final[Mapping[EnvironmentKind, Level]] = {"prod": "mandatory", "staging": "off", "dev": "off", "local": "off"}
KEPT: Final[Mapping[EnvironmentKind, Level]] = {**PROD, "staging": "mandatory"}
_GUARDED: Final = tuple(one.type for one in STATEFUL.values() if one.guarded or one.switch)


@resource_rule(
    id="rollback.state-protected",
    title="In production, what holds state cannot be deleted by an update",
    severity="critical",
    why="A renamed resource or a `destroy` in the wrong stack deletes what no rollback brings back.",
    fix="make it with `protect` and with its service's own deletion protection: `aws.protected: true` states both",
    references=("AWS FSBP RDS.8", "AWS FSBP DynamoDB.6", "NIST AI RMF MANAGE 2.3"),
    types=_GUARDED,
    levels=PROD,
)
def state_protected(resource: Resource, _: World) -> Iterator[Answer]:
    """Look at the engine's protection and at the switch of the service."""
    kind = STATEFUL[resource.type]
    if kind.guarded and not resource.protect:
        yield Problem(
            f"the engine may delete it, and {kind.holds} with it: it is registered without `protect`",
            setting="aws.protected",
        )
    if kind.switch is not None and (shown := resource.value(kind.switch, default=kind.default)) is not kind.safe:
        yield Problem(
            f"{kind.switch} is {_text(shown)}, it must be {_text(kind.safe)}: {kind.holds} can be deleted",
            path=kind.switch,
            setting="aws.protected",
        )


@step_rule(
    id="rollback.state-kept",
    title="No step replaces or deletes what holds state",
    severity="critical",
    why="A replacement makes an empty one beside it and deletes the old one: no rollback brings the content back.",
    fix="undo the change that forces it, or move the content first and let a named person answer for it by a waiver",
    references=("NIST AI RMF MANAGE 2.3", "NIST AI RMF MANAGE 2.4", "EU AI Act Art. 15"),
    types=TYPES,
    levels=KEPT,
)
def state_kept(step: Step, _: World) -> Iterator[Answer]:
    """Refuse replacements and deletions."""
    holds = STATEFUL[step.type].holds
    if step.operation == "delete":
        yield Problem(f"this plan deletes it, and {holds} with it", urn=step.urn)
    elif step.operation == "replace":
        causes = ", ".join(step.replaces) or "a change of its inputs"
        path = next(iter(step.replaces), "")
        yield Problem(f"this plan replaces it ({causes}), and {holds} is lost", urn=step.urn, path=path)


@dataclass(frozen=True)
class _Guard:
    """An input that guards state.

    Attributes:
        path: where it stands.
        safe: the value that guards; None where a greater number guards more.
        default: what the service takes where it is not stated.
    """

    path: tuple[str | int, ...]
    safe: bool | str | None = None
    default: Any = None

    def weaker(self, old: Resource, new: Resource) -> tuple[Any, Any] | None:
        """Return both values where the new one guards less.

        Raises:
            UndeterminedError: one of them is not known.
        """
        before, after = old.value(*self.path, default=self.default), new.value(*self.path, default=self.default)
        less = after < before if self.safe is None else after != self.safe and before == self.safe
        return (before, after) if less else None


_RETENTION: Final = ("rule", "defaultRetention")
_GUARDS: Final[Mapping[str, tuple[_Guard, ...]]] = {
    **{one.type: (_Guard((one.switch,), one.safe, one.default),) for one in STATEFUL.values() if one.switch},
    "aws:rds/instance:Instance": (
        _Guard(("deletionProtection",), safe=True),
        _Guard(("skipFinalSnapshot",), safe=False, default=False),
        _Guard(("deleteAutomatedBackups",), safe=False),
        _Guard(("backupRetentionPeriod",), default=0),
    ),
    "aws:dynamodb/table:Table": (
        _Guard(("deletionProtectionEnabled",), safe=True),
        _Guard(("pointInTimeRecovery", "enabled"), safe=True),
    ),
    "aws:kms/key:Key": (_Guard(("deletionWindowInDays",), default=30),),
    "aws:s3/bucketVersioning:BucketVersioning": (_Guard(("versioningConfiguration", "status"), safe="Enabled"),),
    "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration": (
        _Guard((*_RETENTION, "mode"), safe="COMPLIANCE"),
        _Guard((*_RETENTION, "days"), default=0),
        _Guard((*_RETENTION, "years"), default=0),
    ),
}
_CONFIGURATIONS: Final = tuple(name for name in _GUARDS if name not in STATEFUL)


@step_rule(
    id="rollback.protection-kept",
    title="No step takes protection or backups off what holds state",
    severity="high",
    why="Whoever wants to delete what is protected first takes the protection off: this is where that is seen.",
    fix="keep the protection, or let a named person answer for its removal by a waiver",
    references=("NIST AI RMF MANAGE 2.3",),
    types=(*TYPES, *_CONFIGURATIONS),
    levels=KEPT,
    yields_to=(
        "rollback.state-protected", "rollback.database-backed-up", "rollback.table-restorable",
        "rollback.artifact-retained", "security.key-deletion-waits", "governance.audit-immutable",
    ),
)  # fmt: skip
def protection_kept(step: Step, _: World) -> Iterator[Answer]:
    """Compare before and after."""
    old, new = step.old, step.new
    if step.operation == "delete" and step.type in _CONFIGURATIONS:
        yield Problem("this plan takes it away, and with it what keeps old versions of objects", urn=step.urn)
    if old is None or new is None:
        return
    if old.protect and not new.protect:
        yield Problem("this plan takes `protect` off it", urn=step.urn, setting="aws.protected")
    for guard in _GUARDS.get(step.type, ()):
        if found := guard.weaker(old, new):
            path = ".".join(map(str, guard.path))
            yield Problem(
                f"{path} goes from {_text(found[0])} to {_text(found[1])}: it guards less than before", step.urn, path
            )


def _text(value: Any) -> str:
    """Return a value as a stack file has it."""
    return str(value).lower() if isinstance(value, bool) else "nothing" if value is None else str(value)
