"""A training run as KubeRay (1.6) runs it: the RayJob of a model, and the CronJob that starts one.

KubeRay has a RayCronJob too, behind a gate of its alpha stage and without a bound of runs at a time or of kept ones. A
CronJob of Kubernetes has both. What it starts is a program that copies a RayJob that stands in the cluster, suspended:
thus the RayJob is a resource of its own, which the API server validates and policies judge before anything runs.

The cluster of a run is its head alone, in the pool of training: steps are programs of one process. A run that lost its
node is started again by KubeRay, as a new cluster, and goes on behind the last step that has ended
(`training.pipelines.steps`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pulumi import Input

from components.cluster.placement import NodePoolArgs, placed
from components.models import Model
from components.naming import fitted
from components.pipelines import cron
from components.pipelines.steps import Step, module
from components.ray import DASHBOARD, ENVIRONMENT, METRICS, RAY_VERSION, head_probes, object_store
from components.registry.kubernetes import PASSWORD
from components.secrets import FIELD
from components.workload import USER, Resources, security_context

NAMESPACE = "training"
ACCOUNT, LAUNCHER = "training", "training-launcher"
"""Service accounts of runs, which has the role of `components.identity`, and of what starts them, which has none."""
RUNS: Mapping[str, str] = {"mlops/workload": "training"}
SUBMITTERS: Mapping[str, str] = {"mlops/workload": "training-submitter"}
LAUNCHERS: Mapping[str, str] = {"mlops/workload": LAUNCHER}
"""Labels of the pods of each kind."""
WORK = "/var/lib/mlops"
CODE = "/app"
STEPS = "/etc/mlops/steps.json"
SUBMITTER_SIZE, LAUNCHER_SIZE = Resources(cpus=0.25, memory_gib=0.75), Resources(cpus=0.1, memory_gib=0.25)
"""What the two pods beside a run may have: Ray's command line, and a program that waits."""
RETRIES = 2
"""How often a run is started again that failed, or lost its node."""
WAITS_SECONDS = 1800
"""How long an attempt may wait for its node."""
KEPT_RUNS = 3
"""Ended runs that are kept to look at, of each kind."""
KEPT_SECONDS = 7 * 24 * 3600
"""How long an ended run is kept at most."""
CLUSTER_SECONDS = 60
"""How long the cluster of an ended run stays, so that the end of its output is read."""
LATE_SECONDS = 3600
"""How late a run may start that the clock could not start in time."""
NEVER = "0 0 1 1 *"
"""Schedule of a CronJob that is suspended: there must be one."""
_NAME = 34
"""Characters of a CronJob's name, so that its Job's name and `ray-` fit into the 47 that KubeRay allows a RayJob."""
_RUN = "mlops/run"
_ANNOTATION = "mlops/steps.json"


@dataclass(frozen=True, kw_only=True)
class RunArgs:
    """What a run is made with.

    Attributes:
        image: training image by digest.
        size: what it may have, Ray itself included.
        pool: pool that it runs in.
        max_hours: bound of an attempt.
        store: place in a bucket that steps hand over at, `s3://…`.
        environment: variables of all steps; no secrets.
    """

    image: str
    size: Resources
    pool: NodePoolArgs
    max_hours: float
    store: str
    environment: Mapping[str, Input[str]]


def name_of(model: str) -> str:
    """Name of the CronJob and of the suspended RayJob of a model."""
    return fitted(f"train-{model}", _NAME)


def labels_of(model: str, kind: Mapping[str, str]) -> dict[str, str]:
    """Labels of what belongs to a model."""
    return {**kind, "mlops/model": model}


def steps_document(steps: Sequence[Step], seed: int, store: str) -> str:
    """The file that `training.pipelines.steps` reads."""
    return json.dumps(
        {
            "store": store,
            "work": WORK,
            "directory": CODE,
            "steps": [
                {
                    "name": step.name,
                    "command": [*step.command, *([f"--seed={seed}"] if step.seeded else [])],
                    "environment": dict(step.environment),
                    "inputs": [[place, path] for _, place, path in step.inputs],
                    "outputs": [[place, path] for _, place, path in step.outputs],
                }
                for step in steps
            ],
        },
        indent=1,
        sort_keys=True,
    )


def ray_job(args: RunArgs, model: Model, steps: Sequence[Step]) -> dict[str, Any]:
    """The specification of a model's RayJob, suspended."""
    return {
        "suspend": True,
        # KubeRay puts it into the command line of a shell as it is: one program and one path, nothing to quote.
        "entrypoint": " ".join(module("training.pipelines.steps", STEPS)),
        "submissionMode": "K8sJobMode",
        "backoffLimit": RETRIES,
        "activeDeadlineSeconds": round(args.max_hours * 3600),
        "preRunningDeadlineSeconds": WAITS_SECONDS,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": CLUSTER_SECONDS,
        "submitterPodTemplate": _submitter(args, model),
        "rayClusterSpec": {
            "rayVersion": RAY_VERSION,
            # A token of its own for each cluster, which KubeRay makes and deletes with it.
            "authOptions": {"mode": "token"},
            "headGroupSpec": {
                "rayStartParams": {
                    "num-cpus": str(max(1, math.floor(args.size.cpus))),
                    "dashboard-host": "0.0.0.0",  # noqa: S104 - of the pod
                    **object_store(),
                },
                "template": _head(args, model, steps),
            },
        },
    }


