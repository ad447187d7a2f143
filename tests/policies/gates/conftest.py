"""Keys of an environment, and documents that are good: each test spoils one thing."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from policies.gates import breakglass, verdict
from policies.gates.breakglass import BreakGlass, witnessed
from policies.gates.decision import Question
from policies.gates.verdict import LIFETIME, Verdict, signed
from policies.releases.keys import AllowedSigner, key_signer
from policies.releases.signing import PrivateKey, public_key

NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)
COMMIT, CONFIGURATION, POLICIES = "a" * 40, "sha256:" + "b" * 64, "sha256:" + "c" * 64
NAMESPACES = {"ci@acme": verdict.NAMESPACE, "asha@acme": breakglass.NAMESPACE, "ben@acme": breakglass.NAMESPACE}


@pytest.fixture(scope="session")
def keys() -> dict[str, PrivateKey]:
    """One that signs verdicts, two people, and a stranger."""
    return {name: ed25519.Ed25519PrivateKey.generate() for name in (*NAMESPACES, "eve@acme")}


@pytest.fixture(scope="session")
def allowed(keys: dict[str, PrivateKey]) -> str:
    """The trust root; the stranger is not in it."""
    signers = (AllowedSigner((name,), (space,), public_key(keys[name])) for name, space in NAMESPACES.items())
    return "".join(f"{one.line()}\n" for one in signers)


@pytest.fixture
def question(allowed: str) -> Callable[..., Question]:
    """What a gate of prod is asked."""

    def make(**different: Any) -> Question:
        given = {
            "stack": "prod", "environment": "prod", "commit": COMMIT, "configuration": CONFIGURATION,
            "policies": POLICIES, "trust_root": "prod", "allowed_signers": allowed,
        }  # fmt: skip
        return Question(**{**given, **different})

    return make


@pytest.fixture
def unsigned() -> Callable[..., Verdict]:
    """A verdict that passed."""

    def make(**different: Any) -> Verdict:
        given = {
            "stack": "prod", "environment": "prod", "commit": COMMIT, "configuration": CONFIGURATION,
            "policies": POLICIES, "outcome": "passed", "registered": 3, "asked": 3, "counts": {"passed": 3},
            "made_at": NOW, "expires_at": NOW + LIFETIME, "trust_root": "prod",
        }  # fmt: skip
        return Verdict.model_validate({**given, **different})

    return make


@pytest.fixture
def good(keys: dict[str, PrivateKey], unsigned: Callable[..., Verdict]) -> Callable[..., Verdict]:
    """A verdict that passed, signed."""

    def make(by: str = "ci@acme", key: str = "", **different: Any) -> Verdict:
        return signed(unsigned(**different), by, key_signer(keys[key or by]))

    return make


@pytest.fixture
def statement(keys: dict[str, PrivateKey]) -> Callable[..., BreakGlass]:
    """A break-glass statement of people, as `name` or `name=whose key`."""

    def make(*people: str, **different: Any) -> BreakGlass:
        given = {
            "stack": "prod", "commit": COMMIT, "reason": "the region is down", "made_at": NOW,
            "expires_at": NOW + timedelta(hours=4), "trust_root": "prod",
        }  # fmt: skip
        made = BreakGlass.model_validate({**given, **different})
        for one in people:
            name, _, key = one.partition("=")
            made = witnessed(made, name, key_signer(keys[key or name]))
        return made

    return make


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a rule and a table."""
    (tmp_path / "policies/rules").mkdir(parents=True)
    (tmp_path / "policies/rules/one.py").write_text("RULE = 1\n")
    (tmp_path / "policies/prices.csv").write_text("a,1\n")
    (tmp_path / "stacks").mkdir()
    return tmp_path
