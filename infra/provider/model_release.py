"""`ModelRelease`: the version of a model that an environment serves, brought about by the rollout controller.

The inputs say which version; `resolve` turns `latest` into the version that a training job's result carries. The
controller does the rollout; this resource asks for it, shows its steps, and fails with its reason. What is really
served is an output: it changes with the world, the inputs do not.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from infra.provider import rest
from infra.provider.codec import UNKNOWN, Properties, is_known, plain
from infra.provider.inputs import Input, any_object, between, check, flag, http_address, matching, name, one_of, text
from infra.provider.resource import Call, Difference, ResourceError, changed

_POLL_SECONDS = 0.5
_PATIENCE_SECONDS = 60.0
"""How long a controller that does not answer is waited for: its supervisor starts it again."""
_Result = TypeVar("_Result")

_STEP = Input(
    fields={
        "weight": Input(rule=between(0, 100, whole=False), required=True),
        "minutes": Input(rule=between(0, 7 * 24 * 60, whole=False), required=True),
    }
)
FIELDS = {
    "model": Input(rule=name, required=True),
    "version": Input(rule=matching(r"latest|[1-9][0-9]{0,8}", "must be `latest` or a version number"), required=True),
    "group": Input(rule=name, required=True),
    "candidate": Input(rule=any_object),
    "manifest": Input(rule=any_object),
    "strategy": Input(
        fields={
            "kind": Input(rule=one_of("all-at-once", "canary", "blue-green", "shadow", "ab"), default="all-at-once"),
            "steps": Input(items=_STEP),
            "bakeMinutes": Input(rule=between(0, 30 * 24 * 60, whole=False)),
        },
        default={"kind": "all-at-once"},
    ),
    "controller": Input(
        fields={
            "url": Input(rule=http_address, required=True),
            "token": Input(rule=text, secret=True, required=True),
        },
        required=True,
    ),
    "wait": Input(rule=flag, default=True),
    "timeoutSeconds": Input(rule=between(1, 24 * 3600), default=1800),
}


@dataclass(frozen=True)
class Release:
    """A version with everything that a replica needs to fetch and verify it."""

    version: str
    digest: str
    source: str
    files: dict[str, str]
    approval: dict[str, Any]

    def identity(self) -> Properties:
        """Return what tells one release from another."""
        return {"version": self.version, "digest": self.digest}


def resolve(inputs: Properties) -> Release | str:
    """Return the release that `inputs` (plain, known) ask for, or why there is none."""
    model, version, manifest, candidate = (inputs.get(part) for part in ("model", "version", "manifest", "candidate"))
    if manifest is not None:
        if version == "latest":
            return "`version` is latest, which `candidate` decides: a `manifest` belongs to a version number"
        return _from_document(model, version, manifest, "manifest", {"kind": "manifest"})
    if candidate is None:
        missing = "`candidate`, the result of its training job" if version == "latest" else "`manifest`"
        return f"version {version} of {model} needs {missing}"
    if candidate.get("passed") is not True:
        return f"version {candidate.get('version')} of {model} did not pass its evaluation: {_reasons(candidate)}"
    asked = str(candidate.get("version")) if version == "latest" else version
    return _from_document(model, asked, candidate, "candidate", {"kind": "evaluation"})


def _from_document(
    model: object, version: object, document: dict[str, Any], origin: str, approval: dict[str, Any]
) -> Release | str:
    stated = {part: document.get(part) for part in ("digest", "source", "files")}
    lacking = [f"`{origin}.{part}`" for part, value in stated.items() if not value]
    if lacking:
        return f"{', '.join(lacking)} is missing: a release names digest, source and files of its artifact"
    if document.get("model") not in (None, model):
        return f"`{origin}` is of the model {document['model']}, not of {model}"
    if str(document.get("version")) != version:
        return f"`{origin}` is of version {document.get('version')}, but `version` is {version}"
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", str(stated["digest"])):
        return f"`{origin}.digest` is {stated['digest']!r}: must be sha256: and 64 hexadecimal digits"
    facts = {part: document[part] for part in ("run", "commit", "dataDigest", "approvals") if part in document}
    return Release(str(version), document["digest"], document["source"], document["files"], approval | facts)


def _reasons(candidate: dict[str, Any]) -> str:
    reasons = (candidate.get("evaluation") or {}).get("reasons") or candidate.get("reasons")
    return "; ".join(str(reason) for reason in reasons) if reasons else "its result names no reason"


def drift(state: Properties, *, wait: bool) -> bool:
    """Return whether the last look at the controller asks for another go.

    A controller that lost the model is told again, and a rollout that an interrupted `up` left is watched to its end. A
    rollout that was rolled back is not tried again by itself: that needs another version.
    """
    rollout = state.get("rollout") or {}
    return rollout.get("state") == "missing" or (wait and rollout.get("state") == "progressing")


class ModelReleaseResource:
    """Asks the rollout controller for a version and follows the rollout."""

    # --- decisions -------------------------------------------------------------------------------------------------

    def check(self, inputs: Properties) -> tuple[Properties, list[str]]:
        """Validate, and refuse what can be known to fail: see `resolve`."""
        checked, problems = check(FIELDS, inputs)
        strategy = checked.get("strategy")
        if isinstance(strategy, dict) and strategy.get("kind") not in ("all-at-once", UNKNOWN):
            problems.append(
                f"`strategy.kind` is {strategy.get('kind')}: the controller cannot split traffic between versions "
                "yet; use all-at-once"
            )
        what = {part: checked.get(part) for part in ("model", "version", "candidate", "manifest")}
        if not problems and is_known(what):
            release = resolve(plain(what))
            problems += [release] if isinstance(release, str) else []
        return checked, problems

    def diff(self, old_inputs: Properties, state: Properties, inputs: Properties) -> Difference:
        """Replace for another model, update for anything else, and when the last look asks for it."""
        different = changed(old_inputs, inputs)
        if "model" in different:
            return Difference(replace=("model",))
        return Difference(update=different + (("rollout",) if drift(state, wait=inputs.get("wait") is True) else ()))

    def preview(self, inputs: Properties, state: Properties | None) -> Properties:
        """Promise what the version resolves to, where that is known; what will be served is up to the rollout."""
        del state
        release = resolve(plain(inputs)) if is_known(inputs) else None
        resolved = release.identity() if isinstance(release, Release) else UNKNOWN
        return {"served": UNKNOWN, "rollout": UNKNOWN, "resolved": resolved}

    # --- effects ---------------------------------------------------------------------------------------------------

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Roll out."""
        return inputs["model"], self._roll_out(call, inputs)

    def read(self, call: Call, inputs: Properties, state: Properties) -> Properties:
        """Ask the controller what is served; without an answer what is known stays."""
        last = {part: state.get(part) for part in ("served", "rollout", "resolved")}
        try:
            seen = _Controller(inputs).model()
        except rest.UnreachableError as error:
            call.progress(f"{error}; going on with what was last known")
            return last
        if seen is None:
            lost = {"id": "", "state": "missing", "reason": "the controller does not know the model"}
            return last | {"served": None, "rollout": lost}
        return last | _outcome(seen)

    def update(self, call: Call, inputs: Properties, old_inputs: Properties, state: Properties) -> Properties:
        """Roll out; a failure leaves the old version in state, since it is the one that is served."""
        del old_inputs, state
        return self._roll_out(call, inputs)

    def delete(self, call: Call, inputs: Properties, state: Properties) -> None:
        """Withdraw the model."""
        del state
        try:
            _patiently(call, lambda: _Controller(inputs).withdraw(), patience=10)
        except rest.UnreachableError as error:
            call.message(f"{error}; the model was not withdrawn there, but it is served by nobody without a controller")

    def _roll_out(self, call: Call, inputs: Properties) -> Properties:
        release = resolve(inputs)
        if isinstance(release, str):
            raise ResourceError(release)
        controller = _Controller(inputs)
        rollout = _patiently(call, lambda: controller.ask_for(release))
        if not inputs["wait"]:
            seen = _patiently(call, controller.model) or {}
            return {"resolved": release.identity()} | _outcome({"rollout": rollout} | seen)
        return {"resolved": release.identity()} | self._follow(call, inputs, release, rollout)

    def _follow(self, call: Call, inputs: Properties, release: Release, asked: dict[str, Any]) -> Properties:
        model, controller, began = inputs["model"], _Controller(inputs), time.monotonic()
        rollout_id = str(asked.get("id", ""))
        # What is served already was told when it was rolled out.
        shown = len(asked.get("steps") or []) if asked.get("state") == "promoted" else 0
        while True:
            seen = _patiently(call, controller.model)
            if seen is None:
                raise ResourceError(f"{model}: withdrawn from the controller during its rollout")
            rollout = seen.get("rollout") or {}
            steps = rollout.get("steps") or []
            for step in steps[shown:]:
                call.message(describe(step))
            shown = len(steps)
            if str(rollout.get("id", "")) != rollout_id:
                raise ResourceError(f"{model}: another release took over (rollout {rollout.get('id')})")
            if rollout.get("state") == "promoted":
                call.progress(f"version {release.version} is served")
                return _outcome(seen)
            if rollout.get("state") == "failed":
                raise ResourceError(
                    f"{model}: version {release.version} was not promoted: "
                    f"{rollout.get('reason') or 'no reason given'}. {_still_served(seen)}"
                )
            seconds = time.monotonic() - began
            if seconds > inputs["timeoutSeconds"]:
                raise ResourceError(
                    f"{model}: the rollout of version {release.version} has not ended within {seconds:.0f} s; "
                    "it goes on, and the next `up` follows it"
                )
            if not steps:
                call.progress(f"rolling out version {release.version}, {seconds:.0f} s")
            call.sleep(_POLL_SECONDS)


