"""One timer for the deadlines of all connections of a worker (compiled)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

NEVER = _NEVER = float("inf")


class Timed:
    """What has a deadline; it may move at any time, without a word to the wheel if it moves later.

    One that moves before `armed` must be added again.
    """

    __slots__ = ("deadline", "armed")

    deadline: float  # when it is over, in seconds of the loop's clock
    armed: float  # when the wheel looks at it; set by the wheel, infinite while it is not in it

    def __init__(self) -> None:
        self.deadline = self.armed = _NEVER

    def expired(self) -> None:
        """The deadline has passed, and the wheel watches it no longer."""
        raise NotImplementedError


class Timer(Protocol):
    """What `call_at` returns."""

    def cancel(self) -> None:
        """Never call back."""


class TimerLoop(Protocol):
    """The part of an event loop that the wheel needs."""

    def time(self) -> float:
        """Seconds that never go back."""
        ...

    def call_at(self, when: float, callback: Callable[[], object], /) -> Timer:
        """Call back at that time."""
        ...


class Deadlines:
    """Buckets of one second, lazily re-armed: moving a deadline later costs an assignment.

    An object is told at most a second late, never early, and is then out of the wheel. The timer
    runs only while something is in the wheel.
    """

    __slots__ = ("_loop", "_buckets", "_timer", "_second")

    def __init__(self, loop: TimerLoop) -> None:
        self._loop = loop
        self._buckets: dict[int, set[Timed]] = {}
        self._timer: Timer | None = None
        self._second = 0  # the first bucket that was not visited yet

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def add(self, timed: Timed) -> None:
        """Watch it; one that is watched is moved to its present deadline."""
        self.remove(timed)
        if self._timer is None:
            self._second = int(self._loop.time()) + 1
            self._timer = self._loop.call_at(self._second, self._tick)
        self._place(timed)

    def remove(self, timed: Timed) -> None:
        """Watch it no longer; nothing happens if it is not watched."""
        if timed.armed != _NEVER:
            self._buckets[int(timed.armed)].discard(timed)
            timed.armed = _NEVER

    def close(self) -> None:
        """Forget all."""
        for bucket in self._buckets.values():
            for timed in bucket:
                timed.armed = _NEVER
        self._buckets.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _place(self, timed: Timed) -> None:
        second = max(int(timed.deadline) + 1, self._second)
        timed.armed = float(second)
        bucket = self._buckets.get(second)
        if bucket is None:
            bucket = self._buckets[second] = set()
        bucket.add(timed)

    def _tick(self) -> None:
        now = self._loop.time()
        while self._second <= now:
            second, self._second = self._second, self._second + 1
            if second in self._buckets:
                self._visit(self._buckets[second], now)
                self._buckets.pop(second, None)
        self._timer = None
        if self._buckets:
            self._timer = self._loop.call_at(self._second, self._tick)

    def _visit(self, bucket: set[Timed], now: float) -> None:
        while bucket:
            timed = bucket.pop()
            timed.armed = _NEVER
            if timed.deadline > now:
                self._place(timed)
            else:
                timed.expired()
