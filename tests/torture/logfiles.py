"""Reads a log folder by what docs/design.md says of it, with nothing of the server's own reader.

LOG/shard-NNNN/NUMBER.zst: whole zstd frames, each of whole JSON lines. Only the end of a shard's
last segment may be torn.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import zstandard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAGIC = b"\x28\xb5\x2f\xfd"  # begins every zstd frame (RFC 8878 3.1.1)
CHUNK = 64 << 10

Record = dict[str, Any]


class LogFiles:
    """All records by time, and what is damaged."""

    def __init__(self, folder: Path) -> None:
        self.records: list[Record] = []
        self.damage: list[str] = []
        for shard in sorted(folder.glob("shard-*")):
            self._shard(shard)
        self.records.sort(key=lambda record: record["time"])

    def _shard(self, folder: Path) -> None:
        segments = sorted(folder.glob("*.zst"))
        for path in segments:
            data = path.read_bytes()
            for start, end, content in pieces(data):
                if content is not None:
                    self._lines(path, content)
                elif end < len(data) or path != segments[-1]:
                    self.damage.append(f"{path}: octets {start} to {end} are no frame")

    def _lines(self, path: Path, content: bytes) -> None:
        for line in content.splitlines():
            try:
                record = json.loads(line)
                record["type"], record["time"] = str(record["type"]), int(record["time"])
            except (ValueError, KeyError, TypeError):
                self.damage.append(f"{path}: no record: {line[:100]!r}")
            else:
                self.records.append(record)


def pieces(data: bytes) -> Iterator[tuple[int, int, bytes | None]]:
    """(start, end, content) of all octets in order; None as content is what is no whole frame."""
    start = at = 0
    while at < len(data):
        found = _frame(data, at)
        if found is None:
            following = data.find(MAGIC, at + 1)
            at = following if following >= 0 else len(data)
            continue
        if start < at:
            yield start, at, None
        end, content = found
        yield at, end, content
        start = at = end
    if start < len(data):
        yield start, len(data), None


def _frame(data: bytes, at: int) -> tuple[int, bytes] | None:
    """End and content of the frame at an offset; None if it is not whole."""
    if data[at : at + 4] != MAGIC:
        return None
    one, parts, view = zstandard.ZstdDecompressor().decompressobj(), [], memoryview(data)
    try:
        while not one.eof and at < len(data):
            parts.append(one.decompress(view[at : at + CHUNK]))
            at = min(at + CHUNK, len(data))
    except zstandard.ZstdError:
        return None
    return (at - len(one.unused_data), b"".join(parts)) if one.eof else None
