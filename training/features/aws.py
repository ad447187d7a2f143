"""Where Feast keeps things on AWS: its registry in S3, online features in DynamoDB or in a SageMaker feature group.

Feast has stores of its own for S3 and DynamoDB. These are ours for two reasons. Feast's make a table for each view,
tag and delete tables, and look at the bucket as a whole: rights that neither the server nor a training job should have,
for things that belong to the infrastructure. And its DynamoDB store needs an asynchronous client that does not go
together with the locked boto3. Here all views of all models share one table (or group), by the key
`project/view/entity`.

Feast finds the classes by name (`training.features.store` writes its configuration); a store's configuration class has
the store's name and `Config` behind it.
"""

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import prometheus_client  # noqa: F401 - before Feast, which else has it keep all metrics in files of the process
from feast import FeatureView
from feast.infra.online_stores.helpers import compute_entity_id
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.registry.registry_store import RegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel, RegistryConfig, RepoConfig

from training.errors import TrainingError

AT_ONCE = 100
"""Most records that BatchGetItem of DynamoDB and BatchGetRecord of Feature Store answer at once (API references)."""
ATTEMPTS = 8
"""How often keys that DynamoDB left unprocessed are asked for again; boto3 itself waits when it is throttled."""

Row = tuple[datetime | None, dict[str, Value] | None]
Written = tuple[EntityKey, dict[str, Value], datetime, datetime | None]


def client(service: str) -> Any:
    """Return a client of AWS; region and credentials come from the environment."""
    import boto3

    return boto3.client(service)


class BucketRegistryStore(RegistryStore):  # type: ignore[misc] # feast has no types
    """Feast's registry as one object of a bucket. It is empty as long as the object is not there."""

    def __init__(self, registry_config: RegistryConfig, _repository: Path) -> None:
        place = urlparse(str(registry_config.path))
        self._bucket, self._key = place.netloc, place.path.lstrip("/")
        self._s3 = client("s3")
        self._seen: str | None = None

    def get_registry_proto(self) -> RegistryProto:
        """Return the registry."""
        # Not a GetObject at once: without the right to list all of the bucket, S3 answers that with 403 instead of 404.
        found = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=self._key, MaxKeys=1).get("Contents", [])
        if not any(one["Key"] == self._key for one in found):
            self._seen = None
            return RegistryProto(registry_schema_version="1")
        answer = self._s3.get_object(Bucket=self._bucket, Key=self._key)
        self._seen = answer["ETag"]
        registry: RegistryProto = RegistryProto.FromString(answer["Body"].read())
        return registry

    def update_registry_proto(self, registry_proto: RegistryProto) -> None:
        """Write the registry, unless somebody else has written it since it was read.

        Raises:
            TrainingError: somebody has.
        """
        from botocore.exceptions import ClientError

        registry_proto.last_updated.FromDatetime(datetime.now(UTC))
        unchanged = {"IfMatch": self._seen} if self._seen else {"IfNoneMatch": "*"}
        try:
            answer = self._s3.put_object(
                Bucket=self._bucket, Key=self._key, Body=registry_proto.SerializeToString(), **unchanged
            )
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("PreconditionFailed", "ConditionalRequestConflict"):
                raise
            raise TrainingError(
                f"s3://{self._bucket}/{self._key}: another job changed the feature registry meanwhile; run this again"
            ) from error
        self._seen = answer["ETag"]

    def teardown(self) -> None:
        """Remove the registry."""
        self._s3.delete_object(Bucket=self._bucket, Key=self._key)


class _SharedStore(OnlineStore):  # type: ignore[misc] # as above
    """What both online stores have in common: keys, and nothing to make or delete."""

    def update(self, *_: Any, **__: Any) -> None:
        """Do nothing: the infrastructure's program makes tables and groups."""

    def teardown(self, *_: Any, **__: Any) -> None:
        """Do nothing, likewise."""

    @staticmethod
    def key(config: RepoConfig, view: FeatureView, entity: EntityKey) -> str:
        """Return the key of an entity's record in a view."""
        version = config.entity_key_serialization_version
        return f"{config.project}/{view.name}/{compute_entity_id(entity, entity_key_serialization_version=version)}"


class TableOnlineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc] # as above
    """Configuration: the table's name."""

    type: str = "training.features.aws.TableOnlineStore"
    table: str


