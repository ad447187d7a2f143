"""The operations that the layer answers itself, by service."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from infra.rehearsal.aws.gaps.routing import Request

Handler = Callable[[Request, dict[str, Any]], Any]


class Refused(Exception):  # noqa: N818 - an answer of the API, not a fault of the program
    """The API refuses a call."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status


class Supplied:
    """All operations that the layer answers.

    Args:
        handlers: By `service.Operation`.
        leftovers: Returns what is still held.
    """

    def __init__(self, handlers: Mapping[str, Handler], leftovers: Callable[[], dict[str, list[str]]]) -> None:
        self._handlers, self._leftovers = handlers, leftovers
        self._lock = threading.RLock()

    def has(self, request: Request) -> bool:
        """Say whether the layer answers a request."""
        return request.name in self._handlers

    def answer(self, request: Request, arguments: dict[str, Any]) -> Any:
        """Answer it.

        Raises:
            Refused: As the API would refuse it.
        """
        with self._lock:
            return self._handlers[request.name](request, arguments)

    def leftovers(self) -> dict[str, list[str]]:
        """Return ids of what is still held, by kind."""
        with self._lock:
            return self._leftovers()
