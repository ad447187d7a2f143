"""The planning stand-ins as an engine sees them: over their protocol."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from infra.planning.serving import providers
from infra.provider.codec import decode, encode

PROJECT = "/somewhere/checkout"


def urn(token: str, name: str) -> str:
    """Return the URN of a resource of the stack `test`."""
    return f"urn:pulumi:test::mlops::{token}::{name}"


@dataclass(frozen=True)
class Client:
    """One provider, asked as the engine asks it."""

    stub: Any

    def configure(self, **settings: Any) -> None:
        """Configure it."""
        self.stub.Configure(provider_pb2.ConfigureRequest(args=encode(settings)))

    def check(self, token: str, name: str, inputs: dict[str, Any], olds: dict[str, Any] | None = None) -> Any:
        """Return the checked inputs, and the reasons against them."""
        request = provider_pb2.CheckRequest(urn=urn(token, name), news=encode(inputs), olds=encode(olds or {}))
        request.randomSeed = b"another each time"
        answer = self.stub.Check(request)
        return decode(answer.inputs), [one.reason for one in answer.failures]

    def diff(self, token: str, name: str, old: dict[str, Any], new: dict[str, Any]) -> Any:
        """Return the answer to a diff."""
        return self.stub.Diff(
            provider_pb2.DiffRequest(
                urn=urn(token, name), id="x", olds=encode(old), old_inputs=encode(old), news=encode(new)
            )
        )

    def create(self, token: str, name: str, inputs: dict[str, Any], *, preview: bool = False) -> Any:
        """Return id and outputs."""
        answer = self.stub.Create(
            provider_pb2.CreateRequest(urn=urn(token, name), properties=encode(inputs), preview=preview)
        )
        return answer.id, decode(answer.properties)

    def invoke(self, token: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return a function's answer."""
        answer = self.stub.Invoke(provider_pb2.InvokeRequest(tok=token, args=encode(arguments)))
        return decode(getattr(answer, "return"))


@pytest.fixture(params=[True])
def clients(request: pytest.FixtureRequest) -> Iterator[dict[str, Client]]:
    """Clients of the three stand-ins by name; parametrize with False for one that judges nothing."""
    with providers(PROJECT, judging=request.param) as environment:
        ports = dict(one.split(":") for one in environment["PULUMI_DEBUG_PROVIDERS"].split(","))
        channels = {name: grpc.insecure_channel(f"127.0.0.1:{port}") for name, port in ports.items()}
        yield {name: Client(provider_pb2_grpc.ResourceProviderStub(channel)) for name, channel in channels.items()}
        for channel in channels.values():
            channel.close()


@pytest.fixture
def aws(clients: dict[str, Client]) -> Client:
    """The AWS stand-in, pinned to an account."""
    clients["aws"].configure(
        region="eu-central-1", allowedAccountIds='["111111111111"]', defaultTags='{"tags":{"client":"acme"}}'
    )
    return clients["aws"]


@pytest.fixture
def kubernetes(clients: dict[str, Client]) -> Client:
    """The Kubernetes stand-in, whose cluster is not known."""
    clients["kubernetes"].configure(kubeconfig="{}")
    return clients["kubernetes"]


@pytest.fixture
def blueprint(clients: dict[str, Client]) -> Client:
    """The stand-in of our own provider."""
    return clients["blueprint"]
