"""A whole rehearsal: the program of a stack through its life, against servers on loopback.

    preview, judged by the policies → up with a plugin that dies half-way → up again, throttled
    → preview without changes → update → refresh without drift → drift made by hand, found and mended
    → destroy → what is left

Every phase runs the engine's own command line on the program as it is.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from infra.engine.cache import Progress, silent
from infra.engine.errors import EngineError
from infra.engine.operation import OperationFailedError, Result
from infra.rehearsal import leftovers
from infra.rehearsal.aws.clients import Aws
from infra.rehearsal.children import child
from infra.rehearsal.cost import Cost, cost_of
from infra.rehearsal.gate import RehearsedGate
from infra.rehearsal.moto import MotoServer, moto_server
from infra.rehearsal.report import Phase, Report
from infra.rehearsal.stack import RehearsedStack, merged, rehearsed_stack
from policies.stateful import KEPT_IN

THROTTLED = ("ec2.Create*", "iam.Create*", "s3.Put*")
"""Operations whose first calls are throttled while the environment is made."""


class Controllers(Protocol):
    """Controllers that act on what the API server holds, see `infra.rehearsal.deep`.

    Attributes:
        quick: Settings from the start that spare minutes.
        upgrade: Settings by which serving moves to a new cluster.
    """

    @property
    def quick(self) -> Mapping[str, Any]: ...  # noqa: D102

    @property
    def upgrade(self) -> Mapping[str, Any]: ...  # noqa: D102

    def running(self) -> Phase:
        """Wait until everything runs."""

    def upgraded(self) -> Phase:
        """Watch the upgrade that began."""

    def ended(self) -> Phase:
        """Wait until what they made is gone."""

    def notes(self) -> Sequence[str]:
        """What was real and what was played."""


@dataclass
class Rehearsal:
    """What is rehearsed, and how.

    Attributes:
        project: The folder with Pulumi.yaml.
        stack: The stack's name.
        account: The account that is played: the one to which the stack is pinned.
        region: Its region.
        folder: The rehearsal's own folder; it is removed at the end unless `keep`.
        update: Settings that the update changes, by full key.
        end: Settings with which it is destroyed (what lifts protection), by full key.
        crash: Whether the plugin dies half-way through the first `up`.
        official: Installed official plugins by name, which are used instead of the stand-ins.
        notes: What the report says besides.
        more: Further providers by name: what starts each, given the rehearsal's folder, yielding its port.
        gate: Its gate, where the stack has one; the policies then judge each plan before it is carried out.
        checks: What is asked of the state of the environment that is up, by name: whether it is well, and in words.
        deep: What starts controllers beside the played AWS, in a deep rehearsal.
        keep: Whether the folder stays.
        say: Told what goes on.
    """

    project: Path
    stack: str
    account: str
    region: str
    folder: Path
    update: Mapping[str, Any] = field(default_factory=dict)
    end: Mapping[str, Any] = field(default_factory=dict)
    crash: bool = True
    official: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    more: Mapping[str, Callable[[Path], contextlib.AbstractContextManager[int]]] = field(default_factory=dict)
    cluster: Mapping[str, str] = field(default_factory=dict)
    gate: Callable[[Path], RehearsedGate] | None = None
    checks: Mapping[str, Callable[[Sequence[Mapping[str, Any]]], tuple[bool, str]]] = field(default_factory=dict)
    deep: Callable[[MotoServer], contextlib.AbstractContextManager[Controllers]] | None = None
    keep: bool = False
    say: Progress = silent

    def run(self) -> Report:
        """Rehearse; the report tells what went wrong, nothing is raised for it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        try:
            with contextlib.ExitStack() as stack:
                log = self.folder / "aws-server.log"
                server = stack.enter_context(moto_server(log, account=self.account, cluster=self.cluster))
                deep = stack.enter_context(self.deep(server)) if self.deep else None
                return _Run(self, server, deep).report()
        finally:
            if not self.keep:
                shutil.rmtree(self.folder, ignore_errors=True)


