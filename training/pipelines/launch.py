"""Launch: start a training run on Kubernetes as a copy of a suspended RayJob, and wait until it has ended.

    python -m training.pipelines.launch --template train-flight-delay
        environment: MLOPS_NAMESPACE, MLOPS_JOB and MLOPS_JOB_UID (the Job that this runs in), and what Kubernetes gives
                     every pod: KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT and a token of its service account

The RayJob that stands in the cluster is a template: suspended, so that KubeRay starts nothing of it, and judged like
all that the program makes. The copy belongs to the Job, so that it goes when the Job does. Its name is made of the
Job's: a launcher whose node was taken away finds the run of the one before it, and starts none beside it. Nor is one
started beside the run of another Job of the same model: a CronJob bounds what its clock starts, and not what people do.

Status 1 says that the training failed; 3 that it could not be started or watched, which is worth another try.
"""

import argparse
import copy
import hashlib
import os
import ssl
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from training.errors import TrainingError
from training.workspace import run, say

RUN = "mlops/run"
"""Annotation of the head's pod with the name of the run, from where its steps have it."""
LONGEST = 47
"""Characters of the name of a RayJob that KubeRay (1.6) takes."""
MODEL = "mlops/model"
"""Label of all runs of a model."""
_API = "/apis/ray.io/v1/namespaces/{namespace}/rayjobs"
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_POLL_SECONDS = 10.0
_PATIENCE_SECONDS = 600.0
"""An API server that does not answer, as while it is upgraded, is asked again for this long."""
_AGAIN = 3

RayJob = dict[str, Any]


class UnavailableError(TrainingError):
    """The API server does not answer, or refuses."""


@dataclass(frozen=True, slots=True)
class Job:
    """The Job of Kubernetes that this runs in."""

    namespace: str
    name: str
    uid: str


def run_name(job: str) -> str:
    """Return the name of the RayJob of a Job: another than the Job's, which KubeRay's own Job for it would share."""
    name = f"ray-{job}"
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(job.encode()).hexdigest()[:6]
    return f"{name[: LONGEST - 7].rstrip('-')}-{digest}"


def started(template: RayJob, job: Job) -> RayJob:
    """Return the RayJob that runs what a template describes.

    Raises:
        TrainingError: the template is no RayJob that could be started.
    """
    spec: Any = copy.deepcopy(template.get("spec"))
    try:
        head = spec["rayClusterSpec"]["headGroupSpec"]["template"]
    except (TypeError, KeyError):
        raise TrainingError("the template has no rayClusterSpec.headGroupSpec.template") from None
    spec.pop("suspend", None)
    name = run_name(job.name)
    head.setdefault("metadata", {}).setdefault("annotations", {})[RUN] = name
    labels = (template.get("metadata") or {}).get("labels") or {}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {
            "name": name,
            "namespace": job.namespace,
            "labels": dict(labels),
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": job.name, "uid": job.uid}],
        },
        "spec": spec,
    }


def verdict(status: Mapping[str, Any]) -> bool | None:
    """Return whether a run has ended well, None while it has not ended."""
    match status.get("jobDeploymentStatus"):
        case "Complete":
            return status.get("jobStatus") == "SUCCEEDED"
        case "Failed" | "ValidationFailed":
            return False
    return None


def going_on(model: str, runs: Iterable[RayJob]) -> str | None:
    """Return the first run of a model that has not ended, None where there is none; a template is none."""
    active = [
        (str(metadata.get("creationTimestamp")), str(metadata["name"]))
        for metadata, spec, status in (
            (one["metadata"], one.get("spec") or {}, one.get("status") or {}) for one in runs
        )
        if (metadata.get("labels") or {}).get(MODEL) == model
        and not metadata.get("deletionTimestamp")
        and not spec.get("suspend")
        and verdict(status) is None
    ]
    return min(active)[1] if active else None


def told(status: Mapping[str, Any]) -> str:
    """Return in words how far a run is."""
    parts = [str(status.get("jobDeploymentStatus") or "waits for the operator")]
    if status.get("jobStatus"):
        parts.append(f"Ray says {status['jobStatus']}")
    if status.get("failed"):
        parts.append(f"{status['failed']} attempts failed")
    if status.get("reason"):
        parts.append(str(status["reason"]))
    if status.get("message"):
        parts.append(str(status["message"]).strip().splitlines()[0][:500])
    return ", ".join(parts)


