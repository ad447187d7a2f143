"""Fixtures that several parts of the suite use."""

import socket
from pathlib import Path

import pytest


@pytest.fixture
def free_port() -> int:
    """A TCP port of the loopback address on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def pulumi_command() -> Path:
    """The Pulumi engine, found or made as `./mlops` does it."""
    from infra.engine import tools

    return tools.ensure("pulumi")
