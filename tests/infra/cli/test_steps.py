"""Steps of `./mlops test`: what runs when, what is shown of it, and what it ends with."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infra.cli.steps import Step, run_steps


def python(name: str, code: str) -> Step:
    return Step(name, [sys.executable, "-c", code])


def test_each_step_runs_and_a_failed_one_keeps_none_from_running(tmp_path: Path) -> None:
    groups = [(python("a", "raise SystemExit(3)"),), (python("b", "open('made', 'w')"),)]
    assert run_steps(groups, tmp_path) == {"a": 3, "b": 0}
    assert (tmp_path / "made").exists()


def test_steps_of_a_group_run_at_a_time_and_the_others_are_shown_at_the_end(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    meet = "import pathlib, time\nopen({mine!r}, 'w')\nwhile not pathlib.Path({other!r}).exists(): time.sleep(0.01)\n"
    shown = python("shown", meet.format(mine="a", other="b") + "time.sleep(0.3); print('shown', flush=True)")
    kept = python("kept", meet.format(mine="b", other="a") + "import os; print('kept', os.nice(0), flush=True); 1 / 0")
    assert run_steps([(shown, kept)], tmp_path) == {"shown": 0, "kept": 1}
    printed, told = capfd.readouterr()
    lines = printed.splitlines()
    assert lines[0] == "shown"
    assert lines[1] == f"kept {os.nice(0)}", "the step beside gives way to none"
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert "── shown: ok" in told
    assert "── kept: failed (1)" in told


def test_a_step_without_anything_to_do_is_told_apart(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-c", "raise SystemExit(5)"]
    assert run_steps([(Step("empty", command, 5), Step("broken", command))], tmp_path) == {"empty": 5, "broken": 5}
    told = capfd.readouterr().err
    assert "── empty: nothing to run in" in told
    assert "── broken: failed (5) in" in told


HEAR = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"  # shells make background jobs deaf
STEP = f"""{HEAR}import time
try:
    print('ready', flush=True); open('ready', 'w'); time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5); open('put-away', 'w')
"""
RUN = f"""{HEAR}import pathlib, sys
from infra.cli.steps import Step, run_steps
run_steps([(Step('s', [sys.executable, '-c', {STEP!r}]),)], pathlib.Path(sys.argv[1]))
"""


def run(code: str, folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], cwd=Path(__file__).parents[3], start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_ctrl_c_waits_until_a_step_has_put_away_what_it_started(tmp_path: Path) -> None:
    process = run(RUN, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in told
    assert (tmp_path / "put-away").exists()


def test_ctrl_c_while_a_step_is_started_reaches_it(tmp_path: Path) -> None:
    interrupted = """
import os, pathlib, signal, subprocess, sys, time
class Popen(subprocess.Popen):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        while not pathlib.Path(sys.argv[1], "ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
subprocess.Popen = Popen
"""
    process = run(f"{interrupted}{RUN}", tmp_path)
    _, told = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in told
    assert (tmp_path / "put-away").exists()
