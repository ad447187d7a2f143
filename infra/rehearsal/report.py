"""What a rehearsal found, as a document and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from infra.rehearsal.cost import Cost


@dataclass(frozen=True)
class Phase:
    """One phase.

    Attributes:
        name: What was done.
        ok: Whether it went as it has to.
        seconds: How long it took, by the clock.
        changes: Resources by what happened to them.
        detail: What went wrong, or what was seen.
    """

    name: str
    ok: bool
    seconds: float
    changes: Mapping[str, int] = field(default_factory=dict)
    detail: str = ""


@dataclass(frozen=True)
class Report:
    """A rehearsal.

    Attributes:
        stack: The stack.
        providers: Which plugin played each provider, in words.
        phases: In order.
        made: Resources by type.
        answered: Calls that the layer around moto answered itself, by operation.
        refused: Calls that the API refused, with code and count; looks at what is not there are among them.
        injected: Faults that were injected, by operation and code.
        left: What was there at the end and not before, by kind.
        notes: What cannot be judged in a rehearsal.
        cost: What it would cost; None where the policies saw no plan of it.
    """

    stack: str
    providers: Mapping[str, str]
    phases: Sequence[Phase]
    made: Mapping[str, int]
    answered: Mapping[str, int]
    refused: Sequence[Mapping[str, Any]]
    injected: Mapping[str, int]
    left: Mapping[str, Sequence[str]]
    notes: Sequence[str] = ()
    cost: Cost | None = None

    @property
    def ok(self) -> bool:
        """Whether every phase went well and nothing is left."""
        return all(phase.ok for phase in self.phases) and not self.left

    def document(self) -> dict[str, Any]:
        """Return it as one JSON document."""
        seconds = round(sum(phase.seconds for phase in self.phases), 1)
        return {**asdict(self), "ok": self.ok, "resources": sum(self.made.values()), "seconds": seconds}

    def lines(self) -> list[str]:
        """Return it in words."""
        found = [f"Rehearsal of {self.stack}: {'went well' if self.ok else 'FAILED'}"]
        found += [f"  provider {name}: {played}" for name, played in self.providers.items()]
        for phase in self.phases:
            changes = ", ".join(f"{count} {kind}" for kind, count in sorted(phase.changes.items()))
            mark = "ok    " if phase.ok else "FAILED"
            found.append(f"  {mark} {phase.seconds:6.1f} s  {phase.name}{f' ({changes})' if changes else ''}")
            found += [f"             {line}" for line in phase.detail.splitlines()]
        found.append(f"  {sum(self.made.values())} resources of {len(self.made)} types:")
        found += [f"    {count:4} {kind}" for kind, count in self.made.items()]
        found.append(f"  {sum(self.answered.values())} calls answered by the layer around moto, not by moto:")
        found += [f"    {count:4} {operation}" for operation, count in self.answered.items()]
        found.append(f"  {sum(self.injected.values())} faults injected:")
        found += [f"    {count:4} {what}" for what, count in self.injected.items()]
        found.append("  refused by the API (among them looks at what is not there):")
        found += [f"    {one['times']:4} {one['operation']}: {one['code']}" for one in self.refused]
        if self.cost:
            found.append(f"  {self.cost.said(self.stack)}")
        if self.left:
            found.append("  LEFT at the end:")
            found += [f"    {kind}: {', '.join(ids)}" for kind, ids in self.left.items()]
        else:
            found.append("  nothing is left")
        return [*found, *(f"  note: {note}" for note in self.notes)]
