"""The review of a change: what the plan of each stack does, what rules say of it, what it costs, what becomes of gates.

The document is whole before anything is rendered, and says itself whether the change may be merged. Whatever is missing
in it (a plan, an evaluation, the rule set of the base) stands against that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from policies.evaluation import Evaluation, Finding, Status
from policies.plan import Operation, name_of

FORMAT = "mlops-review/1"
"""Name and version of the document's JSON."""

STATUSES: tuple[Status, ...] = get_args(Status)
OPERATIONS: tuple[Operation, ...] = ("replace", "delete", "create", "update", "same", "read")
"""Operations, those to look at first in front."""

GateKind = Literal["rule", "severity", "level", "waivable", "code", "setting", "waiver", "pack", "workflow", "unknown"]


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """What the plan does to one resource.

    Attributes:
        operation: what is done; a replacement is one step.
        urn: the resource.
        type: its type token.
        changed: paths of the inputs that differ, without values.
        replaces: those of them that force a replacement.
        stateful: whether it holds data that would be lost with it.
        place: where it is registered, as `path/of/file.py:line`.
    """

    operation: Operation
    urn: str
    type: str
    changed: Sequence[str] = ()
    replaces: Sequence[str] = ()
    stateful: bool = False
    place: str = ""

    @property
    def name(self) -> str:
        """Name of the resource in the program."""
        return name_of(self.urn)


@dataclass(frozen=True, kw_only=True)
class Amount:
    """What something costs, in US dollars a month.

    Attributes:
        expected: as it is expected to run.
        worst: with every limit used up all month.
    """

    expected: float
    worst: float

    def __sub__(self, other: Amount) -> Amount:
        return Amount(expected=self.expected - other.expected, worst=self.worst - other.worst)


NOTHING = Amount(expected=0.0, worst=0.0)


@dataclass(frozen=True, kw_only=True)
class ComponentCost:
    """What one component costs before and after."""

    component: str
    before: Amount = NOTHING
    after: Amount = NOTHING


@dataclass(frozen=True, kw_only=True)
class CostChange:
    """What a stack costs before and after the change.

    Attributes:
        before: None where there is no stack before, or its cost is not known (then a note of the stack says so).
        after: with the change.
        components: the same by component.
        unpriced: what no price was found for, each as text; never counted as zero.
        budget: the stack's budget, US dollars a month; None where it has none.
        prices: what the prices are, such as `price book of 2026-11-02, eu-central-1`.
    """

    before: Amount | None
    after: Amount
    components: Sequence[ComponentCost] = ()
    unpriced: Sequence[str] = ()
    budget: float | None = None
    prices: str = ""


@dataclass(frozen=True, kw_only=True)
class StackReview:
    """What a change does to one stack.

    Attributes:
        stack: name of the stack.
        environment: its kind (`prod`, …); empty where the plan did not say.
        steps: what the plan does, without what stays.
        unchanged: how many resources stay as they are.
        evaluation: what the rules say; None where they did not run.
        cost: what it costs; None where it was not asked.
        notes: what a reader must know of how this was found, such as that stand-ins planned it.
        error: why there is no review of this stack; empty where there is one.
    """

    stack: str
    environment: str = ""
    steps: Sequence[PlannedStep] = ()
    unchanged: int = 0
    evaluation: Evaluation | None = None
    cost: CostChange | None = None
    notes: Sequence[str] = ()
    error: str = ""

    @property
    def operations(self) -> Mapping[str, int]:
        """How many resources are created, updated, replaced, deleted, or stay."""
        counts = Counter(one.operation for one in self.steps)
        counts["same"] += self.unchanged
        return {name: counts[name] for name in OPERATIONS if counts[name]}

    @property
    def counts(self) -> Mapping[str, int]:
        """Subjects of rules by status, every status named."""
        stated = self.evaluation.counts if self.evaluation else {}
        return {name: stated.get(name, 0) for name in STATUSES}

    @property
    def findings(self) -> Sequence[Finding]:
        """What the rules say, without those that are off here."""
        return [one for one in (self.evaluation.findings if self.evaluation else ()) if one.level != "off"]

    @property
    def obstacles(self) -> list[str]:
        """Why this stack stands against a merge, as sentences; empty where it does not."""
        if self.error:
            return [f"{self.stack}: no review: {self.error}"]
        if self.evaluation is None:
            return [f"{self.stack}: the rules did not run"]
        if not self.evaluation.asked:
            return [f"{self.stack}: no rule was asked", *self._stopping()]
        return self._stopping()

    def _stopping(self) -> list[str]:
        return [f"{self.stack}: {one.rule} [{one.status}] {one.text}" for one in self.findings if one.stops]


@dataclass(frozen=True, kw_only=True)
class GateChange:
    """What the change does to a gate.

    Attributes:
        kind: what of the gate changes; `unknown` where base or head could not be read.
        subject: the rule, the setting (`prod: aws.governance.budgetUsd`), the waiver or the file.
        before: what it was, as text; empty where it was not there.
        after: what it is; empty where it is gone.
        weakens: whether something may pass now that did not pass before.
        text: the change as a sentence.
        place: `path:line` where it is made.
        waiver: who answers for it, until when and why; empty where nobody does.
    """

    kind: GateKind
    subject: str
    text: str
    before: str = ""
    after: str = ""
    weakens: bool = False
    place: str = ""
    waiver: str = ""

    @property
    def stops(self) -> bool:
        """Whether it stops the merge."""
        return self.weakens and not self.waiver


