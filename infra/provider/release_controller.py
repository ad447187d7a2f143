"""The rollout controller as `ModelRelease` meets it: its requests, and its view of a model."""

import getpass
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from infra.provider import cluster_access, rest
from infra.provider.codec import Properties
from infra.provider.release_inputs import Release
from infra.provider.resource import Call, ResourceError

POLL_SECONDS = 0.5
_PATIENCE_SECONDS = 60.0
"""How long a controller that does not answer is waited for: its supervisor starts it again."""
_Result = TypeVar("_Result")

ENDED_BADLY = frozenset({"rolled-back", "aborted", "failed", "superseded"})
ENDED = ENDED_BADLY | {"promoted"}


def patiently(call: Call, operation: Callable[[], _Result], patience: float = _PATIENCE_SECONDS) -> _Result:
    """Do `operation`, again for a while when the controller does not answer."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return operation()
        except rest.UnreachableError:
            if time.monotonic() >= deadline:
                raise
            call.progress("waiting for the rollout controller")
            call.sleep(POLL_SECONDS)


def person() -> str:
    """Name who asks, for the ledger: `MLOPS_PERSON` where it is set, else the account on this machine."""
    named = os.environ.get("MLOPS_PERSON")
    if named:
        return named
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # an account without a name, as in some containers
        return f"uid-{os.getuid()}@{socket.gethostname()}"


def outcome(seen: Mapping[str, Any]) -> Properties:
    """Return the outputs that the controller's view of a model means."""
    served, rollout = seen.get("served"), seen.get("rollout") or {}
    return {
        "served": {part: served.get(part) for part in ("version", "digest")} if served else None,
        "rollout": {part: str(rollout.get(part) or "") for part in ("id", "state", "reason")},
        "quarantined": quarantined(seen),
    }


def quarantined(seen: Mapping[str, Any]) -> dict[str, str]:
    """Return the digests that are in quarantine, with the reason of each."""
    listed = seen.get("quarantined") or {}
    if isinstance(listed, Mapping):
        return {str(digest): str(why) for digest, why in listed.items()}
    return {
        str(one["digest"]): str(one.get("reason") or "no reason given") if isinstance(one, Mapping) else str(one)
        for one in listed
        if not isinstance(one, Mapping) or one.get("digest")
    }


def progress_of(rollout: Mapping[str, Any]) -> str:
    """Describe where a rollout is, in one line: step, share, and what both arms did."""
    state = str(rollout.get("state") or "waiting")
    parts = [state]
    if state in ("step", "paused") and rollout.get("steps"):
        parts = [f"{'paused in ' if state == 'paused' else ''}step {rollout.get('step') or 0} of {rollout['steps']}"]
    if rollout.get("weight"):
        parts.append(f"{rollout['weight'] / 100:g} % of the traffic")
    if state == "paused" and rollout.get("reason"):
        parts.append(str(rollout["reason"]))
    counts = rollout.get("counts") or {}
    parts += [arm_of(name, counts[name]) for name in ("candidate", "stable") if counts.get(name)]
    return " · ".join(parts)


def arm_of(name: str, counts: Mapping[str, Any]) -> str:
    """Describe what an arm did, in a few words."""
    said = f"{name} {counts.get('requests') or 0:,} requests, {counts.get('errors') or 0:,} errors"
    if counts.get("invalid"):
        said += f", {counts['invalid']:,} invalid"
    if counts.get("p99Ms") is not None:
        said += f", p99 {counts['p99Ms']:.3g} ms"
    return said


class Controller:
    """The controller's requests for one model; `inputs` are those of a `ModelRelease`, plain."""

    def __init__(self, inputs: Properties) -> None:
        self._inputs = inputs
        self._token = inputs["controller"]["token"]
        self._proxy: Mapping[str, Any] | None = inputs["controller"].get("proxy")
        self._context = cluster_access.context(self._proxy) if self._proxy else None
        self._address = f"{inputs['controller']['url'].rstrip('/')}/v1/models/{quote(inputs['model'], safe='')}"

    def _request(self, method: str, path: str = "", body: object = None) -> rest.Answer:
        """Ask the controller; what the API server before it says is never taken for its answer.

        Raises:
            UnreachableError: nobody answers, the API server reaches no controller, or that reaches no database.
            ResourceError: the API server lets nobody through here.
        """
        answer = self._answer(method, self._address + path, body)
        if answer.status == 503:
            raise rest.UnreachableError(f"{self._inputs['model']}: the rollout controller, {answer.reason()}")
        return answer

    def _answer(self, method: str, address: str, body: object) -> rest.Answer:
        if self._proxy is None:
            return rest.request(method, address, token=self._token, body=body)
        headers = cluster_access.headers(self._proxy, self._token)
        answer = rest.request(method, address, body=body, headers=headers, context=self._context)
        if isinstance(answer.body, dict) and answer.body.get("kind") == "Status" and "model" not in answer.body:
            cluster = self._proxy["cluster"]
            if answer.status >= 500:
                raise rest.UnreachableError(
                    f"cluster {cluster} does not reach the rollout controller, {answer.reason()}"
                )
            raise ResourceError(
                f"{self._inputs['model']}: cluster {cluster} does not let us through to the rollout controller, "
                f"{answer.reason()}. Who releases needs a role that aws.kubernetes.releaseRoles names"
            )
        return answer

    def model(self) -> dict[str, Any] | None:
        """Return the controller's view of the model, None when it has none."""
        answer = self._request("GET")
        if answer.status == 404:
            return None
        return self._body(answer, "does not tell about the model")

    def stated(self) -> dict[str, Any] | None:
        """Return the release that is served, as it was asked for; None when there is none."""
        answer = self._request("GET", "/release")
        if answer.status == 404:
            return None
        return self._body(answer, "does not tell what it serves")

    def ask_for(self, release: Release) -> dict[str, Any]:
        """Ask for `release`; asking again for the same changes nothing. Return the rollout."""
        body = {
            "version": release.version,
            "digest": release.digest,
            "source": release.source,
            "files": release.files,
            "signature": release.signature,
            "trainedAt": release.trained_at,
            "group": self._inputs["group"],
            "strategy": self._inputs["strategy"],
            "manifest": release.manifest,
            "approval": None,  # those that there are stand in the manifest
            "requestedBy": person(),
        }
        answer = self._request("PUT", "/release", body)
        rollout: dict[str, Any] = self._body(answer, f"refuses version {release.version}").get("rollout") or {}
        return rollout

    def shadow(self, shadows: list[Properties]) -> None:
        """Let these versions, and no others, get copies of the model's requests."""
        body = {"shadows": shadows, "requestedBy": person()}
        answer = self._request("PUT", "/shadows", body)
        self._body(answer, "refuses the shadows")

    def abort(self, reason: str) -> None:
        """End the rollout that runs."""
        body = {"reason": reason, "by": person()}
        answer = self._request("POST", "/rollout/abort", body)
        self._body(answer, "does not abort the rollout")

    def withdraw(self) -> None:
        """Withdraw the model; one that is unknown is withdrawn."""
        answer = self._request("DELETE")
        if answer.status != 404:
            self._body(answer, "does not withdraw the model")

    def _body(self, answer: rest.Answer, problem: str) -> dict[str, Any]:
        if not answer.ok:
            raise ResourceError(f"{self._inputs['model']}: the rollout controller {problem}, {answer.reason()}")
        return answer.body if isinstance(answer.body, dict) else {}
