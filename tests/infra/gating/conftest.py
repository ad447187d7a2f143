"""A stack whose engine is a script: it prints a preview, and plays the policy pack by writing its result."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from infra.engine.stack import Stack
from policies.gates import breakglass, verdict
from policies.pack.servicer import RESULT
from policies.releases.keys import AllowedSigner, make_key
from policies.releases.signing import public_key
from policies.rule import Problem, Rule, plan_rule, step_rule

NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)
URN = "urn:pulumi:prod::mlops::"
BUCKET = "aws:s3/bucket:Bucket"


@plan_rule(id="security.one", title="one", severity="high", why="because", fix="close it")
def one(_world: Any) -> Any:
    """Never asked here: the pack is played."""
    yield Problem("open")


@step_rule(id="rollback.two", title="two", severity="high", why="because", fix="keep it", types=(BUCKET,))
def two(step: Any, _world: Any) -> Any:
    """Refuse deletions."""
    if step.operation == "delete":
        yield Problem("it is deleted", urn=step.urn)


RULES: tuple[Rule, ...] = (two, one)


@dataclass(frozen=True)
class Played(Stack):
    """The stack."""

    answer: Mapping[str, Any] = field(default_factory=dict)

    def planned(self, *arguments: str, variables: Mapping[str, str]) -> CompletedProcess[str]:
        assert "--policy-pack" in arguments
        if (written := self.answer.get("evaluation")) is not None:
            Path(variables[RESULT]).write_text(written if isinstance(written, str) else json.dumps(written))
        return CompletedProcess([], self.answer["code"], self.answer["printed"], self.answer["said"])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/rule.py").write_text("RULE = 1\n")
    return tmp_path


@pytest.fixture
def allowed(tmp_path: Path) -> str:
    """A trust root: the key in `key` signs verdicts."""
    own = make_key(tmp_path / "key", "ci@acme")
    other = ed25519.Ed25519PrivateKey.generate()
    lines = [
        AllowedSigner(("ci@acme",), (verdict.NAMESPACE,), public_key(own)),
        AllowedSigner(("asha@acme",), (breakglass.NAMESPACE,), public_key(other)),
    ]
    return "".join(f"{line.line()}\n" for line in lines)


def played(
    project: Path, allowed: str, *steps: Mapping[str, Any], evaluation: Any = True, code: int = 0, **different: Any
) -> Played:
    """Play a stack of production: what the preview holds, and what the pack writes."""
    inputs = {
        "environment": "prod", "stack": "prod", "client": "acme", "target": "aws", "settings": {},
        "commit": "a" * 40, "configuration": "sha256:" + "b" * 64, "trustRoot": "prod", "allowedSigners": allowed,
    }  # fmt: skip
    urn, kind = f"{URN}blueprint:index:Gate::gate", "blueprint:index:Gate"
    state = {"urn": urn, "type": kind, "inputs": {**inputs, **different.pop("gate", {})}}
    passed = {"findings": [], "counts": {"passed": 1}, "asked": ["security.one"]}
    answer = {
        "evaluation": passed if evaluation is True else evaluation,
        "code": code,
        "printed": "warning: old\n" + json.dumps({"steps": [{"op": "create", "urn": urn, "newState": state}, *steps]}),
        "said": "",
        **different,
    }
    variables = different.get("environment", {})
    return Played(project, "prod", variables, answer=answer)


@pytest.fixture
def stack(project: Path, allowed: str) -> Callable[..., Played]:
    """Play a stack whose trust root is that of `allowed`."""
    return lambda *steps, **different: played(project, allowed, *steps, **different)


def bucket(operation: str) -> dict[str, Any]:
    """A step over a bucket."""
    state = {"urn": f"{URN}{BUCKET}::data", "type": BUCKET, "inputs": {}}
    states = {"newState": state} if operation == "create" else {"oldState": state}
    return {"op": operation, "urn": state["urn"], **states}
