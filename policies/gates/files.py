"""Where verdict and break-glass statement of a stack lie, and how they are read and written."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from policies.gates.breakglass import BreakGlass
from policies.gates.verdict import Verdict
from policies.releases.record import Record

FOLDER = "MLOPS_GATE_FOLDER"
"""Variable of the environment with the folder of the gate's files, where it is not the usual one."""
_LIMIT_BYTES = 4_000_000

_Document = TypeVar("_Document", bound=Record)


class GateFileError(Exception):
    """A file of the gate is there, but is not what it should be."""


def gate_folder(project: Path, stack: str, environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder of a stack's gate: `.mlops/gates/<stack>`, or what `MLOPS_GATE_FOLDER` says."""
    stated = (os.environ if environ is None else environ).get(FOLDER)
    return Path(stated) if stated else project / ".mlops" / "gates" / stack.rpartition("/")[2]


def verdict_file(folder: Path) -> Path:
    """Return the file of the verdict."""
    return folder / "verdict.json"


def break_glass_file(folder: Path) -> Path:
    """Return the file of the break-glass statement."""
    return folder / "break-glass.json"


def read_verdict(folder: Path) -> Verdict | None:
    """Return the verdict in a folder, None where there is none.

    Raises:
        GateFileError: it is no verdict.
    """
    return _read(Verdict, verdict_file(folder))


def read_break_glass(folder: Path) -> BreakGlass | None:
    """Return the break-glass statement in a folder, None where there is none.

    Raises:
        GateFileError: it is no such statement.
    """
    return _read(BreakGlass, break_glass_file(folder))


def _read(kind: type[_Document], path: Path) -> _Document | None:
    try:
        if path.stat().st_size > _LIMIT_BYTES:
            raise GateFileError(f"{path} is larger than {_LIMIT_BYTES} bytes")
        return kind.model_validate(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'all'}: {one['msg']}" for one in error.errors()[:5])
        raise GateFileError(f"{path} is not what it should be: {said}") from None
    except (OSError, ValueError) as error:
        raise GateFileError(f"{path} cannot be read: {error}") from None


def write(path: Path, document: Record) -> None:
    """Write a document whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(document.to_json(), indent=2, sort_keys=True) + "\n")
    draft.replace(path)
