"""The files of a log folder, and the zstd frames in one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import zstandard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAGIC = b"\x28\xb5\x2f\xfd"  # begins every zstd frame (RFC 8878 3.1.1)
CHUNK = 64 << 10


def name(number: int) -> str:
    """The file name of a segment."""
    return f"{number:08}.zst"


def numbers(folder: Path) -> list[int]:
    """The segments of a folder in order; none if it does not exist."""
    found = (path.stem for path in folder.glob("*.zst"))
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
