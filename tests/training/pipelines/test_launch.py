"""Launching: a run is a copy of a template, started once for each Job, and its end is the launcher's end."""

import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from training.errors import TrainingError
from training.pipelines import launch as launching
from training.pipelines.launch import (
    Cluster,
    Job,
    UnavailableError,
    follow,
    going_on,
    launch,
    run_name,
    started,
    verdict,
)

JOB = Job("training", "train-flight-29384920", "0b1c")
RUN = "ray-train-flight-29384920"
PATH = "/apis/ray.io/v1/namespaces/training/rayjobs"


def template() -> dict[str, Any]:
    return {
        "metadata": {"name": "train-flight", "uid": "t", "labels": {"mlops/model": "flight"}, "finalizers": ["ray"]},
        "spec": {
            "suspend": True,
            "entrypoint": "python -m training.pipelines.steps /f",
            "rayClusterSpec": {"headGroupSpec": {"template": {"metadata": {"annotations": {"a": "b"}}, "spec": {}}}},
        },
        "status": {"jobDeploymentStatus": "Suspended"},
    }


class Api:
    """An API server that knows RayJobs; `states` are what it says of a run, one at each look."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {"train-flight": template()}
        self.states: list[Any] = []
        self.tokens: set[str] = set()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.tokens.add(request.headers["authorization"])
        if request.method == "POST":
            assert request.url.params["fieldValidation"] == "Strict"
            body = json.loads(request.content)
            if body["metadata"]["name"] in self.objects:
                return httpx.Response(409, json={"message": "exists"})
            self.objects[body["metadata"]["name"]] = body
            return httpx.Response(201, json=body)
        if request.url.path == PATH:
            assert request.url.params["labelSelector"] == "mlops/model=flight"
            return httpx.Response(200, json={"items": list(self.objects.values())})
        name = request.url.path.removeprefix(f"{PATH}/")
        if name == RUN and self.states:
            state = self.states.pop(0)
            if isinstance(state, int):
                return httpx.Response(state, json={"message": "busy"})
            return httpx.Response(200, json={"status": state})
        if name not in self.objects:
            return httpx.Response(404, json={"message": "none"})
        return httpx.Response(200, json=self.objects[name])


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    monkeypatch.setattr(launching, "_token", lambda: "TOKEN")
    return Api()


@pytest.fixture
def cluster(api: Api) -> Iterator[Cluster]:
    with httpx.Client(base_url="https://api", transport=httpx.MockTransport(api)) as client:
        yield Cluster(client, "training")


@pytest.fixture
def waited() -> list[float]:
    return []


@pytest.fixture
def wait(cluster: Cluster, waited: list[float]) -> Callable[[], None]:
    return lambda: follow(cluster, RUN, waited.append, lambda: sum(waited))


def test_a_run_is_the_template_without_its_suspension_and_belongs_to_the_job() -> None:
    before = template()

    made = started(before, JOB)

    assert before == template()
    assert "suspend" not in made["spec"]
    assert made["spec"]["entrypoint"] == before["spec"]["entrypoint"]
    assert made["metadata"] == {
        "name": RUN,
        "namespace": "training",
        "labels": {"mlops/model": "flight"},
        "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": JOB.name, "uid": "0b1c"}],
    }
    head = made["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
    assert head["metadata"]["annotations"] == {"a": "b", "mlops/run": RUN}


def test_a_template_that_runs_nothing_is_refused() -> None:
    with pytest.raises(TrainingError, match="no rayClusterSpec"):
        started({"metadata": {}, "spec": {"suspend": True}}, JOB)


def test_names_of_runs_are_short_enough_for_the_operator_and_never_those_of_their_jobs() -> None:
    jobs = ["a", *(f"train-{'m' * length}-{end}" for length in (30, 41, 55) for end in (1, 2))]
    names = [run_name(job) for job in jobs]

    assert max(map(len, names)) <= 47
    assert len({*names, *jobs}) == 2 * len(jobs)


def test_a_run_is_started_once_for_a_job(api: Api, cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert launch(cluster, "train-flight", JOB) == RUN
    made = json.dumps(api.objects[RUN])

    assert launch(cluster, "train-flight", JOB) == RUN
    assert json.dumps(api.objects[RUN]) == made
    assert "started before" in capsys.readouterr().out
    assert api.tokens == {"Bearer TOKEN"}


def test_without_a_template_nothing_is_started(cluster: Cluster) -> None:
    with pytest.raises(TrainingError, match="there is no RayJob train-loan in training"):
        launch(cluster, "train-loan", JOB)


def another(state: str | None = "Running", **metadata: Any) -> dict[str, Any]:
    """A run of another Job."""
    labels = {"mlops/model": "flight"}
    given = {"name": "ray-other", "creationTimestamp": "2026-11-01T03:00:00Z", "labels": labels, **metadata}
    return {"metadata": given, "spec": {}, "status": {} if state is None else {"jobDeploymentStatus": state}}


@pytest.mark.parametrize("state", [None, "Initializing", "Running", "Retrying"])
def test_nothing_is_started_beside_a_run_of_the_same_model(api: Api, cluster: Cluster, state: str | None) -> None:
    api.objects["ray-other"] = another(state)

    with pytest.raises(TrainingError, match=r"ray-other still trains flight.*delete rayjob ray-other") as error:
        launch(cluster, "train-flight", JOB)

    assert not isinstance(error.value, UnavailableError)
    assert RUN not in api.objects


@pytest.mark.parametrize(
    "other",
    [
        another("Complete"),
        another("Failed"),
        another("ValidationFailed"),
        another(deletionTimestamp="2026-11-01T04:00:00Z"),
        another(labels={"mlops/model": "loan"}),
    ],
)
def test_a_run_that_has_ended_or_is_of_another_model_keeps_none_from_starting(
    api: Api, cluster: Cluster, other: dict[str, Any]
) -> None:
    api.objects["ray-other"] = other

    assert launch(cluster, "train-flight", JOB) == RUN
    assert RUN in api.objects


def test_of_several_runs_the_first_is_named() -> None:
    runs = [another(name="b"), another(name="a"), another(name="c", creationTimestamp="2026-10-31T03:00:00Z")]

    assert going_on("flight", runs) == "c"
    assert going_on("flight", runs[:2]) == "a"


def test_a_template_whose_model_nobody_knows_starts_nothing(api: Api, cluster: Cluster) -> None:
    api.objects["train-flight"]["metadata"]["labels"] = {}

    with pytest.raises(TrainingError, match="has no label mlops/model"):
        launch(cluster, "train-flight", JOB)
    assert RUN not in api.objects


def test_the_end_of_a_run_is_waited_for(
    api: Api, wait: Callable[[], None], waited: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    running = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
    api.states = [{}, {"jobDeploymentStatus": "Initializing"}, running, running]
    api.states.append({"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"})

    wait()

    assert len(waited) == 4
    lines = capsys.readouterr().out.splitlines()
    assert [line.removeprefix(f"{RUN}: ") for line in lines] == [
        "waits for the operator",
        "Initializing",
        "Running, Ray says RUNNING",
        "Complete, Ray says SUCCEEDED",
    ]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            {"jobDeploymentStatus": "Failed", "reason": "DeadlineExceeded", "message": "passed\nmore"},
            "DeadlineExceeded",
        ),
        ({"jobDeploymentStatus": "ValidationFailed", "message": "the name is too long"}, "the name is too long"),
        ({"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}, "Ray says STOPPED"),
    ],
)
def test_a_run_that_failed_is_told_with_its_reason(
    api: Api, wait: Callable[[], None], status: dict[str, Any], words: str
) -> None:
    api.states = [status]

    with pytest.raises(TrainingError, match=words) as error:
        wait()
    assert not isinstance(error.value, UnavailableError)


@pytest.mark.parametrize("status", ["", "Initializing", "Running", "Waiting", "Retrying", "Suspending", "Suspended"])
def test_a_run_between_attempts_has_not_ended(status: str) -> None:
    assert verdict({"jobDeploymentStatus": status, "jobStatus": "FAILED"}) is None


def test_an_api_server_that_is_away_for_a_while_is_asked_again(
    api: Api, wait: Callable[[], None], waited: list[float]
) -> None:
    api.states = [503] * 30 + [{"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}]

    wait()

    assert len(waited) == 30


def test_an_api_server_that_stays_away_ends_the_watch(api: Api, wait: Callable[[], None]) -> None:
    api.states = [503] * 100

    with pytest.raises(UnavailableError, match="HTTP 503: busy"):
        wait()


def test_a_run_that_somebody_deleted_is_told(api: Api, wait: Callable[[], None]) -> None:
    with pytest.raises(TrainingError, match="was deleted before it had ended"):
        wait()
    assert RUN not in api.objects


def test_status_tells_whether_another_try_is_worth_it(
    api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = {"MLOPS_NAMESPACE": JOB.namespace, "MLOPS_JOB": JOB.name, "MLOPS_JOB_UID": JOB.uid}
    for name, value in {**names, "KUBERNETES_SERVICE_HOST": "api", "KUBERNETES_SERVICE_PORT": "443"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["launch", "--template", "train-flight"])
    monkeypatch.setattr(launching, "_ACCOUNT", tmp_path)
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: True)
    client = httpx.Client
    monkeypatch.setattr(
        httpx,
        "Client",
        lambda **given: client(base_url=given["base_url"], transport=httpx.MockTransport(api)),
    )

    api.states = [403]
    with pytest.raises(SystemExit) as again:
        launching.main()
    api.states = [{}, {"jobDeploymentStatus": "Failed"}]
    with pytest.raises(TrainingError):
        launching.main()
    api.states = [{}, {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}]
    launching.main()

    assert again.value.code == 3


def test_outside_of_a_job_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["launch", "--template", "train-flight"])
    monkeypatch.delenv("MLOPS_JOB", raising=False)

    with pytest.raises(TrainingError, match="MLOPS_JOB"):
        launching.main()
