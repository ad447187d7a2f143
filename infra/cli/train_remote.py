"""`mlops train` of an environment in an account: asks its cluster for a run of a model's CronJob, and waits for none.

It does what `kubectl create job --from=cronjob/…` does, with the credentials that boto3 finds, so that neither kubectl
nor a kubeconfig is needed. Who may, the cluster says.
"""

from __future__ import annotations

import time
from typing import Any

import httpx

from infra.cli.context import Context
from infra.cli.output import CommandFailed

NAMESPACE = "training"
_JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}"


def start(context: Context, model: str) -> dict[str, Any]:
    """Start a run.

    Args:
        context: the stack.
        model: name of the model.

    Returns:
        `job`, `namespace`, and `follow`: commands that show how it goes.

    Raises:
        CommandFailed: the cluster cannot be reached or refuses, or the models are trained by another runner.
    """
    endpoint = context.endpoint("pipelines")
    runs: dict[str, str] = endpoint.get("runs") or {}
    if endpoint.get("runner") != "ray":
        raise CommandFailed(
            f"models of stack {context.stack} are trained by {endpoint.get('runner')}; this command starts none there",
            hint=f"aws sagemaker start-pipeline-execution --pipeline-name {runs.get(model, '…').rpartition('/')[2]}",
        )
    if model not in runs:
        raise CommandFailed(
            f"the cluster of stack {context.stack} does not know the model {model!r} yet; it knows "
            f"{', '.join(sorted(runs)) or 'none'}",
            hint=f"./mlops up {context.stack}",
        )
    try:
        with context.http("pipelines") as http:
            clock = _asked(context, http, "GET", f"{_JOBS}/cronjobs/{runs[model]}")
            made = _asked(context, http, "POST", f"{_JOBS}/jobs", job_of(clock, time.time()))
    except httpx.HTTPError as error:
        raise CommandFailed(
            f"the cluster of stack {context.stack} does not answer at {endpoint['url']}: {error!r}",
            hint="a private API server is reached from inside the network only (docs/how-to/deploy-to-aws.md)",
        ) from None
    job = str(made["metadata"]["name"])
    logs = f"kubectl -n {NAMESPACE} logs -f job/"
    return {"job": job, "namespace": NAMESPACE, "follow": [f"{logs}{job}", f"{logs}ray-{job}"]}


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
            hint="starting a run takes a role that aws.kubernetes.adminRoles names",
        )
    found: dict[str, Any] = document
    return found
