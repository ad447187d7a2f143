"""Which arm answers a request: the split of one model's traffic, as a prebuilt value without I/O.

A `Split` divides 10,000 slots (basis points) among arms. A canary draws a slot per request from a random number; an A/B
experiment derives the slot from a keyed hash of the subject, so that a subject keeps its arm. `reweighted` hands over
the fewest slots that new weights allow: an arm that shrinks gives slots away, an arm that grows takes them, and nobody
else moves. Shadows get copies, each sampled on its own, and never take part in the split.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

SLOTS = 10_000
"""Basis points: the finest share of traffic."""
STABLE, CANDIDATE = "stable", "candidate"
"""Names of the arms of a rollout; a shadow's arm bears the name of its application."""

Runs = tuple[tuple[str, int], ...]
"""Slots in order, as runs of (arm, length); the lengths add up to `SLOTS`."""


class Split:
    """How one model's requests are divided among its arms; immutable.

    Attributes:
        generation: Number of this split; counters name it, so that counts of an older split are not mixed in.
        runs: Slots in order.
        shadows: Shadow arm → share of requests that it gets a copy of, in basis points.
        pick: Arm for a random number in [0, 1); costs a comparison where there are at most two runs.
        pick_subject: Arm for a subject's bytes, by keyed hash.
        pick_shadows: Shadows that get a copy of this request; takes a source of random numbers in [0, 1).
    """

    __slots__ = ("_key", "generation", "pick", "pick_shadows", "pick_subject", "runs", "shadows")

    def __init__(
        self,
        runs: Sequence[tuple[str, int]],
        *,
        shadows: Mapping[str, int] | None = None,
        key: bytes,
        generation: int = 0,
    ) -> None:
        """Build the split and its three functions.

        Args:
            runs: slots in order, as runs of (arm, length).
            shadows: shadow arm → basis points of the requests that are copied to it.
            key: secret of this experiment, 16 to 64 bytes: without it nobody can choose the arm of a subject, and two
                experiments with different keys assign independently.
            generation: number of this split.

        Raises:
            ValueError: the slots do not add up, a share is out of range, or the key is too short or too long.
        """
        self.runs: Runs = _merged(runs)
        self.shadows = dict(shadows or {})
        self.generation = generation
        self._key = key
        total = sum(length for _, length in self.runs)
        if total != SLOTS:
            raise ValueError(f"the arms' shares add up to {total} basis points, they must add up to {SLOTS}")
        for name, share in self.shadows.items():
            if not 0 <= share <= SLOTS:
                raise ValueError(f"shadow {name!r} samples {share} basis points, allowed are 0 to {SLOTS}")
        if not 16 <= len(key) <= 64:
            raise ValueError(f"the key of a split has 16 to 64 bytes, not {len(key)}")
        names = tuple(arm for arm, _ in self.runs)
        ends = _ends(self.runs)
        self.pick: Callable[[float], str] = _picker(names, ends)
        self.pick_subject: Callable[[bytes], str] = _subject_picker(names, ends, key)
        self.pick_shadows: Callable[[Callable[[], float]], tuple[str, ...]] = _shadow_picker(self.shadows)

    @classmethod
    def of(
        cls,
        weights: Mapping[str, int],
        *,
        shadows: Mapping[str, int] | None = None,
        key: bytes,
        generation: int = 0,
    ) -> Split:
        """Build a split from weights in basis points, arms in the order given."""
        return cls(tuple(weights.items()), shadows=shadows, key=key, generation=generation)

    @property
    def weights(self) -> dict[str, int]:
        """Arm → share in basis points; arms without a slot are left out."""
        shares: dict[str, int] = {}
        for arm, length in self.runs:
            shares[arm] = shares.get(arm, 0) + length
        return shares

    @property
    def single(self) -> str | None:
        """The arm that answers everything, or None while traffic is divided."""
        return self.runs[0][0] if len(self.runs) == 1 else None

    def reweighted(
        self, weights: Mapping[str, int], *, shadows: Mapping[str, int] | None = None, generation: int | None = None
    ) -> Split:
        """Return the split with other weights that moves the fewest subjects.

        Args:
            weights: arm → basis points, adding up to `SLOTS`; an arm left out gives all its slots away.
            shadows: shadows of the new split; None keeps those there are.
            generation: number of the new split; None counts up by one.

        Raises:
            ValueError: the weights do not add up or one is negative.
        """
        return Split(
            reweighted(self.runs, weights),
            shadows=self.shadows if shadows is None else shadows,
            key=self._key,
            generation=self.generation + 1 if generation is None else generation,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the split as JSON data, without the key, which is a secret and travels apart."""
        return {"generation": self.generation, "runs": [list(run) for run in self.runs], "shadows": self.shadows}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], key: bytes) -> Split:
        """Build the split that `to_json` described."""
        runs = [(str(arm), int(length)) for arm, length in data["runs"]]
        return cls(runs, shadows=data["shadows"], key=key, generation=int(data["generation"]))


def slot_of(subject: bytes, key: bytes) -> int:
    """Return the slot of a subject: uniform over `SLOTS`, the same wherever the key is the same.

    Keyed BLAKE2b (RFC 7693, section 2.9) to 64 bits, scaled by multiply and shift; the bias against a slot is below
    10,000 / 2**64.
    """
    return int.from_bytes(blake2b(subject, digest_size=8, key=key).digest(), "big") * SLOTS >> 64


def reweighted(runs: Sequence[tuple[str, int]], weights: Mapping[str, int]) -> Runs:
    """Hand over slots so that arms have the given weights, moving the least possible number of them.

    An arm that shrinks gives from its end; arms that grow take in the order of `weights`. A candidate whose weight
    rises step by step therefore keeps every subject it ever had.

    Raises:
        ValueError: the weights do not add up to `SLOTS` or one is negative.
    """
    if any(weight < 0 for weight in weights.values()):
        raise ValueError(f"the weight of an arm is 0 basis points or more, not {dict(weights)}")
    total = sum(weights.values())
    if total != SLOTS:
        raise ValueError(f"the weights {dict(weights)} add up to {total} basis points, they must add up to {SLOTS}")
    kept = dict(weights)
    free: list[tuple[str | None, int]] = []
    for arm, length in runs:
        keep = min(length, kept.get(arm, 0))
        if keep:
            kept[arm] -= keep
            free.append((arm, keep))
        if length > keep:
            free.append((None, length - keep))
    wanted = [(arm, missing) for arm, missing in kept.items() if missing]
    filled: list[tuple[str, int]] = []
    for owner, length in free:
        if owner is not None:
            filled.append((owner, length))
            continue
        while length:
            taker, missing = wanted.pop(0)
            taken = min(length, missing)
            filled.append((taker, taken))
            length -= taken
            if missing > taken:
                wanted.insert(0, (taker, missing - taken))
    return _merged(filled)


def _merged(runs: Sequence[tuple[str, int]]) -> Runs:
    merged: list[tuple[str, int]] = []
    for arm, length in runs:
        if length < 0:
            raise ValueError(f"arm {arm!r} has {length} basis points, allowed are 0 to {SLOTS}")
        if merged and merged[-1][0] == arm:
            merged[-1] = (arm, merged[-1][1] + length)
        elif length:
            merged.append((arm, length))
    return tuple(merged)


def _ends(runs: Runs) -> tuple[int, ...]:
    ends: list[int] = []
    for _, length in runs:
        ends.append((ends[-1] if ends else 0) + length)
    return tuple(ends)


def _picker(names: tuple[str, ...], ends: tuple[int, ...]) -> Callable[[float], str]:
    # Closures instead of methods: the prediction path pays for every attribute it looks up.
    first = names[0]
    if len(names) == 1:
        return lambda _draw: first
    if len(names) == 2:
        second, border = names[1], ends[0] / SLOTS
        return lambda draw: first if draw < border else second
    borders = tuple(end / SLOTS for end in ends[:-1])
    return lambda draw: names[bisect_right(borders, draw)]


def _subject_picker(names: tuple[str, ...], ends: tuple[int, ...], key: bytes) -> Callable[[bytes], str]:
    first = names[0]
    if len(names) == 1:
        return lambda _subject: first
    return lambda subject: names[bisect_right(ends, slot_of(subject, key))]


def _shadow_picker(shadows: Mapping[str, int]) -> Callable[[Callable[[], float]], tuple[str, ...]]:
    sampled = tuple((name, share / SLOTS) for name, share in shadows.items() if share)
    if not sampled:
        return lambda _draw: ()
    if all(share >= 1 for _, share in sampled):
        everyone = tuple(name for name, _ in sampled)
        return lambda _draw: everyone
    return lambda draw: tuple(name for name, share in sampled if draw() < share)
