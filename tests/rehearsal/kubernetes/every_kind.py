"""A program with one object of every kind that the project's components make on Kubernetes."""

import json
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.helm.v3 import Release

LABELS = {"app.kubernetes.io/name": "models"}
POD = {
    "security_context": {"run_as_non_root": True, "seccomp_profile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "main",
            "image": "registry.example/models@sha256:" + "0" * 64,
            "resources": {"requests": {"cpu": "1000m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}},
            "security_context": {"allow_privilege_escalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
}
RAY_POD = {
    "spec": {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "ray",
                "image": "registry.example/serving@sha256:" + "0" * 64,
                "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    }
}
RAY_CLUSTER = {
    "rayVersion": "2.60.0",
    "headGroupSpec": {"rayStartParams": {}, "template": RAY_POD},
    "workerGroupSpecs": [
        {
            "groupName": "cpu",
            "minReplicas": 1,
            "replicas": 1,
            "maxReplicas": 3,
            "rayStartParams": {},
            "template": RAY_POD,
        }
    ],
}
SERVE = "applications:\n  - {name: models, route_prefix: /v2, import_path: 'serving.application:build'}\n"


def provider(kubeconfig: dict[str, Any], **options: Any) -> k8s.Provider:
    return k8s.Provider("kubernetes", kubeconfig=json.dumps(kubeconfig), enable_server_side_apply=True, **options)


def program(kubeconfig: dict[str, Any], *, replicas: int = 2) -> None:
    """Declare everything; `replicas` is what an update changes."""
    made = provider(kubeconfig)
    outside = pulumi.ResourceOptions(provider=made)
    namespace = k8s.core.v1.Namespace(
        "models",
        metadata={"name": "models", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        opts=outside,
    )
    inside = pulumi.ResourceOptions(provider=made, depends_on=[namespace])
    place = {"namespace": namespace.metadata.name, "labels": LABELS}

    k8s.core.v1.ServiceAccount("account", metadata=place, opts=inside)
    k8s.core.v1.ConfigMap("settings", metadata=place, data={"a.yaml": "b: 1\n"}, opts=inside)
    k8s.core.v1.Secret(
        "secret", metadata=place, string_data={"password": pulumi.Output.secret("hush-hush")}, opts=inside
    )
    k8s.core.v1.Service(
        "service", metadata=place, spec={"selector": LABELS, "ports": [{"name": "http", "port": 80}]}, opts=inside
    )
    k8s.core.v1.ResourceQuota(
        "quota", metadata=place, spec={"hard": {"requests.memory": "100Gi", "count/services": "5"}}, opts=inside
    )
    k8s.core.v1.LimitRange(
        "limits",
        metadata=place,
        spec={"limits": [{"type": "Container", "default_request": {"cpu": "100m", "memory": "64Mi"}}]},
        opts=inside,
    )
    template = {"metadata": {"labels": LABELS}, "spec": POD}
    k8s.apps.v1.Deployment(
        "deployment",
        metadata={**place, "name": "gateway"},
        spec={"replicas": replicas, "selector": {"match_labels": LABELS}, "template": template},
        opts=inside,
    )
    k8s.apps.v1.StatefulSet(
        "stateful",
        metadata=place,
        spec={"service_name": "s", "selector": {"match_labels": LABELS}, "template": template},
        opts=inside,
    )
    once = {"metadata": {"labels": LABELS}, "spec": {**POD, "restart_policy": "Never"}}
    k8s.batch.v1.Job("job", metadata=place, spec={"template": once}, opts=inside)
    k8s.batch.v1.CronJob(
        "cron",
        metadata=place,
        spec={"schedule": "0 3 * * *", "job_template": {"spec": {"template": once}}},
        opts=inside,
    )
    k8s.policy.v1.PodDisruptionBudget(
        "budget", metadata=place, spec={"min_available": 1, "selector": {"match_labels": LABELS}}, opts=inside
    )
    k8s.networking.v1.NetworkPolicy(
        "closed", metadata=place, spec={"pod_selector": {}, "policy_types": ["Ingress", "Egress"]}, opts=inside
    )
    rules = [{"api_groups": [""], "resources": ["pods"], "verbs": ["get"]}]
    role = k8s.rbac.v1.Role("role", metadata=place, rules=rules, opts=inside)
    cluster_role = k8s.rbac.v1.ClusterRole("cluster-role", rules=rules, opts=outside)
    subject = {"kind": "ServiceAccount", "name": "account", "namespace": "models"}
    group = "rbac.authorization.k8s.io"
    k8s.rbac.v1.RoleBinding(
        "binding",
        metadata=place,
        role_ref={"api_group": group, "kind": "Role", "name": role.metadata.name},
        subjects=[subject],
        opts=inside,
    )
    k8s.rbac.v1.ClusterRoleBinding(
        "cluster-binding",
        role_ref={"api_group": group, "kind": "ClusterRole", "name": cluster_role.metadata.name},
        subjects=[subject],
        opts=outside,
    )
    k8s.storage.v1.StorageClass("fast", provisioner="ebs.csi.aws.com", parameters={"type": "gp3"}, opts=outside)
    Release(
        "karpenter",
        chart="karpenter",
        version="1.15.1",
        namespace="kube-system",
        repository_opts={"repo": "https://charts.example.com"},
        values={"replicas": 2},
        opts=outside,
    )

    def custom(label: str, api_version: str, kind: str, spec: dict[str, Any], **metadata: Any) -> None:
        CustomResource(label, api_version=api_version, kind=kind, metadata=metadata, spec=spec, opts=inside)

    custom(
        "ray-service",
        "ray.io/v1",
        "RayService",
        {"serveConfigV2": SERVE, "rayClusterConfig": RAY_CLUSTER},
        **place,
        annotations={"pulumi.com/patchForce": "true"},
    )
    custom("ray-cluster", "ray.io/v1", "RayCluster", RAY_CLUSTER, **place)
    custom("ray-job", "ray.io/v1", "RayJob", {"entrypoint": "python -m x", "rayClusterSpec": RAY_CLUSTER}, **place)
    custom(
        "pool",
        "karpenter.sh/v1",
        "NodePool",
        {
            "template": {
                "spec": {
                    "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "cpu"},
                    "requirements": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}],
                }
            },
            "limits": {"cpu": "100"},
        },
    )
    custom(
        "node-class",
        "karpenter.k8s.aws/v1",
        "EC2NodeClass",
        {
            "role": "nodes",
            "amiSelectorTerms": [{"alias": "bottlerocket@v1.50.0"}],
            "subnetSelectorTerms": [{"tags": {"discovery": "prod"}}],
            "securityGroupSelectorTerms": [{"tags": {"discovery": "prod"}}],
        },
        name="cpu",
    )
    gateways = "gateway.networking.k8s.io/v1"
    controller = "gateway.envoyproxy.io/gatewayclass-controller"
    custom("gateway-class", gateways, "GatewayClass", {"controllerName": controller}, name="envoy")
    listener = {"name": "http", "port": 80, "protocol": "HTTP"}
    custom(
        "gateway", gateways, "Gateway", {"gatewayClassName": "envoy", "listeners": [listener]}, **place, name="front"
    )
    backend = {"name": "models", "port": 8000}
    custom(
        "route",
        gateways,
        "HTTPRoute",
        {"parentRefs": [{"name": "front"}], "rules": [{"backendRefs": [backend]}]},
        **place,
        name="models",
    )
    target = [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "models"}]
    issuer = {"name": "own", "issuer": "https://issuer.example", "remoteJWKS": {"uri": "https://issuer.example/keys"}}
    envoy = "gateway.envoyproxy.io/v1alpha1"
    custom("jwt", envoy, "SecurityPolicy", {"targetRefs": target, "jwt": {"providers": [issuer]}}, **place)
    limit = {"clientSelectors": [], "limit": {"requests": 100, "unit": "Second"}}
    custom(
        "rate",
        envoy,
        "BackendTrafficPolicy",
        {"targetRefs": target, "rateLimit": {"type": "Local", "local": {"rules": [limit]}}},
        **place,
    )
    monitoring = "monitoring.coreos.com/v1"
    selector = {"matchLabels": LABELS}
    custom(
        "service-monitor",
        monitoring,
        "ServiceMonitor",
        {"selector": selector, "endpoints": [{"port": "http"}]},
        **place,
    )
    custom(
        "pod-monitor", monitoring, "PodMonitor", {"selector": selector, "podMetricsEndpoints": [{"port": "m"}]}, **place
    )
    alert = {"alert": "Down", "expr": "up == 0", "for": "5m", "labels": {"severity": "page"}}
    custom("rules", monitoring, "PrometheusRule", {"groups": [{"name": "g", "rules": [alert]}]}, **place)
    secrets = "external-secrets.io/v1"
    manager = {"aws": {"service": "SecretsManager", "region": "eu-west-1"}}
    custom("store", secrets, "SecretStore", {"provider": manager}, **place, name="aws")
    custom(
        "external",
        secrets,
        "ExternalSecret",
        {
            "secretStoreRef": {"kind": "SecretStore", "name": "aws"},
            "target": {"name": "database"},
            "data": [{"secretKey": "password", "remoteRef": {"key": "prod/database"}}],
        },
        **place,
    )
    pulumi.export("name", k8s.core.v1.ConfigMap("autonamed", data={"a": "b"}, opts=outside).metadata.name)
