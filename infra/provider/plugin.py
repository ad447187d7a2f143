"""A provider plugin's process: prints its port for the engine, serves until the engine goes away.

The stand-ins of a rehearsal are served by the same function, and attached to the engine by their port.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def enter_without_sdk() -> None:
    """Make the protocol's generated modules importable without the Pulumi SDK around them.

    The packages above them are registered as bare packages: their `__init__` takes longer than everything else
    together.
    """
    root = find_spec("pulumi")
    assert root is not None
    assert root.origin is not None
    base = os.path.dirname(os.path.dirname(root.origin))  # noqa: PTH120 - pathlib costs start-up time
    for package in ("pulumi", "pulumi.runtime", "pulumi.runtime.proto"):
        module = ModuleType(package)
        module.__path__ = [os.path.join(base, *package.split("."))]  # noqa: PTH118
        sys.modules[package] = module


def serve(make: Callable[[threading.Event, str | None], Any]) -> None:
    """Serve until the engine (or whoever started this process) ends it or closes its pipe; never returns.

    Args:
        make: Given the event that the engine's Cancel sets and the engine's address where the command line tells one,
            returns the servicer.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until there is something to end in order

    import grpc
    from pulumi.runtime.proto import provider_pb2_grpc

    cancelled = threading.Event()
    # Operations mostly wait (for health, for a job), and Cancel needs a thread: threads are made only when needed.
    server = grpc.server(
        ThreadPoolExecutor(max_workers=1000),
        options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
    )
    engine_address = sys.argv[1] if len(sys.argv) > 1 else None
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(make(cancelled, engine_address), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()

    def leave() -> None:
        server.stop(grace=4.5).wait()
        os._exit(0)

    # The engine asks with SIGINT at the end of every operation, and kills five seconds later. Ctrl-C does not come this
    # way: the plugin is a process group of its own, and the engine passes Ctrl-C on as Cancel.
    signal.signal(signal.SIGINT, lambda _number, _frame: threading.Thread(target=leave).start())
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()

    wait_for_end_of_input()
    # The engine is gone, so nobody would hear how operations end. Whatever they started is adopted by the next `up`;
    # cleaning it up now could race with that.
    os._exit(0)


def wait_for_end_of_input() -> None:
    """Return when the other end of standard input is closed, as it is when its process dies, however that happens."""
    try:
        while os.read(0, 1):
            pass
    except OSError:
        pass
