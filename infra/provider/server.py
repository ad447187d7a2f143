# ruff: noqa: N802, ARG002 - method names and arguments are the protocol's
"""The gRPC surface: one servicer for all resources, between the engine's protocol and `resource.Resource`.

Every response asks for a refresh before the next update, so that a plain `up` or `preview` notices a process that died.
"""

import threading
from collections.abc import Mapping
from typing import Any

from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import provider_pb2

from infra.provider.codec import Properties, decode, encode, is_known, plain
from infra.provider.resource import Explaining, Importing, Resource
from infra.provider.servicer import Servicer, name_in, stack_in, token_in

VERSION = "0.1.0"


class Provider(Servicer):
    """Serves the resources of `resources`, a table from the last part of the type token to the resource.

    Args:
        resources: The resources by name.
        cancelled: Set by the engine's Cancel; operations in flight then end soon.
        engine_address: Where the engine listens for messages; the handshake may tell a newer one.
    """

    def __init__(
        self, resources: Mapping[str, Resource], cancelled: threading.Event, engine_address: str | None = None
    ) -> None:
        super().__init__(VERSION, cancelled, engine_address)
        self._resources = resources

    # --- the plugin itself -----------------------------------------------------------------------------------------

    def CheckConfig(self, request: Any, context: Any) -> Any:
        """Accept the provider's configuration; it has no settings."""
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:
        """Say that configuration never changes anything."""
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(self, request: Any, context: Any) -> Any:
        """Say what the provider supports, to engines that do not shake hands."""
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    # --- resources -------------------------------------------------------------------------------------------------

    def Check(self, request: Any, context: Any) -> Any:
        """Validate inputs. Reasons name the property; the protocol's own field for it would print secret values."""
        resource = self._resource(request.urn, context)
        inputs, problems = resource.check(decode(request.news))
        failures = [provider_pb2.CheckFailure(reason=problem) for problem in problems]
        return provider_pb2.CheckResponse(inputs=encode(inputs), failures=failures)

    def Diff(self, request: Any, context: Any) -> Any:
        """Compare what is wanted with the inputs of last time and with what the last look at the world found."""
        resource = self._resource(request.urn, context)
        difference = resource.diff(
            plain(decode(request.old_inputs)), plain(decode(request.olds)), plain(decode(request.news))
        )
        kinds = provider_pb2.PropertyDiff
        detailed = {name: provider_pb2.PropertyDiff(kind=kinds.UPDATE) for name in difference.update}
        detailed |= {name: provider_pb2.PropertyDiff(kind=kinds.UPDATE_REPLACE) for name in difference.replace}
        changes = provider_pb2.DiffResponse
        return provider_pb2.DiffResponse(
            changes=changes.DIFF_SOME if difference else changes.DIFF_NONE,
            replaces=difference.replace,
            deleteBeforeReplace=True,  # names and ports are taken until the old one is gone
            diffs=[*difference.update, *difference.replace],
            detailedDiff=detailed,
            hasDetailedDiff=True,
        )

    def Create(self, request: Any, context: Any) -> Any:
        """Create, or promise outputs in a preview."""
        resource, inputs = self._resource(request.urn, context), decode(request.properties)
        if request.preview:
            outputs = inputs | resource.preview(inputs, None)
            self._explain(request.urn, resource, inputs, None)
            return provider_pb2.CreateResponse(properties=encode(outputs), refresh_before_update=True)
        call = self._call(request.urn, inputs)
        identity, computed = self._guard(call, context, lambda: resource.create(call, plain(inputs)))
        return provider_pb2.CreateResponse(
            id=identity, properties=encode(inputs | computed), refresh_before_update=True
        )

    def Read(self, request: Any, context: Any) -> Any:
        """Look at the world. Inputs stay as they are, and nothing is ever dropped: `up` mends what has gone.

        Without inputs it is an import: they are made from the id.
        """
        resource = self._resource(request.urn, context)
        inputs, state = decode(request.inputs), decode(request.properties)
        stated = request.inputs
        if not inputs:
            inputs = self._imported(resource, request, context)
            stated = encode(inputs)
        call = self._call(request.urn, inputs)
        computed = self._guard(call, context, lambda: resource.read(call, plain(inputs), plain(state)))
        return provider_pb2.ReadResponse(
            id=request.id, inputs=stated, properties=encode(inputs | computed), refresh_before_update=True
        )

    def Update(self, request: Any, context: Any) -> Any:
        """Update in place; when it fails the engine keeps the old inputs, and the next `up` tries again."""
        resource, inputs = self._resource(request.urn, context), decode(request.news)
        old_inputs, state = plain(decode(request.old_inputs)), plain(decode(request.olds))
        if request.preview:
            computed = resource.preview(inputs, state if is_known(state) else None)
            self._explain(request.urn, resource, inputs, state if is_known(state) else None)
        else:
            call = self._call(request.urn, inputs)
            computed = self._guard(call, context, lambda: resource.update(call, plain(inputs), old_inputs, state))
        return provider_pb2.UpdateResponse(properties=encode(inputs | computed), refresh_before_update=True)

    def Delete(self, request: Any, context: Any) -> Any:
        """Delete."""
        resource, state = self._resource(request.urn, context), decode(request.properties)
        call = self._call(request.urn, state)
        inputs = plain(decode(request.old_inputs)) or plain(state)
        self._guard(call, context, lambda: resource.delete(call, inputs, plain(state)))
        return empty_pb2.Empty()

    def _imported(self, resource: Resource, request: Any, context: Any) -> Properties:
        if not isinstance(resource, Importing):
            self._fail(context, f"importing {name_in(request.urn)} is not supported: `pulumi up` creates it")
        call = self._call(request.urn, {})
        found = self._guard(call, context, lambda: resource.adopt(call, request.id, stack_in(request.urn)))
        inputs, problems = resource.check(found)
        if problems:
            self._fail(context, f"{name_in(request.urn)} cannot be imported: {'; '.join(problems)}")
        return inputs

    # --- helpers ---------------------------------------------------------------------------------------------------

    def _resource(self, urn: str, context: Any) -> Resource:
        token = token_in(urn)
        resource = self._resources.get(token.removeprefix("blueprint:index:"))
        if resource is None:
            known = ", ".join(f"blueprint:index:{name}" for name in self._resources)
            self._fail(context, f"{token} is no resource of this provider; it has {known}")
        return resource

    def _explain(self, urn: str, resource: Resource, inputs: Properties, state: Properties | None) -> None:
        """Show in a preview what the resource says it would do."""
        if isinstance(resource, Explaining):
            call = self._call(urn, inputs)
            for line in resource.explain(inputs, state):
                call.message(line)
