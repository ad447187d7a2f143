"""Jobs: what is decided, the child runner, and Ray's jobs API as a neighbour that behaves like Ray's."""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.provider import job_runners, marks, rendering
from infra.provider.codec import UNKNOWN, Properties, plain
from infra.provider.job import JobResource, digest, result_file
from infra.provider.job_runners import next_step
from infra.provider.resource import Call, CancelledError, Difference, ResourceError

WRITES = (
    "import json, os; print('working');"
    "open(os.environ['MLOPS_JOB_RESULT'], 'w').write(json.dumps({'seed': os.environ['SEED']}))"
)


@pytest.fixture
def inputs(tmp_path: Path) -> Callable[..., Properties]:
    def make(**different: Any) -> Properties:
        given = {
            "name": "train",
            "home": str(tmp_path),
            "key": {"data": "sha256:1", "seed": "7"},
            "command": [sys.executable, "-c", WRITES],
            "directory": "/",
            "environment": {"SEED": "7"},
        }
        checked, problems = JobResource().check(given | different)
        assert problems == []
        known: Properties = plain(checked)
        return known

    return make


Inputs = Callable[..., Properties]

# --- decisions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "different", [{"key": {"data": "sha256:2", "seed": "7"}}, {"name": "x"}, {"command": ["true"]}]
)
def test_result_depends_on_name_key_and_command(inputs: Inputs, different: dict[str, Any]) -> None:
    assert digest(inputs(**different)) != digest(inputs())


@pytest.mark.parametrize(
    "different", [{"environment": {}}, {"timeoutSeconds": 5}, {"directory": "/tmp"}, {"secretEnvironment": {"A": "1"}}]
)
def test_result_does_not_depend_on_surroundings(inputs: Inputs, different: dict[str, Any]) -> None:
    assert digest(inputs(**different)) == digest(inputs())


def test_order_of_the_key_does_not_matter(inputs: Inputs) -> None:
    assert digest(inputs(key={"seed": "7", "data": "sha256:1"})) == digest(inputs())


def test_missing_result_asks_for_an_update(inputs: Inputs) -> None:
    assert JobResource().diff(inputs(), {"status": "missing"}, inputs()) == Difference(update=("status",))
    assert not JobResource().diff(inputs(), {"status": "done"}, inputs())


def test_preview_promises_the_old_result_when_only_surroundings_change(inputs: Inputs) -> None:
    state = inputs() | {"result": {"a": 1}, "adopted": False, "status": "done"}

    assert JobResource().preview(inputs(timeoutSeconds=5), state)["result"] == {"a": 1}
    assert JobResource().preview(inputs(key={"seed": "8"}), state)["result"] is UNKNOWN
    assert JobResource().preview(inputs() | {"key": {"seed": UNKNOWN}}, state)["result"] is UNKNOWN
    assert JobResource().preview(inputs(), state | {"status": "missing"})["result"] is UNKNOWN


def test_ray_runner_needs_an_address() -> None:
    given = {"name": "a", "home": "/h", "key": {}, "command": ["x"], "directory": "/", "runner": {"kind": "ray"}}

    _inputs, problems = JobResource().check(given)

    assert problems == ["`runner.url` is missing: the kind `ray` needs the address of Ray's dashboard"]


@pytest.mark.parametrize(
    ("status", "ours", "step"),
    [
        (None, False, "submit"),
        ("PENDING", False, "wait"),
        ("RUNNING", False, "wait"),
        ("SUCCEEDED", False, "resubmit"),
        ("FAILED", False, "resubmit"),
        ("STOPPED", False, "resubmit"),
        ("RUNNING", True, "wait"),
        ("SUCCEEDED", True, "done"),
        ("FAILED", True, "failed"),
        ("STOPPED", True, "failed"),
        (None, True, "failed"),
    ],
)
def test_next_step_of_a_submission(status: str | None, ours: bool, step: str) -> None:
    assert next_step(status, ours=ours) == step


# --- as a child ----------------------------------------------------------------------------------------------------


def test_child_writes_the_result_and_it_is_adopted_from_then_on(inputs: Inputs, told: Any) -> None:
    identity, first = JobResource().create(told.call(), inputs())
    _identity, again = JobResource().create(told.call(), inputs(environment={"SEED": "other"}))

    assert identity.startswith("train-")
    assert first == {"result": {"seed": "7"}, "adopted": False, "status": "done"}
    assert again == {"result": {"seed": "7"}, "adopted": True, "status": "done"}


@pytest.mark.parametrize("content", ["", "[1]", "{", '"text"'])
def test_record_that_is_no_object_is_not_adopted(inputs: Inputs, told: Any, content: str) -> None:
    path = Path(result_file(inputs()))
    path.parent.mkdir(parents=True)
    path.write_text(content)

    assert JobResource().create(told.call(), inputs())[1]["adopted"] is False


