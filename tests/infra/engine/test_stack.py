"""Stacks on the real engine with this project's language host."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from infra.engine import locks
from infra.engine.errors import EngineError, StackLockedError
from infra.engine.operation import OperationFailedError
from infra.engine.stack import Stack, pass_through

ROOT = Path(__file__).resolve().parents[3]

SLOW = """\
import pathlib, time
pathlib.Path("started").touch()
time.sleep(60)
"""

DRIVER = """\
import json, pathlib, sys
from infra.engine.stack import Stack
environment = json.loads(sys.stdin.read())
try:
    Stack(pathlib.Path(sys.argv[1]), "test", environment, lambda line: print(line, file=sys.stderr)).up()
except KeyboardInterrupt:
    sys.exit(130)
"""

POLICIES = """\
from pulumi_policy import EnforcementLevel, PolicyPack, ResourceValidationPolicy


def no_third_thing(args, report):
    if args.name == "thing-2":
        report("two things are enough")


if __name__ == "__main__":
    PolicyPack(
        name="test-pack",
        enforcement_level=EnforcementLevel.MANDATORY,
        policies=[ResourceValidationPolicy(name="no-third-thing", description="Two at most", validate=no_third_thing)],
    )
"""


def configure(stack: Stack, **values: object) -> None:
    lines = "".join(f"  mlops:{name}: {json.dumps(value)}\n" for name, value in values.items())
    stack.file.write_text(f"# a comment\nconfig:\n{lines}")


def start_up(stack: Stack) -> "subprocess.Popen[str]":
    """Start `up` of a slow program in a process of its own and wait until the program runs."""
    (stack.project / "infra" / "__main__.py").write_text(SLOW)
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(stack.project)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(dict(stack.environment)))
    process.stdin.close()
    process.stdin = None
    deadline = time.monotonic() + 60
    started = stack.project / "infra" / "started"
    while not started.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert started.exists()
    return process


def wait_for_end(processes: list[psutil.Process], seconds: float = 60.0) -> list[psutil.Process]:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return list(alive)


@pytest.mark.engine
def test_up_preview_update_and_destroy(stack: Stack, said: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    before = stack.file.read_text()
    created = stack.up()
    assert created.changes == {"create": 2}
    assert stack.outputs() == {"greeting": "hello", "token": "[secret]"}
    assert stack.outputs(show_secrets=True)["token"] == "hush"
    assert not stack.preview("--expect-no-changes").changed

    configure(stack, greeting="goodbye", things=3)
    updated = stack.up()
    assert updated.changes["create"] == 2
    assert stack.outputs()["greeting"] == "goodbye"
    assert not stack.refresh().changed

    stack.file.write_text(before)
    assert stack.destroy().changes == {"delete": 4}
    assert stack.outputs() == {}
    stack.remove()
    assert not stack.exists()
    assert stack.file.read_text() == before, "the stack's file belongs to people"
    captured = capfd.readouterr()
    assert captured.out == "", "standard output is for answers"
    assert "warning" not in captured.err.lower()
    assert said == []


@pytest.mark.engine
def test_destroy_of_a_stack_that_never_was_is_done_already(stack: Stack) -> None:
    assert stack.destroy().ok


@pytest.mark.engine
def test_unknown_stack_names_those_that_exist(stack: Stack) -> None:
    with pytest.raises(EngineError, match="Stacks: test"):
        Stack(stack.project, "prod", stack.environment).up()


@pytest.mark.engine
def test_failing_program_is_an_error_with_its_own_frames_only(stack: Stack) -> None:
    (stack.project / "infra" / "__main__.py").write_text(
        "def fail():\n    raise ValueError('no such luck')\n\nfail()\n"
    )
    with pytest.raises(OperationFailedError) as caught:
        stack.up()
    text = "\n".join(caught.value.result.errors)
    assert "no such luck" in text
    assert "infra/__main__.py" in text
    assert "runpy" not in text
    assert "program.py" not in text


@pytest.mark.engine
def test_error_that_the_program_has_shown_is_said_once(stack: Stack, capfd: pytest.CaptureFixture[str]) -> None:
    (stack.project / "infra" / "__main__.py").write_text("import pulumi\nraise pulumi.RunError('set mlops:greeting')\n")
    with pytest.raises(OperationFailedError, match="set mlops:greeting") as caught:
        stack.preview()
    assert len(caught.value.result.errors) == 1


@pytest.mark.engine
def test_plain_engine_works_and_leaves_the_stack_file_alone(stack: Stack, capfd: pytest.CaptureFixture[str]) -> None:
    before = stack.file.read_text()
    assert pass_through(stack.project, stack.environment, ["preview", "-s", "test"]) == 0, "no ./mlops up needed before"
    stack.up()
    code = pass_through(stack.project, stack.environment, ["preview", "--stack=test", "--expect-no-changes"])
    captured = capfd.readouterr()
    assert code == 0, captured
    assert stack.file.read_text() == before
    assert pass_through(stack.project, stack.environment, ["preview", "-s", "nonsense", "--non-interactive"]) != 0


@pytest.mark.engine
def test_program_can_take_out_the_salt_that_an_engine_called_by_others_writes(stack: Stack) -> None:
    stack.up()  # from now on the state holds the salt
    before = stack.file.read_text()
    # As infra/__main__.py does it.
    (stack.project / "infra" / "__main__.py").write_text(
        f"import os, pathlib, sys\nsys.path.insert(0, {str(ROOT)!r})\nimport pulumi\n"
        "from infra.engine.stack import Stack\n"
        "project = pathlib.Path(__file__).resolve().parents[1]\n"
        "print('taken out:', Stack(project, pulumi.get_stack(), os.environ).drop_generated_salt())\n"
    )
    done = subprocess.run(
        [stack.environment["MLOPS_PULUMI"], "preview", "-s", "test", "--non-interactive"],
        cwd=stack.project, env=dict(stack.environment), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "taken out: True" in done.stdout
    assert stack.file.read_text() == before


@pytest.mark.engine
def test_salt_that_secrets_in_the_file_need_is_kept(stack: Stack) -> None:
    stack.up()
    code = pass_through(
        stack.project, stack.environment, ["config", "set", "--secret", "-s", "test", "mlops:password", "hush"]
    )
    assert code == 0
    assert "encryptionsalt:" in stack.file.read_text()


@pytest.mark.engine
def test_mandatory_finding_of_a_policy_pack_fails_the_preview(stack: Stack, tmp_path: Path) -> None:
    pack = stack.project / "policies"
    pack.mkdir()
    (pack / "PulumiPolicy.yaml").write_text(
        "runtime:\n  name: python\n  options:\n    virtualenv: ../.mlops/venv\ndescription: test\n"
    )
    (pack / "__main__.py").write_text(POLICIES)
    configure(stack, things=2)
    assert stack.preview("--policy-pack", str(pack)).findings == ()
    configure(stack, things=3)
    with pytest.raises(OperationFailedError) as caught:
        stack.preview("--policy-pack", str(pack))
    findings = caught.value.result.findings
    assert [(finding.policy, finding.level) for finding in findings] == [("no-third-thing", "mandatory")]
    assert "two things are enough" in findings[0].message


@pytest.mark.engine
def test_killed_engine_leaves_nothing_running_and_a_lock_that_the_next_up_releases(
    stack: Stack, said: list[str]
) -> None:
    program = (stack.project / "infra" / "__main__.py").read_text()
    process = start_up(stack)
    tree = psutil.Process(process.pid).children(recursive=True)
    engine = next(child for child in tree if child.name() == "pulumi")
    assert stack.backend.folder is not None
    assert [lock.pid for lock in locks.held(stack.backend.folder, "mlops", "test")] == [engine.pid]
    with pytest.raises(StackLockedError, match=str(engine.pid)):
        stack.up()
    engine.kill()
    process.communicate(timeout=60)
    assert wait_for_end(tree) == []

    (stack.project / "infra" / "__main__.py").write_text(program)
    assert stack.up().changes["create"] == 2
    assert any("released the lock" in line and str(engine.pid) in line for line in said)
    assert locks.held(stack.backend.folder, "mlops", "test") == []


@pytest.mark.engine
def test_interrupted_up_ends_in_order_and_can_be_repeated(stack: Stack) -> None:
    program = (stack.project / "infra" / "__main__.py").read_text()
    process = start_up(stack)
    tree = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "stopping after the steps in flight" in output
    assert wait_for_end(tree) == []
    assert stack.backend.folder is not None
    assert locks.held(stack.backend.folder, "mlops", "test") == [], "an orderly end releases the lock"
    (stack.project / "infra" / "__main__.py").write_text(program)
    assert stack.up().ok


@pytest.mark.engine
def test_pending_operations_of_a_killed_run_are_cleared(stack: Stack, said: list[str]) -> None:
    stack.up()
    assert stack.state_file is not None
    state = json.loads(stack.state_file.read_text())
    latest = state["checkpoint"]["latest"]
    resource = {
        "urn": "urn:pulumi:test::mlops::test:index:Lost::lost",
        "custom": False,
        "type": "test:index:Lost",
        "parent": latest["resources"][0]["urn"],
    }
    latest["pending_operations"] = [{"resource": resource, "type": "creating"}]
    stack.state_file.write_text(json.dumps(state))
    assert len(stack.pending_operations()) == 1
    assert stack.up().ok
    assert stack.pending_operations() == []
    assert any("left unfinished" in line for line in said)


@pytest.mark.engine
def test_project_name_is_read_from_the_project_file(stack: Stack) -> None:
    text = (ROOT / "Pulumi.yaml").read_text()
    found = re.search(r"^name: (\S+)", text, re.MULTILINE)
    assert found is not None
    assert stack.project_name == found[1]
