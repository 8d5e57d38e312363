"""Brings recipients from a shard's rows into memory, in slices of a few hundred microseconds.

One loader per shard. A tick reads, each from a remembered watermark:

- the `f` rows of earlier runs, once after a start, up to the first id of this run;
- the `d` rows that are due: into their lane, or into the backlog when the lane is full;
- the `b` rows of lanes that have room again, lanes in turn;
- the `e` rows that are over: Expiration, wherever the recipient is but in flight;
- rows that were passed because their records could not be read, which is tried again.

Rows that became due through `QueueManager.stamp` sort behind the watermarks, and a row behind its
watermark is in memory or has been decided, so nothing is read twice.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from typing import TYPE_CHECKING

from mta.errors import SpoolError
from mta.model import Class, Where
from mta.spool import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence

    from mta.model import Recipient
    from mta.queues.manager import QueueManager
    from mta.spool.shard import Shard

SLICE = 64  # rows a read
BUSY, IDLE = 0.001, 0.05  # seconds to the next tick
EXPIRY_EVERY = 1.0  # seconds between looks at the e rows
KNOWN_LANES = 100_000  # backlog lanes remembered; further ones are found again by a scan

LaneKey = tuple[int, str, str, str]  # class, tenant, campaign, domain


class BacklogLane:
    """A lane that has rows in the backlog, and how far it was read."""

    __slots__ = ("key", "after", "pool")

    def __init__(self, key: LaneKey, after: bytes) -> None:
        self.key, self.after = key, after  # the last row read
        self.pool = ""  # of the last one that found no room: a message's own, so not in the key


class Loader:
    """The loader of one shard."""

    def __init__(
        self,
        shard: Shard,
        manager: QueueManager,
        call_later: Callable[[float, Callable[[], None]], object],
        first_id: bytes,
    ) -> None:
        self.shard, self.manager = shard, manager
        self._call_later, self._first_id = call_later, first_id
        self._fresh_after: bytes | None = b""
        self._due_after = b""
        self._expiry_after = b""
        self._next_expiry = 0.0
        self._too_early: list[tuple[bytes, int]] = []  # over, but they wait for their commit
        self._lanes: tuple[OrderedDict[LaneKey, BacklogLane], ...] = tuple(
            OrderedDict() for _ in Class
        )
        self._discovery: Iterator[LaneKey] | None = None
        self._unlisted: set[int] = set()  # classes of which lanes are left out: too many are known
        self._stopped = False
        self.held = False  # nothing is read: it could not be sent, and its end not be kept

    def start(self) -> None:
        """Begin to tick."""
        self._discovery = iter(self.shard.backlog_lanes())
        self._call_later(0, self._tick)

    def stop(self) -> None:
        """No further tick."""
        self._stopped = True

    @property
    def stopped(self) -> bool:
        """True when it reads no more."""
        return self._stopped

    @property
    def due_after(self) -> bytes:
        """The last row d that it has read."""
        return self._due_after

    def rewind(self) -> None:
        """The clock was set back: read the rows by time from their beginnings again."""
        self.shard.rewind()
        self._due_after = self._expiry_after = b""
        for lanes in self._lanes:
            for lane in lanes.values():
                lane.after = b""

    def expire_again(self) -> None:
        """Look for all that is over, also where that was done: a grace has ended."""
        self._expiry_after, self._next_expiry = b"", 0.0

    @property
    def lanes(self) -> Sequence[Container[LaneKey]]:
        """The lanes that have a backlog, by class: always the same objects."""
        return self._lanes

    @property
    def starting(self) -> bool:
        """True until the rows of earlier runs have been read."""
        return self._fresh_after is not None or self._discovery is not None

    def backlogged(self, recipient: Recipient) -> None:
        """A recipient of this shard went into the backlog, with a fresh stamp."""
        message = recipient.message
        key = (message.klass, message.tenant, message.campaign, recipient.domain)
        lane = self._lanes[key[0]].get(key)
        if lane is not None:
            lane.pool = message.pool
            return
        # Once the rows of earlier runs are known, an unknown lane has no row before this one.
        mark = keys.lane(key) + keys.u64(recipient.due_us - 1) + keys.END
        self._remember(key, b"" if self._discovery is not None else mark)

    def _remember(self, key: LaneKey, after: bytes) -> None:
        lanes = self._lanes[key[0]]
        if len(lanes) >= KNOWN_LANES:
            self._unlisted.add(key[0])
        else:
            lanes.setdefault(key, BacklogLane(key, after))

    # ------------------------------------------------------------------ ticks

    def _tick(self) -> None:
        if self._stopped:
            return
        busy, clock = False, self.manager.ports.clock
        began = clock.monotonic()
        try:
            # Not while a failed database is being reopened.
            if self.shard.readable and not self.held:
                busy = self.run_once()
        finally:
            # At most half of the loop, however much has become due at once.
            pause = max(BUSY, clock.monotonic() - began) if busy else IDLE
            self._call_later(pause, self._tick)

    def run_once(self) -> bool:
        """One slice of each kind; True when more waits."""
        busy = False
        for part in (
            self._load_fresh, self._load_due, self._discover, self._refill, self._expire,
            self._load_again,
        ):  # fmt: skip
            with contextlib.suppress(SpoolError):  # a damaged block ends no other index's loading
                busy |= part()
        return busy

    def _admit(self, recipients: list[Recipient]) -> None:
        """Into memory, one message at a time; what finds no room goes to the backlog."""
        manager = self.manager
        recipients = [r for r in recipients if manager.absent(r)]
        start = 0
        for index in range(1, len(recipients) + 1):
            message = recipients[start].message
            if index < len(recipients) and recipients[index].message is message:
                continue
            group = recipients[start:index]
            start = index
            fits = [r for r in group if manager.fits(r)]
            for recipient in group:
                if recipient not in fits:
                    manager.shift(recipient, Where.BACKLOG)
            if fits:
                manager.load(fits)

    def _load_fresh(self) -> bool:
        if self._fresh_after is None:
            return False
        found = self.shard.fresh(self._fresh_after, self._first_id, SLICE)
        if not found:
            self._fresh_after = None
            return False
        last = found[-1]
        self._fresh_after = last.message.id + last.number.to_bytes(4, "big")
        self._admit(found)
        return True

    def _load_due(self) -> bool:
        until = self.manager.stamp()
        found, self._due_after = self.shard.due(self._due_after, until, SLICE)
        self._admit(found)
        return len(found) == SLICE

    def _load_again(self) -> bool:
        self._admit(self.shard.again())
        return False

    def _discover(self) -> bool:
        """A few lanes of earlier runs' backlog."""
        if self._discovery is None:
            return False
        for _ in range(SLICE):
            try:
                key = next(self._discovery, None)
            except SpoolError:  # that ends a generator: begin again
                self._discovery = iter(self.shard.backlog_lanes())
                raise
            if key is None:
                self._discovery = None
                return False
            self._remember(key, b"")
        return True

    def _refill(self) -> bool:
        """Read from the lanes that have room: higher classes first, a class's lanes in turn."""
        if any(self._refill_class(lanes) for lanes in self._lanes):
            return True
        if self._discovery is None and any(
            2 * len(self._lanes[klass]) < KNOWN_LANES for klass in self._unlisted
        ):
            self._unlisted.clear()
            self._discovery = iter(self.shard.backlog_lanes())
        return False

    def _refill_class(self, lanes: OrderedDict[LaneKey, BacklogLane]) -> bool:
        for _ in range(min(len(lanes), SLICE)):
            key, lane = next(iter(lanes.items()))
            lanes.move_to_end(key)
            room = min(SLICE, self.manager.lane_space(key, lane.pool))
            if room <= 0:
                continue
            before = lane.after
            found, lane.after = self.shard.backlog(key, before, room)
            self._admit(found)
            if lane.after != before:
                return True
            if self._discovery is None:
                del lanes[key]
                self.shard.forget_lane(key)
        return False

    def _expire(self) -> bool:
        manager = self.manager
        now = manager.ports.clock.monotonic()
        if now < self._next_expiry:
            return False
        until = manager.ports.clock.wall_us()
        found, self._expiry_after = self.shard.expiring(self._expiry_after, until, SLICE)
        over = [*self._too_early, *((id, n) for id, n, time in found if not manager.missed(time))]
        self._too_early = [key for key in over if key[0] in manager.arriving]
        for key in over:
            recipient = manager.memory.get(key)
            if recipient is None and key[0] not in manager.arriving:
                try:
                    recipient = self.shard.get(*key)
                except SpoolError:  # its row is passed: nobody else will come to it
                    self._too_early.append(key)
            if recipient is not None and not recipient.flying:
                manager.expire(recipient)
        if len(found) == SLICE:
            return True
        self._next_expiry = now + EXPIRY_EVERY
        return False
