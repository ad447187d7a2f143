"""Which properties force a replacement: CloudFormation's create-only ones, from the schemas that cfn-lint carries."""

from __future__ import annotations

import functools
import json
from importlib.util import find_spec
from pathlib import Path

from infra.rehearsal.aws.convert import key


@functools.cache
def create_only(cloudformation: str) -> frozenset[str]:
    """Return the comparable names (`convert.key`) of the top-level properties that cannot be changed.

    Args:
        cloudformation: A type, for example `AWS::EC2::VPC`.

    Raises:
        LookupError: cfn-lint has no such type.
    """
    schemas = _schemas()
    index = json.loads((schemas / "providers" / "us-east-1.json").read_text())
    if cloudformation not in index:
        raise LookupError(f"cfn-lint knows no type {cloudformation}")
    schema = json.loads((schemas / "resources" / f"{index[cloudformation]}.json").read_text())
    paths = (path.split("/") for path in schema.get("createOnlyProperties", ()))
    return frozenset(key(path[2]) for path in paths if len(path) == 3)


def _schemas() -> Path:
    spec = find_spec("cfnlint")
    if spec is None or spec.origin is None:
        raise LookupError("the package cfn-lint is not installed: it comes with the development requirements")
    return Path(spec.origin).parent / "data" / "schemas"
