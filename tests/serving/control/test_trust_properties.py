"""Whatever happens in whatever order: what may not start does not, what is badly signed is not loaded, stable goes on.

Admission, machine, watch, database, HTTP, replicas and candidates are the real ones. Made up are the clock, the traffic
and how Serve tells of a candidate's process. What is known by construction is who signed and approved which digest.
"""

import asyncio
import contextlib
import shutil
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from policies.releases import evaluation as ev
from policies.releases.approval import approve, sign_artifact
from policies.releases.decision import EnvironmentRules
from policies.releases.keys import key_signer, make_demo_keys, make_key, read_private_key
from policies.releases.manifest import Manifest, Statement
from serving import loading
from serving.actuator import condition
from serving.candidate import CandidateError, CandidateModel
from serving.config import Settings
from serving.control.app import Control
from serving.control.database import LEASE_SECONDS
from serving.control.gate import Gate
from serving.control.schema import messages
from serving.control.store import ConflictError, Store
from serving.replica import Replica
from serving.runtime.artifact import content_digest, file_hashes
from serving.runtime.model import load
from serving.state import Release, State, read_snapshot
from tests.serving.conftest import write_artifact

pytestmark = pytest.mark.slow

START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
KEY = "snapshot-key-of-16"
CANARY = {
    "kind": "canary", "steps": [{"weight": 20}], "bakeMinutes": 0.05,
    "evidence": {"requests": 10, "smoke": 10}, "deadlines": {"smoke": 20, "absent": 20},
}  # fmt: skip
STRATEGIES = {"all-at-once": {"kind": "all-at-once"}, "canary": CANARY, "shadow": CANARY | {
    "kind": "shadow", "steps": [{"mirror": 50}]}}  # fmt: skip
APPROVED, SIGNED = ("1", "2", "3"), ("1", "2", "3", "4")
"""Versions whose approvals are asked for (4: nobody approves; 5: a stranger signed; 6: nobody signed)."""