def _head(args: RunArgs, model: Model, steps: Sequence[Step]) -> dict[str, Any]:
    threads = str(max(1, math.floor(args.size.cpus)))
    variables = {**ENVIRONMENT, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, **args.environment}
    ray = head_probes() | {
        "name": "ray-head",
        "image": args.image,
        "env": [
            *({"name": name, "value": value} for name, value in sorted(variables.items())),
            {"name": "MLFLOW_TRACKING_PASSWORD", "valueFrom": {"secretKeyRef": {"name": PASSWORD, "key": FIELD}}},
            # Set by what starts the run; without it the steps refuse to start.
            {"name": "MLOPS_RUN", "valueFrom": _field(f"metadata.annotations['{_RUN}']")},
        ],
        "ports": [
            {"name": name, "containerPort": port, "protocol": "TCP"}
            for name, port in {"gcs": 6379, "dashboard": DASHBOARD, "client": 10001, "metrics": METRICS}.items()
        ],
        "resources": args.size.document(),
        "securityContext": security_context(),
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
            # Under KubeRay's own name for it.
            {"name": "ray-logs", "mountPath": "/tmp/ray"},  # noqa: S108 - the pod's own
            {"name": "work", "mountPath": WORK},
            {"name": "settings", "mountPath": "/etc/mlops", "readOnly": True},
        ],
    }
    steps_file = {"path": "steps.json", "fieldRef": {"fieldPath": f"metadata.annotations['{_ANNOTATION}']"}}
    return {
        "metadata": {
            "labels": labels_of(model.name, RUNS),
            "annotations": {
                # Each run keeps the steps that it was started with.
                _ANNOTATION: steps_document(steps, model.seed, args.store),
                # Karpenter moves no run to a cheaper node; AWS may still take a Spot node away.
                "karpenter.sh/do-not-disrupt": "true",
            },
        },
        "spec": {
            **_confined(ACCOUNT),
            "containers": [ray],
            "volumes": [
                {"name": "tmp", "emptyDir": {}},
                {"name": "ray-logs", "emptyDir": {}},
                {"name": "work", "emptyDir": {}},
                {"name": "settings", "downwardAPI": {"items": [steps_file]}},
            ],
            **placed(args.pool),
        },
    }


def _submitter(args: RunArgs, model: Model) -> dict[str, Any]:
    """Pods that submit the job to its cluster and print what it prints; KubeRay gives them their command."""
    container = _container("submitter", args.image, SUBMITTER_SIZE)
    container["env"] = [{"name": name, "value": value} for name, value in sorted(ENVIRONMENT.items())]
    return {
        "metadata": {"labels": labels_of(model.name, SUBMITTERS)},
        "spec": {
            **_confined(LAUNCHER),
            "restartPolicy": "Never",
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }


def cron_job(args: RunArgs, model: Model) -> dict[str, Any]:
    """The specification of a model's CronJob; without a schedule it is suspended, and starts what a person asks for.

    Raises:
        ValueError: the schedule cannot be said to Kubernetes.
    """
    container = _container("launcher", args.image, LAUNCHER_SIZE)
    container["command"] = list(module("training.pipelines.launch", f"--template={name_of(model.name)}"))
    container["env"] = [
        {"name": "HOME", "value": "/tmp"},  # noqa: S108 - the pod's own
        {"name": "MLOPS_NAMESPACE", "valueFrom": _field("metadata.namespace")},
        {"name": "MLOPS_JOB", "valueFrom": _field("metadata.labels['batch.kubernetes.io/job-name']")},
        {"name": "MLOPS_JOB_UID", "valueFrom": _field("metadata.labels['batch.kubernetes.io/controller-uid']")},
    ]
    attempts = RETRIES + 1
    return {
        "schedule": NEVER if model.schedule is None else cron.standard(model.schedule),
        "timeZone": "Etc/UTC",
        "suspend": model.schedule is None,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": LATE_SECONDS,
        "successfulJobsHistoryLimit": KEPT_RUNS,
        "failedJobsHistoryLimit": KEPT_RUNS,
        "jobTemplate": {
            "metadata": {"labels": labels_of(model.name, LAUNCHERS)},
            "spec": {
                # The run has bounds of its own; a launcher that outlives them all has lost it.
                "activeDeadlineSeconds": (round(args.max_hours * 3600) + WAITS_SECONDS) * attempts,
                "backoffLimit": 3,
                # Status 1: the training failed, after attempts of its own.
                "podFailurePolicy": {
                    "rules": [
                        {
                            "action": "FailJob",
                            "onExitCodes": {"containerName": "launcher", "operator": "In", "values": [1]},
                        }
                    ]
                },
                "ttlSecondsAfterFinished": KEPT_SECONDS,
                "template": {
                    "metadata": {"labels": labels_of(model.name, LAUNCHERS)},
                    "spec": {
                        **_confined(LAUNCHER),
                        # Its token is what it asks the API server with.
                        "automountServiceAccountToken": True,
                        "restartPolicy": "Never",
                        "containers": [container],
                        "volumes": [{"name": "tmp", "emptyDir": {}}],
                    },
                },
            },
        },
    }


def _confined(account: str) -> dict[str, Any]:
    return {
        "serviceAccountName": account,
        "automountServiceAccountToken": False,
        "securityContext": {"fsGroup": USER, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    }


def _container(name: str, image: str, size: Resources) -> dict[str, Any]:
    return {
        "name": name,
        "image": image,
        "resources": size.document(),
        "securityContext": security_context(),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - the pod's own
    }


def _field(path: str) -> dict[str, Any]:
    return {"fieldRef": {"fieldPath": path}}
