"""What training signs is what a replica accepts, and a key that cannot be used stops before the work."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from policies.releases.approval import check_artifact
from policies.releases.keys import make_demo_keys
from policies.releases.manifest import Signature
from training import signing
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


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, variables: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """Puts a text into Secrets Manager, None a secret without one, and names it as the key."""
    variables.setenv("MLOPS_SIGNING_KEY", "secretsmanager:acme/prod/signing-key")

    def put(text: str | None) -> None:
        def read(secret: str) -> str:
            assert secret == "acme/prod/signing-key"
            if text is None:
                raise TrainingError(f"secret {secret} cannot be read: it has no value")
            return text

        monkeypatch.setattr(signing, "secret_value", read)

    return put


def test_key_of_the_cloud_signs_and_is_on_no_disk(
    tmp_path: Path, kept: Callable[[str | None], None], evaluation: Any
) -> None:
    keys = make_demo_keys(tmp_path / "people", "local")
    kept(keys.trainer.key.read_text().rstrip("\n"))  # as a console pastes it

    said = signed(signing_identity(), "churn", DIGEST, evaluation)

    signature, at = Signature.model_validate(said["signature"]), datetime(2026, 11, 20, 9, tzinfo=UTC)
    assert check_artifact("churn", DIGEST, signature, {"local": keys.trust_root}, at)
    assert not (tmp_path / "keys").exists()


def test_key_of_the_cloud_that_is_not_there_stops_and_says_what_to_do(kept: Callable[[str | None], None]) -> None:
    kept(None)
    with pytest.raises(TrainingError, match=r"acme/prod/signing-key cannot be read.*nothing is trained unsigned"):
        signing_identity()


def test_what_is_no_key_is_refused_without_being_shown(kept: Callable[[str | None], None]) -> None:
    kept("hunter2")
    with pytest.raises(TrainingError, match="secret acme/prod/signing-key: not a usable private key") as error:
        signing_identity()
    assert "hunter2" not in str(error.value)
