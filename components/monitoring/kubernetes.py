"""Monitoring on Kubernetes: the Prometheus stack's chart, what it watches, the platform's rules, and dashboards.

Jobs have the names that the rules know from every target, so that one set of rules does for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import yaml
from pulumi import Input, Output
from pulumi_kubernetes import apiextensions, core, networking

from components.cluster.charts import on_system_nodes, release, requests
from components.component import Component
from components.monitoring import rule_files
from components.monitoring.dashboards import files
from components.sizes import PROMETHEUS

NAMESPACE, RELEASE = "monitoring", "kube-prometheus-stack"
ALERTMANAGER = "alertmanager"
"""Service account of Alertmanager, which its role is given to."""
GRAFANA_SECRET = "grafana-admin"  # noqa: S105 - the name of one
MONITORING_API = "monitoring.coreos.com/v1"
SERVERS: Mapping[str, tuple[str, str]] = {
    "control": ("serving", "control"),
    "feature-store": ("feature-store", "feature-store"),
    "registry": ("registry", "registry"),
}
"""Servers behind a service: namespace and name, by their job."""
PODS: Mapping[str, str] = {"ray": "metrics", "haproxy": "proxy-metrics"}
"""Metrics pages of the pods of Ray clusters: name of the port, by job."""
RAY_NAMESPACES = ("serving", "training")
CALLS = (443, 6443, 9100, 10250)
"""Ports of the nodes and of the API server that Prometheus, its operator and kube-state-metrics ask."""


@dataclass(frozen=True, kw_only=True)
class StackArgs:
    """What the stack is made with.

    Attributes:
        region: region of the topic.
        alarm_topic: ARN of the topic that alerts go to.
        retention_days: how long metrics are kept.
        scrape_seconds: time between two scrapes.
        storage_gib: disk of Prometheus.
        storage_class: class of that disk.
    """

    region: str
    alarm_topic: Input[str]
    retention_days: int
    scrape_seconds: int
    storage_gib: int
    storage_class: str


class MonitoringStack(Component):
    """The chart, and the objects that tell it what to do."""

    url: Output[str]
    """Address of Prometheus inside the cluster."""
    dashboards_url: Output[str]
    """Address of Grafana inside the cluster."""

    def __init__(self, name: str, args: StackArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:monitoring:MonitoringStack", name, opts)
        opened = self._reach()
        chart = release(RELEASE, NAMESPACE, values(args), self.child(depends_on=[opened]))
        after = self.child(depends_on=[chart])
        for job, (namespace, server) in SERVERS.items():
            self._object(
                job,
                "ServiceMonitor",
                {
                    "namespaceSelector": {"matchNames": [namespace]},
                    "selector": {"matchLabels": {"app.kubernetes.io/name": server}},
                    "endpoints": [{"port": "http", "path": "/metrics", "relabelings": [_job(job)]}],
                },
                after,
            )
        for job, port in PODS.items():
            self._object(
                job,
                "PodMonitor",
                {
                    "namespaceSelector": {"matchNames": list(RAY_NAMESPACES)},
                    "selector": {"matchExpressions": [{"key": "ray.io/cluster", "operator": "Exists"}]},
                    "podMetricsEndpoints": [{"port": port, "path": "/metrics", "relabelings": [_job(job)]}],
                },
                after,
            )
        for file, text in rule_files().items():
            self._object(file.removesuffix(".yaml"), "PrometheusRule", yaml.safe_load(text), after)
        for file, text in files().items():
            called = f"dashboard-{file.removesuffix('.json')}"
            core.v1.ConfigMap(
                called,
                metadata={"name": called, "namespace": NAMESPACE, "labels": {"grafana_dashboard": "1"}},
                data={file: text},
                opts=after,
            )
        self.register(
            url=f"http://{RELEASE}-prometheus.{NAMESPACE}.svc:9090",
            dashboards_url=f"http://{RELEASE}-grafana.{NAMESPACE}.svc",
        )

    def _object(self, name: str, kind: str, spec: Mapping[str, Any], opts: pulumi.ResourceOptions) -> None:
        apiextensions.CustomResource(
            f"{kind.lower()}-{name}",
            api_version=MONITORING_API,
            kind=kind,
            metadata={"name": f"mlops-{name}", "namespace": NAMESPACE},
            spec=spec,
            opts=opts,
        )

    def _reach(self) -> pulumi.Resource:
        """Prometheus asks pods everywhere, and nodes; nobody from outside asks it, but for the API server's webhook."""
        everywhere: Sequence[Mapping[str, Any]] = [{"namespaceSelector": {}}]
        nodes = {
            "to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}],
            "ports": [{"port": port, "protocol": "TCP"} for port in CALLS],
        }
        webhook = {"ports": [{"port": 10250, "protocol": "TCP"}]}
        made: pulumi.Resource = networking.v1.NetworkPolicy(
            "monitoring",
            metadata={"name": "monitoring", "namespace": NAMESPACE},
            spec={
                "podSelector": {},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": [{"podSelector": {}}]}, webhook],
                "egress": [{"to": everywhere}, nodes],
            },
            opts=self.child(),
        )
        return made


