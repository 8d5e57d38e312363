"""A clock that stands still until it is told to move."""

from __future__ import annotations

from mta.clock import NOTHING, Change


class FakeClock:
    """Starts at monotonic 1000.0 and 2026-01-01 00:00 UTC; `advance` moves both."""

    def __init__(self, monotonic: float = 1000.0, wall_us: int = 1_767_225_600_000_000) -> None:
        self._monotonic = monotonic
        self._wall_us = wall_us
        self._change = NOTHING

    def monotonic(self) -> float:
        """Seconds since an arbitrary origin."""
        return self._monotonic

    def wall_us(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        return self._wall_us

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self._monotonic += seconds
        self._wall_us += round(seconds * 1_000_000)

    def step(self, seconds: float) -> None:
        """Set the wall clock, as one that is believed at once."""
        self._wall_us += round(seconds * 1_000_000)
        self._change = self._change._replace(moved=self._change.moved + seconds)

    def miss(self, seconds: float) -> None:
        """Time passes that nobody sees: a machine is suspended."""
        self._wall_us += round(seconds * 1_000_000)
        self._change = self._change._replace(missed=self._change.missed + seconds)

    def look(self) -> Change:
        """What `step` and `miss` did since the last look."""
        change, self._change = self._change, NOTHING
        return change
