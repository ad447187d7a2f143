"""Mortgage approval: would this application have been approved? Boston, 1990, see README.md for source and limits.

The protected group (`afam`) and marital status are no features; the evaluation measures how the model treats the group
all the same, since other columns can stand in for it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.spec import Feature, HoldOut, Limits, ModelSpec, ParamValue, SimpleModel, Table, Tables

if TYPE_CHECKING:
    import pandas as pd

_CSV = Path(__file__).parent / "hmda.csv"
_NUMBERS = ["pirat", "hirat", "lvrat", "unemp"]
_GRADES = ["chist", "mhist"]
_FLAGS = ["phist", "selfemp", "insurance", "condomin"]


def _read() -> "pd.DataFrame":
    from training.contracts import read_csv

    # The only words here are yes and no: nothing but an empty field is a missing value.
    return read_csv(_CSV, keep_default_na=False, na_values=[""])


def _schema() -> Any:
    import pandera.pandas as pa

    flag = pa.Check.isin(["no", "yes"])
    return pa.DataFrameSchema(
        {
            "deny": pa.Column(str, flag),
            "pirat": pa.Column(float, pa.Check.in_range(0, 5)),
            "hirat": pa.Column(float, pa.Check.in_range(0, 5)),
            "lvrat": pa.Column(float, pa.Check.in_range(0, 5)),
            "chist": pa.Column(int, pa.Check.isin([1, 2, 3, 4, 5, 6])),
            "mhist": pa.Column(int, pa.Check.isin([1, 2, 3, 4])),
            "phist": pa.Column(str, flag),
            "unemp": pa.Column(float, pa.Check.in_range(0, 100)),
            "selfemp": pa.Column(str, flag),
            "insurance": pa.Column(str, flag),
            "condomin": pa.Column(str, flag),
            "afam": pa.Column(str, flag),
        },
        coerce=True,
        strict="filter",
    )


def _frame(tables: Tables) -> "pd.DataFrame":
    applications = tables["applications"]
    return applications.assign(approved=(applications["deny"] == "no").astype("int64")).drop(columns="deny")


def _transform() -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    return ColumnTransformer(
        [
            ("numbers", StandardScaler(), _NUMBERS),
            ("grades", StandardScaler(), _GRADES),
            ("flags", OneHotEncoder(categories=[["no", "yes"]] * len(_FLAGS), handle_unknown="ignore"), _FLAGS),
        ]
    )


def _pipeline(seed: int, params: Mapping[str, ParamValue]) -> Any:
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.pipeline import Pipeline

    return Pipeline(
        [
            ("transform", _transform()),
            (
                "model",
                GradientBoostingClassifier(
                    n_estimators=params["trees"],
                    max_depth=params["depth"],
                    learning_rate=params["learning_rate"],
                    random_state=seed,
                ),
            ),
        ]
    )


def _baseline(seed: int) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

    return Pipeline(
        [
            ("transform", ColumnTransformer([("ratio", "passthrough", ["pirat"])])),
            ("model", LogisticRegression(random_state=seed)),
        ]
    )


MODEL = ModelSpec(
    name="mortgage-approval",
    description="Probability that a mortgage application is approved (Boston Fed HMDA study, 1990).",
    intended_use="Demonstration of a governed model with a protected group. Not for decisions about people.",
    risk_tier="high",
    tables=(Table("applications", _CSV.name, _read, _schema),),
    features=(
        Feature("pirat", "number", "payments to income ratio", 0, 3),
        # The expense ratio says much about one household and adds little to drift detection beside `pirat`.
        Feature("hirat", "number", "housing expense to income ratio", 0, 3, capture="drop"),
        Feature("lvrat", "number", "loan to value ratio", 0, 2),
        Feature("chist", "integer", "consumer credit history, 1 (no slow payments) to 6", 1, 6, capture="hash"),
        Feature("mhist", "integer", "mortgage credit history, 1 (no late payments) to 4", 1, 4, capture="hash"),
        Feature("phist", "category", "public record of bad credit: no or yes", capture="hash"),
        Feature("unemp", "number", "unemployment rate of the applicant's industry, percent", 0, 25),
        Feature("selfemp", "category", "self-employed: no or yes", capture="hash"),
        Feature("insurance", "category", "denied mortgage insurance: no or yes"),
        Feature("condomin", "category", "condominium: no or yes"),
    ),
    target="approved",
    positive="approved",
    frame=_frame,
    pipeline=_pipeline,
    params={"trees": 60, "depth": 2, "learning_rate": 0.1},
    baseline=SimpleModel("payments ratio", "logistic regression on the payments to income ratio alone", _baseline),
    hold_out=HoldOut("random", share=0.4),
    limits=Limits(
        at_least={"rocAuc": 0.75, "averagePrecision": 0.93},
        at_most={"brier": 0.10},
        gain_over_baseline=0.05,
        fairness={"selectionRatio": 0.80, "truePositiveDifference": 0.10},
        group_rows=100,
        robustness_loss=0.08,
    ),
    protected=("afam",),
    # Never an input; should a client send them nevertheless, they must not reach the disk.
    capture={"afam": "drop", "single": "drop"},
)
