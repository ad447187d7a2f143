"""Supervised processes without the engine: what `read` finds and what `update` and `shutdown` make of it."""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from components.paths import short_directory
from infra.provider import marks, ports, rendering
from infra.provider.codec import Properties
from infra.provider.process import ProcessResource, look
from infra.provider.resource import ResourceError
from infra.provider.supervisor import Supervisor, shutdown

MOODY = """
import http.server, pathlib, sys
pathlib.Path(sys.argv[2]).unlink(missing_ok=True)  # a restart cures it
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if pathlib.Path(sys.argv[2]).exists() else 200)
        self.end_headers()
    def log_message(self, *arguments):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

Inputs = Callable[..., Properties]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[str]:
    """A home whose processes are gone afterwards."""
    folder = str(tmp_path / "home")
    yield folder
    shutdown(folder)


def members(home: str, process: str = "") -> set[int]:
    return marks.members(f"{marks.PROCESS}={rendering.mark(home, process)}")


@pytest.mark.slow
def test_shutdown_ends_what_no_state_knows_of_and_keeps_data_and_logs(
    home: str, process_inputs: Inputs, told: Any
) -> None:
    ProcessResource().create(told.call(), process_inputs(home=home))
    assert len(members(home, "web")) == 1

    shutdown(home)

    assert members(home) == set()
    assert not Path(short_directory(home)).exists()
    assert sorted(path.name for path in Path(home).iterdir()) == [".supervisor.lock", "data", "log"]


def test_shutdown_of_a_home_that_never_was_does_nothing(tmp_path: Path) -> None:
    assert shutdown(str(tmp_path / "none")) == set()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_process_that_answers_badly_for_too_long_is_found_and_restarted(
    home: str, process_inputs: Inputs, told: Any, free_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = Supervisor.info
    sick = tmp_path / "sick"
    inputs = process_inputs(
        home=home,
        command=[sys.executable, "-c", MOODY, str(free_port), str(sick)],
        health={"http": f"http://127.0.0.1:{free_port}/", "timeoutSeconds": 30},
        ports={"http": free_port},
    )
    resource, call = ProcessResource(), told.call()
    state = resource.create(call, inputs)[1]
    sick.touch()
    young = look(inputs).status
    # An hour later, for what asks the supervisor.
    monkeypatch.setattr(Supervisor, "info", lambda *of: (seen := info(*of)) and seen | {"now": seen["now"] + 3600})

    found = resource.read(call, inputs, state)
    mended = resource.update(call, inputs, inputs, state)

    assert young == "starting"
    assert found == {"status": "unhealthy", "pid": state["pid"]}
    assert mended["status"] == "running"
    assert members(home, "web") == {mended["pid"]}
    assert mended["pid"] != state["pid"]


@pytest.mark.slow
def test_deleting_one_process_leaves_the_others_alone(home: str, process_inputs: Inputs, told: Any) -> None:
    resource, call = ProcessResource(), told.call()
    one, other = process_inputs(home=home, name="one"), process_inputs(home=home, name="other")
    for inputs in (one, other):
        resource.create(call, inputs)
    others = members(home, "other")

    resource.delete(call, one, {})

    assert look(one).status == "changed"  # its files are gone too
    assert look(other).status == "running"
    assert members(home, "other") == others


@pytest.mark.slow
def test_create_and_delete_at_the_same_time_do_not_disturb_each_other(
    home: str, process_inputs: Inputs, told: Any
) -> None:
    resource, call = ProcessResource(), told.call()
    several = [process_inputs(home=home, name=f"idle-{number}") for number in range(6)]

    with ThreadPoolExecutor(6) as pool:
        for _round in range(2):
            list(pool.map(lambda inputs: resource.create(call, inputs), several))
            assert [look(inputs).status for inputs in several] == ["running"] * 6
            list(pool.map(lambda inputs: resource.delete(call, inputs, {}), several))
            assert members(home) == set()


@pytest.mark.slow
def test_process_is_started_although_the_only_other_one_goes_meanwhile(
    home: str, process_inputs: Inputs, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource, call = ProcessResource(), told.call()
    one, other = process_inputs(home=home, name="one"), process_inputs(home=home, name="other")
    resource.create(call, one)
    monkeypatch.setattr(ports, "require_free", lambda *_: resource.delete(call, one, {}))

    resource.create(call, other)

    assert look(other).status == "running"


@pytest.mark.slow
def test_command_that_ends_at_once_fails_within_seconds(
    home: str, process_inputs: Inputs, told: Any, free_port: int
) -> None:
    # With a check: without one it is healthy once it has lived for a second, which its start alone may take.
    inputs = process_inputs(home=home, command=["sh", "-c", "echo no such table; exit 3"], health={"tcp": free_port})

    # What is seen of it is its end or nobody at its port, by when one looks.
    with pytest.raises(ResourceError, match=r"web: (it ended |port )") as failure:
        ProcessResource().create(told.call(), inputs)

    assert "no such table" in str(failure.value)
    assert members(home) == set()
