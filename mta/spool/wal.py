"""RocksDB's write-ahead log, read as it lies on the disk.

A file is blocks of 32 KB of records: CRC-32C (masked), length, kind, octets; none crosses the
end of a block. A write batch is one record, or a first, middle ones and a last. It begins with its
sequence number and the count of its operations; the first of ours puts the row `batch`
(docs/design.md), so that each tells its number and which batch was synced when it was written.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from mta._speedups.crc32c import crc32c
from mta.spool import keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Operation = tuple[int, bytes, bytes | None]  # family, key, value; None deletes

SUFFIX = ".log"
BLOCK = 32 << 10
CHUNK = 32 * BLOCK  # octets read at a time
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
HEAD = 12  # octets of a batch before its operations

_HEADER = Struct("<IHB")
_PUT = b"\x01" + bytes((len(keys.BATCH),)) + keys.BATCH + bytes((keys.BATCH_SIZE,))
_VALUE = HEAD + len(_PUT)  # where the row's value begins in a batch

# Tags of operations: in the default family, and with a family before the key.
_DELETE, _PUT_TAG, _NOTE, _DELETE_IN, _PUT_IN = 0, 1, 3, 4, 5


class Batch(NamedTuple):
    """A write batch, and the octets of the file up to its end."""

    end: int
    data: bytes

    @property
    def mark(self) -> keys.Mark | None:
        """Its number and what was synced when it was written; None: another program wrote it."""
        if self.data[HEAD:_VALUE] != _PUT:
            return None
        return keys.parse_batch(self.data[_VALUE : _VALUE + keys.BATCH_SIZE])

    def operations(self) -> Iterator[Operation]:
        """What it puts and deletes; ValueError at one that we never write."""
        data, at = self.data, HEAD
        while at < len(data):
            tag, family, at = data[at], 0, at + 1
            if tag in (_DELETE_IN, _PUT_IN):
                family, at = _varint(data, at)
            key, at = _text(data, at)
            if tag in (_PUT_TAG, _PUT_IN):
                value, at = _text(data, at)
                yield family, key, value
            elif tag in (_DELETE, _DELETE_IN):
                yield family, key, None
            elif tag != _NOTE:
                raise ValueError(f"operation {tag} in a write-ahead log")


@dataclass
class Wal:
    """A file: `read` gives its batches up to the first octet that is no part of a whole one."""

    path: Path
    size: int = 0
    end: int = 0  # behind the last whole batch
    bad: int | None = None  # where something is that is not whole; None: the file ends cleanly
    cut: bool = False  # that is a record, or a part of a batch, which the file's end cuts off

    @property
    def number(self) -> int:
        """Its place among the files."""
        return int(self.path.name.removesuffix(SUFFIX))

    def read(self) -> Iterator[Batch]:
        """The batches from the beginning; afterwards the fields tell how the file ends. OSError."""
        with open(self.path, "rb") as file:
            self.size = os.fstat(file.fileno()).st_size
            records = _Records(file.fileno(), self.size)
            yield from self._batches(records)
            self.bad = records.bad if records.bad is not None else self.bad
            self.cut = records.cut if records.bad is not None else self.bad is not None

    def behind(self) -> Iterator[Batch]:
        """Whole batches behind what is not whole, as far as they can be found again."""
        if self.bad is None:
            return
        at = self.bad
        with open(self.path, "rb") as file:
            while at < self.size:
                records = _Records(file.fileno(), self.size, at)
                rest = Wal(self.path, self.size)
                yield from rest._batches(records)
                at = records.skip()

    def _batches(self, records: _Records) -> Iterator[Batch]:
        parts: list[bytes] = []
        began = 0
        for start, end, kind, octets in records:
            if kind in (FULL, FIRST):
                parts.clear()
            elif not parts:  # the middle of what began before
                continue
            if kind in (FULL, FIRST):
                began = start
            parts.append(octets)
            if kind in (FULL, LAST):
                self.end = end
                yield Batch(end, b"".join(parts))
                parts.clear()
        self.bad = began if parts else None


class _Records:
    """The records of a file from `at` on, to the first that is not whole."""

    def __init__(self, file: int, size: int, at: int = 0) -> None:
        self._file, self._size, self._at = file, size, at
        self._chunk, self._base = b"", 0
        self.bad: int | None = None
        self.cut = False

    def __iter__(self) -> Iterator[tuple[int, int, int, bytes]]:
        """(start, end, kind, octets) of each record."""
        while True:
            left = BLOCK - self._at % BLOCK
            if left < _HEADER.size:  # a block's last octets are left free
                self._at += left
                continue
            if self._at >= self._size:
                return
            record = self._record(self._at, left)
            if record is None:
                self.bad = self._at
                return
            start, self._at = self._at, record[0]
            yield start, *record

    def skip(self) -> int:
        """Where to go on behind what is not whole: behind its length, else in the next block."""
        if self.bad is None:
            return self._size
        header = self._octets(self.bad, _HEADER.size)
        next_block = self.bad + BLOCK - self.bad % BLOCK
        if len(header) < _HEADER.size:
            return self._size
        _, length, kind = _HEADER.unpack(header)
        end = self.bad + _HEADER.size + length
        return end if length and FULL <= kind <= LAST and end <= next_block else next_block

    def _record(self, at: int, left: int) -> tuple[int, int, bytes] | None:
        """End, kind and octets of the record at `at`, if it is whole."""
        header = self._octets(at, _HEADER.size)
        if len(header) < _HEADER.size:
            self.cut = True
            return None
        masked, length, kind = _HEADER.unpack(header)
        if length > left - _HEADER.size or not FULL <= kind <= LAST:
            return None
        octets = self._octets(at + _HEADER.size - 1, 1 + length)  # the kind counts, too
        if len(octets) < 1 + length:
            self.cut = True
            return None
        if _unmasked(masked) != crc32c(octets, 0, len(octets)):
            return None
        return at + _HEADER.size + length, kind, octets[1:]

    def _octets(self, at: int, size: int) -> bytes:
        """So many octets, fewer at the end of the file."""
        start = at - self._base
        if start < 0 or start + size > len(self._chunk):
            self._base = at - at % BLOCK
            self._chunk = os.pread(self._file, CHUNK, self._base)
            start = at - self._base
        return self._chunk[start : start + size]


def files(folder: Path) -> list[Wal]:
    """The files of a folder that have something in them, in their order."""
    found = [path for path in folder.glob(f"*{SUFFIX}") if path.stem.isdigit()]
    return sorted((Wal(path) for path in found if path.stat().st_size), key=lambda one: one.number)


def _unmasked(masked: int) -> int:
    """The checksum as RocksDB's crc32c::Unmask has it."""
    rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF


def _text(data: bytes, at: int) -> tuple[bytes, int]:
    """Octets with their length before them, and where they end; ValueError."""
    size, at = _varint(data, at)
    if at + size > len(data):
        raise ValueError("an operation that ends too early")
    return data[at : at + size], at + size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data):
            raise ValueError("an operation that ends too early")
        octet, at = data[at], at + 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value, at
        shift += 7
