"""A rule: one question about a plan, with why it is asked and what to do when the answer is no.

A rule is a function with a decorator. It yields a `Problem` for each thing that is wrong and nothing where all is well.
It reads inputs by `Resource.value`, which makes it undetermined where a value is not known; it never catches that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeVar, get_args

from policies.facts import EnvironmentKind, Facts
from policies.plan import Plan, Resource, Step

Family = Literal["governance", "cost", "rollback", "security", "reliability"]
Severity = Literal["critical", "high", "medium", "low"]
Scope = Literal["resource", "plan", "step"]
Level = Literal["mandatory", "advisory", "off"]

FAMILIES: tuple[Family, ...] = get_args(Family)
GATED: Mapping[EnvironmentKind, Level] = {
    "prod": "mandatory", "staging": "mandatory", "dev": "advisory", "local": "off",
}  # fmt: skip
"""How a rule counts in each kind of environment unless it says otherwise."""
EVERYWHERE_ON_AWS: Mapping[EnvironmentKind, Level] = {**GATED, "dev": "mandatory"}
PRODUCTION_ONLY: Mapping[EnvironmentKind, Level] = {**GATED, "staging": "advisory", "dev": "off"}


@dataclass(frozen=True)
class Problem:
    """What is wrong.

    Attributes:
        text: what, with the value that is there and what is allowed; never the value of a secret.
        urn: the resource, where a rule about the whole plan means one.
        path: the input that is meant, such as `versioning.enabled`.
        setting: the key of the stack's settings where it is to be mended, such as `aws.kubernetes.pools.gpu`.
    """

    text: str
    urn: str = ""
    path: str = ""
    setting: str = ""


@dataclass(frozen=True)
class Deferred:
    """What only the account can tell; the deploy job checks it before its first step.

    Attributes:
        text: what is to be checked.
        check: name of the check, such as `quota`.
        arguments: what the check needs.
        urn: the resource that is meant.
    """

    text: str
    check: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    urn: str = ""


Answer = Problem | Deferred


@dataclass(frozen=True)
class World:
    """All that a rule may look at.

    Attributes:
        plan: what is planned.
        facts: what is stated of the environment.
        now: the time, with its zone.
    """

    plan: Plan
    facts: Facts
    now: datetime


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule and what is said of it.

    Attributes:
        id: family and what must hold, as `security.bucket-not-public`.
        title: what must hold, as a sentence.
        family: family.
        severity: how bad it is.
        why: the harm that it keeps away.
        fix: what to do when it fails.
        references: articles of frameworks that truly ask for this, as `CIS AWS 3.0 2.1.4`.
        scope: whether it judges one resource, the plan, or one step of it.
        types: the types of resources that it judges; of a rule about the plan, those without which it does not apply.
        levels: how it counts in each kind of environment.
        waivable: whether a waiver may cover it.
        yields_to: ids of rules that say it better: what one of them finds at the same input (or, where this rule names
            none, at the same resource) is not said twice.
        judge: the function itself.
    """

    id: str
    title: str
    family: Family
    severity: Severity
    why: str
    fix: str
    references: Sequence[str]
    scope: Scope
    types: Sequence[str]
    levels: Mapping[EnvironmentKind, Level]
    waivable: bool
    yields_to: Sequence[str] = ()
    judge: Callable[..., Iterable[Answer]]

    def level(self, environment: EnvironmentKind) -> Level:
        """Return how it counts in an environment."""
        return self.levels.get(environment, "mandatory")

    def __call__(self, *arguments: Any) -> list[Answer]:
        """Ask it."""
        return list(self.judge(*arguments))


_ResourceJudge = TypeVar("_ResourceJudge", bound=Callable[[Resource, World], Iterable[Answer]])
_PlanJudge = TypeVar("_PlanJudge", bound=Callable[[World], Iterable[Answer]])
_StepJudge = TypeVar("_StepJudge", bound=Callable[[Step, World], Iterable[Answer]])


@dataclass(frozen=True, kw_only=True)
class Meta:
    """What is said of a rule, for the decorators below; see `Rule`."""

    id: str
    title: str
    severity: Severity
    why: str
    fix: str
    references: Sequence[str] = ()
    types: Sequence[str] = ()
    levels: Mapping[EnvironmentKind, Level] = field(default_factory=lambda: dict(GATED))
    waivable: bool = True
    yields_to: Sequence[str] = ()

    def rule(self, scope: Scope, judge: Callable[..., Iterable[Answer]]) -> Rule:
        """Make the rule.

        Raises:
            ValueError: its id does not begin with a family, or it would never be asked.
        """
        family = next((one for one in FAMILIES if self.id.startswith(one + ".")), None)
        if family is None:
            raise ValueError(f"rule {self.id!r}: the id begins with one of {', '.join(FAMILIES)} and a dot")
        if scope != "plan" and not self.types:
            raise ValueError(f"rule {self.id!r}: it would be asked of nothing; name its types, or `*` for all")
        return Rule(
            id=self.id, title=self.title, family=family, severity=self.severity, why=self.why, fix=self.fix,
            references=tuple(self.references), scope=scope, types=tuple(self.types), levels=dict(self.levels),
            waivable=self.waivable, yields_to=tuple(self.yields_to), judge=judge,
        )  # fmt: skip


def resource_rule(**meta: Any) -> Callable[[_ResourceJudge], Rule]:
    """Make a rule of a function `(resource, world)` that is asked of each resource of `types`; see `Meta`."""
    return lambda judge: Meta(**meta).rule("resource", judge)


def plan_rule(**meta: Any) -> Callable[[_PlanJudge], Rule]:
    """Make a rule of a function `(world)` that is asked once; with `types`, only where the plan has one of them."""
    return lambda judge: Meta(**meta).rule("plan", judge)


def step_rule(**meta: Any) -> Callable[[_StepJudge], Rule]:
    """Make a rule of a function `(step, world)` that is asked of each step over a resource of `types`."""
    return lambda judge: Meta(**meta).rule("step", judge)
