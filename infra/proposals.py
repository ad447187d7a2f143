"""From what a training run left to a release manifest, ready to be approved.

The facts come from the result of the training job and from the registry; nothing in them is typed by a person. The
artifact was signed when it was trained; approvals are added by others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from infra import git
from policies.releases.approval import artifact_bytes, sign_artifact
from policies.releases.keys import DemoKeys, key_signer, read_private_key
from policies.releases.manifest import ARTIFACT_NAMESPACE, Manifest, Signature
from policies.releases.signing import SignatureError, verify

Fetch = Callable[[str], Any]
"""Takes a path on the registry, returns its JSON answer."""
Resolve = Callable[[str], str | None]
"""Takes an abbreviated commit, returns the whole one where there is exactly one."""


class ProposalError(Exception):
    """A version cannot be proposed; the message says what is missing."""


def trained(jobs: Path, model: str) -> dict[str, dict[str, Any]]:
    """The versions that this environment trained, by version, from the results of its jobs.

    Args:
        jobs: the folder of job results.
        model: name of the model.
    """
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(jobs.glob("*/*/result.json"), key=lambda path: path.stat().st_mtime):
        try:
            result = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(result, dict) and result.get("model") == model and {"version", "files", "digest"} <= set(result):
            found[str(result["version"])] = result
    return found


def newest(versions: Mapping[str, Mapping[str, Any]], model: str) -> str:
    """The newest version that passed its evaluation.

    Raises:
        ProposalError: there is none.
    """
    passed = [version for version, result in versions.items() if result.get("passed") is True]
    if not passed:
        raise ProposalError(f"no version of {model} that was trained here passed its evaluation; train one first")
    return max(passed, key=int)


def propose(candidate: Mapping[str, Any], fetch: Fetch, keys: DemoKeys, resolve: Resolve | None = None) -> Manifest:
    """Make the manifest of a candidate with the signature of who trained it, without approvals.

    A version that was made otherwise than by a training job has none; it is signed with the trainer's demo key here.
    Its intended use and risk tier are those of its `ModelSpec`, which training wrote down; the commit is the one that
    it was trained from.

    Args:
        candidate: the result of a training job.
        fetch: reads from the registry.
        keys: keys of the environment.
        resolve: returns the whole name of a commit that was abbreviated, None where it is not known.

    Raises:
        ProposalError: the candidate did not pass, its commit cannot be resolved, or a fact that a manifest
            states is not known.
    """
    model, version, digest = str(candidate["model"]), str(candidate["version"]), str(candidate["digest"])
    evaluation = candidate.get("evaluation") or {}
    if candidate.get("passed") is not True:
        reasons = "; ".join(evaluation.get("reasons") or ()) or "its result names no reason"
        raise ProposalError(f"version {version} of {model} did not pass its evaluation: {reasons}")
    registered = fetch(f"/api/2.0/mlflow/registered-models/get?name={model}").get("registered_model", {})
    tags = {tag["key"]: tag["value"] for tag in registered.get("tags", ())}
    run = str(candidate["source"]).removeprefix("mlflow-artifacts:/").rpartition("/")[0]
    environment = fetch(f"/api/2.0/mlflow-artifacts/artifacts/{run}/environment.json")
    document = {
        "model": model,
        "version": version,
        "digest": digest,
        "source": candidate["source"],
        "files": dict(candidate["files"]),
        "run": candidate["run"],
        "commit": _commit(str(candidate["commit"]), f"version {version} of {model}", resolve),
        "trainedBy": candidate.get("trainedBy") or keys.trainer.principal,
        "trainedAt": candidate.get("trainedAt") or evaluation.get("evaluatedAt"),
        "dataDigest": candidate["dataDigest"],
        "seed": candidate["seed"],
        "lockDigest": environment.get("lockDigest"),
        "architecture": evaluation.get("architecture"),
        "riskTier": candidate.get("riskTier") or tags.get("mlops.risk_tier"),
        "intendedUse": candidate.get("intendedUse") or registered.get("description"),
        "evaluation": evaluation,
    }
    signature = candidate.get("signature")
    if not _covers(signature, model, digest):
        signer = key_signer(read_private_key(keys.trainer.key))
        signature = sign_artifact(model, digest, keys.trainer.principal, keys.trust_root.name, signer).to_json()
    try:
        return Manifest.model_validate(document | {"signature": signature})
    except ValueError as error:
        missing = [
            f"{'.'.join(map(str, one['loc']))} {json.dumps(one.get('input'), default=str)[:80]}: {one['msg']}"
            for one in error.errors()  # type: ignore[attr-defined]
        ]
        raise ProposalError(f"version {version} of {model} can't be proposed: {'; '.join(missing)}") from None


def git_commit(project: Path) -> Resolve:
    """Return what finds the whole name of a commit in the history of a project."""

    def resolve(name: str) -> str | None:
        question = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        return git.answer(project, *question, seconds=10) or None

    return resolve


def _commit(stated: str, what: str, resolve: Resolve | None) -> str:
    """Return the whole name of the commit that a version was trained from."""
    if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", stated):
        return stated
    if not re.fullmatch(r"[0-9a-f]{4,63}", stated):
        raise ProposalError(
            f"{what} can't be proposed: it was trained from the commit {stated!r}, which is no commit. Train in a git "
            "checkout, or set MLOPS_COMMIT to the output of `git rev-parse HEAD`, and train again"
        )
    whole = resolve(stated) if resolve else None
    if whole is None:
        raise ProposalError(
            f"{what} can't be proposed: it was trained from the commit {stated}, an abbreviation that this checkout "
            "knows no or several commits for. Run `git fetch` if it was made elsewhere; or set MLOPS_COMMIT to all "
            "40 digits, as `git rev-parse HEAD` prints them, and train again"
        )
    return whole


def _covers(signature: Any, model: str, digest: str) -> bool:
    """Whether a candidate's signature is one over its own artifact; whose it is, the environment judges."""
    try:
        stated = Signature.model_validate(signature)
        verify(stated.value, ARTIFACT_NAMESPACE, artifact_bytes(model, digest))
    except (ValueError, SignatureError):
        return False
    return True
