"""Of two executions of a pipeline the earlier one runs, and the later one ends."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from training.errors import TrainingError
from training.pipelines.sole_run import earlier, executions

ROOT = Path(__file__).parents[3]
OURS = "arn:aws:sagemaker:eu-central-1:333333333333:pipeline/acme-prod-training-flight/execution/ours"


def summary(name: str, minute: int, status: str = "Executing") -> dict[str, Any]:
    return {
        "PipelineExecutionArn": f"{OURS.rpartition('/')[0]}/{name}",
        "PipelineExecutionStatus": status,
        "StartTime": datetime(2026, 11, 20, 3, minute, tzinfo=UTC),
    }


def test_the_only_one_runs() -> None:
    assert earlier(OURS, [summary("ours", 5)]) is None


@pytest.mark.parametrize("status", ["Executing", "Stopping"])
def test_one_that_began_earlier_and_still_runs_goes_first(status: str) -> None:
    first = earlier(OURS, [summary("ours", 5), summary("other", 4, status)])

    assert first is not None
    assert first.endswith("/other")


@pytest.mark.parametrize("status", ["Succeeded", "Failed", "Stopped"])
def test_one_that_has_ended_is_not_waited_for(status: str) -> None:
    assert earlier(OURS, [summary("ours", 5), summary("other", 4, status)]) is None


def test_a_later_one_does_not_stop_the_first() -> None:
    assert earlier(OURS, [summary("other", 6), summary("ours", 5)]) is None


def test_of_two_in_the_same_moment_exactly_one_runs() -> None:
    both = [summary("ours", 5), summary("other", 5)]

    firsts = {earlier(one["PipelineExecutionArn"], both) for one in both}

    assert None in firsts
    assert len(firsts) == 2


def test_an_execution_that_is_not_listed_is_refused() -> None:
    with pytest.raises(TrainingError, match="does not know this execution"):
        earlier(OURS, [summary("other", 4)])


@pytest.mark.parametrize("execution", ["", "ours", OURS.rpartition("/execution")[0]])
def test_what_is_no_execution_is_refused(execution: str) -> None:
    with pytest.raises(TrainingError, match="is not the ARN of a pipeline's execution"):
        executions(execution)


def test_wrong_usage_is_an_error_without_a_traceback() -> None:
    command = [sys.executable, "-m", "training.pipelines.sole_run", "true"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (1, "error: usage: python -m training.pipelines.sole_run -- COMMAND…\n")
