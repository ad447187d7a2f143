# ruff: noqa: N802, ARG002 - method names and arguments are the protocol's
"""The `aws` provider of a plan: the rehearsal's table of kinds, with nothing behind it.

Inputs are checked by the SDK's types and botocore's models, a replacement is told by CloudFormation's create-only
properties, both as in a rehearsal. What `Create` puts out is made up (`made_up`).
"""

from __future__ import annotations

import functools
import hashlib
import threading
from typing import Any, NoReturn

import botocore.session
from botocore import xform_name
from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import provider_pb2

from infra.planning import made_up
from infra.provider.codec import Properties, decode, encode, plain
from infra.provider.resource import Call, ResourceError, changed
from infra.provider.servicer import name_in
from infra.rehearsal.aws import functions
from infra.rehearsal.aws.clients import Aws
from infra.rehearsal.aws.server import AwsProvider, _region, _with_secrets

ACCOUNT = "000000000000"
"""Account of a plan whose provider is pinned to none."""
_ZONES = "abc"


class NoAws(Aws):
    """The API's shapes without the API.

    Args:
        region: AWS region.
    """

    def __init__(self, region: str) -> None:
        self.endpoint, self.region = "", region

    def client(self, service: str) -> NoReturn:
        """Refuse: a plan calls nobody."""
        raise ResourceError(f"a plan does not call AWS, and {service} was asked for")

    def shape(self, service: str, operation: str) -> Any:
        """Return the shape of an operation's input, from botocore's model."""
        return _operations(service)[operation]().input_shape

    def call(self, service: str, operation: str, arguments: dict[str, Any]) -> Any:
        """Answer what a plan has to know before anything is made.

        Raises:
            ResourceError: it cannot be known without an account.
        """
        if (service, operation) == ("ec2", "describe_availability_zones"):
            return {
                "AvailabilityZones": [
                    {"ZoneName": f"{self.region}{letter}", "ZoneId": f"{self.region}-az{index}", "State": "available"}
                    for index, letter in enumerate(_ZONES, 1)
                ]
            }
        if (service, operation) == ("sts", "get_caller_identity"):
            return {"Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:user/plan", "UserId": "plan"}
        raise ResourceError(f"{service} {operation} asks the account, which a plan does not have")


@functools.cache
def _session() -> botocore.session.Session:
    return botocore.session.Session()


_MODELS = threading.Lock()


@functools.lru_cache(maxsize=64)
def _model(service: str) -> dict[str, Any]:
    model = _session().get_service_model(service)
    return {xform_name(name): functools.partial(model.operation_model, name) for name in model.operation_names}


def _operations(service: str) -> dict[str, Any]:
    with _MODELS:  # loading a model is not safe in several threads
        return _model(service)


class PlannedAws(AwsProvider):
    """Serves the table of kinds without an endpoint.

    Args:
        judging: whether inputs that changed are checked; a base that was merged is not judged again.
    """

    def __init__(self, *, judging: bool = True) -> None:
        super().__init__("", threading.Event())
        self._judging = judging

    def _identify(self, context: Any) -> str:
        assert self._settings is not None
        return next(iter(self._settings.allowed_accounts), ACCOUNT)

    def _api(self, region: str | None = None) -> Aws:
        assert self._settings is not None
        return NoAws(region or self._settings.region)

    def Check(self, request: Any, context: Any) -> Any:
        """Fill in defaults and a name that is the same each time; validate what is new or has changed."""
        performer, news, olds = self._performer(request.urn, context), decode(request.news), decode(request.olds)
        seed = hashlib.sha256(request.urn.encode()).digest()
        inputs = performer.named(news, plain(olds), name_in(request.urn), seed)
        failures = []
        if self._judging and changed(plain(olds), plain(inputs)):
            problems = performer.problems(self._api(_region(inputs)), inputs)
            failures = [provider_pb2.CheckFailure(reason=f"{name_in(request.urn)}: {text}") for text in problems]
        return provider_pb2.CheckResponse(inputs=encode(inputs), failures=failures)

    def Create(self, request: Any, context: Any) -> Any:
        """Promise outputs in a preview; make them up otherwise."""
        if request.preview:
            return super().Create(request, context)
        inputs = decode(request.properties)
        identity, outputs = self._made_up(request.urn, inputs, "", context)
        return provider_pb2.CreateResponse(id=identity, properties=encode(_with_secrets(outputs, inputs)))

    def Update(self, request: Any, context: Any) -> Any:
        """Promise outputs in a preview; make them up otherwise."""
        if request.preview:
            return super().Update(request, context)
        inputs = decode(request.news)
        _, outputs = self._made_up(request.urn, inputs, request.id, context)
        return provider_pb2.UpdateResponse(properties=encode(_with_secrets(outputs, inputs)))

    def Read(self, request: Any, context: Any) -> Any:
        """Say that everything is as it was."""
        if not request.inputs.fields:
            self._fail(context, f"{name_in(request.urn)}: a plan has no account to import from")
        return provider_pb2.ReadResponse(id=request.id, inputs=request.inputs, properties=request.properties)

    def Delete(self, request: Any, context: Any) -> Any:
        """There is nothing to remove."""
        return empty_pb2.Empty()

    def Invoke(self, request: Any, context: Any) -> Any:
        """Answer a function where that needs no account."""
        arguments = plain(decode(request.args))
        call = Call(request.tok, lambda _text, _brief: None)
        api = self._api(_region(arguments))
        result = self._guard(call, context, lambda: functions.invoke(request.tok, arguments, api, self._account))
        return provider_pb2.InvokeResponse(**{"return": encode(result)})

    def _made_up(self, urn: str, inputs: Properties, identity: str, context: Any) -> tuple[str, Properties]:
        performer = self._performer(urn, context)
        at = self._situation(urn, inputs, {}, {}, identity)
        identity = identity or made_up.identity(performer.kind, urn, at)
        at = self._situation(urn, inputs, {}, {"id": identity}, identity)
        promised = performer.promised(inputs, {})
        outputs = made_up.outputs(performer.kind, performer.schema, urn, at, promised)
        if "region" in performer.schema.outputs:
            outputs["region"] = at.region
        if performer.kind.tagging:
            outputs["tagsAll"] = self._all_tags(inputs)
        return identity, outputs
