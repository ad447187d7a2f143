"""A small model of our own, as a folder that is not in the project: what a team adds."""

from pathlib import Path

import pytest

MODEL = '''
"""A third model: is a point above the line?"""

from datetime import UTC, datetime

from training.spec import (
    Feature, FeatureView, HoldOut, Limits, ModelSpec, OnlineFeatures, SimpleModel, Table,
)


def _read():
    import numpy as np
    import pandas as pd

    generator = np.random.default_rng(1)
    rows = 600
    x, colour = generator.normal(size=rows), generator.choice(["red", "blue"], rows)
    at = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(np.arange(rows), unit="h")
    noise = generator.normal(scale=0.5, size=rows)
    return pd.DataFrame(
        {"x": x, "colour": colour, "at": at, "above": (x + (colour == "red") + noise > 0.5).astype(int)}
    )


def _schema():
    import pandera.pandas as pa

    columns = {
        "x": pa.Column(float), "colour": pa.Column(str, pa.Check.isin(["red", "blue"])),
        "at": pa.Column("datetime64[ns, UTC]"), "above": pa.Column(int, pa.Check.isin([0, 1])),
    }
    return pa.DataFrameSchema(columns, coerce=True, strict=True)


def _share(tables):
    import pandas as pd

    points = tables["points"].assign(day=tables["points"]["at"].dt.floor("D"))
    share = points.groupby(["colour", "day"])["above"].mean().rename("share_above").reset_index()
    share["event_timestamp"] = share.pop("day") + pd.Timedelta(days=1)
    return share[["colour", "event_timestamp", "share_above"]]


def _pipeline(seed, params):
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    transform = ColumnTransformer([
        ("numbers", SimpleImputer(strategy="median"), ["x", "share_above"]),
        ("colour", OneHotEncoder(handle_unknown="ignore"), ["colour"]),
    ])
    forest = RandomForestClassifier(n_estimators=params["trees"], max_depth=4, random_state=seed)
    return Pipeline([("transform", transform), ("model", forest)])


def _baseline(seed):
    from sklearn.dummy import DummyClassifier

    return DummyClassifier()


MODEL = ModelSpec(
    name="third-model",
    description="Is a point above the line?",
    intended_use="tests",
    risk_tier="low",
    tables=(Table("points", "made up", _read, _schema),),
    features=(
        Feature("x", "number", "a coordinate", -4, 4),
        Feature("share_above", "number", "yesterday's share by colour", 0, 1),
        Feature("colour", "category", "red or blue", capture="hash"),
    ),
    target="above",
    positive="above the line",
    frame=lambda tables: tables["points"],
    pipeline=_pipeline,
    params={"trees": 10},
    baseline=SimpleModel("dummy", "the share of the training rows", _baseline),
    hold_out=HoldOut("time", start=datetime(2026, 1, 20, tzinfo=UTC)),
    limits=Limits(at_least={"rocAuc": 0.8}, gain_over_baseline=0.2, robustness_loss=0.2),
    time="at",
    online=OnlineFeatures(
        service="third_model",
        views=(FeatureView("shares", "colour", ("share_above",), "share above by colour", _share),),
    ),
)
'''


@pytest.fixture
def third_model(tmp_path: Path) -> Path:
    """The folder of a model that the project does not know."""
    folder = tmp_path / "third-model"
    folder.mkdir()
    (folder / "model.py").write_text(MODEL)
    return folder
