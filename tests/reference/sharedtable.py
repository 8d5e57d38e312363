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
        self.denied = 0  # place of the bucket that refused
        self.octets = [0] * workers
        self.wants = [0] * workers
        self.elder = -1
        self.signs: dict[int, int] = {}  # second of the last sign of life, by worker
        self.coming = [0] * workers
        self.hands: dict[tuple[int, int], bytes] = {}

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
        self.octets[worker] = self.coming[worker] = self.wants[worker] = 0
        self.give_elder(worker)
        self.signs.pop(worker, None)
        self.hands = {place: id for place, id in self.hands.items() if place[0] != worker}

    def should_yield(self, slot: int, worker: int, limit: int) -> bool:
        """Someone else waits, and this one holds more than its share."""
        waiters = self.waiters[slot]
        interested = waiters | {w for w in range(self.workers) if self.held[slot, w]}
        return bool(waiters - {worker}) and self.held[slot, worker] * len(interested) > limit

    def take_rate(self, slot: int, now_ns: int, interval_ns: int, burst: int, n: int) -> int:
        """0 = granted, else ns to wait; a slot keeps the rate it was first used with."""
        bucket = self.buckets.setdefault(slot, TokenBucket(interval_ns, burst))
        return bucket.take(now_ns, n)

    def take_rates(self, asked: list[tuple[int, int, int]], now_ns: int, n: int) -> int:
        """0 = all (slot, interval, burst) granted it, else ns to wait, and none was taken."""
        for place, (slot, interval_ns, burst) in enumerate(asked):
            wait = self.take_rate(slot, now_ns, interval_ns, burst, n)
            if wait:
                self.denied = place
                self.give_back(asked[:place], n)
                return wait
        return 0

    def give_back(self, asked: list[tuple[int, int, int]], n: int) -> None:
        """What was granted and is not used: tokens, which may be more than a burst until taken."""
        for slot, _, _ in asked:
            self.buckets[slot].tokens += n

    def fits_memory(self, octets: int, limit: int) -> bool:
        """Would `take_memory` grant so many."""
        return sum(self.octets) + octets <= limit or not sum(self.octets)

    def take_memory(self, worker: int, octets: int, limit: int) -> bool:
        """Octets, if all workers then have at most `limit`, or nobody has any."""
        if not self.fits_memory(octets, limit):
            return False
        self.octets[worker] += octets
        return True

    def take_elder(self, worker: int) -> bool:
        """Be the one, if there is none."""
        free = self.elder < 0
        self.elder = worker if free else self.elder
        return free

    def give_elder(self, worker: int) -> None:
        """Be it no longer."""
        self.elder = -1 if self.elder == worker else self.elder

    def alive(self, worker: int, now: float) -> bool:
        """Whether it is there and gave a sign in the last three seconds."""
        return worker in self.signs and int(now) - self.signs[worker] <= 3

    def hand_to(self, slot: int, worker: int, now: float, away: bool) -> int:
        """Whose the newest session should be: the first of those with the fewest, or -1."""
        load = [self.held[slot, w] + self.coming[w] for w in range(self.workers)]
        others = [w for w in range(self.workers) if w != worker and self.alive(w, now)]
        if not others:
            return -1
        best = min(others, key=lambda w: load[w])
        if not away and load[worker] + 1 <= load[best] + 1 + load[best] // 8:
            return -1
        self.coming[best] += 1
        return best
