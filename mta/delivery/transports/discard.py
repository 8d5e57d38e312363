"""Delivery to nowhere: every recipient is delivered, nothing is kept."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mta.model import Kind, Outcome

if TYPE_CHECKING:
    from mta.delivery.feeder import Attempt

OUTCOME = Outcome(Kind.DELIVERED, 0, "2.0.0", "discarded", "discard")
TURN = 100  # messages until other connections have a turn of the loop


class Discard:
    """Takes every message, and keeps none."""

    kind = "discard"

    def __init__(self) -> None:
        self._count = 0

    async def deliver(self, attempt: Attempt) -> list[Outcome]:
        """All delivered."""
        self._count += 1
        if not self._count % TURN:
            await asyncio.sleep(0)
        return [OUTCOME] * len(attempt.recipients)
