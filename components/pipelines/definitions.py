"""SageMaker pipelines of models: what they are, as a description, and their definitions, rendered once per content.

What only the account knows (ids of subnets, the key) is not known in a preview. A description therefore holds marks in
their places, which `filled` replaces in the finished definition, so that rendering waits for nothing.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from components.cloud import Cloud
from components.models import Model
from components.pipelines.steps import Step, module, steps_of

RENDERER = Path(__file__).with_name("render.py")
CACHE = Path(".mlops") / "pipelines"
WORK = "/opt/ml/processing"
KEY, SECURITY_GROUP = "mark:key", "mark:security-group"
EXECUTION = "execution:arn"
"""Stands in the environment of a step for the ARN of the execution that it runs in."""
_RENDER_SECONDS = 180.0


class RenderingError(Exception):
    """The SageMaker SDK refused a description."""


@dataclass(frozen=True, kw_only=True)
class RegistryWay:
    """How a step reaches the registry, from outside of the cluster that it is in.

    Attributes:
        cluster: name of the cluster on EKS, through whose API server it goes.
        service: the registry's service there, `namespace/name:port`.
        username: user name that the registry asks for.
        password_secret: name of the secret that holds the password.
    """

    cluster: str
    service: str
    username: str
    password_secret: str


def subnet(number: int) -> str:
    """Mark of a subnet."""
    return f"mark:subnet-{number}"


def description(
    cloud: Cloud,
    model: Model,
    *,
    image: str,
    instance_type: str,
    max_hours: float,
    subnets: int,
    environment: Mapping[str, str],
    signing: Mapping[str, str],
    registry: RegistryWay,
) -> dict[str, Any]:
    """What the pipeline of a model is.

    Args:
        cloud: the environment.
        model: the model.
        image: training image by digest.
        instance_type: default size of the machines.
        max_hours: bound of each step.
        subnets: how many subnets the steps may run in.
        environment: variables of all steps; no secrets.
        signing: variables of the step that trains, by which it signs; no secrets.
        registry: how that step reaches the registry.
    """
    variables = {"MLFLOW_TRACKING_USERNAME": registry.username, **signing}
    steps = steps_of(cloud.project, model, WORK, environment, variables)
    return {
        "name": pipeline_name(cloud, model),
        "region": cloud.region,
        "bucket": cloud.names.bucket("data"),
        "role": training_role(cloud),
        "image": image,
        "instanceType": instance_type,
        "seed": model.seed,
        "volumeGib": 30,
        "maxSeconds": round(max_hours * 3600),
        "key": KEY,
        "subnets": [subnet(number) for number in range(subnets)],
        "securityGroups": [SECURITY_GROUP],
        "steps": [_document(_placed(step, registry)) for step in steps],
    }


def _placed(step: Step, registry: RegistryWay) -> Step:
    """A step as it runs on SageMaker: the first sees to it that it runs alone, the last reaches the registry."""
    if step.name == "ingest":
        command = module("training.pipelines.sole_run", "--", *step.command)
        return replace(step, command=command, environment={**step.environment, "MLOPS_EXECUTION": EXECUTION})
    if step.name == "train":
        way = (f"--cluster={registry.cluster}", f"--service={registry.service}")
        through = module("training.pipelines.through_cluster", *way, "--", *step.command)
        secret = f"secretsmanager:{registry.password_secret}:MLFLOW_TRACKING_PASSWORD"
        return replace(step, command=module("training.pipelines.secret_environment", secret, "--", *through))
    return step


def _document(step: Step) -> dict[str, Any]:
    """A step as the renderer takes it."""
    return {
        "name": step.name,
        "command": list(step.command),
        "environment": dict(step.environment),
        "inputs": [list(one) for one in step.inputs],
        "outputs": [list(one) for one in step.outputs],
        "seeded": step.seeded,
    }


def pipeline_name(cloud: Cloud, model: Model) -> str:
    """Name of a model's pipeline; `components.identity.matrix` names all of them by its beginning."""
    return cloud.names.of("pipeline", f"training-{model.name}")


def training_role(cloud: Cloud) -> str:
    """ARN of the role that steps run as."""
    return cloud.arn("iam", f"role/{cloud.names.of('role', 'training')}", region=False)


def definition(project: Path, described: Mapping[str, Any]) -> str:
    """Return the definition of a pipeline, rendered now or kept from the last time the same was asked for.

    Raises:
        RenderingError: the SDK refused.
    """
    text = json.dumps(described, sort_keys=True)
    made_by = f"{importlib.metadata.version('sagemaker')}\0{RENDERER.read_text('utf-8')}"
    digest = hashlib.sha256(f"{made_by}\0{text}".encode()).hexdigest()[:32]
    kept = project / CACHE / f"{digest}.json"
    if not kept.exists():
        rendered = _render(text)
        kept.parent.mkdir(parents=True, exist_ok=True)
        draft = kept.with_suffix(f".{os.getpid()}")
        draft.write_text(rendered, "utf-8")
        draft.replace(kept)
    return kept.read_text("utf-8")


def _render(text: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PULUMI_"))}
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(RENDERER)],
            input=text,
            capture_output=True,
            text=True,
            timeout=_RENDER_SECONDS,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RenderingError(f"the SageMaker SDK gave no definition within {_RENDER_SECONDS:.0f} s") from None
    if done.returncode != 0:
        last = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise RenderingError(f"the SageMaker SDK refused the pipeline {json.loads(text)['name']}:\n{last}")
    try:
        json.loads(done.stdout)
    except ValueError:
        raise RenderingError(
            f"the SageMaker SDK gave no definition of the pipeline {json.loads(text)['name']}"
        ) from None
    return done.stdout


def filled(text: str, values: Mapping[str, str]) -> str:
    """A definition with its marks replaced.

    Raises:
        RenderingError: a mark has no value.
    """
    for mark, value in sorted(values.items(), reverse=True):  # of subnet-10 and subnet-1 the longer first
        text = text.replace(f'"{mark}"', json.dumps(value))
    if '"mark:' in text:
        raise RenderingError(f"a mark of the definition has no value: {text[text.index(chr(34) + 'mark:') :][:40]}")
    return text
