"""The local cluster: everything on loopback, every port named, the token never on a command line."""

import dataclasses
import os
import re
import subprocess
import sys

import pytest

from components.cluster.local import ClusterPorts, LocalClusterArgs, head_command, head_environment
from components.inference.local import serve_environment
from components.local import LocalTarget
from components.testing import Recording

PROCESS = "blueprint:index:Process"


@pytest.fixture
def args(target: LocalTarget) -> LocalClusterArgs:
    return LocalClusterArgs(
        site=target.site,
        ports=target.ports.cluster,
        serve_ports=target.ports.serving.of_cluster(),
        serve_environment=serve_environment(target.site, target.ports.serving),
        logical_cpus=12,
        object_store_mb=100,
    )


def test_head_is_told_every_port_so_that_it_takes_no_random_one(args: LocalClusterArgs) -> None:
    told = {int(value) for value in re.findall(r"port=(\d+)", " ".join(head_command(args)))}
    told.add(int(head_environment(args)["DASHBOARD_METRIC_PORT"]))

    assert told == {getattr(args.ports, field.name) for field in dataclasses.fields(ClusterPorts)}


def test_head_keeps_to_loopback(args: LocalClusterArgs) -> None:
    command = head_command(args)

    assert "--node-ip-address=127.0.0.1" in command
    assert "--dashboard-host=127.0.0.1" in command
    assert head_environment(args)["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"


def test_sizes_are_in_the_units_that_ray_expects(args: LocalClusterArgs) -> None:
    command = head_command(args)

    assert "--num-cpus=12" in command
    assert f"--object-store-memory={100 * 1024 * 1024}" in command


def test_head_gets_what_serve_reads_when_it_starts(args: LocalClusterArgs) -> None:
    environment = head_environment(args)

    assert environment["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    assert environment["PATH"].startswith("/venv/bin:")
    assert environment["PYTHONPATH"] == args.site.project


def test_sockets_are_short_enough_for_the_kernel(args: LocalClusterArgs) -> None:
    folder = next(part.split("=")[1] for part in head_command(args) if part.startswith("--temp-dir="))
    session = "session_2026-12-31_23-59-59_123456_1234567/sockets/dash_JobHead_x12345678"

    assert len(f"{folder}/{session}") < 108
    for name, value in args.serve_environment.items():
        if name.endswith("SOCKET_PATH"):
            assert len(value) < 108, name


def test_files_of_the_proxy_belong_to_one_environment(target: LocalTarget) -> None:
    other = dataclasses.replace(target.site, home=target.site.home + "-2")
    mine, theirs = (serve_environment(site, target.ports.serving) for site in (target.site, other))

    for name in mine:
        if name.endswith(("_LOC", "_PATH", "_BASE", "_FILE")) and not name.endswith(("BINARY_PATH", "IMPORT_PATH")):
            assert mine[name] != theirs[name], name


def test_head_checks_the_ports_of_the_proxy_too(platform: Recording) -> None:
    ports = platform.of_type(PROCESS)["ray-head"].inputs["ports"]

    assert {"inference", "haproxyStats", "haproxyMetrics", "rayGcs", "rayClient"} <= ports.keys()


def test_actuator_claims_no_port_since_the_proxy_outlives_it(platform: Recording) -> None:
    assert platform.of_type(PROCESS)["inference"].inputs["ports"] == {}


def test_token_is_in_the_secret_environment_only(platform: Recording) -> None:
    head = platform.of_type(PROCESS)["ray-head"]

    assert head.inputs["secretEnvironment"] == {"RAY_AUTH_TOKEN": "TOKEN-cluster-token"}
    assert "secretEnvironment.RAY_AUTH_TOKEN" in head.secrets
    assert head.secrets == {"secretEnvironment.RAY_AUTH_TOKEN"}


@pytest.mark.slow
def test_processes_that_name_themselves_keep_their_environment(args: LocalClusterArgs) -> None:
    """Ray's agents do, and are found by a mark in it when the supervisor was killed."""
    code = (
        "from ray._raylet import setproctitle; setproctitle('ray::DashboardAgent');"
        "print(b'MLOPS_PROCESS=x/y' in open('/proc/self/environ', 'rb').read())"
    )
    environment = {**os.environ, **head_environment(args), "MLOPS_PROCESS": "x/y"}

    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)

    assert done.stdout == "True\n"


def test_head_is_up_when_it_takes_jobs(platform: Recording) -> None:
    health = platform.of_type(PROCESS)["ray-head"].inputs["health"]

    assert health["http"] == "http://127.0.0.1:6382/api/local_raylet_healthz"
