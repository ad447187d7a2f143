"""What the shared fixtures promise, where other tests build on it."""

import socket
import struct

import pytest

_IP_LOCAL_PORT_RANGE = 51  # ip(7), Linux 6.3; Python has no name for it yet


def asking_for(port: int, *, reuse: bool = False) -> socket.socket:
    """A socket for which `port` is the only one that the kernel may choose."""
    asking = socket.socket()
    try:
        asking.setsockopt(socket.IPPROTO_IP, _IP_LOCAL_PORT_RANGE, struct.pack("I", port | port << 16))
    except OSError:
        asking.close()
        pytest.skip("this kernel cannot narrow the range of one socket")
    asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
    return asking


@pytest.mark.parametrize("reuse", [False, True])
def test_a_free_port_is_given_to_no_server_that_takes_any(free_port: int, reuse: bool) -> None:
    with asking_for(free_port, reuse=reuse) as server, pytest.raises(OSError, match="in use"):
        server.bind(("127.0.0.1", 0))


def test_a_free_port_is_given_to_no_client(free_port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, asking_for(free_port) as client, pytest.raises(OSError):
        client.connect(server.getsockname())


def test_a_free_port_is_there_for_who_names_it(free_port: int) -> None:
    with socket.create_server(("127.0.0.1", free_port)) as server:
        socket.create_connection(server.getsockname(), 5).close()


def test_a_client_connection_takes_a_port_that_nobody_holds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        port = client.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", port))
