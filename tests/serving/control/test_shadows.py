"""Shadows in the controller: admitted like releases, published once they are up, counted, ended by what bans them."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from policies.ledger.store import Query
from serving.control.metrics import page
from serving.control.store import RefusedError, UnknownError
from tests.serving.control.test_gate import World as Gated
from tests.serving.control.test_gate import release as gated_release
from tests.serving.control.test_releases import CANARY, World, release


def body(version: str, sample: float = 100, manifest: Any = None) -> dict[str, Any]:
    one = release(version)
    stated = {"version": one.version, "digest": one.digest, "source": one.source, "files": dict(one.files)}
    return stated | {"sample": sample, "manifest": manifest}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.store.release("m", release("1"), {"kind": "all-at-once"}, by="ann")
    world.until(lambda: world.rollout()["state"] == "promoted")
    yield world
    world.store.close()


def up(world: World, *versions: str, status: str = "ready") -> None:
    told = {"status": status, "reason": "why", "fault": "model"}
    world.store.applications({f"candidate-m-{one}-shadow": told | {"digest": release(one).digest} for one in versions})


def shown(world: World) -> dict[str, Any]:
    document = world.store.model("m")
    assert document is not None
    return {one["version"]: one for one in document["shadows"]}


def shares(world: World) -> dict[str, int]:
    return dict(world.store.state.models["m"].split.shadows)


def count(world: World, version: str, **counts: int) -> None:
    split = world.store.state.models["m"].split
    arm = {"model": "m", "digest": release(version).digest, "generation": split.generation, "counts": counts}
    world.sequence += 1
    batch = {"series": [], "dropped": {}, "arms": [arm], "sequence": world.sequence}
    world.store.report("r1", {"group": "shared", "models": {}, "counters": [batch]})


def test_shadows_get_copies_once_they_are_up(world: World) -> None:
    world.store.shadow("m", [body("7", 25), body("8")], "ann")
    entry = world.store.state.models["m"]
    assert [one.name for one in entry.shadows] == ["candidate-m-7-shadow", "candidate-m-8-shadow"]
    assert shares(world) == {}
    up(world, "7")
    assert shares(world) == {"candidate-m-7-shadow": 2500}
    up(world, "8")
    assert shares(world) == {"candidate-m-7-shadow": 2500, "candidate-m-8-shadow": 10_000}
    up(world, "8", status="failed")
    assert shares(world) == {"candidate-m-7-shadow": 2500}
    assert (shown(world)["8"]["state"], shown(world)["8"]["reason"]) == ("failed", "why")


def test_what_is_compared_is_kept_over_a_restart_and_with_another_sample(world: World) -> None:
    world.store.shadow("m", [body("7")], "ann")
    up(world, "7")
    count(world, "7", requests=10, errors=1, compared=9, disagreed=3, shed=4)
    world.kill()
    world.store.shadow("m", [body("7", 50)], "ann")
    count(world, "7", requests=10, compared=10)
    counts = shown(world)["7"]["counts"]
    assert {key: counts[key] for key in ("requests", "errors", "compared", "disagreed", "shed")} == {
        "requests": 20, "errors": 1, "compared": 19, "disagreed": 3, "shed": 4,
    }  # fmt: skip
    assert shown(world)["7"]["sample"] == 50
    text = page(world.store.series, world.store.state, {})
    for outcome, copies in {"agreed": 16, "disagreed": 3, "failed": 1, "shed": 4}.items():
        assert f'mlops_shadow_copies_total{{model="m",version="7",outcome="{outcome}"}} {copies}' in text


def test_a_rollout_goes_on_beside_a_shadow_that_always_fails(world: World) -> None:
    world.store.shadow("m", [body("7")], "ann")
    world.store.release("m", release("2"), CANARY, by="ann")
    for _ in range(200):
        up(world, "7")
        count(world, "7", requests=50, errors=50)
        world.second()
        if world.rollout()["state"] == "promoted":
            break
    assert world.rollout()["state"] == "promoted"
    assert shown(world)["7"]["counts"]["errors"] > 100
    model = world.store.model("m")
    assert model is not None
    assert model["quarantined"] == []
    up(world, "7")
    assert shares(world) == {"candidate-m-7-shadow": 10_000}


def test_a_version_that_answers_users_is_no_shadow_meanwhile(world: World) -> None:
    world.store.shadow("m", [body("2")], "ann")
    up(world, "2")
    assert shares(world)
    world.store.release("m", release("2"), CANARY, by="ann")
    assert world.store.state.models["m"].shadows == ()
    world.until(lambda: world.rollout()["state"] == "promoted")
    assert world.store.state.models["m"].shadows == ()
    assert shown(world)["2"]["sample"] == 100


def test_asking_again_changes_nothing_and_each_change_is_in_the_ledger(world: World) -> None:
    for _ in range(2):
        world.store.shadow("m", [body("7", 20)], "ann")
    world.store.shadow("m", [], "bob")
    events = [entry for entry in world.store.ledger.entries(Query(model="m")) if '"shadows"' in entry.what]
    assert [event.person for event in events] == ["ann", "bob"]
    assert "7 (20 %)" in events[0].what


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (["x"], "expected an object"),
        ([body("7") | {"weight": 5}], r"shadows\[0\].weight: unknown key"),
        ([body("7", 0)], "above 0 and up to 100"),
        ([body("7", 101)], "above 0 and up to 100"),
        ([body("7"), body("7")], r"shadows\[1\]: version 7 is a shadow already"),
        ([body("7") | {"digest": "sha256:" + "0" * 64}], "digest"),
        ([body(str(number)) for number in range(10, 19)], "8 are allowed"),
    ],
)
def test_malformed_shadows_are_refused_with_the_place(world: World, wanted: Any, why: str) -> None:
    world.store.shadow("m", [body("7")], "ann")
    with pytest.raises(RefusedError, match=why):
        world.store.shadow("m", wanted, "ann")
    assert list(shown(world)) == ["7"]


def test_unknown_model_has_no_shadows(world: World) -> None:
    with pytest.raises(UnknownError):
        world.store.shadow("other", [], "ann")


def test_a_quarantined_version_is_no_shadow(world: World) -> None:
    world.error_rate = 0.5
    world.store.release("m", release("2"), CANARY, by="ann")
    world.until(lambda: world.rollout()["state"] == "failed")
    with pytest.raises(RefusedError, match="quarantine"):
        world.store.shadow("m", [body("2")], "ann")


def test_a_shadow_ends_when_a_rollout_bans_its_version(world: World) -> None:
    world.store.shadow("m", [body("2")], "ann")
    world.error_rate = 0.5
    world.store.release("m", release("2"), CANARY, by="ann")
    world.until(lambda: world.rollout()["state"] == "failed")
    for _ in range(65):
        world.second()
    world.store.step()
    assert shown(world) == {}


def test_a_shadow_needs_what_a_rollout_needs_and_ends_with_its_approval(tmp_path: Path) -> None:
    world = Gated(tmp_path)
    world.promote("1", days=90)
    manifest = world.manifest("2")
    one = gated_release("2")
    stated = {"version": "2", "digest": one.digest, "source": one.source, "files": dict(one.files), "sample": 10}

    with pytest.raises(RefusedError, match="no manifest"):
        world.store.shadow("m", [stated], "ann")
    with pytest.raises(RefusedError, match="approv"):
        world.store.shadow("m", [stated | {"manifest": manifest.to_json()}], "ann")

    approval = world.approval(manifest, days=1)
    approved = manifest.to_json() | {"approvals": [approval]}
    world.store.shadow("m", [stated | {"manifest": approved}], "ann")
    assert [entry.release.version for entry in world.store.state.models["m"].shadows] == ["2"]

    world.now += timedelta(days=2).total_seconds()
    world.store.step()
    assert world.store.state.models["m"].shadows == ()
    world.store.close()
