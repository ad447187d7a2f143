"""The controller seals its ledger as soon as the place can be asked, and says for how long it could not."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from infra.rehearsal.kubernetes.servers import held_ports
from policies.ledger.checkpointer import Checkpointer, DirectoryPlace, LedgerBrokenError, audit
from policies.ledger.events import Retraining
from policies.ledger.store import Ledger, open_engine
from policies.releases.keys import KeyFileError, derive_key
from policies.releases.signing import public_key
from serving.control import sealing as module
from serving.control.config import CapturesConfig, LedgerConfig
from serving.control.metrics import page
from serving.control.sealing import Sealing
from serving.state import State

SECRET = "s" * 43
EVENT = Retraining(person="scheduler", model="flight-delay", trigger="schedule", reason="Monday")


class World:
    """A ledger, and the place of its checkpoints, which can be away."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = Ledger(open_engine(f"sqlite:///{folder}/ledger.db"))
        self.config = LedgerConfig.model_validate(
            {"checkpoints": folder / "disk", "store": f"file://{folder}/store/ledger", "secret": SECRET}
        )
        self.lost: list[str] = []

    def begin(self, **options: Any) -> Sealing:
        def opens(place: Any, key: Any) -> Checkpointer:
            if not (self.folder / "store").is_dir():
                raise OSError("the store is away")
            return Checkpointer(self.ledger, place, key, tick=0.02)

        return Sealing(self.config, opens, lambda: self.lost.append("lost"), retry_seconds=0.02, **options)

    def back(self) -> None:
        (self.folder / "store").mkdir()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    # What the end waits for is looked at afterwards: a slow disk may take its time.
    monkeypatch.setattr(module, "_END_SECONDS", 60.0)
    return World(tmp_path)


def test_what_is_open_when_the_controller_ends_is_sealed_and_put(world: World) -> None:
    world.back()
    sealing = world.begin()
    world.ledger.append([EVENT])
    sealing.close()
    report = audit(world.ledger, sealing.place, [sealing.key])
    assert (report.ok, report.sealed) == (True, world.ledger.head().seq)
    assert not list((world.folder / "disk").rglob("*.json"))
    assert list((world.folder / "store").rglob("*.json"))


def test_a_controller_that_is_stopped_seals_what_is_open(tmp_path: Path) -> None:
    with held_ports(1) as [port]:
        (tmp_path / "control.json").write_text(
            json.dumps(
                {
                    "port": port,
                    "database": f"sqlite:///{tmp_path}/control.db",
                    "snapshot": str(tmp_path / "snapshot.json"),
                    **dict.fromkeys(("snapshotKey", "adminToken", "replicaToken"), "t" * 16),
                    "ledger": {"checkpoints": str(tmp_path / "disk"), "secret": SECRET},
                }
            )
        )
        command = [sys.executable, "-m", "serving.control", "--config", str(tmp_path / "control.json")]
        with subprocess.Popen(command, cwd=Path(__file__).parents[3]) as process:
            wait(lambda: answers(port) or process.poll() is not None)
            ledger = Ledger(open_engine(f"sqlite:///{tmp_path}/control.db"), create=False)
            ledger.append([EVENT])
            process.terminate()
            assert process.wait(60) == 0
    place = DirectoryPlace(tmp_path / "disk")
    assert audit(ledger, place, [public_key(derive_key(SECRET, "ledger checkpoints"))]).sealed == ledger.head().seq


def test_a_store_that_is_away_at_the_start_is_waited_for_while_the_rest_goes_on(world: World) -> None:
    now = 100.0
    sealing = world.begin(monotonic=lambda: now)
    world.ledger.append([EVENT])
    now = 160.0
    assert sealing.unsealed_seconds == 60
    world.back()
    wait(lambda: sealing.unsealed_seconds == 0)
    sealing.close()
    assert audit(world.ledger, sealing.place, [sealing.key]).sealed == world.ledger.head().seq
    assert world.lost == []


def test_a_ledger_that_does_not_fit_is_told_when_the_store_is_back(world: World) -> None:
    world.back()
    first = world.begin()
    world.ledger.append([EVENT])
    first.close()
    (world.folder / "store").rename(world.folder / "away")
    world.ledger = Ledger(open_engine(f"sqlite:///{world.folder}/other.db"))
    second = world.begin()
    (world.folder / "away").rename(world.folder / "store")
    wait(lambda: world.lost)
    second.close()
    with pytest.raises(LedgerBrokenError, match="holds checkpoints of ledger"):
        world.begin()


def test_the_key_is_the_same_after_every_start_and_another_for_another_secret(world: World) -> None:
    world.back()
    keys = {world.begin().key, world.begin().key, public_key(derive_key(SECRET, "ledger checkpoints"))}
    assert len(keys) == 1
    assert public_key(derive_key("t" * 43, "ledger checkpoints")) not in keys
    assert public_key(derive_key(SECRET, "something else")) not in keys
    with pytest.raises(KeyFileError, match="at least 43"):
        derive_key("short", "ledger checkpoints")


@pytest.mark.parametrize("stated", [{}, {"key": "k", "secret": SECRET}, {"key": "k", "store": "http://elsewhere"}])
def test_a_ledger_states_one_key_and_a_store_that_can_be_reached(stated: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        LedgerConfig.model_validate({"checkpoints": "c"} | stated)


@pytest.mark.parametrize("stated", [{}, {"directory": "d", "store": "s3://b/captures"}, {"store": "b/captures"}])
def test_captures_are_in_a_folder_or_in_a_store(stated: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        CapturesConfig.model_validate(stated)
    assert CapturesConfig.model_validate({"store": "s3://b/captures"}).place == "s3://b/captures"


def test_the_metric_is_there_where_checkpoints_are_made() -> None:
    state = State(0, {})
    assert "mlops_ledger_unsealed_seconds 12.5\n" in page({}, state, {}, unsealed=12.5).replace("{}", "")
    assert "mlops_ledger_unsealed_seconds" not in page({}, state, {})


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v1/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def wait(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
