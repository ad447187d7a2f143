"""The plugin's process: prints its port for the engine, serves until the engine goes away.

The `pulumi` package is entered by a side door: importing the SDK takes longer than everything else together, and the
protocol's generated modules below it do not need it.
"""

import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from types import ModuleType


def _enter_without_sdk(*packages: str) -> None:
    """Register `packages` as bare packages, so that modules below them import without running their `__init__`."""
    root = find_spec(packages[0])
    assert root is not None
    assert root.origin is not None
    base = os.path.dirname(os.path.dirname(root.origin))  # noqa: PTH120 - pathlib costs start-up time
    for package in packages:
        module = ModuleType(package)
        module.__path__ = [os.path.join(base, *package.split("."))]  # noqa: PTH118
        sys.modules[package] = module


def main() -> None:
    """Serve until the engine ends the process or closes its pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until there is something to end in order
    _enter_without_sdk("pulumi", "pulumi.runtime", "pulumi.runtime.proto")

    import grpc
    from pulumi.runtime.proto import provider_pb2_grpc

    from infra.provider.resources import resources
    from infra.provider.server import Provider

    cancelled = threading.Event()
    # Operations mostly wait (for health, for a job), and Cancel needs a thread: threads are made only when needed.
    server = grpc.server(
        ThreadPoolExecutor(max_workers=1000),
        options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
    )
    engine_address = sys.argv[1] if len(sys.argv) > 1 else None
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Provider(resources(), cancelled, engine_address), server)
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

    _wait_for_engine()
    # The engine is gone, so nobody would hear how operations end. Whatever they started is adopted by the next `up`;
    # cleaning it up now could race with that.
    os._exit(0)


def _wait_for_engine() -> None:
    """Return when the engine has closed its end of standard input, which it does when it dies, however that happens."""
    try:
        while os.read(0, 1):
            pass
    except OSError:
        pass


if __name__ == "__main__":
    main()
