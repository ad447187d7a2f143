"""The feature store's HTTP surface: who gets in, what is refused, what the answer looks like."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from training.features.server import MAX_BODY, BadRequest, Lookup, authorised, create_app, decode, parse


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "expected an object"),
        ({"entities": {"a": ["x"]}}, "feature_service: expected the name"),
        ({"feature_service": "s"}, "entities: expected an object"),
        ({"feature_service": "s", "entities": {"a": "x"}}, "entities.a: expected a list"),
        ({"feature_service": "s", "entities": {"a": []}}, "entities.a: expected a list of at least one"),
        ({"feature_service": "s", "entities": {"a": [None]}}, "entities.a: keys must be text or whole numbers"),
        ({"feature_service": "s", "entities": {"a": [True]}}, "entities.a: keys must be text"),
        ({"feature_service": "s", "entities": {"a": ["x"], "b": ["y", "z"]}}, "one length"),
        ({"feature_service": "s", "entities": {"a": ["x"] * 10_001}}, "10001 rows, at most 10000"),
    ],
)
def test_malformed_request_is_refused_with_the_key(data: Any, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        parse(data)


def test_request_is_read() -> None:
    assert parse({"feature_service": "s", "entities": {"a": ["x", 1]}}) == ("s", {"a": ["x", 1]})


def test_body_that_is_no_json_is_refused() -> None:
    with pytest.raises(BadRequest, match="no JSON"):
        decode(b"{")


@pytest.mark.parametrize(
    ("header", "expected"),
    [("Bearer secret", True), ("bearer secret", False), ("Bearer secre", False), ("secret", False), (None, False)],
)
def test_token_is_compared_as_a_whole(header: str | None, expected: bool) -> None:
    assert authorised(header, "secret") is expected


class NoStore:
    """A store that must not be asked."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the store was asked for {name}")


@pytest.fixture
def client() -> TestClient:
    return TestClient(create_app(Lookup(NoStore()), "secret"))


def test_lookup_without_token_is_refused_before_the_body_is_read(client: TestClient) -> None:
    assert client.post("/get-online-features", content=b"{").status_code == 401


@pytest.mark.parametrize(("body", "status"), [(b"{", 400), (b"x" * (MAX_BODY + 1), 413)])
def test_bad_body_is_refused_without_asking_the_store(client: TestClient, body: bytes, status: int) -> None:
    response = client.post("/get-online-features", content=body, headers={"authorization": "Bearer secret"})
    assert response.status_code == status
    assert response.json()["detail"]


def test_health_and_metrics_need_no_token(client: TestClient) -> None:
    client.post("/get-online-features", content=b"{")
    assert client.get("/health").json() == {"status": "ok"}
    assert 'feature_store_requests_total{code="401"} 1.0' in client.get("/metrics").text
