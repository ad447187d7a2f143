"""States that an earlier version of the program left, and what today's version would do to one of them.

A recorded state is the export of a stack without what is secret, of one machine or of no use: what the engine needs to
compare with. It is imported into a fresh backend and previewed with the planning stand-ins, which touch nothing.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from infra.engine.errors import EngineError
from infra.planning.runs import Program
from policies.plan import Step
from policies.preview import plan_from_preview
from policies.stateful import STATEFUL

_SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
_SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - how the engine marks a secret in a state
_GZIP: Final = b"\x1f\x8b"
PLACEHOLDER: Final = "recorded"
"""Stands where a secret was."""
_OF_NO_USE: Final = frozenset({"created", "modified", "sourcePosition", "stackTrace"})
_LOOPBACK = re.compile(r"(?<=://)(?:127\.0\.0\.1|localhost)(?::\d+)?")
_AUTHORITY = re.compile(r"(certificate-authority-data\W+)[A-Za-z0-9+/=]{64,}")
_CERTIFICATE = re.compile(r"^LS0tLS1CRUdJTi[A-Za-z0-9+/=]+$")
"""A PEM block in base 64."""


class RecordedStateError(EngineError):
    """A file is no state of a stack."""


@dataclass(frozen=True)
class Upgrade:
    """What a version of the program would do to a recorded state: steps by what they do, what is the same left out."""

    steps: Sequence[Step]

    def of(self, operation: str) -> list[str]:
        """Resources that one operation concerns, as `type name`."""
        return sorted(_called(one) for one in self.steps if one.operation == operation)

    @property
    def lost(self) -> list[str]:
        """What holds state and would be replaced or deleted."""
        gone = [one for one in self.steps if one.operation in ("replace", "delete") and one.type in STATEFUL]
        return sorted(f"{_called(one)}: {STATEFUL[one.type].holds}" for one in gone)

    def document(self) -> dict[str, Any]:
        """Return it as JSON: resources by operation, and what is lost."""
        return {"steps": {one: self.of(one) for one in ("replace", "delete", "create", "update")}, "lost": self.lost}


def record(exported: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of an export is kept: no secret, no time, no place in code, no address of this machine.

    Args:
        exported: what `pulumi stack export` printed, or the file of a file backend.

    Raises:
        RecordedStateError: it is neither.
    """
    deployment = exported.get("deployment") or (exported.get("checkpoint") or {}).get("latest")
    if not isinstance(deployment, Mapping) or not isinstance(deployment.get("resources"), list):
        raise RecordedStateError("this is no export of a stack: it has no resources (`pulumi stack export`)")
    if deployment.get("pending_operations"):
        raise RecordedStateError("operations are pending in this state: run `up` or `refresh` first")
    resources = [
        {name: _kept(value) for name, value in one.items() if name not in _OF_NO_USE} for one in deployment["resources"]
    ]
    manifest = {"time": "2000-01-01T00:00:00Z", "magic": "", "version": ""}
    return {"version": 3, "deployment": {"manifest": manifest, "resources": resources}}


def write(recorded: Mapping[str, Any], path: Path) -> None:
    """Write a recorded state, compressed; the same state gives the same bytes."""
    text = json.dumps(recorded, sort_keys=True, separators=(",", ":"))
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def read(path: Path) -> dict[str, Any]:
    """Read a recorded state, or an export that is recorded now.

    Raises:
        RecordedStateError: it is none.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecordedStateError(f"{path} cannot be read: {error.strerror}") from None
    return parse(content, str(path))


def parse(content: bytes, where: str) -> dict[str, Any]:
    """Read what `read` reads from a file.

    Args:
        content: JSON, compressed or not.
        where: what to call it in a message.

    Raises:
        RecordedStateError: it is no state.
    """
    try:
        document = json.loads(gzip.decompress(content) if content[:2] == _GZIP else content)
    except (OSError, EOFError, ValueError) as error:
        raise RecordedStateError(f"{where}: no state of a stack: {error}") from None
    if not isinstance(document, dict):
        raise RecordedStateError(f"{where}: no state of a stack, but a {type(document).__name__}")
    return record(document)


def upgrade(project: Path, stack: str, recorded: Mapping[str, Any]) -> Upgrade:
    """Preview this checkout's program over a recorded state of a stack.

    Args:
        project: folder of the checkout.
        stack: name of the stack, the same as it was.
        recorded: the state, as `read` returns it.

    Raises:
        EngineError: the state cannot be imported, or there is no plan.
    """
    folder = Path(tempfile.mkdtemp(prefix="mlops-upgrade-"))
    try:
        program = Program(project, stack, folder, project)
        program.take(recorded)
        plan = plan_from_preview(program.preview().document, stack)
        return Upgrade([one for one in plan.steps or () if one.operation != "same"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _called(step: Step) -> str:
    return f"{step.type} {step.urn.rpartition('::')[2]}"


def _kept(value: Any) -> Any:
    match value:
        case dict() if value.get(_SIGNATURE) == _SECRET:
            return {_SIGNATURE: _SECRET, "plaintext": json.dumps(PLACEHOLDER)}
        case dict():
            return {name: _kept(item) for name, item in value.items()}
        case list():
            return [_kept(item) for item in value]
        case str():
            return _CERTIFICATE.sub(
                PLACEHOLDER, _AUTHORITY.sub(rf"\1{PLACEHOLDER}", _LOOPBACK.sub("recorded.invalid", value))
            )
    return value
