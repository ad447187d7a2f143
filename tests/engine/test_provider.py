"""The `blueprint` provider under the real engine: what a person sees after each kind of accident."""

import json
import os
import signal
import socket
import sys
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pulumi
import pytest

from components.blueprint import (
    Health,
    Process,
    ProcessArgs,
    Restart,
    Token,
    TokenArgs,
)
from components.paths import log_file, process_file, short_directory

pytestmark = [
    pytest.mark.engine,
    # The Automation API leaves the coroutine of a program behind whose `up` failed; it complains when it is collected.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def web(
    project: Any,
    port: int,
    *,
    mode: str = "plain",
    process_name: str = "web",
    environment: Mapping[str, str] | None = None,
    timeout_seconds: int = 60,
    health: str = "",
    opts: pulumi.ResourceOptions | None = None,
    **more: Any,
) -> Process:
    """Declare the test server as a process."""
    args = ProcessArgs(
        name=process_name,
        home=project.home,
        command=[sys.executable, project.server, str(port)],
        directory=str(project.folder),
        environment={"MODE": mode, **(environment or {})},
        ports={"http": port},
        health=Health(http=health or f"http://127.0.0.1:{port}/", timeout_seconds=timeout_seconds),
        stop_timeout_seconds=2,
        **more,
    )
    return Process("web", args, opts)


