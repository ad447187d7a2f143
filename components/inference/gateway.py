"""The way to predictions from outside: TLS, who may ask which model, how often, and for how long.

Two gateways lie behind each other. The outer one is ours. The inner one is KubeRay's, which makes it and its route, and
shifts weights there between two clusters during an upgrade; it has a fixed service name inside the cluster, so that
our routes can name it. Each model has a route of its own, since a token is judged by route: one that lists `flight` in
its claim opens `/v2/models/flight` and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes import apiextensions, networking

from components.component import Component
from components.inference.ray_service import NAME, NAMESPACE

GATEWAYS = "gateway.networking.k8s.io/v1"
ENVOY = "gateway.envoyproxy.io/v1alpha1"
PROXIES = "platform"
"""Namespace of Envoy Gateway, where it runs the proxies of all gateways."""
CALLER = "x-mlops-caller"
"""Header that carries the token's subject from the check of the token to the rate limit."""
OPEN_PATHS = ("/v2", "/v2/health/live", "/v2/health/ready")
"""What any valid token may ask besides its models; exact, so that nothing of a model lies below."""
REPLICAS = 2
_PORT = 80
_LISTENERS = (10080, 10443)
"""Ports of Envoy's containers for the listeners at 80 and 443."""


@dataclass(frozen=True, kw_only=True)
class Callers:
    """Whose tokens are accepted: issuer, address of its keys (JWKS), audience, and the claim that lists models."""

    issuer: str
    keys: str
    audience: str
    models_claim: str


@dataclass(frozen=True, kw_only=True)
class GatewayArgs:
    """What the gateway is made with.

    Attributes:
        host: host name of predictions.
        tls_secret: Kubernetes secret with its certificate and key.
        credential_secret: Kubernetes secret with what the servers ask for in `authorization`.
        callers: who may ask.
        models: names of the models.
        requests_per_second: rate limit of one caller.
        request_seconds: until when a request is answered.
        internet: whether it can be reached from the internet.
        inner_class: name of the class of KubeRay's gateway.
    """

    host: str
    tls_secret: str
    credential_secret: str
    callers: Callers
    models: Sequence[str]
    requests_per_second: int
    request_seconds: float
    internet: bool
    inner_class: str


