"""Hooks around an attempt, between the lanes and the connections of one worker.

*Before*: a parcel that leaves its lane is in flight while its hook runs, and comes back to the
front of its lane as a `Cleared` one, which is not asked for again. So tokens are taken when it
really leaves, and connections meanwhile take what is cleared.

*After*: what was delivered is recorded at once and told to the hook afterwards: nothing that a
hook does may have a message sent twice. Deferrals and bounces wait for the hook's answer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from mta.delivery.feeder import Attempt
from mta.delivery.pool import Pool
from mta.errors import HookError
from mta.hooks import Bounce, Class, Defer, EndedAttempt, Go, NextAttempt, Skip
from mta.hooks.headers import alter
from mta.model import Flag, Kind, Outcome, Peer, Stages, id_text
from mta.queues.lanes import Parcel

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from mta.delivery.dispatcher import Dispatcher
    from mta.hooks.runner import Hooks
    from mta.model import Recipient

ASKED_AT_ONCE = 64  # parcels of one pool whose hook runs
NOT_YET = Outcome(Kind.UNATTEMPTED, 0, "", "", "hook")
COMMAND = "hook"  # what a hook's outcome answers


class Cleared(Parcel):
    """A parcel that a hook has let go."""

    __slots__ = ("go",)

    def __init__(self, parcel: Parcel, go: Go | None) -> None:
        super().__init__(parcel.message, parcel.recipients, parcel.queued_us)
        self.dns_us, self.ready = parcel.dns_us, parcel.ready
        self.go = go


class AttemptHooks:
    """See the module; `install` and `remove` change what the dispatcher calls."""

    def __init__(self, dispatcher: Dispatcher, hooks: Hooks) -> None:
        self._dispatcher, self._manager = dispatcher, dispatcher.manager
        self._hooks, self._loop = hooks, dispatcher.loop
        self._asked: dict[Pool, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def install(self) -> None:
        """Have the dispatcher call us where there is a hook, and nobody where there is none."""
        dispatcher = self._dispatcher
        before, after = "before_attempt" in self._hooks, "after_attempt" in self._hooks
        dispatcher.next_parcel = self.next_parcel if before else None
        dispatcher.new_attempt = self.new_attempt if before else None
        dispatcher.finish = self.finish if after else self._manager.finish

    def close(self) -> None:
        """The end: what waits for a hook stays in the spool as it is."""
        for task in self._tasks:
            task.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ------------------------------------------------------------------ before

    def next_parcel(self, pool: Pool) -> Parcel | None:
        """The next parcel that its hook has let go; those before it are asked for."""
        while (parcel := pool.next_parcel()) is not None:
            if isinstance(parcel, Cleared):
                return parcel
            if self._asked.get(pool, 0) >= ASKED_AT_ONCE:
                self._manager.give_back(parcel)
                return None
            self._asked[pool] = self._asked.get(pool, 0) + 1
            _set_flying(parcel.recipients)
            self._spawn(self._before(pool, parcel))
        return None

    async def _before(self, pool: Pool, parcel: Parcel) -> None:
        try:
            answer = await self._hooks.call("before_attempt", _next_attempt(pool, parcel))
        except HookError as error:
            answer = error
        finally:
            self._asked[pool] -= 1
            if not self._asked[pool]:
                del self._asked[pool]
        self._follow(pool, parcel, answer)
        self._dispatcher.wake(pool.ready)

    def _follow(self, pool: Pool, parcel: Parcel, answer: Any) -> None:
        """Do what the hook says with a parcel in flight."""
        manager, count = self._manager, len(parcel.recipients)
        if isinstance(answer, Skip):
            for recipient in parcel.recipients:
                manager.postpone(recipient, answer.seconds)
        elif isinstance(answer, Defer | Bounce | HookError):
            peer = Peer("", "", pool.ready.source)
            manager.finish(parcel, [_outcome(answer)] * count, peer, Stages(dns=parcel.dns_us))
        else:
            cleared = Cleared(parcel, answer)
            manager.finish(cleared, [NOT_YET] * count, Peer("", "", ""), Stages())

    def new_attempt(self, *args: Any, **named: Any) -> Attempt:
        """An attempt, its header altered as the hook wants it."""
        attempt = Attempt(*args, **named)
        go: Go | None = attempt.tag.go
        if go is not None and (go.set_headers or go.remove_headers):
            attempt.body = alter(attempt.body, go.set_headers, go.remove_headers)
            if any(name.startswith(".") for name in go.set_headers):
                attempt.flags |= Flag.DOT_LINES
        return attempt

    # ------------------------------------------------------------------ after

    def finish(self, parcel: Parcel, outcomes: list[Outcome], peer: Peer, stages: Stages) -> None:
        """Record what cannot be changed, ask the hook about the rest."""
        open_ = [n for n, o in enumerate(outcomes) if o.kind in (Kind.DEFERRED, Kind.BOUNCED)]
        decided = [n for n in range(len(outcomes)) if n not in open_]
        delivered = [
            _ended_attempt(parcel, parcel.recipients[n], outcomes[n], peer)
            for n in decided
            if outcomes[n].kind == Kind.DELIVERED
        ]
        if decided and open_:
            rest, parcel = _part(parcel, open_), _part(parcel, decided)
        else:
            rest = parcel
        if open_:
            _set_flying(rest.recipients)
            asked = [outcomes[n] for n in open_]
            self._spawn(self._after(rest, asked, peer, stages))
        if decided:
            self._manager.finish(parcel, [outcomes[n] for n in decided], peer, stages)
            if delivered:
                self._spawn(self._tell(delivered))

    async def _tell(self, ended: list[EndedAttempt]) -> None:
        """Deliveries, which are recorded."""
        for one in ended:
            try:
                answer = await self._hooks.call("after_attempt", one)
            except HookError:
                continue  # told; the delivery stands
            if answer is not None:
                self._hooks.failed("after_attempt", "a delivery cannot be changed")

    async def _after(
        self, parcel: Parcel, outcomes: list[Outcome], peer: Peer, stages: Stages
    ) -> None:
        ended = [
            _ended_attempt(parcel, recipient, outcome, peer)
            for recipient, outcome in zip(parcel.recipients, outcomes, strict=True)
        ]
        changed = await asyncio.gather(*map(self._changed, ended, outcomes))
        self._manager.finish(parcel, list(changed), peer, stages)
        if parcel.ready is not None:
            self._dispatcher.wake(parcel.ready)

    async def _changed(self, ended: EndedAttempt, outcome: Outcome) -> Outcome:
        try:
            answer = await self._hooks.call("after_attempt", ended)
        except HookError as error:
            said = f"{outcome.code or ''} {outcome.enhanced} {outcome.text}".strip()
            text = f"{error}; the answer was: {' '.join(said.split())}"
            return Outcome(Kind.DEFERRED, 451, "4.3.0", text, outcome.command)
        return outcome if answer is None else _outcome(answer, outcome.command)


def _outcome(answer: Defer | Bounce | HookError, command: str = COMMAND) -> Outcome:
    if isinstance(answer, HookError):
        return Outcome(Kind.DEFERRED, 451, "4.3.0", str(answer), command)
    kind = Kind.DEFERRED if isinstance(answer, Defer) else Kind.BOUNCED
    return Outcome(kind, answer.code, answer.enhanced, answer.text, command)


def _set_flying(recipients: list[Recipient]) -> None:
    for recipient in recipients:
        recipient.flying = True


def _part(parcel: Parcel, places: list[int]) -> Parcel:
    """A parcel of some of another's recipients."""
    part = Parcel(parcel.message, [parcel.recipients[n] for n in places], parcel.queued_us)
    part.dns_us, part.ready = parcel.dns_us, parcel.ready
    return part


def _next_attempt(pool: Pool, parcel: Parcel) -> NextAttempt:
    message = parcel.message
    assert message.body is not None
    return NextAttempt(
        id=id_text(message.id),
        sender=message.sender,
        recipients=tuple(recipient.address for recipient in parcel.recipients),
        tenant=message.tenant,
        campaign=message.campaign,
        klass=Class(message.klass),
        attempts=max(recipient.attempts for recipient in parcel.recipients),
        received_us=message.received_us,
        site=pool.ready.name,
        source=pool.ready.source,
        content=message.body,
    )


def _ended_attempt(
    parcel: Parcel, recipient: Recipient, outcome: Outcome, peer: Peer
) -> EndedAttempt:
    message = parcel.message
    return EndedAttempt(
        id=id_text(message.id),
        sender=message.sender,
        recipient=recipient.address,
        tenant=message.tenant,
        campaign=message.campaign,
        attempts=recipient.attempts + 1,
        site=parcel.ready.name if parcel.ready is not None else "",
        source=peer.source,
        peer_name=peer.name,
        peer_address=peer.address,
        kind=outcome.kind.name.lower(),
        code=outcome.code,
        enhanced=outcome.enhanced,
        text=outcome.text,
        command=outcome.command,
    )
