"""The provider's configuration: where the API server is, and how objects are treated."""

from __future__ import annotations

import base64
import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from infra.provider.codec import Properties, is_known, plain

KEYS = frozenset(
    (
        "alwaysRender",
        "cluster",
        "clusterIdentifier",
        "context",
        "deleteUnreachable",
        "enableConfigMapMutable",
        "enablePatchForce",
        "enableSecretMutable",
        "enableServerSideApply",
        "helmReleaseSettings",
        "kubeClientSettings",
        "kubeconfig",
        "namespace",
        "renderYamlToDirectory",
        "skipUpdateUnreachable",
        "suppressDeprecationWarnings",
        "suppressHelmHookWarnings",
        "upsertExistingObjects",
        "version",
    )
)
"""What the official plugin can be told."""


class ConfigurationError(ValueError):
    """The configuration can't be used; the text says why."""


@dataclass(frozen=True)
class Configuration:
    """What is used of the configuration.

    Attributes:
        server: Address of the API server.
        ca: Certificate authority in PEM form.
        namespace: Namespace of objects that name none.
        mutable_config_maps: Change a ConfigMap's data instead of replacing it.
        mutable_secrets: Change a Secret's data instead of replacing it.
        force: Take fields from other managers.
        upsert: Adopt objects that somebody else made.
    """

    server: str
    ca: str
    namespace: str
    mutable_config_maps: bool
    mutable_secrets: bool
    force: bool
    upsert: bool


def problems(inputs: Properties) -> list[str]:
    """Return what is wrong with the configuration, as far as it is known."""
    found = [
        f"{key}: the provider has no such setting; it has {', '.join(sorted(KEYS))}" for key in inputs.keys() - KEYS
    ]
    if not found and is_known(inputs):
        try:
            read(inputs)
        except ConfigurationError as error:
            found.append(str(error))
    return found


def read(inputs: Properties) -> Configuration:
    """Return the configuration.

    Values arrive as texts, nested ones as JSON.

    Raises:
        ConfigurationError: There is no server in it, it is not on this machine, or the stand-in can't do what it asks.
    """
    values = {name: plain(value) for name, value in inputs.items()}
    if values.get("renderYamlToDirectory"):
        raise ConfigurationError("renderYamlToDirectory: a rehearsal applies objects, it does not write them to files")
    server, ca, namespace = _cluster(values)
    _require_loopback(server)
    return Configuration(
        server=server,
        ca=ca,
        namespace=str(values.get("namespace") or namespace or "default"),
        mutable_config_maps=_flag(values, "enableConfigMapMutable"),
        mutable_secrets=_flag(values, "enableSecretMutable"),
        force=_flag(values, "enablePatchForce"),
        upsert=_flag(values, "upsertExistingObjects"),
    )


def _flag(values: Properties, name: str) -> bool:
    return values.get(name) in (True, "true")


def _cluster(values: Properties) -> tuple[str, str, str]:
    """Return server, certificate authority and namespace of the kubeconfig's context."""
    document = _document(values.get("kubeconfig"))
    try:
        name = values.get("context") or document["current-context"]
        context = _named(document["contexts"], name)["context"]
        cluster = _named(document["clusters"], values.get("cluster") or context["cluster"])["cluster"]
        ca = base64.b64decode(cluster["certificate-authority-data"], validate=True).decode()
        return str(cluster["server"]), ca, str(context.get("namespace") or "")
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"kubeconfig: needs a current context whose cluster has server and certificate-authority-data ({error!r})"
        ) from error


def _document(given: Any) -> Any:
    if not given:
        raise ConfigurationError("kubeconfig: must be given; a rehearsal never takes the person's own")
    if isinstance(given, dict):
        return given
    text = str(given)
    if "\n" not in text and not text.lstrip().startswith("{"):
        path = Path(text).expanduser()
        if not path.is_file():
            raise ConfigurationError("kubeconfig: is neither a document nor the path of one")
        text = path.read_text()
    try:
        return json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        raise ConfigurationError("kubeconfig: is no YAML and no JSON") from None


def _named(items: list[Any], name: str) -> Any:
    for item in items:
        if item["name"] == name:
            return item
    raise KeyError(name)


def _require_loopback(server: str) -> None:
    host = urlsplit(server).hostname or ""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local:
        raise ConfigurationError(
            f"kubeconfig: {server} is not on this machine. A rehearsal never talks to a cluster: check that the "
            "program takes the address from what describes the cluster"
        )
