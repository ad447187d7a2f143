"""A pack without rules that writes down the plan it is told of, so that tests can lay the harness's beside it."""

import json
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[4]))

import grpc
from pulumi.runtime.proto import analyzer_pb2_grpc

from policies.evaluation import Evaluation
from policies.pack.servicer import PackServicer
from policies.plan import Plan, Resource, Secret, Unknown

TO = "MLOPS_TEST_RECORDING"


def described(resource: Resource) -> dict[str, Any]:
    """Everything of a resource, so that two are equal exactly where this is."""
    return {
        **vars(resource),
        "inputs": _plain(resource.inputs),
        "dependencies": sorted(resource.dependencies),
        "property_dependencies": {name: sorted(urns) for name, urns in resource.property_dependencies.items() if urns},
    }


def _plain(value: Any) -> Any:
    match value:
        case Unknown(origins):
            return {"unknown": sorted(origins)}
        case Secret(inner):
            return {"secret": _plain(inner)}
        case Mapping():
            return {name: _plain(one) for name, one in value.items()}
        case tuple():
            return [_plain(one) for one in value]
        case bool() | int() | float() | str() | None:
            return {type(value).__name__: value}
    raise TypeError(f"{value!r} is not read-only")


def _record(plan: Plan) -> Evaluation:
    Path(os.environ[TO]).write_text(json.dumps([described(one) for one in plan.resources]))
    return Evaluation(findings=[], counts={}, asked=[])


def main() -> None:
    """Serve it."""
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    analyzer_pb2_grpc.add_AnalyzerServicer_to_server(PackServicer((), _record, None), server)
    sys.stdout.write(f"{server.add_insecure_port('127.0.0.1:0')}\n")
    server.start()
    sys.stdout.flush()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