def answer(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as response:
        return str(response.read().decode())


def answers(port: int) -> Callable[[], bool]:
    def ask() -> bool:
        try:
            return bool(answer(port))
        except OSError:
            return False

    return ask


def test_up_starts_a_process_and_a_second_look_finds_no_change(project: Any, free_port: int) -> None:
    project.program = lambda: web(project, free_port)

    first, second, third = project.up(), project.preview(), project.up()

    assert first.changes == {"create": 2}, first.text
    assert answer(free_port) == "plain"
    assert second.changes == {"same": 2}, second.text
    assert third.changes == {"same": 2}, third.text


def test_up_restarts_with_the_new_configuration_when_an_input_changed(project: Any, free_port: int) -> None:
    project.program = lambda: web(project, free_port, mode="old")
    project.up()
    before = project.running("web")

    project.program = lambda: web(project, free_port, mode="new")
    outcome = project.up()

    assert outcome.changes == {"same": 1, "update": 1}, outcome.text
    assert answer(free_port) == "new"
    assert not before & project.running("web")


def test_up_leaves_the_process_alone_when_only_the_health_check_changed(project: Any, free_port: int) -> None:
    project.program = lambda: web(project, free_port)
    project.up()
    before = project.running("web")

    project.program = lambda: web(project, free_port, timeout_seconds=90)
    outcome = project.up()

    assert outcome.changes == {"same": 1, "update": 1}, outcome.text
    assert project.running("web") == before


def test_supervisor_brings_a_killed_process_back_and_up_sees_no_change(project: Any, free_port: int) -> None:
    project.program = lambda: web(project, free_port, environment={"GRANDCHILD": "1"})
    project.up()
    before = project.running("web")
    assert len(before) == 2

    [served] = [pid for pid in before if psutil.Process(pid).ppid() not in before]
    os.kill(served, signal.SIGKILL)
    project.until(lambda: len(project.running("web") - before) == 2)
    project.until(answers(free_port))

    assert not before & project.running("web"), "the old grandchild lives beside the new one"
    preview = project.preview()
    assert preview.changes == {"same": 2}, preview.text


def test_plain_up_restores_when_supervisor_was_killed(project: Any, free_port: int) -> None:
    project.program = lambda: web(project, free_port, environment={"GRANDCHILD": "1"})
    project.up()
    before = project.running()

    os.kill(project.supervisor_pid(), signal.SIGKILL)
    project.until(lambda: not project.running())  # no orphan, without any further command
    preview = project.preview()
    outcome = project.up()

    assert preview.changes == {"same": 1, "update": 1}, preview.text
    assert outcome.changes == {"same": 1, "update": 1}, outcome.text
    assert answer(free_port) == "plain"
    assert len(project.running("web")) == 2  # no double
    assert not before & project.running()


@pytest.mark.parametrize("lost", ["run", "sockets", "everything"])
def test_plain_up_restores_when_files_are_gone(project: Any, free_port: int, lost: str) -> None:
    project.program = lambda: web(project, free_port, files={"a.yaml": "a: 1"})
    project.up()
    gone = {"run": [f"{project.home}/run"], "sockets": [short_directory(project.home)]}
    for folder in gone.get(lost, [project.home, short_directory(project.home)]):
        Path(folder).rename(f"{folder}.gone")

    outcome = project.up()

    for folder in gone.get(lost, [project.home, short_directory(project.home)]):
        assert Path(folder).exists()
        os.system(f"rm -rf {folder}.gone")
    assert outcome.changes == {"same": 1, "update": 1}, outcome.text
    assert answer(free_port) == "plain"
    assert len(project.running("web")) == 1
    assert Path(process_file(project.home, "web", "a.yaml")).read_text() == "a: 1"


def test_plain_up_restores_a_configuration_file_that_was_edited(project: Any, free_port: int) -> None:
    project.program = lambda: web(project, free_port, files={"a.yaml": "a: 1"})
    project.up()
    file = Path(process_file(project.home, "web", "a.yaml"))
    file.write_text("a: 2")

    outcome = project.up()

    assert outcome.changes == {"same": 1, "update": 1}, outcome.text
    assert file.read_text() == "a: 1"
    assert file.stat().st_mode & 0o777 == 0o600


def test_another_name_replaces_the_process_and_frees_its_port_first(project: Any, free_port: int) -> None:
    project.program = lambda: web(project, free_port)
    project.up()

    project.program = lambda: web(project, free_port, process_name="renamed")
    outcome = project.up()

    assert outcome.changes == {"same": 1, "replace": 1}, outcome.text
    assert project.running("web") == set()
    assert answer(free_port) == "plain"


def test_destroy_leaves_nothing_but_logs_and_data(project: Any, free_port: int) -> None:
    def program() -> None:
        first = web(project, free_port, environment={"GRANDCHILD": "1"})
        Process(
            "idle",
            ProcessArgs(name="idle", home=project.home, command=["sleep", "600"], directory="/"),
            pulumi.ResourceOptions(depends_on=[first]),
        )

    project.program = program
    assert project.up().changes == {"create": 3}
    assert len(project.running()) >= 5  # supervisor, guard, server, its grandchild, sleep

    outcome = project.destroy()

    assert not outcome.failed, outcome.text
    assert project.running() == set()
    assert not answers(free_port)()
    assert not Path(short_directory(project.home)).exists()
    assert sorted(path.name for path in Path(project.home).iterdir()) == [".supervisor.lock", "data", "log"]


def test_destroy_succeeds_when_everything_was_killed_before(project: Any, free_port: int) -> None:
    project.program = lambda: web(project, free_port)
    project.up()
    for pid in sorted(project.running()):
        os.kill(pid, signal.SIGKILL)

    outcome = project.destroy()

    assert not outcome.failed, outcome.text
    assert project.running() == set()


def test_failed_start_shows_the_end_of_the_log_without_secrets_and_leaves_nothing(project: Any, free_port: int) -> None:
    project.program = lambda: web(project, free_port, mode="broken", secret_environment={"TOKEN": "hunter2hunter2"})

    outcome = project.failing_up()

    assert "cannot open the database" in outcome.text
    assert "the secret is [secret]" in outcome.text
    assert "hunter2hunter2" not in outcome.text
    assert project.running() == set()
    assert "blueprint:index:Process" not in project.state_text()


def test_failed_health_check_names_address_and_answer(
    project: Any, free_port: int, neighbour: Callable[..., Any]
) -> None:
    # What is asked is there from the beginning: the process itself may start in less than two seconds, or may not.
    ill = neighbour(lambda *_: (503, {})).url
    project.program = lambda: web(project, free_port, health=f"{ill}/", timeout_seconds=2)

    outcome = project.failing_up()

    assert f"{ill}/ answers 503" in outcome.text


def test_failed_update_keeps_the_old_configuration_and_the_next_up_tries_again(project: Any, free_port: int) -> None:
    project.program = lambda: web(project, free_port, mode="old")
    project.up()

    project.program = lambda: web(project, free_port, mode="broken")
    failed = project.failing_up()
    project.until(answers(free_port))
    still = answer(free_port)
    project.program = lambda: web(project, free_port, mode="new")
    mended = project.up()

    assert "The old configuration was started again" in failed.text
    assert still == "old"
    assert mended.changes == {"same": 1, "update": 1}, mended.text
    assert answer(free_port) == "new"


def test_taken_port_is_an_error_that_names_its_owner(project: Any, free_port: int) -> None:
    with socket.create_server(("127.0.0.1", free_port)):
        project.program = lambda: web(project, free_port)
        outcome = project.failing_up()

    assert f"port {free_port} (`ports.http`) is taken by process {os.getpid()}" in outcome.text
    assert project.running() == set()


def test_port_of_a_client_connection_is_taken_too_and_nothing_is_left(project: Any) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as elsewhere,
        socket.create_connection(elsewhere.getsockname()) as client,
    ):
        port = client.getsockname()[1]
        project.program = lambda: web(project, port)
        outcome = project.failing_up()

    assert f"port {port} (`ports.http`) is taken by process {os.getpid()}" in outcome.text
    assert not Path(project.home, "run").exists()


