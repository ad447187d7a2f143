"""The policy pack: `pulumi preview --policy-pack policies`. The engine starts it, and it serves until that ends it."""

import gc
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))  # the engine runs this folder, not the project

import grpc  # noqa: E402
from pulumi.runtime.proto import analyzer_pb2_grpc  # noqa: E402

from policies.judge import judge  # noqa: E402
from policies.pack.servicer import RESULT, PackServicer, clock  # noqa: E402
from policies.rules import all_rules  # noqa: E402


def main() -> None:
    """Print the port and serve."""
    rules, result = all_rules(), os.environ.get(RESULT)
    # One plan is told, judged and done with. The collector would walk all of it again and again for cycles that
    # nothing here makes: a third of the time at 10,000 resources.
    gc.disable()
    server = grpc.server(
        ThreadPoolExecutor(max_workers=4),
        options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
    )
    servicer = PackServicer(
        rules, lambda plan: judge(plan, rules, PROJECT, clock()), Path(result) if result else None
    )  # fmt: skip
    analyzer_pb2_grpc.add_AnalyzerServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
