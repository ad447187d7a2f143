"""`mlops train` of an environment in an account: a Job is made from the model's CronJob, and nothing else."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from infra.cli import train_sagemaker
from infra.cli.app import app
from infra.cli.context import Context
from infra.cli.output import CommandFailed
from infra.cli.train_remote import job_of
from infra.provider import cluster_access

CLOCK = {
    "metadata": {"name": "train-flight-delay", "namespace": "training", "uid": "c-1"},
    "spec": {
        "suspend": True,
        "jobTemplate": {
            "metadata": {"labels": {"mlops/model": "flight-delay"}},
            "spec": {"template": {"spec": {"restartPolicy": "Never"}}},
        },
    },
}
PIPELINES: dict[str, Any] = {
    "url": "https://api",
    "runner": "ray",
    "runs": {"flight-delay": "train-flight-delay"},
    "cluster": "acme-dev-main",
    "region": "eu-central-1",
    "authority": "Y2E=",
}
Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[httpx.Request]]:
    """Let a function be the API server of dev; returns what it was asked."""

    def made(
        answer: Answer | None = None, *, jobs: Sequence[dict[str, Any]] = (), **changes: Any
    ) -> list[httpx.Request]:
        asked: list[httpx.Request] = []

        def taken(request: httpx.Request) -> httpx.Response:
            asked.append(request)
            if answer is not None:
                return answer(request)
            if request.method == "GET":
                return httpx.Response(200, json=CLOCK if "/cronjobs/" in request.url.path else {"items": list(jobs)})
            return httpx.Response(201, json=json.loads(request.content))

        def http(self: Context, name: str) -> httpx.Client:
            assert name == "pipelines"
            return httpx.Client(base_url="https://api", transport=httpx.MockTransport(taken))

        monkeypatch.setattr(Context, "outputs", {"endpoints": {"pipelines": {**PIPELINES, **changes}}})
        monkeypatch.setattr(Context, "http", http)
        return asked

    return made


def run(*arguments: str) -> tuple[str, str]:
    """What was printed, and the failure with what it says to do."""
    result = CliRunner().invoke(app, ["train", "flight-delay", "--stack", "dev", *arguments])
    if result.exception is not None and not isinstance(result.exception, CommandFailed | SystemExit):
        raise result.exception
    hint = getattr(result.exception, "hint", "")
    return result.stdout, "\n".join(filter(None, (str(result.exception or ""), hint)))


def test_a_run_is_a_job_of_the_models_cron_job(cluster: Callable[..., list[httpx.Request]]) -> None:
    asked = cluster()

    text, failure = run("--json")

    assert failure == ""
    assert [(one.method, one.url.path) for one in asked] == [
        ("GET", "/apis/batch/v1/namespaces/training/cronjobs/train-flight-delay"),
        ("GET", "/apis/batch/v1/namespaces/training/jobs"),
        ("POST", "/apis/batch/v1/namespaces/training/jobs"),
    ]
    assert asked[1].url.params["labelSelector"] == "mlops/model=flight-delay"
    job = json.loads(asked[2].content)
    assert job["spec"] == CLOCK["spec"]["jobTemplate"]["spec"]  # type: ignore[index]
    assert job["metadata"]["ownerReferences"][0]["uid"] == "c-1"
    said = json.loads(text)
    assert said["job"] == job["metadata"]["name"]
    assert said["follow"][1] == f"kubectl -n training logs -f job/ray-{said['job']}"


def job(*conditions: tuple[str, str], **metadata: str) -> dict[str, Any]:
    status = {"conditions": [{"type": kind, "status": value} for kind, value in conditions]}
    return {"metadata": {"name": "train-flight-delay-29384920", **metadata}, "status": status}


@pytest.mark.parametrize("going", [{"metadata": {"name": "train-flight-delay-29384920"}}, job(("Failed", "False"))])
def test_nothing_is_started_while_a_run_goes_on(
    cluster: Callable[..., list[httpx.Request]], going: dict[str, Any]
) -> None:
    asked = cluster(jobs=[job(("Complete", "True"), name="train-flight-delay-29384000"), going])

    assert "being trained already, by job train-flight-delay-29384920 of stack dev; nothing was started" in run()[1]
    assert [one.method for one in asked] == ["GET", "GET"]


def test_runs_that_have_ended_keep_none_from_starting(cluster: Callable[..., list[httpx.Request]]) -> None:
    asked = cluster(
        jobs=[job(("Complete", "True")), job(("Failed", "True")), job(deletionTimestamp="2026-11-01T04:00:00Z")]
    )

    assert run()[1] == ""
    assert asked[-1].method == "POST"


def test_a_stack_in_which_nothing_trains_is_told(
    cluster: Callable[..., list[httpx.Request]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = cluster()
    monkeypatch.setattr(Context, "outputs", {"endpoints": {"tracking": {"url": "https://mlflow"}}})

    assert "nothing trains in stack dev" in run()[1]
    assert asked == []


def test_a_model_that_the_stack_does_not_have_is_wrong_usage(cluster: Callable[..., list[httpx.Request]]) -> None:
    asked = cluster()

    result = CliRunner().invoke(app, ["train", "churn", "--stack", "dev"])

    assert isinstance(result.exception, CommandFailed)
    assert "stack dev has no model 'churn'; it has flight-delay, mortgage-approval" in str(result.exception)
    assert result.exception.exit_code == 2
    assert asked == []


def test_its_name_is_as_long_as_those_that_the_clock_gives() -> None:
    names = [job_of(CLOCK, now)["metadata"]["name"] for now in (1.8e9, 1.8e9 + 1, 2**32 - 1)]

    assert len(set(names)) == 3
    assert {len(name) - len("train-flight-delay-") for name in names} == {8}


def test_what_the_command_prints_can_be_pasted(cluster: Callable[..., list[httpx.Request]]) -> None:
    cluster()

    text, _ = run()

    assert text.startswith("started a training run of flight-delay in stack dev: job train-flight-delay-")
    assert "kubectl -n training logs -f job/ray-train-flight-delay-" in text


@pytest.mark.parametrize("arguments", [("--seed", "1"), ("--param", "trees=5")])
def test_seed_and_parameters_are_those_of_the_stack(
    cluster: Callable[..., list[httpx.Request]], arguments: tuple[str, ...]
) -> None:
    asked = cluster()

    _, failure = run(*arguments)

    assert "state models.flight-delay.seed and params in stacks/Pulumi.dev.yaml" in failure
    assert asked == []


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "refuses, 401: jobs is forbidden\nthe cluster knows no role of the credentials"),
        (403, "refuses, 403: jobs is forbidden\nstarting a run takes a role"),
        (404, "refuses, 404: jobs is forbidden\n./mlops up dev"),
        (500, "refuses, 500: jobs is forbidden"),
    ],
)
def test_a_refusal_is_told_in_the_clusters_words(
    cluster: Callable[..., list[httpx.Request]], status: int, words: str
) -> None:
    cluster(lambda _: httpx.Response(status, json={"message": "jobs is forbidden"}))

    assert words in run()[1]


def test_a_cluster_that_cannot_be_reached_is_told(cluster: Callable[..., list[httpx.Request]]) -> None:
    def unreachable(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectTimeout("timed out", request=request)

    cluster(unreachable)

    assert "does not answer at https://api" in run()[1]


def test_a_model_that_the_cluster_does_not_know_yet_is_told(cluster: Callable[..., list[httpx.Request]]) -> None:
    cluster(runs={})

    assert "does not know the model 'flight-delay' yet; it knows none" in run()[1]


def test_where_sagemaker_trains_its_pipeline_is_started(
    cluster: Callable[..., list[httpx.Request]], monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = "arn:aws:sagemaker:eu-central-1:111111111111:pipeline/acme-dev-training-flight-delay"
    asked = cluster(runner="sagemaker", runs={"flight-delay": arn})

    made = {"execution": f"{arn}/execution/e1", "follow": ["aws sagemaker …"]}
    monkeypatch.setattr(train_sagemaker, "start", lambda *stated: {**made, "stated": list(stated)})

    assert f"stack dev: execution {arn}/execution/e1. What" in run()[0]
    assert json.loads(run("--json")[0])["stated"] == ["dev", "flight-delay", arn]
    assert asked == []


def test_the_api_server_itself_gets_no_token_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cluster_access.TOKEN, "MINE")

    assert cluster_access.headers(PIPELINES, None) == {"authorization": "Bearer MINE"}
