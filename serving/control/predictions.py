"""Captured predictions, read to be compared with labels: which rows of a file are about which label."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from serving.control.captures import Captures
from serving.control.labels import Pending
from serving.protocol.feedback import is_wrong

_UNKNOWN = -1
"""The split of predictions that do not say it."""


@dataclass(frozen=True, slots=True)
class Match:
    """A label and the prediction that it is about."""

    label: Pending
    version: str
    digest: str
    split: int
    wrong: bool


def request_ids(captures: Captures, path: str) -> list[str]:
    """Return the requests that a file holds; none where it is gone or damaged. Raises as `Captures.read`."""
    return captures.read(path, lambda file: _column(file, "request_id").unique().to_pylist())


def match(captures: Captures, path: str, labels: Iterable[Pending]) -> list[Match]:
    """Compare a file's predictions with labels; those that were compared with a version before are passed over.

    Raises as `Captures.read`.
    """
    wanted: dict[str, dict[int, Pending]] = {}
    for label in labels:
        wanted.setdefault(label.id, {})[label.row] = label
    if not wanted:
        return []
    ids = pa.array(list(wanted), pa.string())
    outputs = {f"output.{label.output}" for rows in wanted.values() for label in rows.values()}
    found: dict[tuple[str, int, str], Match] = {}
    for one in captures.read(path, lambda file: _rows(file, ids, outputs)):
        about = wanted[one["request_id"]].get(one["row"])
        if about is None or one["digest"] in about.joined or f"output.{about.output}" not in one:
            continue
        wrong = is_wrong(one[f"output.{about.output}"], about.value, about.tolerance)
        # A caller may use an id twice: the first prediction of a version is what the label is about.
        found.setdefault(
            (about.id, about.row, one["digest"]),
            Match(about, one["version"], one["digest"], one.get("split", _UNKNOWN), wrong),
        )
    return list(found.values())


def joined(matches: Iterable[Match]) -> Mapping[tuple[str, int], tuple[str, ...]]:
    """Return the digests that each matched label was compared with, those before included."""
    digests: dict[tuple[str, int], tuple[str, ...]] = {}
    for one in matches:
        key = (one.label.id, one.label.row)
        digests[key] = (*digests.get(key, one.label.joined), one.digest)
    return digests


def _rows(file: pq.ParquetFile, ids: pa.Array, outputs: set[str]) -> list[dict[str, Any]]:
    """Return what a file says of these requests, with the outputs that it has."""
    hits = pc.is_in(_column(file, "request_id"), value_set=ids)
    if not pc.any(hits).as_py():
        return []
    columns = ["request_id", "row", "version", "digest", *(({"split"} | outputs) & set(file.schema_arrow.names))]
    found: list[dict[str, Any]] = file.read(columns=columns, use_threads=False).filter(hits).to_pylist()
    return found


def _column(file: pq.ParquetFile, name: str) -> pa.ChunkedArray:
    return file.read(columns=[name], use_threads=False).column(name)
