"""Runs the engine over a program with the planning stand-ins: registers a base, previews a head against it.

State, settings and passphrase are the plan's own, in a folder that is thrown away, and nothing of the person's accounts
reaches the engine (`rehearsal_environment`). Encrypted settings are placeholders.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from infra.engine.errors import EngineError
from infra.engine.operation import read_result
from infra.foundation_outputs import stand_in_for
from infra.planning.serving import providers
from infra.rehearsal.stack import rehearsal_environment, settings_for_rehearsal
from policies.pack.servicer import RESULT

_SECONDS = 600
PASSPHRASE = "planned"  # noqa: S105 - every value that it encrypts is made up
_SUMMARIES = ("preview failed", "update failed")


class PlanError(EngineError):
    """A stack could not be planned; the text is what the engine said of it."""


@dataclass(frozen=True)
class Preview:
    """What came of a preview.

    Attributes:
        document: what the engine printed.
        evaluation: what the pack wrote of its own evaluation; None where it did not run or did not end.
        said: what went wrong, as the engine told it; a pack's findings are not among it.
    """

    document: Mapping[str, Any]
    evaluation: Mapping[str, Any] | None = None
    said: Sequence[str] = ()


@dataclass(frozen=True)
class _Done:
    """How one run of the engine ended: exit code, what it printed and complained of, errors of its event log."""

    code: int
    printed: str
    complaint: str
    errors: Sequence[str] = ()


@dataclass(frozen=True)
class Program:
    """One checkout's program and one of its stacks.

    Attributes:
        project: folder of the checkout, in which `.mlops/venv` is.
        stack: name of the stack.
        folder: folder of this plan: state, settings, logs.
        tools: folder of the project whose tools are used.
        variables: what else the engine's environment has.
    """

    project: Path
    stack: str
    folder: Path
    tools: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def state_file(self) -> Path:
        """The stack's state."""
        return self.folder / "state" / ".pulumi" / "stacks" / "mlops" / f"{self.stack}.json"

    def register(self) -> None:
        """Register the program with nothing behind it, so that its state is there to compare with.

        Raises:
            PlanError: it cannot be registered.
        """
        with providers(str(self.project), judging=False) as attached:
            environment = self._environment(attached)
            self._init(environment)
            done = self._run(environment, "up", "--yes", "--skip-preview", "--suppress-outputs", "--suppress-progress")
        if done.code:
            raise PlanError("; ".join(done.errors) or f"the engine ended with {done.code}")

    def preview(self, pack: Path | None = None) -> Preview:
        """Preview the program against the state that is there, or nothing.

        Args:
            pack: folder of the policy pack that judges it.

        Raises:
            PlanError: there is no plan: the program or a check failed.
        """
        result = self.folder / "evaluation.json"
        result.unlink(missing_ok=True)
        with providers(str(self.project)) as attached:
            environment = {**self._environment(attached), RESULT: str(result)}
            self._init(environment)
            packs = ["--policy-pack", str(pack)] if pack else []
            done = self._run(environment, "preview", "--json", "--show-sames", *packs)
        document = _document(done.printed)
        evaluation = json.loads(result.read_text()) if result.exists() else None
        if document is None or "steps" not in document or done.errors or (done.code and pack is None):
            told = "; ".join(done.errors) or done.complaint or " ".join(done.printed[-600:].split())
            raise PlanError(told or f"the engine ended with {done.code} and printed no plan")
        if evaluation is None and pack is not None:
            why = done.complaint or f"the policy pack told no result, and the engine ended with {done.code}"
            return Preview(document, None, [why])
        return Preview(document, evaluation)

    def restore(self, state: Path) -> None:
        """Take a state that `register` made before, from a file."""
        self.state_file.parent.mkdir(parents=True, exist_ok=True)
        # without it the engine would look for stacks where its oldest versions had them
        (self.folder / "state" / ".pulumi" / "meta.yaml").write_text("version: 1\n")
        shutil.copyfile(state, self.state_file)

    def take(self, deployment: Mapping[str, Any]) -> None:
        """Import a state that an earlier version of the program left; its secrets are in plain, and placeholders.

        Args:
            deployment: an export, as the engine imports it.

        Raises:
            PlanError: the engine does not take it.
        """
        environment = self._environment({})
        self._init(environment)
        file = self.folder / "import.json"
        # Encrypted by the plan's own passphrase from here on.
        fresh = json.loads(self.state_file.read_text())["checkpoint"]["latest"]["secrets_providers"]
        imported = {**deployment["deployment"], "secrets_providers": fresh}
        file.write_text(json.dumps({**deployment, "deployment": imported}))
        with tempfile.TemporaryDirectory(prefix="mlops-plan-") as folder:
            (Path(folder) / "Pulumi.yaml").write_text("name: mlops\nruntime: python\n")
            done = self._engine(
                environment, Path(folder), "stack", "import", "--stack", self.stack, "--file", str(file)
            )
        if done.code:
            raise PlanError(f"the recorded state of {self.stack} cannot be imported: {done.complaint}")

    # --- helpers ---------------------------------------------------------------------------------------------------

    def _settings(self) -> Path:
        file = self.project / "stacks" / f"Pulumi.{self.stack}.yaml"
        try:
            original = yaml.safe_load(file.read_text()) or {}
            settings = settings_for_rehearsal(original, {})
        except OSError as error:
            raise PlanError(f"stacks/{file.name} cannot be read: {error.strerror}") from None
        except (yaml.YAMLError, AttributeError) as error:
            raise PlanError(f"stacks/{file.name} is no stack file: {error}") from None
        copy = self.folder / file.name
        copy.write_text(yaml.safe_dump(settings))
        return copy

    def _environment(self, attached: Mapping[str, str]) -> dict[str, str]:
        self.folder.mkdir(parents=True, exist_ok=True)
        found = rehearsal_environment(
            self.tools, self.folder, {**attached, "PULUMI_SKIP_CHECKPOINTS": "true", **self.variables}
        )
        found["MLOPS_PROJECT"] = str(self.tools)
        found.pop("PULUMI_CONFIG_PASSPHRASE_FILE", None)
        found["PULUMI_CONFIG_PASSPHRASE"] = PASSPHRASE
        found["PULUMI_FALLBACK_TO_STATE_SECRETS_MANAGER"] = "true"
        return found

    def _init(self, environment: Mapping[str, str]) -> None:
        if not self.state_file.exists():
            with tempfile.TemporaryDirectory(prefix="mlops-plan-") as folder:
                # the engine writes the passphrase's salt into the stack's file: into one that nobody keeps
                (Path(folder) / "Pulumi.yaml").write_text("name: mlops\nruntime: python\n")
                done = self._engine(environment, Path(folder), "stack", "init", self.stack, "--no-select")
            if done.code:
                raise PlanError(done.complaint or "the engine made no stack")
        stand_in_for(self._settings(), self.folder / "state", "mlops")

    def _run(self, environment: Mapping[str, str], *arguments: str) -> _Done:
        log = self.folder / "events.jsonl"
        log.unlink(missing_ok=True)
        options = ("--stack", self.stack, "--config-file", str(self._settings()), "--event-log", str(log))
        done = self._engine({**environment, "PULUMI_DEBUG_COMMANDS": "true"}, self.project, *arguments, *options)
        told = read_result(log, "preview", self.stack, done.code).errors
        return replace(done, errors=[one for one in told if not one.endswith(_SUMMARIES)])

    def _engine(self, environment: Mapping[str, str], folder: Path, *arguments: str) -> _Done:
        command = [environment["MLOPS_PULUMI"], *arguments, "--non-interactive"]
        try:
            done = subprocess.run(
                command, cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL,
                capture_output=True, text=True, check=False, timeout=_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise PlanError(f"the engine did not end within {_SECONDS} s") from None
        return _Done(done.returncode, done.stdout, done.stderr.strip())


def _document(text: str) -> dict[str, Any] | None:
    """Return the one JSON document in what the engine printed."""
    start = text.find("{")
    if start < 0:
        return None
    try:
        found, _ = json.JSONDecoder().raw_decode(text[start:])
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def tools_home(project: Path, checkout: Path) -> None:
    """Give a checkout the project's Python environment."""
    own = checkout / ".mlops"
    own.mkdir(exist_ok=True)
    if not (own / "venv").exists():
        (own / "venv").symlink_to(project / ".mlops" / "venv")
