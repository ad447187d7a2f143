"""The door: bad data is refused with an error that a person can act on."""

from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa
import pytest

from training.contracts import DataContractError, read_csv, validate

SCHEMA = pa.DataFrameSchema(
    {
        "ratio": pa.Column(float, pa.Check.in_range(0, 3)),
        "grade": pa.Column(int, pa.Check.ge(1)),
        "flag": pa.Column(str, pa.Check.isin(["no", "yes"])),
        "rate": pa.Column(float, nullable=True),
        "at": pa.Column("datetime64[ns, UTC]"),
    },
    coerce=True,
    strict="filter",
)
GOOD: dict[str, list[Any]] = {
    "ratio": [0.5, 1.0, 2.0, 3.0],
    "grade": [1, 2, 3, 4],
    "flag": ["no", "yes", "no", "yes"],
    "rate": [0.1, None, 0.3, 0.4],
    "at": ["2013-01-01T00:00:00Z"] * 4,
    "surplus": [1, 2, 3, 4],
}


def table(**changes: list[Any] | None) -> pd.DataFrame:
    return pd.DataFrame({name: values for name, values in {**GOOD, **changes}.items() if values is not None})


def check(frame: pd.DataFrame) -> pd.DataFrame:
    return validate(frame, SCHEMA, "loans", "loans.csv")


def test_good_data_gets_the_contracts_types_and_columns() -> None:
    checked = check(table(grade=["1", "2", "3", "4"]))
    assert list(checked.columns) == ["ratio", "grade", "flag", "rate", "at"]
    assert checked["grade"].tolist() == [1, 2, 3, 4]
    assert str(checked["at"].dtype) == "datetime64[ns, UTC]"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"flag": None}, ["column 'flag' is missing", "the table has 'ratio', 'grade'"]),
        ({"ratio": [0.5, "much", 1.0, 2.0]}, ["'ratio' must be a number", "1 of 4 rows", "'much' (row 1)"]),
        ({"grade": [1.5, 2.0, 3.0, 4.0]}, ["'grade' must be a whole number", "1 of 4 rows", "1.5 (row 0)"]),
        ({"grade": [1, None, 3, 4]}, ["'grade' must be a whole number", "(row 1)"]),
        ({"ratio": [0.5, 9.0, -1.0, 1.0]}, ["'ratio' must be from 0 to 3", "2 of 4 rows", "9.0 (row 1), -1.0 (row 2)"]),
        ({"flag": ["no", "maybe", "maybe", "yes"]}, ["'flag' must be one of 'no', 'yes'", "2 of 4", "'maybe' (row 1)"]),
        ({"flag": ["no", None, "no", "yes"]}, ["'flag' must be there in every row", "1 of 4 rows"]),
        ({"at": ["soon"] * 4}, ["'at' must be a time", "4 of 4 rows", "'soon' (row 0)"]),
    ],
)
def test_bad_data_is_refused_with_column_rule_counts_and_samples(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(DataContractError) as error:
        check(table(**changes))
    text = str(error.value)
    assert "table loans from loans.csv" in text
    for word in words:
        assert word in text
    assert "Traceback" not in text


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(DataContractError) as error:
        check(table(flag=None, ratio=[9.0] * 4, grade=[0] * 4))
    assert all(f"'{name}'" in str(error.value) for name in ("flag", "ratio", "grade"))


def test_a_fault_shows_few_values_of_many() -> None:
    with pytest.raises(DataContractError) as error:
        check(table(ratio=[4.0, 5.0, 6.0, 7.0]))
    assert "6.0 (row 2)" in str(error.value)
    assert "7.0" not in str(error.value)


def test_table_without_rows_is_refused() -> None:
    with pytest.raises(DataContractError, match="holds no rows"):
        check(table().head(0))


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such file"), ("", "the file is empty"), ('a,b\n1,2\n"3,4\n5,6,7\n', "not a CSV file")],
)
def test_unreadable_file_is_refused_by_name(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "loans.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataContractError, match=words) as error:
        read_csv(path)
    assert str(path) in str(error.value)


def test_file_with_a_header_only_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "loans.csv"
    path.write_text("ratio,grade,flag,rate,at\n")
    with pytest.raises(DataContractError, match="holds no rows"):
        check(read_csv(path))
