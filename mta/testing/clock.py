"""A clock that stands still until it is told to move."""

from __future__ import annotations


class FakeClock:
    """Starts at monotonic 1000.0 and 2026-01-01 00:00 UTC; `advance` moves both."""

    def __init__(self, monotonic: float = 1000.0, wall_us: int = 1_767_225_600_000_000) -> None:
        self._monotonic = monotonic
        self._wall_us = wall_us

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
