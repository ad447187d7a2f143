"""Latency histograms: fixed edges, mergeable, quantiles to the width of a bucket."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.rollout.analysis.histogram import BUCKETS, EDGES, above, bucket_of, collect, merged, quantile

latencies = st.floats(1e-6, 1e4)


@given(latencies)
def test_a_latency_lies_within_the_edges_of_its_bucket(seconds: float) -> None:
    bucket = bucket_of(seconds)
    assert seconds <= EDGES[bucket]
    assert bucket == 0 or seconds > EDGES[bucket - 1]


@pytest.mark.parametrize("bucket", range(BUCKETS - 1))
def test_an_edge_belongs_to_its_bucket(bucket: int) -> None:
    assert bucket_of(EDGES[bucket]) == bucket
    assert bucket_of(math.nextafter(EDGES[bucket], math.inf)) == bucket + 1


@pytest.mark.parametrize("odd", [math.nan, math.inf, 1e9])
def test_what_cannot_be_placed_counts_as_slowest(odd: float) -> None:
    assert bucket_of(odd) == BUCKETS - 1


@given(st.lists(latencies, min_size=1), st.lists(latencies))
def test_merging_is_counting_together(one: list[float], other: list[float]) -> None:
    assert merged(collect(one), collect(other)) == collect(one + other)


@given(st.lists(st.floats(2e-4, 90), min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_right_to_the_width_of_a_bucket(values: list[float], share: float) -> None:
    true = sorted(values)[math.ceil(share * len(values) - 1e-9) - 1]
    found = quantile(collect(values), share)
    assert found is not None
    assert true <= found <= true * 1.16


def test_nothing_has_no_quantile() -> None:
    assert quantile({}, 0.99) is None


def test_above_counts_strictly_slower_buckets() -> None:
    assert above({3: 5, 4: 2, 9: 1}, 3) == 3
