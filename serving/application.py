"""The Ray Serve application of one serving group: an ASGI ingress deployment that holds its models in its own process.

The raw ASGI form (no `Request` object, no FastAPI) is the leanest path that Ray Serve offers. Its only arguments are
the path of serving.json and the group's name: Ray restarts replicas when arguments change, and a new model version
must not. Which versions to serve comes from control.
"""

import asyncio
import gc
import hashlib
import logging
import os
import uuid
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import LoggingConfig

from serving.actuator import DEPLOYMENT
from serving.asgi import Application, Receive, Scope, Send
from serving.background import step_back, wait_in_line
from serving.candidate import CandidateModel
from serving.config import GroupSettings, Settings, read
from serving.fastpath import serve_directly
from serving.ingress import Ingress
from serving.line import Line, Listener, Place
from serving.replica import Replica, make_capture
from serving.state import Release

# More than Ray needs to hold back: the ingress itself bounds what waits and answers in the protocol's form.
_MAX_ONGOING = 100_000
_CANDIDATE_CPUS = 0.5
_SHADOW_CPUS = 0.1
_SHADOW_NICE = 15


@serve.ingress()
class Group:
    """A replica under Ray Serve."""

    async def __init__(self, config: str, group: str) -> None:  # type: ignore[misc] # Ray Serve awaits it
        logging.getLogger("serving").setLevel(logging.INFO)
        logging.getLogger("httpx").setLevel(logging.WARNING)
        settings = read(config)
        self._replica = Replica(settings, group, connect)
        await self._replica.start()
        replicas = settings.group(group).replicas
        if replicas.min == replicas.max:
            serve_directly(self._replica.ingress)

    def __serve_build_asgi_app__(self) -> Application:
        """Give Ray Serve the application."""
        return _BehindRay(self._replica.ingress)

    def check_health(self) -> None:
        """Fail when background work has died, so that Ray Serve replaces the replica."""
        if not self._replica.healthy():
            raise RuntimeError("the replica's background work has ended")

    async def __del__(self) -> None:
        """Write what was captured and counted."""
        await self._replica.close()


def connect(application: str) -> Line:
    """Return the way from a replica to a candidate's application. Ray says where it is; requests do not pass Ray."""

    async def find() -> Place:
        # Asks Serve's controller, and waits for it.
        handle = await asyncio.to_thread(serve.get_app_handle, application)
        return Place(*await handle.place.remote())

    return Line(find)


class Candidate:
    """A candidate or shadow under Ray Serve: no route; `connect` leads to it."""

    async def __init__(self, config: str, model: str, release: dict[str, Any], shadow: bool) -> None:  # type: ignore[misc]
        logging.getLogger("serving").setLevel(logging.INFO)
        if shadow:
            # Its speed is not judged, and whoever answers users goes first.
            os.nice(_SHADOW_NICE)
        settings = read(config)
        name = f"{model}-{release['version']}-{uuid.uuid4().hex[:8]}"
        self._model = CandidateModel(settings, model, Release.from_json(release), make_capture(settings, name))
        await self._model.start()
        if shadow:
            step_back()
        else:
            # A canary's few requests must not cost the many of stable their turn.
            wait_in_line()
        self._listener = Listener(self._model)
        self._place = await self._listener.open(ray.util.get_node_ip_address())
        self._ticking = asyncio.create_task(self._tick())
        # As in a replica: what lives as long as the process, Ray above all, the collector need not look at again.
        gc.collect()
        gc.freeze()

    async def place(self) -> tuple[Any, ...]:
        """Say where requests are taken, and the secret that its caller then shows: Ray lets nobody else ask."""
        return tuple(self._place)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1)
            self._model.tick()

    async def __del__(self) -> None:
        """Write what was captured."""
        self._ticking.cancel()
        await self._listener.close()
        self._model.close()


class _BehindRay:
    """The ingress where Ray Serve's own middleware adds the request id to answers."""

    def __init__(self, ingress: Ingress) -> None:
        self._ingress = ingress

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._ingress.answer(scope, receive, send, show_id=False)


def build(config: str, settings: Settings, group: GroupSettings) -> Any:
    """Return the application of a group, to be given to `serve.run`.

    Its version says what it depends on: deploying the same again restarts nothing.
    """
    replicas = group.replicas
    options: dict[str, Any] = {
        "name": DEPLOYMENT,
        "max_ongoing_requests": _MAX_ONGOING,
        "health_check_period_s": 5,
        "health_check_timeout_s": 30,
        "graceful_shutdown_timeout_s": 20,
        "ray_actor_options": {"num_cpus": replicas.cpus},
        "logging_config": LoggingConfig(enable_access_log=False, log_level="WARNING"),
    }
    if replicas.memory_mb:
        options["ray_actor_options"]["memory"] = replicas.memory_mb * 1024 * 1024
    if replicas.max > replicas.min:
        options["autoscaling_config"] = AutoscalingConfig(
            min_replicas=replicas.min,
            max_replicas=replicas.max,
            target_ongoing_requests=replicas.target_ongoing,
            upscale_delay_s=replicas.upscale_delay_seconds,
            downscale_delay_s=replicas.downscale_delay_seconds,
        )
    else:
        options["num_replicas"] = replicas.min
    # Without a version Serve takes a random one and restarts every replica whenever the actuator starts.
    version = f"{code_digest()}-{settings.fingerprint()}"
    deployment = serve.deployment(Group, **options).options(version=version, _internal=True)
    return deployment.bind(config, group.name)


def declared(arguments: Mapping[str, str]) -> Any:
    """Return the application of a group to Ray Serve itself, which finds this by its import string in a RayService.

    Args:
        arguments: `config`, the path of serving.json on every node, and `group`, the group's name.

    Raises:
        ConfigError: the file is wrong, or holds no such group.
    """
    settings = read(arguments["config"])
    return build(arguments["config"], settings, settings.group(arguments["group"]))


def build_candidate(config: str, settings: Settings, model: str, release: Release, *, shadow: bool = False) -> Any:
    """Return the application of a candidate or shadow, to be given to `serve.run` without a route prefix."""
    options: dict[str, Any] = {
        "name": "candidate",
        "num_replicas": 1,
        "max_ongoing_requests": _MAX_ONGOING,
        "max_constructor_retry_count": 2,
        # A shadow that gets no processor for a while is not ill.
        "health_check_period_s": 10 if shadow else 2,
        "health_check_timeout_s": 60 if shadow else 10,
        "graceful_shutdown_timeout_s": 5,
        "ray_actor_options": {"num_cpus": _SHADOW_CPUS if shadow else _CANDIDATE_CPUS},
        "logging_config": LoggingConfig(enable_access_log=False, log_level="WARNING"),
    }
    version = f"{code_digest()}-{settings.fingerprint()}-{release.digest[-12:]}"
    deployment = serve.deployment(Candidate, **options).options(version=version, _internal=True)
    return deployment.bind(config, model, release.to_json(), shadow)


@cache
def code_digest() -> str:
    """Name the code that replicas run: a change of it restarts them."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        if "control" not in path.relative_to(root).parts:
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
