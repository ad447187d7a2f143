from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.control.store import RefusedError, Store
from serving.counters import BUCKETS
from serving.runtime.artifact import content_digest
from serving.state import Release, State, read_snapshot

ALL_AT_ONCE = {"kind": "all-at-once"}


def release(version: str, group: str = "shared") -> Release:
    files = {"model.onnx": version.zfill(64)}
    return Release(version, content_digest(files), f"file:/{version}", files, group)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class World:
    """A store, and replicas that load whatever they are told."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, Clock()
        self.store = self.open()

    def open(self) -> Store:
        database = f"sqlite:///{self.folder / 'control.db'}"
        return Store(database, self.folder / "snapshot.json", "key", rollout_seconds=100, clock=self.clock)

    def restart(self) -> None:
        self.store.close()
        self.store = self.open()

    def report(self, replica: str = "r1", group: str = "shared", error: str | None = None, counters: Any = ()) -> int:
        """Report everything that the state asks for as loaded, or the candidates as broken."""
        models = {}
        for name, entry in self.store.state.models.items():
            versions = []
            for role in (entry.stable, entry.next):
                if role is not None and role.group == group:
                    fails = error if role is entry.next else None
                    versions.append({"version": role.version, "digest": role.digest, "error": fails})
            stable = entry.stable
            serving = stable and {"version": stable.version, "digest": stable.digest}
            models[name] = {"serving": serving, "versions": versions, "split": entry.split.generation}
        body = {"group": group, "generation": 1, "models": models, "counters": list(counters)}
        return self.store.report(replica, body)

    def promote(self, version: str, **options: Any) -> None:
        self.store.release("m", release(version, **options), ALL_AT_ONCE)
        group = options.get("group", "shared")
        self.report(group=group)
        self.report(group=group)

    def model(self) -> dict[str, Any]:
        found = self.store.model("m")
        assert found is not None
        return found

    def served(self) -> str | None:
        found = self.model()["served"]
        return str(found["version"]) if found else None

    def snapshot(self) -> State:
        return read_snapshot(self.folder / "snapshot.json", "key")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.store.close()


def test_release_is_loaded_first_then_switched_then_promoted(world: World) -> None:
    started = world.store.release("m", release("1"), ALL_AT_ONCE)
    assert started["state"] == "starting"
    assert world.store.state.models["m"].next == release("1")
    assert world.served() is None
    world.report()
    assert world.served() == "1"
    assert world.model()["rollout"]["state"] in ("starting", "step")
    world.report()
    rollout = world.model()["rollout"]
    assert rollout["state"] == "promoted"
    assert [message["text"] for message in rollout["messages"]] == [
        "m 1: starting: deploying m 1",
        "m 1: promoting: every replica has loaded it",
        "m 1: baking: every replica serves the candidate",
        "m 1: promoted: baked",
    ]
    assert [message["seq"] for message in rollout["messages"]] == [1, 2, 3, 4]


def test_previous_version_is_kept_for_a_way_back(world: World) -> None:
    world.promote("1")
    world.promote("2")
    assert world.served() == "2"
    assert world.store.state.models["m"].previous == release("1")


def test_version_that_cannot_be_loaded_never_serves(world: World) -> None:
    world.promote("1")
    world.store.release("m", release("2"), ALL_AT_ONCE)
    world.report(error="bad graph")
    assert world.model()["rollout"]["state"] == "failed"
    assert world.model()["rollout"]["reason"].endswith("a replica of group 'shared' cannot load it: bad graph")
    assert world.served() == "1"
    assert world.store.state.models["m"].next is None


def test_replica_that_fails_while_switching_brings_the_old_version_back(world: World) -> None:
    world.promote("1")
    world.store.release("m", release("2"), ALL_AT_ONCE)
    world.report("r1")
    assert world.served() == "2"
    new = {"version": "2", "digest": release("2").digest, "error": "killed"}
    status = {"m": {"serving": None, "versions": [new]}}
    world.store.report("r2", {"group": "shared", "generation": 1, "models": status, "counters": []})
    assert world.served() == "1"
    assert world.model()["rollout"]["phase"] == "rolling-back"
    world.report("r1")
    world.report("r2")
    assert world.model()["rollout"]["state"] == "rolled-back"
    assert world.model()["quarantined"] == []


def test_rollout_without_replicas_fails_at_its_deadline(world: World) -> None:
    world.store.release("m", release("1"), ALL_AT_ONCE)
    for _ in range(10):
        assert world.model()["rollout"]["state"] == "starting"
        world.clock.now += 10
        world.store.step()
    assert world.model()["rollout"]["state"] == "failed"
    assert "is the group running?" in world.model()["rollout"]["reason"]


def test_asking_again_changes_nothing(world: World) -> None:
    first = world.store.release("m", release("1"), ALL_AT_ONCE)
    generation = world.store.state.generation
    assert world.store.release("m", release("1"), ALL_AT_ONCE)["id"] == first["id"]
    world.report()
    world.report()
    done = world.store.state.generation
    assert world.store.release("m", release("1"), ALL_AT_ONCE)["state"] == "promoted"
    assert (generation, world.store.state.generation) == (1, done)


def test_going_back_after_a_failed_rollout_is_promoted_at_once(world: World) -> None:
    world.promote("1")
    world.store.release("m", release("2"), ALL_AT_ONCE)
    world.report(error="bad")
    back = world.store.release("m", release("1"), ALL_AT_ONCE)
    assert (back["state"], back["candidate"]["version"]) == ("promoted", "1")
    world.report()
    assert world.store.release("m", release("2"), ALL_AT_ONCE)["state"] in ("starting", "step")


@pytest.mark.parametrize("switching", [False, True])
def test_another_release_takes_the_place_of_one_in_progress(world: World, switching: bool) -> None:
    world.promote("1")
    first = world.store.release("m", release("2"), ALL_AT_ONCE)
    if switching:
        world.report()
    second = world.store.release("m", release("3"), ALL_AT_ONCE)
    assert second["id"] != first["id"]
    assert world.served() == "1"
    world.report()
    world.report()
    assert world.served() == "3"
    assert world.store.state.models["m"].previous == release("1")


def test_model_moves_to_another_group_when_that_has_loaded_it(world: World) -> None:
    world.promote("1")
    world.store.release("m", release("1", group="own"), ALL_AT_ONCE)
    world.report(group="shared")
    assert world.model()["group"] == "shared"
    world.report("r2", group="own")
    assert world.model()["group"] == "own"
    world.report("r2", group="own")
    assert world.model()["rollout"]["state"] == "promoted"


def test_deleted_model_is_gone(world: World) -> None:
    world.promote("1")
    assert world.store.delete("m")
    assert not world.store.delete("m")
    assert world.store.model("m") is None
    assert world.snapshot().models == {}
    world.restart()
    assert world.store.model("m") is None


def test_everything_survives_a_restart_in_the_middle_of_a_rollout(world: World) -> None:
    world.promote("1")
    world.store.release("m", release("2"), ALL_AT_ONCE)
    before = world.store.state
    world.restart()
    assert world.store.state == before
    world.report()
    world.report()
    assert world.served() == "2"


def test_snapshot_follows_every_change(world: World) -> None:
    for step in (lambda: world.promote("1"), lambda: world.promote("2"), lambda: world.store.delete("m")):
        step()
        assert world.snapshot() == world.store.state


def test_snapshot_that_cannot_be_written_is_written_later(world: World) -> None:
    path = world.folder / "snapshot.json"
    path.unlink()
    path.mkdir()
    world.store.release("m", release("1"), ALL_AT_ONCE)
    path.rmdir()
    world.store.step()
    assert world.snapshot() == world.store.state


def batch(sequence: int, ok: int = 1, model: str = "m", version: str = "1") -> dict[str, Any]:
    buckets = [ok, *[0] * len(BUCKETS)]
    one = {"model": model, "version": version, "outcomes": {"ok": ok}, "buckets": buckets, "seconds": 0.5}
    return {"sequence": sequence, "series": [one], "dropped": {model: 2}}


def test_counters_of_all_replicas_add_up_and_survive_a_restart(world: World) -> None:
    world.report("r1", counters=[batch(1, 3)])
    world.report("r2", counters=[batch(1, 4)])
    world.restart()
    world.report("r1", counters=[batch(2, 5)])
    series = world.store.series
    assert series["predictions", "m", "1", "ok"] == 12
    assert series["bucket", "m", "1", "0"] == 12
    assert series["seconds", "m", "1", ""] == 1.5
    assert series["dropped", "m", "", ""] == 6


@pytest.mark.parametrize("restart", [False, True])
def test_batch_that_is_sent_twice_counts_once(world: World, restart: bool) -> None:
    assert world.report(counters=[batch(1)]) == 1
    if restart:
        world.restart()
    assert world.report(counters=[batch(1)]) == 1
    assert world.report(counters=[batch(1), batch(2)]) == 2
    assert world.store.series["predictions", "m", "1", "ok"] == 2


def broken(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    report: dict[str, Any] = {"group": "g", "generation": 1, "models": {}, "counters": [batch(1)]}
    change(report)
    return report


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.pop("group"),
        lambda r: r.update(models=[]),
        lambda r: r.update(models={"m": {}}),
        lambda r: r["counters"][0]["series"][0]["outcomes"].update(ok=-1),
        lambda r: r["counters"][0]["series"][0].update(buckets=[1]),
        lambda r: r["counters"][0]["series"][0].update(seconds="x"),
        lambda r: r["counters"][0].pop("sequence"),
    ],
)
def test_malformed_report_is_refused_and_counts_nothing(world: World, change: Callable[[dict[str, Any]], Any]) -> None:
    with pytest.raises(RefusedError, match="malformed"):
        world.store.report("r1", broken(change))
    assert world.store.series == {}


def test_old_versions_leave_the_counters_but_not_what_is_served(world: World) -> None:
    world.promote("1")
    for number in range(60):
        world.report(counters=[batch(number + 1, version=str(number + 1))])
    world.store.forget()
    versions = {key[2] for key in world.store.series if key[0] == "predictions"}
    assert "1" in versions
    assert "60" in versions
    assert len(versions) == 50
    world.restart()
    assert {key[2] for key in world.store.series if key[0] == "predictions"} == versions


def test_only_replicas_that_report_are_counted(world: World) -> None:
    world.report("r1")
    world.report("r2", group="own")
    world.clock.now += 10
    world.report("r2", group="own")
    assert world.store.replicas() == {"shared": 1, "own": 1}
    world.clock.now += 10
    assert world.store.replicas() == {"own": 1}
