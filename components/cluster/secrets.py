"""External Secrets: copies secrets from Secrets Manager into namespaces.

Its pods get their cloud role when they are admitted (EKS Pod Identity), so that the association of its service account
has to be there before them: state what makes it in `depends_on`.
"""

from __future__ import annotations

import pulumi

from components.cluster.charts import on_system_nodes, release, requests
from components.component import Component

NAMESPACE, ACCOUNT = "platform", "external-secrets"
"""Where it runs, and its service account."""


class ExternalSecrets(Component):
    """The operator, with the definitions of its resources."""

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:cluster:ExternalSecrets", name, opts)
        system, small = on_system_nodes(), requests("100m", "256Mi")
        release(
            "external-secrets",
            NAMESPACE,
            {
                "installCRDs": True,
                "replicaCount": 2,
                "leaderElect": True,
                "serviceAccount": {"name": ACCOUNT},
                "resources": small,
                "webhook": {"resources": small, **system},
                "certController": {"resources": small, **system},
                **system,
            },
            self.child(),
        )
        self.register()
