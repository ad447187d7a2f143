"""Going down and coming back: nothing left, nothing lost."""

from pathlib import Path

import psutil
import pytest

from tests.local.checkout import Platform

pytestmark = pytest.mark.local

_FIRST_GIVEN = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
"""From here on the kernel gives ports to those who ask for any."""


def test_down_leaves_nothing_and_the_next_up_serves_the_same_versions(platform: Platform) -> None:
    checkout = platform.checkout
    before = {n: m["served"] for n, m in checkout.json("status", checkout.stack, "--json")["models"].items()}
    held = {(port, pid) for _, port, pid in checkout.listening()}
    commands = checkout.commands().values()
    short = {p for p in Path("/tmp").glob("mlops-*") if any(str(p) in command for command in commands)}
    assert short
    checkout.run("down", checkout.stack)
    assert not checkout.processes()
    listening = {
        (c.laddr.port, c.pid) for c in psutil.net_connections(kind="tcp") if c.laddr and c.status == psutil.CONN_LISTEN
    }
    # A port that the kernel gave may be another's by now, one that the stack file states may not.
    assert not held & listening
    assert not {port for port, _ in held if port < _FIRST_GIVEN} & {port for port, _ in listening}
    assert not [path for path in short if path.exists()]
    assert not (checkout.home / "run").exists()
    assert (checkout.home / "data").is_dir()
    up = checkout.run("up", checkout.stack)
    platform.endpoints.update(checkout.outputs()["endpoints"])  # tokens are made anew
    after = {n: m["served"] for n, m in checkout.json("status", checkout.stack, "--json")["models"].items()}
    assert after == before
    assert "Traceback" not in up.stderr
