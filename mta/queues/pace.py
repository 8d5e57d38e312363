"""A long job's share of the loop: short turns, with room for the traffic between them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mta.clock import Clock

TURN = 0.001  # seconds of work after which others get their turn
LONGEST = 0.02  # seconds that a pause lasts at most


class Pace:
    """As long as it works, it rests: at most half of a loop goes to it, far less of a busy one."""

    __slots__ = ("_clock", "_began")

    def __init__(self, clock: Clock) -> None:
        self._clock, self._began = clock, clock.monotonic()

    @property
    def over(self) -> bool:
        """True when a turn has lasted long enough."""
        return self._clock.monotonic() - self._began >= TURN

    async def rest(self) -> None:
        """End a turn; the next one begins when this returns."""
        worked = self._clock.monotonic() - self._began
        await asyncio.sleep(min(worked, LONGEST))
        self._began = self._clock.monotonic()
