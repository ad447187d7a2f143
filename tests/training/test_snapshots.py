"""Snapshots: the digest is over content, and what is stored does not change unseen."""

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from training import snapshots
from training.snapshots import SnapshotError, digest_of, read, write


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "number": [1.5, np.nan, 0.0],
            "whole": [1, 2, 3],
            "text": ["a", None, "ü"],
            "flag": [True, False, True],
            "at": pd.to_datetime(pd.Series(["2013-01-01", None, "2013-01-03"]), utc=True),
        }
    )


def test_snapshot_reads_back_what_was_written(tmp_path: Path) -> None:
    snapshot = write(tmp_path, "m", {"t": table()})
    assert snapshot.path == tmp_path / "m" / snapshot.digest.removeprefix("sha256:")
    pd.testing.assert_frame_equal(read(tmp_path, "m", snapshot.digest)["t"], table(), check_dtype=False)
    assert dict(snapshot.rows) == {"t": 3}


def test_digest_is_of_content_and_not_of_files(tmp_path: Path) -> None:
    snapshot = write(tmp_path, "m", {"t": table()})
    file = snapshot.path / "t.parquet"
    file.chmod(0o644)
    table().to_parquet(file, compression=None, row_group_size=1)
    assert list(read(tmp_path, "m", snapshot.digest)) == ["t"]


@pytest.mark.parametrize(
    "same",
    [
        lambda t: t.set_index(pd.Index([5, 6, 7])),
        lambda t: t.assign(number=[1.5, np.nan, -0.0]),
        lambda t: t.assign(whole=t["whole"].astype("int32")),
        lambda t: t.assign(text=t["text"].astype("string")),
        lambda t: t.assign(at=t["at"].astype("datetime64[us, UTC]")),
    ],
)
def test_digest_is_the_same_for_the_same_values(same: Any) -> None:
    assert digest_of({"t": same(table())}) == digest_of({"t": table()})


@pytest.mark.parametrize(
    "other",
    [
        lambda t: t.assign(number=[1.5, np.nan, 1e-300]),
        lambda t: t.assign(number=[1.5, 0.0, 0.0]),
        lambda t: t.assign(whole=[1.0, 2.0, 3.0]),
        lambda t: t.assign(text=["aü", None, ""]),
        lambda t: t.assign(flag=[1, 0, 1]),
        lambda t: t.iloc[::-1],
        lambda t: t[["whole", "number", "text", "flag", "at"]],
        lambda t: t.rename(columns={"whole": "part"}),
        lambda t: t.head(2),
    ],
)
def test_digest_is_another_for_other_content(other: Any) -> None:
    assert digest_of({"t": other(table())}) != digest_of({"t": table()})


def test_digest_does_not_depend_on_the_order_of_tables() -> None:
    one, two = table(), table().head(1)
    assert digest_of({"a": one, "b": two}) == digest_of({"b": two, "a": one})
    assert digest_of({"a": one, "b": two}) != digest_of({"a": two, "b": one})


def test_snapshot_is_found_when_the_content_is_there_already(tmp_path: Path) -> None:
    first = write(tmp_path, "m", {"t": table()})
    before = (first.path / "t.parquet").stat().st_mtime_ns
    assert write(tmp_path, "m", {"t": table()}).path == first.path
    assert (first.path / "t.parquet").stat().st_mtime_ns == before


def test_changed_snapshot_is_refused(tmp_path: Path) -> None:
    snapshot = write(tmp_path, "m", {"t": table()})
    file = snapshot.path / "t.parquet"
    assert file.stat().st_mode & 0o222 == 0
    file.chmod(0o644)
    table().assign(whole=[1, 2, 4]).to_parquet(file)
    with pytest.raises(SnapshotError, match="was changed after it was written"):
        read(tmp_path, "m", snapshot.digest)
    with pytest.raises(SnapshotError, match="was changed after it was written"):
        write(tmp_path, "m", {"t": table()})


def test_missing_snapshot_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="no such snapshot"):
        read(tmp_path, "m", "sha256:" + "0" * 64)


def test_digest_that_is_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="expected sha256"):
        read(tmp_path, "m", "../../etc")


def test_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(snapshots, "_sync", full)
    with pytest.raises(SnapshotError, match="the disk is full"):
        write(tmp_path, "m", {"t": table()})
    assert list((tmp_path / "m").iterdir()) == []
