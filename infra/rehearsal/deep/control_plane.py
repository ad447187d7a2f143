"""The controllers of a deep rehearsal: kube-controller-manager, kube-scheduler, KubeRay's operator, and kwok.

Each has a token of its own and the rights that it has on a cluster: those that the API server gives the first two by
itself, and the operator those of its own release. None listens anywhere. They end with the block, also after a failure
or Ctrl-C; should this process be killed, the kernel ends them.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import yaml

from components.cluster.kubernetes import charts
from infra.engine import crds, tools
from infra.engine.cache import Progress, silent
from infra.engine.errors import ToolError
from infra.provider.environment import scrubbed
from infra.rehearsal.deep.nodes import PLAYED
from infra.rehearsal.kubernetes.api_server import ApiServer
from infra.rehearsal.kubernetes.client import SCRATCH, Kind
from infra.rehearsal.kubernetes.servers import end, spawn, tail

MANAGER, SCHEDULER, OPERATOR, KUBELETS = (
    "system:kube-controller-manager",
    "system:kube-scheduler",
    "kuberay-operator",
    "kwok",
)
RAY_OPERATOR = "ray-operator"
"""Its tool, and its process."""
USERS: Mapping[str, str] = {
    MANAGER: "mlops:controllers",
    SCHEDULER: "mlops:controllers",
    OPERATOR: "mlops:controllers",
    KUBELETS: "system:masters",
}
"""Users of the API server, with their groups. kwok stands for every kubelet, which together may do more than any."""

_TOOLS = ("kubernetes-controllers", RAY_OPERATOR, "kwok")
_STAGES = Path(__file__).with_name("stages.yaml")
_ROLE = Kind("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", False, frozenset())
_BINDING = Kind("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", False, frozenset())
_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts", True, frozenset())
_CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps", True, frozenset())
_READY_SECONDS = 120.0
_POLL_SECONDS = 0.2


@dataclass
class ControlPlane:
    """Controllers that run.

    Attributes:
        versions: their versions, for the report.
    """

    versions: Mapping[str, str]
    _starts: Mapping[str, Callable[[], subprocess.Popen[bytes]]] = field(repr=False)
    _logs: Mapping[str, Path] = field(repr=False)
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict, init=False, repr=False)

    def start(self) -> None:
        """Start all of them."""
        for name, spawned in self._starts.items():
            self._processes[name] = spawned()

    def end(self) -> None:
        """End those that run."""
        for process in self._processes.values():
            end(process)

    def crash(self, name: str) -> None:
        """Kill a controller without a warning, and start it again as its Deployment would."""
        self._processes[name].kill()
        self._processes[name].wait()
        self._processes[name] = self._starts[name]()

    def ended(self) -> str:
        """Say which controller ended although nobody asked it to, with its last words; empty when all run."""
        return "\n".join(
            f"{name} ended with code {process.returncode}; its last words ({log}):\n{tail(log)}"
            for name, log in self._logs.items()
            if (process := self._processes.get(name)) is not None and process.poll() is not None
        )

    def log(self, name: str) -> str:
        """What a controller wrote so far."""
        return self._logs[name].read_text(errors="replace")


def ensure(progress: Progress = silent, *, environ: Mapping[str, str] | None = None) -> None:
    """Get the controllers where they are missing, which takes some minutes once.

    Raises:
        ToolError: One can't be had.
    """
    for name in _TOOLS:
        tools.ensure(name, progress, environ=environ)
    crds.ensure(progress, environ=environ, files=crds.RIGHTS)


def missing() -> list[str]:
    """Names of the tools that are not there yet."""
    return [name for name in _TOOLS if tools.find(name) is None]


@contextlib.contextmanager
def control_plane(
    server: ApiServer,
    folder: Path,
    proxy: str,
    progress: Progress = silent,
    *,
    environ: Mapping[str, str] | None = None,
) -> Iterator[ControlPlane]:
    """Run the controllers while the block runs.

    Args:
        server: The API server; it must know `USERS`.
        folder: The server's folder; kubeconfigs and logs go there as well.
        proxy: Address of what plays Ray's dashboards, an HTTP proxy: names inside the cluster mean nothing here.
        progress: Told what goes on.
        environ: Environment to look for tools in; this process's by default.

    Raises:
        ToolError: A tool can't be had, or a controller does not start.
    """
    ensure(progress, environ=environ)
    _grant(server, crds.ensure(progress, environ=environ, files=crds.RIGHTS))
    kubernetes = tools.ensure("kubernetes-controllers", progress, environ=environ)
    operator = tools.ensure(RAY_OPERATOR, progress, environ=environ)
    kwok = tools.ensure("kwok", progress, environ=environ)
    configs = {user: _kubeconfig(server, user, folder) for user in USERS}
    commands: dict[str, tuple[list[str], Mapping[str, str]]] = {
        "kube-controller-manager": (_manager(kubernetes, configs[MANAGER], folder), {}),
        "kube-scheduler": (_scheduler(kubernetes, configs[SCHEDULER]), {}),
        "kwok": (_kwok(kwok, configs[KUBELETS]), {}),
        # Only plain HTTP goes through the proxy, which is what the operator speaks to dashboards.
        RAY_OPERATOR: (_operator(operator), {"HTTP_PROXY": proxy, "KUBECONFIG": str(configs[OPERATOR])}),
    }
    logs = {name: folder / f"{name}.log" for name in commands}
    starts = {
        name: partial(spawn, command, logs[name], {**scrubbed(), **variables})
        for name, (command, variables) in commands.items()
    }
    found = {name: tools.find(name, environ=environ) for name in _TOOLS}
    versions = {name: ".".join(map(str, one.version)) for name, one in found.items() if one is not None}
    plane = ControlPlane(versions, starts, logs)
    try:
        plane.start()
        _settle(server, plane)
        progress(f"controllers: {', '.join(commands)} run")
        yield plane
    finally:
        plane.end()


def _settle(server: ApiServer, plane: ControlPlane) -> None:
    """Wait until the controller manager acts; what it makes in every namespace by itself belongs to the server then."""
    deadline = time.monotonic() + _READY_SECONDS
    while not all(
        any(item["metadata"]["name"] == name for item in server.client.list(kind, space))
        for kind, name in ((_ACCOUNT, "default"), (_CONFIG_MAP, "kube-root-ca.crt"))
        for space in ("default", SCRATCH)
    ):
        if (ended := plane.ended()) or time.monotonic() > deadline:
            raise ToolError(ended or "kube-controller-manager does nothing: namespaces have no account yet")
        time.sleep(_POLL_SECONDS)
    if ended := plane.ended():
        raise ToolError(ended)
    server.take_as_given()


def _grant(server: ApiServer, folder: Path) -> None:
    """Give the operator the rights of its release."""
    [file] = folder.glob("*.yaml")
    role = yaml.safe_load(file.read_text())
    server.client.apply(_ROLE, None, role)
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": OPERATOR},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role["metadata"]["name"]},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": OPERATOR}],
    }
    server.client.apply(_BINDING, None, binding)


def _kubeconfig(server: ApiServer, user: str, folder: Path) -> Path:
    """Write a user's kubeconfig, readable by its owner only."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "rehearsal",
        "contexts": [{"name": "rehearsal", "context": {"cluster": "rehearsal", "user": user}}],
        "clusters": [
            {"name": "rehearsal", "cluster": {"server": server.url, "certificate-authority": str(folder / "ca.pem")}}
        ],
        "users": [{"name": user, "user": {"token": server.tokens[user]}}],
    }
    file = folder / f"{user.replace(':', '-')}.kubeconfig"
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
        json.dump(document, output)
    return file


