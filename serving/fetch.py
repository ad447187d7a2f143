"""Bring a model's files onto this machine: a cache keyed by digest, filled through MLflow's artifact proxy.

Nothing is loaded that does not have the approved digest, wherever it came from. Several replicas may ask at once: one
downloads, the others wait. MLflow itself is not imported, it takes seconds.
"""

import fcntl
import logging
import os
import re
import shutil
import stat
import time
import urllib.parse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from serving.config import RegistrySettings
from serving.runtime.artifact import ArtifactError, check_files, verify
from serving.state import Release

log = logging.getLogger(__name__)

SAMPLE_FILE = "evaluation_sample.json"
"""What training calls the held-out rows that it leaves beside a version."""

_TRIES = 3
_KEEP_SECONDS = 7 * 24 * 3600.0
_LOGGED_MODEL = re.compile(r"models:/(m-[0-9a-f]+)")
_IN_RUN = re.compile(r"mlflow-artifacts:/+(.+/artifacts)/[^/]+")
"""A model folder in the artifacts of the run that made it, which hold the evaluation sample too."""
_MODEL_VERSION = re.compile(r"models:/([^/@]+)/(\d+)")


class FetchError(Exception):
    """The files of a model cannot be had; the message names model file and registry."""


class Cache:
    """The folder of models on this machine, one sub-folder per digest."""

    def __init__(self, directory: Path, registry: RegistrySettings, *, transport: Any = None) -> None:
        """Make it.

        Args:
            directory: folder of the cache, on one file system.
            registry: the MLflow server.
            transport: an httpx transport, for tests.
        """
        self._directory, self._registry, self._transport = directory, registry, transport

    def get(self, release: Release) -> Path:
        """Return the verified folder of a release, fetched if it is not here yet.

        Raises:
            FetchError: the registry does not give the files.
            ArtifactError: what it gives is not what was approved.
        """
        check_files(release.files, release.digest)
        name = release.digest.removeprefix("sha256:")
        final = self._directory / name
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(self._directory / f".{name}.lock"):
            if final.is_dir():
                try:
                    verify(final, release.digest, release.files)
                except ArtifactError as error:
                    log.warning("a cached model is damaged and fetched again: %s", error)
                    shutil.rmtree(final)
                else:
                    os.utime(final)
                    return final
            hidden = self._directory / f".{name}.tmp"
            shutil.rmtree(hidden, ignore_errors=True)
            try:
                self._download(release, hidden)
                self._check(release, hidden)
                hidden.replace(final)
            finally:
                shutil.rmtree(hidden, ignore_errors=True)
        return final

    def _check(self, release: Release, folder: Path) -> None:
        try:
            verify(folder, release.digest, release.files)
        except ArtifactError as error:
            what = str(error).removeprefix(f"{folder}: ")
            raise ArtifactError(
                f"version {release.version} is not loaded: {release.source} holds something else than was released: "
                f"{what}. Put the released file back into the registry, or train and release another version"
            ) from None

    def sample(self, release: Release) -> bytes:
        """Return the evaluation sample that training left beside a version.

        Raises:
            FetchError: there is none, or the registry does not give it.
        """
        local = _local_folder(release.source)
        if local is not None:
            for folder in (local, local.parent):
                with suppress(FileNotFoundError):
                    return (folder / SAMPLE_FILE).read_bytes()
            raise FetchError(f"{local}: there is no {SAMPLE_FILE} in it or beside it")
        registry = self._registry
        auth = (registry.username, registry.password or "") if registry.username else None
        with httpx.Client(base_url=registry.url, auth=auth, timeout=30, transport=self._transport) as client:
            if found := _IN_RUN.fullmatch(release.source):
                root = found[1]
            else:
                run = self._ask(client, "/api/2.0/mlflow/runs/get", {"run_id": self._run(client, release.source)})
                root = self._root(client, run["run"]["info"]["artifact_uri"])
            address = f"/api/2.0/mlflow-artifacts/artifacts/{urllib.parse.quote(f'{root}/{SAMPLE_FILE}')}"
            content: bytes = self._attempt(lambda: client.get(address), address).content
        return content

    def _run(self, client: httpx.Client, source: str) -> str:
        """Return the id of the run that made a version."""
        if found := _LOGGED_MODEL.fullmatch(source):
            info = self._ask(client, f"/api/2.0/mlflow/logged-models/{found[1]}", {})["model"]["info"]
            run = info.get("source_run_id")
        elif found := _MODEL_VERSION.fullmatch(source):
            query = {"name": found[1], "version": found[2]}
            run = self._ask(client, "/api/2.0/mlflow/model-versions/get", query)["model_version"].get("run_id")
        else:
            run = None
        if not run:
            raise FetchError(f"source {source!r} does not name the run that holds the evaluation sample")
        return str(run)

    def prune(self, keep: Iterable[str], now: float | None = None) -> list[str]:
        """Remove models that nobody has used for a week.

        Args:
            keep: digests that stay in any case.
            now: the time in seconds since the epoch.

        Returns:
            The digests that were removed.
        """
        kept = {digest.removeprefix("sha256:") for digest in keep}
        limit = (time.time() if now is None else now) - _KEEP_SECONDS
        removed = []
        for folder in self._directory.glob("[0-9a-f]*"):
            if folder.name in kept or not _unused(folder, limit):
                continue
            with _locked(self._directory / f".{folder.name}.lock"):
                if not _unused(folder, limit):
                    # While the lock was waited for somebody has taken it into use, or removed it.
                    continue
                shutil.rmtree(folder, ignore_errors=True)
            removed.append(f"sha256:{folder.name}")
        return removed

    def _download(self, release: Release, folder: Path) -> None:
        local = _local_folder(release.source)
        if local is not None:
            for path in release.files:
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    shutil.copyfile(local / path, target)
                except OSError as error:
                    raise FetchError(f"{local / path}: {error}") from error
            return
        registry = self._registry
        auth = (registry.username, registry.password or "") if registry.username else None
        with httpx.Client(base_url=registry.url, auth=auth, timeout=30, transport=self._transport) as client:
            root = self._root(client, release.source)
            for path in release.files:
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                address = f"/api/2.0/mlflow-artifacts/artifacts/{urllib.parse.quote(f'{root}/{path}')}"
                self._save(client, address, target)

    def _root(self, client: httpx.Client, source: str) -> str:
        """Return the folder of the artifact inside the proxy's storage."""
        for _ in range(3):
            parts = urllib.parse.urlsplit(source)
            if parts.scheme == "mlflow-artifacts":
                return parts.path.strip("/")
            if found := _LOGGED_MODEL.fullmatch(source):
                answer = self._ask(client, f"/api/2.0/mlflow/logged-models/{found[1]}", {})
                source = answer["model"]["info"]["artifact_uri"]
            elif found := _MODEL_VERSION.fullmatch(source):
                query = {"name": found[1], "version": found[2]}
                source = self._ask(client, "/api/2.0/mlflow/model-versions/get-download-uri", query)["artifact_uri"]
            else:
                break
        forms = "mlflow-artifacts:/<path>, models:/<id>, models:/<name>/<version> or file:<path>"
        raise FetchError(f"source {source!r}: expected {forms}")

    def _ask(self, client: httpx.Client, path: str, query: dict[str, str]) -> dict[str, Any]:
        response = self._attempt(lambda: client.get(path, params=query), path)
        try:
            document: dict[str, Any] = response.json()
        except ValueError:
            raise FetchError(f"{self._registry.url}{path}: the answer is not JSON") from None
        return document

    def _save(self, client: httpx.Client, address: str, target: Path) -> None:
        def attempt() -> httpx.Response:
            with client.stream("GET", address) as response:
                if response.status_code == httpx.codes.OK:
                    with target.open("wb") as file:
                        for piece in response.iter_bytes(1 << 20):
                            file.write(piece)
                return response

        self._attempt(attempt, address)

    def _attempt(self, call: Any, address: str) -> httpx.Response:
        """Call up to three times; the registry may just be restarting."""
        for number in range(1, _TRIES + 1):
            last = number == _TRIES
            try:
                response: httpx.Response = call()
            except httpx.HTTPError as error:
                if last:
                    raise FetchError(f"{self._registry.url}: the registry cannot be reached: {error}") from error
            else:
                if response.status_code == httpx.codes.OK:
                    return response
                if last or response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    raise FetchError(f"{self._registry.url}{address}: status {response.status_code}")
            time.sleep(0.5 * 2**number)
        raise AssertionError


def _local_folder(source: str) -> Path | None:
    parts = urllib.parse.urlsplit(source)
    return Path(urllib.parse.unquote(parts.path)) if parts.scheme == "file" else None


def _unused(folder: Path, since: float) -> bool:
    try:
        status = folder.stat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_mtime <= since


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that the kernel frees when its holder dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