class _Run:
    def __init__(self, rehearsal: Rehearsal, server: MotoServer, deep: Controllers | None) -> None:
        self._rehearsal, self._server, self._deep = rehearsal, server, deep
        self._phases: list[Phase] = []
        self._kept = False
        self._made: dict[str, int] = {}
        self._cost: Cost | None = None
        self._gate = rehearsal.gate(rehearsal.folder / "gate") if rehearsal.gate else None
        self._settings: dict[str, Any] = dict(self._gate.settings()) if self._gate else {}
        self._change(deep.quick if deep else {})

    # --- the phases ------------------------------------------------------------------------------------------------

    def report(self) -> Report:
        before = leftovers.census(self._server, self._rehearsal.region)
        try:
            self._life()
            if self._deep:
                self._phases.append(self._deep.ended())
        finally:
            after = leftovers.census(self._server, self._rehearsal.region)
        counted = self._server.ask("report")
        return Report(
            stack=self._rehearsal.stack,
            providers={"aws": self._played("aws"), **dict.fromkeys(self._rehearsal.more, "stand-in")},
            phases=self._phases,
            made=self._made,
            answered=counted["answered_by_the_layer"],
            refused=counted["refused"],
            injected=counted["injected"],
            left=leftovers.left(before, after),
            cost=self._cost,
            notes=(
                *self._rehearsal.notes,
                "KMS keys are scheduled for deletion: AWS keeps them for 7 to 30 days",
                "what a Helm chart renders is not judged: charts are not reachable here",
                *(self._deep.notes() if self._deep else ()),
            ),
        )

    def _life(self) -> None:
        rehearsal = self._rehearsal
        with self._providers() as environment:
            first = (
                self._judged(environment, "preview") if self._gate else self._phase("preview", environment, "preview")
            )
            if not first:
                return
        crash = rehearsal.crash and "aws" not in rehearsal.official
        half = max(1, self._phases[-1].changes.get("create", 0) // 2)
        if crash:
            with self._providers(MLOPS_REHEARSAL_CRASH_AT=str(half)) as environment:
                self._phase("up, and the plugin dies half-way", environment, "up", fails=True)
        self._server.ask(
            "faults", [{"operation": one, "code": "Throttling", "status": 400, "times": 2} for one in THROTTLED]
        )
        with self._providers() as environment:
            made = self._phase("up again, throttled" if crash else "up, throttled", environment, "up")
            self._server.ask("faults", [])
            if made:
                self._settled(environment)
            self._change(rehearsal.end)
            if rehearsal.end:
                self._judged(environment, "lift protection, for which two people break the glass", by_people=True)
                self._phase("lift protection", environment, "up")
            self._stack(environment).unprotect()
            # Hooks of the program keep what holds state; two people have answered for it above.
            self._phase("destroy", environment, "destroy", *(["--run-program"] if self._kept else []))

    def _settled(self, environment: Mapping[str, str]) -> None:
        """Phases of an environment that is up."""
        state = self._state()
        self._made = leftovers.made(state)
        if self._deep:
            self._phases.append(self._deep.running())
        for name, check in self._rehearsal.checks.items():
            began = time.monotonic()
            ok, detail = check(state)
            self._phases.append(Phase(name, ok, round(time.monotonic() - began, 1), detail=detail))
        self._phase("preview without changes", environment, "preview", "--expect-no-changes")
        update = merged(self._rehearsal.update, self._deep.upgrade if self._deep else {})
        if update:
            self._change(update)
            self._judged(environment, "update")
            updated = self._phase(
                "update", environment, "up", expect=lambda result: result.changed or "nothing was updated"
            )
            if self._deep and updated:
                self._phases.append(self._deep.upgraded())
        self._phase(
            "refresh without drift",
            environment,
            "refresh",
            expect=lambda result: not result.changed or f"drift that nobody made: {dict(result.changes)}",
        )
        if changed := self._drift():
            self._phase(
                f"refresh finds what was changed by hand ({changed})",
                environment,
                "refresh",
                expect=lambda result: result.changed or "the drift was not found",
            )
            self._phase("up mends it", environment, "up", expect=lambda result: result.changed or "nothing was mended")

    def _drift(self) -> str:
        """Change something by hand; returns what, in words, or nothing where there is nothing to change."""
        roles = [one for one in self._state() if one["type"] == "aws:iam/role:Role"]
        if not roles:
            return ""
        name = roles[0]["outputs"]["name"]
        aws = Aws(self._server.url, self._rehearsal.region)
        aws.call("iam", "tag_role", {"RoleName": name, "Tags": [{"Key": "by-hand", "Value": "yes"}]})
        return f"a tag of role {name}"

    def _change(self, settings: Mapping[str, Any]) -> None:
        self._settings = merged(self._settings, settings)

    # --- helpers ---------------------------------------------------------------------------------------------------

    def _played(self, name: str) -> str:
        version = self._rehearsal.official.get(name)
        return f"official plugin {version}, pointed at moto" if version else "stand-in over moto"

    @contextlib.contextmanager
    def _providers(self, **variables: str) -> Iterator[dict[str, str]]:
        """Start the stand-ins; yields what the engine's environment needs to reach them."""
        folder = self._rehearsal.folder
        environment = {"AWS_ENDPOINT_URL": self._server.url, **(self._gate.variables() if self._gate else {})}
        with contextlib.ExitStack() as stack:
            ports = {name: stack.enter_context(start(folder)) for name, start in self._rehearsal.more.items()}
            if "aws" not in self._rehearsal.official:
                own = {
                    "MLOPS_REHEARSAL_AWS": self._server.url,
                    "MLOPS_REHEARSAL_JOURNAL": str(folder / "journal.jsonl"),
                    **variables,
                }
                ports["aws"] = stack.enter_context(child("infra.rehearsal.aws", own, folder / "aws.log"))
            attached = ",".join(f"{name}:{port}" for name, port in sorted(ports.items()))
            yield {**environment, **({"PULUMI_DEBUG_PROVIDERS": attached} if attached else {})}

    def _stack(self, environment: Mapping[str, str]) -> RehearsedStack:
        rehearsal = self._rehearsal
        return rehearsed_stack(rehearsal.project, rehearsal.stack, rehearsal.folder, environment, self._settings)

    def _state(self) -> list[dict[str, Any]]:
        file = self._stack({}).state_file
        if file is None or not file.exists():
            return []
        latest = json.loads(file.read_text())["checkpoint"].get("latest") or {}
        return list(latest.get("resources") or [])

    def _judged(self, environment: Mapping[str, str], what: str, *, by_people: bool = False) -> bool:
        """Have the policies judge what comes next; note how it went.

        Args:
            environment: The engine's.
            what: What comes next, for the report.
            by_people: Whether the policies are to stop it, and two people answer for it.
        """
        if self._gate is None:
            return True
        self._rehearsal.say(f"rehearsal of {self._rehearsal.stack}: {what}, judged by the policies")
        began, changes = time.monotonic(), {}
        try:
            found, stops = self._gate.judge(self._stack(environment))
            self._kept = found.facts.environment in KEPT_IN
            self._cost = self._cost or cost_of(found.plan, found.facts.settings)
            changes = dict(found.operations)
            counts = ", ".join(f"{count} {status}" for status, count in found.evaluation.counts.items())
            ok, detail = not stops, "\n".join([counts, *stops[:12]])
            if by_people:
                ok = True
                self._gate.break_glass(found, "the rehearsal is over: what it made is taken down")
        except EngineError as error:
            ok, detail = False, str(error)
        seconds = round(time.monotonic() - began, 1)
        self._phases.append(Phase(f"{what}: the policies judge it", ok, seconds, changes, detail))
        return ok

    def _phase(
        self,
        name: str,
        environment: Mapping[str, str],
        operation: str,
        *arguments: str,
        fails: bool = False,
        expect: Callable[[Result], bool | str] | None = None,
    ) -> bool:
        """Run one phase and note how it went.

        Args:
            name: What is done, for the report.
            environment: The engine's.
            operation: Method of the stack.
            arguments: Options of the engine.
            fails: Whether it has to fail.
            expect: Judges the result of one that succeeded; a text says what is wrong.
        """
        self._rehearsal.say(f"rehearsal of {self._rehearsal.stack}: {name}")
        began = time.monotonic()
        try:
            result: Result = getattr(self._stack(environment), operation)(*arguments)
        except OperationFailedError as error:
            result = error.result
        verdict = expect(result) if expect and result.ok else True
        detail = "" if verdict is True else str(verdict)
        if not result.ok and not fails:
            detail = _shown(result.errors)
        if result.ok and fails:
            detail = "it succeeded although a fault was injected"
        ok = result.ok != fails and verdict is True
        self._phases.append(Phase(name, ok, round(time.monotonic() - began, 1), dict(result.changes), detail))
        return ok


def _shown(errors: Sequence[str], limit: int = 12) -> str:
    """Return the first errors, the program's own summary lines left out."""
    told = [error for error in errors if not error.endswith(("update failed", "preview failed"))]
    more = [f"… and {len(told) - limit} more"] if len(told) > limit else []
    return "\n".join([*told[:limit], *more])
