"""What waits for the same time each, and one timer for all of it (compiled)."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Waiting(Protocol):
    """What can have waited long enough."""

    def expired(self) -> None:
        """Its time is over, and it is watched no longer."""
        ...

    def cancel(self) -> None:
        """It is no longer wanted."""
        ...


class Waits:
    """The oldest first: the timer looks at those alone whose time has come.

    What is added with a shorter time than what came before is told late.
    """

    __slots__ = ("_ends", "_timer")

    def __init__(self) -> None:
        self._ends: dict[Waiting, float] = {}  # in seconds of the loop's clock
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._ends)

    def add(self, waiting: Waiting, seconds: float) -> None:
        """Watch it from now on, anew if it is watched."""
        loop = asyncio.get_running_loop()
        self._ends.pop(waiting, None)  # the newest stand last
        self._ends[waiting] = loop.time() + seconds
        if self._timer is None:
            self._timer = loop.call_later(seconds, self._look)

    def discard(self, waiting: Waiting) -> None:
        """Watch it no longer; nothing happens if it is not watched."""
        self._ends.pop(waiting, None)
        if not self._ends and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def clear(self) -> list[Waiting]:
        """Watch nothing more; what was watched."""
        watched = list(self._ends)
        self._ends.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return watched

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        over: list[Waiting] = []
        for waiting, end in self._ends.items():
            if end > now:
                self._timer = loop.call_later(end - now, self._look)
                break
            over.append(waiting)
        else:
            self._timer = None
        for waiting in over:
            if self._ends.pop(waiting, None) is not None:
                waiting.expired()
