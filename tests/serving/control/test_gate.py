"""Approvals in the controller: nothing starts without, new ones lift a quarantine, and where they end it goes back."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from policies.ledger.store import Query
from policies.releases import evaluation as ev
from policies.releases.approval import approve, sign_artifact
from policies.releases.decision import EnvironmentRules
from policies.releases.keys import DemoKeys, DemoPerson, key_signer, make_demo_keys, read_private_key
from policies.releases.manifest import Approval, Manifest, Statement
from serving.control.gate import Gate
from serving.control.store import RefusedError, Store
from serving.runtime.artifact import content_digest
from serving.state import Release

START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
ALL_AT_ONCE = {"kind": "all-at-once"}


def release(version: str) -> Release:
    files = {"model.onnx": version.zfill(64)}
    return Release(version, content_digest(files), f"file:/{version}", files, "shared")


class World:
    def __init__(self, folder: Path) -> None:
        self.now = START.timestamp()
        self.keys: DemoKeys = make_demo_keys(folder / "keys", "company")
        self.owner = self.keys.approvers[0]
        rules = EnvironmentRules(environment="prod", trust_roots=("company",))
        gate = Gate(rules, {"company": self.keys.trust_root})
        self.store = Store(
            f"sqlite:///{folder}/c.db", folder / "s.json", "key", rollout_seconds=60, clock=lambda: self.now, gate=gate
        )

    def manifest(self, version: str) -> Manifest:
        one = release(version)
        checks = (ev.check("quality", "auc", 0.8, "at-least", 0.7),)
        shared: dict[str, Any] = {"model": "m", "digest": one.digest, "data_digest": "sha256:" + "d" * 64, "seed": 7}
        evaluation = ev.Evaluation(
            **shared,
            evaluated_at=START,
            architecture="x86_64",
            held_out=ev.HeldOut(kind="random", rows=100, training_rows=900, positives=20),
            metrics={"auc": ev.Metric(value=0.8)},
            baseline=ev.Baseline(name="prior", description="", metrics={"auc": ev.Metric(value=0.5)}),
            latency=ev.Latency(runtime="onnx", predictions=10, rounds=1, p50_ms=0.1, p99_ms=0.2),
            checks=checks,
            passed=True,
            reasons=(),
        )
        trainer = self.keys.trainer
        signer = key_signer(read_private_key(trainer.key))
        return Manifest(
            **shared,
            version=version,
            source=one.source,
            files=dict(one.files),
            run="r1",
            commit="c" * 40,
            trained_by=trainer.principal,
            trained_at=START - timedelta(days=1),
            lock_digest="sha256:" + "f" * 64,
            architecture="x86_64",
            risk_tier="medium",
            intended_use="tests",
            evaluation=evaluation,
            signature=sign_artifact("m", one.digest, trainer.principal, "company", signer),
        )

    def approval(self, manifest: Manifest, who: DemoPerson | None = None, days: int = 30) -> dict[str, Any]:
        who = who or self.owner
        at = datetime.fromtimestamp(self.now, UTC)
        statement = Statement.model_validate(
            {
                "principal": who.principal, "role": who.role or "model-owner", "environments": ("prod",),
                "approved_at": at, "expires_at": at + timedelta(days=days), "trust_root": "company",
            }
        )  # fmt: skip
        approval: Approval = approve(manifest, statement, key_signer(read_private_key(who.key)))
        return approval.to_json()

    def ask(self, version: str, manifest: Manifest | None, approval: Any = None) -> dict[str, Any]:
        stated = None if manifest is None else manifest.to_json()
        return self.store.release("m", release(version), ALL_AT_ONCE, approval, manifest=stated, by="ann")

    def seconds(self, count: int = 3, error: str | None = None) -> None:
        for _ in range(count):
            self.now += 1
            entry = self.store.state.models["m"]
            versions = []
            for one in (entry.stable, entry.previous, entry.next):
                if one:
                    bad = error if one is entry.next else None
                    versions.append({"version": one.version, "digest": one.digest, "error": bad, "fault": "model"})
            stable = entry.stable
            serving = stable and {"version": stable.version, "digest": stable.digest}
            status = {"serving": serving, "versions": versions, "split": entry.split.generation}
            body = {"group": "shared", "generation": 1, "models": {"m": status}, "counters": []}
            self.store.report("r1", body)
            self.store.step()

    def promote(self, version: str, days: int = 30) -> None:
        manifest = self.manifest(version)
        self.ask(version, manifest, self.approval(manifest, days=days))
        self.seconds()
        assert self.served() == version

    def served(self) -> str | None:
        found = self.store.model("m")
        return str(found["served"]["version"]) if found and found["served"] else None


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.store.close()


def test_release_starts_only_with_a_manifest_and_enough_approvals(world: World) -> None:
    with pytest.raises(RefusedError, match="this one has no manifest"):
        world.ask("1", None)
    manifest = world.manifest("1")
    with pytest.raises(RefusedError, match="needs 1 approval"):
        world.ask("1", manifest)
    with pytest.raises(RefusedError, match=r"who trained a model can't approve it|approval by trainer"):
        world.ask("1", manifest, world.approval(manifest, world.keys.trainer))
    edited = manifest.model_copy(update={"intended_use": "something else"})
    with pytest.raises(RefusedError, match="approval by owner@company"):
        world.ask("1", edited, world.approval(manifest))
    with pytest.raises(RefusedError, match=r"manifest\.version: it is of 1, not 2"):
        world.ask("2", manifest, world.approval(manifest))
    assert world.store.model("m") is None
    refused = list(world.store.ledger.entries(Query(kinds=["administrative-access"])))
    assert [entry.person for entry in refused] == ["ann"] * 5
    world.promote("1")
    approvals = list(world.store.ledger.entries(Query(kinds=["approval"])))
    assert [entry.person for entry in approvals] == ["owner@company"]


def test_only_a_new_approval_lifts_a_quarantine(world: World) -> None:
    world.promote("1")
    manifest = world.manifest("2")
    old = world.approval(manifest)
    world.ask("2", manifest, old)
    world.seconds(error="bad graph")
    digest = release("2").digest
    assert world.store.model("m")["quarantined"][0]["digest"] == digest  # type: ignore[index]
    world.now += 60
    with pytest.raises(RefusedError, match="only a new approval lifts it"):
        world.ask("2", manifest, old)
    found = world.store.approve("m", digest, world.approval(manifest), "bob")
    assert found["quarantined"] == []
    world.seconds()
    world.ask("2", manifest)
    world.seconds()
    assert world.served() == "2"
    events = [entry.event() for entry in world.store.ledger.entries(Query(kinds=["quarantine"]))]
    assert [(one.person, one.action) for one in events] == [("controller", "quarantined"), ("bob", "lifted")]  # type: ignore[union-attr]


def test_stable_version_whose_approval_ends_goes_back_without_quarantine(world: World) -> None:
    world.promote("1", days=30)
    world.promote("2", days=1)
    world.now += 2 * 86_400
    world.seconds(5)
    assert world.served() == "1"
    assert world.store.model("m")["quarantined"] == []  # type: ignore[index]
    with pytest.raises(RefusedError, match="expired"):
        world.ask("2", world.manifest("2"))


def test_expired_version_goes_on_where_there_is_no_other(world: World) -> None:
    world.promote("1", days=1)
    world.now += 2 * 86_400
    world.seconds(5)
    assert world.served() == "1"
    texts = [one["text"] for one in world.store.model("m")["rollout"]["messages"]]  # type: ignore[index]
    assert any("approval of the stable version 1 has ended" in text for text in texts)


def test_release_whose_approval_ends_while_it_waits_does_not_start(world: World) -> None:
    world.promote("1")
    world.ask("2", world.manifest("2"), world.approval(world.manifest("2")))
    manifest = world.manifest("3")
    asked = ALL_AT_ONCE | {"onConflict": "queue"}
    approval = world.approval(manifest, days=1)
    world.store.release("m", release("3"), asked, approval, manifest=manifest.to_json(), by="ann")
    waits = world.store.model("m")
    assert waits is not None
    assert waits["queued"]["candidate"]["version"] == "3"
    world.now += 2 * 86_400
    world.seconds(5)
    found = world.store.model("m")
    assert found is not None
    assert found["rollout"]["candidate"]["version"] != "3"
    refused = list(world.store.ledger.entries(Query(kinds=["administrative-access"])))
    assert any("expired" in str(entry.event()) for entry in refused)
