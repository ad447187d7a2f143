import json
from pathlib import Path
from typing import Any

import pytest

from serving.config import ConfigError, read


def document(**changes: Any) -> dict[str, Any]:
    return {
        "ray": {"address": "127.0.0.1:6379", "token": "ray-secret"},
        "control": {"url": "http://127.0.0.1:8090", "token": "replica-secret"},
        "registry": {"url": "http://127.0.0.1:5000", "username": "u", "password": "registry-secret"},
        "inferenceToken": "call-secret",
        "snapshot": "/x/snapshot.json",
        "snapshotKey": "snapshot-secret-key",
        "modelCache": "/x/models",
        "groups": [{"name": "shared", "route": "/v2", "replicas": {"min": 1, "max": 2, "targetOngoing": 8}}],
        "capture": {"directory": "/x/captures", "rotateSeconds": 5},
    } | changes


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "serving.json"
    path.write_text(json.dumps(document(**changes)))
    return path


def test_file_is_read_with_its_defaults(tmp_path: Path) -> None:
    settings = read(written(tmp_path))
    assert settings.groups[0].replicas.target_ongoing == 8
    assert settings.capture is not None
    assert settings.capture.rotate_seconds == 5
    assert settings.limits.max_rows == 10_000
    assert settings.groups[0].own_model is None


def test_own_group_knows_its_model(tmp_path: Path) -> None:
    own = {"name": "flight", "route": "/v2/models/flight"}
    assert read(written(tmp_path, groups=[own])).group("flight").own_model == "flight"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": 1}, "colour: Extra inputs are not permitted"),
        ({"limits": {"maxRow": 1}}, r"limits\.maxRow: Extra inputs"),
        ({"limits": {"maxRows": 0}}, r"limits\.maxRows: Input should be greater than or equal to 1"),
        ({"groups": []}, "groups: "),
        ({"groups": [{"name": "a", "route": "/x"}]}, r"groups\.0\.route"),
        ({"groups": [{"name": "a", "route": "/v2", "replicas": {"min": 2, "max": 1}}]}, "'a': replicas.max is less"),
        ({"groups": [{"name": n, "route": "/v2"} for n in "ab"]}, "the route '/v2' is used twice"),
        ({"snapshotKey": "short"}, "snapshotKey: "),
    ],
)
def test_wrong_settings_name_file_and_key(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(ConfigError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_no_secret_is_in_errors_or_in_the_shown_form(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(written(tmp_path, inferenceToken=["call-secret"]))
    assert "call-secret" not in str(caught.value)
    assert "-secret" not in repr(read(written(tmp_path)))


def test_fingerprint_changes_with_what_replicas_use_and_only_then(tmp_path: Path) -> None:
    first = read(written(tmp_path)).fingerprint()
    assert read(written(tmp_path)).fingerprint() == first
    assert read(written(tmp_path, groups=[{"name": "a", "route": "/v2"}])).fingerprint() == first
    assert read(written(tmp_path, inferenceToken="other")).fingerprint() != first
    assert read(written(tmp_path, limits={"maxRows": 5})).fingerprint() != first


def test_secret_is_read_from_the_file_that_stands_for_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-a-file\n")
    control = {"url": "http://127.0.0.1:8090", "token": {"secretFile": str(tmp_path / "token")}}

    assert read(written(tmp_path, control=control)).control.token == "from-a-file"


def test_secret_that_is_not_mounted_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, snapshotKey={"secretFile": str(tmp_path / "absent")})

    with pytest.raises(ConfigError, match=r"serving\.json: .*absent"):
        read(path)
