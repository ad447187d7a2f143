"""What controllers that are not here would write: statuses of gateways and routes, and secrets out of ExternalSecrets.

Pure: objects in, bodies out. Each says yes only after what its controller looks at was found: a gateway's class and
the class' parameters, the Services that a route names and the grants that let it, the keys that a secret is made of.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Object = dict[str, Any]
NOW = "1970-01-01T00:00:00Z"
"""Time of conditions that are played; nobody reads it."""
_REFERENCE = re.compile(r"{{\s*\.([A-Za-z0-9_]+)\s*}}")


def condition(kind: str, ok: bool, reason: str, message: str = "", generation: int = 1) -> Object:
    """A condition as Kubernetes writes it."""
    return {
        "type": kind,
        "status": "True" if ok else "False",
        "reason": reason,
        "message": message,
        "lastTransitionTime": NOW,
        "observedGeneration": generation,
    }


def gateway(gateway: Object, classes: Mapping[str, Object], proxies: Mapping[tuple[str, str], Object]) -> Object:
    """Status of a Gateway.

    Args:
        gateway: the object.
        classes: GatewayClasses by name.
        proxies: EnvoyProxies by namespace and name.
    """
    name = gateway["spec"]["gatewayClassName"]
    generation = gateway["metadata"].get("generation", 1)
    found = classes.get(name)
    if found is None:
        wrong = f"there is no GatewayClass {name}"
    else:
        stated = found["spec"].get("parametersRef") or {}
        place = (stated.get("namespace", ""), stated.get("name", ""))
        wrong = f"GatewayClass {name} names parameters that are not there: {'/'.join(place)}"
        wrong = "" if not stated or place in proxies else wrong
    return {
        "conditions": [
            condition("Accepted", not wrong, "Invalid" if wrong else "Accepted", wrong, generation),
            condition("Programmed", not wrong, "Invalid" if wrong else "Programmed", wrong, generation),
        ]
    }


def service_of(gateway: Object, classes: Mapping[str, Object], proxies: Mapping[tuple[str, str], Object]) -> Object:
    """The Service that Envoy Gateway makes for a Gateway, where its class' EnvoyProxy says."""
    stated = classes[gateway["spec"]["gatewayClassName"]]["spec"].get("parametersRef") or {}
    proxy = proxies.get((stated.get("namespace", ""), stated.get("name", "")), {})
    wanted = ((proxy.get("spec") or {}).get("provider") or {}).get("kubernetes", {}).get("envoyService") or {}
    metadata = gateway["metadata"]
    owner = {
        "gateway.envoyproxy.io/owning-gateway-name": metadata["name"],
        "gateway.envoyproxy.io/owning-gateway-namespace": metadata["namespace"],
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": wanted.get("name") or f"envoy-{metadata['namespace']}-{metadata['name']}",
            "namespace": stated.get("namespace") or metadata["namespace"],
            "labels": owner,
            "annotations": wanted.get("annotations") or {},
        },
        "spec": {
            # No balancer answers here.
            "type": "ClusterIP",
            "selector": owner,
            "ports": [
                {"name": one["name"], "port": one["port"], "targetPort": 10000 + one["port"], "protocol": "TCP"}
                for one in gateway["spec"]["listeners"]
            ],
        },
    }


def route(
    route: Object,
    gateways: Mapping[tuple[str, str], Object],
    services: Mapping[tuple[str, str], Object],
    grants: Sequence[Object],
) -> Object:
    """Status of an HTTPRoute: accepted by the gateways that are there, resolved when all its Services are.

    Args:
        route: the object.
        gateways: Gateways by namespace and name.
        services: Services by namespace and name.
        grants: ReferenceGrants.
    """
    space, generation = route["metadata"]["namespace"], route["metadata"].get("generation", 1)
    wrong = [
        text
        for rule in route["spec"].get("rules") or ()
        for backend in rule.get("backendRefs") or ()
        if (text := _unresolved(space, backend, services, grants))
    ]
    parents = []
    for parent in route["spec"].get("parentRefs") or ():
        there = (parent.get("namespace", space), parent["name"]) in gateways
        parents.append(
            {
                "parentRef": {key: value for key, value in parent.items() if key in ("name", "namespace")},
                "controllerName": "gateway.envoyproxy.io/gatewayclass-controller",
                "conditions": [
                    condition(
                        "Accepted",
                        there,
                        "Accepted" if there else "NoMatchingParent",
                        "" if there else f"there is no Gateway {parent['name']}",
                        generation,
                    ),
                    condition(
                        "ResolvedRefs",
                        not wrong,
                        "BackendNotFound" if wrong else "ResolvedRefs",
                        "; ".join(wrong),
                        generation,
                    ),
                ],
            }
        )
    return {"parents": parents}


def _unresolved(
    space: str, backend: Mapping[str, Any], services: Mapping[tuple[str, str], Object], grants: Sequence[Object]
) -> str:
    place = (backend.get("namespace", space), backend["name"])
    if place[0] != space and not any(_grants(one, space, place) for one in grants):
        return f"no ReferenceGrant lets a route of {space} name Service {'/'.join(place)}"
    found = services.get(place)
    if found is None:
        return f"there is no Service {'/'.join(place)}"
    if all(one["port"] != backend.get("port") for one in found["spec"].get("ports") or ()):
        return f"Service {'/'.join(place)} has no port {backend.get('port')}"
    return ""


def _grants(grant: Object, space: str, place: tuple[str, str]) -> bool:
    spec = grant["spec"]
    return (
        grant["metadata"]["namespace"] == place[0]
        and any(one["kind"] == "HTTPRoute" and one["namespace"] == space for one in spec["from"])
        and any(one["kind"] == "Service" and one.get("name", place[1]) == place[1] for one in spec["to"])
    )


def secret(external: Object, look: Callable[[str, str | None], str | None]) -> tuple[Object | None, list[str]]:
    """The Secret of an ExternalSecret.

    Args:
        external: the object.
        look: the value of a secret by name (or ARN) and property; None where it is not there.

    Returns:
        The Secret, or None when its type or template can't be filled, and what was not found.
    """
    spec, metadata = external["spec"], external["metadata"]
    values: dict[str, str] = {}
    lacking = []
    for one in spec.get("data") or ():
        reference = one["remoteRef"]
        value = look(reference["key"], reference.get("property"))
        if value is None:
            below = f" ({reference['property']})" if reference.get("property") else ""
            lacking.append(f"{reference['key']}{below}")
            value = "rehearsal-only"
        values[one["secretKey"]] = value
    target = spec.get("target") or {}
    template = target.get("template") or {}
    if "data" in template:
        unknown = sorted(
            {name for text in template["data"].values() for name in _REFERENCE.findall(text)} - set(values)
        )
        if unknown:
            return None, [f"its template names {', '.join(unknown)}, which it has no data for"]
        values = {key: _REFERENCE.sub(lambda found: values[found[1]], text) for key, text in template["data"].items()}
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": target.get("name") or metadata["name"],
            "namespace": metadata["namespace"],
            "ownerReferences": [
                {
                    "apiVersion": external["apiVersion"], "kind": "ExternalSecret",
                    "name": metadata["name"], "uid": metadata["uid"], "controller": True,
                }
            ],
        },
        "type": template.get("type", "Opaque"),
        "data": {key: base64.b64encode(text.encode()).decode() for key, text in values.items()},
    }  # fmt: skip
    return body, lacking
