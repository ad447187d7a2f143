"""`Gate`: the resource that every other one of a stack waits for.

Its inputs are what the policies know of the environment. Outside a preview it lets a staging or prod environment be
changed only as far as a verdict says; local and dev ones it lets through.
"""

from infra.provider.codec import UNKNOWN, Properties
from infra.provider.inputs import Input, any_object, check, filled_text, matching, one_of, text
from infra.provider.resource import Call, Difference, changed

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


class GateResource:
    """Decides anew whenever commit, configuration or keys of a gated environment differ from those it has let through.

    Elsewhere only what environment it is counts as a change: a commit or a setting that changes nothing else is no
    reason for an update, and what the state says of them follows by itself.
    """

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
        """Decide."""
        return f"gate-{inputs['stack']}", self._decided(call, inputs)

    def read(self, call: Call, inputs: Properties, state: Properties) -> Properties:
        """Return what was decided."""
        del call, inputs
        return {"passed": state.get("passed")}

    def update(self, call: Call, inputs: Properties, old_inputs: Properties, state: Properties) -> Properties:
        """Decide anew."""
        del old_inputs, state
        return self._decided(call, inputs)

    def delete(self, call: Call, inputs: Properties, state: Properties) -> None:
        """Forget it."""
        del call, inputs, state

    def _decided(self, call: Call, inputs: Properties) -> Properties:
        del call
        by = {"by": "not asked", "commit": inputs.get("commit", ""), "configuration": inputs.get("configuration", "")}
        return {"passed": by}
