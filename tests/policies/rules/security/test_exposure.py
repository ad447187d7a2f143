"""What the cluster shows to the outside."""

from typing import Any

import pytest

from policies.plan import Resource
from policies.rules.security.exposure import (
    chart_internal,
    gateway_as_settings_say,
    ingress_internal,
    service_internal,
)
from policies.testing import admit, deny, resource, secret, undetermined, unknown

SCHEME = "service.beta.kubernetes.io/aws-load-balancer-scheme"
INTERNAL = "service.beta.kubernetes.io/aws-load-balancer-internal"
INGRESS = "alb.ingress.kubernetes.io/scheme"
INSIDE: list[dict[str, Any]] = [{SCHEME: "internal"}, {INTERNAL: "true"}, {SCHEME: "internal", INTERNAL: "false"}]
OUTSIDE: list[dict[str, Any]] = [
    {},
    {SCHEME: "internet-facing"},
    {SCHEME: "internet-facing", INTERNAL: "true"},
    {INTERNAL: "false"},
]


def service(kind: Any = "LoadBalancer", annotations: Any = None, **spec: Any) -> Resource:
    inputs = {"metadata": {"annotations": annotations or {}}, "spec": {"type": kind, **spec}}
    return resource("kubernetes:core/v1:Service", "web", inputs)


def test_a_service_stays_inside() -> None:
    for kind in (None, "ClusterIP"):
        admit(service_internal, service(kind))
    for annotations in INSIDE:
        admit(service_internal, service(annotations=annotations))


def test_a_service_that_is_shown_is_denied() -> None:
    for annotations in OUTSIDE:
        deny(service_internal, service(annotations=annotations), says="faces the internet", path="spec.type")
    deny(service_internal, service("NodePort"), says="every node", path="spec.type")
    deny(service_internal, service("ClusterIP", externalIPs=["192.0.2.1"]), path="spec.externalIPs")
    undetermined(service_internal, service(unknown()))
    undetermined(service_internal, service(annotations={SCHEME: unknown()}))


def test_an_ingress_stays_inside() -> None:
    kind = "kubernetes:networking.k8s.io/v1:Ingress"
    admit(ingress_internal, resource(kind, "web", metadata={"annotations": {INGRESS: "internal"}}))
    deny(ingress_internal, resource(kind, "web", metadata={}), says="not stated")
    deny(ingress_internal, resource(kind, "web", metadata={"annotations": {INGRESS: "internet-facing"}}))
    undetermined(ingress_internal, resource(kind, "web", metadata={"annotations": unknown()}))


def gateway(host: str = "predict.acme.example", name: str = "predictions") -> list[Resource]:
    group = "kubernetes:gateway.networking.k8s.io/v1:"
    return [
        resource(group + "GatewayClass", "c", metadata={"name": "p"}, spec={"parametersRef": {"name": name}}),
        resource(group + "Gateway", "g", spec={"gatewayClassName": "p", "listeners": [{"hostname": host}]}),
    ]


def proxy(kind: Any = "LoadBalancer", annotations: Any = None) -> Resource:
    of = {"type": kind, "annotations": annotations or {}}
    spec = {"provider": {"kubernetes": {"envoyService": of}}}
    inputs = {"metadata": {"name": "predictions"}, "spec": spec}
    return resource("kubernetes:gateway.envoyproxy.io/v1alpha1:EnvoyProxy", "proxy", inputs)


HOST = {"aws.inference.host": "predict.acme.example"}
OPEN = {**HOST, "aws.inference.internet": True}


def test_the_gateway_stays_inside_unless_the_settings_say_otherwise() -> None:
    admit(gateway_as_settings_say, proxy("ClusterIP"), settings=HOST)
    for annotations in INSIDE:
        admit(gateway_as_settings_say, proxy(annotations=annotations), *gateway(), settings=HOST)
    for annotations in OUTSIDE:
        faces = proxy(annotations=annotations)
        admit(gateway_as_settings_say, faces, *gateway(), settings=OPEN)
        deny(gateway_as_settings_say, faces, *gateway(), settings=HOST, setting="aws.inference.internet")
    undetermined(gateway_as_settings_say, proxy(unknown()), settings=HOST)


def test_only_the_host_of_predictions_may_face_the_internet() -> None:
    faces = proxy()
    deny(gateway_as_settings_say, faces, settings=OPEN)
    deny(gateway_as_settings_say, faces, *gateway("tracking.acme.example"), settings=OPEN)
    deny(gateway_as_settings_say, faces, *gateway(name="another"), settings=OPEN)
    deny(gateway_as_settings_say, proxy("NodePort"), *gateway(), settings=OPEN)


def release(**values: Any) -> Resource:
    return resource("kubernetes:helm.sh/v3:Release", "chart", values=values)


@pytest.mark.parametrize("name", ["service", "envoyService"])
def test_charts_keep_their_services_inside(name: str) -> None:
    admit(chart_internal, release(grafana={name: {"type": "ClusterIP"}, "replicas": unknown()}))
    admit(chart_internal, release(grafana={name: {"port": 80}}))
    admit(chart_internal, release(grafana={name: "grafana", "other": {"type": "LoadBalancer"}}))
    admit(chart_internal, release(grafana={name: {"type": "LoadBalancer", "annotations": INSIDE[0]}}))
    where = f"values.grafana[0].{name}.type"
    deny(chart_internal, release(grafana=[{name: {"type": "LoadBalancer"}}]), path=where)
    deny(chart_internal, release(grafana=secret({name: {"type": "NodePort"}})), says="NodePort")
    undetermined(chart_internal, release(grafana={name: {"type": unknown()}}), path=f"values.grafana.{name}.type")
    undetermined(chart_internal, release(grafana={name: unknown()}), path=f"values.grafana.{name}")


def test_charts_switch_on_no_ingress() -> None:
    admit(chart_internal, release(ingress={"enabled": False}))
    admit(chart_internal, release(ingress={"enabled": True, "annotations": {INGRESS: "internal"}}))
    deny(chart_internal, release(ingress={"enabled": True}), path="values.ingress")


def test_only_what_is_named_a_service_is_judged_as_one() -> None:
    kind = "kubernetes:helm.sh/v3:Release"
    admit(chart_internal, resource(kind, "one", chart="c", values={"storage": {"type": "LoadBalancer"}}))
    admit(chart_internal, resource(kind, "one", chart="c", values={"service": "web"}))


def test_each_value_of_a_chart_is_looked_at() -> None:
    shown = {"service": {"type": "NodePort"}}
    for values, path in (
        ({"image": "x", "web": shown}, "values.web.service.type"),
        ({"parts": [{"image": "x"}, shown]}, "values.parts[1].service.type"),
    ):
        deny(chart_internal, resource("kubernetes:helm.sh/v3:Release", "chart", values=values), path=path)
    both = resource("kubernetes:helm.sh/v3:Release", "chart", values={"web": shown, "other": shown})
    deny(chart_internal, both, times=2)
