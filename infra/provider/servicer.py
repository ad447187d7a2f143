# ruff: noqa: N802, ARG002 - method names and arguments are the protocol's
"""What every provider of ours answers alike: the handshake, messages to the engine, errors in words, Cancel.

Errors that people can act on end a call with FAILED_PRECONDITION, of which the engine shows the text alone.
"""

import contextlib
import threading
import traceback
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, plugin_pb2, provider_pb2, provider_pb2_grpc

from infra.provider.codec import Properties, secret_texts
from infra.provider.resource import Call, ResourceError

_Result = TypeVar("_Result")


class Servicer(provider_pb2_grpc.ResourceProviderServicer):
    """The base of a provider.

    Args:
        version: The version that the engine is told.
        cancelled: Set by the engine's Cancel; operations in flight then end soon.
        engine_address: Where the engine listens for messages; the handshake may tell a newer one.
    """

    def __init__(self, version: str, cancelled: threading.Event, engine_address: str | None = None) -> None:
        self._version = version
        self._cancelled = cancelled
        self._engine: engine_pb2_grpc.EngineStub | None = None
        if engine_address:
            self._connect(engine_address)

    def _connect(self, address: str) -> None:
        self._engine = engine_pb2_grpc.EngineStub(grpc.insecure_channel(address))

    def Handshake(self, request: Any, context: Any) -> Any:
        """Agree on what both sides support."""
        self._connect(request.engine_address)
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True)

    def Attach(self, request: Any, context: Any) -> Any:
        """Take the address of an engine that attaches to this process while it runs. A new engine, a new start."""
        self._connect(request.address)
        self._cancelled.clear()
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        """Return the provider's version."""
        return plugin_pb2.PluginInfo(version=self._version)

    def Cancel(self, request: Any, context: Any) -> Any:
        """End the operations in flight soon."""
        self._cancelled.set()
        return empty_pb2.Empty()

    # --- helpers ---------------------------------------------------------------------------------------------------

    def _call(self, urn: str, properties: Properties) -> Call:
        def report(message: str, passing: bool) -> None:
            if self._engine is None:
                return
            request = engine_pb2.LogRequest(
                severity=engine_pb2.LogSeverity.INFO, message=message, urn=urn, ephemeral=passing
            )
            with contextlib.suppress(grpc.RpcError):  # it is gone or slow; the work itself goes on or is cancelled
                self._engine.Log(request, timeout=5)

        return Call(name_in(urn), report, self._cancelled, tuple(secret_texts(properties)))

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


def token_in(urn: str) -> str:
    """Return the type token of the resource that `urn` names."""
    return urn.split("::")[2].rsplit("$", 1)[-1]


def stack_in(urn: str) -> str:
    """Return the name of the stack that `urn` belongs to."""
    return urn.split("::")[0].rsplit(":", 1)[-1]


def name_in(urn: str) -> str:
    """Return the name of the resource that `urn` names."""
    return urn.rsplit("::", 1)[-1]
