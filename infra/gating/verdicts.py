"""From an assessment to a verdict in the gate's folder, signed where there is a key and it passed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from infra.engine.errors import EngineError
from infra.gating.assessment import Assessment
from policies.facts import GATE
from policies.gates import verdict
from policies.gates.decision import GATED, GateClosedError, Passage, Question, decide
from policies.gates.files import GateFileError, read_break_glass, read_verdict, verdict_file, write
from policies.gates.verdict import Answered, Verdict, signed, verdict_of
from policies.releases import keys
from policies.releases.keys import REHEARSAL, KeyFileError, Signer
from policies.releases.signing import PublicKey, SignatureError, public_key

KEY = "MLOPS_GATE_KEY"
"""Variable of the environment with the file of the key that signs: a private key, or the `.pub` file of one that an
agent holds."""


class GateKeyError(EngineError):
    """There is a key, but it cannot sign for this gate."""


@dataclass(frozen=True)
class Identity:
    """Who signs, and with what."""

    principal: str
    signer: Signer


def identity(
    namespace: str, trust_root: str, allowed: str, environ: Mapping[str, str] | None = None
) -> Identity | None:
    """Return who signs with the key that the environment names, None where it names none.

    Args:
        namespace: what is signed.
        trust_root: name of the trust root.
        allowed: its keys, in the format of allowed signers; the key's line says whose it is.
        environ: variables of the environment; this process's unless stated.

    Raises:
        GateKeyError: the key cannot be used, or the trust root does not let it sign this.
    """
    stated = (os.environ if environ is None else environ).get(KEY)
    if not stated:
        return None
    path = Path(stated).expanduser()
    try:
        key, signer = _key(path)
        root = keys.parse_trust_root(trust_root, allowed, "gates.allowedSigners")
    except (KeyFileError, SignatureError, OSError) as error:
        raise GateKeyError(f"{KEY}: {error}") from None
    for line in root.signers:
        if line.key == key and line.may_sign(namespace):
            return Identity(line.principals[0], signer)
    raise GateKeyError(f"{KEY}: the trust root {trust_root!r} does not let key {key.fingerprint} sign for {namespace}")


def _key(path: Path) -> tuple[PublicKey, Signer]:
    if path.suffix == ".pub":
        return PublicKey.parse(path.read_text()), keys.program_signer(path)
    private = keys.read_private_key(path)
    return public_key(private), keys.key_signer(private)


def gate_inputs(assessment: Assessment) -> Mapping[str, Any]:
    """Return what the gate of a plan states."""
    return assessment.plan.of(GATE)[0].inputs


def write_verdict(
    assessment: Assessment,
    answers: Sequence[Answered],
    folder: Path,
    now: datetime,
    environ: Mapping[str, str] | None = None,
) -> Verdict:
    """Write what the policies said of a gated environment to the gate's folder, signed where it can be; return it.

    A verdict that is there already for the same thing, and signed, is not put away for one that nobody signs.

    Args:
        assessment: what came of asking the rules.
        answers: what came of asking the rest.
        folder: the gate's folder.
        now: the time.
        environ: variables of the environment; this process's unless stated.

    Raises:
        GateKeyError: there is a key that cannot sign.
    """
    inputs, facts = gate_inputs(assessment), assessment.facts
    judged = {
        "stack": facts.stack, "environment": facts.environment, "commit": facts.commit,
        "configuration": facts.configuration, "policies": assessment.policies,
    }  # fmt: skip
    made = verdict_of(
        assessment.evaluation, judged, registered=assessment.registered, deferred=answers,
        trust_root=inputs["trustRoot"], now=now,
    )  # fmt: skip
    if made.outcome == "passed":
        who = identity(verdict.NAMESPACE, made.trust_root, inputs["allowedSigners"], environ)
        if who is None:
            if opens(assessment, folder, now, by_people=False) is not None:
                return made
        else:
            made = signed(made, who.principal, who.signer)
    write(verdict_file(folder), made)
    return made


def opens(assessment: Assessment, folder: Path, now: datetime, *, by_people: bool = True) -> Passage | None:
    """Return by what the gate would open with what lies in its folder, None where it would not."""
    try:
        return passage(assessment, folder, now, by_people=by_people)
    except (GateClosedError, GateFileError):
        return None


def passage(assessment: Assessment, folder: Path, now: datetime, *, by_people: bool = True) -> Passage:
    """Return by what the gate would open with what lies in its folder.

    Raises:
        GateClosedError: it would not.
        GateFileError: what lies there is not what it should be.
    """
    inputs, facts = gate_inputs(assessment), assessment.facts
    question = Question(
        stack=facts.stack, environment=facts.environment, commit=facts.commit, configuration=facts.configuration,
        policies=assessment.policies, trust_root=inputs["trustRoot"], allowed_signers=inputs["allowedSigners"],
        rehearsal=inputs["trustRoot"] == REHEARSAL,
    )  # fmt: skip
    return decide(question, read_verdict(folder), read_break_glass(folder) if by_people else None, now)


def gated(assessment: Assessment) -> bool:
    """Return whether the environment asks for a verdict."""
    return assessment.facts.environment in GATED
