"""What the policies say of what `up` would do: a preview with the pack, and the rules about steps besides.

The pack sees what will be there; what is deleted or replaced on the way shows in the plan alone, so that rules about
steps are asked here. Whatever is missing (no plan, no result of the pack, rules that were not asked) is an error or a
finding, never silence.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from infra.engine.errors import EngineError
from infra.engine.stack import Stack
from policies.evaluation import Evaluation, evaluate
from policies.facts import Facts, FactsError, facts_of
from policies.gates.policy_set import policies_digest
from policies.pack.servicer import RESULT
from policies.plan import Plan
from policies.preview import PreviewError, plan_from_preview
from policies.rule import Rule, World
from policies.waivers import FILE, Waiver, WaiverError, read_waivers


class AssessmentError(EngineError):
    """The policies did not judge the plan; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """What came of asking all rules about what `up` would do.

    Attributes:
        plan: what it would do.
        facts: what the stack states of itself.
        evaluation: what the rules say.
        registered: ids of all rules.
        policies: digest of the policies.
    """

    plan: Plan
    facts: Facts
    evaluation: Evaluation
    registered: Sequence[str]
    policies: str

    @property
    def operations(self) -> Mapping[str, int]:
        """How many resources, by what would happen to them."""
        return dict(sorted(Counter(one.operation for one in self.plan.steps or ()).items()))


def assess(stack: Stack, project: Path, rules: Sequence[Rule], now: datetime, pack: Path | None = None) -> Assessment:
    """Preview a stack with the policy pack and ask the rest of the rules.

    Args:
        stack: the stack.
        project: the project's folder, with its policies and waivers.
        rules: all rules.
        now: the time, with its zone; the pack is told the same.
        pack: folder of the pack; the project's unless stated.

    Raises:
        AssessmentError: the preview failed, or the pack did not run to its end.
    """
    with tempfile.TemporaryDirectory(prefix="mlops-gate-") as folder:
        result = Path(folder) / "evaluation.json"
        done = stack.planned(
            "--show-sames", "--policy-pack", str(pack or project / "policies"),
            variables={RESULT: str(result), "MLOPS_NOW": now.isoformat()},
        )  # fmt: skip
        document = _document(done.stdout)
        if document is None or "steps" not in document:
            raise AssessmentError(f"stack {stack.name} cannot be previewed: {_said(done, document)}")
        judged = _evaluation(result)
    if judged is None:
        raise AssessmentError(f"the policies did not run over stack {stack.name}: {_said(done, document)}")
    if done.returncode and judged.passed:
        raise AssessmentError(f"the preview of stack {stack.name} failed: {_said(done, document)}")
    try:
        plan = plan_from_preview(document, stack.name)
        world = World(plan=plan, facts=facts_of(plan), now=now)
    except (PreviewError, FactsError) as error:
        raise AssessmentError(str(error)) from None
    steps = evaluate([one for one in rules if one.scope == "step"], world, _waivers(project))
    return Assessment(
        plan=plan, facts=world.facts, evaluation=_together(judged, steps), registered=[one.id for one in rules],
        policies=policies_digest(project),
    )  # fmt: skip


def _waivers(project: Path) -> Sequence[Waiver]:
    """Return the waivers; where they cannot be read the pack has said so, and none is in force."""
    try:
        return read_waivers(project / FILE)
    except WaiverError:
        return ()


def _together(pack: Evaluation, steps: Evaluation) -> Evaluation:
    counts = Counter(pack.counts) + Counter(steps.counts)
    return Evaluation(
        findings=sorted([*pack.findings, *steps.findings], key=lambda one: (one.rule, one.urn, one.path, one.text)),
        counts=dict(sorted(counts.items())),
        asked=[*pack.asked, *(one for one in steps.asked if one not in pack.asked)],
    )


def _evaluation(result: Path) -> Evaluation | None:
    try:
        return Evaluation.from_json(json.loads(result.read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _document(text: str) -> dict[str, Any] | None:
    """Return the JSON document in what the engine printed; lines before it are warnings."""
    start = text.find("{")
    try:
        found, _ = json.JSONDecoder().raw_decode(text[start:]) if start >= 0 else (None, 0)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _said(done: subprocess.CompletedProcess[str], document: Mapping[str, Any] | None) -> str:
    """Return what the engine said went wrong."""
    lines = [
        one.get("message", "").strip()
        for one in (document or {}).get("diagnostics") or ()
        if one.get("severity") == "error"
    ]
    lines += [one.strip() for one in done.stderr.splitlines() if one.strip()]
    return "\n".join(dict.fromkeys(lines)) or f"the engine ended with {done.returncode}"
