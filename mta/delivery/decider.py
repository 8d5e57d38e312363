"""Asks the members of choose, prepare and settle, and does what they say (compiled).

What may leave has to be agreed to by all members of *choose*, and then by the limits of site,
tenant and node; tokens that were taken are given back when a later one says no. The members of
*prepare* make of the content what leaves; where one takes long, contents are prepared ahead
(`mta.delivery.ahead`). The members of *settle* see outcomes before the queues do.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from mta.delivery.ahead import Ahead
from mta.delivery.decisions import Answer, Choose, Decisions, Ended, Settle, Skip, Wait
from mta.delivery.feeder import Attempt
from mta.model import Kind, Outcome, Peer, Scope, Stages

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from mta.delivery.pool import Pool
    from mta.model import Message
    from mta.queues.lanes import Parcel, ReadyQueue
    from mta.queues.manager import QueueManager
    from mta.shaping.gate import Gate

AT_ONCE = 100  # parcels decided here before other connections have a turn
NOBODY = Peer("", "", "")
NOT_YET = Outcome(Kind.UNATTEMPTED, 0, "", "", "choose")


class Decider:
    """Decides by `decisions`, which are replaced as a whole (`Dispatcher.decide_by`)."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        manager: QueueManager,
        gate: Gate,
        wake: Callable[[ReadyQueue], None],
    ) -> None:
        """`wake`: something may leave from a ready queue."""
        self.loop, self.manager, self.gate, self.wake = loop, manager, gate, wake
        self.decisions = Decisions()
        self.ahead = Ahead(self)
        self._finish = manager.finish

    def next_attempt(self, pool: Pool, offers: int) -> Attempt | None:
        """What leaves next from a pool to a server that offers so much, its tokens taken."""
        decisions = self.decisions
        if decisions.threaded:
            return self.ahead.next_attempt(pool, offers)
        for _ in range(AT_ONCE):
            parcel = self.next_parcel(pool)
            if parcel is None:
                return None
            if self.may_leave(pool, parcel):
                attempt = self.attempt(parcel, offers)
                if not decisions.prepare or self._prepare(attempt):
                    return attempt
                self.refund(pool, parcel)
                self.unprepared(pool, attempt)
            elif pool.rests():
                return None
        self.wake(pool.ready)
        return None

    # ------------------------------------------------------------------ choose

    def next_parcel(self, pool: Pool) -> Parcel | None:
        """The next parcel that may leave but for what is asked last."""
        for _ in range(AT_ONCE):
            parcel = pool.next_parcel()
            if parcel is None or not self.decisions.early:
                return parcel
            answer = self._ask(pool, parcel, self.decisions.early)
            if answer is None:
                return parcel
            if not self._obey(pool, parcel, answer):
                return None
        self.wake(pool.ready)
        return None

    def may_leave(self, pool: Pool, parcel: Parcel) -> bool:
        """Take the tokens of a parcel; what is denied them is back in its lane."""
        decisions = self.decisions
        answer = self._ask(pool, parcel, decisions.last) if decisions.last else None
        if answer is None:
            wait = self.gate.message(pool.limits, parcel.message.tenant)
            if wait == 0.0:
                return True
            for member in decisions.last:
                member.undo(parcel)
            denied = self.gate.denied
            assert denied is not None
            answer = Wait(denied.scope, wait)
        self._obey(pool, parcel, answer)
        return False

    def _ask(self, pool: Pool, parcel: Parcel, members: list[Choose]) -> Answer:
        """What the first says that does not agree; those before it have it undone."""
        for place, member in enumerate(members):
            if parcel.cleared and member in parcel.cleared:
                continue
            answer = member.choose(pool, parcel)
            if answer is not None:
                for before in members[:place]:
                    before.undo(parcel)
                return answer
        return None

    def _obey(self, pool: Pool, parcel: Parcel, answer: Answer) -> bool:
        """Do what a member said of a parcel that is out of its lane; True: others may leave."""
        if isinstance(answer, Wait):
            if answer.scope is not Scope.MESSAGE:
                return self._wait(pool, parcel, answer)
            for recipient in parcel.recipients:
                self.manager.postpone(recipient, answer.seconds)
        elif isinstance(answer, Skip):
            outcomes, stages = [answer.outcome] * len(parcel.recipients), Stages(dns=parcel.dns_us)
            self._finish(parcel, outcomes, Peer("", "", pool.ready.source), stages)
        return True

    def _wait(self, pool: Pool, parcel: Parcel, wait: Wait) -> bool:
        """Put a parcel back to the front of its lane, and hold up what the scope covers."""
        ready, message = pool.ready, parcel.message
        for recipient in parcel.recipients:
            recipient.flying = False
        if wait.scope is Scope.TENANT:
            ready.park(parcel)
            self.loop.call_later(wait.seconds, self._unpark, ready, message.tenant)
        elif wait.scope is Scope.QUEUE:
            ready.park_lane(parcel)
            self.loop.call_later(wait.seconds, self._unpark_lane, ready, message)
        else:
            self.manager.give_back(parcel)
            if wait.seconds < inf:
                self._pace(pool, wait.seconds)
            return False
        return True

    def chosen(
        self, member: Choose, pool: Pool, parcel: Parcel, answer: Answer, said: Any = None
    ) -> None:
        """The answer of a member that had taken a parcel; `said` is kept in `parcel.cleared`."""
        if answer is None:
            parcel.cleared = {**(parcel.cleared or {}), member: said}
            self.come_back(parcel)
        else:
            self._obey(pool, parcel, answer)
        self.wake(pool.ready)

    def come_back(self, parcel: Parcel) -> None:
        """A parcel that was out of its lane returns to it without having left."""
        self._finish(parcel, [NOT_YET] * len(parcel.recipients), NOBODY, Stages())

    def refund(self, pool: Pool, parcel: Parcel) -> None:
        """A parcel whose tokens were taken did not leave."""
        self.gate.refund(pool.limits, parcel.message.tenant)
        for member in self.decisions.last:
            member.undo(parcel)

    # ------------------------------------------------------------------ prepare

    def attempt(self, parcel: Parcel, offers: int) -> Attempt:
        """An attempt that is to be prepared for a server."""
        body = parcel.message.body
        assert body is not None
        attempt = Attempt(parcel.message, parcel.recipients, body, parcel)
        attempt.offers = offers
        return attempt

    def _prepare(self, attempt: Attempt) -> bool:
        """Make of the content what leaves; False where that fails (`attempt.tag`: the parcel)."""
        try:
            for member in self.decisions.prepare:
                member.prepare(attempt, attempt.offers)
        except Exception as error:  # noqa: BLE001 - one message must not end the connection
            attempt.failure = f"{type(error).__name__}: {error}"
            return False
        return True

    def unprepared(self, pool: Pool, attempt: Attempt) -> None:
        """Put off what could not be prepared: nothing leaves unsigned, or half made."""
        outcome = Outcome(Kind.DEFERRED, 451, "4.3.0", attempt.failure, "prepare")
        parcel: Parcel = attempt.tag
        self._obey(pool, parcel, Skip(outcome))

    # ------------------------------------------------------------------ settle

    def settle(self, parcel: Parcel, outcomes: list[Outcome], peer: Peer, stages: Stages) -> None:
        """Record what became of an attempt, once all members have had their say."""
        if self.decisions.settle:
            self._settle(Ended(parcel, outcomes, peer, stages), None)
        else:
            self._finish(parcel, outcomes, peer, stages)

    def _settle(self, ended: Ended, after: Settle | None) -> None:
        members = self.decisions.settle
        start = members.index(after) + 1 if after in members else 0
        for member in members[start:]:
            left = member.settle(ended)
            if left is None:
                return
            ended = left
        self._finish(*ended)

    def settled(self, member: Settle, ended: Ended) -> None:
        """The answer of a member that had kept what ended."""
        self._settle(ended, member)
        if ended.parcel.ready is not None:
            self.wake(ended.parcel.ready)

    # ------------------------------------------------------------------ waiting

    def _pace(self, pool: Pool, seconds: float) -> None:
        """Nothing leaves from a pool before its rate allows it."""
        if pool.paced is None:
            pool.paced = self.loop.call_later(seconds, self._paced, pool)

    def _paced(self, pool: Pool) -> None:
        pool.paced = None
        self.wake(pool.ready)

    def _unpark(self, ready: ReadyQueue, tenant: str) -> None:
        ready.unpark(tenant)
        self.wake(ready)

    def _unpark_lane(self, ready: ReadyQueue, message: Message) -> None:
        ready.unpark_lane(message)
        self.wake(ready)
