"""Runs one Pulumi program for `language_host`, in a process of its own.

It reads its orders, one JSON document, from standard input: they hold configuration in plain, which an argument list
would show to everyone on the machine. MLOPS_PROGRAM_DEBUG=1 keeps the SDK's debug messages (`pulumi up --debug`).
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import os
import runpy
import signal
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pulumi
import pulumi.runtime

PROGRAM_SHOWED_ITS_ERROR = 32


def own_frames(error: BaseException) -> str:
    """Format a traceback without the frames that lead to the program: this file's and those of `runpy`."""
    files = [Path(frame.filename).name for frame in traceback.extract_tb(error.__traceback__)]
    ours = [index for index, name in enumerate(files) if name in (Path(__file__).name, "<frozen runpy>", "runpy.py")]
    rest = len(files) - (ours[-1] + 1 if ours else 0)
    # With no frame left the error came from starting the program: then every frame may help.
    return "".join(traceback.format_exception(error, limit=-rest if rest else None))


def _neighbour(name: str) -> ModuleType:
    """Import a module of this folder; the program's own imports find neither the folder nor the project here."""
    spec = importlib.util.spec_from_file_location(f"_mlops_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def configure(order: dict[str, Any]) -> None:
    """Give the SDK its connection, names and configuration."""
    # The SDK, and processes that a program starts, look for configuration in the environment.
    os.environ["PULUMI_CONFIG"] = json.dumps(order["config"])
    os.environ["PULUMI_CONFIG_SECRET_KEYS"] = json.dumps(order["secret_keys"])
    if not os.environ.get("MLOPS_PROGRAM_DEBUG"):
        # Each is a call to the engine, several a resource, and half of a large program's time; nobody sees them
        # without --debug.
        pulumi.log.debug = lambda *_args, **_kwargs: None
    _neighbour("cycles").install()
    _neighbour("patience").install()
    pulumi.runtime.set_all_config(order["config"], order["secret_keys"])
    pulumi.runtime.configure(
        pulumi.runtime.Settings(
            monitor=order["monitor"],
            engine=order["engine"],
            project=order["project"],
            stack=order["stack"],
            parallel=order["parallel"],
            dry_run=order["dry_run"],
            organization=order["organization"],
            root_directory=order["root_directory"],
        )
    )


def run(order: dict[str, Any]) -> int:
    """Run the program of an order and return the process's exit status."""
    configure(order)
    sys.argv = [order["program"], *order["arguments"]]
    os.chdir(order["directory"])
    # Nothing to tell the user there: a failed resource leaves futures that nobody awaits, by design of the SDK.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    def execute() -> None:
        runpy.run_path(order["program"], run_name="__main__")

    threads = ThreadPoolExecutor(max_workers=max(order["parallel"], 1) * 4)
    loop.set_default_executor(threads)
    try:
        loop.run_until_complete(pulumi.runtime.run_in_stack(execute))
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
        return PROGRAM_SHOWED_ITS_ERROR
    except Exception as error:  # noqa: BLE001 - whatever a program raises is shown to its author
        pulumi.log.error(f"Program failed with an unhandled exception:\n{own_frames(error)}")
        return PROGRAM_SHOWED_ITS_ERROR
    finally:
        threads.shutdown(wait=True)
        loop.close()
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def end_quietly(_number: int, _frame: object) -> None:
    """End at once: the engine interrupts a program when the operation has failed or was cancelled, and says why."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(PROGRAM_SHOWED_ITS_ERROR)


def main() -> int:
    """Read an order and carry it out."""
    signal.signal(signal.SIGINT, end_quietly)
    order = json.loads(sys.stdin.buffer.read())
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    return run(order)


if __name__ == "__main__":
    sys.exit(main())
