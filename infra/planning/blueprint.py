# ruff: noqa: N802 - method names are the protocol's
"""The `blueprint` provider of a plan: its own checks and comparisons, and no effects."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from infra.provider.codec import UNKNOWN, Properties, Secret
from infra.provider.resource import Call, Difference, Resource
from infra.provider.resources import resources
from infra.provider.server import Provider

_FORMS: Final[Mapping[str, Mapping[str, Any]]] = {
    "Gate": {"passed": {"by": "planned", "commit": "{commit}", "configuration": "{configuration}"}},
    "Job": {
        "adopted": False,
        "result": {
            "dataDigest": "sha256:{}", "digest": "sha256:{}", "version": "1", "passed": True,
            "source": "planned://{}", "files": {"model.onnx": "sha256:{}"},
        },
    },
    "ModelRelease": {
        "served": {"version": "1", "digest": "sha256:{}"}, "rollout": {}, "quarantined": {},
        "resolved": {"version": "1", "digest": "sha256:{}"},
    },
    "Process": {"pid": 1},
}  # fmt: skip
"""Of a job: what training's jobs tell of a run, as far as later resources read it."""
_SHORT: Final = re.compile(r"/tmp/mlops-[0-9a-f]{10}\b")  # noqa: S108 - nothing is made there
"""The short folder of a stack's sockets, named by a hash of where the checkout lies."""


@dataclass(frozen=True)
class Planned:
    """A resource that is checked and compared as it is, and never made.

    Attributes:
        inner: the resource.
        forms: outputs that a program reads further into; `{}` in a text stands for what tells this resource apart,
            `{name}` for an input.
        project: folder of the checkout whose program runs; it counts for nothing in a comparison of two checkouts.
    """

    inner: Resource
    forms: Mapping[str, Any] = field(default_factory=dict)
    project: str = ""

    def check(self, inputs: Properties) -> tuple[Properties, list[str]]:
        """Ask the resource."""
        checked, problems = self.inner.check(inputs)
        return (_elsewhere(checked, self.project) if self.project else checked), problems

    def diff(self, old_inputs: Properties, state: Properties, inputs: Properties) -> Difference:
        """Ask the resource."""
        return self.inner.diff(old_inputs, state, inputs)

    def preview(self, inputs: Properties, state: Properties | None) -> Properties:
        """Ask the resource."""
        return self.inner.preview(inputs, state)

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Make up what a preview could not know."""
        return f"planned-{_digest(call.label)[:12]}", self._made_up(call.label, inputs)

    def read(self, call: Call, inputs: Properties, state: Properties) -> Properties:
        """Say that everything is as it was."""
        del call
        return {name: value for name, value in state.items() if name not in inputs}

    def update(self, call: Call, inputs: Properties, old_inputs: Properties, state: Properties) -> Properties:
        """Make up what a preview could not know."""
        del old_inputs, state
        return self._made_up(call.label, inputs)

    def delete(self, call: Call, inputs: Properties, state: Properties) -> None:
        """There is nothing to remove."""
        del call, inputs, state

    def _made_up(self, label: str, inputs: Properties) -> Properties:
        return {
            name: _filled(self.forms[name], _digest(label), inputs)
            if name in self.forms and value is UNKNOWN
            else _known(value, f"planned-{name}-{_digest(label)[:12]}")
            for name, value in self.inner.preview(inputs, None).items()
        }


class _Provider(Provider):
    """Asks for no refresh before an update: nothing changes behind the back of a plan."""

    def Create(self, request: Any, context: Any) -> Any:
        """See `Provider`."""
        return _unasked(super().Create(request, context))

    def Update(self, request: Any, context: Any) -> Any:
        """See `Provider`."""
        return _unasked(super().Update(request, context))

    def Read(self, request: Any, context: Any) -> Any:
        """See `Provider`."""
        return _unasked(super().Read(request, context))


def _unasked(response: Any) -> Any:
    response.refresh_before_update = False
    return response


def provider(project: str = "", table: Mapping[str, Resource] | None = None) -> Provider:
    """Return the servicer.

    Args:
        project: folder of the checkout whose program runs.
        table: the resources by name; those of the provider unless stated.
    """
    found = resources() if table is None else table
    return _Provider(
        {name: Planned(one, _FORMS.get(name, {}), project) for name, one in found.items()}, threading.Event()
    )


def _known(value: Any, text: str) -> Any:
    match value:
        case Secret(inner):
            return Secret(_known(inner, text))
        case dict():
            return {name: _known(item, f"{text}-{name}") for name, item in value.items()}
        case _ if value is UNKNOWN:
            return text
    return value


def _elsewhere(value: Any, project: str) -> Any:
    """Return a value in which the project lies at `/project`, and its short folder beside it."""
    match value:
        case str():
            return _SHORT.sub("/tmp/mlops-planned", value.replace(project, "/project"))  # noqa: S108 - nothing is made
        case Secret(inner):
            return Secret(_elsewhere(inner, project))
        case dict():
            return {name: _elsewhere(item, project) for name, item in value.items()}
        case list():
            return [_elsewhere(item, project) for item in value]
    return value


def _filled(form: Any, digest: str, inputs: Properties) -> Any:
    match form:
        case str():
            return re.sub(r"\{(\w*)\}", lambda found: str(inputs.get(found[1], "")) if found[1] else digest, form)
        case Mapping():
            return {name: _filled(item, digest, inputs) for name, item in form.items()}
    return form


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
