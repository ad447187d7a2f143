"""Which properties force a replacement: CloudFormation's create-only ones, from the schemas that cfn-lint carries."""

from __future__ import annotations

import functools
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from infra.rehearsal.aws.convert import key


@functools.cache
def create_only(cloudformation: str) -> frozenset[str]:
    """Return the comparable names (`convert.key`) of the top-level properties that cannot be changed.

    Args:
        cloudformation: A type, for example `AWS::EC2::VPC`.

    Raises:
        LookupError: cfn-lint has no such type.
    """
    paths = (path.split("/") for path in schema(cloudformation).get("createOnlyProperties", ()))
    return frozenset(key(path[2]) for path in paths if len(path) == 3)


def schema(cloudformation: str) -> dict[str, Any]:
    """Return what CloudFormation says of a type: its properties with their limits, and which cannot be changed.

    Args:
        cloudformation: A type, for example `AWS::EC2::VPC`.

    Raises:
        LookupError: cfn-lint has no such type.
    """
    found = _index().get(cloudformation)
    if found is None:
        raise LookupError(f"cfn-lint knows no type {cloudformation}")
    return dict(json.loads((_schemas() / "resources" / f"{found}.json").read_text()))


@functools.cache
def _index() -> dict[str, str]:
    return dict(json.loads((_schemas() / "providers" / "us-east-1.json").read_text()))


def _schemas() -> Path:
    spec = find_spec("cfnlint")
    if spec is None or spec.origin is None:
        raise LookupError("the package cfn-lint is not installed: it comes with the development requirements")
    return Path(spec.origin).parent / "data" / "schemas"
