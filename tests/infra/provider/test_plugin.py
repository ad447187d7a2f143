"""The plugin's own process, started as the engine starts it."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import provider_pb2_grpc

SCRIPT = Path(__file__).parents[3] / "infra" / "provider" / "pulumi-resource-blueprint"


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A started plugin, from a folder that is not the project's."""
    process = subprocess.Popen(
        [str(SCRIPT)], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    yield process
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()


def port_of(plugin: "subprocess.Popen[str]") -> int:
    assert plugin.stdout is not None
    return int(plugin.stdout.readline())


def test_plugin_tells_its_port_and_serves(plugin: "subprocess.Popen[str]") -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port_of(plugin)}") as channel:
        info = provider_pb2_grpc.ResourceProviderStub(channel).GetPluginInfo(empty_pb2.Empty(), timeout=60)

    assert info.version


def test_plugin_ends_when_the_engine_is_gone(plugin: "subprocess.Popen[str]") -> None:
    port_of(plugin)
    assert plugin.stdin is not None
    plugin.stdin.close()

    assert plugin.wait(60) == 0


def test_plugin_ends_when_the_engine_asks_it_to(plugin: "subprocess.Popen[str]") -> None:
    port_of(plugin)
    plugin.send_signal(signal.SIGINT)

    assert plugin.wait(60) == 0


def test_plugin_starts_without_the_pulumi_sdk_and_what_only_some_operations_need() -> None:
    code = (
        "import os, sys;import infra.provider.__main__ as main, infra.provider.plugin as plugin;"
        "plugin.wait_for_end_of_input = lambda: None;"
        "os._exit = lambda status: print(sorted(sys.modules), flush=True) or sys.exit();"
        "main.main()"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SCRIPT.parents[2], capture_output=True, text=True, timeout=60, check=False
    )

    loaded = done.stdout.splitlines()[1]
    assert "'pulumi.runtime.proto.provider_pb2'" in loaded
    for module in ("pulumi.resource", "pulumi.automation", "psutil", "httpx", "yaml", "supervisor"):
        assert f"'{module}'" not in loaded
