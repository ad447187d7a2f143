# ruff: noqa: N802, ARG002 - method names and arguments are the protocol's
"""The gRPC surface of the stand-in for the `kubernetes` plugin.

Check judges a changed object by a strict dry run, so that a field that does not exist is an error that names it; a
preview asks the server what would come of it; Create and Update apply on the server's side. Nothing waits for anything
to become ready, since nothing runs.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import provider_pb2

from infra.provider.codec import Properties, decode, encode, is_known, plain
from infra.provider.resource import CancelledError, ResourceError
from infra.provider.servicer import Servicer, name_in, token_in
from infra.rehearsal.faults import strike
from infra.rehearsal.kubernetes import charts, configuration, controllers, objects, refusals, validation
from infra.rehearsal.kubernetes.client import SCRATCH, ApiError, Client, Kind, UnreachableError
from infra.rehearsal.kubernetes.objects import Target
from infra.rehearsal.properties import differences, show

VERSION = "4.34.2"
"""Version of the official plugin that this stands in for."""

TOKEN = "MLOPS_REHEARSAL_KUBERNETES_TOKEN"  # noqa: S105 - a variable's name

_Result = TypeVar("_Result")


class Kubernetes(Servicer):
    """Serves objects of any kind that the API server knows, and Helm releases.

    Args:
        cancelled: Set by the engine's Cancel.
        engine_address: Where the engine listens for messages.
    """

    def __init__(self, cancelled: threading.Event, engine_address: str | None = None) -> None:
        super().__init__(VERSION, cancelled, engine_address)
        self._settings: configuration.Configuration | None = None
        self._connection: Client | None = None

    # --- configuration -------------------------------------------------------------------------------------------

    def CheckConfig(self, request: Any, context: Any) -> Any:
        """Validate the configuration; reasons never show the kubeconfig."""
        failures = [provider_pb2.CheckFailure(reason=reason) for reason in configuration.problems(decode(request.news))]
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    def DiffConfig(self, request: Any, context: Any) -> Any:
        """Say that another server means other objects, and any other setting none."""
        old, new = decode(request.old_inputs), decode(request.news)
        kinds = provider_pb2.DiffResponse
        if not any(differences(old, new)):
            return provider_pb2.DiffResponse(changes=kinds.DIFF_NONE)
        try:
            moved = is_known(new) and configuration.read(old).server != configuration.read(new).server
        except configuration.ConfigurationError:
            moved = True
        replaces = ["kubeconfig"] if moved else []
        return provider_pb2.DiffResponse(changes=kinds.DIFF_SOME, replaces=replaces, diffs=["kubeconfig"])

    def Configure(self, request: Any, context: Any) -> Any:
        """Connect to the API server that the kubeconfig names, with the credential of this process's environment."""
        inputs = decode(request.args)
        if is_known(inputs):
            try:
                self._settings = settings = configuration.read(inputs)
            except configuration.ConfigurationError as error:
                self._fail(context, f"kubernetes provider: {error}")
            token = os.environ.get(TOKEN)
            if not token:
                self._fail(context, f"kubernetes provider: {TOKEN} is not set; `./mlops rehearse` sets it")
            self._connection = Client(settings.server, settings.ca, token)
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    def Invoke(self, request: Any, context: Any) -> Any:
        """Refuse functions."""
        self._fail(context, f"{request.tok}: the stand-in has no functions; declare the objects as resources")

    def Construct(self, request: Any, context: Any) -> Any:
        """Refuse components of the plugin's own."""
        self._fail(context, f"{request.type}: is rendered by the official plugin; use helm.v3.Release or objects")

    # --- resources -----------------------------------------------------------------------------------------------

    def Check(self, request: Any, context: Any) -> Any:
        """Give the object its name and judge it where it changed. Reasons show no values that are secret."""
        inputs, old, token = decode(request.news), decode(request.olds), token_in(request.urn)
        seed, proposed = request.randomSeed, request.autonaming.proposed_name
        name = objects.name_for(name_in(request.urn), seed, proposed)
        call = self._call(request.urn, inputs)

        def check() -> tuple[Properties, list[str]]:
            if self._settings is None:
                return inputs, []
            if token == charts.TOKEN:
                return charts.check(inputs, old, name, self._settings.namespace)
            target, kind = self._target(token)
            namespace = self._settings.namespace if kind.namespaced else None
            checked, problems = objects.identified(inputs, old, target, name, namespace)
            if not problems and any(differences(old, checked)):
                problems = validation.problems(target.api_version, target.kind, checked) or self._judge(kind, checked)
            return checked, problems

        checked, problems = self._run(call, context, check)
        failures = [provider_pb2.CheckFailure(reason=call.redact(problem)) for problem in problems]
        return provider_pb2.CheckResponse(inputs=encode(checked), failures=failures)

    def Diff(self, request: Any, context: Any) -> Any:
        """Compare what is wanted with what was wanted, or was found by the last refresh."""
        old, new, token = decode(request.old_inputs), decode(request.news), token_in(request.urn)
        if token == charts.TOKEN:
            target = Target("helm.sh/v3", "Release")
            found = list(differences(old, new))
            fixed = [path for path, _change in found if path[0] in ("name", "namespace")]
        else:
            target = Target.of(token)
            settings = self._settings
            changes, fixed = objects.replaced(
                target,
                old,
                new,
                mutable_config_maps=settings is not None and settings.mutable_config_maps,
                mutable_secrets=settings is not None and settings.mutable_secrets,
            )
            found = [(path, change) for path, change in changes if path[-1] != objects.AUTONAMED]  # type: ignore[misc]
        kinds = provider_pb2.PropertyDiff
        names = {
            ("add", False): kinds.ADD,
            ("add", True): kinds.ADD_REPLACE,
            ("delete", False): kinds.DELETE,
            ("delete", True): kinds.DELETE_REPLACE,
            ("update", False): kinds.UPDATE,
            ("update", True): kinds.UPDATE_REPLACE,
        }
        detailed = {
            show(path): provider_pb2.PropertyDiff(kind=names[change, path in fixed], inputDiff=True)
            for path, change in found
        }
        # An object with a name of its own cannot lie beside its successor.
        named = objects.annotation(new, objects.AUTONAMED) != "true"
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if found else provider_pb2.DiffResponse.DIFF_NONE,
            replaces=[show(path) for path in fixed],
            deleteBeforeReplace=bool(fixed) and named,
            diffs=sorted({str(path[0]) for path, _change in found}),
            detailedDiff=detailed,
            hasDetailedDiff=True,
        )

    def Create(self, request: Any, context: Any) -> Any:
        """Apply a new object, or in a preview ask the server what would come of it."""
        inputs, token = decode(request.properties), token_in(request.urn)
        call = self._call(request.urn, inputs)

        def create() -> tuple[str, Properties]:
            if request.preview:
                return "", self._preview(token, inputs)
            strike("create", token, "before")
            if token == charts.TOKEN:
                revision = charts.put(self._client, inputs)
                call.message(_not_rendered(inputs))
                made = f"{plain(inputs['namespace'])}/{plain(inputs['name'])}", charts.outputs(inputs, revision)
            else:
                made = objects.identity(inputs), self._apply(token, inputs, new=True)
            strike("create", token, "after")
            return made

        identity, outputs = self._run(call, context, create)
        return provider_pb2.CreateResponse(id=identity, properties=encode(outputs))

    def Update(self, request: Any, context: Any) -> Any:
        """Apply a changed object, or in a preview ask the server what would come of it."""
        inputs, token = decode(request.news), token_in(request.urn)
        call = self._call(request.urn, inputs)

        def update() -> Properties:
            if request.preview:
                return self._preview(token, inputs)
            strike("update", token, "before")
            if token == charts.TOKEN:
                outputs = charts.outputs(inputs, charts.put(self._client, inputs))
                call.message(_not_rendered(inputs))
            else:
                outputs = self._apply(token, inputs, new=False)
            strike("update", token, "after")
            return outputs

        return provider_pb2.UpdateResponse(properties=encode(self._run(call, context, update)))

    def Read(self, request: Any, context: Any) -> Any:
        """Look at the object: what changed by hand shows in the inputs, what is gone is dropped from the state."""
        inputs, recorded, token = decode(request.inputs), decode(request.properties), token_in(request.urn)
        call = self._call(request.urn, inputs)

        def read() -> tuple[Properties, Properties] | None:
            strike("read", token, "before")
            namespace, _, name = request.id.rpartition("/")
            if token == charts.TOKEN:
                release = charts.find(self._client, namespace, name)
                return (inputs, charts.outputs(inputs, release["revision"])) if release else None
            target, kind = self._target(token)
            found = self._client.get(kind, namespace or None, name)
            if found is None:
                return None
            found = {"apiVersion": target.api_version, "kind": target.kind, **found}
            if not inputs:
                self._fail(context, f"{call.label}: import {target} {request.id} by declaring it with the same name")
            state = objects.state(inputs, found)
            return objects.looked_up(inputs, recorded, state), state

        result = self._run(call, context, read)
        if result is None:
            return provider_pb2.ReadResponse()
        return provider_pb2.ReadResponse(id=request.id, inputs=encode(result[0]), properties=encode(result[1]))

    def Delete(self, request: Any, context: Any) -> Any:
        """Delete the object and wait until it is gone; what is gone already is no error."""
        state, token = decode(request.properties), token_in(request.urn)
        call = self._call(request.urn, state)

        def delete() -> None:
            strike("delete", token, "before")
            namespace, _, name = request.id.rpartition("/")
            if token == charts.TOKEN:
                charts.remove(self._client, namespace, name)
                return
            _target, kind = self._target(token)
            propagation = (objects.annotation(state, objects.PROPAGATION) or "background").capitalize()
            with_it = controllers.delete(self._client, kind, namespace or None, name, propagation)
            if with_it:
                call.message(f"{len(with_it)} objects went with namespace {name}: {', '.join(with_it[:10])}")
            strike("delete", token, "after")

        self._run(call, context, delete)
        return empty_pb2.Empty()

    # --- helpers -------------------------------------------------------------------------------------------------

    @property
    def _client(self) -> Client:
        if self._connection is None:
            raise ResourceError("the kubernetes provider is not configured yet: its kubeconfig is not known")
        return self._connection

    def _target(self, token: str) -> tuple[Target, Kind]:
        """Return the kind of object that a token means.

        Raises:
            ResourceError: The API server does not know it.
        """
        try:
            target = Target.of(token)
        except ValueError as error:
            raise ResourceError(str(error)) from error
        kind = self._client.kind(target.api_version, target.kind)
        if kind is not None:
            return target, kind
        for suffix in ("Patch", "List"):
            if self._client.kind(target.api_version, target.kind.removesuffix(suffix)):
                raise ResourceError(f"{token}: the stand-in has no {suffix} resources; declare each object by itself")
        versions = self._client.versions_of(target.kind)
        hint = f"it has it in {', '.join(versions)}" if versions else "no definition that is installed has it"
        raise ResourceError(f"{token}: the API server has no {target.kind} in {target.api_version}; {hint}")

    def _judge(self, kind: Kind, inputs: Properties) -> list[str]:
        """Return what the server says against an object, whatever namespace it is for."""
        body, left_out = objects.body(inputs)
        body["metadata"].setdefault("name", "unknown")
        if kind.namespaced:
            body["metadata"]["namespace"] = SCRATCH
        try:
            self._client.create(kind, SCRATCH if kind.namespaced else None, body, dry_run=True)
        except ApiError as error:
            if error.reason == "AlreadyExists":  # judged before it was looked for
                return []
            return refusals.reasons(error, left_out)
        return []

    def _preview(self, token: str, inputs: Properties) -> Properties:
        """Return the outputs that can be promised."""
        if self._settings is None:
            return inputs
        if token == charts.TOKEN:
            return charts.outputs(inputs, None)
        target, kind = self._target(token)
        body, left_out = objects.body(inputs)
        namespace, name = objects.namespace_and_name(inputs)
        if left_out or name is None or self._is_missing(kind, namespace):
            return inputs
        self._admit(target, body, namespace)
        self._send(kind, namespace, inputs, body, dry_run=True)
        return inputs

    def _apply(self, token: str, inputs: Properties, *, new: bool) -> Properties:
        if self._cancelled.is_set():
            raise CancelledError("cancelled before anything was changed")
        target, kind = self._target(token)
        body, _left_out = objects.body(inputs)
        namespace, name = objects.namespace_and_name(inputs)
        assert name is not None
        if new and not self._may_adopt(kind, namespace, name, inputs):
            raise ResourceError(
                f"{target} {objects.identity(inputs)} exists already and is not this program's. Delete it, give "
                "another name, or set upsertExistingObjects on the provider to take it over"
            )
        self._admit(target, body, namespace)
        found = self._send(kind, namespace, inputs, body, dry_run=False)
        if target.kind == "ResourceQuota" and namespace:
            controllers.count_quotas(self._client, namespace)
            found = self._client.get(kind, namespace, name) or found
        return objects.state(inputs, {"apiVersion": target.api_version, "kind": target.kind, **found})

    def _admit(self, target: Target, body: Properties, namespace: str | None) -> None:
        """Refuse a workload whose pods would be refused."""
        if namespace:
            refused = controllers.refused_pods(self._client, target.kind, body, namespace)
            if refused:
                raise ResourceError("; ".join(refused))

    def _send(
        self, kind: Kind, namespace: str | None, inputs: Properties, body: Properties, *, dry_run: bool
    ) -> Properties:
        assert self._settings is not None
        force = self._settings.force or objects.annotation(inputs, objects.FORCE) == "true"
        try:
            return self._client.apply(kind, namespace, body, force=force, dry_run=dry_run)
        except ApiError as error:
            if error.status == 409 and error.causes:
                raise ResourceError(refusals.conflict(error)) from error
            raise

    def _is_missing(self, kind: Kind, namespace: str | None) -> bool:
        if not kind.namespaced or namespace is None:
            return False
        namespaces = self._client.kind("v1", "Namespace")
        assert namespaces is not None
        return self._client.get(namespaces, None, namespace) is None

    def _may_adopt(self, kind: Kind, namespace: str | None, name: str, inputs: Properties) -> bool:
        """Return whether an object may be created: it is not there, or an interrupted create left it."""
        assert self._settings is not None
        found = self._client.get(kind, namespace, name)
        if found is None or self._settings.upsert or objects.annotation(inputs, objects.FORCE) == "true":
            return True
        managers = {entry.get("manager") for entry in found["metadata"].get("managedFields", ())}
        return "pulumi-kubernetes" in managers

    def _run(self, call: Any, context: Any, operation: Callable[[], _Result]) -> _Result:
        """Run an operation; what the server refused becomes an error that says what and where."""

        def told() -> _Result:
            try:
                return operation()
            except ApiError as error:
                raise ResourceError(f"{call.label}: {'; '.join(refusals.reasons(error)) or error}") from error
            except UnreachableError as error:
                raise ResourceError(f"{call.label}: {error}") from error
            except ResourceError as error:
                raise type(error)(f"{call.label}: {error}") from error

        return self._guard(call, context, told)


def _not_rendered(inputs: Properties) -> str:
    chart, version = (plain(inputs.get(key)) for key in ("chart", "version"))
    return (
        f"chart {chart} {version or '(no version pinned)'}: recorded, not rendered; what it installs is not judged here"
    )
