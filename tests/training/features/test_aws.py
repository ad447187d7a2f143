"""Features on AWS: what is stored in the bucket and the table, or the group, is what is served from another machine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from starlette.testclient import TestClient

from training.errors import TrainingError
from training.features import aws, store
from training.features.server import Lookup, create_app
from training.pipelines.materialize import data_digest, materialize
from training.spec import ModelSpec, load_model

BUCKET = "acme-dev-features"


@pytest.fixture
def spec(third_model: Path) -> ModelSpec:
    return load_model(third_model)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An account with the bucket and the table, as the infrastructure makes them."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("MLOPS_FEATURES_BUCKET", BUCKET)
    monkeypatch.delenv("MLOPS_INGEST", raising=False)
    with mock_aws():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        boto3.client("dynamodb").create_table(
            TableName="features",
            KeySchema=[{"AttributeName": "entity", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "entity", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield s3


class Runtime:
    """Records of a feature group in memory: moto has none."""

    def __init__(self) -> None:
        self.records: dict[str, list[dict[str, str]]] = {}
        self.errors: list[dict[str, str]] = []

    def put_record(self, FeatureGroupName: str, Record: list[dict[str, str]]) -> None:  # noqa: N803 - the API's names
        assert FeatureGroupName == "features"
        values = {one["FeatureName"]: one["ValueAsString"] for one in Record}
        assert values.keys() == {"record", "event_time", "content"}
        self.records[values["record"]] = Record

    def batch_get_record(self, Identifiers: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - likewise
        asked = Identifiers[0]["RecordIdentifiersValueAsString"]
        assert len(asked) <= aws.AT_ONCE
        found = [{"Record": self.records[key]} for key in asked if key in self.records]
        return {"Records": found, "Errors": self.errors, "UnprocessedIdentifiers": []}


@pytest.fixture(params=["table", "group"])
def kind(request: pytest.FixtureRequest, cloud: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both kinds of online store."""
    if request.param == "table":
        monkeypatch.setenv("MLOPS_FEATURES_TABLE", "features")
    else:
        runtime, real = Runtime(), aws.client
        monkeypatch.setenv("MLOPS_FEATURES_GROUP", "features")
        monkeypatch.setattr(
            aws, "client", lambda service: runtime if service.startswith("sagemaker") else real(service)
        )
    return str(request.param)


@pytest.mark.slow
@pytest.mark.usefixtures("kind")
def test_what_one_machine_stores_another_one_serves(tmp_path: Path, spec: ModelSpec, cloud: Any) -> None:
    server = TestClient(create_app(Lookup(store.open_store(tmp_path / "server")), None))
    question = {"feature_service": "third_model", "entities": {"colour": ["red", "green", "red"]}}
    assert server.post("/get-online-features", json=question).status_code == 400

    materialize(spec, tmp_path / "job", data_digest(spec, tmp_path / "job"))

    answer = server.post("/get-online-features", json=question).json()
    columns = dict(zip(answer["metadata"]["feature_names"], answer["results"], strict=True))
    assert columns["share_above"]["statuses"] == ["PRESENT", "NOT_FOUND", "PRESENT"]
    views = store.read_offline(tmp_path / "elsewhere", spec)
    newest = views["shares"].sort_values("event_timestamp").groupby("colour")["share_above"].last()
    assert columns["share_above"]["values"] == [newest["red"], None, newest["red"]]
    keys = {one["Key"] for one in cloud.list_objects_v2(Bucket=BUCKET)["Contents"]}
    assert keys == {"registry/registry.db", "offline/third-model/shares.parquet"}


@pytest.mark.usefixtures("cloud")
def test_features_that_were_never_stored_are_an_error(tmp_path: Path, spec: ModelSpec) -> None:
    with pytest.raises(TrainingError, match="materialize the features of third-model first"):
        store.read_offline(tmp_path, spec)


@pytest.mark.usefixtures("cloud")
def test_two_jobs_do_not_overwrite_each_others_registry() -> None:
    from feast.repo_config import RegistryConfig

    place = RegistryConfig(path=f"s3://{BUCKET}/registry/registry.db")
    one, other = (aws.BucketRegistryStore(place, Path()) for _ in range(2))
    mine, theirs = one.get_registry_proto(), other.get_registry_proto()

    one.update_registry_proto(mine)

    with pytest.raises(TrainingError, match="run this again"):
        other.update_registry_proto(theirs)
    other.update_registry_proto(other.get_registry_proto())
    with pytest.raises(TrainingError, match="run this again"):
        one.update_registry_proto(mine)


@pytest.mark.parametrize(
    "stated",
    [
        {"MLOPS_FEATURES_BUCKET": BUCKET},
        {"MLOPS_FEATURES_TABLE": "features"},
        {"MLOPS_FEATURES_BUCKET": BUCKET, "MLOPS_FEATURES_TABLE": "features", "MLOPS_FEATURES_GROUP": "features"},
    ],
)
def test_half_a_place_is_refused(stated: dict[str, str]) -> None:
    with pytest.raises(TrainingError, match="goes together with one of"):
        store.configuration(stated)


def test_without_a_place_it_is_on_this_machine() -> None:
    assert "sqlite" in store.configuration({})
