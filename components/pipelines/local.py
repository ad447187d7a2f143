"""Pipelines on one machine: jobs on the local Ray cluster, and a supervised scheduler when a model has a schedule.

A model is trained by up to three jobs: *ingest* makes the snapshot of its data, *materialize* fills the feature store
where the model looks features up, *train* fits, evaluates, exports and registers. Each is keyed by what its result
depends on, so that the next `up` adopts the result instead of repeating the work.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import Input, Output

from components import code
from components.blueprint import Job, JobArgs, Process, ProcessArgs, Runner
from components.models import Model, states_online_features
from components.pipelines import Pipelines, PipelinesArgs
from components.site import Site

SCHEDULER = "scheduler"
SHARED_CODE = ("training", "serving/runtime", "policies/releases", "requirements.lock")
"""What the jobs of all models run, beside the folder of the model."""


@dataclass(frozen=True, kw_only=True)
class LocalPipelinesArgs(PipelinesArgs):
    """What local pipelines need besides; `environment` is in whose name they sign what they made."""

    site: Site
    environment: str


def train_command(site: Site, model: Model) -> list[str]:
    """The command that trains a model with the seed and the parameters of its stack.

    Without the results of earlier jobs in its environment it does their work too, on the data of its day: that is what
    the schedule submits.
    """
    assignments = [f"{name}={_text(value)}" for name, value in sorted(model.params.items())]
    return site.module(
        "training.pipelines.train",
        f"--folder={model.folder}",
        f"--seed={model.seed}",
        *(f"--param={assignment}" for assignment in assignments),
    )


def signing_environment(site: Site, environment: str) -> dict[str, str]:
    """Who signs what is trained here: the demo key of the trainer, see `policies.releases.keys.make_demo_keys`."""
    return {
        "MLOPS_SIGNING_KEY": site.data("keys", "trainer"),
        "MLOPS_SIGNER": f"trainer@{environment}",
        "MLOPS_TRUST_ROOT": environment,
    }


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else json.dumps(value)


class LocalPipelines(Pipelines):
    """Jobs of the local Ray cluster."""

    def __init__(self, name: str, args: LocalPipelinesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:pipelines:LocalPipelines", name, opts)
        self._args = args
        self._materialized: list[Job] = []
        self.candidates = {model.name: self._train(model) for model in args.models}
        scheduled = [model for model in args.models if model.schedule is not None]
        if scheduled:
            self._schedule(scheduled)
        self.register(
            trained={
                model: result.apply(lambda value: {key: value.get(key) for key in ("version", "digest", "passed")})
                for model, result in self.candidates.items()
            }
        )

    def _train(self, model: Model) -> Output[dict[str, Any]]:
        """Register the jobs of a model; returns the result of the last."""
        site, tracking = self._args.site, self._args.tracking
        digest = code.job_digest(site.project, model.folder, SHARED_CODE)
        ingested = self._job(
            f"ingest-{model.name}",
            site.module("training.pipelines.ingest", f"--folder={model.folder}"),
            {"code": digest},
        )
        data = ingested.result.apply(lambda result: str(result["dataDigest"]))
        key: dict[str, Input[str]] = {"code": digest, "data": data}
        environment: dict[str, Input[str]] = {
            "MLOPS_INGEST": Output.json_dumps(ingested.result, sort_keys=True),
            "MLOPS_MATERIALIZE": "",
        }
        if states_online_features(site.project, model.folder):
            materialized = self._job(
                f"materialize-{model.name}",
                site.module("training.pipelines.materialize", f"--folder={model.folder}"),
                key,
                environment={"MLOPS_INGEST": environment["MLOPS_INGEST"]},
                # One at a time: all models share one Feast registry file, which each job rewrites as a whole.
                depends_on=self._materialized[-1:],
            )
            self._materialized.append(materialized)
            environment["MLOPS_MATERIALIZE"] = Output.json_dumps(materialized.result, sort_keys=True)
            key = key | {"features": materialized.result.apply(lambda result: str(result["digest"]))}
        trained = self._job(
            f"train-{model.name}",
            train_command(site, model),
            key | {"seed": str(model.seed), "params": json.dumps(dict(model.params), sort_keys=True)},
            environment=environment
            | {"MLFLOW_TRACKING_URI": tracking.url, "MLFLOW_TRACKING_USERNAME": tracking.username}
            | signing_environment(site, self._args.environment),
            secret_environment={"MLFLOW_TRACKING_PASSWORD": tracking.password},
            depends_on=[tracking.ready],
        )
        return trained.result

    def _job(
        self,
        name: str,
        command: Sequence[str],
        key: dict[str, Input[str]],
        *,
        environment: dict[str, Input[str]] | None = None,
        secret_environment: dict[str, Input[str]] | None = None,
        depends_on: Sequence[pulumi.Resource] = (),
    ) -> Job:
        site, cluster = self._args.site, self._args.cluster
        return Job(
            name,
            JobArgs(
                name=name,
                home=site.home,
                key=key,
                command=command,
                directory=site.project,
                environment={**site.environment(), **(environment or {})},
                secret_environment=secret_environment or {},
                runner=Runner(kind="ray", url=cluster.url, token=cluster.token),
            ),
            self.child(depends_on=[cluster.ready, *depends_on]),
        )

    def _schedule(self, models: Sequence[Model]) -> None:
        site, cluster, tracking = self._args.site, self._args.cluster, self._args.tracking
        entries = [
            {
                "model": model.name,
                "cron": model.schedule,
                "command": train_command(site, model),
                "environment": {
                    **site.environment(),
                    **signing_environment(site, self._args.environment),
                    "MLFLOW_TRACKING_URI": tracking.url,
                    "MLFLOW_TRACKING_USERNAME": tracking.username,
                },
                "envFile": site.file(SCHEDULER, "secrets.env"),
            }
            for model in models
        ]
        config = {"ray": {"url": cluster.url, "token": cluster.token}, "entries": entries}
        Process(
            SCHEDULER,
            ProcessArgs(
                name=SCHEDULER,
                home=site.home,
                command=site.module("training.pipelines.schedule", "--config", site.file(SCHEDULER, "schedule.json")),
                directory=site.project,
                environment=site.environment(),
                files={
                    "schedule.json": Output.json_dumps(config),
                    "secrets.env": Output.concat("MLFLOW_TRACKING_PASSWORD=", tracking.password, "\n"),
                },
                triggers=site.triggers("training/pipelines"),
            ),
            self.child(depends_on=[cluster.ready]),
        )
