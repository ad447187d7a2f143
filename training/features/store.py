"""The Feast repository of an environment: `data/feature_store` with Parquet files offline and SQLite online.

On AWS the environment says where they are kept instead, and the folder is only what a job works in:

    MLOPS_FEATURES_BUCKET   bucket of the offline files (`offline/…`) and of Feast's registry (`registry/…`)
    MLOPS_FEATURES_TABLE    DynamoDB table of online features, or
    MLOPS_FEATURES_GROUP    SageMaker feature group of online features

All models of an environment share it; each applies its own entities, views and service and leaves the others alone.
Views have no time to live: freshness is a matter of monitoring, and data from the past (as in the examples) would
otherwise never be served.
"""

import contextlib
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.errors import TrainingError
from training.features.point_in_time import TIMESTAMP
from training.spec import FeatureView, ModelSpec
from training.workspace import quieten, write_atomically

if TYPE_CHECKING:
    import pandas as pd

PROJECT = "mlops"
_CONFIG = """\
# Written by training.features.store.
project: mlops
provider: local
registry:
  path: {registry}
  cache_ttl_seconds: 30
offline_store:
  type: dask
online_store:
  type: {kind}
  {place}
entity_key_serialization_version: 3
"""
_OURS = "training.features.aws"


def configuration(environment: Mapping[str, str]) -> str:
    """Return Feast's configuration.

    Raises:
        TrainingError: a bucket is stated without a place for online features, or with two.
    """
    bucket = environment.get("MLOPS_FEATURES_BUCKET")
    table, group = environment.get("MLOPS_FEATURES_TABLE"), environment.get("MLOPS_FEATURES_GROUP")
    if not bucket and not table and not group:
        return _CONFIG.format(registry="registry.db", kind="sqlite", place="path: online.db")
    if not bucket or bool(table) == bool(group):
        raise TrainingError(
            "MLOPS_FEATURES_BUCKET goes together with one of MLOPS_FEATURES_TABLE and MLOPS_FEATURES_GROUP"
        )
    registry = f"s3://{bucket}/registry/registry.db\n  registry_store_type: {_OURS}.BucketRegistryStore"
    if table:
        return _CONFIG.format(registry=registry, kind=f"{_OURS}.TableOnlineStore", place=f"table: {table}")
    return _CONFIG.format(registry=registry, kind=f"{_OURS}.GroupOnlineStore", place=f"group: {group}")


def repository(data: Path) -> Path:
    """Return the folder of the Feast repository of an environment."""
    return data / "feature_store"


def open_store(folder: Path) -> Any:
    """Open the repository in `folder`, made empty where it is missing.

    Returns:
        A feast.FeatureStore.
    """
    quieten()
    import prometheus_client  # noqa: F401 - before Feast, which else has it keep all metrics in files of the process
    from feast import FeatureStore

    config, text = folder / "feature_store.yaml", configuration(os.environ)
    if not config.is_file() or config.read_text(encoding="utf-8") != text:
        write_atomically(config, text.encode())
    return FeatureStore(repo_path=str(folder))


def offline_file(folder: Path, model: str, view: str) -> Path:
    """Return the Parquet file of a view."""
    return folder / "offline" / model / f"{view}.parquet"


def write_offline(folder: Path, model: str, view: FeatureView, rows: "pd.DataFrame") -> Path:
    """Store the rows of a view, checked against what the spec promises.

    Raises:
        TrainingError: a column is missing or surplus, a key or time is missing, or an entity has two rows for a time.
    """
    expected = [view.entity, TIMESTAMP, *view.features]
    if list(rows.columns) != expected:
        raise TrainingError(f"view {view.name}: expected the columns {expected}, got {list(rows.columns)}")
    if rows.empty or rows[[view.entity, TIMESTAMP]].isna().any().any():
        raise TrainingError(f"view {view.name}: needs rows, each with {view.entity} and {TIMESTAMP}")
    twice = rows[rows.duplicated([view.entity, TIMESTAMP])]
    if len(twice):
        first = twice.iloc[0]
        raise TrainingError(
            f"view {view.name}: two rows for {view.entity} {first[view.entity]!r} at {first[TIMESTAMP]}"
        )
    buffer = io.BytesIO()
    rows.to_parquet(buffer, index=False, compression="zstd")
    path = offline_file(folder, model, view.name)
    write_atomically(path, buffer.getvalue())
    if bucket := os.environ.get("MLOPS_FEATURES_BUCKET"):
        _s3().put_object(Bucket=bucket, Key=_object(folder, path), Body=buffer.getvalue())
    return path


