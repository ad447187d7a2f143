"""What a replica does for rollouts: connect to candidates, divide the traffic as the state says, replay samples.

Made anew from each state that the replica applies; what has not changed is kept, above all who is in which arm.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, Protocol

from serving.arms import Caller, Remote, Traffic
from serving.auth import derive
from serving.config import Settings
from serving.counters import Counters
from serving.fetch import FetchError
from serving.gauge import Gauge
from serving.loading import Loader
from serving.protocol.v2 import Codec
from serving.replay import Replayer, SampleError, read_sample
from serving.runtime.contract import Contract
from serving.shadows import Mirror, Observe, Shadow
from serving.state import Candidate, Division, Entry
from serving.table import Served
from serving.traffic import Split

log = logging.getLogger(__name__)


class Way(Caller, Observe, Protocol):
    """A way to an application: a candidate is called, a shadow is let observe."""

    def close(self) -> None:
        """Give it up; whoever still waits gets an error."""
        ...


Connect = Callable[[str], Way]


class Arms:
    """The rollouts of one replica's models. All methods belong to its event loop."""

    def __init__(
        self,
        settings: Settings,
        replica: str,
        counters: Counters,
        loader: Loader,
        executor: Executor,
        connect: Connect | None,
    ) -> None:
        self.traffic: dict[str, Traffic] = {}
        """How the requests of models in a rollout are divided."""
        self.mirrors: dict[str, Mirror] = {}
        """Who gets copies of the requests of models that nothing divides."""
        self.active = False
        """Whether a rollout waits for what is reported."""
        self.alone = False
        """Whether everything was given to stable because control is silent."""
        self._settings, self._replica, self._counters = settings, replica, counters
        self._loader, self._executor, self._connect = loader, executor, connect
        self._applied: dict[str, int] = {}
        self._made: dict[str, tuple[Any, ...]] = {}
        self._replays: dict[str, tuple[int, asyncio.Task[None]]] = {}
        self._failures: dict[str, tuple[int, str]] = {}
        self._shadows: dict[tuple[str, str], Shadow] = {}
        # One way to a candidate for its whole rollout: the first call on a new one takes many times longer than the
        # next, and it is the rows of the smoke set that should pay for it, not the first user of every step.
        self._ways: dict[str, Way] = {}
        self._said: dict[str, tuple[str, str]] = {}
        self._gauge = Gauge()

    async def follow(self, wanted: Mapping[str, Entry], serving: Mapping[str, Served]) -> None:
        """Divide traffic and replay as the entries of this replica's models say.

        Args:
            wanted: the entries.
            serving: what answers for each model.
        """
        self.alone = False
        traffic: dict[str, Traffic] = {}
        mirrors: dict[str, Mirror] = {}
        for name, entry in wanted.items():
            served, split = serving.get(name), entry.split
            candidate = entry.candidates[0] if entry.candidates else None
            if served is not None and not split.whole:
                traffic[name] = await self._divide(name, served, candidate, entry)
            elif served is not None and any(split.shadows.values()):
                mirrors[name] = self._mirror(name, entry, self._split(split))
            await self._replay(name, served, candidate, split)
        for name in [name for name in self._replays if name not in wanted]:
            self._replays.pop(name)[1].cancel()
        candidates = {one.name for entry in wanted.values() for one in entry.candidates}
        for name in self._ways.keys() - candidates:
            # What is under way may still be answered.
            asyncio.get_running_loop().call_later(self._settings.limits.request_seconds, self._ways.pop(name).close)
        beside = {name: {one.release.digest for one in entry.candidates} for name, entry in wanted.items()}
        self._said = {name: said for name, said in self._said.items() if said[0] in beside.get(name, ())}
        dropped = [one for name, one in self.traffic.items() if traffic.get(name) is not one]
        self.traffic, self.mirrors = traffic, mirrors
        self._made = {name: made for name, made in self._made.items() if name in traffic}
        self._applied = {name: entry.split.generation for name, entry in wanted.items()}
        self._failures = {
            name: failure for name, failure in self._failures.items() if self._wants(wanted.get(name), failure[0])
        }
        self.active = any(entry.candidates or entry.next for entry in wanted.values())
        self._counters.divide(set(traffic))
        for one in dropped:
            await one.close()
        shadows = {(name, one.name) for name, entry in wanted.items() for one in entry.shadows}
        for key in self._shadows.keys() - shadows:
            await self._shadows.pop(key).close()
        if any(entry.candidates or any(entry.split.shadows.values()) for entry in wanted.values()):
            self._gauge.start()
        else:
            self._gauge.stop()

    def leave(self) -> bool:
        """Give everything to stable until control answers; says whether that changes anything."""
        self.alone, changed = True, bool(self.traffic or self.mirrors)
        self.traffic, self.mirrors, self._made = {}, {}, {}
        self._counters.divide(set())
        return changed

    def status(self) -> dict[str, dict[str, Any]]:
        """Return what to report about each model: its split, a replay that cannot be done, its candidate's failure."""
        status: dict[str, dict[str, Any]] = {name: {"split": number} for name, number in self._applied.items()}
        for name, (generation, reason) in self._failures.items():
            status.setdefault(name, {})["replayFailed"] = {"generation": generation, "reason": reason}
        for name, (digest, why) in self._said.items():
            status.setdefault(name, {})["failure"] = {"digest": digest, "reason": why}
        return status

    async def close(self) -> None:
        """Stop replays and copies."""
        for _, task in self._replays.values():
            task.cancel()
        for _, task in self._replays.values():
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._gauge.stop()
        for one in self.traffic.values():
            await one.close()
        for shadow in self._shadows.values():
            await shadow.close()
        for way in self._ways.values():
            way.close()

    async def _divide(self, name: str, served: Served, candidate: Candidate | None, entry: Entry) -> Traffic:
        split = entry.split
        shape = (split.generation, split.rollout, split.runs, tuple(split.shadows.items()), split.sticky)
        made = (shape, served.digest, served.version, candidate, entry.shadows)
        if self._made.get(name) == made:
            return self.traffic[name]
        remote = None
        if candidate is not None:
            remote = await self._remote(name, served.codec, served.model.contract, candidate)
        self._made[name] = made
        built = self._split(split)
        mirror = self._mirror(name, entry, built)
        return Traffic(built, remote, self._counters, mirror=mirror, room=self._gauge.open, sticky=split.sticky)

    def _split(self, split: Division) -> Split:
        key = derive(self._settings.snapshot_key, f"split:{split.rollout}")
        return Split(split.runs, shadows=split.shadows, key=key, generation=split.generation)

    def _mirror(self, name: str, entry: Entry, split: Split) -> Mirror:
        shadows = {one.name: shadow for one in entry.shadows if (shadow := self._shadow(name, one)) is not None}
        return Mirror(split, shadows, self._gauge.open)

    def _shadow(self, name: str, wanted: Candidate) -> Shadow | None:
        """Return the way to a shadow: the same one as long as it is the same version."""
        if self._connect is None:
            return None
        key, digest = (name, wanted.name), wanted.release.digest
        known = self._shadows.get(key)
        if known is None or known.digest != digest:
            deadline = self._settings.limits.request_seconds
            known = Shadow(name, digest, self._connect(wanted.name), self._counters, deadline)
            self._shadows[key] = known
        return known

    async def _remote(self, name: str, codec: Codec, contract: Contract, candidate: Candidate) -> Remote | None:
        if self._connect is None:
            return None
        release = candidate.release
        own = Codec(name, release.version, codec.signature, contract, codec.max_rows)
        limits, way = self._settings.limits, self._ways.get(candidate.name)
        if way is None:
            way = self._ways[candidate.name] = self._connect(candidate.name)

        def said(why: str) -> None:
            # The kind of error without its text: a model's message may quote what a person sent.
            kind = why.partition(":")[0][:120]
            if self._said.get(name) != (release.digest, kind):
                self._said[name] = release.digest, kind
                log.warning("model %s: candidate %s failed a request: %s", name, release.version, kind)

        return Remote(
            own,
            release.digest,
            way,
            self._counters,
            limits.candidate_seconds,
            limits.request_seconds,
            said,
            self._gauge.stalled,
        )

    @staticmethod
    def _wants(entry: Entry | None, generation: int) -> bool:
        return entry is not None and entry.split.replay is not None and entry.split.replay.generation == generation

    async def _replay(self, name: str, served: Served | None, candidate: Candidate | None, split: Division) -> None:
        """Begin the replay that this replica is asked for, once; end another one."""
        replay = split.replay if split.replay is not None and split.replay.replica == self._replica else None
        current = self._replays.get(name)
        if current is not None and (replay is None or current[0] != replay.generation):
            current[1].cancel()
            del self._replays[name]
            current = None
        if replay is None or candidate is None or current is not None:
            return
        task = asyncio.create_task(self._replayed(name, served, candidate, replay.generation, replay.rows))
        self._replays[name] = (replay.generation, task)

    async def _replayed(
        self, name: str, served: Served | None, candidate: Candidate, generation: int, rows: int
    ) -> None:
        try:
            sample = read_sample(await asyncio.to_thread(self._loader.cache.sample, candidate.release))
            if served is not None:
                remote = await self._remote(name, served.codec, served.model.contract, candidate)
            else:
                remote = await self._first(name, candidate)
            if remote is None:
                self._failures[name] = (generation, "this replica cannot reach candidates")
                return
            await Replayer(remote, served, self._counters, self._executor).replay(sample, rows, generation)
        except (FetchError, SampleError, OSError) as error:
            log.warning("model %s: the evaluation sample cannot be replayed: %s", name, error)
            self._failures[name] = (generation, str(error))
        except Exception as error:
            log.exception("model %s: the replay failed", name)
            self._failures[name] = (generation, f"{type(error).__name__}: {error}")

    async def _first(self, name: str, candidate: Candidate) -> Remote | None:
        """Connect to a candidate that has no stable to compare with: its own signature is what it must keep."""
        model = await asyncio.to_thread(self._loader.load, name, candidate.release)
        codec = Codec(name, candidate.release.version, model.signature, model.contract, self._settings.limits.max_rows)
        return await self._remote(name, codec, model.contract, candidate)
