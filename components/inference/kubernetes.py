"""Inference on Kubernetes: the rollout controller, the RayService with its network policy and budget, and the gateway.

No secret is in a ConfigMap or an annotation: configuration names the files that secrets are mounted as.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi import Input, Output
from pulumi_kubernetes import apiextensions, core, networking
from pulumi_kubernetes import policy as disruption

from components.cluster.service_access import ServiceAccess, releasing
from components.inference import Inference, InferenceArgs, secret_file
from components.inference.documents import ControlPlace, ServingPlace, control_document, serving_document
from components.inference.gateway import PROXIES, Callers, Gateway, GatewayArgs
from components.inference.ray_service import (
    LABELS,
    NAME,
    NAMESPACE,
    PORT,
    PROXY_METRICS,
    SIGNERS,
    STATE,
    RayServiceArgs,
    WorkerGroup,
    secret_path,
    specification,
)
from components.ray import DASHBOARD, METRICS
from components.workload import METRICS_NAMESPACE, Peer, Resources, Workload, WorkloadArgs, egress

CONTROL, CONTROL_PORT = "control", 8090
INNER = "inference-upgrade"
"""Class of the gateway that KubeRay makes, and name of its service."""
REHEARSAL = "rehearsal"
"""Trust root of the shipped examples, see `policies.releases.keys`."""
CALLS = ("registry", "feature-store")
"""Namespaces whose servers replicas ask."""
_MOUNTED = ("control-admin", "control-replica", "database-url", "ledger-key", "snapshot-key")


@dataclass(frozen=True, kw_only=True)
class ServingSection:
    """Serving as the settings state it.

    Attributes:
        host: host name of predictions.
        certificate_secret: secret in Secrets Manager that holds its certificate and key.
        callers: who may ask for predictions.
        models: names of the models.
        requests_per_second: rate limit of one caller.
        internet: whether predictions can be asked for from the internet.
        head: what the head's pod may have.
        workers: groups of workers.
        control: what the controller may have.
        upgrade_step: share of the traffic that one step of an upgrade moves, per cent.
        upgrade_seconds: seconds between two steps.
        trust_root: name of the trust root that the signers are.
        approval: whether a version that passed its evaluation may start, or people must have approved it.
        signers: allowed signers, the text of the file; empty where nobody is trusted.
    """

    host: str
    certificate_secret: str
    callers: Callers
    models: Sequence[str]
    requests_per_second: int
    internet: bool
    head: Resources
    workers: Sequence[WorkerGroup]
    control: Resources
    upgrade_step: int
    upgrade_seconds: int
    trust_root: str
    approval: str
    signers: str


@dataclass(frozen=True, kw_only=True)
class KubernetesInferenceArgs(InferenceArgs):
    """What inference on Kubernetes needs besides.

    Attributes:
        section: the settings.
        environment: name of the environment.
        image: serving image by digest.
        network_cidr: block of the network, where the database is.
        control_cidrs: blocks of the API server's interfaces, through whose proxy the controller is reached.
        token: bearer token that replicas ask for.
        control_token: the controller's admin token.
        checkpoint_store: object store of the ledger's checkpoints; see `serving.control.checkpoint_store`.
        capture_store: object store that captures are put into; see `serving.capture_store`.
        drift_store: object store that alarms of drift are put into; see `serving.control.drift`.
    """

    section: ServingSection
    environment: str
    image: Input[str]
    network_cidr: str
    control_cidrs: Sequence[str]
    token: Input[str]
    control_token: Input[str]
    checkpoint_store: str
    capture_store: str | None = None
    drift_store: str | None = None


class KubernetesInference(Inference):
    """A RayService behind a gateway, and the controller of its releases."""

    def __init__(self, name: str, args: KubernetesInferenceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:inference:KubernetesInference", name, opts)
        section = args.section
        control = self._control(args)
        account = core.v1.ServiceAccount(
            NAME,
            metadata={"name": NAME, "namespace": NAMESPACE, "labels": dict(LABELS)},
            automount_service_account_token=False,
            opts=self.child(),
        )
        guards = [account, *self._guards()]
        gateway = Gateway(
            "gateway",
            GatewayArgs(
                host=section.host,
                tls_secret="predict-tls",  # noqa: S106 - the name of one
                credential_secret="predict-credential",  # noqa: S106 - the name of one
                callers=section.callers,
                models=section.models,
                requests_per_second=section.requests_per_second,
                request_seconds=args.limits.request_seconds,
                internet=section.internet,
                inner_class=INNER,
            ),
            self.child(),
        )
        apiextensions.CustomResource(
            NAME,
            api_version="ray.io/v1",
            kind="RayService",
            metadata={
                "name": NAME,
                "namespace": NAMESPACE,
                "labels": dict(LABELS),
                # KubeRay's operator writes group sizes into the specification as it scales.
                "annotations": {"pulumi.com/patchForce": "true"},
            },
            spec=specification(
                RayServiceArgs(
                    image=args.image,
                    head=section.head,
                    workers=section.workers,
                    groups=args.groups,
                    document=Output.json_dumps(serving_document(args, self._places(args, control))),
                    signers=section.signers,
                    gateway_class=INNER,
                    upgrade_step=section.upgrade_step,
                    upgrade_seconds=section.upgrade_seconds,
                )
            ),
            opts=self.child(depends_on=[*guards, gateway.inner]),
        )
        self.register(
            url=f"https://{section.host}",
            token=Output.secret(args.token),
            control_url=control,
            control_token=Output.secret(args.control_token),
            control_targets=[f"{CONTROL}.{NAMESPACE}.svc:{CONTROL_PORT}"],
            # Found by their labels: pods come and go.
            proxy_targets=[],
        )

    def _places(self, args: KubernetesInferenceArgs, control: Output[str]) -> ServingPlace:
        return ServingPlace(
            ray={"address": "auto"},
            http={"host": "0.0.0.0", "port": PORT},  # noqa: S104 - of the pod
            control_url=control,
            replica_token=secret_file(secret_path("control-replica")),
            inference_token=secret_file(secret_path("inference-token")),
            snapshot=f"{STATE}/snapshot.json",
            snapshot_key=secret_file(secret_path("snapshot-key")),
            model_cache=f"{STATE}/models",
            captures=f"{STATE}/captures",
            capture_store=args.capture_store,
            trust={"signature": "required", "roots": self._roots(args), **self._rehearsal(args)},
            groups_declared=True,
        )

    @staticmethod
    def _roots(args: KubernetesInferenceArgs) -> list[dict[str, str]]:
        """The environment's trust root; none without signers, and then no artifact is loaded."""
        return [{"name": args.section.trust_root, "path": SIGNERS}] if args.section.signers else []

    @staticmethod
    def _rehearsal(args: KubernetesInferenceArgs) -> dict[str, bool]:
        """Says that the environment is a rehearsal, where its trust root is that of the shipped examples."""
        return {"rehearsal": True} if args.section.trust_root == REHEARSAL else {}

    def _control(self, args: KubernetesInferenceArgs) -> Output[str]:
        place = ControlPlace(
            host="0.0.0.0",  # noqa: S104 - of the pod
            port=CONTROL_PORT,
            database=secret_file(secret_path("database-url")),
            snapshot=f"{STATE}/snapshot.json",
            snapshot_key=secret_file(secret_path("snapshot-key")),
            admin_token=secret_file(secret_path("control-admin")),
            replica_token=secret_file(secret_path("control-replica")),
            environment=args.environment,
            captures={"store": args.capture_store} if args.capture_store else None,
            # The disk ends with the pod: checkpoints only wait there, and the key stands in a secret.
            ledger={
                "checkpoints": f"{STATE}/checkpoints",
                "store": args.checkpoint_store,
                "secret": secret_file(secret_path("ledger-key")),
            },
            trust={
                "approval": args.section.approval,
                "signature": "required",
                "trustRoots": self._roots(args),
                **self._rehearsal(args),
            },
            drift_store=args.drift_store,
        )
        files: dict[str, Input[str]] = {"/etc/mlops/control.json": Output.json_dumps(control_document(args, place))}
        if args.section.signers:
            files[SIGNERS] = args.section.signers
        made = Workload(
            CONTROL,
            WorkloadArgs(
                namespace=NAMESPACE,
                image=args.image,
                command=["python", "-m", "serving.control", "--config", "/etc/mlops/control.json"],
                port=CONTROL_PORT,
                # One writes at a time, under a lease; predictions do not wait for it.
                replicas=1,
                single=True,
                resources=args.section.control,
                health="/v1/health",
                files=files,
                secret_files={secret_path(name).rpartition("/")[0]: name for name in _MOUNTED},
                scratch=("/tmp", STATE),  # noqa: S108 - folders of the pod's own
                callers=[Peer(namespace=NAMESPACE, labels=LABELS)],
                caller_blocks=args.control_cidrs,
                calls=[(args.network_cidr, 5432), ("0.0.0.0/0", 443)],
            ),
            self.child(),
        )
        access = self.child()
        # Environments made before know it by this type; another URN would take the right away after giving it.
        access.aliases = [pulumi.Alias(type_="mlops:inference:ReleaseAccess")]
        ServiceAccess("release-access", releasing(NAMESPACE, CONTROL, CONTROL_PORT), access)
        return made.url

    def _guards(self) -> list[pulumi.Resource]:
        """Who talks to whom, and how many workers a drained node may take at once."""
        ours = {"podSelector": {"matchLabels": dict(LABELS)}}
        operators = {"from": [Peer(namespace=PROXIES).document()]}
        watchers = {"from": [Peer(namespace=METRICS_NAMESPACE).document()]}
        talks = networking.v1.NetworkPolicy(
            NAME,
            metadata={"name": NAME, "namespace": NAMESPACE},
            spec={
                "podSelector": {"matchLabels": dict(LABELS)},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [
                    {"from": [ours]},
                    {**operators, "ports": [{"port": port, "protocol": "TCP"} for port in (PORT, DASHBOARD)]},
                    {**watchers, "ports": [{"port": port, "protocol": "TCP"} for port in (METRICS, PROXY_METRICS)]},
                ],
                "egress": [
                    # HTTPS: the API server for the autoscaler, and AWS.
                    *egress(
                        [("0.0.0.0/0", 443)],
                        [(Peer(namespace=NAMESPACE, labels={"app.kubernetes.io/name": CONTROL}), CONTROL_PORT)],
                    ),
                    {"to": [ours]},
                    {"to": [Peer(namespace=space).document() for space in CALLS]},
                ],
            },
            opts=self.child(),
        )
        budget = disruption.v1.PodDisruptionBudget(
            NAME,
            metadata={"name": NAME, "namespace": NAMESPACE},
            spec={
                "maxUnavailable": 1,
                "selector": {"matchLabels": {**LABELS, "ray.io/node-type": "worker"}},
            },
            opts=self.child(),
        )
        return [talks, budget]
