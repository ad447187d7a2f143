import pytest

from serving.auth import Bearer, derive, sign


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        (b"Bearer abc", True),
        (b"Bearer abcd", False),
        (b"Bearer ab", False),
        (b"abc", False),
        (b"", False),
        (None, False),
    ],
)
def test_bearer_allows_the_token_only(header: bytes | None, allowed: bool) -> None:
    assert Bearer("abc").allows(header) is allowed


def test_without_a_token_everybody_is_allowed() -> None:
    assert Bearer(None).allows(None)


def test_keys_differ_by_purpose_and_signatures_by_content() -> None:
    assert derive("k", "a") != derive("k", "b")
    assert sign("k", "a", b"x") != sign("k", "a", b"y")
    assert sign("k", "a", b"x") == sign("k", "a", b"x")
