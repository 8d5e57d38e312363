"""CRC-32C, bit by bit."""

from __future__ import annotations


def crc32c(data: bytes, start: int, end: int) -> int:
    """The checksum of the octets from `start` to before `end`."""
    state = 0xFFFFFFFF
    for octet in data[start:end]:
        state ^= octet
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF
