"""Labels on the real platform: predictions, what turned out to be true of them, and the rollback that follows."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.local.checkout import Platform
from tests.local.test_platform import served, until, v2_request

pytestmark = pytest.mark.local

MODEL = "tumour-kind"
QUICK: dict[str, Any] = {"kind": "all-at-once", "bakeMinutes": 0, "after": {"qualityLabels": 10}}
ENOUGH = 20
"""Labels before and after: too many for a difference to be chance."""


@pytest.fixture(scope="module")
def second_version(platform: Platform) -> Iterator[Platform]:
    """The platform with a newer version of one model, watched for its quality; the stack file is put back."""
    file = platform.checkout.stack_file
    before = file.read_text("utf-8")
    document = yaml.safe_load(before)
    document["config"]["mlops:models"][MODEL] |= {"strategy": QUICK, "params": {"c": 0.25}}
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    platform.checkout.run("up", platform.checkout.stack)
    yield platform
    file.write_text(before, encoding="utf-8")
    platform.checkout.run("up", platform.checkout.stack)


def predictions(platform: Platform, count: int) -> list[dict[str, Any]]:
    """Predict, and return a label per prediction: what was predicted, by the id that the answer carried."""
    body = v2_request(platform, MODEL)
    found = []
    with platform.http("inference") as http:
        for _ in range(count):
            answer = http.post(f"/v2/models/{MODEL}/infer", json=body).raise_for_status()
            outputs = {tensor["name"]: tensor["data"] for tensor in answer.json()["outputs"]}
            found.append({"id": answer.headers["x-request-id"], "label": outputs["label"][0]})
    return found


def send(platform: Platform, labels: list[dict[str, Any]], file: Path) -> dict[str, Any]:
    file.write_text("".join(json.dumps(label) + "\n" for label in labels))
    stack = platform.checkout.stack
    answer = platform.checkout.json("feedback", MODEL, "--file", str(file), "--stack", stack)
    assert isinstance(answer, dict)
    return answer


def metric(platform: Platform, line: str) -> float:
    with platform.http("control", authenticated=False) as http:
        page = http.get("/metrics").raise_for_status().text
    return float(next((one.rsplit(" ", 1)[1] for one in page.splitlines() if one.startswith(line)), 0))


def stable(platform: Platform) -> dict[str, Any]:
    """What the controller says that serves; `status` says the same, and takes a start of Python each time."""
    with platform.http("control") as http:
        found: dict[str, Any] = http.get(f"/v1/models/{MODEL}").raise_for_status().json()["served"]
    return found


def ledger(platform: Platform, kind: str) -> list[dict[str, Any]]:
    exported = platform.checkout.run("audit", "export", "--stack", platform.checkout.stack).stdout
    return [line for line in map(json.loads, exported.splitlines()) if line.get("kind") == kind]


def test_wrong_labels_bring_the_version_before_back_by_themselves(second_version: Platform, tmp_path: Path) -> None:
    platform = second_version
    bad = served(platform)[MODEL]
    proven = platform.checkout.json("release", "status", MODEL, "--stack", platform.checkout.stack, "--json")["proven"]
    earlier = proven[-2]
    assert earlier["digest"] != bad["digest"]
    right, other = predictions(platform, ENOUGH), predictions(platform, ENOUGH)
    joined = f'mlops_labels_total{{model="{MODEL}",outcome="joined"}}'

    assert send(platform, right, tmp_path / "right.jsonl") == {"model": MODEL, "accepted": ENOUGH, "known": 0}
    assert send(platform, right, tmp_path / "right.jsonl") == {"model": MODEL, "accepted": 0, "known": ENOUGH}
    until(lambda: metric(platform, joined) == ENOUGH, "labels meet their predictions")
    assert served(platform)[MODEL] == bad

    wrong = [one | {"label": 1 - one["label"]} for one in other]
    assert send(platform, wrong, tmp_path / "wrong.jsonl")["accepted"] == ENOUGH
    until(lambda: bool(stable(platform)["digest"] == earlier["digest"]), "the earlier version serves again")
    assert served(platform)[MODEL]["digest"] == earlier["digest"]

    # It goes back as soon as enough labels say so; the others are counted all the same.
    labels = f'{{model="{MODEL}",version="{bad["version"]}"'
    counted = f'mlops_labelled_predictions_total{labels},result="wrong"}}'
    until(lambda: metric(platform, counted) == ENOUGH, "every label counts")
    assert metric(platform, f"mlops_accuracy{labels}}}") == 0.5
    rollback = ledger(platform, "rollback")[-1]
    assert rollback["digest"] == bad["digest"]
    assert rollback["what"]["trigger"] == "quality"
    assert QUICK["after"]["qualityLabels"] <= rollback["what"]["evidence"]["labels"] <= ENOUGH
    assert ledger(platform, "quarantine")[-1]["digest"] == bad["digest"]
    assert predictions(platform, 1)


def test_label_that_contradicts_another_is_refused_over_http(second_version: Platform) -> None:
    (label,) = predictions(second_version, 1)
    with second_version.http("inference") as http:
        path = f"/v2/models/{MODEL}/feedback"
        answers = [http.post(path, json={"labels": [label]}) for _ in range(2)]
        refused = http.post(path, json={"labels": [label | {"label": 1 - label["label"]}]})
        malformed = http.post(path, json={"labels": [{"id": label["id"]}]})
    assert [answer.json()["accepted"] for answer in answers] == [1, 0]
    assert refused.status_code == 409
    assert "another label is stored already" in refused.json()["error"]
    assert malformed.status_code == 400


def test_alarm_of_a_monitor_is_in_the_ledger_once(second_version: Platform) -> None:
    serves = served(second_version)[MODEL]
    alarm = {
        "id": "drift/2026-03-01", "kind": "drift", "digest": serves["digest"], "reason": "radius has moved",
        "action": "alert", "by": "monitor", "figures": {"psi": 0.31},
    }  # fmt: skip
    with second_version.http("control") as http:
        answers = [http.post(f"/v1/models/{MODEL}/alarms", json=alarm) for _ in range(2)]
    assert [answer.json() for answer in answers] == [
        {"accepted": True, "about": "stable"},
        {"accepted": False, "about": "stable"},
    ]
    told = [line for line in ledger(second_version, "policy-verdict") if line["person"] == "monitor"]
    assert [line["what"]["rule"] for line in told] == ["monitor:drift"]
    assert served(second_version)[MODEL] == serves
