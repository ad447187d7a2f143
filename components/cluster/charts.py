"""The Helm charts of the platform, and where the definitions of their resources come from in a rehearsal.

One table, since a chart's definitions and the custom resources that we write have to fit each other: a test holds the
versions against those of `infra/engine/go/crds/go.mod`, by which every rehearsal judges our resources.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.helm.v3 import Release

INSTALL_SECONDS = 900
"""For so long an installation may take; the first pods wait for their images."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One chart.

    Attributes:
        name: its name, or its address where it comes from an OCI registry.
        version: the chart's version.
        repository: address of its repository; None for a chart in an OCI registry.
        module: Go module whose definitions (CRDs) it installs, for one that installs any that we use.
        operator: version of what it installs, where the chart counts its own.
    """

    name: str
    version: str
    repository: str | None = None
    module: str | None = None
    operator: str | None = None


CHARTS: Mapping[str, Chart] = {
    "karpenter-crd": Chart(
        name="oci://public.ecr.aws/karpenter/karpenter-crd",
        version="1.15.1",
        module="github.com/aws/karpenter-provider-aws",
    ),
    "karpenter": Chart(name="oci://public.ecr.aws/karpenter/karpenter", version="1.15.1"),
    "kuberay-operator": Chart(
        name="kuberay-operator",
        version="1.6.2",
        repository="https://ray-project.github.io/kuberay-helm/",
        module="github.com/ray-project/kuberay/ray-operator",
    ),
    "envoy-gateway": Chart(
        name="oci://docker.io/envoyproxy/gateway-helm",
        version="v1.7.0",
        module="github.com/envoyproxy/gateway",
    ),
    "external-secrets": Chart(
        name="external-secrets",
        version="1.3.2",
        repository="https://charts.external-secrets.io",
        module="github.com/external-secrets/external-secrets",
    ),
    "metrics-server": Chart(
        name="metrics-server", version="3.13.0", repository="https://kubernetes-sigs.github.io/metrics-server/"
    ),
    "kube-prometheus-stack": Chart(
        name="kube-prometheus-stack",
        version="77.14.0",
        repository="https://prometheus-community.github.io/helm-charts",
        module="github.com/prometheus-operator/prometheus-operator",
        operator="0.85.0",
    ),
    "runner-controller": Chart(
        name="oci://ghcr.io/actions/actions-runner-controller-charts/gha-runner-scale-set-controller", version="0.13.0"
    ),
    "runner": Chart(
        name="oci://ghcr.io/actions/actions-runner-controller-charts/gha-runner-scale-set", version="0.13.0"
    ),
}
"""By the name of the release."""
GATEWAY_API = "1.4.1"
"""Version of the Gateway API whose definitions the chart of Envoy Gateway brings. It brings the experimental ones;
rehearsals judge by the standard ones, so that nothing of ours depends on an experiment."""

SYSTEM_TOLERATIONS: Sequence[Mapping[str, str]] = ({"key": "CriticalAddonsOnly", "operator": "Exists"},)
"""What lets a pod onto the system nodes."""
SYSTEM_NODES: Mapping[str, str] = {"mlops/pool": "system"}
"""Label of the system nodes."""


def on_system_nodes() -> dict[str, Any]:
    """Values by which most charts put their pods onto the system nodes."""
    return {"tolerations": [dict(one) for one in SYSTEM_TOLERATIONS], "nodeSelector": dict(SYSTEM_NODES)}


def requests(cpu: str, memory: str) -> dict[str, Any]:
    """What a container asks for; memory is its limit too."""
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}


def release(
    name: str, namespace: str, values: Mapping[str, Any], opts: pulumi.ResourceOptions, *, skip_crds: bool = False
) -> Release:
    """Install a chart of the table.

    A failed installation is taken back at once (`atomic`), so that the next `up` finds none and tries it again,
    instead of meeting a release that is neither there nor absent.

    Args:
        name: key of the chart, and name of the release.
        namespace: where; it must be there.
        values: values of the chart.
        opts: options; what it waits for is stated there.
        skip_crds: whether another chart installs its definitions.
    """
    chart = CHARTS[name]
    return Release(
        name,
        name=name,
        chart=chart.name,
        version=chart.version,
        namespace=namespace,
        repository_opts={"repo": chart.repository} if chart.repository else None,
        values=dict(values),
        atomic=True,
        cleanup_on_fail=True,
        max_history=5,
        timeout=INSTALL_SECONDS,
        skip_crds=skip_crds,
        opts=opts,
    )