def _object(folder: Path, path: Path) -> str:
    """Return the key of an offline file in the bucket."""
    return path.relative_to(folder).as_posix()


def _s3() -> Any:
    from training.features.aws import client

    return client("s3")


def _fetch(bucket: str, folder: Path, path: Path) -> None:
    """Bring an offline file from the bucket into the folder; nothing happens where there is none."""
    from botocore.exceptions import ClientError

    try:
        answer = _s3().get_object(Bucket=bucket, Key=_object(folder, path))
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchKey":
            raise
        return
    write_atomically(path, answer["Body"].read())


def read_offline(folder: Path, spec: ModelSpec) -> "dict[str, pd.DataFrame]":
    """Read the stored rows of all views of a model.

    Raises:
        TrainingError: a view was never materialised.
    """
    import pandas as pd

    views = {}
    for view in spec.online.views if spec.online else ():
        path = offline_file(folder, spec.name, view.name)
        if bucket := os.environ.get("MLOPS_FEATURES_BUCKET"):
            _fetch(bucket, folder, path)
        if not path.is_file():
            raise TrainingError(f"{path}: no such file; materialize the features of {spec.name} first")
        views[view.name] = pd.read_parquet(path)
    return views


def apply(store: Any, folder: Path, spec: ModelSpec) -> None:
    """Tell Feast of the entities, views and service of a model. Applying the same again changes nothing."""
    from feast import Entity, FeatureService, Field, FileSource, ValueType
    from feast import FeatureView as FeastView
    from feast.types import Float64

    if spec.online is None:
        return
    entities = {
        name: Entity(name=name, join_keys=[name], value_type=ValueType.STRING)
        for name in sorted({view.entity for view in spec.online.views})
    }
    views = [
        FeastView(
            name=view.name,
            description=view.description,
            entities=[entities[view.entity]],
            schema=[Field(name=name, dtype=Float64) for name in view.features],
            source=FileSource(
                name=f"{view.name}_file",
                path=str(offline_file(folder, spec.name, view.name)),
                timestamp_field=TIMESTAMP,
            ),
            online=True,
            tags={"model": spec.name},
        )
        for view in spec.online.views
    ]
    service = FeatureService(name=spec.online.service, features=views, tags={"model": spec.name})
    store.apply([*entities.values(), *views, service])


def materialize(store: Any, spec: ModelSpec, views: "Mapping[str, pd.DataFrame]") -> None:
    """Bring the newest row of every entity into the online store."""
    import pandas as pd

    if spec.online is None:
        return
    start = min(view[TIMESTAMP].min() for view in views.values())
    end = max(view[TIMESTAMP].max() for view in views.values())
    # Feast prints a coloured report, for a terminal that is not there.
    with contextlib.redirect_stdout(io.StringIO()):
        store.materialize(
            start_date=(start - pd.Timedelta(seconds=1)).to_pydatetime(),
            end_date=(end + pd.Timedelta(seconds=1)).to_pydatetime(),
            feature_views=[view.name for view in spec.online.views],
        )


def online(store: Any, service: str, entities: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Look features up by entity keys, one list per column, None where nothing is known.

    Args:
        store: the feast.FeatureStore.
        service: the name of the feature service.
        entities: a column of keys per entity, all of the same length.
    """
    rows = [dict(zip(entities, values, strict=True)) for values in zip(*entities.values(), strict=True)]
    answer = store.get_online_features(features=store.get_feature_service(service, allow_cache=True), entity_rows=rows)
    found: dict[str, list[Any]] = answer.to_dict()
    return found


def disagreement(store: Any, spec: ModelSpec, views: "Mapping[str, pd.DataFrame]") -> list[str]:
    """Compare the newest offline row of every entity with what the online store answers.

    Returns:
        What differs, in words; empty where both sides agree.
    """
    differences: list[str] = []
    for view in spec.online.views if spec.online else ():
        newest = views[view.name].sort_values(TIMESTAMP).groupby(view.entity, sort=True).last()
        answer = store.get_online_features(
            features=[f"{view.name}:{name}" for name in view.features],
            entity_rows=[{view.entity: key} for key in newest.index],
        ).to_dict()
        for name in view.features:
            for key, offline, served in zip(newest.index, newest[name], answer[name], strict=True):
                same = served is not None and abs(served - offline) < 1e-12
                if not same and not (served is None and offline != offline):
                    differences.append(f"{view.name}:{name} of {key!r} is {offline} offline and {served} online")
    return differences
