"""A runner of the CI inside the network, from where a private API server is reachable.

It registers at its repository or organisation with a token from Secrets Manager, starts one pod for each job, and
keeps nothing between jobs. What a job may do in AWS it gets as it would anywhere else: by the CI's own OIDC roles.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_kubernetes import networking
from pulumi_kubernetes.apiextensions import CustomResource

from components.cloud import Cloud
from components.cluster.charts import on_system_nodes, release, requests
from components.component import Component
from components.workload import egress, security_context

NAMESPACE, CONTROLLER_NAMESPACE = "runner", "platform"
CONTROLLER_ACCOUNT = "runner-controller-gha-rs-controller"
"""Service account that the controller's chart makes for a release of our name."""
SECRET = "registration"  # noqa: S105 - the name of a secret
TOKEN = "runner-token"  # noqa: S105 - the name of a secret
"""Purpose of the secret in Secrets Manager with the token by which it registers. A person puts it there."""
MOST_JOBS = 4
"""Jobs at a time."""


@dataclass(frozen=True, kw_only=True)
class RunnerArgs:
    """What it is made with.

    Attributes:
        cloud: the environment.
        url: repository or organisation that it registers at.
        image: image of its jobs, by digest.
    """

    cloud: Cloud
    url: str
    image: str


class Runner(Component):
    """A CI runner."""

    def __init__(self, name: str, args: RunnerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:cluster:Runner", name, opts)
        reaches = networking.v1.NetworkPolicy(
            name,
            metadata={"name": "reaches", "namespace": NAMESPACE},
            spec={
                "podSelector": {},
                "policyTypes": ["Egress"],
                # Its job is to reach the API server, AWS, and the repository: HTTPS, to wherever they are.
                "egress": egress([("0.0.0.0/0", 443)], []),
            },
            opts=self.child(),
        )
        store = CustomResource(
            f"{name}-store",
            api_version="external-secrets.io/v1",
            kind="SecretStore",
            metadata={"name": "runner", "namespace": NAMESPACE},
            spec={"provider": {"aws": {"service": "SecretsManager", "region": args.cloud.region}}},
            opts=self.child(),
        )
        token = CustomResource(
            f"{name}-token",
            api_version="external-secrets.io/v1",
            kind="ExternalSecret",
            metadata={"name": SECRET, "namespace": NAMESPACE},
            spec={
                "refreshInterval": "1h",
                "secretStoreRef": {"kind": "SecretStore", "name": "runner"},
                "target": {"name": SECRET, "creationPolicy": "Owner"},
                "data": [{"secretKey": "github_token", "remoteRef": {"key": args.cloud.names.path("secret", TOKEN)}}],
            },
            opts=self.child(depends_on=[store]),
        )
        controller = release(
            "runner-controller",
            CONTROLLER_NAMESPACE,
            {"replicaCount": 1, "resources": requests("100m", "256Mi"), **on_system_nodes()},
            self.child(depends_on=[reaches]),
        )
        release(
            "runner",
            NAMESPACE,
            {
                "githubConfigUrl": args.url,
                "githubConfigSecret": SECRET,
                "controllerServiceAccount": {"namespace": CONTROLLER_NAMESPACE, "name": CONTROLLER_ACCOUNT},
                "minRunners": 0,
                "maxRunners": MOST_JOBS,
                "template": {
                    "spec": {
                        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                        "containers": [
                            {
                                "name": "runner",
                                "image": args.image,
                                "command": ["/home/runner/run.sh"],
                                "resources": requests("1", "4Gi"),
                                # A job writes its files beside the runner's own; the image's user is 1001.
                                "securityContext": {
                                    **security_context(),
                                    "readOnlyRootFilesystem": False,
                                    "runAsUser": 1001,
                                    "runAsGroup": 1001,
                                },
                            }
                        ],
                    }
                },
            },
            self.child(depends_on=[controller, token]),
        )
        self.register()
