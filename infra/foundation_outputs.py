"""A stack of a foundation that has outputs and nothing else: what a stack of releases finds by its StackReference.

For previews and rehearsals of the releases, for which nobody brings a whole environment up. It is written into a file
backend as a state with one resource, the stack itself, whose outputs are those that a foundation exports.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from infra.settings.sources import NAMESPACE

TOKEN = "stand-in-for-the-token"  # noqa: S105 - stands where a secret would be


def stand_in(
    *,
    cluster: str = "planned",
    region: str = "eu-central-1",
    host: str = "predict.invalid",
    control: str = "https://cluster.invalid/api/v1/namespaces/serving/services/control:8090/proxy",
    authority: str = "nobody's certificate",
    token: str = TOKEN,
) -> dict[str, Any]:
    """Outputs of a foundation; by default one at which nobody answers.

    Args:
        cluster: name of its cluster.
        region: its region.
        host: host name of its predictions.
        control: address of its rollout controller.
        authority: certificate authority of that address, in PEM form.
        token: admin token of the controller.
    """
    return {
        "endpoints": {
            "control": {
                "url": control,
                "token": token,
                "cluster": cluster,
                "region": region,
                "authority": base64.b64encode(authority.encode()).decode(),
            },
            "inference": {"url": f"https://{host}", "token": token},
        },
        "models": {},
    }


def stand_in_for(settings_file: Path, backend: Path, project: str) -> None:
    """Let the StackReference of a stack of releases find its foundation; nothing for a stack that names none.

    Args:
        settings_file: the stack's file.
        backend: folder of the file backend, in which the engine has already made the stack itself.
        project: name of the project.
    """
    config = (yaml.safe_load(settings_file.read_text()) or {}).get("config") or {}
    foundation = config.get(f"{NAMESPACE}:foundation")
    if isinstance(foundation, str):
        write_state(backend, project, foundation, stand_in())


def write_state(backend: Path, project: str, stack: str, outputs: Mapping[str, Any]) -> Path:
    """Write a stack with these outputs into a file backend; returns the file of its state.

    Args:
        backend: the backend's folder.
        project: name of the project.
        stack: name of the stack.
        outputs: what it exports. Nothing here is encrypted: no real secret belongs into it.
    """
    pulumi = backend / ".pulumi"
    file = pulumi / "stacks" / project / f"{stack}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    # Says that the backend knows projects, without which the engine takes it for an old one.
    (pulumi / "meta.yaml").write_text("version: 1\n")
    name = f"{project}-{stack}"
    kind = "pulumi:pulumi:Stack"
    resource = {
        "urn": f"urn:pulumi:{stack}::{project}::{kind}::{name}",
        "custom": False,
        "type": kind,
        "outputs": dict(outputs),
    }
    latest = {
        "manifest": {"time": datetime.now(UTC).isoformat(), "magic": "", "version": ""},
        "resources": [resource],
    }
    checkpoint = {"stack": f"organization/{project}/{stack}", "latest": latest}
    file.write_text(json.dumps({"version": 3, "checkpoint": checkpoint}, indent=1))
    return file
