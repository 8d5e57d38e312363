"""The files of a log folder, and the zstd frames in one of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

import zstandard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUFFIX = ".zst"
MAGIC = b"\x28\xb5\x2f\xfd"  # begins every zstd frame (RFC 8878 3.1.1)
CHUNK = 64 << 10


def name(number: int) -> str:
    """The file name of a segment."""
    return f"{number:08}{SUFFIX}"


def numbers(folder: Path) -> list[int]:
    """The segments of a folder in order; none if it does not exist."""
    try:
        found = [path.stem for path in folder.iterdir() if path.suffix == SUFFIX]
    except FileNotFoundError:
        return []
    return sorted(int(stem) for stem in found if stem.isdigit())


def frames(file: BinaryIO, offset: int) -> Iterator[tuple[int, int, bytes]]:
    """(start, end, content) of the whole frames from `offset`; ends at a torn or unfinished one.

    A damaged frame in front of a whole one is passed over.
    """
    while True:
        frame = _frame(file, offset)
        if frame is None:
            found = _next_whole(file, offset + 1)
            if found is None:
                return
            offset = found
            continue
        end, content = frame
        yield offset, end, content
        offset = end


def last(file: BinaryIO) -> tuple[int, int]:
    """(start, end) of the last whole frame, zeros if there is none; only the last ones are
    decompressed."""
    headers = _Headers(file)
    before, offset = 0, 0
    while (end := headers.end(offset)) is not None:
        before, offset = offset, end
    return max(((start, end) for start, end, _ in frames(file, before)), default=(before, before))


class _Headers:
    """Where frames end, as their headers tell it (RFC 8878 3.1.1); read in large pieces."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._size = file, file.seek(0, os.SEEK_END)
        self._piece, self._base = b"", 0

    def end(self, offset: int) -> int | None:
        """The end of the frame at `offset`; None if there is no whole one."""
        head = self._octets(offset, 5)
        if len(head) < 5 or head[:4] != MAGIC:
            return None
        size_flag, single, checksum, dictionary = (
            head[4] >> 6, head[4] >> 5 & 1, head[4] >> 2 & 1, head[4] & 3,
        )  # fmt: skip
        content_size = 1 << size_flag if size_flag else single
        at = offset + 5 + (1 - single) + (0, 1, 2, 4)[dictionary] + content_size
        last = 0
        while not last:
            block = self._octets(at, 3)
            if len(block) < 3:
                return None
            number = int.from_bytes(block, "little")  # last block, type, size (RFC 8878 3.1.1.2)
            last, kind = number & 1, number >> 1 & 3
            at += 3 + (1 if kind == 1 else number >> 3)  # a run is one octet
        at += 4 * checksum
        return at if at <= self._size else None

    def _octets(self, at: int, size: int) -> bytes:
        start = at - self._base
        if not 0 <= start <= len(self._piece) - size:
            self._file.seek(at)
            self._piece, self._base, start = self._file.read(CHUNK), at, 0
        return self._piece[start : start + size]


def _frame(file: BinaryIO, offset: int) -> tuple[int, bytes] | None:
    """End and content of the frame at `offset`; None if it is not whole."""
    file.seek(offset)
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    parts, read = [], 0
    try:
        while not decompressor.eof:
            chunk = file.read(CHUNK)
            if not chunk:
                return None
            read += len(chunk)
            parts.append(decompressor.decompress(chunk))
    except zstandard.ZstdError:
        return None
    return offset + read - len(decompressor.unused_data), b"".join(parts)


def _next_whole(file: BinaryIO, offset: int) -> int | None:
    """Where the first whole frame behind `offset` begins, if there is one."""
    file.seek(offset)
    tail = b""
    while chunk := file.read(CHUNK):
        data, base = tail + chunk, file.tell() - len(chunk) - len(tail)
        at = data.find(MAGIC)
        while at >= 0:
            if _frame(file, base + at) is not None:
                return base + at
            at = data.find(MAGIC, at + 1)
        tail = data[-(len(MAGIC) - 1) :]
        file.seek(base + len(data))
    return None
