"""Which recipients a log knows no end of: received, and neither delivered nor given up.

A log can have a hundred million messages, of which millions may be open at one time. So it is read
in passes: each keeps the open messages of a span of ids, at most `LIMIT`, which is made smaller
when there are more. Ids rise with time, so the next pass begins where the span was left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mta.maillog import reader
from mta.maillog.records import FOUND, LOST, RECEPTION, TERMINAL, Fields
from mta.model import id_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from mta.maillog.writer import Position

LIMIT = 100_000  # messages kept at a time


class _Event(msgspec.Struct, gc=False):
    type: str
    time: int
    id: str = ""
    rno: int | None = None
    total: int = 0
    shard: int = 0  # is left out where it is 0


_decode = msgspec.json.Decoder(_Event).decode


class Unended:
    """A message with recipients that have no end."""

    __slots__ = ("at", "total", "left", "_ended")

    def __init__(self, at: Position, total: int) -> None:
        self.at, self.total, self.left = at, total, total
        self._ended = bytearray(-(-total // 8))  # a bit for each recipient

    def set(self, number: int, *, ended: bool) -> None:
        """A recipient has its end, or has not after all."""
        if number >= self.total or self.has_end(number) == ended:
            return
        self._ended[number >> 3] ^= 1 << (number & 7)
        self.left += -1 if ended else 1

    def numbers(self) -> Iterator[int]:
        """The recipients without an end."""
        return (number for number in range(self.total) if not self.has_end(number))

    def has_end(self, number: int) -> bool:
        """Whether a recipient has its end."""
        return bool(self._ended[number >> 3] >> (number & 7) & 1)


class Walk:
    """Reads a log from a position on, over and over, to the end that it has at that time.

    After a pass `open` has messages by id. `more` reads on what was written since; `next` begins
    the next pass, if there is one.
    """

    def __init__(
        self, folder: Path, since: Position, *, lost_from_us: int = 0, limit: int = LIMIT
    ) -> None:
        """`lost` counts the Lost records from a time on."""
        self._shard = reader.shard_of(folder)
        self._folder, self._limit, self._lost_from_us = folder, limit, lost_from_us
        self._start = self._reached = since
        self._low, self._high = b"", b""  # ids above, and up to; b"": all
        self._following: Position | None = None  # where the first one above `_high` was met
        self.open: dict[bytes, Unended] = {}
        self.lost = 0
        self._first = True

    def more(self) -> Iterator[None]:
        """Read on; it yields after each frame, so that whoever reads can rest."""
        for (start, end), lines in reader.read_lines(self._folder, self._reached):
            for line in lines:
                try:
                    event = _decode(line)
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    continue
                self._take(event, start)
            self._reached = end
            yield

    def also(self, lines: Iterable[bytes]) -> None:
        """Records that the log could not take yet."""
        for line in lines:
            try:
                self._take(_decode(line), self._reached)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue

    def next(self) -> bool:
        """Forget what was found, and go to the next span of ids; False if there is none."""
        self.open.clear()
        self._first = False
        if self._following is None:
            return False
        self._start = self._reached = self._following
        self._low, self._high, self._following = self._high, b"", None
        return True

    def _take(self, event: _Event, start: Position) -> None:
        if _is_foreign(event, self._shard):
            return
        if event.type == RECEPTION:
            self._received(event, start)
        elif event.type in TERMINAL or event.type == FOUND:
            if event.type == LOST and self._first and event.time >= self._lost_from_us:
                self.lost += 1
            self._ended(event)

    def _received(self, event: _Event, start: Position) -> None:
        id = id_bytes(event.id)
        if id <= self._low or event.total < 1 or id in self.open:
            return
        if self._high and id > self._high:
            self._leave(start)
            return
        self.open[id] = Unended(start, event.total)
        if len(self.open) > self._limit:
            self._narrow()

    def _ended(self, event: _Event) -> None:
        one = self.open.get(id_bytes(event.id))
        if one is None:
            return
        one.set(event.rno or 0, ended=event.type != FOUND)
        if not one.left and event.type != LOST:  # what is lost may be found again
            del self.open[id_bytes(event.id)]

    def _narrow(self) -> None:
        """Keep the older half, and leave the rest to the next pass."""
        ids = sorted(self.open)
        self._high = ids[len(ids) // 2]
        for id in ids[len(ids) // 2 + 1 :]:
            self._leave(self.open.pop(id).at)

    def _leave(self, start: Position) -> None:
        self._following = min(self._following or start, start)


def _is_foreign(event: _Event, shard: int | None) -> bool:
    """Whether a record is another shard's, whose log somebody has put here."""
    return shard is not None and event.shard != shard


def ends(folder: Path) -> Iterator[tuple[bytes, int, Position]]:
    """(id, number, start of the frame) of every recipient that ended, but for those that were lost.

    What is lost and there all the same is to be sent.
    """
    for event, start in _events(folder):
        if event.type in TERMINAL and event.type != LOST:
            yield id_bytes(event.id), event.rno or 0, start


def received(folder: Path) -> Iterator[bytes]:
    """The ids of all messages that have a Reception record."""
    return (id_bytes(event.id) for event, _ in _events(folder) if event.type == RECEPTION)


def _events(folder: Path) -> Iterator[tuple[_Event, Position]]:
    shard = reader.shard_of(folder)
    for (start, _), lines in reader.read_lines(folder):
        for line in lines:
            try:
                event = _decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue
            if not _is_foreign(event, shard):
                yield event, start


def receptions(folder: Path, wanted: dict[bytes, Unended]) -> Iterator[tuple[bytes, Fields]]:
    """The Reception records of messages, in the order of the log."""
    for at in sorted({one.at for one in wanted.values()}):
        frame = next(reader.read_frames(folder, at), None)
        for record in frame[1] if frame else ():
            id = id_bytes(record["id"]) if record["type"] == RECEPTION else b""
            if id in wanted and wanted[id].at == at:
                yield id, record
