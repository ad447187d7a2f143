"""The Python language host, spoken to over gRPC as the engine does it."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from google.protobuf import empty_pb2, struct_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import language_pb2, language_pb2_grpc

ROOT = Path(__file__).resolve().parents[3]
HOST = ROOT / "infra" / "engine" / "language_host.py"


class Host:
    """A running language host."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", str(HOST), "127.0.0.1:1"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        port = int(self.process.stdout.readline())
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.stub: Any = language_pb2_grpc.LanguageRuntimeStub(self.channel)

    def end(self) -> None:
        self.channel.close()
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def host() -> Iterator[Host]:
    running = Host()
    yield running
    running.end()


def info(root: Path, program: Path | None = None, **options: str) -> Any:
    values = struct_pb2.Struct()
    values.update(options)
    return language_pb2.ProgramInfo(
        root_directory=str(root), program_directory=str(program or root), entry_point=".", options=values
    )


def test_missing_environment_is_an_error_that_names_the_option(host: Host, tmp_path: Path) -> None:
    request = language_pb2.RunRequest(info=info(tmp_path, virtualenv="nowhere"), pwd=str(tmp_path))
    error = host.stub.Run(request, timeout=30).error
    assert "virtualenv" in error
    assert "nowhere" in error


def test_packages_are_left_to_the_engine(host: Host, tmp_path: Path) -> None:
    request = language_pb2.GetRequiredPackagesRequest(info=info(tmp_path))
    assert list(host.stub.GetRequiredPackages(request, timeout=30).packages) == []


def test_about_names_the_interpreter(host: Host, tmp_path: Path) -> None:
    about = host.stub.About(language_pb2.AboutRequest(info=info(tmp_path)), timeout=30)
    assert about.version == ".".join(map(str, sys.version_info[:3]))


def test_what_is_not_offered_says_so(host: Host) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        host.stub.GenerateProject(language_pb2.GenerateProjectRequest(), timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


PLUGIN = """
import os, sys
print("out", sys.argv[1:], os.environ["EXTRA"], os.path.basename(os.getcwd()))
print("err", file=sys.stderr)
sys.exit(3)
"""


def test_plugin_gets_arguments_environment_and_folder_and_its_output_comes_back(host: Host, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    plugin.mkdir()
    (plugin / "__main__.py").write_text(PLUGIN)
    request = language_pb2.RunPluginRequest(
        pwd=str(tmp_path), args=["a", "b"], env=["EXTRA=x=y"], info=info(plugin), kind="resource", name="plugin"
    )
    out = err = b""
    code = None
    for response in host.stub.RunPlugin(request, timeout=30):
        out += response.stdout
        err += response.stderr
        code = response.exitcode if response.WhichOneof("output") == "exitcode" else code
    assert out.decode() == f"out ['a', 'b'] x=y {tmp_path.name}\n"
    assert err == b"err\n"
    assert code == 3


def test_plugin_prints_through_before_it_ends_and_stops_with_its_call(host: Host, tmp_path: Path) -> None:
    (tmp_path / "__main__.py").write_text("import os, time\nprint(os.getpid())\ntime.sleep(600)\n")
    request = language_pb2.RunPluginRequest(pwd=str(tmp_path), info=info(tmp_path), kind="resource")
    call = host.stub.RunPlugin(request)
    pid = int(next(call).stdout)
    assert psutil.pid_exists(pid)
    call.cancel()
    deadline = time.monotonic() + 60
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not psutil.pid_exists(pid)


def test_host_leaves_on_an_interrupt(host: Host) -> None:
    host.process.send_signal(signal.SIGINT)
    assert host.process.wait(60) == 0


def test_host_and_its_children_leave_when_the_engine_dies(host: Host, tmp_path: Path) -> None:
    (tmp_path / "__main__.py").write_text("import os, time\nprint(os.getpid())\ntime.sleep(600)\n")
    call = host.stub.RunPlugin(language_pb2.RunPluginRequest(pwd=str(tmp_path), info=info(tmp_path), kind="resource"))
    pid = int(next(call).stdout)
    assert host.process.stdin is not None
    host.process.stdin.close()  # as when the engine is killed
    host.process.wait(60)
    assert not psutil.pid_exists(pid)


def test_cancel_is_only_acknowledged(host: Host, tmp_path: Path) -> None:
    host.stub.Cancel(empty_pb2.Empty(), timeout=30)
    host.stub.GetPluginInfo(empty_pb2.Empty(), timeout=30)
    assert host.process.poll() is None
