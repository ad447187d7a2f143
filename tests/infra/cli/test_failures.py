"""What `./mlops test` says last: which tests failed, and why."""

import subprocess
import sys
from pathlib import Path

import pytest

from infra.cli.failures import REPORT_OPTIONS, failures

TESTS = """
import pytest


@pytest.fixture
def broken():
    raise OSError("no such port")


@pytest.mark.parametrize("number", [1, 2])
def test_number(number):
    print("a line that is no reason")
    assert number == 1, "it is\\nnot one"


def test_unprepared(broken):
    pass


def test_skipped():
    pytest.skip("not here")


def test_long():
    raise ValueError("x" * 1000)
"""


def reported(folder: Path, tests: str) -> Path:
    """The report of a run of pytest in a folder of its own."""
    (folder / "test_it.py").write_text(tests)
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    report = folder / "report.xml"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *REPORT_OPTIONS,
        "--junitxml",
        str(report),
    ]
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=False)
    return report


@pytest.mark.slow
def test_failures_and_errors_are_named_as_pytest_names_them_with_one_line_each(tmp_path: Path) -> None:
    found = failures(reported(tmp_path, TESTS))

    assert found is not None
    assert [test for test, _ in found] == [
        f"test_it.py::{name}" for name in ("test_number[2]", "test_unprepared", "test_long")
    ]
    number, unprepared, long = (reason for _, reason in found)
    assert number == "AssertionError: it is"
    assert unprepared == 'failed on setup with "OSError: no such port"'
    assert long.startswith("ValueError: xxx")
    assert len(long) <= 201


def test_nothing_is_known_of_a_run_that_was_ended(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    assert failures(report) is None
    report.write_text("<testsuites><testsuite>")
    assert failures(report) is None
