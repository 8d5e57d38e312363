"""Time as a thing that is passed in, so that tests can move it."""

from __future__ import annotations

import time
from typing import Protocol

_time_ns = time.time_ns


class Clock(Protocol):
    """What a component asks for the time."""

    def monotonic(self) -> float:
        """Seconds that never go back; the same origin for every process of the machine."""
        ...

    def wall_us(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        ...


class SystemClock:
    """The machine's clocks."""

    __slots__ = ()

    def monotonic(self) -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()

    def wall_us(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        now = _time_ns()
        return now // 1000