def test_command_that_writes_nothing_is_told_where_to(inputs: Inputs, told: Any) -> None:
    with pytest.raises(ResourceError, match=r"left no JSON object in .*result\.json \(the variable MLOPS_JOB_RESULT"):
        JobResource().create(told.call(), inputs(command=["true"]))


def test_failure_has_the_end_of_the_output(inputs: Inputs, told: Any) -> None:
    command = ["sh", "-c", "seq 100; echo broken >&2; exit 3"]

    with pytest.raises(ResourceError, match="train: ended with status 3") as failure:
        JobResource().create(told.call(), inputs(command=command))

    lines = str(failure.value).splitlines()[2:]
    assert [line.strip() for line in lines] == [*map(str, range(82, 101)), "broken"]


@pytest.mark.slow
def test_child_that_takes_too_long_is_ended(inputs: Inputs, told: Any) -> None:
    endless = inputs(command=["sleep", "600"], timeoutSeconds=1)

    with pytest.raises(ResourceError, match="stopped after 1 s"):
        JobResource().create(told.call(), endless)

    assert marks.members(f"{marks.PROCESS}={rendering.job_mark(endless['home'], 'train')}") == set()


def test_cancelled_child_is_ended(inputs: Inputs, told: Any) -> None:
    call: Call = told.call()
    call.cancelled.set()

    with pytest.raises(CancelledError):
        JobResource().create(call, inputs(command=["sleep", "600"]))

    assert marks.members(f"{marks.PROCESS}={rendering.job_mark(inputs()['home'], 'train')}") == set()


def test_no_file_with_secrets_is_left(inputs: Inputs, told: Any, tmp_path: Path) -> None:
    JobResource().create(told.call(), inputs(secretEnvironment={"TOKEN": "hunter2hunter2"}))

    holding = [path for path in tmp_path.rglob("*") if path.is_file() and "hunter2" in path.read_text()]
    assert holding == []


def test_read_notices_that_the_record_is_gone(inputs: Inputs, told: Any) -> None:
    state = JobResource().create(told.call(), inputs())[1]

    assert JobResource().read(told.call(), inputs(), state)["status"] == "done"
    Path(result_file(inputs())).unlink()
    assert JobResource().read(told.call(), inputs(), state)["status"] == "missing"


# --- on Ray --------------------------------------------------------------------------------------------------------


