"""`pulumi import` of a `ModelRelease`: the inputs that would have brought about what the controller serves.

An import names a model and nothing else, so that the controller must be found first: on the `local` target in the
configuration file of the stack's own controller, elsewhere by the variables MLOPS_CONTROL_URL and MLOPS_CONTROL_TOKEN.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

from components import paths
from infra.provider.codec import Properties
from infra.provider.release_controller import Controller
from infra.provider.resource import Call, ResourceError

PROJECT = Path(__file__).parents[2]
_MODEL = re.compile(r"[a-z][a-z0-9-]{0,62}")
_STRATEGY = ("kind", "steps", "bakeMinutes", "then", "onConflict", "limits", "evidence", "deadlines", "after")


def imported(call: Call, model: str, stack: str, project: Path = PROJECT) -> Properties:
    """Return the inputs of a model's release.

    Args:
        call: the operation.
        model: the id of the import: the model's name.
        stack: the stack that it is imported into.
        project: folder of the project.

    Raises:
        ResourceError: the controller cannot be found or reached, or serves no version of the model.
    """
    if not _MODEL.fullmatch(model):
        raise ResourceError(
            f"{call.label}: id {model!r}: expected the name of a model, as `./mlops release status` lists"
        )
    address = _controller(call, stack, project)
    stated = Controller({"model": model, "controller": address}).stated()
    if stated is None:
        raise ResourceError(
            f"{call.label}: the rollout controller of stack {stack} serves no version of {model!r}, so that there is "
            "nothing to import; `./mlops up` releases it"
        )
    release, manifest = stated["release"], stated.get("manifest")
    strategy = {name: value for name, value in (stated.get("strategy") or {}).items() if name in _STRATEGY}
    inputs: Properties = {
        "model": model,
        "group": release["group"],
        "controller": address,
        "strategy": strategy or {"kind": "all-at-once"},
    }
    if manifest is not None:
        return inputs | {"version": str(release["version"]), "manifest": manifest}
    # What is served without a manifest came from a training job, and was released because it had passed.
    candidate = {name: release[name] for name in ("version", "digest", "source", "files", "signature", "trainedAt")}
    return inputs | {"version": "latest", "candidate": {"model": model, "passed": True} | candidate}


def _controller(call: Call, stack: str, project: Path) -> dict[str, str]:
    url, token = os.environ.get("MLOPS_CONTROL_URL"), os.environ.get("MLOPS_CONTROL_TOKEN")
    if url and token:
        return {"url": url, "token": token}
    file = Path(paths.process_file(str(project / ".mlops" / "stacks" / stack), "control", "control.json"))
    try:
        stated: dict[str, Any] = json.loads(file.read_bytes())
        return {"url": f"http://{stated['host']}:{stated['port']}", "token": str(stated["adminToken"])}
    except (OSError, ValueError, KeyError, TypeError):
        raise ResourceError(
            f"{call.label}: the rollout controller of stack {stack} is not known: {file} cannot be read. Bring the "
            "platform up first, or name the controller by MLOPS_CONTROL_URL and MLOPS_CONTROL_TOKEN"
        ) from None
