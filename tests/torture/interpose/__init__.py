"""A library in front of the C library's file calls: it fails them as told, and keeps a journal.

`torture.h` has the layout that the structs here repeat.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import mmap
import os
import shutil
import struct
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HERE = Path(__file__).parent
BUILD = HERE.parent.parent.parent / "build"
FLAGS = ("-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror")

AREAS = ("spool", "log", "state")
OPERATIONS = ("open", "read", "write", "sync", "rename", "unlink", "truncate", "allocate", "mkdir",
              "statfs")  # fmt: skip
FAIL, SHORT, SLOW = range(3)
OPENED, WRITTEN, ZEROED, CUT_TO, ALLOCATED, SYNCED = range(1, 7)  # kinds of the journal's entries
RENAMED, UNLINKED, MADE, LINKED, UNSYNCED = range(7, 12)
CREATED, EMPTIED, FOLDER = 1, 2, 4  # bits of OPENED
HITS, PATH = 64, 128
FOREVER = (1 << 64) - 1
U64 = ctypes.c_uint64
ENTRY = struct.Struct("IIQQQQQ")  # kind, length, inode, a, b, nanoseconds, at


class Hit(ctypes.Structure):
    """A call that was failed."""

    _fields_ = [("number", U64), ("area", ctypes.c_uint32), ("operation", ctypes.c_uint32),
                ("pid", ctypes.c_uint32), ("tid", ctypes.c_uint32),
                ("path", ctypes.c_char * PATH)]  # fmt: skip

    def __str__(self) -> str:
        path = bytes(self.path).decode(errors="replace")
        return f"{OPERATIONS[self.operation]} of {path}"


class _Control(ctypes.Structure):
    _fields_ = [
        *((name, U64) for name in (
            "entries", "data", "most_entries", "most_data", "lost", "journaling", "lying",
            "armed", "areas", "operations", "first", "last", "percent", "seed", "error", "kind",
            "microseconds", "counted", "failed")),
        ("counts", U64 * (len(AREAS) * len(OPERATIONS))),
        ("hits", Hit * HITS),
    ]  # fmt: skip


class Fault(NamedTuple):
    """Which calls fail, and how."""

    kind: int = FAIL
    error: int = errno.EIO
    areas: tuple[str, ...] = AREAS
    operations: tuple[str, ...] = OPERATIONS
    first: int = 1  # of the calls that are meant
    last: int = FOREVER
    percent: int = 100  # of those from first to last
    microseconds: int = 0

    def __str__(self) -> str:
        how = errno.errorcode[self.error] if self.kind == FAIL else ("", "short", "slow")[self.kind]
        what = f"{'/'.join(self.operations)} of {'/'.join(self.areas)}"
        last = "" if self.last == self.first else " and later" if self.last == FOREVER else "..."
        share = f", {self.percent} %" if self.percent < 100 else ""
        return f"{how} at {what} number {self.first}{last}{share}"


class Note(NamedTuple):
    """An entry with its number; `a` and `b` are as torture.h tells for its kind."""

    number: int
    kind: int
    inode: int = 0
    a: int = 0
    b: int = 0
    data: bytes = b""
    seconds: float = 0.0  # since 1970

    @property
    def paths(self) -> list[str]:
        """The names that it tells."""
        return [part.decode() for part in self.data.split(b"\0")[:-1]]


class Control:
    """The control file of one run; with `entries`, a journal that has room for so many."""

    def __init__(self, folder: Path, entries: int = 0, data: int = 0) -> None:
        self.path, self.journal = folder / "control", folder / "journal"
        with self.path.open("w+b") as file:
            file.truncate(ctypes.sizeof(_Control))
            self._map = mmap.mmap(file.fileno(), 0)
        self._at = _Control.from_buffer(self._map)
        self._at.most_entries, self._at.most_data = entries, data
        with self.journal.open("wb") as file:
            file.truncate(entries * ENTRY.size + data)

    def environment(self, home: Path) -> Mapping[str, str]:
        """What a server with this home must be started with."""
        return {
            "LD_PRELOAD": str(library()),
            "TORTURE_CONTROL": str(self.path),
            "TORTURE_JOURNAL": str(self.journal),
            "TORTURE_SPOOL": str(home / "spool"),
            "TORTURE_LOG": str(home / "log"),
            "TORTURE_STATE": str(home),
        }

    @property
    def mark(self) -> int:
        """How many entries the journal has."""
        return int(self._at.entries)

    @property
    def overflowed(self) -> bool:
        """Whether the journal was too small."""
        return bool(self._at.lost)

    def keep_journal(self, on: bool) -> None:
        """Begin, or end for good."""
        self._at.journaling = on

    def lie(self) -> None:
        """From now on syncs do nothing, and say that they did."""
        self._at.lying = 1

    def arm(self, fault: Fault, seed: int = 0) -> None:
        """A fault is in force from now on; calls are counted from 1 again."""
        at = self._at
        at.armed = at.counted = at.failed = 0
        at.areas = sum(1 << AREAS.index(area) for area in fault.areas)
        at.operations = sum(1 << OPERATIONS.index(name) for name in fault.operations)
        at.first, at.last, at.percent, at.seed = fault.first, fault.last, fault.percent, seed
        at.error, at.kind, at.microseconds = fault.error, fault.kind, fault.microseconds
        at.armed = 1

    def disarm(self) -> list[str]:
        """No more faults; the first calls that were failed."""
        self._at.armed = 0
        return [str(self._at.hits[n]) for n in range(min(self.failed, HITS))]

    @property
    def counted(self) -> int:
        """Calls that were meant since `arm`."""
        return int(self._at.counted)

    @property
    def failed(self) -> int:
        """How many of them failed."""
        return int(self._at.failed)

    def counts(self) -> dict[tuple[str, str], int]:
        """All calls so far, by area and operation."""
        keys = ((area, name) for area in AREAS for name in OPERATIONS)
        return {key: int(count) for key, count in zip(keys, self._at.counts, strict=True)}

    def notes(self) -> Iterator[Note]:
        """The journal; what a killed process left unfinished is left out."""
        size, base = ENTRY.size, self._at.most_entries * ENTRY.size
        with (
            self.journal.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as journal,
        ):
            for number in range(min(self.mark, self._at.most_entries)):
                kind, length, inode, a, b, time, at = ENTRY.unpack_from(journal, number * size)
                if kind:
                    data = journal[base + at : base + at + length]
                    yield Note(number, kind, inode, a, b, data, time / 1e9)

    def close(self) -> None:
        """Give the files back."""
        del self._at
        self._map.close()


def compiler() -> str | None:
    """gcc, or what CC names; None where there is none."""
    return shutil.which(os.environ.get("CC", "").split(" ")[-1] or "gcc") or shutil.which("gcc")


def library() -> Path:
    """The compiled library; AssertionError where there is no compiler."""
    sources = sorted(HERE.glob("*.[ch]"))
    key = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    found = BUILD / f"torture-{key}.so"
    if found.exists():
        return found
    gcc = compiler()
    assert gcc, "gcc is needed"
    BUILD.mkdir(exist_ok=True)
    made = BUILD / f"torture-{os.getpid()}-{time.monotonic_ns()}.so"
    units = [str(path) for path in sources if path.suffix == ".c"]
    subprocess.run([gcc, *FLAGS, "-o", str(made), *units, "-ldl", "-lpthread"], check=True)
    made.rename(found)
    return found
