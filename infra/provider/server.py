# ruff: noqa: N802, ARG002 - method names and arguments are the protocol's
"""The gRPC surface: one servicer for all resources, between the engine's protocol and `resource.Resource`.

Every response asks for a refresh before the next update, so that a plain `up` or `preview` notices a process that died.
Errors that people can act on end a call with FAILED_PRECONDITION, of which the engine shows the text alone.
"""

import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, plugin_pb2, provider_pb2, provider_pb2_grpc

from infra.provider.codec import Properties, decode, encode, is_known, plain, secret_texts
from infra.provider.resource import Call, Explaining, Resource, ResourceError

VERSION = "0.1.0"
_Result = TypeVar("_Result")


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """Serves the resources of `resources`, a table from the last part of the type token to the resource.

    Args:
        resources: The resources by name.
        cancelled: Set by the engine's Cancel; operations in flight then end soon.
        engine_address: Where the engine listens for messages; the handshake may tell a newer one.
    """

    def __init__(
        self, resources: Mapping[str, Resource], cancelled: threading.Event, engine_address: str | None = None
    ) -> None:
        self._resources = resources
        self._cancelled = cancelled
        self._engine: engine_pb2_grpc.EngineStub | None = None
        if engine_address:
            self._connect(engine_address)

    def _connect(self, address: str) -> None:
        self._engine = engine_pb2_grpc.EngineStub(grpc.insecure_channel(address))

    # --- the plugin itself -----------------------------------------------------------------------------------------

    def Handshake(self, request: Any, context: Any) -> Any:
        """Agree on what both sides support."""
        self._connect(request.engine_address)
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True)

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        """Return the provider's version."""
        return plugin_pb2.PluginInfo(version=VERSION)

    def CheckConfig(self, request: Any, context: Any) -> Any:
        """Accept the provider's configuration; it has no settings."""
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:
        """Say that configuration never changes anything."""
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(self, request: Any, context: Any) -> Any:
        """Say what the provider supports, to engines that do not shake hands."""
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    def Cancel(self, request: Any, context: Any) -> Any:
        """End the operations in flight soon."""
        self._cancelled.set()
        return empty_pb2.Empty()

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
        """Look at the world. Inputs stay as they are, and nothing is ever dropped: `up` mends what has gone."""
        resource = self._resource(request.urn, context)
        inputs, state = decode(request.inputs), decode(request.properties)
        if not inputs:
            self._fail(context, f"importing {_name(request.urn)} is not supported: `pulumi up` creates it")
        call = self._call(request.urn, inputs)
        computed = self._guard(call, context, lambda: resource.read(call, plain(inputs), plain(state)))
        return provider_pb2.ReadResponse(
            id=request.id, inputs=request.inputs, properties=encode(inputs | computed), refresh_before_update=True
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

    # --- helpers ---------------------------------------------------------------------------------------------------

    def _resource(self, urn: str, context: Any) -> Resource:
        token = urn.split("::")[2].rsplit("$", 1)[-1]
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

    def _call(self, urn: str, properties: Properties) -> Call:
        def report(message: str, passing: bool) -> None:
            if self._engine is None:
                return
            request = engine_pb2.LogRequest(
                severity=engine_pb2.LogSeverity.INFO, message=message, urn=urn, ephemeral=passing
            )
            try:
                self._engine.Log(request, timeout=5)
            except grpc.RpcError:
                self._engine = None  # the engine is gone; the work itself goes on or is cancelled

        return Call(_name(urn), report, self._cancelled, tuple(secret_texts(properties)))

    def _guard(self, call: Call, context: Any, operation: Callable[[], _Result]) -> _Result:
        try:
            return operation()
        except ResourceError as error:
            self._fail(context, call.redact(str(error)))
        except OSError as error:  # a full disk, a missing right: the text says it all
            self._fail(context, call.redact(f"{call.label}: {error}"))
        except Exception as error:  # noqa: BLE001 - the engine shows it; a dead provider would hide it
            where = "".join(traceback.format_exception(error)[-3:])
            self._fail(context, call.redact(f"{call.label}: unexpected {type(error).__name__}: {error}\n{where}"))

    def _fail(self, context: Any, message: str) -> NoReturn:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, message)
        raise AssertionError("abort raises")


def _name(urn: str) -> str:
    return urn.rsplit("::", 1)[-1]
