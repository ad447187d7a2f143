"""A third model, added the way a user adds one: this folder, and one entry in a stack."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from training.spec import Feature, HoldOut, Limits, ModelSpec, ParamValue, SimpleModel, Table, Tables

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = {"mean radius": "radius", "mean texture": "texture", "mean smoothness": "smoothness"}


def _read() -> "pd.DataFrame":
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer(as_frame=True)
    frame: pd.DataFrame = data.frame[[*_COLUMNS, "target"]].rename(columns=_COLUMNS)
    return frame.astype({"target": "int64"})


def _schema() -> Any:
    import pandera.pandas as pa

    numbers = {name: pa.Column(float, pa.Check.in_range(0, 100)) for name in _COLUMNS.values()}
    return pa.DataFrameSchema({**numbers, "target": pa.Column(int, pa.Check.isin([0, 1]))})


def _frame(tables: Tables) -> "pd.DataFrame":
    return tables["samples"]


def _pipeline(seed: int, params: Mapping[str, ParamValue]) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    return Pipeline([("scale", StandardScaler()), ("model", LogisticRegression(C=params["c"], random_state=seed))])


def _baseline(seed: int) -> Any:
    from sklearn.dummy import DummyClassifier

    return DummyClassifier(strategy="prior", random_state=seed)


MODEL = ModelSpec(
    name="tumour-kind",
    description="Whether a sample is benign, from three measurements (scikit-learn's breast cancer data).",
    intended_use="A test of how models are added.",
    risk_tier="low",
    tables=(Table("samples", "scikit-learn", _read, _schema),),
    features=(
        Feature("radius", "number", "mean radius", 5, 30),
        Feature("texture", "number", "mean texture", 5, 45),
        Feature("smoothness", "number", "mean smoothness", 0.04, 0.2),
    ),
    target="target",
    positive="benign",
    frame=_frame,
    pipeline=_pipeline,
    params={"c": 1.0},
    baseline=SimpleModel("prior", "the share of each class", _baseline),
    hold_out=HoldOut("random", share=0.3),
    limits=Limits(at_least={"rocAuc": 0.9}, gain_over_baseline=0.2, robustness_loss=0.5),
)