def _manager(programs: Path, config: Path, folder: Path) -> list[str]:
    """Its controllers have accounts of their own, as on a cluster, so that each acts by its own rights."""
    return [
        str(programs / "kube-controller-manager"),
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        "--secure-port=0",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={folder / 'server.key'}",
        f"--root-ca-file={folder / 'ca.pem'}",
        # There are no cloud, no disks and no horizontal autoscaler's metrics to act on.
        "--controllers=*,-node-ipam-controller,-horizontal-pod-autoscaler-controller,-persistentvolume-attach-detach-controller",
        # A quota counts at once what comes and goes; by default it looks at all of it every five minutes.
        "--resource-quota-sync-period=10s",
        "--profiling=false",
    ]


def _scheduler(programs: Path, config: Path) -> list[str]:
    return [
        str(programs / "kube-scheduler"),
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        "--secure-port=0",
        "--leader-elect=false",
        "--profiling=false",
        # A pod that no node held is looked at again as soon as there is another.
        "--v=2",
    ]


def _kwok(program: Path, config: Path) -> list[str]:
    return [
        str(program),
        f"--kubeconfig={config}",
        f"--config={_STAGES}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={PLAYED}",
        "--cidr=10.240.0.0/12",
        "--node-lease-duration-seconds=40",
    ]


def _operator(program: Path) -> list[str]:
    """What the chart's values say that the operator is started with: its namespaces and feature gates."""
    _space, values = charts()["kuberay-operator"]
    gates = ",".join(f"{one['name']}={str(one['enabled']).lower()}" for one in values["featureGates"])
    return [
        str(program),
        f"--watch-namespace={','.join(values['watchNamespace'])}",
        f"--feature-gates={gates}",
        "--metrics-addr=0",
        "--health-probe-bind-address=0",
        "--enable-leader-election=false",
    ]
