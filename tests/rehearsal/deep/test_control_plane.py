"""Controllers of a deep rehearsal: what is told about them when they end, and one that is killed."""

import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from infra.rehearsal.deep.control_plane import ControlPlane
from infra.rehearsal.kubernetes.servers import spawn

Start = Callable[[str], ControlPlane]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a plane of one controller, which is a shell command."""
    planes: list[ControlPlane] = []

    def started(command: str) -> ControlPlane:
        log = tmp_path / "operator.log"
        spawned: Callable[[], subprocess.Popen[bytes]] = partial(spawn, ["sh", "-c", command], log)
        planes.append(ControlPlane({}, {"operator": spawned}, {"operator": log}))
        planes[-1].start()
        return planes[-1]

    yield started
    for plane in planes:
        plane.end()


def wait(until: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not until():
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.02)


def test_a_controller_that_ended_is_told_with_its_last_words(start: Start) -> None:
    plane = start("echo no such flag; exit 3")
    wait(plane.ended)
    assert "operator ended with code 3" in plane.ended()
    assert plane.ended().endswith("no such flag")


def test_a_controller_that_is_killed_starts_again_and_keeps_its_log(start: Start) -> None:
    plane = start("echo started; exec sleep 60")
    wait(lambda: "started" in plane.log("operator"))
    plane.crash("operator")
    wait(lambda: plane.log("operator").count("started") == 2)
    assert plane.ended() == ""
    plane.end()
    assert "operator ended" in plane.ended()
