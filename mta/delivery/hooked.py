"""The hooks of a user around an attempt, as members of the decisions.

*Before* (choose): a parcel that leaves its lane is in flight while its hook runs, and comes back to
the front of its lane cleared, so it is not asked for again. Tokens are taken when it really leaves,
and connections meanwhile take what is cleared. What the hook wants of the header is done by
*prepare*.

*After* (settle): what was delivered is recorded at once and told to the hook afterwards: nothing
that a hook does may have a message sent twice. Deferrals and bounces wait for the hook's answer.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Any

from mta.delivery.decisions import TAKEN, Choose, Ended, Prepare, Settle, Skip, Wait
from mta.errors import HookError
from mta.hooks import Bounce, Class, Defer, EndedAttempt, Go, NextAttempt
from mta.hooks import Skip as SkipForNow
from mta.hooks.headers import alter
from mta.model import Flag, Kind, Outcome, Peer, Scope, id_text
from mta.queues.lanes import Parcel

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from mta.delivery.decider import Decider
    from mta.delivery.decisions import Answer
    from mta.delivery.feeder import Attempt
    from mta.delivery.pool import Pool
    from mta.hooks.runner import Hooks
    from mta.model import Recipient

ASKED_AT_ONCE = 64  # parcels of one pool whose hook runs
FULL = Wait(Scope.SITE, inf)
COMMAND = "hook"  # what a hook's outcome answers


class Tasks:
    """Calls of hooks that are under way."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a call."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """The end: what waits for a hook stays in the spool as it is."""
        for task in self._tasks:
            task.cancel()


class AskBefore(Choose):
    """The hook `before_attempt`."""

    def __init__(self, decider: Decider, hooks: Hooks, tasks: Tasks) -> None:
        self._decider, self._hooks, self._tasks = decider, hooks, tasks
        self._asked: dict[Pool, int] = {}

    def choose(self, pool: Pool, parcel: Parcel) -> Answer:
        """TAKEN until the hook has answered."""
        if self._asked.get(pool, 0) >= ASKED_AT_ONCE:
            return FULL
        self._asked[pool] = self._asked.get(pool, 0) + 1
        _set_flying(parcel.recipients)
        self._tasks.spawn(self._before(pool, parcel))
        return TAKEN

    async def _before(self, pool: Pool, parcel: Parcel) -> None:
        try:
            answer = await self._hooks.call("before_attempt", _next_attempt(pool, parcel))
        except HookError as error:
            answer = error
        finally:
            self._asked[pool] -= 1
            if not self._asked[pool]:
                del self._asked[pool]
        if isinstance(answer, SkipForNow):
            said: Answer = Wait(Scope.MESSAGE, answer.seconds)
        elif isinstance(answer, Defer | Bounce | HookError):
            said = Skip(_outcome(answer))
        else:
            said = None
        self._decider.chosen(self, pool, parcel, said, answer)


class AlterHeader(Prepare):
    """What `before_attempt` wants of the header."""

    __slots__ = ("_before",)

    def __init__(self, before: AskBefore) -> None:
        self._before = before

    def prepare(self, attempt: Attempt, offers: int) -> None:
        """Set and remove its fields."""
        cleared: dict[Any, Any] = attempt.tag.cleared or {}
        go: Go | None = cleared.get(self._before)
        if go is not None and (go.set_headers or go.remove_headers):
            attempt.body = alter(attempt.body, go.set_headers, go.remove_headers)
            if any(name.startswith(".") for name in go.set_headers):
                attempt.flags |= Flag.DOT_LINES


class AskAfter(Settle):
    """The hook `after_attempt`."""

    def __init__(self, decider: Decider, hooks: Hooks, tasks: Tasks) -> None:
        self._decider, self._hooks, self._tasks = decider, hooks, tasks

    def settle(self, ended: Ended) -> Ended | None:
        """What cannot be changed goes on at once; the hook is asked about the rest."""
        parcel, outcomes, peer, stages = ended
        open_ = [n for n, o in enumerate(outcomes) if o.kind in (Kind.DEFERRED, Kind.BOUNCED)]
        decided = [n for n in range(len(outcomes)) if n not in open_]
        delivered = [
            _ended_attempt(parcel, parcel.recipients[n], outcomes[n], peer)
            for n in decided
            if outcomes[n].kind == Kind.DELIVERED
        ]
        if delivered:
            self._tasks.spawn(self._tell(delivered))
        if not open_:
            return ended
        rest = _part(parcel, open_) if decided else parcel
        _set_flying(rest.recipients)
        asked = ended._replace(parcel=rest, outcomes=[outcomes[n] for n in open_])
        self._tasks.spawn(self._after(asked))
        if not decided:
            return None
        return ended._replace(
            parcel=_part(parcel, decided), outcomes=[outcomes[n] for n in decided]
        )

    async def _tell(self, ended: list[EndedAttempt]) -> None:
        """Deliveries, which are recorded."""
        for one in ended:
            try:
                answer = await self._hooks.call("after_attempt", one)
            except HookError:
                continue  # told; the delivery stands
            if answer is not None:
                self._hooks.failed("after_attempt", "a delivery cannot be changed")

    async def _after(self, ended: Ended) -> None:
        told = [
            _ended_attempt(ended.parcel, recipient, outcome, ended.peer)
            for recipient, outcome in zip(ended.parcel.recipients, ended.outcomes, strict=True)
        ]
        changed = await asyncio.gather(*map(self._changed, told, ended.outcomes))
        self._decider.settled(self, ended._replace(outcomes=list(changed)))

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