class Cluster:
    """RayJobs of a namespace, through the API server."""

    def __init__(self, client: httpx.Client, namespace: str) -> None:
        self._client = client
        self._path = _API.format(namespace=namespace)

    def get(self, name: str) -> RayJob | None:
        """Return a RayJob, None where there is none.

        Raises:
            UnavailableError: the API server does not answer, or refuses.
        """
        return self._asked("GET", f"{self._path}/{name}", none=404)

    def create(self, document: RayJob) -> RayJob | None:
        """Make a RayJob; None where there is one of its name.

        Raises:
            UnavailableError: the API server does not answer, or refuses.
        """
        return self._asked("POST", self._path, none=409, body=document, params={"fieldValidation": "Strict"})

    def of_model(self, model: str) -> list[RayJob]:
        """Return the RayJobs of a model, its template among them.

        Raises:
            UnavailableError: the API server does not answer, or refuses.
        """
        found = self._asked("GET", self._path, none=404, params={"labelSelector": f"{MODEL}={model}"})
        return list((found or {}).get("items") or ())

    def _asked(
        self,
        method: str,
        path: str,
        *,
        none: int,
        body: RayJob | None = None,
        params: Mapping[str, str] | None = None,
    ) -> RayJob | None:
        try:
            # A token lasts an hour; the file is renewed before.
            headers = {"authorization": f"Bearer {_token()}"}
            answer = self._client.request(method, path, json=body, params=params, headers=headers)
        except (httpx.HTTPError, OSError) as error:
            raise UnavailableError(f"the API server does not answer: {error!r}") from error
        if answer.status_code == none:
            return None
        if not answer.is_success:
            raise UnavailableError(f"{method} {path}: HTTP {answer.status_code}: {_reason(answer)}")
        document: RayJob = answer.json()
        return document


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("message") or answer.text[:500])
    except (ValueError, AttributeError):
        return answer.text[:500]


def _token() -> str:
    return (_ACCOUNT / "token").read_text("utf-8").strip()


def launch(cluster: Cluster, template: str, job: Job) -> str:
    """Start a run, or find the one that an earlier launcher of this Job started; returns its name.

    Raises:
        TrainingError: there is no such template, or another run of its model goes on.
        UnavailableError: the API server does not answer, or refuses.
    """
    name = run_name(job.name)
    if cluster.get(name) is not None:
        say(f"{name} was started before: waiting for it")
        return name
    found = cluster.get(template)
    if found is None:
        raise TrainingError(f"there is no RayJob {template} in {job.namespace}; `up` makes it")
    model = str(((found.get("metadata") or {}).get("labels") or {}).get(MODEL) or "")
    if not model:
        raise TrainingError(
            f"RayJob {template} has no label {MODEL}, so that nobody can say what else trains its model"
        )
    other = going_on(model, cluster.of_model(model))
    if other is not None:
        raise TrainingError(
            f"{other} still trains {model}: nothing is started beside it. Start this one again after that, or end that "
            f"one: kubectl -n {job.namespace} delete rayjob {other}"
        )
    cluster.create(started(found, job))
    say(f"started {name}; its output: kubectl -n {job.namespace} logs job/{name} -f")
    return name


def follow(cluster: Cluster, name: str, sleep: Callable[[float], None], clock: Callable[[], float]) -> None:
    """Wait until a run has ended.

    Raises:
        TrainingError: it failed, or was deleted.
        UnavailableError: the API server does not answer for ten minutes.
    """
    last, answered = "", clock()
    while True:
        try:
            found = cluster.get(name)
            answered = clock()
        except UnavailableError as error:
            if clock() - answered > _PATIENCE_SECONDS:
                raise
            say(str(error))
            sleep(_POLL_SECONDS)
            continue
        if found is None:
            raise TrainingError(f"{name} was deleted before it had ended")
        status = found.get("status") or {}
        if (text := told(status)) != last:
            say(f"{name}: {text}")
            last = text
        ended = verdict(status)
        if ended is False:
            raise TrainingError(f"{name} failed: {text}")
        if ended:
            return
        sleep(_POLL_SECONDS)


def _job() -> Job:
    names = ("MLOPS_NAMESPACE", "MLOPS_JOB", "MLOPS_JOB_UID")
    values = [os.environ.get(name, "") for name in names]
    missing = [name for name, value in zip(names, values, strict=True) if not value]
    if missing:
        raise TrainingError(f"{', '.join(missing)}: not set; this runs in a pod of a Job")
    return Job(*values)


def main() -> None:
    """Start a run and wait for its end."""
    parser = argparse.ArgumentParser(prog="python -m training.pipelines.launch", description="Start a training run.")
    parser.add_argument("--template", required=True, help="name of the suspended RayJob")
    options = parser.parse_args()
    job = _job()
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise TrainingError("KUBERNETES_SERVICE_HOST is not set; this runs in a pod")
    trusted = ssl.create_default_context(cafile=str(_ACCOUNT / "ca.crt"))
    address = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    with httpx.Client(base_url=address, verify=trusted, timeout=30, trust_env=False) as client:
        cluster = Cluster(client, job.namespace)
        try:
            name = launch(cluster, options.template, job)
            follow(cluster, name, time.sleep, time.monotonic)
        except UnavailableError as error:
            sys.stderr.write(f"error: {error}\n")
            sys.exit(_AGAIN)


if __name__ == "__main__":
    run(main)
