"""Run a command with variables from a file: how a Ray job gets secrets that Ray must not show.

    python -m training.pipelines.secret_environment FILE -- COMMAND…
    python -m training.pipelines.secret_environment secretsmanager:SECRET:NAME -- COMMAND…

Ray shows a job's command and environment to everybody who sees its dashboard; this command names a file only, which
none but its owner can read, or a secret of AWS Secrets Manager, which becomes the variable NAME. The file has a line
`NAME=value` each; empty lines and lines with `#` first do not count.
"""

import os
import re
import sys
from pathlib import Path

from training.cloud_secrets import SCHEME, secret_value
from training.errors import TrainingError
from training.workspace import run


def parse(text: str, where: str) -> dict[str, str]:
    """Read the variables of a file.

    Raises:
        TrainingError: naming the line; never its value.
    """
    variables = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, sign, value = line.partition("=")
        if not sign or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise TrainingError(f"{where}: line {number} is not NAME=value")
        variables[name] = value
    return variables


def variables_of(source: str) -> dict[str, str]:
    """Read the variables of a file, or one from Secrets Manager.

    Raises:
        TrainingError: what cannot be read; never a value.
    """
    if source.startswith(SCHEME):
        secret, _, name = source.removeprefix(SCHEME).rpartition(":")
        if not secret or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise TrainingError(f"{source} is not {SCHEME}SECRET:NAME")
        return {name: secret_value(secret)}
    try:
        text = Path(source).read_text(encoding="utf-8")
    except OSError as error:
        raise TrainingError(f"{source}: cannot be read: {error.strerror or error}") from error
    return parse(text, source)


def main() -> None:
    """Become the command."""
    arguments = sys.argv[1:]
    if len(arguments) < 3 or arguments[1] != "--":
        raise TrainingError("usage: python -m training.pipelines.secret_environment FILE -- COMMAND…")
    os.environ.update(variables_of(arguments[0]))
    sys.stdout.flush()
    os.execvp(arguments[2], arguments[2:])  # noqa: S606 - that is its purpose


if __name__ == "__main__":
    run(main)
