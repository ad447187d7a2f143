"""Pipelines as Ray jobs on the cluster: for each model a suspended RayJob, and a CronJob that starts copies of it.

A model with a schedule is trained by the clock; any model when somebody asks for it. Nothing there hears of drift: the
event that starts a SageMaker pipeline has no counterpart inside the cluster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
from pulumi import Input
from pulumi_kubernetes import apiextensions, batch, core, networking, rbac

from components.cloud import Cloud
from components.cluster.placement import NodePoolArgs
from components.models import Model
from components.pipelines import StandingPipelines
from components.pipelines.definitions import pipeline_name
from components.pipelines.ray_job import (
    ACCOUNT,
    LAUNCHER,
    LAUNCHERS,
    NAMESPACE,
    RUNS,
    SUBMITTERS,
    WORK,
    RunArgs,
    cron_job,
    labels_of,
    name_of,
    ray_job,
)
from components.pipelines.steps import steps_of
from components.ray import DASHBOARD, METRICS
from components.registry.kubernetes import NAMESPACE as REGISTRY
from components.workload import METRICS_NAMESPACE, Peer, Resources, egress

OPERATORS = "platform"
"""Namespace of KubeRay's operator, which asks heads how far their jobs are."""


@dataclass(frozen=True, kw_only=True)
class KubernetesPipelinesArgs:
    """What pipelines are made with.

    Attributes:
        cloud: the environment.
        models: the models.
        image: training image by digest.
        size: what a run may have.
        pool: pool that runs are in.
        max_hours: bound of an attempt.
        store: place in a bucket below which each run has a folder of its own, `s3://bucket/prefix`.
        tracking: address of MLflow inside the cluster.
        username: user name that goes with its password.
        environment: variables of all steps, such as those of the feature store and of signing; no secrets.
    """

    cloud: Cloud
    models: Sequence[Model]
    image: str
    size: Resources
    pool: NodePoolArgs
    max_hours: float
    store: str
    tracking: Input[str]
    username: str
    environment: Mapping[str, str] = field(default_factory=dict)


class KubernetesPipelines(StandingPipelines):
    """The pipelines of an environment's models. The role of its service account must be bound before a run starts."""

    def __init__(self, name: str, args: KubernetesPipelinesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:pipelines:KubernetesPipelines", name, opts)
        self._args = args
        core.v1.ServiceAccount(
            ACCOUNT,
            metadata={"name": ACCOUNT, "namespace": NAMESPACE, "labels": dict(RUNS)},
            automount_service_account_token=False,
            opts=self.child(),
        )
        ready = [self._launcher(), *self._guards()]
        self.register(runs={model.name: self._model(model, ready) for model in args.models})

    def _model(self, model: Model, ready: Sequence[pulumi.Resource]) -> str:
        args, called = self._args, name_of(model.name)
        run = RunArgs(
            image=args.image,
            size=args.size,
            pool=args.pool,
            max_hours=args.max_hours,
            store=f"{args.store}/{pipeline_name(args.cloud, model)}",
            environment={
                **args.environment,
                # boto3 knows the region by this name only.
                "AWS_DEFAULT_REGION": args.cloud.region,
                "MLFLOW_TRACKING_URI": args.tracking,
                "MLFLOW_TRACKING_USERNAME": args.username,
            },
        )
        template = apiextensions.CustomResource(
            model.name,
            api_version="ray.io/v1",
            kind="RayJob",
            metadata={"name": called, "namespace": NAMESPACE, "labels": labels_of(model.name, RUNS)},
            spec=ray_job(run, model, steps_of(args.cloud.project, model, WORK, {}, {})),
            opts=self.child(depends_on=ready),
        )
        try:
            specification = cron_job(run, model)
        except ValueError as error:
            raise pulumi.RunError(f"models.{model.name}.schedule: {error}") from None
        batch.v1.CronJob(
            model.name,
            metadata={"name": called, "namespace": NAMESPACE, "labels": labels_of(model.name, LAUNCHERS)},
            spec=specification,
            opts=self.child(depends_on=[template]),
        )
        return called

    def _launcher(self) -> pulumi.Resource:
        """Who starts runs: copies RayJobs of this namespace, looks for others that go on, and watches its own."""
        meta = {"name": LAUNCHER, "namespace": NAMESPACE, "labels": dict(LAUNCHERS)}
        account = core.v1.ServiceAccount(
            LAUNCHER, metadata=meta, automount_service_account_token=False, opts=self.child()
        )
        role = rbac.v1.Role(
            LAUNCHER,
            metadata=meta,
            rules=[{"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["get", "list", "create"]}],
            opts=self.child(),
        )
        binding: pulumi.Resource = rbac.v1.RoleBinding(
            LAUNCHER,
            metadata=meta,
            role_ref={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": LAUNCHER},
            subjects=[{"kind": "ServiceAccount", "name": LAUNCHER, "namespace": NAMESPACE}],
            opts=self.child(depends_on=[account, role]),
        )
        return binding

    def _guards(self) -> list[pulumi.Resource]:
        """Who talks to whom."""
        runs = {"podSelector": {"matchLabels": dict(RUNS)}}
        submitters = {"podSelector": {"matchLabels": dict(SUBMITTERS)}}
        https = ("0.0.0.0/0", 443)
        return [
            self._policy(
                ACCOUNT,
                RUNS,
                [
                    {
                        "from": [submitters, Peer(namespace=OPERATORS).document()],
                        "ports": [{"port": DASHBOARD, "protocol": "TCP"}],
                    },
                    {
                        "from": [Peer(namespace=METRICS_NAMESPACE).document()],
                        "ports": [{"port": METRICS, "protocol": "TCP"}],
                    },
                ],
                # HTTPS: AWS, and where raw data comes from.
                [*egress([https], []), {"to": [Peer(namespace=REGISTRY).document()]}],
            ),
            self._policy(
                "training-submitter",
                SUBMITTERS,
                [],
                [*egress([], []), {"to": [runs], "ports": [{"port": DASHBOARD, "protocol": "TCP"}]}],
            ),
            # The API server, wherever its interfaces are.
            self._policy(LAUNCHER, LAUNCHERS, [], egress([https], [])),
        ]

    def _policy(
        self, name: str, pods: Mapping[str, str], ingress: Sequence[object], outgoing: Sequence[object]
    ) -> pulumi.Resource:
        made: pulumi.Resource = networking.v1.NetworkPolicy(
            name,
            metadata={"name": name, "namespace": NAMESPACE},
            spec={
                "podSelector": {"matchLabels": dict(pods)},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": list(ingress),
                "egress": list(outgoing),
            },
            opts=self.child(),
        )
        return made
