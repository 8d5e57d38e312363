"""A file that source and sink processes map: when each number was sent, accepted, and arrived.

Per number: u64 sent, u64 accepted, and for each sink process u64 first arrival and u8 copies, all
times in microseconds of CLOCK_MONOTONIC, 0 for never. Each cell has one writer: nothing is locked.
"""

from __future__ import annotations

import mmap
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from mta.loadgen.histogram import Histogram
from mta.loadgen.ledger import Counts, Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD = 16  # u64 capacity, u64 sink processes
FIELDS = Counts.__struct_fields__
STRIDE = 9  # of a sink process, octets a number


def now() -> int:
    """The common clock of all processes of a machine, microseconds."""
    return time.monotonic_ns() // 1000


def create(path: Path, capacity: int, processes: int) -> None:
    """An empty tally for numbers below `capacity` and so many sink processes."""
    capacity = -(-capacity // 8) * 8  # keeps the u64 aligned
    counts = 8 * len(FIELDS) * processes
    with path.open("wb") as file:
        file.write(capacity.to_bytes(8, "little") + processes.to_bytes(8, "little"))
        file.truncate(HEAD + counts + capacity * (16 + STRIDE * processes))


class Tally:
    """The mapped file."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        view = memoryview(self._map)
        self.capacity, self.processes = view[:HEAD].cast("Q")
        at = HEAD + 8 * len(FIELDS) * self.processes
        self._counts = view[HEAD:at].cast("Q")
        size = 8 * self.capacity
        self.sent = view[at : at + size].cast("Q")
        self.accepted = view[at + size : at + 2 * size].cast("Q")
        at += 2 * size
        self._arrived, self._copies = [], []
        for index in range(self.processes):
            start = at + index * STRIDE * self.capacity
            self._arrived.append(view[start : start + size].cast("Q"))
            self._copies.append(view[start + size : start + STRIDE * self.capacity])

    def counts(self) -> Counts:
        """The sums of all sink processes, as they were published last."""
        width = len(FIELDS)
        return Counts(*(sum(self._counts[field::width]) for field in range(width)))

    def publish(self, index: int, counts: Counts) -> None:
        """Write the counts of one sink process."""
        at = index * len(FIELDS)
        for offset, value in enumerate(msgspec.structs.astuple(counts)):
            self._counts[at + offset] = value

    def arrive(self, index: int, number: int) -> int:
        """One copy came to a sink process; how many came to it before."""
        copies = self._copies[index]
        before = copies[number]
        if not before:
            self._arrived[index][number] = now()
        if before < 255:
            copies[number] = before + 1
        return before

    def arrived(self, number: int) -> tuple[int, int]:
        """When the first copy of a number came (0: never), and how many came."""
        times = [column[number] for column in self._arrived if column[number]]
        return min(times, default=0), sum(column[number] for column in self._copies)

    def numbers(self, first: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """(number, sent, accepted) of each of a range that was sent."""
        both = zip(self.sent[first:stop], self.accepted[first:stop], strict=True)
        for number, (sent, accepted) in enumerate(both, first):
            if sent:
                yield number, sent, accepted

    def settle(self, first: int = 0, stop: int | None = None) -> Settled:
        """Compare what was accepted with what arrived, of a range of numbers."""
        found, times = Settled(), Histogram()
        for number, sent, accepted in self.numbers(first, stop or self.capacity):
            at, copies = self.arrived(number)
            found.accepted += accepted > 0
            found.lost += accepted > 0 and not copies
            found.duplicates += max(0, copies - 1)
            if at:
                found.arrived += 1
                found.last = max(found.last, at)
                times.add(at - sent)
        found.p50, found.p99, found.slowest = (
            times.quantile(0.5),
            times.quantile(0.99),
            times.largest,
        )
        return found


class Settled(msgspec.Struct):
    """What became of the numbers; times are from final dot to arrival, microseconds."""

    accepted: int = 0
    arrived: int = 0
    lost: int = 0  # accepted, never arrived
    duplicates: int = 0  # copies behind the first
    p50: int = 0
    p99: int = 0
    slowest: int = 0
    last: int = 0  # CLOCK_MONOTONIC of the last arrival


class TallyLedger(Ledger):
    """A ledger that notes arrivals in a tally instead of memory of its own."""

    __slots__ = ("_tally", "_index")

    def __init__(self, tally: Tally, index: int, file: BinaryIO | None = None) -> None:
        super().__init__(file)
        self._tally, self._index = tally, index

    def _note(self, number: int | None, recipient: str, failed: str, cut: bool) -> None:
        if failed or cut:
            super()._note(number, recipient, failed, cut)
        elif number is not None and number < self._tally.capacity:
            self.counts.duplicates += self._tally.arrive(self._index, number) > 0

    def flush(self) -> None:
        """Publish the counts."""
        self._tally.publish(self._index, self.counts)
        super().flush()
