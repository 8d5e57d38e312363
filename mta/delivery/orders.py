"""Operators' acts, as members of the decisions: obeyed for each parcel that is about to leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta.delivery.decisions import TAKEN, Choose

if TYPE_CHECKING:
    from mta.delivery.decisions import Answer
    from mta.delivery.pool import Pool
    from mta.queues.lanes import Parcel
    from mta.queues.manager import QueueManager


class ObeyActs(Choose):
    """Holds, removes or reroutes what acts in force cover; a member while mail is to be judged."""

    def __init__(self, manager: QueueManager) -> None:
        self._manager = manager

    def choose(self, pool: Pool, parcel: Parcel) -> Answer:
        """TAKEN where nothing of the parcel is left."""
        return None if self._manager.obey(parcel) else TAKEN
