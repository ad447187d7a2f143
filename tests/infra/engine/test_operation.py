"""Running the engine: signals and the typed result."""

import json
import os
import pty
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from infra.engine.operation import OperationFailedError, read_result

ROOT = Path(__file__).resolve().parents[3]

DRIVER = """
import sys, pathlib
from infra.engine.operation import run
try:
    result = run([sys.executable, "-u", sys.argv[1]], "up", "test", {{}}, pathlib.Path("."), print)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(130)
print("result", result.ok, flush=True)
"""


def write_events(path: Path, *events: object) -> Path:
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


def test_result_holds_changes_errors_and_findings(tmp_path: Path) -> None:
    log = write_events(
        tmp_path / "events.json",
        {"diagnosticEvent": {"severity": "info", "message": "hello"}},
        {
            "diagnosticEvent": {
                "severity": "error",
                "message": "it broke\n",
                "urn": "urn:pulumi:test::mlops::a:b:C::thing",
            }
        },
        {
            "policyEvent": {
                "policyName": "rule",
                "policyPackName": "pack",
                "enforcementLevel": "mandatory",
                "resourceUrn": "urn",
                "message": "not so",
            }
        },
        {"summaryEvent": {"resourceChanges": {"create": 2, "same": 1}, "durationSeconds": 7}},
    )
    result = read_result(log, "up", "test", 1)
    assert not result.ok
    assert result.changes == {"create": 2, "same": 1}
    assert result.changed
    assert result.seconds == 7
    assert result.errors == ("thing: it broke",)
    assert [(finding.policy, finding.level) for finding in result.findings] == [("rule", "mandatory")]
    assert "thing: it broke" in str(OperationFailedError(result))


def test_unchanged_resources_are_no_change(tmp_path: Path) -> None:
    log = write_events(tmp_path / "events.json", {"summaryEvent": {"resourceChanges": {"same": 9}}})
    assert not read_result(log, "preview", "test", 0).changed


def test_log_of_a_killed_engine_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    log = write_events(tmp_path / "events.json", {"diagnosticEvent": {"severity": "error", "message": "first"}})
    with log.open("a") as file:
        file.write('{"summaryEv')
    assert read_result(log, "up", "test", -9).errors == ("first",)


def test_missing_log_is_a_result_without_details(tmp_path: Path) -> None:
    result = read_result(tmp_path / "none", "up", "test", 255)
    assert (result.ok, result.changes, result.errors) == (False, {}, ())


def drive(tmp_path: Path, child: str) -> subprocess.Popen[str]:
    """Start a process without a terminal that runs `child` in the engine's place."""
    engine = tmp_path / "engine.py"
    engine.write_text(textwrap.dedent(child))
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER.format())
    return subprocess.Popen(
        [sys.executable, "-u", str(driver), str(engine)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


GENTLE = """
    import os, signal, sys, time
    count = 0
    def interrupted(*_):
        global count
        count += 1
        os.write(1, b"engine got %d\\n" % count)  # in one piece: the driver writes to the same place
        if count == WANTED:
            sys.exit(255)
    signal.signal(signal.SIGINT, interrupted)
    print("ready", flush=True)
    for _ in range(300):
        time.sleep(0.1)
"""


def read_until(process: subprocess.Popen[str], wanted: str) -> str:
    text = ""
    deadline = time.monotonic() + 60
    assert process.stdout is not None
    while wanted not in text and time.monotonic() < deadline:
        text += process.stdout.readline()
    return text


def test_interrupt_is_passed_on_once_and_waits_for_the_end(tmp_path: Path) -> None:
    process = drive(tmp_path, GENTLE.replace("WANTED", "1"))
    read_until(process, "ready")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert output.count("engine got") == 1
    assert "interrupted" in output
    assert process.returncode == 130


def test_termination_is_passed_on_as_an_interrupt(tmp_path: Path) -> None:
    process = drive(tmp_path, GENTLE.replace("WANTED", "1"))
    read_until(process, "ready")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert "engine got 1" in output
    assert process.returncode == 130


EARLY = """
import os, signal, subprocess, sys
from infra.engine import operation
number, operation.in_foreground = getattr(signal, sys.argv[1]), lambda: sys.argv[1] == "SIGINT"
def start():
    os.kill(os.getpid(), number)
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(20)"])
with operation.forwarded_signals(start, print) as (child, received):
    print(child.wait() != 0, received == [number])
"""


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_signal_that_comes_while_the_engine_is_started_reaches_it(number: str) -> None:
    command = [sys.executable, "-c", EARLY, number]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, start_new_session=True)
    assert done.stdout.splitlines()[-1] == "True True", done.stderr


def test_third_signal_kills_an_engine_that_does_not_listen(tmp_path: Path) -> None:
    process = drive(tmp_path, GENTLE.replace("WANTED", "99"))
    read_until(process, "ready")
    process.send_signal(signal.SIGINT)
    read_until(process, "engine got 1")
    process.send_signal(signal.SIGINT)
    read_until(process, "engine got 2")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert "engine got 3" not in output
    assert process.returncode == 130


def test_interrupt_from_a_terminal_reaches_the_engine_once(tmp_path: Path) -> None:
    engine, driver = tmp_path / "engine.py", tmp_path / "driver.py"
    engine.write_text(textwrap.dedent(GENTLE.replace("WANTED", "2")))
    driver.write_text(DRIVER.format())
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["PYTHONPATH"] = str(ROOT)
        os.execv(sys.executable, [sys.executable, "-u", str(driver), str(engine)])
    try:
        terminal_output = read_terminal(terminal, "ready")
        os.write(terminal, b"\x03")
        terminal_output += read_terminal(terminal, "engine got 1")
        time.sleep(0.5)  # long enough for a second, forwarded one to arrive if there was one
        os.write(terminal, b"\x03")
        terminal_output += read_terminal(terminal, "interrupted")
        terminal_output += read_terminal(terminal, "until it ends")
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(terminal)
    assert terminal_output.count("engine got") == 2
    assert os.waitstatus_to_exitcode(status) == 130


def read_terminal(terminal: int, wanted: str) -> str:
    text = ""
    deadline = time.monotonic() + 60
    while wanted not in text and time.monotonic() < deadline:
        try:
            text += os.read(terminal, 4096).decode()
        except OSError:
            break
    return text
