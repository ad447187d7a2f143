"""Plays Ray's dashboard for KubeRay's operator: Serve's REST API of every Ray cluster, behind an HTTP proxy.

The operator reaches a dashboard by the name of the head's Service. Here that name is looked up in the API server, as
DNS and kube-proxy would: the Service must be there, with that port, and a ready head behind it; else the answer is the
gateway's error, which the operator takes as it would take a connection that fails. The token must be the one in the
secret that the cluster names. Settings of applications are judged by Ray's own schema. Applications run once a worker
of their cluster is ready, which is all that is known here: nothing is served.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

PATH = "/api/serve/applications/"
AUTHORIZATION = "x-ray-authorization"
DOMAIN = ".svc.cluster.local"


@dataclass(frozen=True)
class Head:
    """What stands behind the name of a head's Service.

    Attributes:
        cluster: `namespace/name` of the Ray cluster.
        token: token that its dashboard asks for; None where it asks for none.
        workers: ready workers.
    """

    cluster: str
    token: str | None
    workers: int


@dataclass
class Dashboards:
    """Dashboards of all clusters.

    Attributes:
        head: finds the head behind `service.namespace` and a port; a text says why there is none.
        judge: says what is wrong with settings, None while that is not known yet.
        unknown: calls that nothing here answers, in order; the report shows them.
    """

    head: Callable[[str, str, int], Head | str]
    judge: Callable[[str], list[str] | None]
    unknown: list[str] = field(default_factory=list)
    _settings: dict[str, dict[str, Any]] = field(default_factory=dict)

    def answer(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        """Answer a call: status and document.

        Args:
            method: HTTP method.
            url: whole address, as a proxy is asked for it.
            headers: header fields, names in small letters.
            body: what was sent.
        """
        asked = urlsplit(url)
        service, _, rest = (asked.hostname or "").partition(".")
        namespace = rest.removesuffix(DOMAIN.removeprefix(".")).removesuffix(".")
        found = self.head(namespace, service, asked.port or 80)
        if isinstance(found, str):
            return 502, {"error": found}
        if found.token is not None and headers.get(AUTHORIZATION) != f"Bearer {found.token}":
            return 401, {"error": "the token is not the one in the cluster's secret"}
        if asked.path == PATH and method == "PUT":
            return self._put(found, body)
        if asked.path == PATH and method == "GET":
            return 200, self._state(found)
        self.unknown.append(f"{method} {asked.path}")
        return 404, {"error": f"{method} {asked.path} is not played"}

    def _put(self, head: Head, body: bytes) -> tuple[int, Any]:
        try:
            settings = json.loads(body)
        except ValueError as error:
            return 400, {"error": f"is no JSON: {error}"}
        if not isinstance(settings, dict):
            return 400, {"error": "is no mapping"}
        self.judge(_plain(settings))
        self._settings[head.cluster] = settings
        return 200, {}

    def _state(self, head: Head) -> dict[str, Any]:
        """Serve's details, as far as the operator reads them (Ray's documentation, "Serve REST API")."""
        settings = self._settings.get(head.cluster)
        if settings is None:
            return {"applications": {}, "proxies": {}}
        wrong = self.judge(_plain(settings))
        if wrong:
            status, message = "DEPLOY_FAILED", "; ".join(wrong)
        elif wrong is None or not head.workers:
            status, message = "DEPLOYING", "" if head.workers else "no worker is ready"
        else:
            status, message = "RUNNING", ""
        applications = {
            one["name"]: {
                "name": one["name"],
                "route_prefix": one.get("route_prefix"),
                "status": status,
                "message": message,
                "deployments": {},
            }
            for one in settings.get("applications") or ()
        }
        capacity = {"target_capacity": settings["target_capacity"]} if "target_capacity" in settings else {}
        return {"applications": applications, "proxies": {}, **capacity}


def _plain(settings: Mapping[str, Any]) -> str:
    """Settings without the share that the operator states while it moves traffic, which is no other configuration."""
    return json.dumps({key: value for key, value in settings.items() if key != "target_capacity"}, sort_keys=True)


@contextmanager
def proxy(dashboards: Dashboards) -> Iterator[str]:
    """Serve dashboards as an HTTP proxy on loopback while the block runs; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                status, document = dashboards.answer(self.command, self.path, headers, body)
            except Exception as error:  # noqa: BLE001 - whatever it is, the operator tells it in its event
                status, document = 500, {"error": f"the rehearsal's own dashboard failed: {error!r}"}
            content = json.dumps(document).encode()
            try:
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except ConnectionError:  # the operator waits two seconds, and asks again
                self.close_connection = True

        def log_message(self, *_arguments: object) -> None:
            """Say nothing: each call is one of many."""

    for method in ("GET", "PUT", "POST", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.answer)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
