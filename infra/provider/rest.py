"""JSON over HTTP, for the few addresses the provider talks to. Standard library only, since imports are start-up time.

Proxies from the environment are not used: controller and dashboard are neighbours.
"""

import http.client
import json
import ssl
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.provider.resource import ResourceError


class UnreachableError(ResourceError):
    """Nobody answers there now."""


@dataclass(frozen=True)
class Answer:
    """A response: its status, and its body as JSON where it is JSON, else as text."""

    status: int
    body: Any

    @property
    def ok(self) -> bool:
        """Whether the request was done."""
        return 200 <= self.status < 300

    def reason(self) -> str:
        """Return what the server says about a refusal, for people."""
        if isinstance(self.body, dict):
            reasons = self.body.get("reasons")
            if isinstance(reasons, list) and reasons:
                return f"{self.status}: {'; '.join(str(reason) for reason in reasons)}"
            for name in ("error", "detail", "message", "reason"):
                if self.body.get(name):
                    return f"{self.status}: {self.body[name]}"
        return f"{self.status}: {str(self.body)[:500]}"


def request(
    method: str,
    address: str,
    *,
    token: str | None = None,
    body: object = None,
    timeout: float = 15.0,
    headers: Mapping[str, str] | None = None,
    context: ssl.SSLContext | None = None,
) -> Answer:
    """Send a request and return the answer, whatever its status.

    Args:
        method: HTTP method.
        address: Absolute address.
        token: Bearer token.
        body: Value to send as JSON.
        timeout: Seconds to wait for each of connection and answer.
        headers: Further headers, in lower case.
        context: Whose certificates are trusted; by default those that this machine trusts.

    Raises:
        UnreachableError: When there is no answer.
    """
    parts = urllib.parse.urlsplit(address)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    sent = {"accept": "application/json", **(headers or {})}
    if token:
        sent["authorization"] = f"Bearer {token}"
    if body is not None:
        sent["content-type"] = "application/json"
    target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    try:
        connection.request(method, target, json.dumps(body) if body is not None else None, sent)
        response = connection.getresponse()
        content = response.read().decode("utf-8", errors="replace")
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UnreachableError(f"{parts.scheme}://{parts.netloc} does not answer: {why}") from error
    finally:
        connection.close()
    try:
        return Answer(response.status, json.loads(content) if content else None)
    except ValueError:
        return Answer(response.status, content)
