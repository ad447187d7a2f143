import json
from pathlib import Path
from typing import Any

import pytest

from serving.runtime.artifact import content_digest
from serving.state import Entry, Release, State, StateError, read_snapshot, write_snapshot

FILES = {"model.onnx": "0" * 64}
DIGEST = content_digest(FILES)


def release(version: str = "1") -> Release:
    return Release(version, DIGEST, "file:/x", FILES, "shared")


STATE = State(4, {"m": Entry(release("2"), release("1"), None), "n": Entry(None, None, release("7"))})


def test_state_survives_its_json_form() -> None:
    assert State.from_json(json.loads(json.dumps(STATE.to_json()))) == STATE
    assert STATE.to_json()["models"]["m"]["group"] == "shared"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 1}, r"models\.m: release\.version: expected a non-empty string"),
        ({"digest": "sha256:" + "1" * 64}, "the list of files has digest"),
        ({"files": {}}, r"release\.files: expected"),
        ({"files": {"../x": "0" * 64}}, "not a plain relative path"),
    ],
)
def test_malformed_release_is_refused_with_the_model(change: dict[str, Any], message: str) -> None:
    data = {"generation": 1, "models": {"m": {"stable": release().to_json() | change}}}
    with pytest.raises(StateError, match=message):
        State.from_json(data)


@pytest.mark.parametrize(
    "data", [None, {}, {"generation": "1"}, {"generation": 1}, {"generation": 1, "models": {"m": 1}}]
)
def test_malformed_state_is_refused(data: Any) -> None:
    with pytest.raises(StateError):
        State.from_json(data)


def test_snapshot_is_read_with_the_key_it_was_signed_with(tmp_path: Path) -> None:
    path = tmp_path / "new" / "snapshot.json"
    write_snapshot(path, "key", STATE)
    assert read_snapshot(path, "key") == STATE
    with pytest.raises(StateError, match="signature is wrong"):
        read_snapshot(path, "other")
    assert [file.name for file in path.parent.iterdir()] == ["snapshot.json"]


def test_changed_snapshot_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.json"
    write_snapshot(path, "key", STATE)
    path.write_text(path.read_text().replace("file:/x", "file:/y"))
    with pytest.raises(StateError, match="signature is wrong"):
        read_snapshot(path, "key")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"state": 1, "signature": "x"}', '{"state": "{}"}'])
def test_damaged_snapshot_is_not_used(tmp_path: Path, content: str) -> None:
    path = tmp_path / "snapshot.json"
    path.write_text(content)
    with pytest.raises(StateError, match="cannot be read"):
        read_snapshot(path, "key")
