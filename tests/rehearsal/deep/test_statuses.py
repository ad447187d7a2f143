"""Statuses and secrets of controllers that are played."""

import base64
from typing import Any

from infra.rehearsal.deep import statuses

CLASS = {
    "metadata": {"name": "inner"},
    "spec": {"parametersRef": {"kind": "EnvoyProxy", "name": "inner", "namespace": "platform"}},
}
PROXY = {
    "metadata": {"name": "inner", "namespace": "platform"},
    "spec": {"provider": {"kubernetes": {"envoyService": {"name": "inner-service"}}}},
}
PROXIES = {("platform", "inner"): PROXY}
GATEWAY = {
    "metadata": {"name": "one", "namespace": "serving", "generation": 2},
    "spec": {"gatewayClassName": "inner", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
}


def route(**backend: Any) -> dict[str, Any]:
    backend = {"name": "predict", "port": 8000, **backend}
    return {
        "metadata": {"name": "one", "namespace": "serving"},
        "spec": {"parentRefs": [{"name": "one"}], "rules": [{"backendRefs": [backend]}]},
    }


def service(port: int = 8000) -> dict[str, Any]:
    return {"spec": {"ports": [{"port": port}]}}


def said(status: dict[str, Any], kind: str) -> tuple[str, str]:
    [parent] = status["parents"]
    [found] = [one for one in parent["conditions"] if one["type"] == kind]
    return found["status"], found["message"]


def test_gateway_counts_when_its_class_and_the_parameters_of_that_are_there() -> None:
    good = statuses.gateway(GATEWAY, {"inner": CLASS}, PROXIES)
    assert [(one["type"], one["status"]) for one in good["conditions"]] == [
        ("Accepted", "True"),
        ("Programmed", "True"),
    ]
    assert "no GatewayClass inner" in statuses.gateway(GATEWAY, {}, {})["conditions"][0]["message"]
    assert "platform/inner" in statuses.gateway(GATEWAY, {"inner": CLASS}, {})["conditions"][0]["message"]


def test_gateway_has_the_service_that_its_parameters_name() -> None:
    made = statuses.service_of(GATEWAY, {"inner": CLASS}, PROXIES)
    assert (made["metadata"]["namespace"], made["metadata"]["name"]) == ("platform", "inner-service")
    assert [one["port"] for one in made["spec"]["ports"]] == [80]


def test_route_is_resolved_when_its_services_are_there_with_their_ports() -> None:
    gateways = {("serving", "one"): GATEWAY}
    good = statuses.route(route(), gateways, {("serving", "predict"): service()}, [])
    assert said(good, "Accepted")[0] == "True"
    assert said(good, "ResolvedRefs") == ("True", "")
    assert said(statuses.route(route(), {}, {}, []), "Accepted")[0] == "False"
    assert "no Service serving/predict" in said(statuses.route(route(), gateways, {}, []), "ResolvedRefs")[1]
    other = statuses.route(route(), gateways, {("serving", "predict"): service(80)}, [])
    assert "has no port 8000" in said(other, "ResolvedRefs")[1]


def test_service_of_another_namespace_needs_a_grant() -> None:
    there = {("platform", "predict"): service()}
    grant = {
        "metadata": {"namespace": "platform"},
        "spec": {
            "from": [{"kind": "HTTPRoute", "namespace": "serving"}],
            "to": [{"kind": "Service", "name": "predict"}],
        },
    }
    away = route(namespace="platform")
    assert said(statuses.route(away, {}, there, [grant]), "ResolvedRefs")[0] == "True"
    assert "no ReferenceGrant" in said(statuses.route(away, {}, there, []), "ResolvedRefs")[1]
    grant["spec"]["to"][0]["name"] = "other"  # type: ignore[index]
    assert "no ReferenceGrant" in said(statuses.route(away, {}, there, [grant]), "ResolvedRefs")[1]


def external(**target: Any) -> dict[str, Any]:
    return {
        "apiVersion": "external-secrets.io/v1",
        "metadata": {"name": "one", "namespace": "serving", "uid": "1"},
        "spec": {
            "target": {"name": "made", **target},
            "data": [{"secretKey": "value", "remoteRef": {"key": "acme/dev/one", "property": "password"}}],
        },
    }


def content(body: dict[str, Any] | None) -> dict[str, str]:
    assert body is not None
    return {key: base64.b64decode(value).decode() for key, value in body["data"].items()}


def test_secret_is_made_of_what_secrets_manager_has() -> None:
    body, lacking = statuses.secret(external(), lambda key, within: f"{key}#{within}")
    assert content(body) == {"value": "acme/dev/one#password"}
    assert body is not None
    assert body["metadata"]["name"] == "made"
    assert lacking == []


def test_secret_that_nobody_made_is_told_and_stood_in_for() -> None:
    body, lacking = statuses.secret(external(), lambda _key, _within: None)
    assert content(body) == {"value": "rehearsal-only"}
    assert lacking == ["acme/dev/one (password)"]


def test_template_is_filled_and_one_that_names_what_is_not_read_is_refused() -> None:
    template = {"type": "Opaque", "data": {"url": "postgres://user:{{ .value }}@host"}}
    body, _lacking = statuses.secret(external(template=template), lambda _key, _within: "x")
    assert content(body) == {"url": "postgres://user:x@host"}
    wrong, told = statuses.secret(external(template={"data": {"url": "{{ .other }}"}}), lambda _key, _within: "x")
    assert wrong is None
    assert "other" in told[0]
