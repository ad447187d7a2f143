"""Which operation of which service a request is, told by botocore's own service models."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import botocore.session

_SIGNING = re.compile(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/aws4_request")
_SERVICES = {"monitoring": "cloudwatch", "servicequotas": "service-quotas", "email": "ses"}
_LABEL = re.compile(r"\{(\w+)(\+?)\}")


@dataclass(frozen=True)
class Request:
    """One request to the API.

    Attributes:
        service: botocore's name of the service.
        operation: Name of the operation, or an empty text when no model fits.
        region: The region it was signed for.
        protocol: The wire protocol, for example `json`, `rest-json`, `query`.
        labels: Values of the labels in its path.
        query: Its query.
    """

    service: str
    operation: str
    region: str
    protocol: str
    labels: Mapping[str, str]
    query: Mapping[str, str]

    @property
    def name(self) -> str:
        """Its name for people."""
        return f"{self.service}.{self.operation or '?'}"


def identify(environ: Mapping[str, Any], body: bytes) -> Request | None:
    """Return what a request is, or None for one that is not signed as a call of the API."""
    signed = _SIGNING.search(environ.get("HTTP_AUTHORIZATION", ""))
    if signed is None:
        return None
    service = _SERVICES.get(signed[2], signed[2])
    model = model_of(service)
    if model is None:
        return Request(service, "", signed[1], "", {}, {})
    uri = urlsplit(environ.get("RAW_URI") or environ.get("REQUEST_URI") or environ.get("PATH_INFO", "/"))
    query = dict(parse_qsl(uri.query, keep_blank_values=True))
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    labels: Mapping[str, str] = {}
    if target:
        operation = target.rpartition(".")[2]
    elif smithy := re.fullmatch(r"/service/[^/]+/operation/([^/]+)", uri.path):
        operation = smithy[1]
    elif model.metadata["protocol"] in ("query", "ec2"):
        operation = dict(parse_qsl(body.decode("utf-8", "replace"))).get("Action", query.get("Action", ""))
    else:
        operation, labels = _by_path(service, environ["REQUEST_METHOD"], uri.path, query)
    protocol = "json" if target else model.metadata["protocol"]
    return Request(service, operation, signed[1], protocol, labels, query)


def _by_path(service: str, method: str, path: str, query: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
    for verb, pattern, wanted, operation in _routes(service):
        if verb == method and wanted <= query.keys() and (found := pattern.fullmatch(path)):
            return operation, {name: unquote(value) for name, value in found.groupdict().items()}
    return "", {}


@functools.cache
def model_of(service: str) -> Any:
    """Return botocore's model of a service, or None for an unknown one."""
    session = botocore.session.Session()
    if service not in session.get_available_services():
        return None
    return session.get_service_model(service)


@functools.cache
def _routes(service: str) -> list[tuple[str, re.Pattern[str], frozenset[str], str]]:
    """Return method, path, needed query keys and operation of every operation, the most particular first."""
    routes = []
    model = model_of(service)
    for operation in model.operation_names:
        http = model.operation_model(operation).http
        path, _, query = http["requestUri"].partition("?")
        pattern = "".join(re.escape(piece) if index % 3 == 0 else "" for index, piece in enumerate(_LABEL.split(path)))
        pieces, end = [], 0
        for label in _LABEL.finditer(path):
            pieces += [re.escape(path[end : label.start()]), f"(?P<{label[1]}>{'.+' if label[2] else '[^/]+'})"]
            end = label.end()
        pattern = "".join([*pieces, re.escape(path[end:])])
        wanted = frozenset(name for name, _ in parse_qsl(query, keep_blank_values=True))
        routes.append((http["method"], re.compile(f"{pattern}/?"), wanted, operation))
    return sorted(routes, key=lambda route: (-len(route[2]), route[1].pattern.count("(?P"), -len(route[1].pattern)))


def arguments(request: Request, body: bytes) -> dict[str, Any]:
    """Return the arguments of a request in one of the JSON protocols."""
    document = json.loads(body) if body.strip() else {}
    if request.protocol != "rest-json":
        return dict(document)
    shape = model_of(request.service).operation_model(request.operation).input_shape
    found = dict(document)
    for name, member in (shape.members if shape else {}).items():
        location, wire = member.serialization.get("location"), member.serialization.get("name", name)
        if location == "uri" and wire in request.labels:
            found[name] = request.labels[wire]
        elif location == "querystring" and wire in request.query:
            found[name] = request.query[wire]
    return found
