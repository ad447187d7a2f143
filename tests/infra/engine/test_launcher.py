"""The launcher `mlops`: looks whether everything is in place, has it made if not, and starts the command line."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

BOOTSTRAP = """
import os, pathlib, sys
root = pathlib.Path(__file__).resolve().parents[2]
python = root / ".mlops" / "venv" / "bin" / "python"
python.parent.mkdir(parents=True, exist_ok=True)
if not python.exists():
    # Stands in for an interpreter: says what it was started with, or becomes the real one for a script.
    python.write_text('#!/bin/sh\\nif [ "$1" = -I ]; then exec "%s" "$@"; fi\\necho "$PWD: $*"\\n' % sys.executable)
    python.chmod(0o755)
(python.parents[1] / ".mlops-ready").write_text(f"{root}\\nkey\\n")
print("bootstrapped", file=sys.stderr)
sys.exit(int(os.environ.get("FAIL", "0")))
"""


@pytest.fixture
def launched(tmp_path: Path) -> Path:
    """A folder with the real launcher and a bootstrap that only says that it ran."""
    root = tmp_path / "project with a space"
    for package in ("infra/engine", "components", "training", "serving", "policies"):
        (root / package).mkdir(parents=True)
    shutil.copy(ROOT / "mlops", root / "mlops")
    (root / "infra" / "engine" / "bootstrap.py").write_text(BOOTSTRAP)
    (root / "infra" / "engine" / "bootstrap.lock").write_text("uv==1\n")
    (root / "requirements.lock").write_text("a==1\n")
    return root


def launch(
    command: Path | str, *arguments: str, cwd: Path | None = None, **environ: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(command), *arguments],
        cwd=cwd,
        env={**os.environ, "MLOPS_PYTHON": sys.executable, **environ},
        capture_output=True,
        text=True,
    )


def settle() -> None:
    """Let the file system's clock tick, so that a change counts as later."""
    time.sleep(0.05)


def test_first_use_makes_the_environment_and_later_ones_do_not(launched: Path) -> None:
    first = launch(launched / "mlops", "up", "--json")
    assert first.stderr == "bootstrapped\n"
    settle()
    again = launch(launched / "mlops", "up", "--json")
    assert again.stderr == ""
    assert again.stdout.endswith(": -P -m infra.cli up --json\n")


def test_arguments_arrive_as_they_were_given(launched: Path) -> None:
    done = launch(launched / "mlops", "predict", "--json", '{"a b": 1}', "")
    assert done.stdout.endswith(': -P -m infra.cli predict --json {"a b": 1} \n')


def test_it_stays_in_the_callers_folder(launched: Path, tmp_path: Path) -> None:
    assert launch(launched / "mlops", cwd=tmp_path).stdout.startswith(f"{tmp_path}: ")


def test_it_works_through_a_link(launched: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "mlops").symlink_to(launched / "mlops")
    done = launch("mlops", "status", PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    assert (launched / ".mlops" / "venv" / ".mlops-ready").exists()


@pytest.mark.parametrize(
    "changed", ["requirements.lock", "infra/engine/bootstrap.lock", "components/new.py", "serving/deep/er.py"]
)
def test_changed_lock_or_source_is_seen(launched: Path, changed: str) -> None:
    launch(launched / "mlops")
    settle()
    path = launched / changed
    path.parent.mkdir(exist_ok=True)
    path.write_text("changed\n")
    assert launch(launched / "mlops").stderr == "bootstrapped\n"


def test_change_with_an_old_date_is_seen(launched: Path) -> None:
    launch(launched / "mlops")
    settle()
    (launched / "requirements.lock").write_text("a==2\n")
    os.utime(launched / "requirements.lock", (1, 1))
    assert launch(launched / "mlops").stderr == "bootstrapped\n"


def test_moved_folder_is_seen(launched: Path, tmp_path: Path) -> None:
    launch(launched / "mlops")
    settle()
    moved = launched.rename(tmp_path / "moved")
    assert launch(moved / "mlops").stderr == "bootstrapped\n"


def test_failed_preparation_starts_nothing(launched: Path) -> None:
    done = launch(launched / "mlops", FAIL="1")
    assert done.returncode == 1
    assert done.stdout == ""


def test_too_old_python_is_named(launched: Path, tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
    old.chmod(0o755)
    done = launch(launched / "mlops", PATH=f"{tmp_path}:/usr/bin:/bin", MLOPS_PYTHON=str(old))
    assert done.returncode == 1
    assert "3.11 or newer" in done.stderr
    assert "3.9.2" in done.stderr
    assert "MLOPS_PYTHON" in done.stderr


def test_named_python_is_used(launched: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text(f'#!/bin/sh\necho mine >&2\nexec {sys.executable} "$@"\n')
    mine.chmod(0o755)
    assert "mine\n" in launch(launched / "mlops", MLOPS_PYTHON=str(mine)).stderr
