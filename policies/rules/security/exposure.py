"""What the cluster shows to the outside: one gateway, and to the internet only where the settings say so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from policies.plan import Plan, Resource, Secret, UndeterminedError, Unknown
from policies.rule import EVERYWHERE_ON_AWS, Answer, Problem, World, resource_rule
from policies.rules.security.namespaces import RELEASE
from policies.rules.security.transit import GATEWAY, INGRESS

SERVICE = "kubernetes:core/v1:Service"
PROXY = "kubernetes:gateway.envoyproxy.io/v1alpha1:EnvoyProxy"
CLASS = "kubernetes:gateway.networking.k8s.io/v1:GatewayClass"
SETTING = "aws.inference.internet"
_SCHEME = "service.beta.kubernetes.io/aws-load-balancer-scheme"
_INTERNAL = "service.beta.kubernetes.io/aws-load-balancer-internal"
_INGRESS_SCHEME = "alb.ingress.kubernetes.io/scheme"


@resource_rule(
    id="security.service-internal",
    title="No service of the cluster is shown to the internet, or on every node",
    severity="critical",
    why="What a service shows is asked for without the gateway's authentication, limits and records.",
    fix="use ClusterIP and a route of the gateway",
    types=(SERVICE,),
    levels=EVERYWHERE_ON_AWS,
)
def service_internal(service: Resource, world: World) -> Iterator[Answer]:
    """Look at the type, at the scheme of its load balancer and for addresses from outside."""
    kind = service.value("spec", "type", default="ClusterIP")
    yield from _service(kind, service.value("metadata", "annotations", default={}), "spec.type")
    if service.value("spec", "externalIPs", default=()):
        yield Problem("it takes traffic for externalIPs", path="spec.externalIPs")


@resource_rule(
    id="security.ingress-internal",
    title="No ingress faces the internet",
    severity="critical",
    why="What an ingress shows is asked for without the gateway's authentication, limits and records.",
    fix=f"set {_INGRESS_SCHEME}: internal, or use a route of the gateway",
    types=(INGRESS,),
    levels=EVERYWHERE_ON_AWS,
)
def ingress_internal(ingress: Resource, world: World) -> Iterator[Answer]:
    """Look at the scheme, which must be stated."""
    scheme = ingress.value("metadata", "annotations", _INGRESS_SCHEME)
    if scheme != "internal":
        said = scheme or "not stated"
        yield Problem(f"its scheme is {said}; allowed: internal", path=f"metadata.annotations.{_INGRESS_SCHEME}")


@resource_rule(
    id="security.gateway-as-settings-say",
    title=f"The gateway faces the internet only where `{SETTING}` says so",
    severity="critical",
    why="Who may ask for predictions is a decision of the environment, not of an annotation.",
    fix=f"set the scheme to internal, or `{SETTING}: true` where predictions are for everybody with a token",
    types=(PROXY,),
    levels=EVERYWHERE_ON_AWS,
)
def gateway_as_settings_say(proxy: Resource, world: World) -> Iterator[Answer]:
    """Look at the proxy's service; only that of the predictions' host may face the internet."""
    path = ("spec", "provider", "kubernetes", "envoyService")
    kind = proxy.value(*path, "type", default="LoadBalancer")
    annotations = proxy.value(*path, "annotations", default={})
    allowed = world.facts.setting("aws", "inference", "internet", default=False) is True
    host = world.facts.setting("aws", "inference", "host")
    if allowed and kind == "LoadBalancer" and host in _hosts(world.plan, proxy):
        return
    for one in _service(kind, annotations, ".".join((*path, "type"))):
        yield Problem(one.text, path=one.path, setting=SETTING)


@resource_rule(
    id="security.chart-internal",
    title="No chart is told to show a service to the internet, or on every node",
    severity="high",
    why="A dashboard or controller of somebody else's chart is shown with its default password.",
    fix="leave the chart's services inside the cluster",
    types=(RELEASE,),
    levels=EVERYWHERE_ON_AWS,
)
def chart_internal(release: Resource, world: World) -> Iterator[Answer]:
    """Look at values that are about services and ingresses. What a chart does by itself is not in the plan."""
    yield from _chart(release.inputs.get("values"), "values")


def _service(kind: str, annotations: Mapping[str, str], path: str) -> Iterator[Problem]:
    """Judge a service; AWS' controller makes a load balancer internal unless told otherwise, the older one public."""
    if kind == "NodePort":
        yield Problem("it is a NodePort: it is shown on every node; allowed: ClusterIP", path=path)
    if kind == "LoadBalancer":
        internal = "internal" if annotations.get(_INTERNAL) == "true" else "not stated"
        scheme = annotations.get(_SCHEME, internal)
        if scheme != "internal":
            yield Problem(f"its load balancer faces the internet: {_SCHEME} is {scheme}; allowed: internal", path=path)


def _chart(value: Any, path: str) -> Iterator[Problem]:
    if isinstance(value, Secret):
        value = value.value
    if isinstance(value, list | tuple):
        for index, one in enumerate(value):
            yield from _chart(one, f"{path}[{index}]")
    elif isinstance(value, Mapping):
        for name, one in value.items():
            where, about = f"{path}.{name}", name.lower()
            if about.endswith(("service", "ingress")) and isinstance(one, Unknown):
                raise UndeterminedError(where, one.origins)
            if about.endswith("service") and isinstance(one, Mapping):
                kind = _text(one.get("type", "ClusterIP"), where)
                yield from _service(kind, one.get("annotations") or {}, f"{where}.type")
            if about == "ingress" and isinstance(one, Mapping) and one.get("enabled") is True:
                annotations = one.get("annotations") or {}
                if annotations.get(_INGRESS_SCHEME) != "internal":
                    yield Problem("an ingress is switched on that is not internal", path=where)
            yield from _chart(one, where)


def _text(value: Any, path: str) -> str:
    if isinstance(value, Unknown):
        raise UndeterminedError(f"{path}.type", value.origins)
    return str(value)


def _hosts(plan: Plan, proxy: Resource) -> set[str]:
    """Return the hosts of the gateways that a proxy serves."""
    name = proxy.value("metadata", "name")
    classes = {
        one.value("metadata", "name") for one in plan.of(CLASS) if one.value("spec", "parametersRef", "name") == name
    }
    return {
        str(listener.get("hostname"))
        for one in plan.of(GATEWAY)
        if one.value("spec", "gatewayClassName") in classes
        for listener in one.value("spec", "listeners", default=())
    }
