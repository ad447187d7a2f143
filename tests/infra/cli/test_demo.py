"""What the demo refuses before it touches anything."""

import fcntl
from typing import Any


def test_unknown_fault_is_refused_with_those_there_are(project: Any) -> None:
    assert (
        "allowed are errors, slow, nan, crash, accuracy, leak, all"
        in project.run("release", "demo", "--fault", "typo").failure
    )


def test_stack_that_is_not_up_is_named(project: Any) -> None:
    assert "stack local is not up" in project.run("release", "demo").failure


def test_model_of_the_demos_name_is_left_alone(project: Any) -> None:
    project.stack_file.write_text(project.stack_file.read_text().replace("churn:", "release-demo:"))

    assert "the name that the demo uses" in project.run("release", "demo").failure


def test_second_demo_waits_for_nobody(project: Any) -> None:
    folder = project.home / "run"
    folder.mkdir(parents=True)
    with (folder / "release-demo.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        assert "another demo is running" in project.run("release", "demo").failure
