"""Going down and coming back: nothing left, nothing lost."""

from pathlib import Path

import psutil
import pytest

from tests.local.checkout import Platform

pytestmark = pytest.mark.local


def test_down_leaves_nothing_and_the_next_up_serves_the_same_versions(platform: Platform) -> None:
    checkout = platform.checkout
    before = {n: m["served"] for n, m in checkout.json("status", checkout.stack, "--json")["models"].items()}
    ports = {
        connection.laddr.port
        for process in checkout.processes()
        for connection in process.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    short = {
        p for p in Path("/tmp").glob("mlops-*") if any(str(p) in " ".join(x.cmdline()) for x in checkout.processes())
    }
    assert short
    checkout.run("down", checkout.stack)
    assert not checkout.processes()
    listening = {c.laddr.port for c in psutil.net_connections(kind="tcp") if c.laddr and c.status == psutil.CONN_LISTEN}
    assert not ports & listening
    assert not [path for path in short if path.exists()]
    assert not (checkout.home / "run").exists()
    assert (checkout.home / "data").is_dir()
    up = checkout.run("up", checkout.stack)
    platform.endpoints.update(checkout.outputs()["endpoints"])  # tokens are made anew
    after = {n: m["served"] for n, m in checkout.json("status", checkout.stack, "--json")["models"].items()}
    assert after == before
    assert "Traceback" not in up.stderr
