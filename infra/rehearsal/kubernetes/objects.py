"""From a resource of the program to an object of the API and back: pure functions."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from infra.provider.codec import Properties, Secret, Unknown, is_known, plain
from infra.rehearsal.properties import Path, at, differences, followed, mark_like, without_unknown

AUTONAMED = "pulumi.com/autonamed"
FORCE = "pulumi.com/patchForce"
PROPAGATION = "pulumi.com/deletionPropagationPolicy"

ANNOTATIONS = frozenset(
    {
        AUTONAMED,
        FORCE,
        PROPAGATION,
        "pulumi.com/patchFieldManager",
        "pulumi.com/replaceUnready",
        "pulumi.com/skipAwait",
        "pulumi.com/timeoutSeconds",
        "pulumi.com/waitFor",
    }
)
"""Annotations that the official plugin understands."""

_VOLATILE = ("managedFields", "resourceVersion", "generation")

_IMMUTABLE: dict[tuple[str, str], tuple[Path, ...]] = {
    ("v1", "PersistentVolumeClaim"): (
        ("spec", "accessModes"),
        ("spec", "selector"),
        ("spec", "storageClassName"),
        ("spec", "volumeName"),
    ),
    ("v1", "Pod"): (("spec",),),
    ("v1", "Secret"): (("type",),),
    ("v1", "Service"): (("spec", "clusterIP"),),
    ("apps/v1", "DaemonSet"): (("spec", "selector"),),
    ("apps/v1", "Deployment"): (("spec", "selector"),),
    ("apps/v1", "StatefulSet"): (
        ("spec", "podManagementPolicy"),
        ("spec", "revisionHistoryLimit"),
        ("spec", "selector"),
        ("spec", "serviceName"),
        ("spec", "volumeClaimTemplates"),
    ),
    ("batch/v1", "Job"): (
        ("spec", "completionMode"),
        ("spec", "completions"),
        ("spec", "manualSelector"),
        ("spec", "selector"),
        ("spec", "template"),
    ),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): (("roleRef",),),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): (("roleRef",),),
    ("storage.k8s.io/v1", "StorageClass"): (
        ("allowedTopologies",),
        ("parameters",),
        ("provisioner",),
        ("reclaimPolicy",),
        ("volumeBindingMode",),
    ),
}
"""What cannot change on an object of a kind: it takes a new object. As the official plugin has it, which knows no
definition of a custom resource: where one forbids a change, the update is refused here and there alike."""

_DATA: dict[tuple[str, str], tuple[Path, ...]] = {
    ("v1", "ConfigMap"): (("data",), ("binaryData",)),
    ("v1", "Secret"): (("data",), ("stringData",)),
}
"""What is replaced rather than changed unless the provider is told otherwise, so that those who use it restart."""

_ALWAYS: tuple[Path, ...] = (("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace"))


@dataclass(frozen=True)
class Target:
    """Which kind of object a type token means."""

    api_version: str
    kind: str

    @classmethod
    def of(cls, token: str) -> Target:
        """Return the target of a token such as `kubernetes:apps/v1:Deployment`.

        Raises:
            ValueError: It is no such token.
        """
        package, _, rest = token.partition(":")
        api_version, _, kind = rest.rpartition(":")
        if package != "kubernetes" or not api_version or not kind:
            raise ValueError(f"{token} is no resource of this provider")
        return cls(api_version.removeprefix("core/"), kind)

    def __str__(self) -> str:
        return f"{self.api_version} {self.kind}"


def name_for(name: str, seed: bytes, proposed: str) -> str:
    """Return the name of an object that the program did not name: the engine's proposal, or the name and 8 digits."""
    return proposed or f"{name}-{hashlib.sha256(seed).hexdigest()[:8]}"


