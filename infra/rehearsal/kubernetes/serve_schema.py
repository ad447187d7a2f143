"""Judges a `serveConfigV2` by Ray's own schema: reads it on standard input, prints a reason a line, ends with 3 if any.

A process of its own, since importing Ray takes seconds and hundreds of megabytes. Ray's schema lets fields pass that it
does not know, and numbers of autoscaling that contradict each other; these are looked at besides.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import (
    DeploymentSchema,
    HTTPOptionsSchema,
    LoggingConfig,
    RayActorOptionsSchema,
    ServeApplicationSchema,
    ServeDeploySchema,
    gRPCOptionsSchema,
)

REFUSED = 3
"""Exit code when something is wrong."""

_BELOW: dict[tuple[str, str], Any] = {
    ("ServeDeploySchema", "applications"): ServeApplicationSchema,
    ("ServeDeploySchema", "http_options"): HTTPOptionsSchema,
    ("ServeDeploySchema", "grpc_options"): gRPCOptionsSchema,
    ("ServeDeploySchema", "logging_config"): LoggingConfig,
    ("ServeApplicationSchema", "deployments"): DeploymentSchema,
    ("ServeApplicationSchema", "logging_config"): LoggingConfig,
    ("DeploymentSchema", "ray_actor_options"): RayActorOptionsSchema,
    ("DeploymentSchema", "autoscaling_config"): AutoscalingConfig,
    ("DeploymentSchema", "logging_config"): LoggingConfig,
}


def reasons(text: str) -> Iterator[str]:
    """Yield what is wrong with a configuration."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        yield f"is no YAML: {' '.join(str(error).split())}"
        return
    if not isinstance(content, dict):
        yield "must be a mapping with `applications`"
        return
    yield from _unknown(ServeDeploySchema, content, "")
    yield from _invalid(ServeDeploySchema, content, "")
    for path, application in _items(content, "applications"):
        prefix = application.get("route_prefix")
        if isinstance(prefix, str) and (not prefix.startswith("/") or (prefix.endswith("/") and prefix != "/")):
            yield f"{path}.route_prefix: {prefix} must begin with / and not end with one"
        for below, deployment in _items(application, "deployments"):
            scaling = deployment.get("autoscaling_config")
            if isinstance(scaling, dict):
                yield from _invalid(AutoscalingConfig, scaling, f"{path}.{below}.autoscaling_config")


def _items(content: dict[str, Any], key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    items = content.get(key)
    for index, item in enumerate(items if isinstance(items, list) else []):
        if isinstance(item, dict):
            yield f"{key}.{index}", item


def _unknown(model: type[BaseModel], content: dict[str, Any], path: str) -> Iterator[str]:
    """Yield fields that the model does not have."""
    known = set(model.model_fields) | {field.alias for field in model.model_fields.values() if field.alias}
    for key, value in content.items():
        where = f"{path}.{key}" if path else str(key)
        if key not in known:
            yield f"{where}: unknown field"
        below = _BELOW.get((model.__name__, key))
        if below is None:
            continue
        if isinstance(value, dict):
            yield from _unknown(below, value, where)
        for index, item in enumerate(value if isinstance(value, list) else []):
            if isinstance(item, dict):
                yield from _unknown(below, item, f"{where}.{index}")


def _invalid(model: type[BaseModel], content: dict[str, Any], path: str) -> Iterator[str]:
    try:
        model.model_validate(content)
    except ValidationError as error:
        for each in error.errors(include_url=False, include_context=False, include_input=False):
            where = ".".join([*filter(None, [path]), *map(str, each["loc"])])
            yield f"{where}: {' '.join(each['msg'].split())}" if where else " ".join(each["msg"].split())


if __name__ == "__main__":
    found = list(dict.fromkeys(reasons(sys.stdin.read())))
    sys.stdout.write("".join(f"{reason}\n" for reason in found))
    sys.stdout.flush()
    sys.exit(REFUSED if found else 0)
