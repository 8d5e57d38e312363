"""Session deadlines on a coarse wheel: an assignment per command, one timer per worker (compiled).

An item sits in the bucket of some second not after its `deadline`. A deadline that moves later
costs nothing: the item is put on when its old bucket comes up. Only one that moves before the
bucket is moved at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import msgspec

NEVER = 1 << 60  # a deadline that does not come


class Timeouts(msgspec.Struct, frozen=True):
    """How long a session waits for its client, seconds; 0 switches the last two off."""

    command: float = 300  # next command of a transaction (RFC 5321 4.5.3.2.7: 5 minutes)
    idle: float = 300  # next command outside a transaction (RFC 5321 4.5.3.2.7)
    data_block: float = 180  # next octets of content (RFC 5321 4.5.3.2.5: 3 minutes)
    header: float = 5  # for a PROXY protocol header
    linger: float = 5  # for the client to close after our last reply
    content: float = 1800  # whole content, against drip-feeding
    session: float = 0  # whole session


class Seconds:
    """The same in the wheel's whole seconds; NEVER for what is switched off."""

    __slots__ = ("command", "idle", "data_block", "header", "linger", "content", "session")

    def __init__(self, timeouts: Timeouts) -> None:
        self.command, self.idle = math.ceil(timeouts.command), math.ceil(timeouts.idle)
        self.data_block, self.header = math.ceil(timeouts.data_block), math.ceil(timeouts.header)
        self.linger = math.ceil(timeouts.linger)
        self.content = math.ceil(timeouts.content) or NEVER
        self.session = math.ceil(timeouts.session) or NEVER


class Item(Protocol):
    """What the wheel holds."""

    deadline: int  # second at which expire() is due
    bucket: int  # the wheel's own

    def expire(self) -> None:
        """The deadline has passed; the item has left the wheel, and may add itself again."""
        ...


class Deadlines:
    """The wheel: seconds of a monotonic clock, `now` is the second of the last tick."""

    __slots__ = ("now", "_time", "_call_later", "_buckets", "_ticking")

    def __init__(
        self,
        time: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._time, self._call_later = time, call_later
        self._buckets: dict[int, set[Item]] = {}
        self._ticking = False
        self.now = int(time())

    def add(self, item: Item, seconds: int) -> None:
        """Hold the item, due in so many seconds."""
        if not self._ticking:
            self._ticking = True
            self.now = int(self._time())
            self._call_later(1.0, self.tick)
        item.deadline = self.now + seconds
        self._put(item)

    def _put(self, item: Item) -> None:
        second = item.bucket = max(item.deadline, self.now + 1)
        bucket = self._buckets.get(second)
        if bucket is None:
            bucket = self._buckets[second] = set()
        bucket.add(item)

    def advance(self, item: Item) -> None:
        """The deadline now lies before the item's bucket: move it there."""
        self.remove(item)
        self._put(item)

    def remove(self, item: Item) -> None:
        """Let go of the item; one that is not held is fine."""
        bucket = self._buckets.get(item.bucket)
        if bucket is not None:
            bucket.discard(item)

    def tick(self) -> None:
        """Expire what is due; the timer calls this every second while anything is held."""
        last, self.now = self.now, int(self._time())
        self._ticking = bool(self._buckets)
        if self._ticking:
            self._call_later(1.0, self.tick)
        for second in self._due(last):
            for item in self._buckets.pop(second, ()):
                if item.deadline <= self.now:
                    item.expire()
                else:
                    self._put(item)

    def _due(self, last: int) -> list[int]:
        """The seconds whose buckets are due: a walk over the shorter of time passed and buckets."""
        if self.now - last <= len(self._buckets):
            return list(range(last + 1, self.now + 1))
        return sorted(second for second in self._buckets if second <= self.now)

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))