def test_secrets_are_not_in_state_output_or_logs(project: Any, free_port: int) -> None:
    seen: list[str] = []

    def program() -> None:
        token = Token("token", TokenArgs(bytes=32))
        token.value.apply(seen.append)
        web(
            project,
            free_port,
            secret_environment={"TOKEN": token.value},
            files={"c.json": token.value.apply(lambda value: json.dumps({"token": value}))},
        )
        pulumi.export("token", token.value)

    project.program = program
    first, second = project.up(), project.up()

    assert first.changes == {"create": 3}, first.text
    assert second.changes == {"same": 3}, second.text
    value = seen[0]
    assert len(value) >= 43
    assert seen == [value, value], "the token changed"
    assert value not in project.state_text()
    assert value not in first.text + second.text
    logs = [log_file(project.home, name) for name in ("web", "supervisor")]
    assert all(value not in Path(path).read_text() for path in logs)
    assert all(value not in " ".join(psutil.Process(pid).cmdline()) for pid in project.running())
    assert json.loads(Path(process_file(project.home, "web", "c.json")).read_text()) == {"token": value}


def test_supervised_processes_do_not_inherit_the_passphrase(project: Any, free_port: int) -> None:
    project.program = lambda: web(project, free_port)
    project.up()

    for pid in project.running():
        assert b"PASSPHRASE" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_wrong_inputs_stop_before_anything_is_touched(project: Any, free_port: int) -> None:
    project.program = lambda: web(project, 70_000, restart=Restart(max_retries=-1))

    outcome = project.preview()

    assert outcome.failed
    assert "`ports.http` is 70000: must be a whole number from 1 to 65535" in outcome.text
    assert "`restart.maxRetries` is -1" in outcome.text
    assert not Path(project.home).exists()


def test_processes_that_start_together_share_one_supervisor(project: Any) -> None:
    def program() -> None:
        for number in range(8):
            Process(
                f"idle-{number}",
                ProcessArgs(name=f"idle-{number}", home=project.home, command=["sleep", "600"], directory="/"),
            )

    project.program = program
    outcome = project.up()

    assert outcome.changes == {"create": 9}, outcome.text
    assert all(len(project.running(f"idle-{number}")) == 1 for number in range(8))
    supervisors = [pid for pid in project.running("supervisor") if "supervisord" in " ".join(_cmdline(pid))]
    assert len(supervisors) == 1


def _cmdline(pid: int) -> list[str]:
    return psutil.Process(pid).cmdline()


def test_up_continues_when_the_engine_was_killed_during_create(project: Any, free_port: int) -> None:
    project.program = lambda: web(project, free_port, mode="ill", timeout_seconds=120)
    thread, _outcomes, engine = project.up_in_background()
    project.until(lambda: project.running("web"))
    engine.kill()
    thread.join(120)
    locked = project.failing_up()
    project.stack().cancel()

    project.program = lambda: web(project, free_port)
    project.up()

    assert "lock" in locked.text
    assert len(project.running("web")) == 1
    assert answer(free_port) == "plain"


def test_create_adopts_a_process_that_an_interrupted_up_left(project: Any, free_port: int) -> None:
    project.program = lambda: web(project, free_port)
    project.up()
    before = project.running("web")
    state = project.stack().export_stack()
    deployment = state.deployment
    assert deployment is not None
    deployment["resources"] = [one for one in deployment["resources"] if "Process" not in one["type"]]
    project.stack().import_stack(state)

    outcome = project.up()

    assert outcome.changes == {"same": 1, "create": 1}, outcome.text
    assert project.running("web") == before


def test_ctrl_c_during_create_leaves_nothing_and_the_next_up_continues(project: Any, free_port: int) -> None:
    project.program = lambda: web(project, free_port, mode="ill", timeout_seconds=120)
    thread, outcomes, engine = project.up_in_background()
    project.until(lambda: project.running("web"))
    engine.send_signal(signal.SIGINT)
    thread.join(120)

    assert not thread.is_alive()
    assert outcomes[0].failed
    assert "cancelled" in outcomes[0].text
    assert project.running() == set()
    project.program = lambda: web(project, free_port)
    project.up()
    assert answer(free_port) == "plain"
