"""How much room the disk has left, looked at once a second at most."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from mta.clock import Clock

INTERVAL = 1.0  # s between two looks


class Space:
    """Free space of the file system that holds `folder`."""

    def __init__(self, folder: Path, minimum: int, clock: Clock) -> None:
        self._folder, self._minimum, self._clock = folder, minimum, clock
        self._next = 0.0
        self._problem: str | None = None

    def require(self, minimum: int) -> None:
        """Keep so many octets free from now on."""
        self._minimum, self._next = minimum, 0.0

    def problem(self) -> str | None:
        """Why no new mail may be stored, or None."""
        now = self._clock.monotonic()
        if now >= self._next:
            self._next = now + INTERVAL
            self._problem = self._look()
        return self._problem

    def _look(self) -> str | None:
        found = os.statvfs(self._folder)
        free = found.f_bavail * found.f_frsize
        if free >= self._minimum:
            return None
        return f"{self._folder}: {free >> 20} MB free, {self._minimum >> 20} MB are kept free"