class Ray:
    """Ray's jobs API: runs the entrypoint when it is asked about the job the second time."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.asked = 0

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        name = path.removeprefix("/api/jobs/").split("/")[0]
        if method == "POST" and not name:
            if body["submission_id"] in self.jobs:
                return 500, {"detail": "exists"}
            self.jobs[body["submission_id"]] = {"status": "PENDING", "entrypoint": body["entrypoint"], "logs": ""}
            return 200, {"submission_id": body["submission_id"]}
        if name not in self.jobs:
            return 404, "Job does not exist"
        job = self.jobs[name]
        if path.endswith("/logs"):
            return 200, {"logs": job["logs"]}
        if path.endswith("/stop"):
            job["status"] = "STOPPED"
        elif method == "DELETE":
            del self.jobs[name]
        elif job["status"] == "RUNNING":
            self._run(job)
        elif job["status"] == "PENDING":
            job["status"] = "RUNNING"
        return 200, job

    def _run(self, job: dict[str, Any]) -> None:
        done = subprocess.run(shlex.split(job["entrypoint"])[1:], capture_output=True, text=True, check=False)
        job["logs"] = done.stdout + done.stderr
        job["status"] = "FAILED" if done.returncode else "SUCCEEDED"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_runners, "_POLL_SECONDS", 0.01)


@pytest.mark.usefixtures("quick")
def test_ray_job_is_submitted_followed_and_adopted(inputs: Inputs, told: Any, neighbour: Callable[..., Any]) -> None:
    ray = Ray()
    server = neighbour(ray.answer)
    wanted = inputs(
        runner={"kind": "ray", "url": server.url, "token": "letmein"}, secretEnvironment={"PASSWORD": "hunter2hunter2"}
    )

    _identity, outputs = JobResource().create(told.call(), wanted)

    assert outputs == {"result": {"seed": "7"}, "adopted": False, "status": "done"}
    assert "hunter2" not in json.dumps(server.requests)
    assert {headers["authorization"] for headers in server.headers} == {"Bearer letmein"}
    [submission] = [body for method, path, body in server.requests if (method, path) == ("POST", "/api/jobs/")]
    assert submission["runtime_env"]["env_vars"] == {"SEED": "7", "MLOPS_JOB_RESULT": result_file(wanted)}


@pytest.mark.usefixtures("quick")
def test_ray_job_that_runs_already_is_attached_to(inputs: Inputs, told: Any, neighbour: Callable[..., Any]) -> None:
    ray = Ray()
    wanted = inputs(runner={"kind": "ray", "url": neighbour(ray.answer).url})
    launch = f"{Path(result_file(wanted)).parent}/launch.json"
    submission = f"train-{digest(wanted)[:16]}"
    entrypoint = f"exec {shlex.join(rendering.launch_command(launch))}"
    ray.jobs[submission] = {"status": "PENDING", "entrypoint": entrypoint, "logs": ""}

    JobResource().create(told.call(), wanted)

    assert list(ray.jobs) == [submission]
    assert told.lasting == ["is running on Ray already: following it"]


@pytest.mark.usefixtures("quick")
def test_ray_job_that_failed_in_an_earlier_up_is_run_again(
    inputs: Inputs, told: Any, neighbour: Callable[..., Any]
) -> None:
    ray = Ray()
    wanted = inputs(runner={"kind": "ray", "url": neighbour(ray.answer).url})
    ray.jobs[f"train-{digest(wanted)[:16]}"] = {"status": "FAILED", "entrypoint": "false", "logs": ""}

    assert JobResource().create(told.call(), wanted)[1]["result"] == {"seed": "7"}


@pytest.mark.usefixtures("quick")
def test_failed_ray_job_has_the_end_of_its_output(inputs: Inputs, told: Any, neighbour: Callable[..., Any]) -> None:
    wanted = inputs(
        runner={"kind": "ray", "url": neighbour(Ray().answer).url}, command=["sh", "-c", "echo no such column; exit 1"]
    )

    with pytest.raises(ResourceError, match=r"Ray says FAILED") as failure:
        JobResource().create(told.call(), wanted)

    assert "no such column" in str(failure.value)


@pytest.mark.usefixtures("quick")
def test_refusal_of_ray_is_told(inputs: Inputs, told: Any, neighbour: Callable[..., Any]) -> None:
    server = neighbour(lambda method, path, body: (403, "Forbidden: Invalid authentication token"))

    with pytest.raises(ResourceError, match="403: Forbidden: Invalid authentication token"):
        JobResource().create(told.call(), inputs(runner={"kind": "ray", "url": server.url, "token": "wrong"}))


@pytest.mark.usefixtures("quick")
def test_a_head_node_whose_agent_is_late_is_waited_for(
    inputs: Inputs, told: Any, neighbour: Callable[..., Any]
) -> None:
    ray = Ray()
    refused: list[Any] = []

    def answer(method: str, path: str, body: Any) -> tuple[int, Any]:
        if (method, path) == ("POST", "/api/jobs/") and len(refused) < 3:
            refused.append(body)
            return 500, "No available agent to submit job, please try again later."
        return ray.answer(method, path, body)

    wanted = inputs(runner={"kind": "ray", "url": neighbour(answer).url})

    assert JobResource().create(told.call(), wanted)[1]["result"] == {"seed": "7"}
    assert len(refused) == 3


@pytest.mark.usefixtures("quick")
def test_a_head_node_whose_agent_is_late_forgets_a_failed_job_later(
    inputs: Inputs, told: Any, neighbour: Callable[..., Any]
) -> None:
    ray = Ray()
    refused: list[str] = []

    def answer(method: str, path: str, body: Any) -> tuple[int, Any]:
        if method == "DELETE" and len(refused) < 3:
            refused.append(path)
            return 500, "No available agent to submit job, please try again later."
        return ray.answer(method, path, body)

    wanted = inputs(runner={"kind": "ray", "url": neighbour(answer).url})
    ray.jobs[f"train-{digest(wanted)[:16]}"] = {"status": "FAILED", "entrypoint": "false", "logs": ""}

    assert JobResource().create(told.call(), wanted)[1]["result"] == {"seed": "7"}
    assert len(refused) == 3


@pytest.mark.usefixtures("quick")
def test_job_that_ray_cannot_take_at_all_is_refused_at_once(
    inputs: Inputs, told: Any, neighbour: Callable[..., Any]
) -> None:
    server = neighbour(lambda method, path, body: (404, None) if method == "GET" else (500, "no such runtime_env"))

    with pytest.raises(ResourceError, match="Ray refuses the job, 500: no such runtime_env"):
        JobResource().create(told.call(), inputs(runner={"kind": "ray", "url": server.url}))

    assert len([1 for method, _path, _body in server.requests if method == "POST"]) == 1
