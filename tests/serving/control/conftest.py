"""A controller in this process, whose replica and actuator do what they are told."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.control.app import Control
from serving.control.store import Store
from serving.runtime.artifact import content_digest

ADMIN = {"authorization": "Bearer admin"}


class World:
    """A controller over HTTP, and a replica and an actuator that do what they are told."""

    def __init__(self, folder: Path) -> None:
        self.now, self.sequence = 1e6, 0
        self.store = Store(f"sqlite:///{folder}/c.db", folder / "s", "key", rollout_seconds=100, clock=lambda: self.now)
        self.app = Control(self.store, "admin", "replica").application()
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://c", headers=ADMIN)

    @staticmethod
    def digest(version: str) -> str:
        """Return the digest of what `release` releases as a version."""
        return content_digest({"model.onnx": version.zfill(64)})

    async def release(self, version: str, **strategy: Any) -> None:
        files = {"model.onnx": version.zfill(64)}
        body = {
            "version": version,
            "digest": self.digest(version),
            "source": "file:/x",
            "files": files,
            "group": "shared",
        }
        answer = await self.http.put("/v1/models/m/release", json=body | {"strategy": strategy})
        assert answer.status_code == 202, answer.text

    async def second(self) -> None:
        self.now += 1
        entry = self.store.state.models["m"]
        up = {"status": "ready", "reason": "", "fault": "platform"}
        self.store.applications({one.name: up | {"digest": one.release.digest} for one in entry.candidates})
        entry = self.store.state.models["m"]
        loaded = [one for one in (entry.stable, entry.previous, entry.next) if one]
        status = {
            "serving": entry.stable and {"version": entry.stable.version, "digest": entry.stable.digest},
            "versions": [{"version": one.version, "digest": one.digest, "error": None} for one in loaded],
            "split": entry.split.generation,
        }
        self.sequence += 1
        arms = list(self._replayed())
        batch = {"sequence": self.sequence, "series": [], "dropped": {}, "arms": arms}
        report = {"group": "shared", "generation": 1, "models": {"m": status}, "counters": [batch] if arms else []}
        self.store.report("r1", report)

    def _replayed(self) -> Iterator[dict[str, Any]]:
        """Both arms answer the evaluation sample."""
        entry = self.store.state.models["m"]
        replay = entry.split.replay
        if replay is None:
            return
        for release in (entry.stable, *(one.release for one in entry.candidates)):
            if release is not None:
                counts = {"requests": replay.rows, "latency": {"20": replay.rows}}
                yield {"model": "m", "digest": release.digest, "generation": replay.generation, "counts": counts}

    async def promoted(self, version: str) -> None:
        await self.release(version, kind="all-at-once", bakeMinutes=0)
        for _ in range(5):
            await self.second()
        assert await self.served() == version

    async def model(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.http.get("/v1/models/m")).json()
        return found

    async def served(self) -> str | None:
        return ((await self.model())["served"] or {}).get("version")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A controller without models."""
    world = World(tmp_path)
    yield world
    await world.http.aclose()
    world.store.close()
