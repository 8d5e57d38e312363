"""Records of a segment file, by struct; XXH64 as its specification tells it."""

from __future__ import annotations

import errno
import os
import struct
import sys

M = (1 << 64) - 1
P1, P2, P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P4, P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5


def rotate(x: int, n: int) -> int:
    x &= M
    return (x << n | x >> 64 - n) & M


def turned(lane: int, value: int) -> int:
    return rotate(lane + value * P2, 31) * P1 & M


def checksum(data: bytes, seed: int = 0) -> int:
    """XXH64."""
    h, at = seed + P5, 0
    if len(data) >= 32:
        lanes = [seed + P1 + P2, seed + P2, seed, seed - P1]
        for at in range(0, len(data) - 31, 32):
            words = struct.unpack_from("=4Q", data, at)
            lanes = [turned(lane, word) for lane, word in zip(lanes, words, strict=True)]
        at += 32
        h = sum(rotate(lane, n) for lane, n in zip(lanes, (1, 7, 12, 18), strict=True))
        for lane in lanes:
            h = ((h ^ turned(0, lane)) * P1 + P4) & M
    h += len(data)
    while at + 8 <= len(data):
        h = rotate(h ^ turned(0, struct.unpack_from("=Q", data, at)[0]), 27) * P1 + P4
        at += 8
    if at + 4 <= len(data):
        h = rotate(h ^ struct.unpack_from("=I", data, at)[0] * P1, 23) * P2 + P3
        at += 4
    for byte in data[at:]:
        h = rotate(h ^ byte * P5, 11) * P1
    h &= M
    h = (h ^ h >> 33) * P2 & M
    h = (h ^ h >> 29) * P3 & M
    return h ^ h >> 32


def records(number: int, bodies: list[tuple[bytes, bytes]]) -> bytes:
    """What `append` writes."""
    data = b""
    for id, body in bodies:
        header = struct.pack("=II16sQ", 0x42644C31, number, id, len(body))
        data += header + struct.pack("=Q", checksum(body, checksum(header))) + body
        data += bytes(-len(data) % 512)
    return data


def whole(fd: int, size: int, at: int) -> bytes:
    """So many octets of a file; OSError where it ends before."""
    data = os.pread(fd, size, at)
    if len(data) < size:
        raise OSError(errno.ENODATA, "the file is too short")
    return data


def header(data: bytes) -> tuple[int, bytes, int] | None:
    """Number, id and length of a header."""
    if len(data) < 40:
        return None
    magic, number, id, length = struct.unpack_from("=II16sQ", data)
    return (number, id, length) if magic == 0x42644C31 else None


def read(fd: int, offset: int, number: int, id: bytes, length: int) -> bytes | None:
    """A body, or None."""
    data = whole(fd, 40 + length, offset)
    intact = checksum(data[40:], checksum(data[:32])).to_bytes(8, sys.byteorder) == data[32:40]
    return data[40:] if intact and header(data) == (number, id, length) else None


def read_any(fd: int, offset: int, number: int, limit: int) -> tuple[bytes, bytes] | None:
    """(id, body), or None."""
    found = header(whole(fd, 40, offset))
    if found is None or found[0] != number or found[2] > limit:
        return None
    body = read(fd, offset, *found)
    return None if body is None else (found[1], body)
