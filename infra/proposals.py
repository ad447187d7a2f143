"""From what a training run left to a release manifest, ready to be approved.

The facts come from the result of the training job and from the registry; nothing in them is typed by a person. Who
trained signs the artifact; approvals are added by others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from policies.releases.approval import sign_artifact
from policies.releases.keys import DemoKeys, key_signer, read_private_key
from policies.releases.manifest import Manifest

Fetch = Callable[[str], Any]
"""Takes a path on the registry, returns its JSON answer."""


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


def propose(candidate: Mapping[str, Any], fetch: Fetch, keys: DemoKeys) -> Manifest:
    """Make the manifest of a candidate, signed by who trained it, without approvals.

    Args:
        candidate: the result of a training job.
        fetch: reads from the registry.
        keys: keys of the environment.

    Raises:
        ProposalError: the candidate did not pass, or a fact that a manifest states is not known.
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
        "commit": candidate["commit"],
        "trainedBy": keys.trainer.principal,
        "trainedAt": evaluation.get("evaluatedAt"),
        "dataDigest": candidate["dataDigest"],
        "seed": candidate["seed"],
        "lockDigest": environment.get("lockDigest"),
        "architecture": evaluation.get("architecture"),
        "riskTier": tags.get("mlops.risk_tier"),
        "intendedUse": registered.get("description"),
        "evaluation": evaluation,
    }
    signer = key_signer(read_private_key(keys.trainer.key))
    signature = sign_artifact(model, digest, keys.trainer.principal, keys.trust_root.name, signer)
    try:
        return Manifest.model_validate(document | {"signature": signature.to_json()})
    except ValueError as error:
        missing = [
            f"{'.'.join(map(str, one['loc']))} {json.dumps(one.get('input'), default=str)[:80]}: {one['msg']}"
            for one in error.errors()  # type: ignore[attr-defined]
        ]
        hint = "; train from a commit" if candidate.get("commit") == "unknown" else ""
        raise ProposalError(f"version {version} of {model} can't be proposed: {'; '.join(missing)}{hint}") from None
