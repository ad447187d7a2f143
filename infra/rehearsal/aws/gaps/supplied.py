"""The operations that the layer answers itself, by service."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from infra.rehearsal.aws.gaps.routing import Request

Handler = Callable[[Request, dict[str, Any]], Any]
Owner = Callable[[dict[str, Any]], bool]


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
        conditional: Handlers for only some requests of an operation.
        observe: Told of calls that moto took.
        rewrite: Completes moto's answers.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        leftovers: Callable[[], dict[str, list[str]]],
        conditional: Mapping[str, tuple[Owner, Handler]] | None = None,
        observe: Callable[[Request, dict[str, Any]], None] | None = None,
        rewrite: Callable[[Request, dict[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
        self._handlers, self._leftovers = handlers, leftovers
        self._conditional = conditional or {}
        self._observe, self._rewrite = observe, rewrite
        self._lock = threading.RLock()

    def has(self, request: Request, arguments: Callable[[], dict[str, Any]]) -> bool:
        """Say whether the layer answers a request; `arguments` returns those of the request."""
        if request.name in self._conditional:
            with self._lock:
                return self._conditional[request.name][0](arguments())
        return request.name in self._handlers

    def answer(self, request: Request, arguments: dict[str, Any]) -> Any:
        """Answer it.

        Raises:
            Refused: As the API would refuse it.
        """
        handler = self._handlers.get(request.name) or self._conditional[request.name][1]
        with self._lock:
            return handler(request, arguments)

    def concerns(self, request: Request) -> bool:
        """Say whether the layer looks at what moto answers."""
        return request.service in ("eks", "budgets")

    def completed(self, request: Request, arguments: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
        """Take note of a call that moto took, and return its answer with what moto leaves out."""
        with self._lock:
            if self._observe:
                self._observe(request, arguments)
            return self._rewrite(request, document) if self._rewrite else document

    def leftovers(self) -> dict[str, list[str]]:
        """Return ids of what is still held, by kind."""
        with self._lock:
            return self._leftovers()
