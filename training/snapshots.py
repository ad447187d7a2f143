"""Immutable snapshots of raw data: `snapshots/<model>/<digest>/<table>.parquet`.

The digest is over the content (columns, types, values, order), not over the bytes of the files: another Parquet writer
or compression gives the same digest, another value another one. A snapshot is written beside its place and renamed into
it, so that it is there completely or not at all.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.errors import TrainingError

if TYPE_CHECKING:
    import pandas as pd


class SnapshotError(TrainingError):
    """A snapshot cannot be written, is missing, or was changed."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot on disk. `rows` is by table."""

    digest: str
    path: Path
    rows: Mapping[str, int]


def digest_of(tables: "Mapping[str, pd.DataFrame]") -> str:
    """Return `sha256:…` over the content of the tables. The index is not content."""
    summary = {name: _table_digest(tables[name]) for name in sorted(tables)}
    text = json.dumps(summary, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _table_digest(frame: "pd.DataFrame") -> list[Any]:
    return [len(frame), [[str(name), *_column_digest(frame[name])] for name in frame.columns]]


def _column_digest(column: "pd.Series[Any]") -> tuple[str, str]:
    """Return the logical type of a column and the hash of which values are there and what they are."""
    import numpy as np
    import pandas as pd

    present = column.notna().to_numpy()
    digest = hashlib.sha256(np.packbits(present).tobytes())
    if isinstance(column.dtype, pd.DatetimeTZDtype) or column.dtype.kind == "M":
        kind = "time"
        moments = pd.to_datetime(column, utc=True).astype("datetime64[ns, UTC]").astype("int64").to_numpy()
        digest.update(np.where(present, moments, 0).astype("<i8").tobytes())
    elif pd.api.types.is_bool_dtype(column.dtype):
        kind = "bool"
        digest.update(column.fillna(value=False).to_numpy(dtype=bool).tobytes())
    elif pd.api.types.is_integer_dtype(column.dtype):
        kind = "integer"
        digest.update(column.fillna(0).to_numpy(dtype="<i8").tobytes())
    elif pd.api.types.is_float_dtype(column.dtype):
        kind = "number"
        # Adding zero turns -0.0, which compares equal to 0.0, into it.
        digest.update((column.fillna(0.0).to_numpy(dtype="<f8") + 0.0).tobytes())
    else:
        kind = "text"
        encoded = [str(value).encode() for value in column[present]]
        digest.update(np.array([len(value) for value in encoded], dtype="<i8").tobytes())
        digest.update(b"".join(encoded))
    return kind, digest.hexdigest()


def write(root: Path, model: str, tables: "Mapping[str, pd.DataFrame]") -> Snapshot:
    """Write a snapshot, or find the one that has the same content.

    Args:
        root: the folder of all snapshots.
        model: the model the data is of.
        tables: the validated tables.

    Raises:
        SnapshotError: the disk is full or the folder not writable (then nothing is left there), or a snapshot of that
            digest is there but was changed.
    """
    digest = digest_of(tables)
    rows = {name: len(frame) for name, frame in tables.items()}
    path = _place(root, model, digest)
    if path.is_dir():
        read(root, model, digest)
        return Snapshot(digest, path, rows)
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=path.parent))
        try:
            for name, frame in tables.items():
                file = partial / f"{name}.parquet"
                frame.reset_index(drop=True).to_parquet(file, index=False, compression="zstd")
                _sync(file)
                file.chmod(0o444)
            partial.chmod(0o755)
            _sync(partial)
            try:
                partial.rename(path)
            except OSError as error:
                # Another job wrote the same content meanwhile: its snapshot is as good as this one.
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            _sync(path.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return Snapshot(digest, path, rows)


def read(root: Path, model: str, digest: str) -> "dict[str, pd.DataFrame]":
    """Read a snapshot and check that its content still has the digest.

    Raises:
        SnapshotError: it is missing, unreadable or was changed.
    """
    import pandas as pd

    path = _place(root, model, digest)
    if not path.is_dir():
        raise SnapshotError(f"{path}: no such snapshot; ingest the data of {model} again")
    try:
        tables = {file.stem: pd.read_parquet(file) for file in sorted(path.glob("*.parquet"))}
    except (OSError, ValueError) as error:
        raise SnapshotError(f"{path}: cannot be read ({error}); remove the folder and ingest again") from error
    found = digest_of(tables)
    if found != digest:
        raise SnapshotError(
            f"{path}: was changed after it was written (content is {found}); remove the folder and ingest again"
        )
    return tables


def _place(root: Path, model: str, digest: str) -> Path:
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise SnapshotError(f"digest {digest!r}: expected sha256: and 64 hex digits")
    return root / model / digest.removeprefix("sha256:")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise SnapshotError(f"{path}: the disk is full; nothing was kept. Free space and run again") from error
        raise SnapshotError(f"{path}: cannot be written: {error.strerror or error}") from error
