"""Inputs and calls for tests of the provider."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infra.provider.codec import Properties, plain
from infra.provider.process import ProcessResource
from infra.provider.resource import Call


@dataclass
class Told:
    """A call whose messages are kept: passing ones apart from those that stay."""

    passing: list[str] = field(default_factory=list)
    lasting: list[str] = field(default_factory=list)

    def call(self, *secrets: str) -> Call:
        return Call(
            "tested", lambda text, brief: (self.passing if brief else self.lasting).append(text), secrets=secrets
        )


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def process_inputs(tmp_path: Path) -> Callable[..., Properties]:
    """Checked inputs of a process that sleeps; keywords exchange single ones."""

    def make(**different: Any) -> Properties:
        given = {"name": "web", "home": str(tmp_path), "command": ["sleep", "600"], "directory": "/"} | different
        inputs, problems = ProcessResource().check(given)
        assert problems == []
        known: Properties = plain(inputs)
        return known

    return make
