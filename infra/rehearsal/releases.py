"""The rehearsal of a stack of releases: its program, the real controller, and the way between them.

    preview → what is refused (approvals, trust roots, edits, strangers, a real environment) → up: first releases
    → preview without changes → up: the next versions by canary → up: a bad candidate is rolled back
    → up as stated, first without a verdict, then judged by the policies → refresh without drift → destroy
    → what is left

The way is that of a private cluster: the provider asks a Kubernetes API server, which knows who may ask (RBAC), and
passes on to the service of the controller. The foundation is its outputs, in the rehearsal's own backend; replicas are
played (`infra.rehearsal.fleet`), so that every rollout is decided by the real state machine on made-up evidence.
"""

from __future__ import annotations

import copy
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from components.blueprint import Trust
from components.cluster.service_access import RELEASES, proxy_path, releasing
from infra.engine.cache import Progress, silent
from infra.engine.errors import EngineError
from infra.engine.operation import OperationFailedError, Result
from infra.foundation_outputs import stand_in, write_state
from infra.provider import cluster_access, release_controller, rest
from infra.provider.release_inputs import Release, resolve
from infra.provider.resource import ResourceError
from infra.rehearsal.controller import RunningController, controller
from infra.rehearsal.fleet import Fleet, fleet
from infra.rehearsal.gate import RehearsedGate
from infra.rehearsal.kubernetes.api_server import ApiServer, api_server
from infra.rehearsal.kubernetes.services import publish
from infra.rehearsal.kubernetes.tunnel import Tunnel, tunnel
from infra.rehearsal.report import Phase, Report
from infra.rehearsal.stack import RehearsedStack, rehearsed_stack
from policies.pack.servicer import NOW

