"""`Token`: a random secret, made once and kept in the state, encrypted."""

import secrets

from infra.provider.codec import UNKNOWN, Properties, Secret
from infra.provider.inputs import Input, between, check, text
from infra.provider.resource import Call, Difference, changed

FIELDS = {
    "bytes": Input(rule=between(16, 128), default=32),
    "keepers": Input(each=Input(rule=text), default={}),
}


class TokenResource:
    """Makes the value in `create` only; a change of any input makes a new one."""

    def check(self, inputs: Properties) -> tuple[Properties, list[str]]:
        """Validate; see `resource.Resource`."""
        return check(FIELDS, inputs)

    def diff(self, old_inputs: Properties, state: Properties, inputs: Properties) -> Difference:
        """Replace on any change, since an updated value would not be random anew."""
        del state
        return Difference(replace=changed(old_inputs, inputs))

    def preview(self, inputs: Properties, state: Properties | None) -> Properties:
        """Promise a secret that nobody knows yet."""
        del inputs
        return {"value": Secret(state["value"] if state else UNKNOWN)}

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Draw the value from the operating system's generator."""
        del call
        return f"token-{secrets.token_hex(8)}", {"value": Secret(secrets.token_urlsafe(inputs["bytes"]))}

    def read(self, call: Call, inputs: Properties, state: Properties) -> Properties:
        """Return the value as it is; there is nothing outside of the state."""
        del call, inputs
        return {"value": Secret(state["value"])}

    def update(self, call: Call, inputs: Properties, old_inputs: Properties, state: Properties) -> Properties:
        """Return the value as it is; `diff` never asks for an update."""
        del call, inputs, old_inputs
        return {"value": Secret(state["value"])}

    def delete(self, call: Call, inputs: Properties, state: Properties) -> None:
        """Forget it."""
        del call, inputs, state
