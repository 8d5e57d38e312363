"""Rates of single queues, which a hook asks for.

A queue without a token left holds its lane: its tenant's campaign at that site.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta.delivery.decisions import Choose, Wait
from mta.model import Scope

if TYPE_CHECKING:
    from collections.abc import Callable

    from mta._speedups.sharedtable import Bucket
    from mta.delivery.decisions import Answer
    from mta.delivery.pool import Pool
    from mta.model import Recipient
    from mta.queues.lanes import Parcel
    from mta.shaping.gate import Gate
    from mta.shaping.limits import RateLike

    RateOf = Callable[[Recipient], tuple[str, RateLike] | None]


class QueueRates(Choose):
    """Takes a token of each queue that a parcel's recipients belong to."""

    last = True

    def __init__(self, gate: Gate, rate_of: RateOf) -> None:
        """`rate_of` gives a recipient's queue and its rate, None for no rate."""
        self._gate, self._rate_of = gate, rate_of

    def choose(self, pool: Pool, parcel: Parcel) -> Answer:
        """All tokens, or none and a wait."""
        buckets = self._buckets(parcel)
        wait = self._gate.take(buckets) if buckets else 0.0
        return Wait(Scope.QUEUE, wait) if wait else None

    def undo(self, parcel: Parcel) -> None:
        """Give the tokens back."""
        self._gate.give_back(self._buckets(parcel))

    def _buckets(self, parcel: Parcel) -> tuple[Bucket, ...]:
        rates = dict(filter(None, map(self._rate_of, parcel.recipients)))
        return tuple(self._gate.queue_bucket(name, rate) for name, rate in rates.items())
