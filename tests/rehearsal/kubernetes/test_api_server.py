"""The API server of a rehearsal: starts, knows the definitions, and leaves nothing running."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from infra.engine import crds
from infra.engine.errors import ToolError
from infra.rehearsal.kubernetes.api_server import ApiServer, api_server
from infra.rehearsal.kubernetes.client import ApiError, Client, Kind, UnreachableError

pytestmark = [pytest.mark.engine, pytest.mark.slow]

CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps", True, frozenset())


def servers(folder: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in part for part in process.info["cmdline"] or ()) and process.pid != os.getpid()
    ]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "the awaited state of the servers did not come"
        time.sleep(0.05)


def test_server_knows_the_kinds_that_components_make(server: ApiServer) -> None:
    for api_version, name in (
        ("v1", "Namespace"),
        ("apps/v1", "Deployment"),
        ("ray.io/v1", "RayService"),
        ("karpenter.sh/v1", "NodePool"),
        ("karpenter.k8s.aws/v1", "EC2NodeClass"),
        ("gateway.networking.k8s.io/v1", "HTTPRoute"),
        ("gateway.envoyproxy.io/v1alpha1", "SecurityPolicy"),
        ("monitoring.coreos.com/v1", "ServiceMonitor"),
        ("external-secrets.io/v1", "ExternalSecret"),
    ):
        assert server.client.kind(api_version, name), name
    assert server.client.kind("ray.io/v9", "RayService") is None
    assert "ray.io/v1" in server.client.versions_of("RayService")


def test_nothing_is_left_over_at_first_and_what_is_made_shows(server: ApiServer) -> None:
    assert server.leftovers() == []
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "forgotten"}}
    server.client.create(CONFIG_MAP, "default", body)
    try:
        assert server.leftovers() == ["ConfigMap default/forgotten"]
        assert server.counts() == {"ConfigMap": 1}
    finally:
        server.client.delete(CONFIG_MAP, "default", "forgotten")


def test_only_the_token_opens_the_server(server: ApiServer) -> None:
    stranger = Client(server.url, server.ca, "guessed")
    with pytest.raises(ApiError) as refused:
        stranger.get(CONFIG_MAP, "default", "x")
    stranger.close()
    assert refused.value.status == 401
    assert server.token not in repr(server)


def test_server_that_went_away_comes_back_with_its_objects(server: ApiServer) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}}
    server.client.create(CONFIG_MAP, "default", body)
    server.stop()
    with pytest.raises(UnreachableError, match="does not answer"):
        server.client.get(CONFIG_MAP, "default", "kept")
    server.start()
    assert server.client.get(CONFIG_MAP, "default", "kept")
    server.client.delete(CONFIG_MAP, "default", "kept")


def test_secrets_are_no_one_else_s_to_read_and_not_in_arguments(server: ApiServer) -> None:
    folder = server._folder
    for name in ("tokens.csv", "server.key"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    running = servers(folder)
    assert len(running) == 2
    assert not any(server.token in " ".join(process.cmdline()) for process in running)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_rehearsal_leaves_no_server(server: ApiServer, tmp_path: Path, number: signal.Signals) -> None:
    code = (
        "import pathlib, signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # of a shell's background job it is deaf to it
        "from infra.rehearsal.kubernetes.api_server import api_server\n"
        f"with api_server(pathlib.Path({str(tmp_path / 'k')!r}), definitions=False):\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if number == signal.SIGKILL:  # the kernel ends them, and whether they are ready is nothing to it
        until(lambda: {one.name() for one in servers(tmp_path)} >= {"etcd", "kube-apiserver"})
    else:
        assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    process.wait(60)
    process.stdout.close()
    until(lambda: not servers(tmp_path))


def test_server_that_does_not_start_says_why(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crds, "ensure", lambda *_args, **_options: tmp_path)
    monkeypatch.setattr("infra.rehearsal.kubernetes.api_server._api_command", _with_an_unknown_flag)
    with (
        pytest.raises(ToolError, match=r"ended with code 1(?s:.*)unknown flag: --nonsense") as error,
        api_server(tmp_path / "k"),
    ):
        pass
    assert "kube-apiserver.log" in str(error.value)
    assert servers(tmp_path) == []


def _with_an_unknown_flag(program: Path, *_rest: object) -> list[str]:
    return [str(program), "--nonsense"]
