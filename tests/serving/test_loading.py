"""Nothing is loaded that is not signed by who is trusted here, whatever registry, cache and controller say."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from policies.releases.keys import KeyFileError
from policies.releases.signing import SignatureError
from serving import loading
from serving.candidate import PLATFORM_FAULT, CandidateError, CandidateModel
from serving.config import Settings
from serving.loading import Loader, explained, fault
from serving.runtime.artifact import ArtifactError, content_digest, file_hashes
from serving.state import Release, StateError

Make = Callable[..., Path]


@pytest.fixture
def make_release(make_artifact: Make) -> Callable[..., Release]:
    """A maker of releases whose files really lie there."""

    def make(name: str = "model", bias: float = 0.0) -> Release:
        folder = make_artifact(name, bias=bias)
        files = file_hashes(folder)
        return Release("1", content_digest(files), f"file:{folder}", files, "shared")

    return make


def settings(folder: Path, trust: dict[str, Any] | None) -> Settings:
    stated = {
        "ray": {"address": "x"},
        "control": {"url": "http://control", "token": "replica"},
        "registry": {"url": "http://127.0.0.1:9"},
        "snapshot": folder / "snapshot.json",
        "snapshotKey": "snapshot-key-of-16",
        "modelCache": folder / "cache",
        "groups": [{"name": "shared", "route": "/v2"}],
    }
    return Settings.model_validate(stated | ({} if trust is None else {"trust": trust}))


def test_what_its_trainer_signed_is_loaded(tmp_path: Path, signing: Any, make_release: Any) -> None:
    loader = Loader(settings(tmp_path, signing.config))
    assert loader.load("small", signing.sign("small", make_release())).signature.inputs


@pytest.mark.parametrize("case", ["unsigned", "stranger", "other model", "other digest", "other root", "nobody"])
def test_bad_signature_is_the_releases_fault_and_neither_fetched_nor_loaded(
    case: str, tmp_path: Path, signing: Any, make_release: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, trust = make_release(), signing.config
    good = signing.sign("small", release)
    bad, said = {
        "unsigned": (release, "is not signed"),
        "stranger": (signing.sign("small", release, stranger=True), "unknown signer"),
        "other model": (signing.sign("large", release), "does not match"),
        "other digest": (
            replace(release, signature=signing.sign("small", make_release("other", bias=0.1)).signature,
                    trained_at=good.trained_at),
            "does not match",
        ),
        "other root": (
            replace(good, signature=good.signature.model_copy(update={"trust_root": "rehearsal"})),
            "never accepted here",
        ),
        "nobody": (good, "only none at all"),
    }[case]  # fmt: skip
    if case == "nobody":
        trust = None
    monkeypatch.setattr(loading, "load", lambda _folder: pytest.fail("it was loaded"))
    with pytest.raises(SignatureError, match=said) as caught:
        Loader(settings(tmp_path, trust)).load("small", bad)
    assert fault(caught.value) == "model"
    assert explained(caught.value).startswith("not loaded, its signature is refused: ")
    assert not (tmp_path / "cache").exists()


def test_optional_signature_must_be_good_where_there_is_one(tmp_path: Path, signing: Any, make_release: Any) -> None:
    loader = Loader(settings(tmp_path, signing.config | {"signature": "optional"}))
    release = make_release()
    assert loader.load("small", release).signature.inputs
    with pytest.raises(SignatureError, match="unknown signer"):
        loader.load("small", signing.sign("small", release, stranger=True))


def test_key_that_was_removed_makes_nothing_loadable_any_more(tmp_path: Path, signing: Any, make_release: Any) -> None:
    loader, release = Loader(settings(tmp_path, signing.config)), signing.sign("small", make_release())
    loader.load("small", release)
    signing.forget_trainer()
    with pytest.raises(SignatureError, match="unknown signer"):
        loader.load("small", release)


def test_trust_root_that_cannot_be_read_is_the_platforms_fault(tmp_path: Path, signing: Any, make_release: Any) -> None:
    release = signing.sign("small", make_release())
    signing.keys.allowed_signers.unlink()
    with pytest.raises(KeyFileError, match="trust root 'local' can't be read") as caught:
        Loader(settings(tmp_path, signing.config)).load("small", release)
    assert fault(caught.value) == "platform"


def test_tampered_file_in_a_warm_cache_is_found_and_fetched_anew(
    tmp_path: Path, signing: Any, make_release: Any, caplog: pytest.LogCaptureFixture
) -> None:
    loader, release = Loader(settings(tmp_path, signing.config)), signing.sign("small", make_release())
    loader.load("small", release)
    cached = next((tmp_path / "cache").glob("[0-9a-f]*")) / "model.onnx"
    sound = cached.read_bytes()
    cached.write_bytes(sound[:-1] + b"x")
    loader.load("small", release)
    assert cached.read_bytes() == sound
    assert "model.onnx was changed" in caplog.text


def test_tampered_file_in_the_registry_is_told_with_what_to_do_and_not_loaded(
    tmp_path: Path, signing: Any, make_release: Any, make_artifact: Make
) -> None:
    release = signing.sign("small", make_release())
    make_artifact("model", bias=0.3)
    with pytest.raises(
        ArtifactError, match=r"holds something else than was released: model\.onnx was changed.*Put the"
    ):
        Loader(settings(tmp_path, signing.config)).load("small", release)
    assert list((tmp_path / "cache").glob("[0-9a-f]*")) == []


async def test_candidate_says_whose_fault_it_is(tmp_path: Path, signing: Any, make_release: Any) -> None:
    release = make_release()
    stated = settings(tmp_path, signing.config)
    with pytest.raises(CandidateError, match=r"the model cannot be loaded: not loaded, its signature is refused"):
        await CandidateModel(stated, "small", signing.sign("small", release, stranger=True)).start()
    signing.keys.allowed_signers.unlink()
    with pytest.raises(CandidateError, match=PLATFORM_FAULT):
        await CandidateModel(stated, "small", signing.sign("small", release)).start()


def test_signature_travels_with_the_release(signing: Any, make_release: Any) -> None:
    release = signing.sign("small", make_release())
    assert Release.from_json(release.to_json()) == release
    for key, value, said in (
        ("signature", {"value": "x"}, r"release\.signature\.principal"),
        ("trainedAt", "yesterday", r"release\.trainedAt: 'yesterday'"),
        ("trainedAt", "2026-11-20T09:00:00", "with its zone"),
    ):
        with pytest.raises(StateError, match=said):
            Release.from_json(release.to_json() | {key: value})
