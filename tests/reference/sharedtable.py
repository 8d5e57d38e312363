"""Twin of mta/_speedups/sharedtable.pyx for one process: dicts, and no races to care for."""

from __future__ import annotations

from collections import defaultdict

from tests.reference.gcra import TokenBucket


class Table:
    """Connections by (slot, worker), waiters by slot, rates by slot."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.held: dict[tuple[int, int], int] = defaultdict(int)
        self.waiters: dict[int, set[int]] = defaultdict(set)
        self.buckets: dict[int, TokenBucket] = {}

    def total(self, slot: int) -> int:
        """Connections of all workers."""
        return sum(n for (s, _), n in self.held.items() if s == slot)

    def acquire(self, slot: int, worker: int, limit: int) -> bool:
        """One more, if there are fewer than `limit`."""
        if self.total(slot) >= limit:
            return False
        self.held[slot, worker] += 1
        self.waiters[slot].discard(worker)
        return True

    def acquire_or_wait(self, slot: int, worker: int, limit: int) -> bool:
        """`acquire`, else be among the waiters."""
        if not self.acquire(slot, worker, limit):
            self.waiters[slot].add(worker)
            return False
        return True

    def release(self, slot: int, worker: int) -> set[int]:
        """Give one back; whom to wake."""
        self.held[slot, worker] -= 1
        return self.waiters.pop(slot, set())

    def reclaim(self, worker: int) -> None:
        """The worker holds and wants nothing any more."""
        for slot, owner in self.held:
            if owner == worker:
                self.held[slot, owner] = 0
        for waiters in self.waiters.values():
            waiters.discard(worker)

    def should_yield(self, slot: int, worker: int, limit: int) -> bool:
        """Someone else waits, and this one holds more than its share."""
        waiters = self.waiters[slot]
        interested = waiters | {w for w in range(self.workers) if self.held[slot, w]}
        return bool(waiters - {worker}) and self.held[slot, worker] * len(interested) > limit

    def take_rate(self, slot: int, now_ns: int, interval_ns: int, burst: int, n: int) -> int:
        """0 = granted, else ns to wait; a slot keeps the rate it was first used with."""
        bucket = self.buckets.setdefault(slot, TokenBucket(interval_ns, burst))
        return bucket.take(now_ns, n)
