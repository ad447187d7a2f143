"""Splitting traffic: fair, sticky, and moving nobody without need."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.traffic import SLOTS, Split, reweighted, slot_of

KEY = b"k" * 32
ARMS = ("stable", "one", "two", "three")


@st.composite
def weights(draw: st.DrawFn) -> dict[str, int]:
    """Weights of up to four arms that add up."""
    cuts = sorted(draw(st.lists(st.integers(0, SLOTS), min_size=3, max_size=3)))
    ends = [0, *cuts, SLOTS]
    return {arm: ends[index + 1] - ends[index] for index, arm in enumerate(ARMS)}


def slots(runs: tuple[tuple[str, int], ...]) -> list[str]:
    """The arm of each slot."""
    return [arm for arm, length in runs for _ in range(length)]


def test_one_arm_gets_everything_without_looking_at_the_draw() -> None:
    split = Split.of({"stable": SLOTS}, key=KEY)
    assert split.single == "stable"
    assert {split.pick(0.0), split.pick(0.999999)} == {"stable"}
    assert split.pick_subject(b"anyone") == "stable"
    assert split.pick_shadows(lambda: pytest.fail("no shadow, no draw")) == ()


@given(weights(), st.floats(0, 1, exclude_max=True))
def test_pick_gives_the_arm_of_the_slot_that_the_draw_falls_into(shares: dict[str, int], draw: float) -> None:
    split = Split.of(shares, key=KEY)
    assert split.pick(draw) == slots(split.runs)[int(draw * SLOTS)]


def test_draws_give_each_arm_its_share() -> None:
    split = Split.of({"stable": 9_000, "one": 700, "two": 300}, key=KEY)
    source = random.Random(1)
    counts = Counter(split.pick(source.random()) for _ in range(100_000))
    assert counts["one"] / 100_000 == pytest.approx(0.07, abs=0.005)
    assert counts["two"] / 100_000 == pytest.approx(0.03, abs=0.005)


@pytest.mark.parametrize("share", [500, 2_500, 5_000])
def test_100_000_subjects_are_within_half_a_percentage_point(share: int) -> None:
    split = Split.of({"stable": SLOTS - share, "one": share}, key=KEY)
    counts = Counter(split.pick_subject(f"customer-{number}".encode()) for number in range(100_000))
    assert counts["one"] / 100_000 == pytest.approx(share / SLOTS, abs=0.005)


def test_a_subject_keeps_its_arm_between_processes_and_requests() -> None:
    split = Split.of({"stable": 5_000, "one": 5_000}, key=KEY)
    again = Split.from_json(split.to_json(), KEY)
    subjects = [f"{number}".encode() for number in range(1_000)]
    assert [split.pick_subject(subject) for subject in subjects] == [
        again.pick_subject(subject) for subject in subjects
    ]


def test_experiments_with_different_keys_assign_independently() -> None:
    subjects = [f"{number}".encode() for number in range(20_000)]
    both = sum(slot_of(subject, KEY) < 5_000 and slot_of(subject, b"o" * 32) < 5_000 for subject in subjects)
    assert both / 20_000 == pytest.approx(0.25, abs=0.02)


@given(weights(), weights())
def test_new_weights_move_the_fewest_slots_there_can_be(before: dict[str, int], after: dict[str, int]) -> None:
    old = Split.of(before, key=KEY)
    new = old.reweighted(after)
    moved = sum(one != other for one, other in zip(slots(old.runs), slots(new.runs), strict=True))
    assert moved == sum(max(0, after[arm] - before[arm]) for arm in ARMS)
    assert new.weights == {arm: weight for arm, weight in after.items() if weight}
    assert new.generation == old.generation + 1


@given(weights(), weights())
def test_a_slot_stays_with_an_arm_whose_weight_does_not_fall(before: dict[str, int], after: dict[str, int]) -> None:
    old = Split.of(before, key=KEY)
    for one, other in zip(slots(old.runs), slots(reweighted(old.runs, after)), strict=True):
        if after[one] >= before[one]:
            assert one == other


def test_a_growing_candidate_keeps_every_subject_it_ever_had() -> None:
    split = Split.of({"stable": SLOTS}, key=KEY)
    subjects = [f"{number}".encode() for number in range(5_000)]
    had: set[bytes] = set()
    for weight in (500, 2_500, 5_000):
        split = split.reweighted({"stable": SLOTS - weight, "one": weight})
        has = {subject for subject in subjects if split.pick_subject(subject) == "one"}
        assert had <= has
        had = has


def test_shadows_that_sample_everything_need_no_draw() -> None:
    split = Split.of({"stable": SLOTS}, shadows={"one": SLOTS, "none": 0, "two": SLOTS}, key=KEY)
    assert split.pick_shadows(lambda: pytest.fail("nothing to draw")) == ("one", "two")


def test_shadows_are_sampled_each_on_its_own() -> None:
    split = Split.of({"stable": SLOTS}, shadows={"one": 10_000, "two": 2_000, "three": 0}, key=KEY)
    source = random.Random(1)
    counts = Counter(name for _ in range(20_000) for name in split.pick_shadows(source.random))
    assert counts["one"] == 20_000
    assert counts["two"] / 20_000 == pytest.approx(0.2, abs=0.01)
    assert "three" not in counts


def test_the_key_is_not_part_of_the_json() -> None:
    assert "key" not in str(Split.of({"stable": SLOTS}, key=KEY).to_json())


@pytest.mark.parametrize(
    ("weights", "shadows", "key", "says"),
    [
        ({"stable": 9_000}, {}, KEY, "add up to 9000"),
        ({"stable": 11_000, "one": -1_000}, {}, KEY, "'one' has -1000"),
        ({"stable": SLOTS}, {"two": 10_001}, KEY, "shadow 'two' samples 10001"),
        ({"stable": SLOTS}, {}, b"short", "16 to 64 bytes"),
    ],
)
def test_what_does_not_fit_is_refused(weights: dict[str, int], shadows: dict[str, int], key: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Split.of(weights, shadows=shadows, key=key)


@pytest.mark.parametrize("weights", [{"stable": 9_000}, {"stable": 10_001, "one": -1}])
def test_weights_that_do_not_fit_are_refused_when_they_change(weights: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="basis points"):
        Split.of({"stable": SLOTS}, key=KEY).reweighted(weights)