def identified(
    inputs: Properties, old: Properties, target: Target, name: str, namespace: str | None
) -> tuple[Properties, list[str]]:
    """Return inputs with apiVersion, kind, name and namespace, and what is wrong with those.

    Args:
        inputs: What the program declares.
        old: What it declared last, empty for a new resource.
        target: What its type token means.
        name: Name to use where the program gives none and none was made before.
        namespace: Namespace to use where the program gives none; None for a kind without namespaces.
    """
    problems = []
    for key, wanted in (("apiVersion", target.api_version), ("kind", target.kind)):
        given = plain(inputs.get(key, wanted))
        if isinstance(given, str) and given != wanted:
            problems.append(f"{key}: {given} is not the {wanted} of the resource's type")
    metadata = plain_metadata(inputs)
    if metadata is None:
        return inputs, [*problems, "metadata: must be an object"]
    annotations = plain(metadata.get("annotations")) or {}
    if isinstance(annotations, dict):
        problems += [
            f"metadata.annotations[{key}]: the plugin knows only {', '.join(sorted(ANNOTATIONS))}"
            for key in annotations
            if key.startswith("pulumi.com/") and key not in ANNOTATIONS
        ]
    if metadata.get("generateName"):
        problems.append("metadata.generateName: would make another object each time; give a name or none")
    if not metadata.get("name"):
        was_autonamed = at(old, ("metadata", "annotations", AUTONAMED)) == "true"
        metadata["name"] = at(old, ("metadata", "name")) if was_autonamed else name
        metadata["annotations"] = {**annotations, AUTONAMED: "true"}
    if namespace is None and metadata.get("namespace"):
        problems.append(f"metadata.namespace: a {target.kind} belongs to no namespace")
    elif namespace is not None and not metadata.get("namespace"):
        metadata["namespace"] = namespace
    return {**inputs, "apiVersion": target.api_version, "kind": target.kind, "metadata": metadata}, problems


def plain_metadata(inputs: Properties) -> Properties | None:
    """Return a copy of the metadata, or None when it is no object."""
    metadata = inputs.get("metadata") or {}
    metadata = metadata.value if isinstance(metadata, Secret) else metadata
    return dict(metadata) if isinstance(metadata, dict) else None


def body(inputs: Properties) -> tuple[Properties, list[Path]]:
    """Return the object to send, without what is unknown, and the paths of that."""
    known, left_out = without_unknown(inputs)
    return {name: value for name, value in known.items() if value is not None}, left_out


def state(inputs: Properties, found: Properties) -> Properties:
    """Return the outputs of a resource: the object as the API has it, without what changes by itself.

    What was secret in the inputs is secret, and all data of a Secret.
    """
    metadata = {name: value for name, value in found["metadata"].items() if name not in _VOLATILE}
    result: Properties = mark_like(inputs, {**found, "metadata": metadata})
    if found.get("kind") == "Secret" and "data" in result:
        result["data"] = Secret(plain(result["data"]))
    return result


def looked_up(inputs: Properties, recorded: Properties, found: Properties) -> Properties:
    """Return the inputs after a look at the object: what was changed by hand shows as an input of that value."""
    recorded, now = plain(recorded), plain(found)
    result: Properties = followed(inputs, recorded, now)
    texts = plain(inputs.get("stringData"))
    if isinstance(texts, dict):  # the API keeps it as `data`
        old, new = recorded.get("data") or {}, now.get("data") or {}
        kept = {name: text for name, text in texts.items() if old.get(name) == new.get(name)}
        if kept != texts:
            result["stringData"] = Secret(kept)
    return result


def replaced(
    target: Target, old: Properties, new: Properties, *, mutable_config_maps: bool, mutable_secrets: bool
) -> tuple[list[tuple[Path, str]], list[Path]]:
    """Return every difference of the inputs, and those that take a new object."""
    key = (target.api_version, target.kind)
    fixed = [*_ALWAYS, *_IMMUTABLE.get(key, ())]
    if not {"ConfigMap": mutable_config_maps, "Secret": mutable_secrets}.get(target.kind, True):
        fixed += _DATA.get(key, ())
    found: list[tuple[Path, str]] = list(differences(old, new))
    return found, [path for path, _change in found if any(path[: len(each)] == each for each in fixed)]


def namespace_and_name(inputs: Properties) -> tuple[str | None, str | None]:
    """Return where an object lies and what it is called, None for what is absent or unknown."""
    found = [at(inputs, ("metadata", key)) for key in ("namespace", "name")]
    first, second = (None if isinstance(value, Unknown) else value for value in found)
    return first, second


def identity(inputs: Properties) -> str:
    """Return the resource's id: `namespace/name`, or the name alone."""
    namespace, name = namespace_and_name(inputs)
    return f"{namespace}/{name}" if namespace else str(name)


def annotation(inputs: Any, name: str) -> str | None:
    """Return an annotation."""
    value = at(inputs, ("metadata", "annotations", name))
    return value if isinstance(value, str) and is_known(value) else None