NAMESPACE, SERVICE, PORT = "serving", "control", 8090
RELEASER, STRANGER = "releaser", "stranger"
QUICK: dict[str, Any] = {
    "kind": "canary",
    "steps": [{"weight": 5}, {"weight": 50}],
    "bakeMinutes": 0,
    "evidence": {"replayAfter": 1},
}
"""How versions are rolled out in a rehearsal: the stated kind, in seconds instead of hours."""
_WAIT_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class ModelCase:
    """One model: the manifest of the version that the stack pins, and of the one before it."""

    manifest: Mapping[str, Any]
    previous: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ReleasesRehearsal:
    """What is rehearsed, and how.

    Attributes:
        project: the folder with Pulumi.yaml.
        stack: the stack of releases.
        foundation: the stack of its platform.
        cluster: name of that platform's cluster.
        region: its region.
        host: host name of predictions there.
        trust: whose approvals count.
        gated: whether its gate asks for a verdict.
        models: the models by name.
        folder: the rehearsal's own folder; it is removed at the end unless `keep`.
        keep: whether the folder stays.
        say: told what goes on.
    """

    project: Path
    stack: str
    foundation: str
    cluster: str
    region: str
    host: str
    trust: Trust
    gated: bool
    models: Mapping[str, ModelCase]
    folder: Path
    keep: bool = False
    say: Progress = field(default=silent)

    @property
    def now(self) -> datetime:
        """The rehearsal's time: a day after the last approval, when all of them hold."""
        given = [
            datetime.fromisoformat(approval["approvedAt"])
            for case in self.models.values()
            for manifest in (case.manifest, case.previous)
            for approval in manifest.get("approvals") or ()
        ]
        trained = [datetime.fromisoformat(case.manifest["trainedAt"]) for case in self.models.values()]
        return max(given or trained) + timedelta(days=1)

    def run(self) -> Report:
        """Rehearse; the report tells what went wrong, nothing is raised for it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        try:
            with ExitStack() as stack:
                control = stack.enter_context(controller(self.folder / "control", self.trust, self.now))
                way = stack.enter_context(tunnel({PORT: control.port}))
                users = {RELEASER: RELEASES, STRANGER: "others"}
                server = stack.enter_context(
                    api_server(self.folder / "kubernetes", self.say, users=users, tunnel=way, definitions=False)
                )
                publish(server, releasing(NAMESPACE, SERVICE, PORT))
                return _Run(self, control, way, server, stack.enter_context(fleet(control))).report()
        finally:
            if not self.keep:
                shutil.rmtree(self.folder, ignore_errors=True)


class _Run:
    def __init__(
        self, rehearsal: ReleasesRehearsal, control: RunningController, way: Tunnel, server: ApiServer, replicas: Fleet
    ) -> None:
        self._rehearsal, self._control, self._way = rehearsal, control, way
        self._server, self._replicas = server, replicas
        self._phases: list[Phase] = []
        self._gate = RehearsedGate(rehearsal.project, rehearsal.region, rehearsal.folder / "gate", self._reached)

    # --- the phases ------------------------------------------------------------------------------------------------

    def report(self) -> Report:
        rehearsal = self._rehearsal
        if self._phase("preview", "preview", self._stated()):
            self._refusals()
            self._life()
        return Report(
            stack=rehearsal.stack,
            providers={
                "blueprint": "the project's own",
                "controller": "serving.control as it is, by the clock of the examples' approvals",
                "kubernetes": "kube-apiserver as it is: who may ask, and the proxy of services",
                "replicas": "played: they call loaded and answered whatever they are told",
            },
            phases=self._phases,
            made={"blueprint:index:ModelRelease": len(rehearsal.models)},
            answered={},
            refused=[],
            injected={},
            left=self._left(),
            notes=(
                f"steps and bake times of the rollouts are seconds here: {QUICK}",
                f"{rehearsal.foundation} is its outputs here; `./mlops rehearse {rehearsal.foundation}` plays it",
                "nothing is fetched, since no replica serves; while rollouts are quick, the gate is that of dev",
            ),
        )

    def _life(self) -> None:
        first = self._versions("previous")
        if not self._phase("up: the first releases", "up", first, expect=self._served("previous")):
            return
        self._phase("preview without changes", "preview", first, "--expect-no-changes")
        stated = self._stated()
        self._phase("up: the next versions, by canary", "up", stated, expect=self._served("manifest"))
        name, case = min(self._rehearsal.models.items())
        self._replicas.broken.add(str(case.previous["digest"]))
        self._phase(
            f"up: a bad candidate of {name} is rolled back",
            "up",
            self._versions("previous", only=name),
            fails=True,
            expect=self._served("manifest"),
        )
        as_stated = self._gate.settings()
        if self._rehearsal.gated:
            self._phase("up as stated, without a verdict: the gate stays closed", "up", as_stated, fails=True)
        if self._judged("as stated, judged by the policies", as_stated):
            through = "up as stated, through the gate: what is served stays"
            self._phase(through, "up", as_stated, expect=self._served("manifest"))
        self._phase("refresh without drift", "refresh", stated, expect=lambda result: not result.changed or "drift")
        self._phase("destroy", "destroy", stated)

    def _judged(self, phase: str, settings: Mapping[str, Any]) -> bool:
        """Have the policies judge the plan, the controller asked by the provider's way; sign what passed."""
        self._rehearsal.say(f"rehearsal of {self._rehearsal.stack}: {phase}")
        began = time.monotonic()
        try:
            with _set(self._variables()):
                found, stops = self._gate.judge(self._stack(settings))
            counts = ", ".join(f"{count} {status}" for status, count in found.evaluation.counts.items())
            ok, detail = not stops, "\n".join([counts, *stops[:12]])
        except EngineError as error:
            ok, detail = False, str(error)
        self._phases.append(Phase(phase, ok, round(time.monotonic() - began, 1), detail=detail))
        return ok

    def _refusals(self) -> None:
        """Ask for releases that must not start, by the way that the provider takes."""
        name, case = max(self._rehearsal.models.items(), key=lambda one: len(one[1].manifest["approvals"]))
        manifest = case.manifest

        def other_root(edited: dict[str, Any]) -> None:
            for stated in (edited["signature"], *edited["approvals"]):
                stated["trustRoot"] = "unknown"

        def unapproved(edited: dict[str, Any]) -> None:
            edited["approvals"] = edited["approvals"][:-1]

        def unsigned(edited: dict[str, Any]) -> None:
            edited["signature"] = None

        def widened(edited: dict[str, Any]) -> None:
            edited["intendedUse"] = "Anything."

        # Where a passed evaluation suffices nobody need have approved; what is wrong is refused there as well.
        by_people = [("without one of its approvals", unapproved, "approval")]
        for what, change, why in (
            *(by_people if self._rehearsal.trust.approval == "signatures" else []),
            ("without the signature of who trained it", unsigned, "not signed"),
            ("edited after it was approved", widened, "edited after it was approved"),
            ("under a trust root that nobody knows", other_root, "'unknown' is not accepted here"),
        ):
            edited = copy.deepcopy(dict(manifest))
            change(edited)
            self._refused(f"refused: a release {what}", name, edited, RELEASER, why)
        self._refused("refused: a caller without the right", name, manifest, STRANGER, "does not let us through")
        with self._real_environment():
            self._refused("refused: the examples in a real environment", name, manifest, RELEASER, "never accepted")

    @contextmanager
    def _real_environment(self) -> Iterator[None]:
        """Let the service lead to a controller that is none of a rehearsal."""
        rehearsal, folder = self._rehearsal, self._rehearsal.folder / "real"
        with controller(folder, rehearsal.trust, rehearsal.now, rehearsal=False) as real:
            ours, self._control = self._control, real
            self._way.lead(PORT, real.port)
            try:
                yield
            finally:
                self._control = ours
                self._way.lead(PORT, ours.port)

    # --- helpers ---------------------------------------------------------------------------------------------------

    def _refused(self, phase: str, name: str, manifest: Mapping[str, Any], who: str, why: str) -> None:
        """Ask for a release, which must be refused for a reason that holds `why`."""
        began = time.monotonic()
        asked = {"model": name, "version": manifest["version"], "manifest": dict(manifest)}
        release = resolve(asked)
        assert isinstance(release, Release)
        try:
            with _set({cluster_access.TOKEN: self._server.tokens[who]}):
                self._controller(name).ask_for(release)
            said = "it was accepted"
        except ResourceError as error:
            said = "" if why in str(error) else f"refused for another reason than {why!r}: {error}"
        self._phases.append(Phase(phase, not said, round(time.monotonic() - began, 1), detail=said))

    def _controller(self, name: str) -> release_controller.Controller:
        """The controller of a model as the provider reaches it."""
        return release_controller.Controller(
            {"model": name, "group": "shared", "strategy": {"kind": "all-at-once"}, "controller": self._reached()}
        )

    def _reached(self) -> dict[str, Any]:
        """How the controller is reached."""
        control = self._outputs()["endpoints"]["control"]
        proxy = {part: control[part] for part in ("cluster", "region", "authority")}
        return {"url": control["url"], "token": control["token"], "proxy": proxy}

    def _variables(self) -> dict[str, str]:
        """What the engine's environment has besides: who asks, the gate's files, and the rehearsal's time."""
        return {
            cluster_access.TOKEN: self._server.tokens[RELEASER],
            "MLOPS_PERSON": "rehearsal",
            # Nothing listens there: it says that AWS is no account's.
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
            NOW: self._rehearsal.now.isoformat(),
            **self._gate.variables(),
        }

    def _outputs(self) -> dict[str, Any]:
        rehearsal = self._rehearsal
        return stand_in(
            cluster=rehearsal.cluster,
            region=rehearsal.region,
            host=rehearsal.host,
            control=self._server.url + proxy_path(NAMESPACE, SERVICE, PORT),
            authority=self._server.ca,
            token=self._control.admin_token,
        )

    def _stated(self) -> dict[str, Any]:
        return self._versions("manifest")

    def _versions(self, which: str, only: str = "") -> dict[str, Any]:
        """Settings that differ: versions of the models, the speed of rollouts, and how long they are waited for."""
        models = {
            name: {
                "version": str(getattr(case, which if not only or name == only else "manifest")["version"]),
                "strategy": QUICK,
            }
            for name, case in self._rehearsal.models.items()
        }
        return {
            "mlops:models": models,
            "mlops:inference": {"rollout": {"wait": True, "timeoutSeconds": _WAIT_SECONDS}},
            "mlops:gates": {"kind": "dev"},
        }

    def _served(self, which: str) -> Callable[[Result], bool | str]:
        """Judge whether the controller serves these versions."""

        def judge(result: Result) -> bool | str:
            del result
            wrong = []
            for name, case in self._rehearsal.models.items():
                with _set({cluster_access.TOKEN: self._server.tokens[RELEASER]}):
                    served = (self._controller(name).model() or {}).get("served") or {}
                if served.get("digest") != getattr(case, which)["digest"]:
                    wrong.append(f"{name}: version {served.get('version') or 'none'} is served")
            return "; ".join(wrong) or True

        return judge

    def _left(self) -> dict[str, list[str]]:
        answer = rest.request(
            "GET", f"http://127.0.0.1:{self._control.port}/v1/models", token=self._control.admin_token
        )
        # A model that was withdrawn keeps its record, and serves nothing.
        serving = (
            [str(one["model"]) for one in answer.body["models"] if one.get("served")] if answer.ok else ["unknown"]
        )
        return {"served models": serving} if serving else {}

    def _stack(self, settings: Mapping[str, Any]) -> RehearsedStack:
        rehearsal = self._rehearsal
        stack = rehearsed_stack(rehearsal.project, rehearsal.stack, rehearsal.folder, self._variables(), settings)
        # Not before the stack, whose passphrase is made for a backend without any.
        write_state(rehearsal.folder / "state", stack.project_name, rehearsal.foundation, self._outputs())
        return stack

    def _phase(
        self,
        name: str,
        operation: str,
        settings: Mapping[str, Any],
        *arguments: str,
        fails: bool = False,
        expect: Callable[[Result], bool | str] | None = None,
    ) -> bool:
        """Run one phase and note how it went; a text from `expect` says what is wrong."""
        self._rehearsal.say(f"rehearsal of {self._rehearsal.stack}: {name}")
        began = time.monotonic()
        try:
            result: Result = getattr(self._stack(settings), operation)(*arguments)
        except OperationFailedError as error:
            result = error.result
        verdict = expect(result) if expect and result.ok != fails else True
        detail = "" if verdict is True else str(verdict)
        if result.ok == fails:
            detail = "it succeeded" if fails else "\n".join(result.errors)
        ok = result.ok != fails and verdict is True
        self._phases.append(Phase(name, ok, round(time.monotonic() - began, 1), dict(result.changes), detail))
        return ok


@contextmanager
def _set(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process while the block runs, as the engine's environment has them."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