class TableOnlineStore(_SharedStore):
    """Online features in one DynamoDB table, whose hash key is `entity`."""

    def __init__(self) -> None:
        self._dynamodb = client("dynamodb")

    def online_write_batch(
        self, config: RepoConfig, table: FeatureView, data: list[Written], progress: Callable[[int], Any] | None
    ) -> None:
        """Write the rows of a view."""
        import boto3

        # An entity that comes twice would make DynamoDB refuse the batch; the last one counts.
        newest = {self.key(config, table, entity): (values, time) for entity, values, time, _ in data}
        with boto3.resource("dynamodb").Table(config.online_store.table).batch_writer() as batch:
            for key, (values, time) in newest.items():
                batch.put_item(
                    Item={
                        "entity": key,
                        "time": _text(time),
                        "features": {name: value.SerializeToString() for name, value in values.items()},
                    }
                )
        if progress:
            progress(len(data))

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[Row]:
        """Read the rows of entities, in their order."""
        keys = [self.key(config, table, entity) for entity in entity_keys]
        found: dict[str, Row] = {}
        for some in _portions(keys):
            asked: dict[str, Any] = {config.online_store.table: {"Keys": [{"entity": {"S": key}} for key in some]}}
            for _ in range(ATTEMPTS):
                answer = self._dynamodb.batch_get_item(RequestItems=asked)
                for item in answer["Responses"].get(config.online_store.table, ()):
                    features = {name: value["B"] for name, value in item["features"]["M"].items()}
                    found[item["entity"]["S"]] = _row(item["time"]["S"], features, requested_features)
                asked = answer.get("UnprocessedKeys") or {}
                if not asked:
                    break
            else:
                raise TrainingError(f"table {config.online_store.table}: does not answer for all keys; it is throttled")
        return [found.get(key, (None, None)) for key in keys]


class GroupOnlineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc] # as above
    """Configuration: the feature group's name."""

    type: str = "training.features.aws.GroupOnlineStore"
    group: str


class GroupOnlineStore(_SharedStore):
    """Online features in one SageMaker feature group of the features `record`, `event_time` and `content`."""

    def __init__(self) -> None:
        self._runtime = client("sagemaker-featurestore-runtime")

    def online_write_batch(
        self, config: RepoConfig, table: FeatureView, data: list[Written], progress: Callable[[int], Any] | None
    ) -> None:
        """Write the rows of a view; the service takes one at a time, and keeps the newest by its event time."""
        for entity, values, time, _ in data:
            content = {name: base64.b64encode(value.SerializeToString()).decode() for name, value in values.items()}
            record = {
                "record": self.key(config, table, entity),
                "event_time": _text(time),
                "content": json.dumps(content, sort_keys=True),
            }
            self._runtime.put_record(
                FeatureGroupName=config.online_store.group,
                Record=[{"FeatureName": name, "ValueAsString": value} for name, value in record.items()],
            )
        if progress:
            progress(len(data))

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[Row]:
        """Read the rows of entities, in their order.

        Raises:
            TrainingError: the group does not answer for all of them.
        """
        keys = [self.key(config, table, entity) for entity in entity_keys]
        found: dict[str, Row] = {}
        group = config.online_store.group
        for some in _portions(keys):
            answer = self._runtime.batch_get_record(
                Identifiers=[{"FeatureGroupName": group, "RecordIdentifiersValueAsString": list(some)}]
            )
            if answer["Errors"] or answer["UnprocessedIdentifiers"]:
                reason = answer["Errors"][0]["ErrorMessage"] if answer["Errors"] else "it is throttled"
                raise TrainingError(f"feature group {group}: does not answer for all keys: {reason}")
            for one in answer["Records"]:
                record = {entry["FeatureName"]: entry["ValueAsString"] for entry in one["Record"]}
                content = {name: base64.b64decode(value) for name, value in json.loads(record["content"]).items()}
                found[record["record"]] = _row(record["event_time"], content, requested_features)
        return [found.get(key, (None, None)) for key in keys]


def _portions(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    distinct = list(dict.fromkeys(keys))
    for start in range(0, len(distinct), AT_ONCE):
        yield distinct[start : start + AT_ONCE]


def _text(time: datetime) -> str:
    """Return a time in ISO 8601 with milliseconds in UTC, the form that feature groups take."""
    aware = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return aware.strftime("%Y-%m-%dT%H:%M:%S.") + f"{aware.microsecond // 1000:03d}Z"


def _row(time: str, features: dict[str, bytes], requested: list[str] | None) -> Row:
    values = {
        name: Value.FromString(content) for name, content in features.items() if not requested or name in requested
    }
    return datetime.fromisoformat(time), values
