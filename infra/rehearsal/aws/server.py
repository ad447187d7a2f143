# ruff: noqa: N802, ARG002 - method names and arguments are the protocol's
"""The gRPC surface of the stand-in `aws` provider: Pulumi's protocol on one side, the table of kinds on the other.

One process serves one provider of a stack: the engine does not say which provider a call is for when it is attached.
"""

from __future__ import annotations

import os
import threading
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2, empty_pb2  # type: ignore[import-untyped]
from google.rpc import status_pb2
from pulumi.runtime.proto import provider_pb2

from infra.provider.codec import Properties, Secret, decode, encode, is_known, plain
from infra.provider.resource import Call, ResourceError, changed
from infra.provider.servicer import Servicer, name_in, token_in
from infra.rehearsal.aws import functions, settings
from infra.rehearsal.aws.clients import Aws
from infra.rehearsal.aws.kind import Situation
from infra.rehearsal.aws.orphans import Journal
from infra.rehearsal.aws.perform import PartlyMadeError, Performer
from infra.rehearsal.aws.resources import KINDS
from infra.rehearsal.aws.schema import NoSuchTypeError
from infra.rehearsal.aws.settings import ProviderSettings, provider_settings

VERSION = "7.51.1"


class AwsProvider(Servicer):
    """Serves the table of kinds against an endpoint.

    Args:
        endpoint: Address of the rehearsal's AWS server.
        cancelled: See `Servicer`.
        engine_address: See `Servicer`.
        journal: Where what was made is noted.
        crash_at: Number of the creation at which the process ends without a word, 0 for never.
    """

    def __init__(
        self,
        endpoint: str,
        cancelled: threading.Event,
        engine_address: str | None = None,
        journal: Journal | None = None,
        crash_at: int = 0,
    ) -> None:
        super().__init__(VERSION, cancelled, engine_address)
        self._endpoint = endpoint
        self._journal = journal or Journal(None)
        self._performers: dict[str, Performer] = {}
        self._settings: ProviderSettings | None = None
        self._account = ""
        self._aws: dict[str, Aws] = {}
        self._crash_at, self._creations = crash_at, 0
        self._lock = threading.RLock()
        self._making: set[str] = set()  # resources that the API may have without the journal
        self._noted = threading.Condition()

    # --- the provider's own settings -------------------------------------------------------------------------------

    def CheckConfig(self, request: Any, context: Any) -> Any:
        """Refuse unknown and mistyped settings."""
        failures = [provider_pb2.CheckFailure(reason=text) for text in settings.problems(decode(request.news))]
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    def DiffConfig(self, request: Any, context: Any) -> Any:
        """Say that another region means other resources; anything else is taken up as it comes."""
        old, new = plain(decode(request.old_inputs)), plain(decode(request.news))
        names = changed(old, new)
        replaces = [name for name in names if name == "region" and is_known(new.get(name))]
        kinds = provider_pb2.DiffResponse
        return kinds(changes=kinds.DIFF_SOME if names else kinds.DIFF_NONE, replaces=replaces, diffs=list(names))

    def Configure(self, request: Any, context: Any) -> Any:
        """Take the settings, and refuse credentials of another account before anything is touched."""
        given = decode(request.args) if request.HasField("args") else {}
        given = given or {name.rpartition(":")[2]: value for name, value in request.variables.items()}
        with self._lock:
            self._settings = provider_settings(given)
            self._account = self._identify(context)
        refusal = self._settings.refusal(self._account)
        if refusal:
            self._fail(context, refusal)
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True, acceptResources=False)

    def _identify(self, context: Any) -> str:
        try:
            identity = self._api().call("sts", "get_caller_identity", {})
        except ResourceError as error:
            self._fail(context, f"the credentials do not work: {error}")
        return str(identity["Account"])

    def _api(self, region: str | None = None) -> Aws:
        with self._lock:
            assert self._settings is not None
            chosen = region or self._settings.region
            if chosen not in self._aws:
                self._aws[chosen] = Aws(self._endpoint, chosen)
            return self._aws[chosen]

    # --- resources -------------------------------------------------------------------------------------------------

    def Check(self, request: Any, context: Any) -> Any:
        """Validate inputs and fill in defaults and a name. Reasons never show values."""
        performer, news, olds = self._performer(request.urn, context), decode(request.news), decode(request.olds)
        inputs = performer.named(news, plain(olds), name_in(request.urn), bytes(request.randomSeed))
        problems = performer.problems(self._api(_region(inputs)), inputs)
        failures = [provider_pb2.CheckFailure(reason=f"{name_in(request.urn)}: {text}") for text in problems]
        return provider_pb2.CheckResponse(inputs=encode(inputs), failures=failures)

    def Diff(self, request: Any, context: Any) -> Any:
        """Compare what is wanted with the inputs of last time, and the tags with those that are there."""
        performer = self._performer(request.urn, context)
        old, new = plain(decode(request.old_inputs)), plain(decode(request.news))
        state = plain(decode(request.olds))
        ignored = set(request.ignoreChanges)
        names = [name for name in changed(old, new) if not name.startswith("__") and name not in ignored]
        tags = self._all_tags(new)
        if performer.kind.tagging and is_known(tags) and state.get("tagsAll", {}) != tags and "tags" not in ignored:
            names.append("tagsAll")
        replaces = performer.replacing(names)
        updates = [name for name in names if name not in replaces]
        kinds = provider_pb2.PropertyDiff
        detailed = {name: kinds(kind=kinds.UPDATE) for name in updates}
        detailed |= {name: kinds(kind=kinds.UPDATE_REPLACE) for name in replaces}
        changes = provider_pb2.DiffResponse
        name = performer.kind.name
        fixed = bool(name) and name not in new.get("__defaults", ()) and name not in replaces
        return provider_pb2.DiffResponse(
            changes=changes.DIFF_SOME if names else changes.DIFF_NONE,
            replaces=replaces,
            deleteBeforeReplace=bool(replaces) and fixed,  # a name that is stated is taken until the old one is gone
            diffs=names,
            detailedDiff=detailed,
            hasDetailedDiff=True,
        )

    def Create(self, request: Any, context: Any) -> Any:
        """Make it, or promise outputs in a preview."""
        performer, inputs = self._performer(request.urn, context), decode(request.properties)
        if request.preview:
            outputs = performer.promised(inputs, {})
            if performer.kind.tagging:
                outputs["tagsAll"] = self._all_tags(inputs)
            return provider_pb2.CreateResponse(properties=encode(outputs))
        call = self._call(request.urn, inputs)
        at = self._situation(request.urn, inputs, {}, {}, "")
        self._count_down(request.urn)

        def made(identity: str) -> None:
            self._journal.made(request.urn, identity)
            self._not_making(request.urn)

        def create() -> tuple[str, Properties] | PartlyMadeError:
            for orphan in self._journal.orphans(request.urn):
                performer.delete(self._situation(request.urn, inputs, inputs, {"id": orphan}, orphan))
                self._journal.told(request.urn, orphan)
                call.message(f"removed {orphan}, which a crashed run had made and not told")
            try:
                return performer.create(at, made)
            except PartlyMadeError as error:
                return error
            finally:
                self._not_making(request.urn)

        outcome = self._guard(call, context, create)
        if isinstance(outcome, PartlyMadeError):
            self._journal.told(request.urn, outcome.identity)
            self._fail_partly(context, outcome, inputs, call)
        identity, outputs = outcome
        context.add_callback(lambda: self._journal.told(request.urn, identity))
        return provider_pb2.CreateResponse(id=identity, properties=encode(_with_secrets(outputs, inputs)))

    def Read(self, request: Any, context: Any) -> Any:
        """Look at the world. Inputs become what is there, so that the next `up` mends what somebody changed."""
        performer = self._performer(request.urn, context)
        inputs, state = decode(request.inputs), decode(request.properties)
        if not inputs:
            self._fail(context, f"importing {name_in(request.urn)} is not possible in a rehearsal")
        call = self._call(request.urn, inputs)
        at = self._situation(request.urn, inputs, plain(inputs), plain(state), request.id)
        found = self._guard(call, context, lambda: performer.read(at))
        if found is None:
            return provider_pb2.ReadResponse()
        kept, outputs = {**_marks(inputs), **found[0]}, found[1]
        return provider_pb2.ReadResponse(
            id=request.id,
            inputs=encode(_with_secrets(kept, inputs)),
            properties=encode(_with_secrets(outputs, inputs)),
        )

    def Update(self, request: Any, context: Any) -> Any:
        """Update in place; when it fails the engine keeps the old inputs, and the next `up` tries again."""
        performer, inputs = self._performer(request.urn, context), decode(request.news)
        old, state = plain(decode(request.old_inputs)), plain(decode(request.olds))
        if request.preview:
            outputs = performer.promised(inputs, state)
            if performer.kind.tagging:
                outputs["tagsAll"] = self._all_tags(inputs)
            return provider_pb2.UpdateResponse(properties=encode(outputs))
        call = self._call(request.urn, inputs)
        names = [name for name in changed(old, plain(inputs)) if not name.startswith("__")]
        if performer.kind.tagging:
            names.append("tagsAll")
        at = self._situation(request.urn, inputs, old, state, request.id)
        outputs = self._guard(call, context, lambda: performer.update(at, names))
        return provider_pb2.UpdateResponse(properties=encode(_with_secrets(outputs, inputs)))

    def Delete(self, request: Any, context: Any) -> Any:
        """Remove it."""
        performer, state = self._performer(request.urn, context), decode(request.properties)
        inputs = decode(request.old_inputs) or state
        call = self._call(request.urn, state)
        at = self._situation(request.urn, inputs, plain(inputs), plain(state), request.id)
        self._guard(call, context, lambda: performer.delete(at))
        self._journal.told(request.urn, request.id)
        return empty_pb2.Empty()

    def Invoke(self, request: Any, context: Any) -> Any:
        """Answer a function."""
        arguments = decode(request.args)
        label = Call(request.tok, lambda _text, _brief: None)
        region = _region(arguments)
        result = self._guard(
            label, context, lambda: functions.invoke(request.tok, plain(arguments), self._api(region), self._account)
        )
        return provider_pb2.InvokeResponse(**{"return": encode(result)})

    # --- helpers ---------------------------------------------------------------------------------------------------

    def _performer(self, urn: str, context: Any) -> Performer:
        token = token_in(urn)
        with self._lock:
            if token not in self._performers:
                kind = KINDS.get(token)
                if kind is None:
                    self._fail(context, self._unknown(token))
                self._performers[token] = Performer(kind)
            return self._performers[token]

    def _unknown(self, token: str) -> str:
        from infra.rehearsal.aws import schema

        try:
            schema.resource(token)
        except NoSuchTypeError as error:
            return str(error)
        return (
            f"{token} is not in the rehearsal's table of resource types; add a Kind to"
            f" infra/rehearsal/aws/resources/{token.split(':')[1].split('/')[0]}.py"
        )

    def _all_tags(self, inputs: Properties) -> dict[str, Any]:
        assert self._settings is not None
        own = inputs.get("tags") or {}
        return {**self._settings.default_tags, **(own if isinstance(own, dict) else {})}

    def _situation(self, urn: str, inputs: Properties, old: Properties, state: Properties, identity: str) -> Situation:
        region = _region(inputs)
        aws = self._api(region)
        return Situation(
            name=name_in(urn),
            inputs={name: plain(value) for name, value in inputs.items() if not name.startswith("__")},
            old=old,
            state=state,
            id=identity,
            account=self._account,
            region=aws.region,
            partition=functions.partition_of(aws.region),
            tags=plain(self._all_tags(inputs)),
            aws=aws,
        )

    def _count_down(self, urn: str) -> None:
        """Count a creation; at the one that the fault names, end without a word.

        Whatever else is being made is in the API and in the journal by then, and the engine knows nothing of it.
        """
        with self._noted:
            self._creations += 1
            if not self._crash_at or self._creations < self._crash_at:
                self._making.add(urn)
                return
            self._noted.wait_for(lambda: not self._making, timeout=60)
            os._exit(1)

    def _not_making(self, urn: str) -> None:
        with self._noted:
            self._making.discard(urn)
            self._noted.notify_all()

    def _fail_partly(self, context: Any, error: PartlyMadeError, inputs: Properties, call: Call) -> NoReturn:
        """Fail in the way that puts the resource into the state, so that the next `up` finds and mends it."""
        detail = any_pb2.Any()
        detail.Pack(
            provider_pb2.ErrorResourceInitFailed(
                id=error.identity,
                properties=encode({name: value for name, value in inputs.items() if not name.startswith("__")}),
                reasons=[call.redact(str(error))],
                inputs=encode(inputs),
            )
        )
        text = call.redact(str(error))
        code = grpc.StatusCode.UNKNOWN
        status = status_pb2.Status(code=code.value[0], message=text, details=[detail])
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, text)
        raise AssertionError("abort raises")


def _region(inputs: Properties) -> str | None:
    region = inputs.get("region")
    return region if isinstance(region, str) and region else None


def _marks(inputs: Properties) -> Properties:
    return {name: value for name, value in inputs.items() if name.startswith("__")}


def _with_secrets(values: Properties, inputs: Properties) -> Properties:
    """Return `values` with those secret whose input is, so that what came in secret goes out secret."""
    return {
        name: value if isinstance(value, Secret) or not _has_secret(inputs.get(name)) else Secret(plain(value))
        for name, value in values.items()
    }


def _has_secret(value: Any) -> bool:
    match value:
        case Secret():
            return True
        case dict():
            return any(_has_secret(item) for item in value.values())
        case list():
            return any(_has_secret(item) for item in value)
    return False