def _job(name: str) -> dict[str, str]:
    return {"targetLabel": "job", "replacement": name}


def values(args: StackArgs) -> dict[str, Any]:
    """Values of the chart."""
    system = on_system_nodes()
    every = {f"{kind}SelectorNilUsesHelmValues": False for kind in ("rule", "serviceMonitor", "podMonitor", "probe")}
    return {
        # Rules of the control plane that EKS does not show would only ever fire.
        "kubeControllerManager": {"enabled": False},
        "kubeScheduler": {"enabled": False},
        "kubeEtcd": {"enabled": False},
        "kubeProxy": {"enabled": False},
        "prometheusOperator": {"resources": requests("100m", "256Mi"), **system},
        "kube-state-metrics": {"resources": requests("100m", "256Mi"), **system},
        "prometheus-node-exporter": {"resources": requests("50m", "64Mi")},
        "prometheus": {
            "prometheusSpec": {
                **every,
                "retention": f"{args.retention_days}d",
                "retentionSize": f"{round(args.storage_gib * 0.9)}GB",
                "scrapeInterval": f"{args.scrape_seconds}s",
                "evaluationInterval": f"{args.scrape_seconds}s",
                "resources": requests(f"{PROMETHEUS.cpus:g}", f"{PROMETHEUS.memory_mib:g}Mi"),
                "storageSpec": {
                    "volumeClaimTemplate": {
                        "spec": {
                            "storageClassName": args.storage_class,
                            "accessModes": ["ReadWriteOnce"],
                            "resources": {"requests": {"storage": f"{args.storage_gib}Gi"}},
                        }
                    }
                },
            }
        },
        "alertmanager": {
            "serviceAccount": {"create": True, "name": ALERTMANAGER},
            "alertmanagerSpec": {"resources": requests("50m", "128Mi")},
            "config": {
                "route": {
                    "receiver": "alarms",
                    "group_by": ["alertname", "model"],
                    # What always fires, to show that alerting works, is nobody's mail.
                    "routes": [{"receiver": "none", "matchers": ['alertname =~ "Watchdog|InfoInhibitor"']}],
                },
                "receivers": [
                    {"name": "none"},
                    {
                        "name": "alarms",
                        "sns_configs": [
                            {
                                "topic_arn": args.alarm_topic,
                                "sigv4": {"region": args.region},
                                "subject": "{{ .CommonLabels.severity }}: {{ .CommonLabels.alertname }}",
                            }
                        ],
                    },
                ],
            },
        },
        "grafana": {
            "admin": {
                "existingSecret": GRAFANA_SECRET,
                "userKey": "user",
                "passwordKey": "password",
            },
            "sidecar": {"dashboards": {"label": "grafana_dashboard", "labelValue": "1"}},
            "resources": requests("100m", "256Mi"),
        },
    }
