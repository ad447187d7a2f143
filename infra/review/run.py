"""The review of a change: every stack that it touches is planned and judged, and so are the gates themselves."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import yaml

from infra.engine.cache import Progress, silent
from infra.engine.errors import EngineError
from infra.planning.runs import Program, tools_home
from infra.review.base import base_state, planning_version
from infra.review.changes import Change, ChangeError, change_since, check_out
from infra.review.touched import touched
from policies.pack.servicer import NOW
from policies.preview import PreviewError
from policies.report.document import GateChange, Review, StackReview
from policies.report.gate_diff import gate_changes
from policies.report.gate_state import read_gate_state
from policies.review import stack_review
from policies.rule import Rule
from policies.waivers import FILE as WAIVERS
from policies.waivers import Waiver, WaiverError, read_waivers


def review(
    project: Path, base: str, now: datetime, rules: Sequence[Rule], stacks: Sequence[str] = (), say: Progress = silent
) -> Review:
    """Review a change.

    Args:
        project: folder of the checkout that is reviewed.
        base: the ref that it is compared with.
        now: the time, with its zone.
        rules: all rules.
        stacks: names of the stacks to review; those that the change touches unless stated.
        say: told what goes on.

    Returns:
        The review. What went wrong is told in it and stands against a merge; nothing is raised for it.
    """
    try:
        change = change_since(project, base)
    except ChangeError as error:
        return Review(base=base, head="", made_at=now.isoformat(), error=str(error))
    folder = Path(tempfile.mkdtemp(prefix="mlops-review-"))
    try:
        return _Run(change, folder, now, rules, say).review(stacks)
    except ChangeError as error:
        return Review(base=change.base, head=change.head, made_at=now.isoformat(), error=str(error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def stack_texts(project: Path) -> dict[str, str]:
    """Return the texts of all files of stacks and baselines by path; one that cannot be read is empty."""
    return {
        str(path.relative_to(project)): _text(path)
        for pattern in ("stacks/Pulumi.*.yaml", "stacks/baselines/*.yaml")
        for path in sorted(project.glob(pattern))
    }


class _Run:
    def __init__(self, change: Change, folder: Path, now: datetime, rules: Sequence[Rule], say: Progress) -> None:
        self._change, self._folder, self._now, self._rules, self._say = change, folder, now, rules, say
        self._checkout = folder / "base"
        self._version = planning_version(change.project)

    def review(self, stacks: Sequence[str]) -> Review:
        change = self._change
        check_out(change, self._checkout)
        tools_home(change.project, self._checkout)
        texts = stack_texts(change.project)
        known = sorted(path.removeprefix("stacks/Pulumi.").removesuffix(".yaml") for path in texts if "Pulumi." in path)
        chosen = list(dict.fromkeys(stacks)) or list(touched(change.files, texts))
        with ThreadPoolExecutor(1) as beside:  # the gates are read while the first base is registered
            gates: Future[list[GateChange]] = beside.submit(self._gates)
            waivers = self._waivers()
            found = [self._stack(stack, waivers) for stack in chosen]
            return Review(
                base=change.base, head=change.head, made_at=self._now.isoformat(), stacks=found,
                untouched=[stack for stack in known if stack not in chosen], gate_changes=gates.result(),
            )  # fmt: skip

    def _waivers(self) -> Sequence[Waiver]:
        try:
            return read_waivers(self._change.project / WAIVERS)
        except WaiverError:
            return ()  # the pack tells of it, and stops

    def _gates(self) -> list[GateChange]:
        python = self._change.project / ".mlops" / "venv" / "bin" / "python"
        before, after = (read_gate_state(folder, python) for folder in (self._checkout, self._change.project))
        return gate_changes(before, after, self._now.date())

    def _stack(self, stack: str, waivers: Sequence[Waiver]) -> StackReview:
        project = self._change.project
        file = project / "stacks" / f"Pulumi.{stack}.yaml"
        if not file.exists():
            there = (self._checkout / "stacks" / file.name).exists()
            why = (
                "its file is gone: destroy the stack first, then remove the file" if there else f"no stacks/{file.name}"
            )
            return StackReview(stack=stack, error=why)
        plan = self._folder / stack
        try:
            _readable(file)
            self._say(f"{stack}: registering {self._change.base[:12]}")
            note = base_state(self._change, self._checkout, stack, plan, self._version)
            self._say(f"{stack}: planning and judging")
            variables = {NOW: self._now.isoformat()}
            preview = Program(project, stack, plan, project, variables).preview(project / "policies")
            found = stack_review(
                stack, preview.document, preview.evaluation, self._rules, waivers, self._now, [note]
            )  # fmt: skip
        except (EngineError, PreviewError) as error:
            return StackReview(stack=stack, error=str(error).strip())
        if found.evaluation is None and preview.said:
            return replace(found, error="the policies could not be evaluated: " + "; ".join(preview.said))
        return found


def _readable(file: Path) -> None:
    """Say of a stack's file that it can be read, before anything is planned with it.

    Raises:
        EngineError: it cannot.
    """
    try:
        stated = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise EngineError(f"stacks/{file.name} cannot be read: {error}") from None
    if stated is not None and not isinstance(stated, dict):
        raise EngineError(f"stacks/{file.name} cannot be read: it holds no settings by name")


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
