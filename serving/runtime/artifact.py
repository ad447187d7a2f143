"""Which files of a model folder are its content, and the digest that names them.

The digest is what a release approves and what a replica verifies before it loads anything. It covers content only:
ids and times that a tracking server adds beside the model would make two equal models look different.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

_CHUNK = 1 << 20
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HASH = re.compile(r"[0-9a-f]{64}")

# MLflow writes these beside the model. Only the top level counts: an MLmodel inside `pyfunc/` says which code runs.
_ADDED_BY_TRACKING = frozenset({"MLmodel", "conda.yaml", "python_env.yaml", "registered_model_meta"})
_ADDED_PREFIXES = ("input_example", "serving_input_example")


class ArtifactError(Exception):
    """The folder is not the artifact it should be; the message names the file."""


def is_content(path: str) -> bool:
    """Say whether the relative POSIX `path` of a model folder counts as content."""
    first = path.split("/", 1)[0]
    added = first in _ADDED_BY_TRACKING or first.startswith((".", *_ADDED_PREFIXES))
    return not added and "/__pycache__/" not in f"/{path}/"


def file_hashes(directory: str | Path) -> dict[str, str]:
    """Hash the content files of a model folder.

    Returns:
        Relative POSIX path → SHA-256 in hex, sorted by path.

    Raises:
        ArtifactError: the folder is missing or empty, or holds a link (it could lead outside of it).
    """
    root = Path(directory)
    if not root.is_dir():
        raise ArtifactError(f"{root}: no such model folder")
    hashes: dict[str, str] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if not is_content(name):
            continue
        if path.is_symlink():
            raise ArtifactError(f"{path}: a link; a model artifact holds plain files only")
        if path.is_file():
            hashes[name] = file_hash(path)
    if not hashes:
        raise ArtifactError(f"{root}: holds no content file (model.onnx or pyfunc/, signature.json, serving.json)")
    return hashes


def file_hash(path: Path) -> str:
    """Return the SHA-256 of one file in hex, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def content_digest(hashes: Mapping[str, str]) -> str:
    """Return `sha256:…` over the canonical JSON (sorted keys, no spaces) of {relative path: SHA-256 in hex}."""
    text = json.dumps(dict(hashes), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def check_files(files: Mapping[str, str], digest: str) -> None:
    """Check a list of files that came from elsewhere before any of it is fetched.

    Raises:
        ArtifactError: a path leaves the folder or is no content, a hash is malformed, or the list has another digest.
    """
    if not _DIGEST.fullmatch(digest):
        raise ArtifactError(f"digest {digest!r}: expected sha256: and 64 lower-case hex digits")
    for path, value in files.items():
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or str(pure) != path or "\\" in path or "\0" in path:
            raise ArtifactError(f"file {path!r}: not a plain relative path")
        if not is_content(path):
            raise ArtifactError(f"file {path!r}: is added by tracking and no content file")
        if not _HASH.fullmatch(value):
            raise ArtifactError(f"file {path!r}: {value!r} is no SHA-256 in hex")
    actual = content_digest(files)
    if actual != digest:
        raise ArtifactError(f"the list of files has digest {actual}, not {digest}")


def verify(directory: str | Path, digest: str, files: Mapping[str, str] | None = None) -> dict[str, str]:
    """Check that a model folder has `digest`.

    Args:
        directory: the model folder.
        digest: the expected `sha256:…`.
        files: the expected hash of each file, where known: then the error can name the file that differs.

    Returns:
        The hashes of the folder's files.

    Raises:
        ArtifactError: with the file that is missing, surplus or changed, or with both digests.
    """
    actual = file_hashes(directory)
    if files is not None:
        for path in sorted(files.keys() | actual.keys()):
            if path not in actual:
                raise ArtifactError(f"{directory}: {path} is missing")
            if path not in files:
                raise ArtifactError(f"{directory}: {path} does not belong to the model")
            if actual[path] != files[path]:
                raise ArtifactError(f"{directory}: {path} was changed (SHA-256 {actual[path]}, expected {files[path]})")
    found = content_digest(actual)
    if found != digest:
        raise ArtifactError(f"{directory}: content has digest {found}, expected {digest} (files: {', '.join(actual)})")
    return actual
