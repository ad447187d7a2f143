"""`Gate`: the resource that every other one of a stack waits for.

Its inputs are what the policies know of the environment. Outside a preview it lets a staging or prod environment be
changed only with a passing verdict, signed and for this commit and configuration, or with a break-glass statement of
two people (`policies.gates`); by which of them it opened is written to the gate's ledger. Local and dev environments it
lets through.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from infra.provider.codec import UNKNOWN, Properties
from infra.provider.inputs import Input, any_object, check, filled_text, matching, one_of, text
from infra.provider.resource import Call, Difference, ResourceError, changed

if TYPE_CHECKING:
    from policies.gates.decision import Passage

GATED = ("staging", "prod")
"""Kinds of environments that ask for a verdict."""

FIELDS = {
    "environment": Input(rule=one_of("local", "dev", *GATED), required=True),
    "stack": Input(rule=filled_text, required=True),
    "client": Input(rule=filled_text, required=True),
    "target": Input(rule=one_of("local", "aws"), required=True),
    "settings": Input(rule=any_object, default={}),
    "commit": Input(rule=matching(r"|[0-9a-f]{40,64}(-dirty)?", "must be a whole commit"), default=""),
    "configuration": Input(rule=matching(r"|sha256:[0-9a-f]{64}", "must be a digest, sha256:…"), default=""),
    "trustRoot": Input(rule=text, default=""),
    "allowedSigners": Input(rule=text, default=""),
}

_PLACE = ("environment", "stack", "client", "target")
_PROJECT = Path(__file__).resolve().parents[2]


class GateResource:
    """Decides anew whenever commit, configuration or keys of a gated environment differ from those it has let through.

    Elsewhere only what environment it is counts as a change: a commit or a setting that changes nothing else is no
    reason for an update, and what the state says of them follows by itself.

    Args:
        project: the project's folder.
        environ: variables of the environment; this process's unless stated.
        clock: returns the time; the machine's unless stated.
    """

    def __init__(
        self,
        project: Path = _PROJECT,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._project = project
        self._environ = os.environ if environ is None else environ
        self._clock = clock

    def check(self, inputs: Properties) -> tuple[Properties, list[str]]:
        """Validate; see `resource.Resource`."""
        return check(FIELDS, inputs)

    def diff(self, old_inputs: Properties, state: Properties, inputs: Properties) -> Difference:
        """Update on any change of what it decides about."""
        del state
        differ = changed(old_inputs, inputs)
        if inputs.get("environment") in GATED or old_inputs.get("environment") in GATED:
            return Difference(update=differ)
        return Difference(update=tuple(name for name in differ if name in _PLACE))

    def preview(self, inputs: Properties, state: Properties | None) -> Properties:
        """Promise nothing: whether it lets the change through shows when it is made."""
        del inputs, state
        return {"passed": UNKNOWN}

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Decide.

        Raises:
            ResourceError: it stays closed.
        """
        return f"gate-{inputs['stack']}", self._decided(call, inputs, {})

    def read(self, call: Call, inputs: Properties, state: Properties) -> Properties:
        """Return what was decided."""
        del call, inputs
        return {"passed": state.get("passed")}

    def update(self, call: Call, inputs: Properties, old_inputs: Properties, state: Properties) -> Properties:
        """Decide anew.

        Raises:
            ResourceError: it stays closed.
        """
        del state
        return self._decided(call, inputs, old_inputs)

    def delete(self, call: Call, inputs: Properties, state: Properties) -> None:
        """Forget it."""
        del call, inputs, state

    def _decided(self, call: Call, inputs: Properties, old_inputs: Properties) -> Properties:
        what = {name: inputs.get(name, "") for name in ("commit", "configuration")}
        kinds = inputs.get("environment"), old_inputs.get("environment")
        if not any(kind in GATED for kind in kinds):
            return {"passed": {"by": "not asked", **what}}
        passage = self._passage(inputs, leaves=kinds[0] not in GATED)
        if passage.by == "break-glass":
            call.message(
                f"BREAK-GLASS: {' and '.join(passage.people)} answer for changing {inputs['stack']} without a passing "
                f"verdict, until {passage.expires:%Y-%m-%dT%H:%MZ}: {passage.reason}"
            )
        else:
            call.message(f"open by the verdict that {passage.people[0]} signed")
        self._recorded(inputs, passage)
        told = {"by": passage.by, "people": list(passage.people), "digest": passage.digest, "reason": passage.reason}
        return {"passed": {**told, "expires": passage.expires.isoformat(), **what}}

    def _passage(self, inputs: Properties, *, leaves: bool) -> Passage:
        """Ask `policies.gates.decision` with what lies in the gate's folder.

        Args:
            inputs: the inputs.
            leaves: whether the environment was gated and shall not be any more: then only people can open it, since
                the verdict is one of rules that do not count any more.
        """
        from policies.gates.decision import GateClosedError, Question, decide, in_rehearsal
        from policies.gates.files import GateFileError, gate_folder, read_break_glass, read_verdict
        from policies.gates.policy_set import policies_digest
        from policies.releases.keys import REHEARSAL

        stack, root = inputs["stack"], inputs.get("trustRoot", "")
        folder = gate_folder(self._project, stack, self._environ)
        rehearsal = root == REHEARSAL and in_rehearsal(self._environ)
        question = Question(
            stack=stack, environment=inputs["environment"], commit=inputs.get("commit", ""),
            configuration=inputs.get("configuration", ""), policies=policies_digest(self._project), trust_root=root,
            allowed_signers=inputs.get("allowedSigners", ""), rehearsal=rehearsal,
        )  # fmt: skip
        try:
            found = None if leaves else read_verdict(folder)
            return decide(question, found, read_break_glass(folder), self._now(rehearsal=rehearsal))
        except (GateClosedError, GateFileError) as error:
            raise ResourceError(
                f"the gate of {stack} stays closed, and nothing is changed: {error}. "
                f"`./mlops up {stack}` has the policies judge the plan first; docs/policies.md tells of the gate."
            ) from None

    def _now(self, *, rehearsal: bool) -> datetime:
        """Return the time. A clock by `MLOPS_NOW` counts in a rehearsal only: elsewhere it would revive verdicts."""
        if self._clock is not None:
            return self._clock()
        stated = self._environ.get("MLOPS_NOW")
        return datetime.fromisoformat(stated) if stated and rehearsal else datetime.now().astimezone()

    def _recorded(self, inputs: Properties, passage: Passage) -> None:
        """Write to the gate's ledger by what it opened."""
        from policies.gates.files import gate_folder
        from policies.gates.record import LedgerUnavailableError, record_passage

        folder = gate_folder(self._project, inputs["stack"], self._environ)
        try:
            record_passage(passage, inputs["stack"], inputs["commit"], inputs["configuration"], folder, self._environ)
        except LedgerUnavailableError as error:
            raise ResourceError(f"the gate of {inputs['stack']} stays closed: {error}") from None
