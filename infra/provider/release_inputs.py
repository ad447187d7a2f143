"""What a `ModelRelease` may be told, which release that means, and the plan that a preview shows. Pure.

The inputs say which version; `resolve` turns `latest` into the version that a training job's result carries, and a
pinned version into what its manifest says.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.provider.codec import UNKNOWN, Properties
from infra.provider.inputs import (
    Input,
    any_object,
    between,
    filled_text,
    flag,
    http_address,
    matching,
    name,
    one_of,
    text,
)

_PERCENT = Input(rule=between(0, 100, whole=False))
_STEP = Input(
    fields={
        "weight": _PERCENT,
        "mirror": _PERCENT,
        "minutes": Input(rule=between(0, 43_200, whole=False)),
        "requests": Input(rule=between(0, 10_000_000)),
        "gate": Input(rule=flag),
    }
)
FIELDS = {
    "model": Input(rule=name, required=True),
    "version": Input(rule=matching(r"latest|[1-9][0-9]{0,8}", "must be `latest` or a version number"), required=True),
    "group": Input(rule=name, required=True),
    "candidate": Input(rule=any_object),
    "manifest": Input(rule=any_object),
    # For the policies that judge a preview: what a rollback can return to, and whose approvals count.
    "previous": Input(rule=any_object),
    "trust": Input(
        fields={
            "environment": Input(rule=name, required=True),
            "approval": Input(rule=one_of("rule", "signatures"), required=True),
            "root": Input(rule=name, required=True),
            "signers": Input(rule=text, required=True),
        }
    ),
    "strategy": Input(
        fields={
            "kind": Input(rule=one_of("all-at-once", "canary", "blue-green", "shadow", "ab"), default="all-at-once"),
            "steps": Input(items=_STEP),
            "bakeMinutes": Input(rule=between(0, 43_200, whole=False)),
            "then": Input(rule=one_of("promote", "gate", "stop")),
            "onConflict": Input(rule=one_of("supersede", "queue")),
            "limits": Input(rule=any_object),
            "evidence": Input(rule=any_object),
            "deadlines": Input(rule=any_object),
            "after": Input(rule=any_object),
        },
        default={"kind": "all-at-once"},
    ),
    "shadows": Input(
        items=Input(
            fields={
                "version": Input(rule=matching(r"[1-9][0-9]{0,8}", "must be a version number"), required=True),
                "sample": Input(rule=between(0, 100, whole=False), default=100),
                "manifest": Input(rule=any_object),
            }
        )
    ),
    "controller": Input(
        fields={
            "url": Input(rule=http_address, required=True),
            "token": Input(rule=text, secret=True, required=True),
            "proxy": Input(
                fields={
                    "cluster": Input(rule=filled_text, required=True),
                    "region": Input(rule=filled_text, required=True),
                    "authority": Input(rule=filled_text, required=True),
                }
            ),
        },
        required=True,
    ),
    "wait": Input(rule=flag, default=True),
    "onInterrupt": Input(rule=one_of("leave", "abort"), default="leave"),
    "timeoutSeconds": Input(rule=between(1, 24 * 3600), default=1800),
}


@dataclass(frozen=True)
class Release:
    """A version with everything that a replica needs to fetch and verify it.

    `signature` is that of who trained it, made at `trained_at`. `manifest` is what people
    approved; without one only a rule of the environment can let it start.
    """

    version: str
    digest: str
    source: str
    files: dict[str, str]
    signature: dict[str, Any] | None = None
    trained_at: str | None = None
    manifest: dict[str, Any] | None = None

    def identity(self) -> Properties:
        """Return what tells one release from another."""
        return {"version": self.version, "digest": self.digest}


def resolve(inputs: Properties) -> Release | str:
    """Return the release that `inputs` (plain, known) ask for, or why there is none."""
    model, version, manifest, candidate = (inputs.get(part) for part in ("model", "version", "manifest", "candidate"))
    if manifest is not None:
        if version == "latest":
            return "`version` is latest, which `candidate` decides: a `manifest` belongs to a version number"
        return _from_document(model, version, manifest, "manifest")
    if candidate is None:
        missing = "`candidate`, the result of its training job" if version == "latest" else "`manifest`"
        return f"version {version} of {model} needs {missing}"
    if candidate.get("passed") is not True:
        return f"version {candidate.get('version')} of {model} did not pass its evaluation: {_reasons(candidate)}"
    asked = str(candidate.get("version")) if version == "latest" else version
    return _from_document(model, asked, candidate, "candidate")


def resolve_shadows(inputs: Properties) -> list[Properties] | str:
    """Return the shadows that `inputs` (plain, known) ask for as the controller takes them, or what is wrong."""
    found = []
    for shadow in inputs.get("shadows") or []:
        model, version, manifest = inputs.get("model"), str(shadow["version"]), shadow.get("manifest")
        if manifest is None:
            write = f"`./mlops release propose {model} --version {version}` writes it"
            return f"shadow {version} of {model} needs a `manifest`: {write}"
        release = _from_document(model, version, manifest, "manifest")
        if isinstance(release, str):
            return f"shadow {version}: {release}"
        about = {"source": release.source, "files": release.files, "manifest": manifest}
        found.append({**release.identity(), **about, "sample": shadow.get("sample", 100)})
    return found


def _from_document(model: object, version: object, document: dict[str, Any], origin: str) -> Release | str:
    stated = {part: document.get(part) for part in ("digest", "source", "files")}
    lacking = [f"`{origin}.{part}`" for part, value in stated.items() if not value]
    if lacking:
        return f"{', '.join(lacking)} is missing: a release names digest, source and files of its artifact"
    if document.get("model") not in (None, model):
        return f"`{origin}` is of the model {document['model']}, not of {model}"
    if str(document.get("version")) != version:
        told = f"`{origin}` is of version {document.get('version')}, but `version` is {version}"
        if origin == "candidate":
            told += f"; to pin another, write its manifest first: ./mlops release propose {model} --version {version}"
        return told
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", str(stated["digest"])):
        return f"`{origin}.digest` is {stated['digest']!r}: must be sha256: and 64 hexadecimal digits"
    manifest = document if origin == "manifest" else None
    return Release(
        str(version),
        document["digest"],
        document["source"],
        document["files"],
        document.get("signature"),
        document.get("trainedAt"),
        manifest,
    )


def _reasons(candidate: dict[str, Any]) -> str:
    reasons = (candidate.get("evaluation") or {}).get("reasons") or candidate.get("reasons")
    return "; ".join(str(reason) for reason in reasons) if reasons else "its result names no reason"


def plan(strategy: Mapping[str, Any]) -> list[str]:
    """Return the steps of a rollout as lines for people, in the order in which they come."""
    kind = strategy.get("kind", "all-at-once")
    if kind is UNKNOWN:
        return []
    lines = ["start the candidate and let it answer the smoke set"]
    steps = strategy.get("steps") or []
    if not steps and kind != "all-at-once":
        lines.append(f"the usual steps of {kind}")
    lines += [_step(number, len(steps), kind, step) for number, step in enumerate(steps, 1)]
    then = strategy.get("then", "promote")
    if then == "stop":
        return [*lines, "end without promotion: this rollout only observes"]
    if then == "gate":
        lines.append("wait for `./mlops release promote`")
    lines.append("promote: all traffic to the new version")
    bake = strategy.get("bakeMinutes")
    if bake:
        lines.append(f"bake {bake:g} min with the previous version warm, rolled back by itself if it goes bad")
    return lines


def _step(number: int, count: int, kind: str, step: Mapping[str, Any]) -> str:
    what = [f"{step['weight']:g} % of the {'subjects' if kind == 'ab' else 'traffic'}"] if step.get("weight") else []
    if step.get("mirror"):
        what.append(f"a copy of {step['mirror']:g} % of the traffic")
    if not what:
        what.append("ready beside the stable version, without traffic")
    until = [f"{step['minutes']:g} min"] if step.get("minutes") else []
    if step.get("requests"):
        until.append(f"{step['requests']:g} requests")
    if step.get("gate"):
        until.append("a person says `resume`")
    return f"step {number} of {count}: {' and '.join(what)}, until {' and '.join(until) or 'the evidence suffices'}"
