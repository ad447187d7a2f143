"""Feast for real: what is stored offline is what is served online and what training joins."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from starlette.testclient import TestClient

from training.dataset import assemble
from training.errors import TrainingError
from training.features import store
from training.features.server import Lookup, create_app
from training.pipelines.materialize import data_digest, materialize
from training.spec import ModelSpec, load_model

ROOT = Path(__file__).parents[3]


@pytest.fixture
def spec(third_model: Path) -> ModelSpec:
    return load_model(third_model)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows.rename(columns={"share_above": "share"}), "expected the columns"),
        (lambda rows: rows.head(0), "needs rows"),
        (lambda rows: pd.concat([rows, rows.head(1)]), "two rows for colour"),
        (lambda rows: rows.assign(colour=None), "needs rows, each with colour"),
    ],
)
def test_view_that_breaks_its_spec_is_not_stored(tmp_path: Path, spec: ModelSpec, change: Any, words: str) -> None:
    assert spec.online
    view = spec.online.views[0]
    rows = view.build({"points": spec.tables[0].read()})
    with pytest.raises(TrainingError, match=words):
        store.write_offline(tmp_path, spec.name, view, change(rows))
    assert not list(tmp_path.rglob("*.parquet"))


def test_features_that_were_never_stored_are_an_error(tmp_path: Path, spec: ModelSpec) -> None:
    with pytest.raises(TrainingError, match="materialize the features of third-model first"):
        store.read_offline(tmp_path, spec)


@pytest.fixture
def materialized(tmp_path: Path, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLOPS_INGEST", raising=False)
    data = tmp_path / "data"
    materialize(spec, data, data_digest(spec, data))
    return data


@pytest.mark.slow
def test_training_serving_and_feast_agree(materialized: Path, spec: ModelSpec) -> None:
    opened = store.open_store(store.repository(materialized))
    views = store.read_offline(store.repository(materialized), spec)
    assert store.disagreement(opened, spec, views) == []

    frame = assemble(spec, {"points": spec.tables[0].read()}, views)
    asked = frame[["colour", "at"]].rename(columns={"at": "event_timestamp"})
    service = opened.get_feature_service("third_model")
    historical = opened.get_historical_features(entity_df=asked, features=service).to_df()
    # Feast leaves out examples that are older than all rows of their entity; ours stay, with missing values.
    both = frame.merge(
        historical.rename(columns={"event_timestamp": "at", "share_above": "feast"}), on=["colour", "at"], how="left"
    )
    assert len(both) == len(frame)
    pd.testing.assert_series_equal(both["share_above"], both["feast"], check_names=False)
    assert frame["share_above"].notna().any()

    newest = views["shares"].sort_values("event_timestamp").groupby("colour")["share_above"].last()
    served = store.online(opened, "third_model", {"colour": ["red", "blue", "green"]})["share_above"]
    assert served == [newest["red"], newest["blue"], None]


@pytest.mark.slow
def test_difference_between_the_two_sides_is_found(materialized: Path, spec: ModelSpec) -> None:
    opened = store.open_store(store.repository(materialized))
    views = store.read_offline(store.repository(materialized), spec)
    views["shares"]["share_above"] += 0.25
    assert len(store.disagreement(opened, spec, views)) == 2


@pytest.mark.slow
def test_server_answers_as_feast_does(materialized: Path) -> None:
    lookup = Lookup(store.open_store(store.repository(materialized)))
    assert lookup.warm() == 1
    client = TestClient(create_app(lookup, None))

    def ask(service: str, **entities: list[Any]) -> Any:
        return client.post("/get-online-features", json={"feature_service": service, "entities": entities})

    answer = ask("third_model", colour=["red", "green"]).json()
    columns = dict(zip(answer["metadata"]["feature_names"], answer["results"], strict=True))
    assert columns["colour"]["values"] == ["red", "green"]
    assert columns["share_above"]["statuses"] == ["PRESENT", "NOT_FOUND"]
    assert columns["share_above"]["values"][1] is None
    assert 0 < columns["share_above"]["values"][0] < 1
    assert ask("nothing", colour=["red"]).status_code == 400
    assert "there is no 'nothing' here" in ask("nothing", colour=["red"]).json()["detail"]
    assert ask("third_model", shade=["red"]).status_code == 400


@pytest.fixture
def process(tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("MLOPS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("MLOPS_FEATURE_STORE_TOKEN", "secret")
    command = [sys.executable, "-m", "training.features.server", "--port", str(free_port)]
    with subprocess.Popen(command, cwd=ROOT) as server:
        try:
            url = f"http://127.0.0.1:{free_port}"
            _wait(url, server)
            yield url
        finally:
            server.terminate()


def _wait(url: str, server: "subprocess.Popen[bytes]") -> None:
    import time

    for _ in range(1200):
        assert server.poll() is None, "the server ended"
        try:
            httpx.get(f"{url}/health").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the server was not up in two minutes")


@pytest.mark.slow
def test_running_server_finds_a_service_that_was_applied_after_its_start(
    process: str, tmp_path: Path, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask() -> httpx.Response:
        body = {"feature_service": "third_model", "entities": {"colour": ["red"]}}
        headers = {"authorization": "Bearer secret"}
        return httpx.post(f"{process}/get-online-features", json=body, headers=headers, timeout=60)

    assert ask().status_code == 400
    monkeypatch.delenv("MLOPS_INGEST", raising=False)
    data = tmp_path / "data"
    materialize(spec, data, data_digest(spec, data))
    assert ask().status_code == 200
