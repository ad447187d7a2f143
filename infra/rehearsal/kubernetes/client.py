"""A small client of the Kubernetes API: discovery, and objects of any kind. Its errors say what the server refused."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

Object = dict[str, Any]

MANAGER = "pulumi-kubernetes"
"""Field manager of what the program declares, as the official plugin names it."""

SCRATCH = "mlops-rehearsal-scratch"
"""Namespace in which objects are judged, since their own may not be there yet."""

_TRIES = 4
_PAUSE_SECONDS = 0.25


class ApiError(Exception):
    """The API server refused a call.

    Attributes:
        status: HTTP status.
        reason: The server's word for it, such as "Invalid" or "Forbidden".
        causes: What is wrong by field, as far as the server says so.
    """

    def __init__(self, status: int, reason: str, message: str, causes: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.causes = causes


class UnreachableError(Exception):
    """The API server does not answer."""


@dataclass(frozen=True)
class Kind:
    """A kind of object that the server knows."""

    api_version: str
    name: str
    plural: str
    namespaced: bool
    verbs: frozenset[str]

    def path(self, namespace: str | None) -> str:
        """Return the path of its collection, of all namespaces without one."""
        root = f"/api/{self.api_version}" if "/" not in self.api_version else f"/apis/{self.api_version}"
        return f"{root}/namespaces/{namespace}/{self.plural}" if namespace else f"{root}/{self.plural}"


class Client:
    """Talks to one API server; safe for use by several threads.

    Args:
        url: Address of the server.
        ca: Certificate authority in PEM form.
        token: Bearer token.
    """

    def __init__(self, url: str, ca: str, token: str) -> None:
        self.url = url
        context = ssl.create_default_context(cadata=ca)
        self._http = httpx.Client(
            base_url=url,
            verify=context,
            trust_env=False,  # a proxy of the person's has no business on the loopback address
            headers={"Authorization": f"Bearer {token}"},
            timeout=30.0,
            limits=httpx.Limits(max_connections=32),
        )
        self._kinds: dict[tuple[str, str], Kind] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # --- what the server knows ----------------------------------------------------------------------------------------

    def ready(self) -> bool:
        """Return whether the server says that it is ready."""
        try:
            return self._http.get("/readyz", timeout=5.0).status_code == 200
        except httpx.HTTPError:
            return False

    def kind(self, api_version: str, name: str) -> Kind | None:
        """Return a kind, or None when the server does not know it. The server is asked again while it is missing."""
        with self._lock:
            if (api_version, name) not in self._kinds:
                self._kinds = self._discover()
            return self._kinds.get((api_version, name))

    def versions_of(self, name: str) -> tuple[str, ...]:
        """Return the versions of APIs that have a kind of this name."""
        return tuple(version for version, kind in self._discover() if kind == name)

    def kinds(self) -> Iterator[Kind]:
        """Yield every kind whose objects can be listed and deleted, each in its preferred version only."""
        seen: set[tuple[str, str]] = set()
        for (api_version, name), kind in self._discover().items():
            group = api_version.rpartition("/")[0]
            if (group, name) not in seen and {"list", "delete"} <= kind.verbs:
                seen.add((group, name))
                yield kind

    def _discover(self) -> dict[tuple[str, str], Kind]:
        found: dict[tuple[str, str], Kind] = {}
        accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        for root in ("/api", "/apis"):
            for group in self.request("GET", root, accept=accept)["items"]:
                prefix = f"{group['metadata']['name']}/" if root == "/apis" else ""
                for version in group["versions"]:
                    api_version = prefix + version["version"]
                    for entry in version.get("resources", ()):
                        name = entry["responseKind"]["kind"]
                        found[api_version, name] = Kind(
                            api_version,
                            name,
                            entry["resource"],
                            entry["scope"] == "Namespaced",
                            frozenset(entry["verbs"]),
                        )
        return found

    # --- objects ------------------------------------------------------------------------------------------------------

    def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """Return an object, or None when there is none."""
        try:
            found: Object = self.request("GET", f"{kind.path(namespace)}/{name}")
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return found

    def list(self, kind: Kind, namespace: str | None = None) -> Iterator[Object]:
        """Yield the objects of a kind; there are none of one whose definition is gone."""
        after = ""
        while True:
            try:
                page = self.request("GET", kind.path(namespace), params={"limit": "500", "continue": after})
            except ApiError as error:
                if error.status == 404:
                    return
                raise
            yield from page["items"]
            after = page["metadata"].get("continue", "")
            if not after:
                return

    def create(self, kind: Kind, namespace: str | None, body: Object, *, dry_run: bool = False) -> Object:
        """Create an object; unknown and mistyped fields are refused."""
        params = {"fieldManager": MANAGER, "fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})
        created: Object = self.request("POST", kind.path(namespace), params=params, body=body)
        return created

    def apply(
        self, kind: Kind, namespace: str | None, body: Object, *, force: bool = False, dry_run: bool = False
    ) -> Object:
        """Apply an object on the server's side: fields that it no longer names go away, those of others stay.

        Args:
            kind: Its kind.
            namespace: Where it lies, None for a kind without namespaces.
            body: All fields that the program declares.
            force: Take fields from other managers instead of refusing.
            dry_run: Only say what would come of it.
        """
        params = {"fieldManager": MANAGER, "fieldValidation": "Strict", "force": str(force).lower()}
        params |= {"dryRun": "All"} if dry_run else {}
        path = f"{kind.path(namespace)}/{body['metadata']['name']}"
        applied: Object = self.request(
            "PATCH", path, params=params, body=body, content_type="application/apply-patch+yaml"
        )
        return applied

    def delete(self, kind: Kind, namespace: str | None, name: str, propagation: str = "Background") -> bool:
        """Delete an object; return whether it was there."""
        try:
            self.request("DELETE", f"{kind.path(namespace)}/{name}", params={"propagationPolicy": propagation})
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Any:
        """Make a call; one that is throttled or finds the server busy is repeated.

        Args:
            method: HTTP method.
            path: Path of the call.
            params: Its query.
            body: What is sent: a text as it is, anything else as JSON.
            content_type: Form of the body.
            accept: Form of the answer, of JSON's kind.

        Raises:
            ApiError: The server refused it.
            UnreachableError: The server does not answer.
        """
        content = body.encode() if isinstance(body, str) else None if body is None else json.dumps(body).encode()
        headers = {"Accept": accept} | ({} if body is None else {"Content-Type": content_type})
        for attempt in range(1, _TRIES + 1):
            last = attempt == _TRIES
            try:
                answer = self._http.request(method, path, params=params, content=content, headers=headers)
            except httpx.HTTPError as error:
                # A call that was on its way may have been carried out: those that follow are safe to repeat, since
                # objects are applied, and a delete of what is gone is no error.
                if not last:
                    time.sleep(_PAUSE_SECONDS * attempt)
                    continue
                raise UnreachableError(
                    f"the Kubernetes API server at {self.url} does not answer ({error}). What was not finished is "
                    "finished by another run once it answers again"
                ) from error
            if answer.status_code in (429, 503) and not last:
                time.sleep(min(float(answer.headers.get("Retry-After") or _PAUSE_SECONDS * attempt), 2.0))
                continue
            if answer.is_success:
                return answer.json()
            raise _refusal(answer)
        raise AssertionError("the last try returns or raises")


def _refusal(answer: httpx.Response) -> ApiError:
    try:
        status = answer.json()
    except ValueError:
        status = {"message": answer.text.strip()[:500]}
    details = status.get("details") or {}
    causes = tuple(
        (str(cause.get("field", "")), str(cause.get("message", ""))) for cause in details.get("causes") or ()
    )
    message = str(status.get("message") or f"HTTP {answer.status_code}")
    return ApiError(answer.status_code, str(status.get("reason", "")), message, causes)
