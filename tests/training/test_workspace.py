"""What a job gets from its surroundings and leaves in them."""

import json
from pathlib import Path

import pytest

from training.errors import TrainingError
from training.workspace import commit, data_directory, earlier_result, write_atomically, write_result


def test_result_is_written_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "jobs" / "train" / "result.json"
    monkeypatch.setenv("MLOPS_JOB_RESULT", str(place))
    write_result({"b": 1, "a": [2]})
    assert json.loads(place.read_text()) == {"a": [2], "b": 1}
    assert list(place.parent.iterdir()) == [place]


def test_file_stays_as_it_was_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "result.json"
    place.write_text("old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(place, b"new")
    assert place.read_text() == "old"
    assert list(tmp_path.iterdir()) == [place]


def test_result_that_cannot_be_written_is_an_error_that_names_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLOPS_JOB_RESULT", str(tmp_path / "file" / "result.json"))
    with pytest.raises(TrainingError, match=r"MLOPS_JOB_RESULT: .*result\.json cannot be written"):
        write_result({})


@pytest.mark.parametrize("value", ["", "null", " "])
def test_absent_result_of_an_earlier_job_is_none(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MLOPS_INGEST", value)
    assert earlier_result("MLOPS_INGEST", "ingest") is None


@pytest.mark.parametrize("value", ["{", "[1]", "text"])
def test_malformed_result_of_an_earlier_job_is_an_error(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MLOPS_INGEST", value)
    with pytest.raises(TrainingError, match="MLOPS_INGEST"):
        earlier_result("MLOPS_INGEST", "ingest")


def test_result_of_an_earlier_job_may_be_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "result.json").write_text('{"model": "flight"}\n')
    monkeypatch.setenv("MLOPS_INGEST", f"@{tmp_path}/result.json")
    assert earlier_result("MLOPS_INGEST", "ingest") == {"model": "flight"}

    monkeypatch.setenv("MLOPS_INGEST", f"@{tmp_path}/gone.json")
    with pytest.raises(TrainingError, match=r"MLOPS_INGEST: .*gone.json cannot be read"):
        earlier_result("MLOPS_INGEST", "ingest")


def test_data_folder_must_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLOPS_DATA_DIR", raising=False)
    with pytest.raises(TrainingError, match="MLOPS_DATA_DIR is not set"):
        data_directory()


def test_commit_is_the_given_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_COMMIT", "abc")
    assert commit() == "abc"


def test_commit_is_unknown_where_there_is_no_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLOPS_COMMIT", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    assert commit() == "unknown"
