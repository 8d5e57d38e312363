"""Rates of single queues, which a hook asks for: between the lanes and the gate of one worker.

The gate takes a queue's token together with those of tenant, site and node, when a message really
leaves. A queue without one left holds its lane: its tenant's campaign at that site.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta.delivery.pool import Pool
from mta.model import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from mta._speedups.sharedtable import Bucket
    from mta.delivery.dispatcher import Dispatcher
    from mta.model import Outcome, Peer, Recipient, Stages
    from mta.queues.lanes import Parcel
    from mta.shaping.limits import RateLike

    RateOf = Callable[[Recipient], tuple[str, RateLike] | None]


class QueueRates:
    """See the module; `rate_of` gives a recipient's queue and its rate, None for no rate."""

    def __init__(self, dispatcher: Dispatcher, rate_of: RateOf) -> None:
        self._dispatcher, self._gate, self._rate_of = dispatcher, dispatcher.gate, rate_of
        self._next = dispatcher.next_parcel or Pool.next_parcel
        self._finish = dispatcher.finish

    def install(self) -> None:
        """Stand before what the dispatcher calls now."""
        self._dispatcher.next_parcel, self._dispatcher.finish = self.next_parcel, self.finish

    def next_parcel(self, pool: Pool) -> Parcel | None:
        """The next parcel; the gate is told the buckets of its queues."""
        parcel = self._next(pool)
        self._gate.extra = () if parcel is None else self._buckets(parcel)
        return parcel

    def finish(self, parcel: Parcel, outcomes: list[Outcome], peer: Peer, stages: Stages) -> None:
        """As before; what did not leave gives its tokens back."""
        if all(outcome.kind == Kind.UNATTEMPTED for outcome in outcomes):
            self._gate.give_back(self._buckets(parcel))
        self._finish(parcel, outcomes, peer, stages)

    def _buckets(self, parcel: Parcel) -> tuple[Bucket, ...]:
        rates = dict(filter(None, map(self._rate_of, parcel.recipients)))
        return tuple(self._gate.queue_bucket(name, rate) for name, rate in rates.items())
