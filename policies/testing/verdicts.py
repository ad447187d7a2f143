"""What a rule says of a plan, as assertions: `admit`, `deny`, `undetermined`, `defer`, `skip`.

They ask the rule as the gate does (`policies.evaluation.evaluate`), so that a test holds for what stops a merge and not
for a function alone. Each assertion is noted with its rule: that is how a rule without a case of some kind is found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Literal

from policies.evaluation import Evaluation, Finding, evaluate
from policies.facts import GATE
from policies.plan import MISSING, Plan, Resource, Secret, Step, Unknown
from policies.rule import Rule, World
from policies.testing.build import world

Kind = Literal["admit", "deny", "unknown", "deferred", "skipped"]
NEEDED: tuple[Kind, ...] = ("admit", "deny", "unknown")
"""What every rule must have a case of."""


@dataclass(frozen=True)
class Case:
    """One assertion that was made.

    Attributes:
        rule: id of the rule.
        kind: what was asserted.
        world: what the rule looked at; None where a rule was stated to read nothing unknown.
    """

    rule: str
    kind: Kind
    world: World | None


_notes: ContextVar[list[Case] | None] = ContextVar("_notes", default=None)


@contextmanager
def noted() -> Iterator[list[Case]]:
    """Note the assertions that are made inside."""
    cases: list[Case] = []
    token = _notes.set(cases)
    try:
        yield cases
    finally:
        _notes.reset(token)


def ask(rule: Rule, *things: Resource | Step, **facts: Any) -> Evaluation:
    """Return what a rule says; see `policies.testing.build.world` for the arguments."""
    return evaluate([_strict(rule)], world(*things, **facts))


def admit(rule: Rule, *things: Resource | Step, **facts: Any) -> None:
    """Assert that a rule is asked and finds nothing wrong.

    Args:
        rule: the rule.
        *things: resources and steps of the plan.
        **facts: see `policies.testing.build.world`.
    """
    found = _asked(rule, "admit", things, facts)
    assert not found.findings, f"{rule.id} should admit this, and says:\n{_told(found)}"
    assert found.counts.get("passed"), f"{rule.id} was asked of nothing: {dict(found.counts)}"


def deny(
    rule: Rule,
    *things: Resource | Step,
    says: str | Sequence[str] = (),
    path: str | None = None,
    setting: str | None = None,
    at: Resource | str | None = None,
    times: int = 1,
    **facts: Any,
) -> list[Finding]:
    """Assert that a rule finds something wrong, and exactly so often.

    Args:
        rule: the rule.
        *things: resources and steps of the plan.
        says: texts that each must be in what is said.
        path: path of the input that must be named.
        setting: key of the settings that must be named.
        at: the resource that must be named; "" for the stack.
        times: how many problems.
        **facts: see `policies.testing.build.world`.

    Returns:
        The findings.
    """
    found = _asked(rule, "deny", things, facts)
    failed = [one for one in found.findings if one.status == "failed"]
    assert failed, f"{rule.id} should deny this, and says: {_told(found) or dict(found.counts)}"
    assert len(found.findings) == times, f"{rule.id} should say it {times} times, and says:\n{_told(found)}"
    for text in [says] if isinstance(says, str) else says:
        assert any(text in one.text for one in failed), f"{rule.id} does not say {text!r}, but:\n{_told(found)}"
    if path is not None:
        assert path in [one.path for one in failed], f"{rule.id} does not name {path!r}, but:\n{_told(found)}"
    if setting is not None:
        assert setting in [one.setting for one in failed], f"{rule.id} does not name {setting!r}, but:\n{_told(found)}"
    if at is not None:
        urn = at if isinstance(at, str) else at.urn
        assert urn in [one.urn for one in failed], f"{rule.id} does not name {urn!r}, but:\n{_told(found)}"
    return failed


def undetermined(rule: Rule, *things: Resource | Step, path: str | None = None, **facts: Any) -> list[Finding]:
    """Assert that a rule cannot tell, since a value is not known; a rule that trips over it does not count.

    Args:
        rule: the rule.
        *things: resources and steps of the plan.
        path: path of the value that is not known.
        **facts: see `policies.testing.build.world`.
    """
    found = _asked(rule, "unknown", things, facts)
    still = [one for one in found.findings if one.status == "undetermined"]
    assert still, f"{rule.id} should not be able to tell, and says: {_told(found) or dict(found.counts)}"
    for one in still:
        assert not one.text.startswith("the rule failed"), f"{rule.id} trips: {one.text}"
    assert path is None or path in [one.path for one in still], f"{rule.id} does not name {path!r}:\n{_told(found)}"
    return still


def defer(rule: Rule, *things: Resource | Step, check: str, **facts: Any) -> list[Finding]:
    """Assert that a rule leaves something to the deploy job, under the name `check`, and says nothing else."""
    found = _asked(rule, "deferred", things, facts)
    names = [(one.status, one.check.get("name")) for one in found.findings]
    assert set(names) == {("deferred", check)}, f"{rule.id} should defer {check!r}, and says:\n{_told(found)}"
    return list(found.findings)


def skip(rule: Rule, *things: Resource | Step, **facts: Any) -> None:
    """Assert that a rule does not apply."""
    found = _asked(rule, "skipped", things, facts)
    assert found.counts == {"not applicable": 1}, f"{rule.id} should not apply, and says: {_told(found) or found}"


def reads_nothing_unknown(rule: Rule, *things: Resource | Step, why: str, **facts: Any) -> None:
    """State that no unknown input can change what a rule says, and assert it: each input in turn is made unknown.

    Args:
        rule: the rule.
        *things: a plan that it admits or denies.
        why: why it is so; for those who read the test.
        **facts: see `policies.testing.build.world`.
    """
    assert len(why) > 10, "say why, in a sentence"
    _note(Case(rule.id, "unknown", None))
    before = _statuses(evaluate([_strict(rule)], world(*things, **facts)))
    for name, changed in veiled(world(*things, **facts)):
        after = _statuses(evaluate([_strict(rule)], changed))
        assert after == before, f"{rule.id} reads {name}: with it unknown it says {after}, without {before}"


def veiled(seen: World) -> Iterator[tuple[str, World]]:
    """Yield a world for each input of each resource (but the gate's) in which that input is not known."""
    for index, one in enumerate(seen.plan.resources):
        if one.type == GATE:
            continue
        for name, value in one.inputs.items():
            if value is MISSING or isinstance(value, Unknown):
                continue
            origins = tuple(one.property_dependencies.get(name, ()))
            hidden: Unknown | Secret = Secret(Unknown(origins)) if isinstance(value, Secret) else Unknown(origins)
            new = replace(one, inputs={**one.inputs, name: hidden})
            resources = [*seen.plan.resources[:index], new, *seen.plan.resources[index + 1 :]]
            steps = None
            if seen.plan.steps is not None:
                steps = [replace(each, new=new) if each.new == one else each for each in seen.plan.steps]
            plan = Plan(stack=seen.plan.stack, resources=resources, steps=steps)
            yield f"{name} of {one.name}", replace(seen, plan=plan)


def _asked(rule: Rule, kind: Kind, things: Sequence[Resource | Step], facts: Mapping[str, Any]) -> Evaluation:
    seen = world(*things, **facts)
    _note(Case(rule.id, kind, seen))
    return evaluate([_strict(rule)], seen)


def _strict(rule: Rule) -> Rule:
    """Return the rule as one that is asked in every environment: where it is off there is nothing to test."""
    return replace(rule, levels={})


def _note(case: Case) -> None:
    notes = _notes.get()
    if notes is not None:
        notes.append(case)


def _statuses(found: Evaluation) -> dict[str, int]:
    return dict(found.counts)


def _told(found: Evaluation) -> str:
    return "\n".join(f"  [{one.status}] {one.urn} {one.path}: {one.text}" for one in found.findings)