class Gateway(Component):
    """The outer gateway, its routes and their policies, and the class of the inner one."""

    def __init__(self, name: str, args: GatewayArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:inference:Gateway", name, opts)
        self._args = args
        scheme = "internet-facing" if args.internet else "internal"
        balancer = {
            "service.beta.kubernetes.io/aws-load-balancer-type": "nlb",
            "service.beta.kubernetes.io/aws-load-balancer-scheme": scheme,
            "service.beta.kubernetes.io/aws-load-balancer-internal": str(not args.internet).lower(),
        }
        outer = self._class("predictions", {"type": "LoadBalancer", "annotations": balancer})
        self.inner = self._class(args.inner_class, {"type": "ClusterIP"})
        self._object(
            "predictions",
            GATEWAYS,
            "Gateway",
            {
                "gatewayClassName": "predictions",
                "listeners": [
                    {
                        "name": "https",
                        "port": 443,
                        "protocol": "HTTPS",
                        "hostname": args.host,
                        "tls": {"mode": "Terminate", "certificateRefs": [{"name": args.tls_secret}]},
                        "allowedRoutes": {"namespaces": {"from": "Same"}},
                    }
                ],
            },
            depends_on=[outer],
        )
        self._object(
            "credential",
            ENVOY,
            "HTTPRouteFilter",
            {
                "credentialInjection": {
                    "header": "authorization",
                    "overwrite": True,
                    "credential": {"valueRef": {"name": args.credential_secret}},
                }
            },
        )
        self._object(
            "routes-to-proxies",
            "gateway.networking.k8s.io/v1beta1",
            "ReferenceGrant",
            {
                "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": NAMESPACE}],
                "to": [{"group": "", "kind": "Service", "name": args.inner_class}],
            },
            namespace=PROXIES,
        )
        self._policies()
        for model in args.models:
            claim = {"name": args.callers.models_claim, "valueType": "StringArray", "values": [model]}
            path = {"type": "PathPrefix", "value": f"/v2/models/{model}"}
            self._route(f"model-{model}", [path], {"claims": [claim]})
        self._route("server", [{"type": "Exact", "value": path} for path in OPEN_PATHS], {})
        self.register()

    def _object(
        self,
        name: str,
        version: str,
        kind: str,
        spec: Mapping[str, Any],
        *,
        namespace: str = NAMESPACE,
        depends_on: Sequence[pulumi.Resource] = (),
    ) -> pulumi.Resource:
        made: pulumi.Resource = apiextensions.CustomResource(
            f"{kind.lower()}-{name}",
            api_version=version,
            kind=kind,
            metadata={"name": name} | ({"namespace": namespace} if namespace else {}),
            spec=spec,
            opts=self.child(depends_on=depends_on),
        )
        return made

    def _class(self, name: str, service: Mapping[str, Any]) -> pulumi.Resource:
        """A class of gateways, each with its own kind of service."""
        proxy = self._object(
            name,
            ENVOY,
            "EnvoyProxy",
            {
                "provider": {
                    "type": "Kubernetes",
                    "kubernetes": {
                        "envoyService": {"name": name, **service},
                        "envoyDeployment": {
                            "name": name,
                            "replicas": REPLICAS,
                            "container": {
                                "resources": {
                                    "requests": {"cpu": "250m", "memory": "256Mi"},
                                    "limits": {"memory": "512Mi"},
                                }
                            },
                        },
                        "envoyPDB": {"maxUnavailable": 1},
                    },
                }
            },
            namespace=PROXIES,
        )
        parameters = {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": name, "namespace": PROXIES}
        return self._object(
            name,
            GATEWAYS,
            "GatewayClass",
            {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller", "parametersRef": parameters},
            namespace="",
            depends_on=[proxy],
        )

    def _route(self, name: str, paths: Sequence[Mapping[str, str]], allowed: Mapping[str, Any]) -> None:
        """A route, and who may take it. Without the policy it would be open: the policy is made first."""
        args = self._args
        target = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": name}
        jwt = {
            "providers": [
                {
                    "name": "callers",
                    "issuer": args.callers.issuer,
                    "audiences": [args.callers.audience],
                    "remoteJWKS": {"uri": args.callers.keys},
                    "claimToHeaders": [{"claim": "sub", "header": CALLER}],
                }
            ]
        }
        # Without a claim to look at, the token itself is what is asked for.
        rules = [{"name": "model", "action": "Allow", "principal": {"jwt": {"provider": "callers", **allowed}}}]
        authorization = {"authorization": {"defaultAction": "Deny", "rules": rules}} if allowed else {}
        guard = self._object(name, ENVOY, "SecurityPolicy", {"targetRefs": [target], "jwt": jwt, **authorization})
        limits = self._object(
            name,
            ENVOY,
            "BackendTrafficPolicy",
            {
                "targetRefs": [target],
                "rateLimit": {
                    "type": "Local",
                    "local": {
                        "rules": [
                            {
                                "clientSelectors": [{"headers": [{"name": CALLER, "type": "Distinct"}]}],
                                # Each proxy counts for itself, and callers are spread over all.
                                "limit": {
                                    "requests": math.ceil(args.requests_per_second / REPLICAS),
                                    "unit": "Second",
                                },
                            }
                        ]
                    },
                },
            },
        )
        seconds = f"{math.ceil(args.request_seconds) + 1}s"
        self._object(
            name,
            GATEWAYS,
            "HTTPRoute",
            {
                "parentRefs": [{"name": "predictions"}],
                "hostnames": [args.host],
                "rules": [
                    {
                        "matches": [{"path": path} for path in paths],
                        "timeouts": {"request": seconds, "backendRequest": seconds},
                        "filters": [
                            {
                                "type": "ExtensionRef",
                                "extensionRef": {
                                    "group": "gateway.envoyproxy.io",
                                    "kind": "HTTPRouteFilter",
                                    "name": "credential",
                                },
                            }
                        ],
                        "backendRefs": [{"name": args.inner_class, "namespace": PROXIES, "port": _PORT}],
                    }
                ],
            },
            depends_on=[guard, limits],
        )

    def _policies(self) -> None:
        """Callers reach the outer proxies; the outer ones reach the inner ones, and those the replicas."""
        networking.v1.NetworkPolicy(
            "gateway",
            metadata={"name": "gateway", "namespace": PROXIES},
            spec={
                "podSelector": {"matchLabels": {"gateway.envoyproxy.io/owning-gateway-name": "predictions"}},
                "policyTypes": ["Ingress"],
                "ingress": [{"ports": [{"port": port, "protocol": "TCP"} for port in _LISTENERS]}],
            },
            opts=self.child(),
        )
        networking.v1.NetworkPolicy(
            "gateway-to-replicas",
            metadata={"name": "gateway-to-replicas", "namespace": PROXIES},
            spec={
                "podSelector": {"matchLabels": {"gateway.envoyproxy.io/owning-gateway-name": f"{NAME}-gateway"}},
                "policyTypes": ["Egress"],
                "egress": [
                    {
                        "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}}],
                        "ports": [{"port": 8000, "protocol": "TCP"}],
                    }
                ],
            },
            opts=self.child(),
        )