class Trust(RuleBasedStateMachine):
    """One model, one controller, one to three replicas, and an attacker."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mlops-trust-"))
        self.loop = asyncio.new_event_loop()
        self.now, self.sequence, self.healthy = START.timestamp(), 0, True
        self.keys = make_demo_keys(self.folder / "keys", "prod")
        stranger = make_key(self.folder / "stranger", "stranger")
        signers = dict.fromkeys(SIGNED, read_private_key(self.keys.trainer.key)) | {"5": stranger}
        self.releases: dict[str, Release] = {}
        self.manifests: dict[str, Manifest] = {}
        for number, version in enumerate("123456"):
            folder = write_artifact(self.folder / "registry" / version, bias=number / 100)
            files = file_hashes(folder)
            release = Release(version, content_digest(files), f"file:{folder}", files, "shared")
            if version in signers:
                signer = key_signer(signers[version])
                signature = sign_artifact("m", release.digest, self.keys.trainer.principal, "prod", signer)
                release = replace(release, signature=signature, trained_at=START)
            self.releases[version] = release
            self.manifests[version] = self.manifest(release)
        self.by_digest = {release.digest: version for version, release in self.releases.items()}
        self.ends: dict[str, float] = {}
        """Version → when its last approval ends."""
        self.given: dict[str, float] = {}
        self.running: str | None = None
        """The rollout's id that was seen last."""
        self.replicas: list[Replica] = []
        self.candidates: dict[str, tuple[CandidateModel | None, dict[str, str]]] = {}
        self.forge = False
        self.loaded: list[str] = []
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(loading, "load", self.load)
        self.open()
        self.replicas = [self.replica()]

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            self.patch.undo()
            self.store.close()
            self.loop.run_until_complete(asyncio.sleep(0))
            self.loop.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- the world ------------------------------------------------------------------------------------------------

    def load(self, folder: Path) -> Any:
        self.loaded.append("sha256:" + folder.name)
        return load(folder)

    def open(self) -> None:
        gate = Gate(EnvironmentRules(environment="prod", trust_roots=("prod",)), {"prod": self.keys.trust_root})
        self.store = Store(
            f"sqlite:///{self.folder}/c.db", self.folder / "snapshot.json", KEY,
            rollout_seconds=30, clock=lambda: self.now, gate=gate,
        )  # fmt: skip
        self.app = httpx.ASGITransport(Control(self.store, "admin", "replica").application())
        self.admin = httpx.AsyncClient(
            transport=self.app, base_url="http://c", headers={"authorization": "Bearer admin"}
        )

    @property
    def settings(self) -> Settings:
        root = {"name": "prod", "path": str(self.keys.allowed_signers)}
        return Settings.model_validate(
            {
                "ray": {"address": "x"}, "control": {"url": "http://c", "token": "replica"},
                "registry": {"url": "http://127.0.0.1:9"}, "snapshot": self.folder / "snapshot.json",
                "snapshotKey": KEY, "modelCache": self.folder / "cache", "trust": {"roots": [root]},
                "groups": [{"name": "shared", "route": "/v2"}],
            }
        )  # fmt: skip

    def replica(self, *, controller: bool = True) -> Replica:
        """Start a replica: with the controller, or from the snapshot alone."""
        made = Replica(self.settings, "shared", transport=self.app)
        made.state = self.published() if controller else read_snapshot(self.folder / "snapshot.json", KEY)
        self.do(made._apply())
        return made

    def published(self) -> State:
        """What reaches replicas: what the controller says, or what somebody made of it who cannot sign."""
        state = State.from_json(self.store.state.to_json())
        if not self.forge or "m" not in state.models:
            return state
        entry, bad = state.models["m"], self.releases["5"]
        return State(state.generation + 1_000, {"m": replace(entry, stable=bad, next=replace(bad, signature=None))})

    def do(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def manifest(self, release: Release) -> Manifest:
        shared: dict[str, Any] = {
            "model": "m",
            "digest": release.digest,
            "data_digest": "sha256:" + "d" * 64,
            "seed": 7,
        }
        report = ev.Evaluation(
            **shared, evaluated_at=START, architecture="x86_64",
            held_out=ev.HeldOut(kind="random", rows=100, training_rows=900, positives=20),
            metrics={"auc": ev.Metric(value=0.8)},
            baseline=ev.Baseline(name="prior", description="", metrics={"auc": ev.Metric(value=0.5)}),
            latency=ev.Latency(runtime="onnx", predictions=10, rounds=1, p50_ms=0.1, p99_ms=0.2),
            checks=(ev.check("quality", "auc", 0.8, "at-least", 0.7),), passed=True, reasons=(),
        )  # fmt: skip
        return Manifest(
            **shared, version=release.version, source=release.source, files=dict(release.files), run="r1",
            commit="c" * 40, trained_by=self.keys.trainer.principal, trained_at=START,
            lock_digest="sha256:" + "f" * 64, architecture="x86_64", risk_tier="medium", intended_use="tests",
            evaluation=report, signature=release.signature,
        )  # fmt: skip

    def approval(self, manifest: Manifest, days: float) -> dict[str, Any]:
        owner, at = self.keys.approvers[0], datetime.fromtimestamp(self.now, UTC)
        statement = Statement(
            principal=owner.principal, role="model-owner", environments=("prod",), approved_at=at,
            expires_at=at + timedelta(days=days), trust_root="prod",
        )  # fmt: skip
        return approve(manifest, statement, key_signer(read_private_key(owner.key))).to_json()

    def model(self) -> dict[str, Any]:
        return self.store.model("m") or {"rollout": None, "served": None, "quarantined": []}

    def quarantined(self) -> set[str]:
        return {self.by_digest[one["digest"]] for one in self.model()["quarantined"]}

    def put(self, manifest: Manifest, strategy: str, approval: Any = None, **release: Any) -> httpx.Response:
        body = self.releases[manifest.version].to_json() | release
        body |= {"strategy": STRATEGIES[strategy], "manifest": manifest.to_json(), "approval": approval}
        return self.do(self.admin.put("/v1/models/m/release", json=body | {"requestedBy": "ann"}))  # type: ignore[no-any-return]

    # --- what happens ---------------------------------------------------------------------------------------------

    @rule(
        version=st.sampled_from(APPROVED),
        strategy=st.sampled_from(sorted(STRATEGIES)),
        days=st.sampled_from([0.01, 30]),
        seconds=st.sampled_from([0, 5, 40]),
        healthy=st.booleans(),
    )
    def approve_and_release(self, version: str, strategy: str, days: float, seconds: int, healthy: bool) -> None:
        manifest = self.manifests[version]
        self.now += 1
        self.ends[version] = self.now + days * 86_400
        answer = self.put(manifest, strategy, self.approval(manifest, days))
        assert answer.status_code == 202, answer.text
        self.nothing_starts_that_may_not()
        self.time_passes(seconds, healthy)

    @rule(version=st.sampled_from(APPROVED), strategy=st.sampled_from(sorted(STRATEGIES)))
    def release_with_earlier_approvals(self, version: str, strategy: str) -> None:
        served, good = (self.model()["served"] or {}).get("version"), self.startable(version)
        under_way = (self.model()["rollout"] or {}).get("candidate", {}).get("version") == version
        answer = self.put(self.manifests[version], strategy)
        if not (good or version == served or under_way):
            assert answer.status_code == 422, answer.text

    @rule(
        flaw=st.sampled_from(["edited", "unsigned", "4", "5", "6", "no manifest"]),
        strategy=st.sampled_from(sorted(STRATEGIES)),
    )
    def release_what_may_not_start(self, flaw: str, strategy: str) -> None:
        before = self.model()
        if flaw in ("5", "6"):
            manifest = self.manifests[flaw]
            answer = self.put(manifest, strategy, self.approval(manifest, 30), signature=self.releases["1"].signature
                              and self.releases["1"].signature.to_json())  # fmt: skip
        elif flaw == "no manifest":
            body = self.releases["4"].to_json() | {"strategy": STRATEGIES[strategy]}
            answer = self.do(self.admin.put("/v1/models/m/release", json=body))
        else:
            version = "4" if flaw == "4" else "1"
            manifest = self.manifests[version]
            approval = None if flaw == "4" else self.approval(manifest, 30)
            if flaw == "edited":
                manifest = manifest.model_copy(update={"intended_use": "anything"})
            if flaw == "unsigned":
                manifest = manifest.model_copy(update={"signature": None})
                approval = self.approval(manifest, 30)
            if version == (before["served"] or {}).get("version") or self.under_way(version):
                return  # nothing would start
            answer = self.put(manifest, strategy, approval)
        assert answer.status_code == 422, answer.text
        assert self.model()["rollout"] == before["rollout"]

    @rule(seconds=st.integers(1, 12), healthy=st.booleans())
    def time_passes(self, seconds: int, healthy: bool) -> None:
        self.healthy = healthy
        for _ in range(seconds):
            self.second()

    @rule()
    def days_pass(self) -> None:
        self.now += 86_400
        self.second()

    @rule(kind=st.sampled_from(["promote", "abort", "rollback"]))
    def a_person_says(self, kind: Any) -> None:
        if self.store.model("m") is None:
            return
        with contextlib.suppress(ConflictError):
            self.store.command("m", kind, "ann", "")

    @rule()
    def controller_is_killed(self) -> None:
        self.store.database.engine.dispose()
        self.now += LEASE_SECONDS + 0.1
        self.open()
        for one in self.replicas:
            one._control = httpx.AsyncClient(
                transport=self.app, base_url="http://c", headers={"authorization": "Bearer replica"}
            )

    @rule(controller=st.booleans())
    def replica_restarts(self, controller: bool) -> None:
        self.replicas[0] = self.replica(controller=controller)
        self.serves_stable(self.replicas[0])

    @precondition(lambda self: len(self.replicas) < 3)
    @rule()
    def another_replica_comes(self) -> None:
        self.replicas.append(self.replica())
        self.serves_stable(self.replicas[-1])

    @rule()
    def cached_files_are_tampered_with(self) -> None:
        for file in (self.folder / "cache").glob("*/model.onnx"):
            file.write_bytes(file.read_bytes() + b"x")

    @rule()
    def replica_hears_of_what_nobody_signed(self) -> None:
        before = dict(self.replicas[0]._serving)
        self.forge = True
        fresh = self.replica()
        self.replicas[0].state = self.published()
        self.do(self.replicas[0]._apply())
        self.forge = False
        assert not fresh._loaded
        assert all(failure.fault == "model" for failure in fresh._failed.values())
        if self.model()["served"]:
            assert fresh._failed
        assert dict(self.replicas[0]._serving) == before

    @precondition(lambda self: self.model()["served"] is not None)
    @rule()
    def what_is_served_is_imported_and_asked_for_again(self) -> None:
        before = self.model()
        stated = self.do(self.admin.get("/v1/models/m/release")).json()
        body = stated["release"] | {"strategy": stated["strategy"] or {"kind": "all-at-once"}}
        answer = self.do(self.admin.put("/v1/models/m/release", json=body | {"manifest": stated["manifest"]}))
        idle = before["rollout"] is None or before["rollout"]["state"] in (
            "promoted",
            "rolled-back",
            "aborted",
            "failed",
        )
        if idle and not before["returning"]:
            assert answer.status_code == 202
            assert self.model()["served"] == before["served"]

    # --- what must hold -------------------------------------------------------------------------------------------

    def startable(self, version: str) -> bool:
        return version in APPROVED and self.ends.get(version, 0) > self.now and version not in self.quarantined()

    def under_way(self, version: str) -> bool:
        found = self.model()
        told = [found["rollout"] or {}, found.get("queued") or {}]
        return any((one.get("candidate") or {}).get("version") == version for one in told)

    @invariant()
    def nothing_starts_that_may_not(self) -> None:
        if not hasattr(self, "store"):
            return
        rollout = self.model()["rollout"]
        if rollout is not None and rollout["id"] != self.running:
            self.running = rollout["id"]
            version = rollout["candidate"]["version"]
            served = (self.model()["served"] or {}).get("version")
            assert version == served or self.startable(version), f"{version} started"

    @invariant()
    def nothing_is_loaded_that_is_badly_signed_or_was_tampered_with(self) -> None:
        if not hasattr(self, "store"):
            return
        assert {self.by_digest[digest] for digest in self.loaded} <= set(SIGNED)
        for digest in self.loaded:
            file_hashes(self.folder / "registry" / self.by_digest[digest])

    @invariant()
    def expired_stable_alarms_and_goes_back_where_it_can(self) -> None:
        if not hasattr(self, "store") or self.model()["served"] is None:
            return
        managed = self.store._records.managed["m"]
        stable = managed.state.stable
        if stable is None or managed.expired != stable.digest or managed.state.active:
            return
        told = f"the approval of the stable version {stable.version} has ended"
        since = self.ends.get(stable.version, 0)
        assert any(told in one.text and one.at >= since for one in self.messages()), told

    def messages(self) -> list[Any]:
        """Return all that was ever said: under whichever rollout, since a later one may end where it began."""
        query = sa.select(messages).where(messages.c.model == "m")
        with self.store.database.engine.connect() as connection:
            return list(connection.execute(query))

    def serves_stable(self, replica: Replica) -> None:
        """Expired, or with a tampered cache: a replica that starts serves what is stable."""
        served = self.model()["served"]
        if served is not None:
            assert replica._serving["m"][1] == served["version"]

    # --- a second -------------------------------------------------------------------------------------------------

    def second(self) -> None:
        """Let replicas follow and report, the actuator start candidates, and users ask."""
        self.now += 1
        self.store.step()
        self.nothing_starts_that_may_not()
        if "m" not in self.store.state.models:
            return
        for one in self.replicas:
            one.state = self.published()
            self.do(one._apply())
        self.act()
        for number, one in enumerate(self.replicas):
            self.sequence += 1
            arms = self.traffic() if number == 0 else []
            batch = {"sequence": self.sequence, "series": [], "dropped": {}, "arms": arms}
            body = {
                "group": "shared", "generation": one._applied, "models": one._status(),
                "counters": [batch] if arms else [],
            }  # fmt: skip
            self.store.report(one.id, body)
            self.nothing_starts_that_may_not()

    def act(self) -> None:
        wanted = {one.name: one for one in self.store.state.models["m"].candidates}
        for name in self.candidates.keys() - wanted.keys():
            made = self.candidates.pop(name)[0]
            if made is not None:
                made.close()
        for name, one in wanted.items():
            if name not in self.candidates:
                made = CandidateModel(self.settings, "m", one.release)
                try:
                    self.do(made.start())
                    told = condition("RUNNING", "")
                except CandidateError as error:
                    told = condition("DEPLOY_FAILED", f"CandidateError: {error}")
                self.candidates[name] = made, told | {"digest": one.release.digest}
        self.store.applications({name: self.candidates[name][1] for name in wanted})

    def traffic(self) -> list[dict[str, Any]]:
        entry = self.store.state.models["m"]
        split, weights = entry.split, dict(entry.split.runs)
        arms = []
        candidate = entry.candidates[0].release.digest if entry.candidates else None
        if entry.stable:
            arms.append(self.arm(entry.stable.digest, split.generation, 40, 0))
        if candidate and (weights.get("candidate") or split.shadows):
            arms.append(self.arm(candidate, split.generation, 20, 0 if self.healthy else 15))
        if candidate and split.replay:
            arms.append(self.arm(candidate, split.replay.generation, split.replay.rows, 0))
            if entry.stable:
                arms.append(self.arm(entry.stable.digest, split.replay.generation, split.replay.rows, 0))
        return arms

    def arm(self, digest: str, generation: int, count: int, errors: int) -> dict[str, Any]:
        counts = {"requests": count, "errors": errors, "latency": {"20": count - errors}, "assigned": count}
        return {"model": "m", "digest": digest, "generation": generation, "counts": counts}


TestTrust = Trust.TestCase
TestTrust.settings = settings(
    max_examples=12, stateful_step_count=30, deadline=None, derandomize=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
