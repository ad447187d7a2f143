"""What one replica of a serving group does beside answering: follow control, load versions, report.

Nothing here is on the path of a prediction. Control, registry and disk may all fail: what is served goes on being
served, and a replica that starts without control takes the signed snapshot. A new version is fetched and loaded in a
thread while the old one answers; serving it is then one assignment. During a rollout requests are divided as the state
says; a replica that has not heard of control for long gives all of them to stable.
"""

import asyncio
import contextlib
import gc
import logging
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import httpx

from serving.auth import Bearer, derive
from serving.batching import Limits, clock_of
from serving.beside import Arms, Connect
from serving.capture import Capture
from serving.capture import Settings as CaptureOptions
from serving.config import Settings
from serving.counters import Counters
from serving.features import FeatureStore
from serving.feedback import FeedbackDoor
from serving.ingress import Ingress, Options
from serving.loading import Loader, explained, fault
from serving.state import Entry, Release, State, StateError, read_snapshot
from serving.table import Served, Table

log = logging.getLogger(__name__)

Key = tuple[str, str, str]  # model, version, digest

_FIRST_STATE_SECONDS = 3.0
_REPORT_SECONDS = 1.0
_ROLLOUT_SECONDS = 0.25
_ALONE_SECONDS = 60.0
_HEARTBEAT_SECONDS = 5.0
_POLL_SECONDS = 25.0
_LONGEST_RETRY = 30.0
_TIDY_SECONDS = 3600.0


@dataclass(slots=True)
class _Failure:
    """A version that could not be loaded, and when to try again (monotonic seconds)."""

    reason: str
    again: float
    pause: float = 1.0
    fault: str = "platform"


