"""Which model versions are to be served: what control publishes and replicas follow.

The same document is written as a signed snapshot, so that a replica that starts while control is down serves what was
served before. A snapshot without a valid signature is not used at all.
"""

import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from policies.releases.manifest import Signature
from serving.auth import sign
from serving.runtime.artifact import ArtifactError, check_files
from serving.traffic import CANDIDATE, SLOTS, STABLE, Runs, Split

_PURPOSE = "snapshot"
CANDIDATE_PREFIX = "candidate-"
"""What names of candidates' applications begin with."""
SHADOW_SUFFIX = "-shadow"
"""What names of shadows' applications end with: as a candidate the same version is an application of its own."""
ROLES = ("canary", "shadow", "arm")
"""What a candidate can be."""


class StateError(Exception):
    """A state or snapshot is malformed or not signed by control."""


@dataclass(frozen=True, slots=True)
class Release:
    """One version of a model: its number, its digest, where its files are, and their hashes.

    `signature` is the trainer's, over model and digest, and `trained_at` says when it was made; a replica checks it
    against the trust roots of its own configuration before it loads anything (`serving.loading`).
    """

    version: str
    digest: str
    source: str
    files: Mapping[str, str]
    group: str
    signature: Signature | None = None
    trained_at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the published form."""
        return {
            "version": self.version,
            "digest": self.digest,
            "source": self.source,
            "files": dict(self.files),
            "group": self.group,
            "signature": self.signature and self.signature.to_json(),
            "trainedAt": self.trained_at and self.trained_at.isoformat().replace("+00:00", "Z"),
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
        return cls(**values, signature=_signature(data.get("signature")), trained_at=_time(data.get("trainedAt")))


def _signature(data: Any) -> Signature | None:
    if data is None:
        return None
    try:
        return Signature.model_validate(data)
    except ValidationError as error:
        one = error.errors()[0]
        where = ".".join(str(part) for part in ("release.signature", *one["loc"]))
        raise StateError(f"{where}: {one['msg']}") from None


def _time(text: Any) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        time = None
    if time is None or time.tzinfo is None:
        raise StateError(f"release.trainedAt: {text!r}: expected a time with its zone, as in 2026-11-20T09:00:00Z")
    return time


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version that runs as an application of its own beside stable; `name` is the application's."""

    name: str
    role: str
    release: Release

    def to_json(self) -> dict[str, Any]:
        """Return the published form."""
        return {"name": self.name, "role": self.role, **self.release.to_json()}

    @classmethod
    def from_json(cls, data: Any) -> "Candidate":
        """Check and build it.

        Raises:
            StateError: a key is missing or wrong.
        """
        release = Release.from_json(data)
        name, role = data.get("name"), data.get("role")
        if not isinstance(name, str) or not name.startswith(CANDIDATE_PREFIX):
            raise StateError(f"candidate.name: expected a name that starts with {CANDIDATE_PREFIX!r}")
        if role not in ROLES:
            raise StateError(f"candidate.role: expected one of {', '.join(ROLES)}")
        return cls(name, role, release)


@dataclass(frozen=True, slots=True)
class Replay:
    """Rows of the evaluation sample that one replica is to send through both arms."""

    generation: int
    rows: int
    replica: str


@dataclass(frozen=True, slots=True)
class Division:
    """How requests are divided: what `serving.traffic.Split` is built from, by a replica that has the key.

    `rollout` names the experiment, which has a key of its own; None while none runs.
    """

    generation: int = 0
    rollout: str | None = None
    runs: Runs = ((STABLE, SLOTS),)
    shadows: Mapping[str, int] = field(default_factory=dict)
    sticky: bool = False
    replay: Replay | None = None

    @property
    def whole(self) -> bool:
        """Whether stable answers everything and no candidate gets copies; shadows may."""
        return len(self.runs) == 1 and not self.shadows.get(CANDIDATE)

    def to_json(self) -> dict[str, Any]:
        """Return the published form."""
        replay = self.replay
        return {
            "generation": self.generation,
            "rollout": self.rollout,
            "runs": [list(run) for run in self.runs],
            "shadows": dict(self.shadows),
            "sticky": self.sticky,
            "replay": replay and {"generation": replay.generation, "rows": replay.rows, "replica": replay.replica},
        }

    @classmethod
    def from_json(cls, data: Any) -> "Division":
        """Check and build it.

        Raises:
            StateError: it is malformed.
        """
        try:
            replay = data["replay"]
            division = cls(
                generation=int(data["generation"]),
                rollout=data["rollout"],
                runs=tuple((str(arm), int(length)) for arm, length in data["runs"]),
                shadows={str(arm): int(share) for arm, share in data["shadows"].items()},
                sticky=bool(data["sticky"]),
                replay=replay and Replay(int(replay["generation"]), int(replay["rows"]), str(replay["replica"])),
            )
            # What cannot be built is found here, not on the path of a prediction.
            Split(division.runs, shadows=division.shadows, key=bytes(16))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise StateError(f"split: {error}") from None
        return division


@dataclass(frozen=True, slots=True)
class Entry:
    """The versions of one model.

    `stable` is served, `previous` kept warm, `next` loaded beside it to become stable. Apart run `candidates`, which a
    rollout tries, and `shadows`, which only get copies; the split names a shadow's share by its application.
    """

    stable: Release | None = None
    previous: Release | None = None
    next: Release | None = None
    candidates: tuple[Candidate, ...] = ()
    shadows: tuple[Candidate, ...] = ()
    split: Division = Division()

    @property
    def beside(self) -> tuple[Candidate, ...]:
        """All that run as applications of their own."""
        return self.candidates + self.shadows

    @property
    def releases(self) -> tuple[Release, ...]:
        """All versions that are wanted in any role."""
        found = (self.stable, self.previous, self.next, *(one.release for one in self.beside))
        return tuple(release for release in found if release)

    @property
    def group(self) -> str | None:
        """The serving group that answers, or will."""
        return self.releases[0].group if self.releases else None

    def to_json(self) -> dict[str, Any]:
        """Return the published form."""
        roles = {"stable": self.stable, "previous": self.previous, "next": self.next}
        return {
            "group": self.group,
            **{role: release and release.to_json() for role, release in roles.items()},
            "candidates": [candidate.to_json() for candidate in self.candidates],
            "shadows": [shadow.to_json() for shadow in self.shadows],
            "split": self.split.to_json(),
        }

    @classmethod
    def from_json(cls, data: Any) -> "Entry":
        """Check and build it; what an older control did not write is taken as absent.

        Raises:
            StateError: a release is malformed.
        """
        if not isinstance(data, dict):
            raise StateError("expected an object")
        roles = {role: data.get(role) for role in ("stable", "previous", "next")}
        split = data.get("split")
        return cls(
            **{role: release and Release.from_json(release) for role, release in roles.items()},
            candidates=tuple(Candidate.from_json(one) for one in data.get("candidates") or ()),
            shadows=tuple(Candidate.from_json(one) for one in data.get("shadows") or ()),
            split=Division.from_json(split) if split else Division(),
        )


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
