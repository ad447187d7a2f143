"""Which model versions are to be served: what control publishes and replicas follow.

The same document is written as a signed snapshot, so that a replica that starts while control is down serves what was
served before. A snapshot without a valid signature is not used at all.
"""

import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.auth import sign
from serving.runtime.artifact import ArtifactError, check_files

_PURPOSE = "snapshot"


class StateError(Exception):
    """A state or snapshot is malformed or not signed by control."""


@dataclass(frozen=True, slots=True)
class Release:
    """One version of a model: its number, its digest, where its files are, and their hashes."""

    version: str
    digest: str
    source: str
    files: Mapping[str, str]
    group: str

    def to_json(self) -> dict[str, Any]:
        """Return the published form."""
        return {
            "version": self.version,
            "digest": self.digest,
            "source": self.source,
            "files": dict(self.files),
            "group": self.group,
        }

    @classmethod
    def from_json(cls, data: Any) -> "Release":
        """Check and build it.

        Raises:
            StateError: a key is missing or wrong, or the files do not have the digest.
        """
        try:
            values = {key: data[key] for key in ("version", "digest", "source", "files", "group")}
        except (KeyError, TypeError) as error:
            raise StateError(f"release: {error} is missing") from None
        for key in ("version", "digest", "source", "group"):
            if not isinstance(values[key], str) or not values[key]:
                raise StateError(f"release.{key}: expected a non-empty string")
        files = values["files"]
        if not isinstance(files, dict) or not files or not all(isinstance(hash_, str) for hash_ in files.values()):
            raise StateError("release.files: expected {path: SHA-256 in hex}")
        try:
            check_files(files, values["digest"])
        except ArtifactError as error:
            raise StateError(f"release: {error}") from None
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Entry:
    """The versions of one model: `stable` is served, `previous` kept warm, `candidate` loaded to become stable."""

    stable: Release | None = None
    previous: Release | None = None
    candidate: Release | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the published form."""
        roles = {"stable": self.stable, "previous": self.previous, "candidate": self.candidate}
        group = next((release.group for release in (self.stable, self.candidate) if release), None)
        return {"group": group, **{role: release and release.to_json() for role, release in roles.items()}}

    @classmethod
    def from_json(cls, data: Any) -> "Entry":
        """Check and build it.

        Raises:
            StateError: a release is malformed.
        """
        if not isinstance(data, dict):
            raise StateError("expected an object")
        roles = {role: data.get(role) for role in ("stable", "previous", "candidate")}
        return cls(**{role: release and Release.from_json(release) for role, release in roles.items()})


@dataclass(frozen=True, slots=True)
class State:
    """All models of the environment at one generation. Later generations have larger numbers."""

    generation: int = 0
    models: Mapping[str, Entry] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the published form."""
        return {"generation": self.generation, "models": {name: e.to_json() for name, e in self.models.items()}}

    @classmethod
    def from_json(cls, data: Any) -> "State":
        """Check and build it.

        Raises:
            StateError: with the model that is malformed.
        """
        if not isinstance(data, dict) or not isinstance(data.get("generation"), int):
            raise StateError("generation: expected a whole number")
        models = data.get("models")
        if not isinstance(models, dict):
            raise StateError("models: expected an object")
        entries = {}
        for name, entry in models.items():
            try:
                entries[name] = Entry.from_json(entry)
            except StateError as error:
                raise StateError(f"models.{name}: {error}") from None
        return cls(data["generation"], entries)


def write_snapshot(path: Path, key: str, state: State) -> None:
    """Write the signed snapshot; readers see the old or the new one, never a part."""
    text = json.dumps(state.to_json(), sort_keys=True, separators=(",", ":"))
    document = json.dumps({"state": text, "signature": sign(key, _PURPOSE, text.encode())})
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with hidden.open("w", encoding="utf-8") as file:
            file.write(document)
            file.flush()
            os.fsync(file.fileno())
        hidden.replace(path)
    finally:
        hidden.unlink(missing_ok=True)


def read_snapshot(path: Path, key: str) -> State:
    """Read the snapshot.

    Raises:
        StateError: it is missing, malformed, or its signature is wrong.
    """
    try:
        document = json.loads(path.read_bytes())
        text, signature = document["state"], document["signature"]
        expected = sign(key, _PURPOSE, text.encode())
        valid = hmac.compare_digest(expected.encode(), signature.encode())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateError(f"{path}: cannot be read: {error}") from None
    if not valid:
        raise StateError(f"{path}: the signature is wrong; the snapshot is not used")
    return State.from_json(json.loads(text))
