"""Checkpoints in a bucket under Object Lock: on the disk first, brought there in order; no lie about them lasts."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from policies.ledger.chain import Head
from policies.ledger.checkpoint import Checkpoint, make_checkpoint
from policies.ledger.checkpointer import Checkpointer, DirectoryPlace, LedgerBrokenError, audit
from policies.ledger.events import Retraining
from policies.ledger.store import Ledger, open_engine
from policies.releases.keys import key_signer
from policies.releases.signing import public_key
from serving.control.checkpoint_store import ShippedPlace, StorePlace

KEY = Ed25519PrivateKey.generate()
KEYS = [public_key(KEY)]
BUCKET = "acme-audit"
AT = datetime(2026, 11, 20, 9, tzinfo=UTC)
EVENT = Retraining(person="scheduler", model="flight-delay", trigger="schedule", reason="Monday")


def checkpoint(seq: int, *, digit: str = "a", previous: int = 0) -> Checkpoint:
    at = AT + timedelta(seconds=seq)
    return make_checkpoint("0" * 32, Head(seq, digit * 64), at, previous, key_signer(KEY))


@pytest.fixture
def store(tmp_path: Path) -> StorePlace:
    """A store that is a folder: the same code with another file system."""
    return StorePlace(f"file://{tmp_path}/store/ledger")


@pytest.fixture
def shipped(tmp_path: Path, store: StorePlace) -> ShippedPlace:
    return ShippedPlace(DirectoryPlace(tmp_path / "disk"), store)


def on_disk(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "disk").glob("*/*.json"))


def test_the_last_checkpoint_is_the_one_with_the_highest_number(store: StorePlace) -> None:
    assert store.latest() is None
    assert store.read() == ([], [])
    for seq in (99_999, 1_234_567, 100_000, 7):
        store.put(checkpoint(seq))
    latest = store.latest()
    assert latest is not None
    assert latest.seq == 1_234_567
    assert [one.seq for one in store.read()[0]] == [7, 99_999, 100_000, 1_234_567]


def test_what_is_put_twice_is_there_once(store: StorePlace) -> None:
    store.put(checkpoint(3))
    store.put(checkpoint(3))
    assert len(store.read()[0]) == 1


def test_what_was_put_over_a_checkpoint_shows(store: StorePlace, tmp_path: Path) -> None:
    store.put(checkpoint(3))
    [path] = (tmp_path / "store").rglob("*.json")
    path.write_text(json.dumps(checkpoint(3, digit="b").to_json()))
    checkpoints, problems = store.read()
    assert checkpoints == []
    assert "something else was put over it" in problems[0]
    with pytest.raises(ValueError, match="put over it"):
        store.latest()


def test_a_second_checkpoint_of_the_same_entry_is_read_beside_the_first(store: StorePlace) -> None:
    store.put(checkpoint(3))
    store.put(checkpoint(3, digit="b"))
    assert {one.hash[0] for one in store.read()[0]} == {"a", "b"}


def test_checkpoints_wait_on_the_disk_and_go_in_order(shipped: ShippedPlace, store: StorePlace, tmp_path: Path) -> None:
    for seq in (2, 4):
        shipped.put(checkpoint(seq))
    assert on_disk(tmp_path) == ["000000000000002.json", "000000000000004.json"]
    assert [one.seq for one in shipped.read()[0]] == [2, 4], "what waits counts already"
    latest = shipped.latest()
    assert latest is not None
    assert latest.seq == 4
    shipped.ship()
    assert on_disk(tmp_path) == []
    assert [one.seq for one in store.read()[0]] == [2, 4]
    assert shipped.waiting_seconds == 0


def test_a_store_that_is_away_stops_nothing_and_shows(tmp_path: Path) -> None:
    now = 0.0
    (tmp_path / "store").write_text("a file where the store should be")
    store = StorePlace(f"file://{tmp_path}/store/ledger")
    shipped = ShippedPlace(DirectoryPlace(tmp_path / "disk"), store, monotonic=lambda: now)
    shipped.put(checkpoint(2))
    now = 30.0
    with pytest.raises(OSError):
        shipped.ship()
    shipped.put(checkpoint(4))
    now = 70.0
    assert shipped.waiting_seconds == 70
    (tmp_path / "store").unlink()
    shipped.ship()
    assert shipped.waiting_seconds == 0
    assert [one.seq for one in store.read()[0]] == [2, 4]


def test_what_an_ended_process_left_is_brought_by_the_next(tmp_path: Path, store: StorePlace) -> None:
    DirectoryPlace(tmp_path / "disk").put(checkpoint(2))
    stop = threading.Event()
    stop.set()
    ShippedPlace(DirectoryPlace(tmp_path / "disk"), store).run(stop)
    assert [one.seq for one in store.read()[0]] == [2]


def test_a_checkpoint_that_is_brought_to_the_store_while_the_disk_is_read_is_not_missed(
    tmp_path: Path, store: StorePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, listed = DirectoryPlace(tmp_path / "disk"), DirectoryPlace._files
    read, other = ShippedPlace(disk, store), ShippedPlace(DirectoryPlace(tmp_path / "disk"), store)

    def overtaken() -> list[Path]:
        found = listed(disk)
        other.ship()
        return found

    monkeypatch.setattr(disk, "_files", overtaken)
    read.put(checkpoint(2))
    latest = read.latest()
    assert latest is not None
    assert latest.seq == 2
    read.put(checkpoint(4))
    checkpoints, problems = read.read()
    assert ([one.seq for one in checkpoints], problems) == ([2, 4], [])


# --- over HTTP --------------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(s3: Any) -> Any:
    """The audit bucket as the component makes it: Object Lock with a default retention."""
    s3.client.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
    retention = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 400}}
    configuration = {"ObjectLockEnabled": "Enabled", "Rule": retention}
    s3.client.put_object_lock_configuration(Bucket=BUCKET, ObjectLockConfiguration=configuration)
    return s3


@pytest.mark.slow
def test_a_ledger_is_sealed_in_a_locked_bucket_and_verified_from_there(bucket: Any, tmp_path: Path) -> None:
    store = StorePlace(bucket.store(BUCKET, "ledger") + "&allow_delayed_open=true")
    place = ShippedPlace(DirectoryPlace(tmp_path / "disk"), store)
    ledger = Ledger(open_engine(f"sqlite:///{tmp_path}/ledger.db"))
    checkpointer = Checkpointer(ledger, place, KEY)
    for _ in range(3):
        ledger.append([EVENT])
        checkpointer.seal()
        place.ship()
    report = audit(ledger, place, KEYS)
    assert report.ok
    assert (report.checkpoints, report.sealed) == (3, ledger.head().seq)

    versions = bucket.client.list_object_versions(Bucket=BUCKET)["Versions"]
    assert len(versions) == 3
    for one in versions:
        found = bucket.client.head_object(Bucket=BUCKET, Key=one["Key"])
        assert found["ObjectLockMode"] == "COMPLIANCE"
        assert found["ObjectLockRetainUntilDate"] > datetime.now(UTC) + timedelta(days=399)
        with pytest.raises(bucket.client.exceptions.ClientError, match="AccessDenied"):
            bucket.client.delete_object(Bucket=BUCKET, Key=one["Key"], VersionId=one["VersionId"])

    # What the bucket holds is what counts: nobody who shortens the ledger gets past it.
    shorter = Ledger(open_engine(f"sqlite:///{tmp_path}/other.db"))
    with pytest.raises(LedgerBrokenError, match="holds checkpoints of ledger"):
        Checkpointer(shorter, ShippedPlace(DirectoryPlace(tmp_path / "new"), store), KEY)
    # An overwritten one shows, and its first version is still there.
    bucket.client.put_object(Bucket=BUCKET, Key=versions[0]["Key"], Body=b"{}")
    assert not audit(ledger, place, KEYS).ok
    assert len(bucket.client.list_object_versions(Bucket=BUCKET)["Versions"]) == 4


@pytest.mark.slow
def test_checkpoints_made_while_the_bucket_is_away_arrive_when_it_is_back(bucket: Any, tmp_path: Path) -> None:
    place = ShippedPlace(DirectoryPlace(tmp_path / "disk"), StorePlace(bucket.store(BUCKET, "ledger")))
    ledger = Ledger(open_engine(f"sqlite:///{tmp_path}/ledger.db"))
    checkpointer = Checkpointer(ledger, place, KEY)
    bucket.away()
    ledger.append([EVENT])
    checkpointer.seal()
    assert checkpointer.sealed == ledger.head(), "nothing waits for the bucket"
    with pytest.raises(OSError):
        place.ship()
    bucket.back()
    place.ship()
    assert audit(ledger, place, KEYS).ok


# --- what is sent -----------------------------------------------------------------------------------------------------


class Recorder(BaseHTTPRequestHandler):
    """Takes every put, hands out a role's credentials as the agent of EKS Pod Identity does, and notes both."""

    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str, dict[str, str]]]

    def _answer(self) -> None:
        self.seen.append((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}))
        body = b""
        if self.path == "/v1/credentials":
            until = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
            body = json.dumps(
                {"AccessKeyId": "ROLE", "SecretAccessKey": "s", "Token": "session", "Expiration": until}
            ).encode()
        if "chunked" in self.headers.get("transfer-encoding", ""):
            while size := int(self.rfile.readline().strip() or b"0", 16):
                self.rfile.read(size + 2)
            while self.rfile.readline().strip():
                pass
        else:
            self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.send_header("etag", '"x"')
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_POST = _answer  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def recorder() -> Iterator[tuple[str, list[tuple[str, str, dict[str, str]]]]]:
    class Mine(Recorder):
        seen: list[tuple[str, str, dict[str, str]]] = []  # noqa: RUF012 - one list for all requests of this server

    server = ThreadingHTTPServer(("127.0.0.1", 0), Mine)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", Mine.seen
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_checkpoint_is_one_put_with_a_checksum_by_the_role_of_the_pod(
    recorder: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    address, seen = recorder
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "token").write_text("pod-token")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://{address}/v1/credentials")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    options = f"region=eu-central-1&allow_delayed_open=true&scheme=http&endpoint_override={address}"
    StorePlace(f"s3://{BUCKET}/ledger?{options}").put(checkpoint(12))

    asked = [headers for method, path, headers in seen if path == "/v1/credentials"]
    assert asked[0]["authorization"] == "pod-token"
    [(method, path, headers)] = [one for one in seen if one[1] != "/v1/credentials"]
    assert method == "PUT"
    assert path.startswith(f"/{BUCKET}/ledger/0000000000/000000000000012-")
    assert "Credential=ROLE/" in headers["authorization"]
    # S3 takes nothing without a checksum into a bucket under Object Lock.
    assert headers["x-amz-trailer"].startswith("x-amz-checksum-")