class Replica:
    """One replica. `start` it in the event loop that serves `ingress`; `close` it there too."""

    def __init__(
        self, settings: Settings, group: str, connect: Connect | None = None, *, transport: Any = None
    ) -> None:
        """Make it; nothing is contacted yet.

        Args:
            settings: serving.json.
            group: name of the serving group.
            connect: returns the way to a candidate's application by its name; None where there can be no candidates.
            transport: an httpx transport to control, for tests.
        """
        self.id = uuid.uuid4().hex
        self.state = State()
        self._settings = settings
        self._group = settings.group(group)
        self._executor = ThreadPoolExecutor(4, thread_name_prefix="model")
        self._counters = Counters()
        self._loader = Loader(settings)
        limits, batching = settings.limits, settings.batching
        self._limits = Limits(batching.max_rows, batching.wait_ms / 1000, limits.max_pending, limits.request_seconds)
        features = settings.features
        self._features = (
            None if features is None else FeatureStore(features.url, features.deadline_ms / 1000, features.token)
        )
        options = Options(limits.max_body_bytes, limits.request_seconds)
        # Labels have connections of their own: they never wait for a long poll, nor a report for them.
        self._control, labels = (
            httpx.AsyncClient(
                base_url=settings.control.url,
                headers={"authorization": f"Bearer {settings.control.token}"},
                timeout=5,
                transport=transport,
            )
            for _ in range(2)
        )
        self._feedback = FeedbackDoor(labels)
        self.ingress = Ingress(options, Bearer(settings.inference_token), self._features, self._feedback)
        self._capture = make_capture(settings, self.id[:12])
        self._loaded: dict[Key, Served] = {}
        self._failed: dict[Key, _Failure] = {}
        self._serving: dict[str, Key] = {}
        self._releases = Arms(settings, self.id, self._counters, self._loader, self._executor, connect)
        self._heard = time.monotonic()
        self._applied = -1
        self._tidy_at = 0.0
        self._changed = asyncio.Event()
        self._report_now = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Get the first state from control, or from the snapshot, load it, then go on in the background."""
        # A thread that computes gives the event loop its turn after 1 ms instead of 5.
        sys.setswitchinterval(0.001)
        if self._capture is not None:
            self._capture.start()
        try:
            async with asyncio.timeout(_FIRST_STATE_SECONDS):
                await self._poll(timeout=0)
        except (TimeoutError, httpx.HTTPError, StateError, ValueError) as error:
            log.warning("control does not answer (%s); the snapshot is used", str(error) or type(error).__name__)
            try:
                self.state = read_snapshot(self._settings.snapshot, self._settings.snapshot_key)
            except StateError as reason:
                log.warning("no snapshot: %s", reason)
        await self._apply()
        self._tasks = [
            asyncio.create_task(self._forever(self._follow)),
            asyncio.create_task(self._forever(self._load)),
            asyncio.create_task(self._forever(self._report)),
        ]
        # What was made so far lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()

    async def close(self) -> None:
        """Stop, and write what was captured and counted."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        await self._releases.close()
        with contextlib.suppress(httpx.HTTPError):
            await self._send_report()
        await self._control.aclose()
        await self._feedback.close()
        if self._features is not None:
            await self._features.close()
        if self._capture is not None:
            self._capture.close()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def healthy(self) -> bool:
        """Say whether all background work is alive."""
        return all(not task.done() for task in self._tasks)

    async def _forever(self, step: Any) -> None:
        pause = 0.5
        while True:
            try:
                await step()
                pause = 0.5
            except (httpx.HTTPError, TimeoutError, StateError, ValueError) as error:
                log.warning("control: %s", str(error) or type(error).__name__)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)
            except Exception:
                log.exception("the replica goes on after an error")
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)

    async def _follow(self) -> None:
        await self._poll(timeout=_POLL_SECONDS)

    async def _poll(self, *, timeout: float) -> None:
        after = self.state.generation if self._applied >= 0 and timeout else -1
        response = await self._control.get(
            "/v1/state", params={"after": after, "timeout": timeout}, timeout=httpx.Timeout(5, read=timeout + 5)
        )
        response.raise_for_status()
        state = State.from_json(response.json())
        self._heard = time.monotonic()
        if state != self.state or self._releases.alone:
            self.state = state
            self._changed.set()

    async def _load(self) -> None:
        """Apply each new state, and try again what failed."""
        soonest = min((failure.again for failure in self._failed.values()), default=None)
        wait = None if soonest is None else max(0.0, soonest - time.monotonic())
        try:
            async with asyncio.timeout(wait):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()
        await self._apply()

    def _wanted(self) -> dict[str, Entry]:
        """Return the models of this group, with only the releases that it serves or is about to serve."""
        own = self._group.own_model
        wanted = {}
        for name, entry in self.state.models.items():

            def ours(release: Release | None, name: str = name) -> Release | None:
                return release if release and (release.group == self._group.name or name == own) else None

            roles = replace(entry, stable=ours(entry.stable), previous=ours(entry.previous), next=ours(entry.next))
            beside = tuple(one for one in entry.candidates if ours(one.release))
            shadows = tuple(one for one in entry.shadows if ours(one.release))
            if roles.stable or roles.next or beside:
                wanted[name] = replace(roles, candidates=beside, shadows=shadows)
        return wanted

    async def _apply(self) -> None:
        """Load what the state asks for, switch, and drop what nobody needs."""
        state, wanted = self.state, self._wanted()
        keep: set[Key] = set()
        for name, entry in wanted.items():
            for release in (entry.stable, entry.next, entry.previous):
                if release is not None:
                    key = (name, release.version, release.digest)
                    keep.add(key)
                    # The previous version is kept warm, not fetched anew.
                    if release is not entry.previous:
                        await self._ensure(key, release)
            if entry.stable is not None:
                key = (name, entry.stable.version, entry.stable.digest)
                if key in self._loaded and self._serving.get(name) != key:
                    log.info("model %s: version %s serves", name, entry.stable.version)
                    self._serving[name] = key
        for name in [name for name in self._serving if name not in wanted or wanted[name].stable is None]:
            del self._serving[name]
        keep |= set(self._serving.values())
        for key in [key for key in self._loaded if key not in keep]:
            del self._loaded[key]
        self._failed = {key: failure for key, failure in self._failed.items() if key in keep}
        await self._releases.follow(wanted, {name: self._loaded[key] for name, key in self._serving.items()})
        self._switch()
        self.ingress.ready = all(name in self._serving for name, entry in wanted.items() if entry.stable)
        self._applied = state.generation
        self._report_now.set()
        await self._tidy(state)
        if self._capture is not None:
            self._capture.divide(
                {
                    (name, key[2]): wanted[name].split.generation
                    for name, key in self._serving.items()
                    if name not in self._releases.traffic
                }
            )
            digests = {(name, version, digest) for name, version, digest in self._loaded}
            self._capture.forget(lambda sink: (sink.name, sink.version, sink.digest) in digests)
        beside = {(name, one.release.version) for name, entry in wanted.items() for one in entry.beside}
        self._counters.forget(beside | {(name, version) for name, version, _ in self._loaded})

    async def _tidy(self, state: State) -> None:
        """Remove what no version of any group needs any more, now and then."""
        if time.monotonic() < self._tidy_at:
            return
        self._tidy_at = time.monotonic() + _TIDY_SECONDS
        releases = [release for entry in state.models.values() for release in entry.releases]
        try:
            await asyncio.to_thread(self._loader.cache.prune, [release.digest for release in releases])
        except OSError as error:
            log.warning("the model cache cannot be tidied: %s", error)

    def _switch(self) -> None:
        serving = set(self._serving.values())
        # Right after a promotion nothing runs beside the new version; what it fails on the one before answers.
        stable = [self._loaded[key].backed_by(self._previous(key)) for key in serving]
        others = [served for key, served in self._loaded.items() if key not in serving and key[0] in self._serving]
        for served in stable:
            served.batcher.slot.digest = served.digest
        for served in others:
            # Asked by its number, or in place of the one that serves: no evidence about an arm.
            served.batcher.slot.digest = ""
        releases = self._releases
        self.ingress.table = Table.build(stable, others, traffic=releases.traffic, mirrors=releases.mirrors)

    def _previous(self, key: Key) -> Served | None:
        """Return what was stable before a version that serves, while it is kept warm."""
        entry = self.state.models.get(key[0])
        if entry is None or entry.stable is None or entry.previous is None or entry.stable.digest != key[2]:
            return None
        return self._loaded.get((key[0], entry.previous.version, entry.previous.digest))

    async def _ensure(self, key: Key, release: Release) -> None:
        failure = self._failed.get(key)
        if key in self._loaded or (failure is not None and failure.again > time.monotonic()):
            return
        name, version, digest = key
        try:
            model, seconds = await asyncio.to_thread(self._fetch, name, release)
        except Exception as error:  # noqa: BLE001 - loading runs code and files of others
            pause = min(2 * failure.pause, _LONGEST_RETRY) if failure else 1.0
            reason = explained(error)
            self._failed[key] = _Failure(reason, time.monotonic() + pause, pause, fault(error))
            log.warning("model %s version %s cannot be loaded: %s", name, version, reason)
            return
        self._failed.pop(key, None)
        served = Served.make(
            name,
            version,
            digest,
            model,
            limits=self._limits,
            max_rows=self._settings.limits.max_rows,
            executor=self._executor,
            counters=self._counters,
            capture=self._capture,
        )
        served.batcher.measured(seconds)
        self._loaded[key] = served

    def _fetch(self, name: str, release: Release) -> tuple[Any, float]:
        """Verify, load and try a model; returns it and the seconds that one row takes. Runs in a thread."""
        model = self._loader.load(name, release)
        inputs = {t.name: _zeros(t.dtype, t.shape) for t in model.signature.inputs}
        seconds, clock = 0.0, clock_of(model)
        # The first call allocates; the second one is what requests will see.
        for _ in range(2):
            started = clock()
            try:
                model.predict(inputs)
            except Exception as error:  # noqa: BLE001 - a model may refuse zeros, which says nothing about it
                log.info("a trial row of zeros was refused: %s", error)
            seconds = clock() - started
        return model, seconds

    async def _report(self) -> None:
        """Report every second where there is something to say, else as a heartbeat."""
        if not self._releases.alone and time.monotonic() - self._heard > _ALONE_SECONDS and self._releases.leave():
            log.warning("control has not answered for %g s: stable answers everything", _ALONE_SECONDS)
            self._switch()
        # A rollout is judged by what replicas report: then often, and also that there was nothing.
        active = self._releases.active
        period = min(_REPORT_SECONDS, _ROLLOUT_SECONDS) if active else _REPORT_SECONDS
        waited, limit = 0.0, 4 * period if active else _HEARTBEAT_SECONDS
        while waited < limit:
            try:
                async with asyncio.timeout(period):
                    await self._report_now.wait()
                break
            except TimeoutError:
                waited += period
            if self._capture is not None:
                self._capture.tick()
            if self._counters.batch(self._dropped()) is not None:
                break
        self._report_now.clear()
        await self._send_report()

    async def _send_report(self) -> None:
        batch = self._counters.batch(self._dropped())
        report = {
            "group": self._group.name,
            "generation": self._applied,
            "models": self._status(),
            "counters": [] if batch is None else [batch],
        }
        response = await self._control.post(f"/v1/replicas/{self.id}", json=report)
        response.raise_for_status()
        if batch is not None:
            self._counters.acknowledge(int(response.json()["acknowledged"]))

    def _status(self) -> dict[str, Any]:
        status: dict[str, Any] = {}
        for name, version, digest in self._loaded:
            one = status.setdefault(name, {"serving": None, "versions": []})
            one["versions"].append({"version": version, "digest": digest, "error": None, "fault": None})
        for (name, version, digest), failure in self._failed.items():
            one = status.setdefault(name, {"serving": None, "versions": []})
            one["versions"].append(
                {"version": version, "digest": digest, "error": failure.reason, "fault": failure.fault}
            )
        for name, (_, version, digest) in self._serving.items():
            status[name]["serving"] = {"version": version, "digest": digest}
        for name, applied in self._releases.status().items():
            status.setdefault(name, {"serving": None, "versions": []}).update(applied)
        return status

    def _dropped(self) -> dict[str, int]:
        return {} if self._capture is None else self._capture.dropped()


def make_capture(settings: Settings, replica: str) -> Capture | None:
    """Return the capture of a process as the settings want it, None where they want none."""
    wanted = settings.capture
    if wanted is None or not wanted.enabled:
        return None
    options = CaptureOptions(
        wanted.directory,
        wanted.rotate_seconds,
        wanted.rotate_rows,
        wanted.retention_days,
        wanted.queue_rows,
        wanted.store,
    )
    return Capture(options, replica, derive(settings.snapshot_key, "capture"))


def _zeros(dtype: Any, shape: tuple[int, ...]) -> Any:
    import numpy as np

    array = np.zeros((1, *shape[1:]), dtype)
    if array.dtype == object:
        array[...] = ""
    return array
