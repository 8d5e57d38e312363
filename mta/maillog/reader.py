"""Reading the log: one shard in its order, all shards by time, or as it is written.

Memory is bounded by one frame a shard. A frame that is being written ends a reading; the next one
goes on there.
"""

from __future__ import annotations

import heapq
import itertools
import os
from typing import TYPE_CHECKING

from mta.maillog import segments
from mta.maillog.records import Fields, decode, split_mark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mta.maillog.writer import Position

    Predicate = Callable[[Fields], bool]

BEGINNING = (0, 0)
MARKED = 3  # so many segments, the last ones, are looked through for a mark
LATE = 60_000_000  # us that a record may be logged after its time


def read(folder: Path, position: Position | None = None) -> Iterator[tuple[Position, Fields]]:
    """The records from `position` on, each with the position to go on from.

    Positions are those of whole frames: going on from the one that comes with a record that is
    not the last of its frame gives the frame again.
    """
    for position_after, records in read_frames(folder, position or BEGINNING):
        start, end = position_after
        for record in records[:-1]:
            yield start, record
        if records:
            yield end, records[-1]


def read_frames(
    folder: Path, position: Position = BEGINNING
) -> Iterator[tuple[tuple[Position, Position], list[Fields]]]:
    """Whole frames from `position` on: ((start, end), records)."""
    for place, lines in read_lines(folder, position):
        decoded = map(decode, lines)  # lines that are no record are left out
        yield place, [record for record in decoded if record is not None]


def read_lines(
    folder: Path, position: Position = BEGINNING
) -> Iterator[tuple[tuple[Position, Position], list[bytes]]]:
    """The same, records as they are written: ((start, end), lines)."""
    segment, offset = position
    for number in segments.numbers(folder):
        if number < segment:
            continue
        begin = offset if number == segment else 0
        try:
            file = open(folder / segments.name(number), "rb")  # noqa: SIM115 - closed below
        except FileNotFoundError:  # retired meanwhile
            continue
        with file:
            for start, end, content in segments.frames(file, begin):
                lines = split_mark(content)[0].rstrip(b"\n").split(b"\n")
                yield ((number, start), (number, end)), lines


def read_all(
    log_dir: Path,
    since: int | None = None,
    until: int | None = None,
    predicate: Predicate | None = None,
) -> Iterator[Fields]:
    """The records of all shards by time, from `since` to before `until` (microseconds)."""
    shards = [_between(folder, since, until) for folder in shard_folders(log_dir)]
    for record in heapq.merge(*shards, key=_time):
        if predicate is None or predicate(record):
            yield record


def follow(
    log_dir: Path,
    wait: Callable[[], object],
    predicate: Predicate | None = None,
    positions: dict[str, Position] | None = None,
) -> Iterator[Fields]:
    """New records of all shards as they are logged; `wait()` is called when there are none.

    It begins at the log's end, or at `positions` (by name of the shard's folder), which is kept
    up to date, and ends when `wait` returns False (None goes on).
    """
    positions = {} if positions is None else positions
    for folder in shard_folders(log_dir):
        positions.setdefault(folder.name, end(folder))
    while True:
        found = []
        for folder in shard_folders(log_dir):
            for (_, after), records in read_frames(folder, positions.get(folder.name, BEGINNING)):
                positions[folder.name] = after
                found += records
        for record in sorted(found, key=_time):
            if predicate is None or predicate(record):
                yield record
        if not found and wait() is False:
            return


def shard_folders(log_dir: Path) -> list[Path]:
    """The folders of the shards below the log's folder."""
    return sorted(path for path in log_dir.glob("shard-*") if path.is_dir())


def end(folder: Path) -> Position:
    """Where the log of a shard ends now: behind its last whole frame."""
    existing = segments.numbers(folder)
    if not existing:
        return BEGINNING
    position = (existing[-1], 0)
    for (_, after), _ in read_frames(folder, position):
        position = after
    return position


def last_mark(folder: Path) -> bytes:
    """The mark of a log's last frame, b"" if it has none; where the last segments are empty, of
    the one before."""
    return next(last_marks(folder), b"")


def last_marks(folder: Path) -> Iterator[bytes]:
    """The marks at the ends of the last segments, the newest first."""
    for number in reversed(segments.numbers(folder)[-MARKED:]):
        with open(folder / segments.name(number), "rb") as file:
            start, _ = segments.last(file)
            for _, _, content in segments.frames(file, start):
                yield split_mark(content)[1]
                break


def shard_of(folder: Path) -> int | None:
    """The shard whose log a folder has, by its name; None if that is another one."""
    number = folder.name.removeprefix("shard-")
    return int(number) if number != folder.name and number.isdecimal() else None


def damage(folder: Path) -> Iterator[str]:
    """What of a log cannot be read, for people; the end of its last segment may be torn."""
    existing = segments.numbers(folder)
    for before, number in itertools.pairwise(existing):
        if number != before + 1:
            last = f" to {segments.name(number - 1)}" if number > before + 2 else ""
            yield f"{segments.name(before + 1)}{last} missing"
    for number in existing:
        with open(folder / segments.name(number), "rb") as file:
            size, at = file.seek(0, os.SEEK_END), 0
            for start, end, _ in segments.frames(file, 0):
                if start > at:
                    yield f"{segments.name(number)}: octets {at} to {start} are no records"
                at = end
            if number != existing[-1] and (at < size or not size):
                what = f"octets {at} to {size} are no records" if size else "it is empty"
                yield f"{segments.name(number)}: {what}"


def _between(folder: Path, since: int | None, until: int | None) -> Iterator[Fields]:
    """Records of one shard in a span of time; segments that were closed before it are skipped."""
    for (_, _), records in read_frames(folder, _first_segment(folder, since)):
        for record in records:
            if until is not None and record["time"] >= until + LATE:
                return
            if (since is None or record["time"] >= since) and (
                until is None or record["time"] < until
            ):
                yield record


def _first_segment(folder: Path, since: int | None) -> Position:
    for number in segments.numbers(folder) if since is not None else ():
        written_us = (folder / segments.name(number)).stat().st_mtime * 1e6
        if since is not None and written_us >= since - LATE:
            return number, 0
    return BEGINNING


def _time(record: Fields) -> int:
    time: int = record["time"]
    return time
