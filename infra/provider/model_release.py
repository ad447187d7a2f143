"""`ModelRelease`: the version of a model that an environment serves, brought about by the rollout controller.

The controller does the rollout; this resource asks for it, streams what it says, and fails with its reason. What is
really served is an output: it changes with the world, the inputs do not. A rollout outlives the operation that began
it: the wait is bounded, and the next `up` goes on watching.
"""

import contextlib
import time
from typing import Any

from infra.provider import rest
from infra.provider.codec import UNKNOWN, Properties, is_known, plain
from infra.provider.inputs import check
from infra.provider.release_controller import (
    ENDED,
    ENDED_BADLY,
    POLL_SECONDS,
    Controller,
    outcome,
    patiently,
    progress_of,
)
from infra.provider.release_import import imported
from infra.provider.release_inputs import FIELDS, Release, plan, resolve, resolve_shadows
from infra.provider.resource import Call, CancelledError, Difference, ResourceError, changed

_BEGIN_SECONDS = 60.0
"""How long a rollout that was accepted may take to show in the controller's view of the model."""
_PROGRESS_SECONDS = 2.0
"""Between two lines of progress, which a terminal replaces and a log keeps."""


def drift(state: Properties, *, wait: bool) -> bool:
    """Return whether the last look at the controller asks for another go.

    A controller that lost the model is told again, and a rollout that an interrupted `up` left is watched to its end. A
    rollout that was rolled back is not tried again by itself: that needs another version.
    """
    rollout = state.get("rollout") or {}
    if rollout.get("state") == "missing":
        return True
    return wait and bool(rollout.get("state")) and rollout["state"] not in ENDED


class ModelReleaseResource:
    """Asks the rollout controller for a version and follows the rollout."""

    # --- decisions -------------------------------------------------------------------------------------------------

    def check(self, inputs: Properties) -> tuple[Properties, list[str]]:
        """Validate, and refuse what can be known to fail: see `resolve`."""
        checked, problems = check(FIELDS, inputs)
        what = {part: checked.get(part) for part in ("model", "version", "candidate", "manifest")}
        if not problems and is_known(what):
            release = resolve(plain(what))
            problems += [release] if isinstance(release, str) else []
        if not problems and is_known(checked.get("shadows")):
            shadows = resolve_shadows(plain({part: checked.get(part) for part in ("model", "shadows")}))
            problems += [shadows] if isinstance(shadows, str) else []
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
        return {"served": UNKNOWN, "rollout": UNKNOWN, "quarantined": UNKNOWN, "resolved": resolved}

    def explain(self, inputs: Properties, state: Properties | None) -> list[str]:
        """Say what an `up` would do: the steps of the rollout, or why there would be none."""
        release = resolve(plain(inputs)) if is_known(inputs) else None
        version = release.version if isinstance(release, Release) else inputs.get("version")
        served = (state or {}).get("served") or {}
        if isinstance(release, Release):
            why = ((state or {}).get("quarantined") or {}).get(release.digest)
            if why is not None:
                return [_quarantined(plain(inputs["model"]), release, why)]
            if served.get("digest") == release.digest:
                return []
        said = f"version {version}" if version is not UNKNOWN else "the version that training makes"
        begin = f"plan: {said}" + (f" in place of version {served['version']}" if served.get("version") else "")
        strategy = plain(inputs.get("strategy") or {})
        kind = strategy.get("kind", "all-at-once") if isinstance(strategy, dict) else UNKNOWN
        if kind is UNKNOWN:
            return [begin]
        if not served and state is None:
            return [f"{begin}, the first one here: smoke set and fixed limits, then all traffic"]
        return [f"{begin}, {kind}", *(f"  {number}. {line}" for number, line in enumerate(plan(strategy), 1))]

    # --- effects ---------------------------------------------------------------------------------------------------

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Roll out."""
        return inputs["model"], self._roll_out(call, inputs)

    def adopt(self, call: Call, identity: str, stack: str) -> Properties:
        """Take over what is served, by the model's name."""
        return imported(call, identity, stack)

    def read(self, call: Call, inputs: Properties, state: Properties) -> Properties:
        """Ask the controller what is served; without an answer what is known stays."""
        last = {part: state.get(part) for part in ("served", "rollout", "resolved", "quarantined")}
        try:
            seen = Controller(inputs).model()
        except rest.UnreachableError as error:
            call.progress(f"{error}; going on with what was last known")
            return last
        if seen is None:
            lost = {"id": "", "state": "missing", "reason": "the controller does not know the model"}
            return last | {"served": None, "rollout": lost}
        now = outcome(seen)
        _tell_of_difference(call, inputs, last.get("resolved") or {}, now)
        return last | now

    def update(self, call: Call, inputs: Properties, old_inputs: Properties, state: Properties) -> Properties:
        """Roll out; a failure leaves the old version in state, since it is the one that is served."""
        del old_inputs, state
        return self._roll_out(call, inputs)

    def delete(self, call: Call, inputs: Properties, state: Properties) -> None:
        """Withdraw the model."""
        del state
        try:
            patiently(call, lambda: Controller(inputs).withdraw(), patience=10)
        except rest.UnreachableError as error:
            call.message(f"{error}; the model was not withdrawn there, but it is served by nobody without a controller")

    def _roll_out(self, call: Call, inputs: Properties) -> Properties:
        release, shadows = resolve(inputs), resolve_shadows(inputs)
        if isinstance(release, str):
            raise ResourceError(release)
        if isinstance(shadows, str):
            raise ResourceError(shadows)
        controller = Controller(inputs)
        before = patiently(call, controller.model) or {}
        why = outcome(before)["quarantined"].get(release.digest)
        if why is not None and release.manifest is None:
            # Only a manifest can carry the approval that lifts a quarantine; whether it does, the controller decides.
            raise ResourceError(_quarantined(inputs["model"], release, why))
        rollout = patiently(call, lambda: controller.ask_for(release))
        if shadows or before.get("shadows"):
            patiently(call, lambda: controller.shadow(shadows))
        if not inputs["wait"]:
            seen = patiently(call, controller.model) or {}
            return {"resolved": release.identity()} | outcome({"rollout": rollout} | seen)
        try:
            seen = _follow(call, inputs, release, rollout)
        except CancelledError:
            if inputs.get("onInterrupt") == "abort":
                with contextlib.suppress(ResourceError):
                    controller.abort("the `up` that asked for it was interrupted")
            else:
                ends = f"`./mlops release abort {inputs['model']}` ends it"
                call.message(f"the rollout of version {release.version} goes on: the next `up` follows it, {ends}")
            raise
        return {"resolved": release.identity()} | outcome(seen)


