from serving.counters import BUCKETS, Counters
from serving.rollout.analysis.histogram import bucket_of


def test_batch_holds_what_was_added_since_the_last_one() -> None:
    counters = Counters()
    slot = counters.slot("m", "1")
    slot.observe(0.0004)
    slot.observe(0.02)
    slot.count("refused")
    first = counters.batch({"m": 3})
    assert first == {
        "sequence": 1,
        "series": [
            {
                "model": "m",
                "version": "1",
                "outcomes": {"ok": 2, "refused": 1},
                "buckets": [1, 0, 0, 0, 0, 1, *[0] * (len(BUCKETS) - 5)],
                "seconds": 0.0204,
            }
        ],
        "dropped": {"m": 3},
        "arms": [],
    }
    counters.acknowledge(1)
    slot.observe(99)
    second = counters.batch({"m": 5})
    assert second is not None
    assert second["sequence"] == 2
    assert second["series"][0]["buckets"][-1] == 1
    assert second["dropped"] == {"m": 2}


def test_batch_is_repeated_until_it_is_acknowledged_and_nothing_is_lost() -> None:
    counters = Counters()
    counters.slot("m", "1").observe(1)
    first = counters.batch({})
    counters.slot("m", "1").observe(1)
    assert counters.batch({}) == first
    counters.acknowledge(0)
    assert counters.batch({}) == first
    counters.acknowledge(1)
    second = counters.batch({})
    assert second is not None
    assert second["series"][0]["outcomes"] == {"ok": 1}


def test_there_is_no_batch_when_nothing_was_counted() -> None:
    counters = Counters()
    counters.slot("m", "1")
    assert counters.batch({}) is None


def test_counters_of_versions_that_are_gone_go_once_they_were_reported() -> None:
    counters = Counters()
    gone = counters.slot("m", "1")
    gone.observe(1)
    counters.forget(set())
    assert counters.slot("m", "1") is gone
    counters.batch({})
    counters.forget(set())
    assert counters.slot("m", "1") is not gone


def test_many_answers_are_all_in_both_histograms() -> None:
    counters = Counters()
    slot = counters.slot("m", "1", "sha256:1")
    for number in range(2_500):
        slot.observe(0.001 if number % 5 else 0.3)
    batch = counters.batch({})
    assert batch is not None
    series, counts = batch["series"][0], batch["arms"][0]["counts"]
    assert series["outcomes"] == {"ok": 2_500}
    assert {BUCKETS[place]: count for place, count in enumerate(series["buckets"]) if count} == {0.001: 2_000, 0.5: 500}
    assert counts["requests"] == 2_500
    assert counts["latency"] == {str(bucket_of(0.001)): 2_000, str(bucket_of(0.3)): 500}


def test_what_a_version_only_waited_for_a_processor_is_monitored_and_not_judged() -> None:
    counters = Counters()
    counters.slot("m", "1", "sha256:1").observe(0.3, 0.299)
    batch = counters.batch({})
    assert batch is not None
    series, counts = batch["series"][0], batch["arms"][0]["counts"]
    assert [BUCKETS[place] for place, count in enumerate(series["buckets"]) if count] == [0.5]
    assert counts["latency"] == {str(bucket_of(0.3 - 0.299)): 1}
