"""The phases of a deep rehearsal: all workloads run, the RayService serves; another image moves all traffic to a new
cluster step by step, and the old one goes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.inference.ray_service import NAME, NAMESPACE
from infra.engine.cache import Progress, silent
from infra.rehearsal.aws.clients import Aws
from infra.rehearsal.deep import readings
from infra.rehearsal.deep.cluster_view import ClusterView
from infra.rehearsal.deep.control_plane import RAY_OPERATOR, ControlPlane, control_plane
from infra.rehearsal.deep.dashboard import Dashboards, proxy
from infra.rehearsal.deep.nodes import PLAYED
from infra.rehearsal.deep.played import GATEWAYS, Judge, Played, playing
from infra.rehearsal.kubernetes.api_server import ApiServer
from infra.rehearsal.kubernetes.client import Object
from infra.rehearsal.kubernetes.servers import peaks
from infra.rehearsal.moto import MotoServer
from infra.rehearsal.report import Phase

RUNNING_SECONDS, STALLED_SECONDS = 900.0, 150.0
"""Until then everything has to run, also on a busy machine; nothing here waits for an image or a disk. What stays wrong
in the same words for the shorter time is a fault."""
STEP_SECONDS = 300.0
"""What a step of an upgrade may take: its pause, and some rounds of the operator, which looks every 2 s. After the last
one the old cluster goes; 120 s are the stated delay until then."""
GONE_SECONDS = 90.0
"""Until then the garbage collector has found what lost its owner, and nodes went with their pools."""
QUICK: Mapping[str, Any] = {"mlops:aws": {"inference": {"upgradeSeconds": 10}}}
"""Settings that spare the rehearsal minutes: pauses between the steps of an upgrade, the shortest that the policies
admit, not their size."""
OTHER_IMAGE = "sha256:" + "0123456789abcdef" * 4
UPGRADE: Mapping[str, Any] = {"mlops:aws": {"images": {"serving": OTHER_IMAGE}}}
"""What a person changes for another version of the serving code; no image is fetched."""
_CONTROLLERS = frozenset({"RayService", "RayCluster", "Deployment", "ReplicaSet", "StatefulSet", "Job"})
_POLL_SECONDS = 0.5


@dataclass
class Deep:
    """A cluster whose controllers run.

    Attributes:
        server: the API server.
        view: what it holds.
        plane: the real controllers.
        played: the players.
        dashboards: Ray's dashboards, played.
        step: share of the traffic that one step of an upgrade may move, per cent.
        pause_seconds: pause between two steps.
        say: told what goes on.
        quick: settings from the start that spare minutes.
        upgrade: settings by which serving moves to a new cluster.
    """

    server: ApiServer
    view: ClusterView
    plane: ControlPlane
    played: Played
    dashboards: Dashboards
    step: int
    pause_seconds: int
    say: Progress = silent
    quick: Mapping[str, Any] = field(default_factory=lambda: QUICK)
    upgrade: Mapping[str, Any] = field(default_factory=lambda: UPGRADE)
    _active: str = field(default="", init=False)

    def running(self) -> Phase:
        """Wait until every workload runs and the RayService serves."""
        self.say("deep rehearsal: waiting until everything runs")
        began = changed = time.monotonic()
        before: list[str] = []
        while True:
            wrong, now = self._not_running(), time.monotonic()
            changed, before = (changed if wrong == before else now), wrong
            late = now - began > RUNNING_SECONDS or now - changed > STALLED_SECONDS
            if not wrong or late or self.plane.ended():
                break
            time.sleep(_POLL_SECONDS)
        service = self._service()
        self._active = service.active if service else ""
        detail = [*wrong, *(self._hints() if wrong else [self._summary()])]
        return Phase(
            "controllers act: all workloads run, the RayService serves",
            not wrong,
            round(time.monotonic() - began, 1),
            detail="\n".join(detail),
        )

    def upgraded(self) -> Phase:
        """Watch the upgrade that the last `up` began, to its end; once the traffic moves, the operator is killed."""
        self.say("deep rehearsal: watching the traffic move to the new cluster")
        began, before = time.monotonic(), self._active
        history: list[tuple[int, int]] = []
        crashed = False
        wrong: dict[str, None] = {}
        seen: object = None
        changed, moved = began, 0.0
        while True:
            service = self._service()
            for text in self._unanswered():
                wrong.setdefault(text)
            if service is not None:
                shares = self._shares(before)
                if shares is not None and (not history or history[-1] != shares):
                    history.append(shares)
                    self.say(f"deep rehearsal: traffic {shares[0]}/{shares[1]}")
                if not crashed and shares is not None and 0 < shares[1] < 100:
                    crashed = True
                    self.say("deep rehearsal: KubeRay's operator is killed, and starts again")
                    self.plane.crash(RAY_OPERATOR)
                if service.rolling_back:
                    wrong.setdefault("the operator goes back to the old cluster")
                    break
            if service is not None and service.running and service.active != before:
                moved = moved or time.monotonic() - began
                if not self._clusters() - {service.active}:
                    break
            now, state = time.monotonic(), (service and (service.traffic, service.capacity), self._clusters())
            changed, seen = (changed if state == seen else now), state
            if self.plane.ended() or now - changed > STEP_SECONDS:
                wrong.setdefault(f"the upgrade goes no further: nothing changed for {now - changed:.0f} s")
                break
            time.sleep(_POLL_SECONDS)
        for text in readings.kept(history, self.step):
            wrong.setdefault(text)
        if not crashed and self.step < 100:
            wrong.setdefault("the operator was not killed: no share of the traffic was seen between the two clusters")
        killed = "; the operator was killed once it moved" if crashed else ""
        detail = [*wrong, f"traffic {readings.shown(history)}{killed}"]
        if moved:
            ended = time.monotonic() - began
            detail.append(
                f"{before} → {service.active if service else ''}; moved in {moved:.0f} s, gone in {ended:.0f} s"
            )
        detail += self._not_running() + self._hints() if wrong else [self._summary()]
        name = "controllers act: another image moves the traffic step by step, the old cluster goes"
        return Phase(name, not wrong, round(time.monotonic() - began, 1), detail="\n".join(detail))

    def ended(self) -> Phase:
        """Wait until what controllers made is gone with what it was made for."""
        began = time.monotonic()
        while (left := self.server.leftovers()) and time.monotonic() - began < GONE_SECONDS:
            time.sleep(_POLL_SECONDS)
        name = "controllers act: what they made is gone"
        return Phase(name, not left, round(time.monotonic() - began, 1), detail="\n".join(left[:12]))

    def notes(self) -> Sequence[str]:
        """What was real and what was played, for the report."""
        versions = self.plane.versions
        kubernetes, operator = versions.get("kubernetes-controllers"), versions.get("ray-operator")
        outside = ", ".join(sorted(self.played.outside))
        return (
            f"real: kube-controller-manager and kube-scheduler {kubernetes}, KubeRay's operator {operator}, each with "
            "its own rights",
            f"played: kubelets (kwok {versions.get('kwok')}: no container runs, no probe is asked), who makes nodes "
            "(from node groups and NodePools as they were made), Ray's dashboard, statuses of gateways and routes, "
            "External Secrets; network policies hold nobody back",
            f"pauses between the steps of an upgrade are {self.pause_seconds} s",
            f"memory at its most, MiB: {', '.join(f'{name} {most}' for name, most in peaks().items())}",
            *([f"secrets that people put into Secrets Manager, played: {outside}"] if outside else []),
            *(f"a player failed: {name}: {text}" for name, text in self.played.wrong.items()),
            *(f"asked of Ray's dashboard and not played: {call}" for call in sorted(set(self.dashboards.unknown))),
        )

    # --- readings ----------------------------------------------------------------------------------------------------

    def _not_running(self) -> list[str]:
        """Everything that does not run, in words; empty when all does."""
        wrong = [self.plane.ended()] if self.plane.ended() else []
        workloads = [
            {**item, "kind": kind} for kind in ("Deployment", "StatefulSet") for item in self.view.all("apps/v1", kind)
        ]
        wrong += [text for item in workloads if (text := readings.unavailable(item)) is not None]
        pods = self.view.all("v1", "Pod")
        wrong += readings.unscheduled(pods)
        wrong += readings.lacking(
            pods, self._places("Secret"), self._places("ConfigMap"), self._places("ServiceAccount")
        )
        service = self._service()
        if service is None:
            wrong.append(f"there is no RayService {NAMESPACE}/{NAME}")
        elif not service.running:
            wrong += [f"RayService {NAMESPACE}/{NAME}: {text}" for text in service.says or ("an upgrade goes on",)]
        for kind in ("Gateway", "HTTPRoute"):
            wrong += [text for item in self.view.all(GATEWAYS, kind) if (text := _not_accepted({**item, "kind": kind}))]
        return wrong

    def _hints(self) -> list[str]:
        """What controllers complain about, and players."""
        events = self.view.all("v1", "Event")
        found = readings.warnings(events, _CONTROLLERS)
        return [
            *(f"warning: {text}" for text in found[-12:]),
            *(f"KubeRay's operator: {text}" for text in readings.errors(self.plane.log(RAY_OPERATOR))[-6:]),
            *(f"player: {one}" for one in self.played.wrong.values()),
        ]

    def _summary(self) -> str:
        pods, nodes = self.view.all("v1", "Pod"), self.view.all("v1", "Node")
        played = [one for one in nodes if PLAYED in (one["metadata"].get("annotations") or {})]
        spread = ", ".join(f"{count} on {pool}" for pool, count in readings.spread_over(pods, played).items())
        deployments = len(self.view.all("apps/v1", "Deployment"))
        return f"{deployments} Deployments available; {len(pods)} pods on {len(played)} nodes ({spread})"

    def _service(self) -> readings.Service | None:
        found = self.view.get("ray.io/v1", "RayService", NAMESPACE, NAME)
        return readings.service(found) if found is not None else None

    def _shares(self, before: str) -> tuple[int, int] | None:
        """Shares of the old and the new cluster by the route, which is what traffic follows."""
        found = readings.weights(self.view.get(GATEWAYS, "HTTPRoute", NAMESPACE, f"{NAME}-httproute"))
        old = sum(share for name, share in found.items() if name.startswith(before))
        new = sum(share for name, share in found.items() if not name.startswith(before))
        return (old, new) if found else None

    def _unanswered(self) -> list[str]:
        route = self.view.get(GATEWAYS, "HTTPRoute", NAMESPACE, f"{NAME}-httproute")
        return readings.unanswered(route, self.view.all("discovery.k8s.io/v1", "EndpointSlice"))

    def _clusters(self) -> set[str]:
        return {one["metadata"]["name"] for one in self.view.all("ray.io/v1", "RayCluster")}

    def _places(self, kind: str) -> dict[tuple[str, str], Object]:
        return {(one["metadata"]["namespace"], one["metadata"]["name"]): one for one in self.view.all("v1", kind)}


def _not_accepted(item: Object) -> str:
    """Why a gateway or a route does not count; empty when it does."""
    status = item.get("status") or {}
    stated = [status, *(status.get("parents") or ())]
    said = [one for part in stated for one in part.get("conditions") or ()]
    refused = [f"{one['type']}: {one['message']}" for one in said if one["status"] != "True"]
    return f"{readings.place(item)}: {'; '.join(refused) or 'nobody looked at it yet'}" if refused or not said else ""


@contextmanager
def deep(
    server: ApiServer, aws: MotoServer, folder: Path, region: str, *, step: int, say: Progress = silent
) -> Iterator[Deep]:
    """Run controllers and players while the block runs.

    Args:
        server: the API server, which must know the users of `control_plane`.
        aws: the AWS API that is played.
        folder: the API server's folder.
        region: region of the environment.
        step: share of the traffic that one step of an upgrade moves, per cent, as the settings state it.
        say: told what goes on.

    Raises:
        ToolError: a controller can't be had or does not start.
    """
    view = ClusterView(server.client)
    dashboards = Dashboards(head=view.head, judge=Judge())
    with ExitStack() as stack:
        address = stack.enter_context(proxy(dashboards))
        plane = stack.enter_context(control_plane(server, folder, address, say))
        played = stack.enter_context(playing(Played(view, Aws(aws.url, region))))
        pause = int(QUICK["mlops:aws"]["inference"]["upgradeSeconds"])
        yield Deep(server, view, plane, played, dashboards, step=step, pause_seconds=pause, say=say)
