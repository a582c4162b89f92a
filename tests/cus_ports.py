"""Ports for servers that a test starts as processes of their own."""

import random
import socket

# Below where the kernel takes ports for outgoing connections: between our look and the server's
# start, nobody's connection can come to hold one of these.
_PORTS = range(18_000, 30_000)


def free_port() -> int:
    """A free port of the loopback interface."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
