"""What training signs is what a replica accepts, and a key that cannot be used stops before the work."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from policies.releases.approval import check_artifact
from policies.releases.keys import make_demo_keys
from policies.releases.manifest import Signature
from training.errors import TrainingError
from training.signing import signed, signing_identity

DIGEST = "sha256:" + "a" * 64
AT = "2026-11-20T09:00:00Z"


@pytest.fixture
def evaluation() -> Any:
    return SimpleNamespace(to_json=lambda: {"evaluatedAt": AT})


@pytest.fixture
def variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("MLOPS_SIGNING_KEY", str(tmp_path / "keys" / "trainer"))
    monkeypatch.setenv("MLOPS_SIGNER", "trainer@local")
    monkeypatch.setenv("MLOPS_TRUST_ROOT", "local")
    return monkeypatch


def test_signature_is_good_under_the_trust_root_of_the_environment(
    tmp_path: Path, variables: pytest.MonkeyPatch, evaluation: Any
) -> None:
    said = signed(signing_identity(), "churn", DIGEST, evaluation)
    root = make_demo_keys(tmp_path / "keys", "local").trust_root

    signature, at = Signature.model_validate(said["signature"]), datetime(2026, 11, 20, 9, tzinfo=UTC)
    assert check_artifact("churn", DIGEST, signature, {"local": root}, at)
    assert (said["trainedBy"], said["trainedAt"]) == ("trainer@local", AT)


def test_nothing_is_signed_without_a_key(monkeypatch: pytest.MonkeyPatch, evaluation: Any) -> None:
    monkeypatch.delenv("MLOPS_SIGNING_KEY", raising=False)
    assert signed(signing_identity(), "churn", DIGEST, evaluation) == {
        "trainedBy": None, "trainedAt": AT, "signature": None,
    }  # fmt: skip


def test_key_without_a_name_or_open_to_others_is_refused(tmp_path: Path, variables: pytest.MonkeyPatch) -> None:
    signing_identity()
    (tmp_path / "keys" / "trainer").chmod(0o644)
    with pytest.raises(TrainingError, match=r"MLOPS_SIGNING_KEY: .*chmod 600"):
        signing_identity()
    variables.delenv("MLOPS_SIGNER")
    with pytest.raises(TrainingError, match="MLOPS_SIGNER and MLOPS_TRUST_ROOT must say whose key it is"):
        signing_identity()