@dataclass(frozen=True, kw_only=True)
class Review:
    """The review of a change.

    Attributes:
        base: the commit (or ref) that the change is compared with.
        head: the commit that is reviewed; `-dirty` at its end where files differ from it.
        made_at: when, ISO 8601 with zone.
        stacks: the stacks that the change touches.
        untouched: names of the stacks that it does not touch.
        gate_changes: what it does to the gates.
        notes: what a reader must know of how it was made.
        error: why there is no review at all; empty where there is one.
    """

    base: str
    head: str
    made_at: str
    stacks: Sequence[StackReview] = ()
    untouched: Sequence[str] = ()
    gate_changes: Sequence[GateChange] = ()
    notes: Sequence[str] = ()
    error: str = ""

    @property
    def obstacles(self) -> list[str]:
        """Why the change must not be merged, as sentences; empty where it may."""
        found = [self.error] if self.error else []
        if not self.stacks and not self.untouched:
            found.append("no stack was found to review")
        found += [text for one in self.stacks for text in one.obstacles]
        return found + [f"{one.subject}: {one.text}" for one in self.gate_changes if one.stops]

    @property
    def may_merge(self) -> bool:
        """Whether the change may be merged: nothing stands against it and nothing is missing."""
        return not self.obstacles

    def to_json(self) -> dict[str, Any]:
        """Return the document as JSON, in a fixed order."""
        return {
            "format": FORMAT, "base": self.base, "head": self.head, "madeAt": self.made_at,
            "mayMerge": self.may_merge, "obstacles": self.obstacles, "error": self.error, "notes": list(self.notes),
            "stacks": [_stack_json(one) for one in self.stacks], "untouched": list(self.untouched),
            "gateChanges": [{**vars(one), "stops": one.stops} for one in self.gate_changes],
        }  # fmt: skip

    @staticmethod
    def from_json(stated: Mapping[str, Any]) -> Review:
        """Return what `to_json` wrote; what it says of merging is found anew.

        Raises:
            ValueError: it is not of this format, or lacks something.
        """
        if stated.get("format") != FORMAT:
            raise ValueError(f"the review's format is {stated.get('format')!r}; {FORMAT} is understood")
        try:
            return Review(
                base=stated["base"], head=stated["head"], made_at=stated["madeAt"],
                stacks=[_stack(one) for one in stated["stacks"]], untouched=stated["untouched"],
                gate_changes=[
                    GateChange(**{name: value for name, value in one.items() if name != "stops"})
                    for one in stated["gateChanges"]
                ],
                notes=stated["notes"], error=stated["error"],
            )  # fmt: skip
        except (KeyError, TypeError) as error:
            raise ValueError(f"the review is not whole: {error!r}") from error


@dataclass(frozen=True)
class Source:
    """A place in a file of the project.

    Attributes:
        file: path from the project's folder.
        line: line, from 1.
    """

    file: str
    line: int = field(default=1)

    @staticmethod
    def parse(text: str) -> Source | None:
        """Return the place that `path:line` names, None for an empty text."""
        file, _, line = text.rpartition(":")
        if file and line.isdigit():
            return Source(file, max(1, int(line)))
        return Source(text) if text else None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def _stack_json(one: StackReview) -> dict[str, Any]:
    cost = one.cost and {
        "before": one.cost.before and vars(one.cost.before), "after": vars(one.cost.after),
        "components": [
            {"component": each.component, "before": vars(each.before), "after": vars(each.after)}
            for each in one.cost.components
        ],
        "unpriced": list(one.cost.unpriced), "budget": one.cost.budget, "prices": one.cost.prices,
    }  # fmt: skip
    return {
        "stack": one.stack, "environment": one.environment, "operations": dict(one.operations),
        "steps": [
            {**vars(each), "changed": list(each.changed), "replaces": list(each.replaces)} for each in one.steps
        ],
        "unchanged": one.unchanged, "evaluation": one.evaluation and one.evaluation.to_json(), "cost": cost,
        "notes": list(one.notes), "error": one.error,
    }  # fmt: skip


def _stack(stated: Mapping[str, Any]) -> StackReview:
    return StackReview(
        stack=stated["stack"], environment=stated["environment"],
        steps=[PlannedStep(**one) for one in stated["steps"]], unchanged=stated["unchanged"],
        evaluation=Evaluation.from_json(stated["evaluation"]) if stated["evaluation"] else None,
        cost=_cost(stated["cost"]) if stated["cost"] else None, notes=stated["notes"], error=stated["error"],
    )  # fmt: skip


def _cost(stated: Mapping[str, Any]) -> CostChange:
    return CostChange(
        before=Amount(**stated["before"]) if stated["before"] else None, after=Amount(**stated["after"]),
        components=[
            ComponentCost(
                component=one["component"], before=Amount(**one["before"]), after=Amount(**one["after"])
            )
            for one in stated["components"]
        ],
        unpriced=stated["unpriced"], budget=stated["budget"], prices=stated["prices"],
    )  # fmt: skip
