"""Latencies as counts in fixed buckets: mergeable, small, with the same edges in every replica and version.

Sixteen buckets to a factor of ten, from 0.1 ms to 100 s, so that a quantile is known to 15 %. Counts are sparse
(`{bucket: count}`), because one model's latencies fill a handful of buckets.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping

PER_DECADE = 16
LOWEST_SECONDS = 1e-4
BUCKETS = 6 * PER_DECADE + 2
"""Bucket b holds latencies above edge(b - 1) and up to edge(b); the last has no upper edge."""

Buckets = Mapping[int, int]


def edge(bucket: int) -> float:
    """Return the upper edge of a bucket in seconds."""
    return LOWEST_SECONDS * 10 ** (bucket / PER_DECADE) if bucket < BUCKETS - 1 else math.inf


EDGES = tuple(edge(bucket) for bucket in range(BUCKETS))


def bucket_of(seconds: float) -> int:
    """Return the bucket of a latency; what is not a number counts as the slowest."""
    return BUCKETS - 1 if math.isnan(seconds) else bisect_left(EDGES, seconds)


def collect(latencies: Iterable[float]) -> dict[int, int]:
    """Count latencies in seconds."""
    counts: dict[int, int] = {}
    for seconds in latencies:
        bucket = bucket_of(seconds)
        counts[bucket] = counts.get(bucket, 0) + 1
    return counts


def merged(one: Buckets, other: Buckets) -> dict[int, int]:
    """Add two histograms."""
    counts = dict(one)
    for bucket, count in other.items():
        counts[bucket] = counts.get(bucket, 0) + count
    return counts


def quantile(counts: Buckets, share: float) -> float | None:
    """Return the upper edge in seconds of the bucket that holds the quantile, or None without counts."""
    rank = share * sum(counts.values())
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= rank and counts[bucket]:
            return EDGES[bucket]
    return None


def above(counts: Buckets, bucket: int) -> int:
    """Return how many latencies lie above the upper edge of a bucket."""
    return sum(count for own, count in counts.items() if own > bucket)
