"""The SDK's wait for outstanding outputs, in time that fits thousands of them.

The SDK waits for the first of all pending outputs, and then for the first of all that are left: each wait hangs a
callback on every one of them, which takes a fifth of the time of a production environment's program. Here a wait goes
on for a moment, so that many are done when it ends; a failure ends it at once, as before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

_MOMENT = 0.05
"""How long a wait goes on, in seconds."""


class _Asyncio:
    """`asyncio` with another `wait`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @staticmethod
    async def wait(
        tasks: Iterable[asyncio.Future[Any]], *, return_when: str
    ) -> tuple[set[asyncio.Future[Any]], set[asyncio.Future[Any]]]:
        """Wait until all are done, one has failed, or a moment has passed."""
        del return_when
        return await asyncio.wait(tasks, timeout=_MOMENT, return_when=asyncio.FIRST_EXCEPTION)


def install() -> None:
    """Let the SDK of this process wait here."""
    from pulumi.runtime import stack

    setattr(stack, "asyncio", _Asyncio())  # noqa: B010 - it is typed as a module
