"""The gRPC surface, asked as the engine asks."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import engine_pb2_grpc, provider_pb2, provider_pb2_grpc

from infra.provider.codec import UNKNOWN, Properties, Secret, decode, encode
from infra.provider.resource import Call, Difference, ResourceError, changed, redact
from infra.provider.resources import resources
from infra.provider.server import Provider

URN = "urn:pulumi:local::mlops::mlops:registry:LocalRegistry$blueprint:index:{kind}::registry"


class Fragile:
    """A resource that fails in every operation, each time in another way."""

    def check(self, inputs: Properties) -> tuple[Properties, list[str]]:
        return inputs, ["`size` is 3: must be 4"]

    def diff(self, old_inputs: Properties, state: Properties, inputs: Properties) -> Difference:
        return Difference(update=changed(old_inputs, inputs))

    def preview(self, inputs: Properties, state: Properties | None) -> Properties:
        return {"made": UNKNOWN}

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        raise ResourceError(f"cannot use {inputs['token']}")

    def read(self, call: Call, inputs: Properties, state: Properties) -> Properties:
        return {"made": 1}

    def update(self, call: Call, inputs: Properties, old_inputs: Properties, state: Properties) -> Properties:
        raise KeyError(inputs["token"])

    def delete(self, call: Call, inputs: Properties, state: Properties) -> None:
        if not inputs:
            raise PermissionError(13, "Permission denied", "/locked/file")
        call.sleep(30)


@pytest.fixture
def cancelled() -> threading.Event:
    return threading.Event()


@pytest.fixture
def provider(cancelled: threading.Event) -> Iterator[Any]:
    server = grpc.server(ThreadPoolExecutor(max_workers=8))
    servicer = Provider({**resources(), "Fragile": Fragile()}, cancelled)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield provider_pb2_grpc.ResourceProviderStub(channel)
    server.stop(0).wait()


def failure(operation: Any, request: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        operation(request)
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    return caught.value


SECRET = {"token": Secret("hunter2hunter2")}


def test_secret_of_an_input_is_cut_out_of_an_error(provider: Any) -> None:
    request = provider_pb2.CreateRequest(urn=URN.format(kind="Fragile"), properties=encode(SECRET))

    assert failure(provider.Create, request).details() == "cannot use [secret]"


def test_unexpected_error_names_itself_and_its_place_without_secrets(provider: Any) -> None:
    request = provider_pb2.UpdateRequest(urn=URN.format(kind="Fragile"), news=encode(SECRET))

    details = failure(provider.Update, request).details()

    assert "registry: unexpected KeyError" in details
    assert "test_server.py" in details
    assert "hunter2" not in details


def test_trouble_with_a_file_names_the_file(provider: Any) -> None:
    request = provider_pb2.DeleteRequest(urn=URN.format(kind="Fragile"))

    assert failure(provider.Delete, request).details() == "registry: [Errno 13] Permission denied: '/locked/file'"


def test_secrets_stay_secret_in_outputs_and_computed_ones_are_added(provider: Any) -> None:
    request = provider_pb2.ReadRequest(id="1", urn=URN.format(kind="Fragile"), inputs=encode(SECRET))

    response = provider.Read(request)

    assert decode(response.properties) == {**SECRET, "made": 1}
    assert response.refresh_before_update


def test_preview_makes_nothing_and_promises_unknown_values(provider: Any) -> None:
    request = provider_pb2.CreateRequest(urn=URN.format(kind="Fragile"), properties=encode(SECRET), preview=True)

    assert decode(provider.Create(request).properties) == {**SECRET, "made": UNKNOWN}


def test_failed_check_gives_reasons_without_the_property_whose_value_the_engine_would_print(provider: Any) -> None:
    request = provider_pb2.CheckRequest(urn=URN.format(kind="Fragile"), news=encode(SECRET))

    [problem] = provider.Check(request).failures

    assert (problem.property, problem.reason) == ("", "`size` is 3: must be 4")


def test_diff_names_what_is_updated_and_what_is_replaced(provider: Any) -> None:
    token = provider_pb2.DiffRequest(
        urn=URN.format(kind="Token"), old_inputs=encode({"bytes": 32}), news=encode({"bytes": 64})
    )
    fragile = provider_pb2.DiffRequest(
        urn=URN.format(kind="Fragile"), old_inputs=encode({"a": 1}), news=encode({"a": Secret(1), "b": 2})
    )

    replaced, updated = provider.Diff(token), provider.Diff(fragile)

    assert (list(replaced.replaces), replaced.deleteBeforeReplace) == (["bytes"], True)
    assert (list(updated.replaces), list(updated.diffs)) == ([], ["b"])
    assert updated.changes == provider_pb2.DiffResponse.DIFF_SOME


def test_diff_without_a_difference_is_none(provider: Any) -> None:
    same = encode({"bytes": 32})
    request = provider_pb2.DiffRequest(urn=URN.format(kind="Token"), old_inputs=same, news=same)

    assert provider.Diff(request).changes == provider_pb2.DiffResponse.DIFF_NONE


def test_cancel_ends_an_operation_in_flight(provider: Any) -> None:
    request = provider_pb2.DeleteRequest(urn=URN.format(kind="Fragile"), properties=encode(SECRET))
    running = provider.Delete.future(request)
    provider.Cancel(empty_pb2.Empty())

    assert running.exception(timeout=20).details() == "registry: cancelled"


def test_unknown_resource_is_told_with_those_there_are(provider: Any) -> None:
    request = provider_pb2.CheckRequest(urn=URN.format(kind="Fence"))

    assert "blueprint:index:Fence is no resource of this provider; it has blueprint:index:Process" in str(
        failure(provider.Check, request).details()
    )


def test_import_is_refused_with_what_to_do(provider: Any) -> None:
    request = provider_pb2.ReadRequest(id="1", urn=URN.format(kind="Token"))

    assert "importing registry is not supported" in str(failure(provider.Read, request).details())


def test_token_is_drawn_once_and_secret(provider: Any) -> None:
    request = provider_pb2.CreateRequest(urn=URN.format(kind="Token"), properties=encode({"bytes": 32, "keepers": {}}))

    values = [decode(provider.Create(request).properties)["value"] for _ in range(2)]

    assert all(isinstance(value, Secret) and len(value.value) == 43 for value in values)
    assert values[0] != values[1]


def test_redaction_spares_short_texts_and_cuts_long_secrets_first() -> None:
    assert redact("1 is on, abcdef-long and abcdef", ["1", "abcdef", "abcdef-long"]) == "1 is on, [secret] and [secret]"


def test_redaction_finds_single_lines_of_a_secret_file() -> None:
    assert redact("bad line: password=x1y2z3", ["[auth]\npassword=x1y2z3\n"]) == "bad line: [secret]"


def test_messages_go_on_after_one_that_the_engine_took_too_long_for() -> None:
    told: list[str] = []

    class Engine(engine_pb2_grpc.EngineServicer):
        def Log(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's
            told.append(request.message)
            if len(told) == 1:
                context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "late")
            return empty_pb2.Empty()

    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    engine_pb2_grpc.add_EngineServicer_to_server(Engine(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    call = Provider({}, threading.Event(), f"127.0.0.1:{port}")._call(URN.format(kind="Fragile"), {})

    call.message("first")
    call.message("second")

    server.stop(0).wait()
    assert told == ["first", "second"]
    call.message("third")  # nobody is there any more, which is no failure
