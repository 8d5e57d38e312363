"""Counters that all workers of a node share, in one memory map, without a lock.

The source tells the theory of operation. A worker's methods are for one thread of that worker's
process; `reclaim` and `repair` are for the supervisor alone.
"""

from typing import Any

from typing_extensions import Buffer

MAX_WORKERS: int
GENERATIONS: int
SIGN_HOLDS: int  # seconds; a worker whose last sign of life is older hangs

def table_size(capacity: int, workers: int) -> int:
    """Bytes that a table needs; the capacity is rounded up to a power of two, at least 64."""

def format_table(buffer: Buffer, capacity: int, workers: int, seed: int) -> None:
    """Lay out an empty table; `seed` (64 random bits) keys the hash of names.

    ValueError if the buffer is smaller than `table_size` or workers are not 1 to MAX_WORKERS.
    """

class Bucket:
    """A rate limit that lives in a slot: at most `T / interval_ns + burst` in every window T."""

    slot: int
    interval_ns: int
    burst: int
    rule: Any

    def __init__(self, slot: int, interval_ns: int, burst: int, rule: object) -> None:
        """`rule` is kept for whoever explains; ValueError if interval * burst exceeds 2**62."""

class SharedTable:
    """The table in a buffer that `format_table` laid out."""

    workers: int
    capacity: int
    denied: int

    def __init__(self, buffer: Buffer, workers: int = 0) -> None:
        """ValueError if it is no table, of another version, or not for so many workers (0: any)."""

    @property
    def used(self) -> int:
        """Slots claimed so far."""

    def slot(self, key: bytes) -> int:
        """The slot of a key, the same for every worker; a shared one when its window is full."""

    def is_overflow(self, slot: int) -> bool:
        """Whether the slot is shared by keys that found no place: one limit holds for them all."""

    def take_rate(
        self, slot: int, now_ns: int, interval_ns: int, burst: int, n: int = 1
    ) -> int:
        """0 = granted, else ns to wait; `now_ns` is CLOCK_MONOTONIC.

        ValueError if `n` is not between 1 and `burst`, or the rate is none.
        """

    def give_back(self, slot: int, interval_ns: int, n: int = 1) -> None:
        """Undo a grant of `n` that was not used; never lets more pass than without the grant."""

    def take_rates(self, buckets: tuple[Bucket, ...], now: float, n: int = 1) -> float:
        """Take from all buckets or none: 0.0, or seconds to wait with `denied` = the refuser's place.

        `now` is in seconds of CLOCK_MONOTONIC; ValueError if `n` is above a burst.
        """

    def give_back_rates(self, buckets: tuple[Bucket, ...], n: int = 1) -> None:
        """Undo a grant of `take_rates`."""

    def acquire(self, slot: int, worker: int, limit: int) -> bool:
        """One more connection, if fewer than `limit` exist over all workers; clears our waiter bit."""

    def acquire_or_wait(self, slot: int, worker: int, limit: int) -> bool:
        """`acquire`; if refused, set the waiter bit and look again, so that no wake-up is lost."""

    def release(self, slot: int, worker: int) -> int:
        """Give one connection back; the bit mask of workers to wake, cleared in the table.

        ValueError if the worker holds none.
        """

    def wait(self, slot: int, worker: int) -> None:
        """Set the waiter bit; `acquire` again afterwards, or use `acquire_or_wait`."""

    def unwait(self, slot: int, worker: int) -> None:
        """Clear the waiter bit: nothing is left to send."""

    def interested(self, slot: int) -> int:
        """How many workers hold a connection or wait for one."""

    def should_yield(self, slot: int, worker: int, limit: int) -> bool:
        """Whether another worker waits and this one holds over `limit` / interested workers."""

    def counts(self, slot: int) -> tuple[int, tuple[int, ...], int, int]:
        """Connections in all, by worker, the waiters' mask, and the rate's TAT in ns."""

    def enter(self, worker: int, now: float) -> None:
        """Mark a worker as alive at `now`, in seconds of CLOCK_MONOTONIC."""

    def sign(self, worker: int, now: float) -> None:
        """Show that a worker that has entered still runs: without this it counts as hanging."""

    def leave(self, worker: int) -> None:
        """Mark a worker as one that takes nothing more."""

    def reclaim(self, worker: int) -> int:
        """After a worker died: give back what it held; the mask of workers to wake (all others).

        What it broke in the middle of an operation is mended at once or by a later `repair`.
        """

    def repair(self) -> int:
        """Mend totals that a dead worker left too high; how many could not be mended yet."""

    def living(self, now: float) -> list[bool]:
        """Whether each worker is there and has given a sign of life lately."""

    def hand_to(self, slot: int, worker: int, now: float, away: bool = False) -> int:
        """The worker that should have this worker's newest session, counted as coming; or -1.

        Sessions are counted by the columns of `slot`. That is the one with the fewest, if this
        worker has more than its share with the new one, or wants it `away`. A worker whose last
        sign of life is more than SIGN_HOLDS older than `now` (CLOCK_MONOTONIC) gets none.
        """

    def handed(self, worker: int) -> None:
        """A connection that was counted by `hand_to` has been taken out, or was not sent."""

    def memory(self) -> int:
        """Octets taken by all workers."""

    def fits_memory(self, octets: int, limit: int) -> bool:
        """Whether `take_memory` of so many would be granted now; nothing is taken."""

    def take_memory(self, worker: int, octets: int, limit: int) -> bool:
        """Take octets if all workers then have at most `limit`, or if nobody has any."""

    def count_memory(self, worker: int, octets: int) -> None:
        """Take octets that are there, whatever the limit; below 0 they are given back.

        ValueError if the worker has not taken so many.
        """

    def want_memory(self, worker: int, who: int) -> None:
        """Tell the other workers who lacks memory here, as a number; 0 for nobody."""

    def wanting(self) -> list[int]:
        """What each worker has told by `want_memory`."""

    def take_elder(self, worker: int) -> bool:
        """Become the one worker that may use what is kept back; False if there is one."""

    def give_elder(self, worker: int) -> None:
        """Be that no longer."""

    def elder(self) -> int:
        """The worker that is, or -1."""

    def hand(self, worker: int, number: int) -> Hand:
        """One of a worker's four hands."""

    def in_hand(self, worker: int) -> list[bytes]:
        """The message ids that a worker has, or had when it died, in its hands."""

    def bump(self, which: int) -> int:
        """Count a generation counter (0 to GENERATIONS - 1) up; its new value."""

    def generation(self, which: int) -> int:
        """The value of a generation counter."""

class Hand:
    """Where a worker notes the message that it handles at this instant."""

    def hold(self, id: bytes) -> None:
        """Note a message id, 16 bytes."""

    def drop(self) -> None:
        """Nothing is in this hand."""