def _follow(call: Call, inputs: Properties, release: Release, asked: dict[str, Any]) -> dict[str, Any]:
    """Watch a rollout to its end, telling what the controller tells; return its last view of the model."""
    model, controller, began = inputs["model"], Controller(inputs), time.monotonic()
    rollout_id, begun, shown, last = str(asked.get("id") or ""), False, 0, float("-inf")
    # What is served already was told when it was rolled out.
    told = asked.get("state") == "promoted"
    while True:
        seen = patiently(call, controller.model)
        seconds = time.monotonic() - began
        if seen is None:
            raise ResourceError(f"{model}: withdrawn from the controller during its rollout")
        rollout, served = seen.get("rollout") or {}, seen.get("served") or {}
        mine = str(rollout.get("id") or "") == rollout_id
        if mine:
            begun = True
            if not told:
                shown = _tell(call, rollout, shown)
        state = rollout.get("state") or ""
        # After its promotion the next in the queue begins at once, perhaps between two looks.
        over = begun or state in ENDED
        if served.get("digest") == release.digest and (state == "promoted" or (not mine and over)):
            call.progress(f"version {release.version} is served")
            return seen
        if mine and rollout.get("phase") == "finished":
            call.message(f"version {release.version} was observed as asked and not promoted. {_still_served(seen)}")
            return seen
        if mine and state in ENDED_BADLY:
            raise ResourceError(_ended(model, release, rollout, seen))
        if not mine and (begun or (seconds > _BEGIN_SECONDS and state in ENDED)):
            what = f"another release took over (rollout {rollout.get('id')})" if begun else "its rollout did not begin"
            raise ResourceError(f"{model}: version {release.version} was not promoted: {what}. {_still_served(seen)}")
        if seconds > inputs["timeoutSeconds"]:
            where = progress_of(rollout) if mine else "waiting for its turn"
            raise ResourceError(
                f"{model}: the rollout of version {release.version} has not ended within {seconds:.0f} s ({where}); "
                f"it goes on, and the next `up` follows it. `./mlops release abort {model}` ends it"
            )
        if seconds - last >= _PROGRESS_SECONDS:
            last = seconds
            call.progress(f"version {release.version}: {progress_of(rollout) if mine else 'waiting for its turn'}")
        call.sleep(POLL_SECONDS)


def _tell_of_difference(call: Call, inputs: Properties, resolved: dict[str, Any], now: Properties) -> None:
    """Say it when something else is served than what the last `up` brought about."""
    served, rollout = now["served"] or {}, now["rollout"]
    if resolved.get("digest") and served and served.get("digest") != resolved["digest"] and rollout["state"] in ENDED:
        call.message(
            f"version {served.get('version')} is served, not version {resolved.get('version')} as stated: "
            f"{rollout['reason'] or rollout['state']}. `./mlops release revert {inputs['model']}` states what is served"
        )


def _tell(call: Call, rollout: dict[str, Any], shown: int) -> int:
    """Show the messages that are newer than number `shown`; return the number of the last."""
    for message in rollout.get("messages") or []:
        number = int(message.get("seq") or 0)
        if number > shown:
            call.message(str(message.get("text") or ""))
            shown = number
    return shown


def _ended(model: str, release: Release, rollout: dict[str, Any], seen: dict[str, Any]) -> str:
    verdict = {"rolled-back": "was rolled back", "aborted": "was aborted", "superseded": "was superseded"}
    said = verdict.get(rollout.get("state") or "", "was not promoted")
    text = f"{model}: version {release.version} {said}: {rollout.get('reason') or 'no reason given'}"
    counts = rollout.get("counts") or {}
    if counts.get("candidate", {}).get("requests"):
        text += f" ({progress_of({'counts': counts, 'state': rollout.get('state')})})"
    text += f". {_still_served(seen)}"
    if release.digest in outcome(seen)["quarantined"]:
        text += (
            f", and version {release.version} is quarantined: it is not rolled out again without a new approval. "
            f"`./mlops release revert {model}` pins what is served"
        )
    return text


def _quarantined(model: object, release: Release, why: str) -> str:
    return (
        f"{model}: version {release.version} ({release.digest[:19]}) is quarantined and not rolled out again: {why}. "
        f"Pin what is served with `./mlops release revert {model}`; only a new approval lifts a quarantine"
    )


def _still_served(seen: dict[str, Any]) -> str:
    served = seen.get("served")
    return f"Version {served['version']} is still served" if served else "No version of it is served"
