"""Where a job works: its data folder, its result, its commit and its progress lines, all given by the environment."""

import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from training.errors import TrainingError


def quieten() -> None:
    """Turn off what the libraries would send to their makers; training reaches no network but the registry."""
    for name, value in (
        ("DO_NOT_TRACK", "1"),
        ("MLFLOW_DISABLE_TELEMETRY", "true"),
        ("FEAST_USAGE", "False"),
        ("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true"),
        ("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false"),
        ("GIT_PYTHON_REFRESH", "quiet"),
    ):
        os.environ.setdefault(name, value)
    # A plugin of SageMaker fails to make headers for a registry that is not on AWS, and says so at each request.
    logging.getLogger("mlflow.tracking.request_header.registry").setLevel(logging.ERROR)
    logging.getLogger("mlflow.store.model_registry").setLevel(logging.WARNING)


def say(text: str) -> None:
    """Write one line of progress for whoever follows the job."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def data_directory() -> Path:
    """Return the folder of the environment's data (`MLOPS_DATA_DIR`).

    Raises:
        TrainingError: it is not set.
    """
    value = os.environ.get("MLOPS_DATA_DIR")
    if not value:
        raise TrainingError("MLOPS_DATA_DIR is not set: the folder of the environment's data")
    return Path(value)


def earlier_result(variable: str, what: str) -> dict[str, Any] | None:
    """Return the result of an earlier job, handed on as JSON in an environment variable; None where it is empty.

    A value `@PATH` names a file that holds the JSON, where jobs hand over files instead of variables.

    Raises:
        TrainingError: the value is not a JSON object, or the file cannot be read.
    """
    text = os.environ.get(variable, "").strip()
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise TrainingError(f"{variable}: {text[1:]} cannot be read: {error}") from None
    if not text or text == "null":
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise TrainingError(f"{variable}: not the JSON result of {what}: {error}") from None
    if not isinstance(value, dict):
        raise TrainingError(f"{variable}: expected the JSON object that {what} wrote, got {text[:80]!r}")
    return value


def write_result(result: Mapping[str, Any]) -> None:
    """Write the job's result to `MLOPS_JOB_RESULT`, completely or not at all; to standard output where it is not set.

    Raises:
        TrainingError: the file cannot be written.
    """
    text = json.dumps(result, indent=2, sort_keys=True, allow_nan=False) + "\n"
    place = os.environ.get("MLOPS_JOB_RESULT")
    if not place:
        say(text.rstrip())
        return
    try:
        write_atomically(Path(place), text.encode())
    except OSError as error:
        raise TrainingError(f"MLOPS_JOB_RESULT: {place} cannot be written: {error.strerror or error}") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is there completely or as it was before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(partial).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(partial).unlink()
        raise


def commit() -> str:
    """Return the commit that is run: `MLOPS_COMMIT`, else what git says, else `unknown`."""
    given = os.environ.get("MLOPS_COMMIT", "").strip()
    if given:
        return given
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip() or "unknown"


def run(main: Callable[[], None]) -> None:
    """Run a pipeline's main function and end the process: errors for people without a traceback, status 1."""
    quieten()
    try:
        main()
    except TrainingError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
