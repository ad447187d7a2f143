# ruff: noqa: N802, ARG002 - method names and arguments are the protocol's
"""The `kubernetes` provider of a plan: no API server behind it.

What forces a replacement is the rehearsal's table. Without a server nobody checks fields against definitions: that is
the rehearsal's part; KubeRay's own rules and those of Helm releases are asked here, too.
"""

from __future__ import annotations

import threading
from typing import Any, Final

from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import provider_pb2

from infra.provider.codec import Properties, decode, encode
from infra.provider.resource import ResourceError
from infra.provider.servicer import name_in, token_in
from infra.rehearsal.kubernetes import charts, configuration, objects, validation
from infra.rehearsal.kubernetes.objects import Target
from infra.rehearsal.kubernetes.provider import Kubernetes
from infra.rehearsal.properties import differences

CLUSTER_WIDE: Final = frozenset(
    {
        "APIService", "CertificateSigningRequest", "ClusterRole", "ClusterRoleBinding", "ClusterSecretStore",
        "CSIDriver", "CustomResourceDefinition", "EC2NodeClass", "GatewayClass", "IngressClass",
        "MutatingWebhookConfiguration", "Namespace", "Node", "NodeClaim", "NodePool", "PersistentVolume",
        "PriorityClass", "RuntimeClass", "StorageClass", "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration", "VolumeAttachment",
    }
)  # fmt: skip
"""Kinds without a namespace: those of Kubernetes itself and of the controllers that components install."""


class PlannedKubernetes(Kubernetes):
    """Serves objects of any kind, and Helm releases.

    Args:
        judging: whether what changed is checked; a base that was merged is not judged again.
    """

    def __init__(self, *, judging: bool = True) -> None:
        super().__init__(threading.Event())
        self._judging = judging

    def CheckConfig(self, request: Any, context: Any) -> Any:
        """Refuse settings that do not exist; the server is nobody's, so that it may be anywhere."""
        inputs = decode(request.news)
        failures = [
            provider_pb2.CheckFailure(reason=f"{name}: the provider has no such setting")
            for name in sorted(inputs.keys() - configuration.KEYS)
        ]
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    def DiffConfig(self, request: Any, context: Any) -> Any:
        """Say that another kubeconfig is an update: which server it names is not the plan's to know."""
        old, new = decode(request.old_inputs), decode(request.news)
        kinds = provider_pb2.DiffResponse
        names = sorted({str(path[0]) for path, _change in differences(old, new)})
        return kinds(changes=kinds.DIFF_SOME if names else kinds.DIFF_NONE, diffs=names)

    def Configure(self, request: Any, context: Any) -> Any:
        """Connect to nothing."""
        inputs = decode(request.args)
        self._settings = configuration.Configuration(
            server="", ca="", namespace=str(inputs.get("namespace") or "default"),
            mutable_config_maps=inputs.get("enableConfigMapMutable") in (True, "true"),
            mutable_secrets=inputs.get("enableSecretMutable") in (True, "true"),
            force=False, upsert=False,
        )  # fmt: skip
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    def Check(self, request: Any, context: Any) -> Any:
        """Give the object its name and judge it where it changed."""
        inputs, old, token = decode(request.news), decode(request.olds), token_in(request.urn)
        name = objects.name_for(name_in(request.urn), request.urn.encode(), "")
        call = self._call(request.urn, inputs)

        def check() -> tuple[Properties, list[str]]:
            namespace = self._settings.namespace if self._settings else "default"
            if token == charts.TOKEN:
                return charts.check(inputs, old, name, namespace)
            target = _target(token)
            default = None if target.kind in CLUSTER_WIDE else namespace
            checked, problems = objects.identified(inputs, old, target, name, default)
            if self._judging and not problems and any(differences(old, checked)):
                problems = validation.problems(target.api_version, target.kind, checked)
            return checked, problems

        checked, problems = self._run(call, context, check)
        failures = [provider_pb2.CheckFailure(reason=call.redact(text)) for text in problems] if self._judging else []
        return provider_pb2.CheckResponse(inputs=encode(checked), failures=failures)

    def Create(self, request: Any, context: Any) -> Any:
        """Put out what went in."""
        inputs, token = decode(request.properties), token_in(request.urn)
        outputs = self._outputs(token, inputs, preview=request.preview)
        return provider_pb2.CreateResponse(
            id="" if request.preview else objects.identity(_named(token, inputs)), properties=encode(outputs)
        )

    def Update(self, request: Any, context: Any) -> Any:
        """Put out what went in."""
        inputs, token = decode(request.news), token_in(request.urn)
        return provider_pb2.UpdateResponse(properties=encode(self._outputs(token, inputs, preview=request.preview)))

    def Read(self, request: Any, context: Any) -> Any:
        """Say that everything is as it was."""
        if not request.inputs.fields:
            self._fail(context, f"{name_in(request.urn)}: a plan has no cluster to import from")
        return provider_pb2.ReadResponse(id=request.id, inputs=request.inputs, properties=request.properties)

    def Delete(self, request: Any, context: Any) -> Any:
        """There is nothing to remove."""
        return empty_pb2.Empty()

    def _outputs(self, token: str, inputs: Properties, *, preview: bool) -> Properties:
        return charts.outputs(inputs, None if preview else 1) if token == charts.TOKEN else inputs


def _target(token: str) -> Target:
    try:
        return Target.of(token)
    except ValueError as error:
        raise ResourceError(str(error)) from error


def _named(token: str, inputs: Properties) -> Properties:
    if token != charts.TOKEN:
        return inputs
    return {"metadata": {"namespace": inputs.get("namespace"), "name": inputs.get("name")}}
