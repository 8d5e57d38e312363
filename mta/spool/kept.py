"""Frames that the log could not take: rows of the spool until it can.

Such a row has the lines of a frame and is written in the batch with the changes that follow from
them, so outcomes are durable, each once, while the log's disk is full or fails. When the log takes
records again the rows go to its end in their order, before any newer frame, and are deleted in the
batch that has the log's new position. A crash in between leaves both: what stands behind the
position in the log and in the next row is one frame, and recovery deletes the row.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import zstandard

from mta.alarms import Trouble
from mta.errors import SpoolError
from mta.spool import keys
from mta.spool.changes import Changes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mta.spool.changes import Frame
    from mta.spool.cycle import CallLater
    from mta.spool.store import Store

FIRST_RETRY, LAST_RETRY = 0.05, 5.0  # s between attempts while the log takes nothing
AT_ONCE = 256 << 10  # octets, packed, that are logged as one frame
BRIM = 2  # times the bound: then new mail is refused, too


def pack(lines: list[bytes]) -> bytes:
    """The value of a row."""
    return zstandard.ZstdCompressor(level=1).compress(b"\n".join(lines) + b"\n")


def unpack(packed: Iterable[bytes]) -> list[bytes]:
    """The lines of rows."""
    return b"".join(map(_content, packed))[:-1].split(b"\n")


def _content(packed: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(packed)


def in_log(rows: Iterator[tuple[bytes, bytes]], frames: Iterable[bytes]) -> Iterator[bytes]:
    """The keys of those rows, in their order, that frames of the log begin with."""
    row = next(rows, None)
    for content in frames:
        at = 0
        while row is not None and content.startswith(lines := _content(row[1]), at):
            at += len(lines)
            yield row[0]
            row = next(rows, None)


class Kept:
    """The rows of one shard; on the loop, but for the opening."""

    def __init__(
        self, store: Store, bound: int, call_later: CallLater, kick: Callable[[], None]
    ) -> None:
        """Beyond `bound` octets nothing more should be attempted; `kick` has the rows logged."""
        self._store, self._bound, self._call_later, self.kick = store, bound, call_later, kick
        self.error: str | None = None  # why the log takes nothing
        self.resting = False  # until it is tried again
        self.full = False  # more than the bound
        self._delay = FIRST_RETRY
        found = store.sizes(store.default, keys.FRAME, keys.above(keys.FRAME))
        self._first = keys.parse_u64(found[0][0][-8:]) if found else 0
        self._sizes = deque(size for _, size in found)
        self.octets = sum(self._sizes)
        self.waits = bool(found)  # for recovery: the log may have some of them
        self._count()

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def idle(self) -> bool:
        """Nothing is kept, and the log takes frames."""
        return not self._sizes and self.error is None

    @property
    def problem(self) -> str | None:
        """Why no new mail may be stored: its Reception record could not be kept."""
        if not self.brimful:
            return None
        return f"{self.octets >> 20} MB of records wait for the log: {self.error}"

    @property
    def brimful(self) -> bool:
        """Nothing more may be kept."""
        return self.octets >= BRIM * self._bound

    # -- a cycle's part

    def keep(self, frame: Frame, packed: bytes) -> None:
        """A frame is a row of its own changes instead of a part of the log."""
        key = keys.frame(self._first + len(self._sizes))
        frame.changes.set(key, packed)
        self._sizes.append(len(packed))
        self.octets += len(packed)
        self._count()

    def take(self) -> list[bytes]:
        """Rows that are to be logged now, the oldest first; they stay until `logged`."""
        taken: list[bytes] = []
        if self.waits or self.resting:
            return taken
        octets = 0
        for number, size in enumerate(self._sizes):
            octets += size
            if taken and octets > AT_ONCE:
                break
            try:
                row = self._row(number)
            except SpoolError as error:
                self.failed(error)
                break
            if row is None:  # it is not written yet
                break
            taken.append(row)
        return taken

    def logged(self, rows: int) -> Changes:
        """What deletes so many rows, which are in the log now."""
        changes = Changes()
        for _ in range(rows):
            changes.set(self._forget(), None)
        return changes

    def failed(self, error: Exception) -> None:
        """The log took nothing: rest a while."""
        strerror = error.strerror if isinstance(error, OSError) else None
        self.error = strerror or str(error) or repr(error)
        if not self.resting:
            self.resting = True
            self._call_later(self._delay, self._rested)
            self._delay = min(self._delay * 2, LAST_RETRY)

    def worked(self) -> None:
        """The log took what it was given."""
        self.error, self._delay = None, FIRST_RETRY

    def _rested(self) -> None:
        self.resting = False
        self.kick()

    # -- recovery

    def found(self, frames: Iterable[bytes]) -> list[bytes]:
        """The keys of rows that `frames`, the log behind the spool's position, has already."""
        rows = ((keys.frame(self._first + n), self._row(n) or b"") for n in range(len(self)))
        known = list(in_log(rows, frames))
        for _ in known:
            self._forget()
        return known

    def lines(self) -> Iterator[bytes]:
        """All records that are kept, in their order."""
        for number in range(len(self._sizes)):
            row = self._row(number)
            if row is not None:
                yield from unpack([row])

    # -- beneath

    def _row(self, number: int) -> bytes | None:
        """The value of the row that so many are before; None if there is none."""
        if number >= len(self._sizes):
            return None
        return self._store.get(self._store.default, keys.frame(self._first + number))

    def _forget(self) -> bytes:
        """The key of the first row, which is none any more."""
        key = keys.frame(self._first)
        self._first += 1
        self.octets -= self._sizes.popleft()
        self._count()
        return key

    def _count(self) -> None:
        self.full = self.octets >= self._bound / (2 if self.full else 1)

    # -- for people

    def troubles(self, shard: int) -> Iterator[Trouble]:
        """What operators should know of."""
        if self.error is None and not self._sizes:
            return
        why = f"the log cannot be written: {self.error}; its" if self.error else "the log's"
        reason = f"shard {shard}: {why} records are kept in the spool, {self.octets >> 10} kB"
        if self.error is None:
            reason += ", and logged now"
        yield Trouble("log_kept", reason)
