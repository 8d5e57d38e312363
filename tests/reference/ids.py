"""Message ids by one large integer."""

from __future__ import annotations


def packed(ms: int, counter: int, shard: int, noise: int) -> bytes:
    """UUIDv7 (RFC 9562 5.7)."""
    high = (ms << 16) | (7 << 12) | counter
    low = (2 << 62) | (shard << 50) | noise
    return ((high << 64) | low).to_bytes(16, "big")
