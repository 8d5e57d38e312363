"""Ports for servers that are started later: free, and nobody else's until this process ends."""

from __future__ import annotations

import contextlib
import random
import socket

from mta.errors import MailraceError

HOST = "127.0.0.1"
# Below the range that the kernel takes ports of outgoing connections from.
FIRST, LAST = 16_384, 32_767


def free_port(host: str = HOST) -> int:
    """A port that is free for TCP and UDP, and that no other caller on this machine gets."""
    numbers = range(FIRST, LAST + 1)
    for port in random.sample(numbers, len(numbers)):
        if _is_free(host, port) and _reserve(port):
            return port
    raise MailraceError(f"no free port from {FIRST} to {LAST} on {host}")


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
    with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
        for kind in kinds:
            stack.enter_context(socket.socket(family, kind)).bind((host, port))
        return True
    return False


def _reserve(port: int) -> bool:
    """Hold a name in the abstract namespace of Unix sockets, which ends with the process."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.bind(f"\0mailrace-port-{port}")
        except OSError:
            return False
        sock.detach()
    return True
