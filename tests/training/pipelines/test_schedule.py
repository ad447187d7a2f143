"""The schedule: which slot is due, what is submitted, and what happens when Ray is away."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from training.errors import TrainingError
from training.pipelines.schedule import Scheduler, due, parse, request, submission

NOON = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)  # a Monday


def at(text: str) -> datetime:
    hour, _, minute = text.partition(":")
    return NOON.replace(hour=int(hour), minute=int(minute))


@pytest.mark.parametrize(
    ("cron", "after", "now", "expected"),
    [
        ("0 * * * *", "11:10", "11:50", None),
        ("0 * * * *", "11:10", "12:00", "12:00"),
        ("0 * * * *", "11:10", "12:01", "12:00"),
        ("0 * * * *", "12:00", "12:59", None),
        ("0 * * * *", "08:30", "12:30", "12:00"),
        ("30 3 * * 1", "03:00", "04:00", "03:30"),
        ("30 3 * * 2", "03:00", "23:00", None),
    ],
)
def test_the_latest_slot_since_the_last_one_is_due(cron: str, after: str, now: str, expected: str | None) -> None:
    assert due(cron, at(after), at(now)) == (at(expected) if expected else None)


def entry(**changes: Any) -> dict[str, Any]:
    return {
        "model": "m",
        "cron": "0 * * * *",
        "command": ["/venv/python", "-m", "training.pipelines.train", "--folder=a b"],
        "environment": {"MLOPS_DATA_DIR": "/data"},
        "envFile": "/run/secrets.env",
        **changes,
    }


def config(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"ray": {"url": "http://ray", "token": "t"}, "entries": list(entries)}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "file: expected an object"),
        ({}, "ray: expected an object"),
        ({"ray": {"url": "ray"}}, "ray.url: expected the address"),
        ({"ray": {"url": "http://ray"}}, "entries: expected a list"),
        (config(entry(cron="every day")), r"entries\[0\].cron: 'every day' is not five cron fields"),
        (config(entry(cron="0 0 * * * *")), r"entries\[0\].cron"),
        (config(entry(cron="61 * * * *")), r"entries\[0\].cron"),
        (config(entry(), entry(command=[])), r"entries\[1\].command"),
        (config(entry(model="")), r"entries\[0\].model"),
        (config(entry(environment=[1])), r"entries\[0\].environment"),
    ],
)
def test_bad_configuration_is_refused_with_its_key(data: Any, words: str) -> None:
    with pytest.raises(TrainingError, match=words):
        parse(data)


def test_request_names_the_file_of_secrets_and_holds_none() -> None:
    only = parse(config(entry())).entries[0]
    body = request(only, NOON, "/pro ject")
    assert body["entrypoint"] == (
        "cd '/pro ject' && exec /venv/python -m training.pipelines.secret_environment /run/secrets.env -- "
        "/venv/python -m training.pipelines.train '--folder=a b'"
    )
    assert body["submission_id"] == "scheduled-m-20261102T1200Z"
    result = "/data/jobs/scheduled/m/20261102T1200Z/result.json"
    assert body["runtime_env"]["env_vars"] == {"MLOPS_DATA_DIR": "/data", "MLOPS_JOB_RESULT": result}


class Ray:
    """Ray's jobs API, as far as the scheduler uses it."""

    def __init__(self) -> None:
        self.jobs: dict[str, str] = {}
        self.away = False

    def __call__(self, asked: httpx.Request) -> httpx.Response:
        if self.away:
            raise httpx.ConnectError("refused")
        if asked.method == "POST":
            name = json.loads(asked.content)["submission_id"]
            assert name not in self.jobs, "submitted twice"
            self.jobs[name] = "RUNNING"
            return httpx.Response(200, json={"submission_id": name})
        status = self.jobs.get(asked.url.path.rpartition("/")[2])
        return httpx.Response(200, json={"status": status}) if status else httpx.Response(404)


@pytest.fixture
def ray() -> Ray:
    return Ray()


def scheduler(ray: Ray, start: datetime = NOON) -> Scheduler:
    client = httpx.Client(base_url="http://ray", transport=httpx.MockTransport(ray))
    return Scheduler(parse(config(entry())), client, start, "/project")


def finish(ray: Ray) -> None:
    ray.jobs = dict.fromkeys(ray.jobs, "SUCCEEDED")


def test_slot_is_submitted_once(ray: Ray) -> None:
    one = scheduler(ray)
    assert one.tick(at("12:30")) == []
    assert one.tick(at("13:00")) == ["m: submitted scheduled-m-20261102T1300Z"]
    assert one.tick(at("13:01")) == []
    finish(ray)
    assert one.tick(at("14:00")) == ["m: submitted scheduled-m-20261102T1400Z"]
    assert len(ray.jobs) == 2


def test_slot_is_tried_again_until_ray_is_back(ray: Ray) -> None:
    one = scheduler(ray)
    ray.away = True
    assert "Ray did not take the retraining of 2026-11-02 13:00" in one.tick(at("13:00"))[0]
    ray.away = False
    assert one.tick(at("13:05")) == ["m: submitted scheduled-m-20261102T1300Z"]


def test_slot_is_left_out_when_the_last_retraining_still_runs(ray: Ray) -> None:
    one = scheduler(ray)
    one.tick(at("13:00"))
    assert "still runs, the slot 2026-11-02 14:00 is left out" in one.tick(at("14:00"))[0]
    finish(ray)
    assert one.tick(at("14:30")) == []
    assert one.tick(at("15:00")) == ["m: submitted scheduled-m-20261102T1500Z"]


def test_restarted_scheduler_does_not_double_a_running_retraining(ray: Ray) -> None:
    scheduler(ray).tick(at("13:00"))
    again = scheduler(ray, start=at("12:59"))
    assert again.tick(at("13:01")) == ["m: submitted scheduled-m-20261102T1300Z"]
    assert len(ray.jobs) == 1
    assert "still runs" in scheduler(ray, start=at("13:30")).tick(at("14:00"))[0]


def test_missed_slots_are_not_made_up_for(ray: Ray) -> None:
    one = scheduler(ray, start=NOON)
    one.tick(NOON + timedelta(hours=6, minutes=30))
    assert list(ray.jobs) == [submission(parse(config(entry())).entries[0], NOON + timedelta(hours=6))]
