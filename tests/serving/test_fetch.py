import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from serving import fetch
from serving.config import RegistrySettings
from serving.fetch import Cache, FetchError
from serving.runtime.artifact import ArtifactError, content_digest, file_hashes
from serving.state import Release

REGISTRY = RegistrySettings(url="http://registry", username="u", password="p")
Handler = Callable[[httpx.Request], httpx.Response]


def release(folder: Path, source: str) -> Release:
    files = file_hashes(folder)
    return Release("1", content_digest(files), source, files, "shared")


class Registry:
    """MLflow's artifact proxy over a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[str] = []
        self.failures = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Basic dTpw"
        self.requests.append(request.url.path)
        if self.failures:
            self.failures -= 1
            return httpx.Response(503)
        path = request.url.path
        if path == "/api/2.0/mlflow/logged-models/m-0abc":
            return httpx.Response(200, json={"model": {"info": {"artifact_uri": "mlflow-artifacts:/1/models/m-0abc"}}})
        if path == "/api/2.0/mlflow/model-versions/get-download-uri":
            assert dict(request.url.params) == {"name": "flight", "version": "3"}
            return httpx.Response(200, json={"artifact_uri": "models:/m-0abc"})
        prefix = "/api/2.0/mlflow-artifacts/artifacts/1/models/m-0abc/"
        file = self.folder / path.removeprefix(prefix)
        if path.startswith(prefix) and file.is_file():
            return httpx.Response(200, content=file.read_bytes())
        return httpx.Response(404)


@pytest.fixture
def registry(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setattr("serving.fetch.time.sleep", lambda seconds: None)
    return Registry(artifact)


def cache(folder: Path, handler: Handler) -> Cache:
    return Cache(folder / "cache", REGISTRY, transport=httpx.MockTransport(handler))


@pytest.mark.parametrize("source", ["mlflow-artifacts:/1/models/m-0abc", "models:/m-0abc", "models:/flight/3"])
def test_files_come_through_the_artifact_proxy_and_are_kept(
    tmp_path: Path, artifact: Path, registry: Registry, source: str
) -> None:
    wanted = release(artifact, source)
    found = cache(tmp_path, registry).get(wanted)
    assert file_hashes(found) == wanted.files
    before = len(registry.requests)
    assert cache(tmp_path, registry).get(wanted) == found
    assert len(registry.requests) == before


def test_registry_that_restarts_is_asked_again(tmp_path: Path, artifact: Path, registry: Registry) -> None:
    registry.failures = 2
    cache(tmp_path, registry).get(release(artifact, "models:/m-0abc"))


def test_what_differs_from_the_approved_content_is_not_kept(tmp_path: Path, artifact: Path) -> None:
    def tampered(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b"evil")

    with pytest.raises(ArtifactError, match="was changed"):
        cache(tmp_path, tampered).get(release(artifact, "mlflow-artifacts:/x"))
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


def test_damaged_cache_is_fetched_again(tmp_path: Path, artifact: Path, registry: Registry) -> None:
    wanted = release(artifact, "models:/m-0abc")
    found = cache(tmp_path, registry).get(wanted)
    (found / "model.onnx").write_bytes(b"bit rot")
    assert file_hashes(cache(tmp_path, registry).get(wanted)) == wanted.files


def test_missing_file_names_it_and_the_registry(tmp_path: Path, artifact: Path, registry: Registry) -> None:
    with pytest.raises(FetchError, match=r"http://registry/api/.*/nowhere/model.onnx: status 404"):
        cache(tmp_path, registry).get(release(artifact, "mlflow-artifacts:/nowhere"))


def test_registry_that_is_down_is_named(tmp_path: Path, artifact: Path, registry: Registry) -> None:
    def down(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(FetchError, match="http://registry: the registry cannot be reached: refused"):
        cache(tmp_path, down).get(release(artifact, "models:/m-0abc"))


def test_unknown_kind_of_source_is_refused(tmp_path: Path, artifact: Path, registry: Registry) -> None:
    with pytest.raises(FetchError, match="source 's3://bucket/x': expected mlflow-artifacts"):
        cache(tmp_path, registry).get(release(artifact, "s3://bucket/x"))


def test_local_folder_is_copied_and_verified(tmp_path: Path, artifact: Path, registry: Registry) -> None:
    wanted = release(artifact, f"file:{artifact}")
    assert file_hashes(cache(tmp_path, registry).get(wanted)) == wanted.files
    assert registry.requests == []


def test_replicas_that_ask_at_once_download_once(tmp_path: Path, artifact: Path, registry: Registry) -> None:
    wanted = release(artifact, "mlflow-artifacts:/1/models/m-0abc")
    threads = [threading.Thread(target=cache(tmp_path, registry).get, args=(wanted,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(registry.requests) == sorted(set(registry.requests))


def test_models_unused_for_a_week_are_removed_but_not_those_in_use(
    tmp_path: Path, artifact: Path, registry: Registry
) -> None:
    store = cache(tmp_path, registry)
    wanted = release(artifact, "models:/m-0abc")
    found = store.get(wanted)
    later = found.stat().st_mtime + 8 * 24 * 3600
    assert store.prune([wanted.digest], later) == []
    assert store.prune([], found.stat().st_mtime + 3600) == []
    assert store.prune([], later) == [wanted.digest]
    assert not found.exists()


def test_a_model_that_is_taken_into_use_while_it_is_about_to_be_removed_stays(
    tmp_path: Path, artifact: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, lock = cache(tmp_path, registry), fetch._locked
    wanted = release(artifact, f"file:{artifact}")
    found = store.get(wanted)
    os.utime(found, (0, 0))

    def overtaken(path: Path) -> AbstractContextManager[None]:
        monkeypatch.setattr(fetch, "_locked", lock)
        assert cache(tmp_path, registry).get(wanted) == found
        return lock(path)

    monkeypatch.setattr(fetch, "_locked", overtaken)
    assert store.prune([]) == []
    assert file_hashes(found) == wanted.files
