"""How many sessions are taken, in all and per client network."""

from __future__ import annotations

import socket
from typing import Protocol

from mta._speedups.verdict import ACCEPTED, Reason, Verdict

UNLIMITED = (1 << 31) - 1
TRUSTED = b""  # the network of clients that may relay: never limited on its own
CROWDED = Verdict(421, "4.3.2", "Too many sessions here, try again later", Reason.SESSIONS)
CROWDED_NETWORK = Verdict(
    421, "4.7.0", "Too many sessions from your network, try again later", Reason.SESSIONS
)


class Places(Protocol):
    """Counts the sessions of all workers."""

    def take(self, limit: int) -> bool:
        """One more, if there are fewer than `limit`."""

    def give(self) -> None:
        """One less."""


class SessionLimits:
    """Counts sessions by client network; shared by all listeners of a worker. 0 is no limit.

    `places` makes `max_sessions` the limit of all workers; a network's is each worker's own.
    """

    __slots__ = (
        "max_sessions", "max_per_network", "places", "_bits4", "_bits6", "_counts", "sessions",
    )  # fmt: skip

    def __init__(
        self,
        max_sessions: int = 0,
        max_per_network: int = 0,
        *,
        prefix4: int = 32,
        prefix6: int = 64,
        places: Places | None = None,
    ) -> None:
        if not 0 < prefix4 <= 32 or not 0 < prefix6 <= 128:
            raise ValueError(f"prefix lengths /{prefix4} and /{prefix6}: 1 to 32 and 1 to 128")
        self.max_sessions, self.max_per_network = max_sessions, max_per_network
        self.places = places
        self._bits4, self._bits6 = prefix4, prefix6
        self._counts: dict[bytes, int] = {}
        self.sessions = 0

    def reload(self, other: SessionLimits) -> None:
        """Use the limits of another from now on; what is counted stays."""
        self.max_sessions, self.max_per_network = other.max_sessions, other.max_per_network
        self._bits4, self._bits6 = other._bits4, other._bits6

    def network(self, address: str) -> bytes:
        """The key of an IP address: its family's prefix, without the host bits."""
        if ":" in address:
            packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
            return _cut(packed, self._bits6)
        return _cut(socket.inet_pton(socket.AF_INET, address), self._bits4)

    def enter(self, network: bytes) -> Verdict:
        """Count one more session of this network, unless the verdict turns it away."""
        count = self._counts.get(network, 0)
        if self.max_per_network and count >= self.max_per_network and network != TRUSTED:
            return CROWDED_NETWORK
        if self.places is not None:
            if not self.places.take(self.max_sessions or UNLIMITED):
                return CROWDED
        elif self.max_sessions and self.sessions >= self.max_sessions:
            return CROWDED
        self._counts[network] = count + 1
        self.sessions += 1
        return ACCEPTED

    def move(self, old: bytes, new: bytes) -> Verdict:
        """A session's network is `new`, as it turns out; refused, it is counted as TRUSTED."""
        self._uncount(old)
        count, verdict = self._counts.get(new, 0), ACCEPTED
        if self.max_per_network and count >= self.max_per_network and new != TRUSTED:
            new, verdict = TRUSTED, CROWDED_NETWORK
        self._counts[new] = self._counts.get(new, 0) + 1
        return verdict

    def release(self, network: bytes) -> None:
        """One session of this network has ended."""
        self.sessions -= 1
        if self.places is not None:
            self.places.give()
        self._uncount(network)

    def _uncount(self, network: bytes) -> None:
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
