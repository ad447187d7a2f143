"""Recorded states: nothing secret or of one machine in them, and today's program goes on from an earlier version's."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from infra.planning.recorded import PLACEHOLDER, RecordedStateError, Upgrade, parse, read, record, upgrade, write
from policies.plan import Operation, Step

PROJECT = Path(__file__).parents[3]
RECORDED = Path(__file__).parent / "recorded"
STATES = sorted(RECORDED.glob("*.json.gz"))
BY_DESIGN = {"kubernetes:core/v1:ConfigMap control"}
"""Data of a ConfigMap cannot change: it is made anew under its name, and the pods that mount it start anew."""
SECRET = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "v1:abc:def"}


def exported(**outputs: Any) -> dict[str, Any]:
    urn = "urn:pulumi:dev::mlops::aws:s3/bucket:Bucket::models"
    one = {"urn": urn, "type": "aws:s3/bucket:Bucket", "custom": True, "outputs": outputs, "inputs": {}}
    noise = {"created": "2026-11-20T09:00:00Z", "stackTrace": [{"pc": 1}], "sourcePosition": "project:///a.py#3"}
    return {"version": 3, "deployment": {"manifest": {"time": "now"}, "resources": [one | noise]}}


@pytest.mark.parametrize("path", STATES, ids=lambda path: path.name)
def test_what_is_committed_holds_nothing_secret_and_nothing_of_a_machine(path: Path) -> None:
    text = gzip.decompress(path.read_bytes()).decode()
    assert "ciphertext" not in text
    assert all(f"/{folder}/" not in text for folder in ("home", "root", "work"))
    assert "127.0.0.1" not in text
    assert "LS0tLS1CRUdJTi" not in text
    assert "stackTrace" not in text
    assert read(path) == json.loads(text), "recording it again changes nothing"


def test_secrets_times_and_addresses_are_left_out() -> None:
    kept = record(
        exported(
            token=SECRET,
            nested={"list": [SECRET]},
            url="https://127.0.0.1:4123/queue",
            kubeconfig=json.dumps({"certificate-authority-data": "QUJD" * 30}),
            ca="LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t",
        )
    )["deployment"]
    [one] = kept["resources"]
    assert set(one) == {"urn", "type", "custom", "outputs", "inputs"}
    assert json.loads(one["outputs"]["token"]["plaintext"]) == PLACEHOLDER
    assert one["outputs"]["nested"]["list"] == [one["outputs"]["token"]]
    assert one["outputs"]["url"] == "https://recorded.invalid/queue"
    assert json.loads(one["outputs"]["kubeconfig"]) == {"certificate-authority-data": PLACEHOLDER}
    assert one["outputs"]["ca"] == PLACEHOLDER


def test_the_same_state_is_written_as_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(record(exported(b=1, a=2)), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no json", "no state of a stack"),
        (b"\x1f\x8bno gzip", "no state of a stack"),
        (b"[]", "but a list"),
        (b"{}", "has no resources"),
        (b'{"deployment": {"resources": [], "pending_operations": [1]}}', "operations are pending"),
    ],
)
def test_what_is_no_state_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(RecordedStateError, match=said):
        parse(content, "it")


def step(operation: Operation, kind: str) -> Step:
    return Step(operation=operation, urn=f"urn:pulumi:dev::mlops::{kind}::one", type=kind)


def test_replaced_and_deleted_things_that_hold_state_are_lost() -> None:
    bucket, topic = "aws:s3/bucket:Bucket", "aws:sns/topic:Topic"
    found = Upgrade([step("replace", bucket), step("delete", bucket), step("update", bucket), step("delete", topic)])
    assert found.lost == [f"{bucket} one: all objects of the bucket"] * 2
    assert found.of("delete") == [f"{bucket} one", f"{topic} one"]


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.parametrize("path", STATES, ids=lambda path: path.name)
def test_todays_program_goes_on_from_the_state_of_an_earlier_version(path: Path) -> None:
    found = upgrade(PROJECT, path.name.partition("-")[0], read(path))
    assert found.lost == []
    assert found.of("delete") == []
    assert set(found.of("replace")) <= BY_DESIGN
    # It was compared: what was added since is made, what stayed is left alone or updated in place.
    assert "blueprint:index:Gate gate" in found.of("create")
    assert 0 < len(found.of("update")) < len(read(path)["deployment"]["resources"]) / 2
