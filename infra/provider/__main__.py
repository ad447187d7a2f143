"""The plugin's process. It starts with every preview: the Pulumi SDK, slow to import, is left out."""

import threading
from typing import Any

from infra.provider import plugin


def _servicer(cancelled: threading.Event, engine_address: str | None) -> Any:
    from infra.provider.resources import resources
    from infra.provider.server import Provider

    return Provider(resources(), cancelled, engine_address)


def main() -> None:
    """Serve until the engine ends the process or closes its pipe."""
    plugin.enter_without_sdk()
    plugin.serve(_servicer)


if __name__ == "__main__":
    main()