def describe(step: object) -> str:
    """Return a step of a rollout, which the controller tells as text or as an object, as one line for people."""
    if isinstance(step, dict):
        for part in ("message", "text", "description"):
            if step.get(part):
                return str(step[part])
        return ", ".join(f"{part} {value}" for part, value in step.items() if value not in (None, "", {}, []))
    return str(step)


def _still_served(seen: dict[str, Any]) -> str:
    served = seen.get("served")
    return f"Version {served['version']} is still served" if served else "No version of it is served"


def _outcome(seen: dict[str, Any]) -> Properties:
    """Return the outputs that the controller's view of a model means."""
    served, rollout = seen.get("served"), seen.get("rollout") or {}
    return {
        "served": {part: served.get(part) for part in ("version", "digest")} if served else None,
        "rollout": {part: str(rollout.get(part) or "") for part in ("id", "state", "reason")},
    }


def _patiently(call: Call, operation: Callable[[], _Result], patience: float = _PATIENCE_SECONDS) -> _Result:
    """Do `operation`, again for a while when the controller does not answer."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return operation()
        except rest.UnreachableError:
            if time.monotonic() >= deadline:
                raise
            call.progress("waiting for the rollout controller")
            call.sleep(_POLL_SECONDS)


class _Controller:
    """The controller's requests for one model."""

    def __init__(self, inputs: Properties) -> None:
        self._inputs = inputs
        self._token = inputs["controller"]["token"]
        self._address = f"{inputs['controller']['url'].rstrip('/')}/v1/models/{quote(inputs['model'], safe='')}"

    def model(self) -> dict[str, Any] | None:
        """Return the controller's view of the model, None when it has none."""
        answer = rest.request("GET", self._address, token=self._token)
        if answer.status == 404:
            return None
        return self._body(answer, "does not tell about the model")

    def ask_for(self, release: Release) -> dict[str, Any]:
        """Ask for `release`; asking again for the same changes nothing. Return the rollout."""
        body = {
            "version": release.version,
            "digest": release.digest,
            "source": release.source,
            "files": release.files,
            "group": self._inputs["group"],
            "strategy": self._inputs["strategy"],
            "approval": release.approval,
        }
        answer = rest.request("PUT", f"{self._address}/release", token=self._token, body=body)
        rollout: dict[str, Any] = self._body(answer, f"refuses version {release.version}").get("rollout") or {}
        return rollout

    def withdraw(self) -> None:
        """Withdraw the model; one that is unknown is withdrawn."""
        answer = rest.request("DELETE", self._address, token=self._token)
        if answer.status != 404:
            self._body(answer, "does not withdraw the model")

    def _body(self, answer: rest.Answer, problem: str) -> dict[str, Any]:
        if not answer.ok:
            raise ResourceError(f"{self._inputs['model']}: the rollout controller {problem}, {answer.reason()}")
        return answer.body if isinstance(answer.body, dict) else {}
