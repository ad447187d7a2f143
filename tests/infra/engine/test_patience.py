"""Outstanding outputs are waited for as the SDK does it, in fewer waits."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from pulumi.runtime import stack
from pulumi.runtime.rpc_manager import RPCManager

from infra.engine import patience


class Settings:
    """The part of the SDK's settings that a wait reads; those of this process hold what other tests left."""

    def __init__(self) -> None:
        self.outputs: set[asyncio.Task[Any]] = set()
        self.lock = threading.Lock()


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    own, manager = Settings(), RPCManager()  # type: ignore[no-untyped-call]
    monkeypatch.setattr(stack, "SETTINGS", own)
    monkeypatch.setattr(stack, "_get_rpc_manager", lambda: manager)
    return own


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many outputs each wait was for."""
    monkeypatch.setattr(stack, "asyncio", asyncio)  # put back afterwards
    patience.install()
    seen: list[int] = []
    real = asyncio.wait

    async def counted(tasks: Any, **options: Any) -> Any:
        seen.append(len(tasks))
        return await real(tasks, **options)

    monkeypatch.setattr(asyncio, "wait", counted)
    return seen


async def after(steps: int) -> None:
    for _ in range(steps):
        await asyncio.sleep(0)


async def test_all_outputs_are_done_afterwards_those_that_came_meanwhile_too(
    settings: Settings, waits: list[int]
) -> None:
    late: list[asyncio.Task[None]] = []

    async def makes_another() -> None:
        late.append(asyncio.create_task(after(5)))
        settings.outputs.add(late[0])

    outputs = [asyncio.create_task(after(steps)) for steps in range(300)]
    settings.outputs.update([*outputs, asyncio.create_task(makes_another())])
    await stack.wait_for_rpcs()
    assert all(one.done() for one in [*outputs, *late])
    assert len(late) == 1
    assert len(waits) < 100, "one by one, these are 300 waits"


async def test_an_output_that_fails_is_told_while_others_go_on(settings: Settings, waits: list[int]) -> None:
    async def fails() -> None:
        raise ValueError("no such bucket")

    endless = asyncio.create_task(asyncio.Event().wait())
    settings.outputs.update([endless, asyncio.create_task(fails())])
    with pytest.raises(ValueError, match="no such bucket"):
        await asyncio.wait_for(stack.wait_for_rpcs(), timeout=60)
    assert not endless.done()
    endless.cancel()
    assert waits
