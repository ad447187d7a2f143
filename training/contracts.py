"""The door: raw tables are checked against their pandera schema before anything is kept or trained on.

pandera finds what is wrong; this module says it to people: which column, which rule, how many rows, and some of the
values, for all faults of a table at once.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.errors import TrainingError

if TYPE_CHECKING:
    import pandas as pd

_SAMPLES = 3
_TYPES = {"float": "a number", "int": "a whole number", "bool": "true or false", "datetime": "a time", "str": "text"}


class DataContractError(TrainingError):
    """The data does not keep its contract; nothing was stored."""


def read_csv(path: str | Path, **options: Any) -> "pd.DataFrame":
    """Read a CSV file as text and numbers, without guessing that a word like NA is a missing category.

    Raises:
        DataContractError: the file is missing, empty or no CSV.
    """
    import pandas as pd

    try:
        frame: pd.DataFrame = pd.read_csv(path, **options)
    except FileNotFoundError:
        raise DataContractError(f"{path}: no such file") from None
    except pd.errors.EmptyDataError:
        raise DataContractError(f"{path}: the file is empty; expected a header line and rows") from None
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise DataContractError(f"{path}: not a CSV file that can be read: {str(error).strip()}") from error
    return frame


def validate(frame: "pd.DataFrame", schema: Any, table: str, source: str) -> "pd.DataFrame":
    """Check a raw table and return it with the schema's types and columns.

    Args:
        frame: the table as read.
        schema: its pandera DataFrameSchema.
        table: the table's name, for errors.
        source: where it came from, for errors.

    Raises:
        DataContractError: naming every column and rule that is broken, with counts and sample values.
    """
    import pandera.errors

    where = f"table {table} from {source}"
    if frame.empty:
        raise DataContractError(f"{where}: holds no rows; expected at least one")
    faults = _fractions(frame, schema)
    try:
        checked: pd.DataFrame = schema.validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        faults += _faults(errors.failure_cases, frame)
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise DataContractError(f"{where}: the data does not keep its contract; nothing was stored\n{listed}")
    return checked


def _fractions(frame: "pd.DataFrame", schema: Any) -> list[str]:
    """Find fractions in columns of whole numbers: a conversion would cut them off without a word."""
    faults = []
    for name, column in schema.columns.items():
        if name in frame.columns and frame[name].dtype.kind == "f" and str(column.dtype).startswith("int"):
            values = frame[name].dropna()
            cases = values[values % 1 != 0]
            if len(cases):
                faults.append(_fault(name, "a whole number", cases.index.tolist(), cases.tolist(), frame))
    return faults


def _faults(cases: "pd.DataFrame", frame: "pd.DataFrame") -> list[str]:
    cases = cases.assign(column=cases["column"].astype(object), check=cases["check"].astype(str))
    absent = cases["check"] == "column_in_dataframe"
    there = ", ".join(map(repr, frame.columns))
    missing = sorted(set(cases.loc[absent, "failure_case"].astype(str)))
    faults = [f"column {name!r} is missing; the table has {there}" for name in missing]
    rest = cases[~absent]
    mistyped = {str(row.column) for row in rest.itertuples() if _type_rule(str(row.check)) is not None}
    coerced = {str(row.column) for row in rest.itertuples() if str(row.check).startswith("coerce_dtype")}
    for (column, rule), group in rest.groupby(["column", "check"], sort=True, dropna=False):
        expected = _type_rule(str(rule))
        # A value of the wrong type breaks every other rule too; saying so once is enough.
        if (expected is None and str(column) in mistyped) or (str(rule).startswith("dtype") and str(column) in coerced):
            continue
        rows, values = group["index"].tolist(), group["failure_case"].tolist()
        faults.append(_fault(str(column), expected or _rule(str(rule)), rows, values, frame))
    return faults


def _fault(column: str, rule: str, rows: list[Any], values: list[Any], frame: "pd.DataFrame") -> str:
    if column not in frame.columns:
        return f"table: {rule}"
    where = {row: value for row, value in zip(rows, values, strict=True) if isinstance(row, int | float) and row >= 0}
    if not where:
        return f"column {column!r} must be {rule}; it holds {frame[column].dtype}"
    samples: dict[str, str] = {}
    for row, value in where.items():
        if len(samples) < _SAMPLES:
            samples.setdefault(repr(value), f"{value!r} (row {int(row)})")
    count = f"{len(where)} of {len(frame)} rows are not"
    return f"column {column!r} must be {rule}; {count}, for example {', '.join(samples.values())}"


def _type_rule(check: str) -> str | None:
    match = re.match(r"(?:coerce_)?dtype\('?([a-zA-Z_]+)", check)
    if not match:
        return None
    kind = match.group(1).lower()
    return next((words for start, words in _TYPES.items() if kind.startswith(start)), kind)


def _rule(check: str) -> str:
    """Say a pandera check in words. A check with an `error` text of its own is shown as that."""
    if check == "not_nullable":
        return "there in every row"
    if check in ("field_uniqueness", "multiple_fields_uniqueness"):
        return "different in every row"
    for pattern, words in _WORDS:
        match = re.fullmatch(pattern, check)
        if match:
            return words(*match.groups())
    return check


_WORDS: list[tuple[str, Callable[..., str]]] = [
    (r"isin\(\[(.*)\]\)", lambda values: f"one of {values}"),
    (r"in_range\((.*), (.*)\)", lambda low, high: f"from {low} to {high}"),
    (r"greater_than_or_equal_to\((.*)\)", lambda low: f"at least {low}"),
    (r"greater_than\((.*)\)", lambda low: f"more than {low}"),
    (r"less_than_or_equal_to\((.*)\)", lambda high: f"at most {high}"),
    (r"less_than\((.*)\)", lambda high: f"less than {high}"),
    (r"str_matches\((.*)\)", lambda pattern: f"text like {pattern}"),
]
