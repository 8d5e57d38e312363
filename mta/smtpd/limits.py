"""How many sessions a worker takes, in all and per client network."""

from __future__ import annotations

import socket

from mta.smtp.replies import reply

TRUSTED = b""  # the network of clients that may relay: never limited on its own
CROWDED = reply(421, "4.3.2", "Too many sessions here, try again later")
CROWDED_NETWORK = reply(421, "4.7.0", "Too many sessions from your network, try again later")


class SessionLimits:
    """Counts sessions by client network; shared by all listeners of a worker. 0 is no limit."""

    __slots__ = ("max_sessions", "max_per_network", "_bits4", "_bits6", "_counts", "sessions")

    def __init__(
        self,
        max_sessions: int = 0,
        max_per_network: int = 0,
        *,
        prefix4: int = 32,
        prefix6: int = 64,
    ) -> None:
        if not 0 < prefix4 <= 32 or not 0 < prefix6 <= 128:
            raise ValueError(f"prefix lengths /{prefix4} and /{prefix6}: 1 to 32 and 1 to 128")
        self.max_sessions, self.max_per_network = max_sessions, max_per_network
        self._bits4, self._bits6 = prefix4, prefix6
        self._counts: dict[bytes, int] = {}
        self.sessions = 0

    def reload(self, other: SessionLimits) -> None:
        """Use the limits of another from now on; what is counted stays."""
        self.max_sessions, self.max_per_network = other.max_sessions, other.max_per_network

    def network(self, address: str) -> bytes:
        """The key of an IP address: its family's prefix, without the host bits."""
        if ":" in address:
            packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
            return _cut(packed, self._bits6)
        return _cut(socket.inet_pton(socket.AF_INET, address), self._bits4)

    def admit(self, network: bytes) -> bytes | None:
        """Count one more session of this network; or the reply that turns it away."""
        if self.max_sessions and self.sessions >= self.max_sessions:
            return CROWDED
        count = self._counts.get(network, 0)
        if self.max_per_network and count >= self.max_per_network and network != TRUSTED:
            return CROWDED_NETWORK
        self._counts[network] = count + 1
        self.sessions += 1
        return None

    def release(self, network: bytes) -> None:
        """One session of this network has ended."""
        self.sessions -= 1
        count = self._counts[network] - 1
        if count:
            self._counts[network] = count
        else:
            del self._counts[network]


def _cut(packed: bytes, bits: int) -> bytes:
    """The first `bits` bits, the rest zero, in as few bytes as they need."""
    size = (bits + 7) // 8
    cut = bytearray(packed[:size])
    cut[-1] &= 0xFF << (size * 8 - bits) & 0xFF
    return bytes(cut)
