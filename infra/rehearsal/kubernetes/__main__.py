"""The stand-in's process: prints its port on the first line, serves until standard input ends."""

import threading
from typing import Any

from infra.provider import plugin


def _servicer(cancelled: threading.Event, engine_address: str | None) -> Any:
    from infra.rehearsal.kubernetes.provider import Kubernetes

    return Kubernetes(cancelled, engine_address)


def main() -> None:
    """Serve."""
    plugin.enter_without_sdk()
    plugin.serve(_servicer)


if __name__ == "__main__":
    main()
