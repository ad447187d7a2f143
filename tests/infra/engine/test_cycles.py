"""Dependencies are noted and refused exactly as the SDK does it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi.runtime import resource_cycle_breaker, rpc

from infra.engine import cycles


class _Resource:
    """Something that dependencies can be noted on."""


EDGES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=40)


@given(EDGES)
def test_the_answers_are_those_of_the_sdk(edges: list[tuple[int, int]]) -> None:
    ours, theirs = [_Resource() for _ in range(8)], [_Resource() for _ in range(8)]
    for start, end in edges:
        said = cycles.declare_dependency(ours[start], ours[end])
        assert said == resource_cycle_breaker.declare_dependency(theirs[start], theirs[end])  # type: ignore[arg-type]


def test_a_program_asks_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (resource_cycle_breaker, rpc):
        monkeypatch.setattr(module, "declare_dependency", vars(module)["declare_dependency"])  # put back afterwards
    cycles.install()
    assert vars(rpc)["declare_dependency"] is cycles.declare_dependency
