"""Who has a port, so that a taken one is an error that names its owner."""

import socket
import time

from infra.provider.resource import ResourceError


def is_free(port: int) -> bool:
    """Return whether a server could listen on `port` of the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger do not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def owner(port: int) -> str:
    """Return who has `port` as text for people: process id and command, as far as they can be seen.

    Mostly one that listens. Above `net.ipv4.ip_local_port_range` begins what the kernel gives to outgoing connections,
    and such a one takes its port as well.
    """
    import psutil

    found = [one for one in psutil.net_connections(kind="tcp") if one.laddr and one.laddr.port == port]
    for connection in sorted(found, key=lambda one: (one.status != psutil.CONN_LISTEN, one.pid is None)):
        if connection.pid is None:
            if connection.status == psutil.CONN_TIME_WAIT:
                return "a connection that was closed less than a minute ago"
            return "a process of another user"
        try:
            # One that names itself leaves empty arguments where its own were.
            command = " ".join(filter(None, psutil.Process(connection.pid).cmdline()))
        except psutil.Error:
            command = ""
        use = "" if connection.status == psutil.CONN_LISTEN else ", for a connection of its own"
        return f"process {connection.pid} ({_shorten(command) or 'command not visible'}{use})"
    return "a process that cannot be seen from here"


def _shorten(command: str, limit: int = 100) -> str:
    return command if len(command) <= limit else command[: limit - 1] + "…"


def require_free(process: str, wanted: dict[str, int], patience: float = 3.0) -> None:
    """Raise `ResourceError` when a port of `wanted` (by purpose) is taken.

    Args:
        process: Whose ports they are, for the message.
        wanted: Ports by purpose.
        patience: Seconds that a port may need to come free after its last owner was stopped.
    """
    deadline = time.monotonic() + patience
    while (taken := {purpose: port for purpose, port in wanted.items() if not is_free(port)}) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.1)
    if taken:
        listed = "; ".join(
            f"port {port} (`ports.{purpose}`) is taken by {owner(port)}" for purpose, port in taken.items()
        )
        raise ResourceError(f"{process}: {listed}. Stop that process, or choose another port in the stack's settings")
