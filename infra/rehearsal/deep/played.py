"""Plays, once a second, the controllers that are not here: who makes nodes, Envoy Gateway, External Secrets.

What they do is decided by `nodes` and `statuses`; here it is asked and written.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from infra.rehearsal.aws.clients import Aws
from infra.rehearsal.deep import statuses
from infra.rehearsal.deep.cluster_view import ClusterView
from infra.rehearsal.deep.nodes import (
    PLAYED,
    New,
    NodeSource,
    from_node_group,
    from_node_pool,
    node,
    of_source,
    waits,
    wanted,
)
from infra.rehearsal.kubernetes.client import ApiError, Object, UnreachableError

GATEWAYS, ENVOY = "gateway.networking.k8s.io/v1", "gateway.envoyproxy.io/v1alpha1"
SECRETS = "external-secrets.io/v1"
_PERIOD_SECONDS = 1.0
_AGAIN_SECONDS = 20.0
"""A pod that still waits so long after a node was made for it gets another, in another zone."""
_TRIES = 3


@dataclass
class Judge:
    """Judges settings of Serve by Ray's own schema, each once and beside: importing Ray takes seconds.

    The operator waits two seconds for an answer at most.
    """

    _found: dict[str, list[str] | None] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, settings: str) -> list[str] | None:
        """What is wrong with settings; None while that is not known yet."""
        with self._lock:
            if settings not in self._found:
                self._found[settings] = None
                threading.Thread(target=self._ask, args=(settings,), daemon=True).start()
            return self._found[settings]

    def _ask(self, settings: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "infra.rehearsal.kubernetes.serve_schema"],
            cwd=Path(__file__).resolve().parents[3],
            input=settings,
            capture_output=True,
            text=True,
            check=False,
        )
        reasons = done.stdout.splitlines()
        if done.returncode and not reasons:
            reasons = [f"Ray's schema could not be asked: {done.stderr.strip()[-300:]}"]
        with self._lock:
            self._found[settings] = reasons


@dataclass
class Played:
    """The players of one rehearsal.

    Attributes:
        view: the API server.
        aws: the AWS API that is played.
        outside: secrets that pods have and the program does not make: a person puts them into Secrets Manager.
        wrong: what the players could not do, by what it is about.
    """

    view: ClusterView
    aws: Aws
    outside: set[str] = field(default_factory=set)
    wrong: dict[str, str] = field(default_factory=dict)
    _number: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _made_for: dict[str, tuple[float, int]] = field(default_factory=dict)
    _secrets_made: dict[str, Object] = field(default_factory=dict)

    def step(self) -> None:
        """Look once, and do what is to be done."""
        for what in (self._secrets, self._gateways, self._nodes):
            name = what.__name__.strip("_")
            try:
                what()
                self.wrong.pop(name, None)
            except (ApiError, UnreachableError, BotoCoreError, ClientError, ValueError, KeyError) as error:
                self.wrong[name] = f"{type(error).__name__}: {error}"

    # --- External Secrets --------------------------------------------------------------------------------------------

    def _secrets(self) -> None:
        externals = self.view.all(SECRETS, "ExternalSecret")
        if not externals:
            return
        secret = self.view.kind("v1", "Secret")
        there = {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in self.view.all("v1", "Secret")}
        for external in externals:
            if external["metadata"].get("deletionTimestamp"):
                continue
            space = external["metadata"]["namespace"]
            target = (external["spec"].get("target") or {}).get("name") or external["metadata"]["name"]
            if (space, target) not in there:
                body, lacking = statuses.secret(external, self._look)
                if body is None:
                    self._tell(external, False, "; ".join(lacking))
                    continue
                self.outside.update(lacking)
                self.view.client.create(secret, space, body)
            self._tell(external, True, "")

    def _tell(self, external: Object, ok: bool, message: str) -> None:
        made = statuses.condition("Ready", ok, "SecretSynced" if ok else "SecretSyncedError", message)
        made.pop("observedGeneration")
        if (external.get("status") or {}).get("conditions") != [made]:
            self.view.write_status(SECRETS, "ExternalSecret", external, {"conditions": [made]})

    def _look(self, key: str, within: str | None) -> str | None:
        import json

        try:
            value = self.aws.client("secretsmanager").get_secret_value(SecretId=key).get("SecretString", "")
        except ClientError:
            return None
        if within is None:
            return str(value)
        try:
            return str(json.loads(value)[within])
        except (ValueError, KeyError, TypeError):
            return None

    # --- Envoy Gateway -----------------------------------------------------------------------------------------------

    def _gateways(self) -> None:
        classes = {one["metadata"]["name"]: one for one in self.view.all(GATEWAYS, "GatewayClass")}
        proxies = _by_place(self.view.all(ENVOY, "EnvoyProxy"))
        gateways = _by_place(self.view.all(GATEWAYS, "Gateway"))
        services = _by_place(self.view.all("v1", "Service"))
        wanted_services = {}
        for gateway in gateways.values():
            status = statuses.gateway(gateway, classes, proxies)
            if (gateway.get("status") or {}).get("conditions") != status["conditions"]:
                self.view.write_status(GATEWAYS, "Gateway", gateway, status)
            if status["conditions"][0]["status"] == "True" and not gateway["metadata"].get("deletionTimestamp"):
                body = statuses.service_of(gateway, classes, proxies)
                wanted_services[body["metadata"]["namespace"], body["metadata"]["name"]] = body
        self._services(wanted_services, services)
        grants = self.view.all("gateway.networking.k8s.io/v1beta1", "ReferenceGrant") if gateways else []
        for route in self.view.all(GATEWAYS, "HTTPRoute"):
            status = statuses.route(route, gateways, services, grants)
            if (route.get("status") or {}).get("parents") != status["parents"]:
                self.view.write_status(GATEWAYS, "HTTPRoute", route, status)

    def _services(self, wanted_services: dict[tuple[str, str], Object], there: dict[tuple[str, str], Object]) -> None:
        """Make the Services of gateways, and take away those whose gateway is gone."""
        kind = self.view.kind("v1", "Service")
        for place, body in wanted_services.items():
            if place not in there:
                self.view.client.create(kind, place[0], body)
        for (space, name), service in there.items():
            owned = "gateway.envoyproxy.io/owning-gateway-name" in (service["metadata"].get("labels") or {})
            if owned and (space, name) not in wanted_services:
                self.view.client.delete(kind, space, name)

    # --- nodes -------------------------------------------------------------------------------------------------------

    def _nodes(self) -> None:
        sources = [*self._groups(), *self._pools()]
        nodes = [one for one in self.view.all("v1", "Node") if PLAYED in (one["metadata"].get("annotations") or {})]
        pods = self.view.all("v1", "Pod")
        for source in sources:
            for index in range(len(list(of_source(source, nodes))), source.size or 0):
                instance = source.known()[0]
                self._make(New(source, instance, source.zones[index % len(source.zones)], instance.allocatable))
        for new in wanted([pod for pod in pods if self._due(pod)], sources, nodes):
            self._make(new)
        self._give_back(sources, nodes, pods)

    def _due(self, pod: Object) -> bool:
        """Whether a pod waits, and no node was made for it lately."""
        if waits(pod) is None:
            return False
        since, tries = self._made_for.get(pod["metadata"]["uid"], (0.0, 0))
        if tries >= _TRIES or time.monotonic() - since < _AGAIN_SECONDS:
            return False
        self._made_for[pod["metadata"]["uid"]] = (time.monotonic(), tries + 1)
        return True

    def _make(self, new: New) -> None:
        number = next(self._number)
        name = f"ip-10-255-{number // 250}-{number % 250 + 1}"
        address = name.removeprefix("ip-").replace("-", ".")
        body = node(new.source, new.instance, new.zone, self.aws.region, name, address)
        self.view.client.create(self.view.kind("v1", "Node"), None, body)

    def _give_back(self, sources: Sequence[NodeSource], nodes: Sequence[Object], pods: Sequence[Object]) -> None:
        """Delete the nodes whose pool is gone, with the pods that are on them."""
        there = {source.name for source in sources}
        on: dict[str, list[Object]] = defaultdict(list)
        for pod in pods:
            on[pod["spec"].get("nodeName", "")].append(pod)
        for one in nodes:
            if one["metadata"]["annotations"][PLAYED] in there:
                continue
            for pod in on[one["metadata"]["name"]]:
                self.view.client.delete(
                    self.view.kind("v1", "Pod"), pod["metadata"]["namespace"], pod["metadata"]["name"]
                )
            if not on[one["metadata"]["name"]]:
                self.view.client.delete(self.view.kind("v1", "Node"), None, one["metadata"]["name"])

    def _groups(self) -> Iterator[NodeSource]:
        """The managed node groups that EKS has, which the played AWS is asked for."""
        eks = self.aws.client("eks")
        for cluster in eks.list_clusters()["clusters"]:
            for name in eks.list_nodegroups(clusterName=cluster)["nodegroups"]:
                group = eks.describe_nodegroup(clusterName=cluster, nodegroupName=name)["nodegroup"]
                yield from_node_group(group, self._zones(SubnetIds=group["subnets"]))

    def _pools(self) -> Iterator[NodeSource]:
        """The NodePools, in the zones of the subnets that their node class selects by tag."""
        classes = {one["metadata"]["name"]: one for one in self.view.all("karpenter.k8s.aws/v1", "EC2NodeClass")}
        for pool in self.view.all("karpenter.sh/v1", "NodePool"):
            reference = pool["spec"]["template"]["spec"]["nodeClassRef"]["name"]
            if pool["metadata"].get("deletionTimestamp") or reference not in classes:
                continue
            zones = {
                zone
                for term in classes[reference]["spec"]["subnetSelectorTerms"]
                for zone in self._zones(
                    Filters=[
                        {"Name": f"tag:{key}", "Values": [value]} for key, value in (term.get("tags") or {}).items()
                    ]
                )
            }
            if not zones:
                raise ValueError(f"EC2NodeClass {reference} selects no subnet")
            yield from_node_pool(pool, sorted(zones))

    def _zones(self, **arguments: Any) -> list[str]:
        found = self.aws.client("ec2").describe_subnets(**arguments)["Subnets"]
        return sorted({one["AvailabilityZone"] for one in found})


def _by_place(items: Sequence[Object]) -> dict[tuple[str, str], Object]:
    return {(one["metadata"]["namespace"], one["metadata"]["name"]): one for one in items}


@contextmanager
def playing(played: Played) -> Iterator[Played]:
    """Let the players play while the block runs."""
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(_PERIOD_SECONDS):
            played.step()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield played
    finally:
        stop.set()
        thread.join()
