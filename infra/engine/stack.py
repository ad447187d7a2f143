"""One stack and what can be done with it: up, preview, refresh, destroy, outputs, remove.

Every operation runs the engine's own command line, so that `./mlops up` and `pulumi up -s <stack>` are the same thing.
Around it this adds what a person would otherwise do by hand: make the stack on first use, release a lock that a killed
engine left behind, and clear the pending operations that it left.

A stack with a generated passphrase keeps the salt in its state. The engine would write it into the stack's file too,
where it would ask everybody else for this machine's passphrase, so it works on a copy of that file.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from infra.engine import locks
from infra.engine.cache import Progress, silent
from infra.engine.environment import Backend, choose_backend
from infra.engine.errors import EngineError
from infra.engine.operation import Name, OperationFailedError, Result, forwarded_signals, run

_SALT = re.compile(r"^encryptionsalt:.*\n?", re.MULTILINE)
_SECURE = re.compile(r"\bsecure:")


@dataclass(frozen=True)
class Stack:
    """A stack of this project.

    Attributes:
        project: The project's folder.
        name: The stack's name: the part of `stacks/Pulumi.<name>.yaml` between the dots.
        environment: What `engine_environment` returned.
        say: Told in a line what goes on beside the engine's own output.
    """

    project: Path
    name: str
    environment: Mapping[str, str]
    say: Progress = field(default=silent)

    @cached_property
    def backend(self) -> Backend:
        """Where its state is."""
        return choose_backend(self.project, self.environment)

    @cached_property
    def project_name(self) -> str:
        """The name in Pulumi.yaml."""
        found = re.search(r"^name:\s*[\"']?([\w.-]+)", (self.project / "Pulumi.yaml").read_text(), re.MULTILINE)
        if found is None:
            raise EngineError(f"{self.project / 'Pulumi.yaml'} has no name")
        return found[1]

    @property
    def file(self) -> Path:
        """The stack's settings file."""
        return self.project / "stacks" / f"Pulumi.{self.name.rpartition('/')[2]}.yaml"

    @property
    def state_file(self) -> Path | None:
        """The state in a file backend, or None in another."""
        if self.backend.folder is None:
            return None
        return self.backend.folder / ".pulumi" / "stacks" / self.project_name / f"{self.name}.json"

    def exists(self) -> bool:
        """Say whether the backend knows the stack."""
        if self.state_file is not None:
            return self.state_file.exists() or self.state_file.with_suffix(".json.gz").exists()
        listed = json.loads(self._engine("stack", "ls", "--json"))
        return any(self.name in (entry["name"], entry["name"].rpartition("/")[2]) for entry in listed)

    def up(self, *arguments: str) -> Result:
        """Make the platform as the stack describes it.

        Raises:
            OperationFailedError: It failed; what was done is kept.
            StackLockedError: Another operation is at work on the stack.
            KeyboardInterrupt: It was interrupted, and has ended.
        """
        self.ensure_exists()
        result = self._operate("up", "--yes", "--skip-preview", *arguments)
        if pending := self.pending_operations():
            # They are of a run that was killed. The resources have been created again under the same names by now.
            self.say(f"stack {self.name}: clearing {len(pending)} operations that a killed run left unfinished")
            self._operate("refresh", "--yes", "--skip-preview", "--clear-pending-creates")
        return result

    def preview(self, *arguments: str) -> Result:
        """Say what `up` would do, for example with `--refresh` and `--expect-no-changes` to check for drift."""
        self.ensure_exists()
        return self._operate("preview", *arguments)

    def refresh(self, *arguments: str) -> Result:
        """Bring the state to what really runs."""
        self.ensure_exists()
        return self._operate("refresh", "--yes", "--skip-preview", *arguments)

    def destroy(self, *arguments: str) -> Result:
        """Take down everything the stack holds. A stack that does not exist is down already."""
        if not self.exists():
            return Result("destroy", self.name, ok=True)
        return self._operate("destroy", "--yes", "--skip-preview", *arguments)

    def remove(self) -> None:
        """Forget an empty stack, its history and backups. Its file in `stacks/` stays."""
        if self.exists():
            self.release_stale_lock()
            self._engine("stack", "rm", "--stack", self.name, "--yes", "--preserve-config", "--remove-backups")

    def outputs(self, *, show_secrets: bool = False) -> dict[str, Any]:
        """Return what the stack exports; secrets are `[secret]` unless asked for. Empty when it does not exist."""
        if not self.exists():
            return {}
        arguments = ["--show-secrets"] if show_secrets else []
        outputs: dict[str, Any] = json.loads(
            self._engine("stack", "output", "--stack", self.name, "--json", *arguments)
        )
        return outputs

    def release_stale_lock(self) -> list[locks.Lock]:
        """Release a lock whose owner is dead.

        Raises:
            StackLockedError: Its owner is at work.
        """
        if self.backend.folder is None:
            return []  # a service sees by itself when its client is gone
        return locks.release_stale(self.backend.folder, self.project_name, self.name, self.say)

    def pending_operations(self) -> list[dict[str, Any]]:
        """Return the operations that a killed run left unfinished, as far as the state can be read here."""
        if self.state_file is None or not self.state_file.exists():
            return []
        latest = json.loads(self.state_file.read_text())["checkpoint"].get("latest") or {}
        return list(latest.get("pending_operations") or [])

    def ensure_exists(self) -> None:
        """Make the stack in the backend when it is not there.

        Raises:
            EngineError: It has no file in `stacks/`, or the backend refused.
        """
        if not self.file.exists():
            known = sorted(path.name.split(".")[1] for path in self.file.parent.glob("Pulumi.*.yaml"))
            raise EngineError(f"no stack {self.name!r}: there is no {self.file}. Stacks: {', '.join(known) or 'none'}")
        if self.exists():
            return
        try:
            self._init()
        except EngineError as error:
            if "already exists" not in str(error):  # another `up` has been quicker; the lock decides between the two
                raise

    def _init(self) -> None:
        if not self._salt_in_state():
            self._engine("stack", "init", self.name, "--no-select")
            return
        with tempfile.TemporaryDirectory(prefix="mlops-stack-") as folder:
            (Path(folder) / "Pulumi.yaml").write_text(f"name: {self.project_name}\nruntime: python\n")
            self._engine("stack", "init", self.name, "--no-select", folder=folder)

    def drop_generated_salt(self) -> bool:
        """Take the salt of the generated passphrase out of the stack's file, where plain `pulumi` wrote it.

        Returns:
            Whether there was one. A salt that encrypted values need, or that the state does not hold, is left alone.
        """
        if not self.file.exists() or self.state_file is None or not self.state_file.exists():
            return False
        text = self.file.read_text()
        found = _SALT.search(text)
        if found is None or _SECURE.search(text) or not self._passphrase_is_generated():
            return False
        latest = json.loads(self.state_file.read_text())["checkpoint"].get("latest") or {}
        salt = ((latest.get("secrets_providers") or {}).get("state") or {}).get("salt")
        if not salt or salt not in found[0]:
            return False
        self.file.write_text(_SALT.sub("", text))
        return True

    def _passphrase_is_generated(self) -> bool:
        generated = str(self.project / ".mlops" / "passphrase")
        return self.environment.get("PULUMI_CONFIG_PASSPHRASE_FILE") == generated

    def _salt_in_state(self) -> bool:
        """Say whether the passphrase is a generated one, whose salt has no place in the stack's file.

        With secrets in the file it has one: they were written with a passphrase that the person must name.
        """
        if not self._passphrase_is_generated():
            return False
        text = self.file.read_text() if self.file.exists() else ""
        if re.search(r"^secretsprovider:", text, re.MULTILINE):
            return False
        if _SALT.search(text) and _SECURE.search(text):
            raise EngineError(
                f"{self.file} holds encrypted values, which need the passphrase they were written with. "
                "Name it by PULUMI_CONFIG_PASSPHRASE_FILE or PULUMI_CONFIG_PASSPHRASE."
            )
        return True

    def planned(self, *arguments: str, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Preview without showing it; what the engine prints is a JSON document.

        Args:
            arguments: options of the engine.
            variables: what the engine's environment has besides.
        """
        self.ensure_exists()
        with self._command("preview", "--json", "--non-interactive", *arguments) as command:
            return subprocess.run(
                command,
                cwd=self.project,
                env={**self.environment, **variables},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )

    def _operate(self, operation: Name, *arguments: str) -> Result:
        with self._command(operation, *arguments) as command:
            result = run(command, operation, self.name, self.environment, self.project, self.say)
        if not result.ok:
            raise OperationFailedError(result)
        return result

    @contextlib.contextmanager
    def _command(self, operation: Name, *arguments: str) -> Iterator[list[str]]:
        """Yield the command line of an operation, for as long as the settings that it names are there."""
        self.release_stale_lock()
        command = [self.environment["MLOPS_PULUMI"], operation, "--stack", self.name, *arguments]
        with tempfile.TemporaryDirectory(prefix="mlops-stack-") as folder:
            if self._salt_in_state():
                copy = Path(folder) / self.file.name
                copy.write_text(_SALT.sub("", self.file.read_text()) if self.file.exists() else "{}\n")
                command += ["--config-file", str(copy)]
            yield command

    def _engine(self, *arguments: str, folder: str | None = None) -> str:
        """Run a short command of the engine and return its answer."""
        command: Sequence[str] = [self.environment["MLOPS_PULUMI"], *arguments, "--non-interactive"]
        done = subprocess.run(
            command,
            cwd=folder or self.project,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise EngineError(f"pulumi {' '.join(arguments[:2])}: {(done.stderr or done.stdout).strip()}")
        return done.stdout


def pass_through(
    project: Path, environment: Mapping[str, str], arguments: Sequence[str], say: Progress = silent
) -> int:
    """Run the engine's command line as the person typed it, in the current folder or the project's.

    A stack that has a file but was never brought up is made first, so that `preview -s local` works on a fresh
    checkout, and a lock that a killed engine left is released.

    Returns:
        Its exit status.
    """
    if arguments and arguments[0] in ("up", "update", "preview", "pre", "refresh", "destroy"):
        stack = Stack(project, _stack_named(arguments) or "", environment, say)
        if stack.name and stack.file.exists():
            stack.ensure_exists()
            stack.release_stale_lock()
    inside = Path.cwd().is_relative_to(project)
    command = [environment["MLOPS_PULUMI"], *arguments]
    start = partial(subprocess.Popen, command, cwd=None if inside else project, env=dict(environment))
    with forwarded_signals(start, silent) as (process, _):
        code = process.wait()
    for path in (project / "stacks").glob("Pulumi.*.yaml"):
        Stack(project, path.name.split(".")[1], environment).drop_generated_salt()
    return code if code >= 0 else 128 - code


def _stack_named(arguments: Sequence[str]) -> str | None:
    """Return the stack that a command line names."""
    for index, argument in enumerate(arguments):
        if argument in ("-s", "--stack"):
            return arguments[index + 1] if index + 1 < len(arguments) else None
        if argument.startswith(("--stack=", "-s=")):
            return argument.partition("=")[2]
    return None
