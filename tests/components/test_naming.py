"""Names fit the limits of every service, whatever the environment is called, and two of them never become one."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.naming import LIMITS, Names, fitted

WORD = st.from_regex(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", fullmatch=True).filter(lambda word: len(word) <= 31)
"""As the settings take clients and environments."""
PURPOSE = st.from_regex(r"[a-z][a-z0-9-]{0,39}[a-z0-9]", fullmatch=True)
REGION = st.sampled_from(["eu-central-1", "us-gov-west-1", "ap-southeast-5", "il-central-1", "mx-central-1"])
NAMES = st.builds(Names, client=WORD, environment=WORD, account=st.just("123456789012"), region=REGION)


@given(NAMES, st.sampled_from(sorted(LIMITS)), PURPOSE)
def test_every_name_is_within_the_limit_of_its_service(names: Names, kind: str, purpose: str) -> None:
    for name in (names.of(kind, purpose), names.path(kind, purpose)):
        assert 1 <= len(name) <= LIMITS[kind]


@given(NAMES, PURPOSE)
def test_a_bucket_has_a_name_that_s3_accepts(names: Names, purpose: str) -> None:
    bucket = names.bucket(purpose)

    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", bucket)
    assert bucket.endswith(f"-{names.account}-{names.region}")


@given(NAMES, st.from_regex(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", fullmatch=True))
def test_a_database_has_a_name_that_rds_accepts(names: Names, purpose: str) -> None:
    assert re.fullmatch(r"[a-z](-?[a-z0-9]){0,62}", names.of("database", purpose))


@given(NAMES, NAMES, st.sampled_from(sorted(LIMITS)), PURPOSE)
def test_two_environments_never_share_a_long_name(one: Names, other: Names, kind: str, purpose: str) -> None:
    if one.prefix != other.prefix:
        assert one.of(kind, purpose) != other.of(kind, purpose)


def test_a_name_that_fits_is_left_as_it_is() -> None:
    assert fitted("acme-prod-audit", 20) == "acme-prod-audit"


def test_a_limit_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be told from others"):
        fitted("acme-prod-audit", 8)
