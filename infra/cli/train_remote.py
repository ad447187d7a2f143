"""`mlops train` of an environment in an account: asks its cluster for a run of a model's CronJob, and waits for none.

It does what `kubectl create job --from=cronjob/…` does, with the credentials that boto3 finds, so that neither kubectl
nor a kubeconfig is needed. Who may, the cluster says. While a run of the model goes on it asks for none: the launcher
inside would refuse to start another (`training.pipelines.launch`), but only after its pod has found a place.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

import httpx

from infra.cli import train_sagemaker
from infra.cli.context import Context
from infra.cli.output import CommandFailed

NAMESPACE = "training"
MODEL = "mlops/model"
"""Label of all that belongs to a model."""
_JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}"
_LOGS = f"kubectl -n {NAMESPACE} logs -f job/"
_HINTS = {
    401: "the cluster knows no role of the credentials that boto3 finds: log in, or name a profile by AWS_PROFILE",
    403: "starting a run takes a role that aws.kubernetes.adminRoles names",
}


def start(context: Context, model: str) -> dict[str, Any]:
    """Start a run.

    Args:
        context: the stack.
        model: name of the model.

    Returns:
        `stack`, `model`, `job` and `namespace` (or `execution`, where SageMaker trains), and `follow`: commands that
        show how it goes.

    Raises:
        CommandFailed: nothing trains there; a run of the model goes on; the cluster cannot be
            reached, or refuses.
    """
    runner, runs = _runs(context)
    if model not in runs:
        raise CommandFailed(
            f"what trains in stack {context.stack} does not know the model {model!r} yet; it knows "
            f"{', '.join(sorted(runs)) or 'none'}",
            hint=f"./mlops up {context.stack}",
        )
    if runner == "sagemaker":
        return train_sagemaker.start(context.stack, model, runs[model])
    try:
        with context.http("pipelines") as http:
            clock = _asked(context, http, "GET", f"{_JOBS}/cronjobs/{runs[model]}")
            found = _asked(context, http, "GET", f"{_JOBS}/jobs?{urlencode({'labelSelector': f'{MODEL}={model}'})}")
            if (other := going_on(found.get("items") or [])) is not None:
                raise CommandFailed(
                    f"{model} is being trained already, by job {other} of stack {context.stack}; nothing was started",
                    hint=f"see it: {_LOGS}{other}\n  end it: kubectl -n {NAMESPACE} delete job {other}",
                )
            made = _asked(context, http, "POST", f"{_JOBS}/jobs", job_of(clock, time.time()))
    except httpx.HTTPError as error:
        raise CommandFailed(
            f"the cluster of stack {context.stack} does not answer at {context.endpoint('pipelines')['url']}: "
            f"{error!r}",
            hint="a private API server is reached from inside the network only (docs/how-to/deploy-to-aws.md)",
        ) from None
    job = str(made["metadata"]["name"])
    return {
        "stack": context.stack,
        "model": model,
        "job": job,
        "namespace": NAMESPACE,
        "follow": [f"{_LOGS}{job}", f"{_LOGS}ray-{job}"],
    }


def _runs(context: Context) -> tuple[str, dict[str, str]]:
    """The runner, and what it starts for each model: the name of a CronJob, or the ARN of a pipeline."""
    endpoint: dict[str, Any] = context.outputs["endpoints"].get("pipelines") or {}
    if not endpoint:
        raise CommandFailed(
            f"nothing trains in stack {context.stack}: its settings say `workloads: false`, or it was last brought up "
            "by a version without training",
            hint=f"state aws.images and aws.workloads, then ./mlops up {context.stack}",
        )
    runs: dict[str, str] = endpoint.get("runs") or {}
    return endpoint["runner"], runs


def going_on(jobs: Iterable[Mapping[str, Any]]) -> str | None:
    """The Job among those of a model that has not ended; None where all have."""
    for job in jobs:
        conditions = (job.get("status") or {}).get("conditions") or ()
        ended = any(one.get("type") in ("Complete", "Failed") and one.get("status") == "True" for one in conditions)
        if not ended and not job["metadata"].get("deletionTimestamp"):
            return str(job["metadata"]["name"])
    return None


def job_of(clock: dict[str, Any], now: float) -> dict[str, Any]:
    """The Job that runs what a CronJob would, under a name that no other run of it has.

    Args:
        clock: the CronJob.
        now: seconds since 1970; in the name by eight digits, as many as the clock's own runs have.
    """
    template, owner = clock["spec"]["jobTemplate"], clock["metadata"]
    metadata = template.get("metadata") or {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"{owner['name']}-{int(now):08x}",
            "namespace": NAMESPACE,
            "labels": dict(metadata.get("labels") or {}),
            "annotations": {**(metadata.get("annotations") or {}), "cronjob.kubernetes.io/instantiate": "manual"},
            # Its history limits count this run as well.
            "ownerReferences": [
                {
                    "apiVersion": "batch/v1",
                    "kind": "CronJob",
                    "name": owner["name"],
                    "uid": owner["uid"],
                    "controller": True,
                }
            ],
        },
        "spec": template["spec"],
    }


def _asked(context: Context, http: httpx.Client, method: str, path: str, body: Any = None) -> dict[str, Any]:
    answer = http.request(method, path, json=body)
    try:
        document = answer.json()
    except ValueError:
        document = {}
    if not answer.is_success:
        said = document.get("message") if isinstance(document, dict) else None
        raise CommandFailed(
            f"the cluster of stack {context.stack} refuses, {answer.status_code}: {said or answer.text[:300]}",
            hint=_HINTS.get(answer.status_code) or (f"./mlops up {context.stack}" if answer.status_code == 404 else ""),
        )
    found: dict[str, Any] = document
    return found
