import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.runtime import artifact
from serving.runtime.artifact import ArtifactError

Make = Callable[..., Path]


def test_digest_is_over_canonical_json_of_the_file_hashes(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("b")
    (tmp_path / "pyfunc").mkdir()
    (tmp_path / "pyfunc" / "MLmodel").write_text("a")
    hashes = {"b.txt": hashlib.sha256(b"b").hexdigest(), "pyfunc/MLmodel": hashlib.sha256(b"a").hexdigest()}
    assert artifact.file_hashes(tmp_path) == hashes
    text = json.dumps(hashes, sort_keys=True, separators=(",", ":"))
    assert artifact.content_digest(hashes) == "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def test_digest_ignores_what_tracking_adds(make_artifact: Make) -> None:
    folder = make_artifact()
    before = artifact.content_digest(artifact.file_hashes(folder))
    for name in ("MLmodel", "conda.yaml", "python_env.yaml", "registered_model_meta", "input_example.json", ".lock"):
        (folder / name).write_text("a uuid")
    assert artifact.content_digest(artifact.file_hashes(folder)) == before


def test_digest_does_not_depend_on_the_order_of_files() -> None:
    assert artifact.content_digest({"a": "1", "b": "2"}) == artifact.content_digest({"b": "2", "a": "1"})


@pytest.mark.parametrize("change", ["changed", "missing", "surplus"])
def test_verify_names_the_file_that_differs(make_artifact: Make, change: str) -> None:
    folder = make_artifact()
    files = artifact.file_hashes(folder)
    digest = artifact.content_digest(files)
    assert artifact.verify(folder, digest, files) == files
    name = {"changed": "model.onnx", "missing": "signature.json", "surplus": "extra.py"}[change]
    if change == "missing":
        (folder / name).unlink()
    else:
        (folder / name).write_text("other")
    with pytest.raises(ArtifactError, match=name):
        artifact.verify(folder, digest, files)
    with pytest.raises(ArtifactError, match=digest):
        artifact.verify(folder, digest)


def test_links_are_refused(make_artifact: Make) -> None:
    folder = make_artifact()
    (folder / "evil").symlink_to("/etc/passwd")
    with pytest.raises(ArtifactError, match="evil: a link"):
        artifact.file_hashes(folder)


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a//b", "a/../b", "MLmodel", "a\\b"])
def test_file_lists_from_elsewhere_cannot_leave_the_folder(path: str) -> None:
    files = {path: "0" * 64}
    with pytest.raises(ArtifactError, match="file "):
        artifact.check_files(files, artifact.content_digest(files))


def test_file_lists_must_have_the_digest() -> None:
    with pytest.raises(ArtifactError, match="has digest"):
        artifact.check_files({"model.onnx": "0" * 64}, "sha256:" + "1" * 64)
