"""Who sends what next: between the queues, the gate and the connections of one worker (compiled).

The dispatcher is the `Feeder` of every connection: at each message boundary the connection asks
for its next attempt, and tells what became of the last one. A parcel leaves its lane only when the
decider lets it and its content is in memory; else it goes back to the front of its lane. Nothing
here is a task, timer or lock per message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mta._speedups.values import named
from mta.delivery.decider import Decider
from mta.delivery.feeder import Attempt, Feeder, Hand, NoHand
from mta.delivery.pool import Dial, Pool
from mta.delivery.sent import Sent
from mta.model import Kind, Outcome, Scope, Stages
from mta.shaping.gate import LONGEST, TURN, WORTH

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Coroutine

    from mta.clock import Clock
    from mta.delivery.decisions import Decisions
    from mta.delivery.feeder import Connection
    from mta.model import Message
    from mta.queues.lanes import ReadyQueue
    from mta.queues.manager import QueueManager
    from mta.routing.hosts import HostBook, Target, Targets
    from mta.shaping.gate import Gate
    from mta.spool import Gone, Unreadable

    Missed = dict[bytes, Unreadable | Gone]  # by message id: contents that were not read

_UNATTEMPTED = Kind.UNATTEMPTED
REST = 1.0  # seconds between dials of a site whose names lead nowhere


class Dispatcher(Feeder):
    """Feeds the connections of a worker, opens new ones, and gives their leases back."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        manager: QueueManager,
        gate: Gate,
        hosts: HostBook,
        *,
        targets: Callable[[ReadyQueue], Awaitable[Targets]],
        connection: Callable[[ReadyQueue, Target], Connection],
        read_bodies: Callable[[list[Message], Callable[[Missed], None]], None],
        no_overlap: Callable[[Target], None],
        hand: Hand | None = None,
    ) -> None:
        self.loop, self.clock, self.manager = loop, clock, manager
        self.hand: Hand = hand or NoHand()
        self.gate, self.hosts = gate, hosts
        self.targets, self.connection = targets, connection
        self.read_bodies, self.no_overlap = read_bodies, no_overlap
        self.decider = Decider(loop, manager, gate, self.wake)
        self.pools: set[Pool] = set()
        self.denied: dict[Pool, None] = {}  # wait for a connection lease
        self.draining = self.held = False
        self.halted = False  # one of these: nothing is begun
        self.in_flight = 0  # attempts
        self.flying = 0  # their recipients
        self._beyond: tuple[Pool, Message] | None = None  # read back though there was no room
        self._idle: asyncio.Future[None] | None = None
        self._sent = Sent(loop)
        self._woken: list[Pool] = []
        self._turn = self._work  # a method that is bound once
        self._tasks: set[asyncio.Task[None]] = set()

    def decide_by(self, decisions: Decisions) -> None:
        """Ask these members from now on; what was prepared by others is prepared anew."""
        self.decider.decisions = decisions
        for pool in list(self.pools):
            self.decider.ahead.undo(pool)
            self._wake_pool(pool)

    # ------------------------------------------------------------------ waking

    def wake(self, ready: ReadyQueue) -> None:
        """Something waits in `ready`; it is looked at once in this turn of the loop."""
        pool = ready.pool
        if not isinstance(pool, Pool):
            pool = ready.pool = Pool(self, ready)
            self.pools.add(pool)
        self._wake_pool(pool)

    def _wake_pool(self, pool: Pool) -> None:
        if not pool.woken:
            pool.woken = True
            if not self._woken:
                self.loop.call_soon(self._turn)
            self._woken.append(pool)

    def _work(self) -> None:
        woken, self._woken = self._woken, []
        for pool in woken:
            pool.woken = False
            if not self.halted:
                pool.work()

    def look_again(self, pool: Pool, seconds: float) -> None:
        """Work a pool again so much later, or before; its connections go on meanwhile."""
        at = self.loop.time() + seconds
        if pool.again is not None:
            if pool.again_at <= at:
                return
            pool.again.cancel()
        pool.again_at = at  # uvloop's handle has no `when` if it is due at once
        pool.again = self.loop.call_at(at, self._look_again, pool)

    def _look_again(self, pool: Pool) -> None:
        pool.again = None
        self._wake_pool(pool)

    def reloaded(self) -> None:
        """Limits may have changed: nobody waits for what the old ones said."""
        for pool in self.pools:
            if pool.paced is not None:
                pool.paced.cancel()
                pool.paced = None
            pool.ready.unpark()
            self._wake_pool(pool)
        self.released()

    def retry_now(self) -> None:
        """An operator wants an attempt: hosts that were dead are dialled at once."""
        for pool in self.pools:
            pool.rested_until = 0.0
            self._wake_pool(pool)

    def released(self, site: str = "") -> None:
        """A lease may be free again: those who wait for it try once more, the longest idle first.

        `site` is whose, if it was given back here; another worker does not tell.
        """
        if not site:
            self.gate.on_wake()
        tries = [p for p in self.denied if not site or p.starved or p.ready.name == site]
        tries.sort(key=lambda pool: pool.moved_at)
        for pool in tries:
            del self.denied[pool]
            pool.waits = False
            self._wake_pool(pool)

    # ------------------------------------------------------------------ connections

    def open(self, pool: Pool) -> bool:
        """Begin to open a connection for `pool`; False where the gate denies it."""
        denied = self.gate.connect(pool.limits)
        if denied is not None:
            if denied.retry:
                self.look_again(pool, denied.retry)
            elif not pool.waits:
                pool.waits, pool.starved = True, denied.scope is Scope.NODE
                self.denied[pool] = None
                if pool.starved:
                    self._make_room(pool)
            return False
        pool.dialling += 1
        self._spawn(self._start_dial(pool))
        return True

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _make_room(self, wanting: Pool) -> None:
        """Close an idle connection of another site: it may hold the lease that is missing."""
        for pool in self.pools:
            if pool is not wanting and pool.idle and not pool.count():
                oldest = next(iter(pool.idle))
                del pool.idle[oldest]
                oldest.close()
                return

    def _others_starve(self, pool: Pool) -> bool:
        """True when a site of this worker has no connection, for want of the node's leases."""
        for other in self.denied:
            if other is pool or not other.starved or other.connections or other.dialling:
                continue
            if other.waiting():
                return True
        return False

    def _has_had_its_turn(self, connection: Connection) -> bool:
        dial: Dial = connection.dial
        since = self.loop.time() - dial.ready_at
        return since > dial.turn and self._others_starve(dial.pool)

    async def _start_dial(self, pool: Pool) -> None:
        began = self.loop.time()
        connecting = self._next_target(Dial(pool, await self.targets(pool.ready), began))
        if connecting is not None:
            await connecting

    def _next_target(self, dial: Dial) -> Coroutine[Any, Any, None] | None:
        """Connects to the next host; `connection_ready` or `connection_closed` tells the end."""
        targets = dial.targets
        if targets is not None and dial.place < len(targets):
            target = dial.target = targets[dial.place]
            dial.place += 1
            connection = self.connection(dial.pool.ready, target)
            connection.dial = dial
            return connection.connect(target.address, target.port, connection.local)
        self._release(dial.pool)
        dial.pool.dial_failed(dial)
        return None

    def rested_until(self, dial: Dial) -> float:
        """The monotonic time when one of the hosts that failed may be tried again."""
        source = dial.pool.ready.source
        tried = dial.targets or ()
        dead = [self.hosts.dead(target.address, target.port, source) for target in tried]
        return min((d.until for d in dead if d), default=self.clock.monotonic() + REST)

    def _release(self, pool: Pool) -> None:
        """Give a connection's lease back once its socket is closed: in the loop's next turn.

        Until then the server still counts it: whoever got the lease would be one too many there.
        """
        self.loop.call_soon(self._released, pool)

    def _released(self, pool: Pool) -> None:
        self.gate.disconnected(pool.limits)
        if self.denied:
            self.released(pool.ready.name)
        self._wake_pool(pool)  # behind those who have waited for the lease

    # ------------------------------------------------------------------ the Feeder

    def connection_ready(self, connection: Connection) -> None:
        """The session is up: it belongs to its pool now."""
        dial: Dial = connection.dial
        pool = dial.pool
        pool.dialling -= 1
        pool.connections[connection] = None
        pool.share(connection)
        dial.ready_at = now = self.loop.time()
        dial.turn = max(TURN, min(WORTH * (now - dial.began), LONGEST))
        self.gate.connected(pool.limits)
        target = dial.target
        assert target is not None
        self.hosts.worked(target.address, target.port, pool.ready.source)
        self._wake_pool(pool)

    def connection_idle(self, connection: Connection) -> None:
        """Nothing to send now."""
        pool = connection.dial.pool
        if self.draining or self.gate.should_yield(pool.limits) or self._others_starve(pool):
            connection.close()
        else:
            pool.idle[connection] = None

    def connection_closed(self, connection: Connection, outcome: Outcome | None) -> None:
        """A session has ended; one that never became ready sends the dial to the next host."""
        dial = connection.dial
        pool = dial.pool
        if connection.overlap_failed:
            self.no_overlap(dial.target)
        if connection in pool.connections:
            del pool.connections[connection]
            pool.idle.pop(connection, None)
            self._release(pool)
            return
        if self.draining:  # it was cut off by us, which says nothing of its host
            pool.dialling -= 1
            self._release(pool)
            return
        dial.last = outcome or dial.last
        target = dial.target
        if outcome is None or outcome.command != "bind":  # that says nothing of the host
            why = outcome.text if outcome else "closed"
            self.hosts.failed(target.address, why, target.port, pool.ready.source)
        connecting = self._next_target(dial)
        if connecting is not None:
            self._spawn(connecting)

    def next_attempt(self, connection: Connection) -> Attempt | None:
        """The next message for this connection, its tokens taken; None when there is none now."""
        dial: Dial = connection.dial
        pool = dial.pool
        if self.halted or pool.rests():
            return None
        if self.gate.should_yield(pool.limits) or (
            self.denied and self._has_had_its_turn(connection)
        ):
            connection.close()
            return None
        attempt = self.decider.next_attempt(pool, connection.offers)
        if attempt is not None:
            self._begin(pool, attempt)
        return attempt

    def _begin(self, pool: Pool, attempt: Attempt) -> None:
        """An attempt leaves for a server."""
        recipients = attempt.recipients
        for recipient in recipients:
            recipient.flying = True
        self.in_flight += 1
        pool.in_flight += 1
        self.flying += len(recipients)
        pool.moved_at = self.loop.time()

    def content_sent(self, connection: Connection) -> None:
        """Look in a second whether its reply takes long."""
        self._sent.watch(connection)

    def content_over(self, attempt: Attempt) -> None:
        """Forget the content, unless it is in memory for other recipients, too."""
        message = attempt.message
        if message.uses == len(attempt.recipients):
            self.manager.forget_body(message)

    def exceed(self, pool: Pool, message: Message) -> bool:
        """Let a content be read back beyond the budget: one of this worker at any time."""
        if self._beyond is not None:
            reads, last = self._beyond
            if last.body is not None or reads.reading:
                return False
        self._beyond = pool, message
        return True

    def attempt_done(
        self, connection: Connection, attempt: Attempt, outcomes: list[Outcome]
    ) -> None:
        """Record an attempt; unattempted recipients return and their token with them."""
        self.in_flight -= 1
        self.flying -= len(attempt.recipients)
        if self._idle is not None and not self.in_flight and not self._idle.done():
            self._idle.set_result(None)
        dial: Dial = connection.dial
        parcel, pool = attempt.tag, dial.pool
        pool.in_flight -= 1
        if outcomes[0].kind is _UNATTEMPTED and _came_back(outcomes):
            self.decider.refund(pool, parcel)
        transfer = attempt.transfer_us
        pool.growth.messages += 1
        pool.growth.spent_us += transfer
        waited = self.clock.wall_us() - parcel.queued_us - transfer
        stages = named(Stages, (max(0, waited), parcel.dns_us, attempt.connect_us, transfer))
        # point: a receiver has replied, there is no record
        self.decider.settle(parcel, outcomes, connection.peer, stages)

    # ------------------------------------------------------------------ the end

    def hold(self, held: bool) -> None:
        """Begin no attempt while `held`; connections stay, what is in flight ends."""
        self.held, self.halted = held, held or self.draining
        if not self.halted:
            for pool in self.pools:
                self._wake_pool(pool)

    def drain(self) -> None:
        """Start nothing more; connections close at their next boundary."""
        self.draining = self.halted = True
        for pool in list(self.pools):
            self.decider.ahead.undo(pool)
            for connection in list(pool.connections):
                connection.close()

    async def wait_idle(self) -> None:
        """Return when no attempt is under way (after `drain`)."""
        if self.in_flight:
            self._idle = self.loop.create_future()
            await self._idle

    def abort(self) -> None:
        """Close everything now; what is in flight is unknown."""
        for task in self._tasks:
            task.cancel()
        for pool in self.pools:
            for connection in list(pool.connections):
                connection.abort()
        self.decider.ahead.close()

    def renew(self, gone: Callable[[ReadyQueue], bool]) -> None:
        """After a reload: give up the paths that are `gone`, at their message boundaries."""
        for pool in list(self.pools):
            if gone(pool.ready):
                for connection in list(pool.connections):
                    connection.close()
                self.manager.place_again(pool.ready)

    def sweep(self) -> None:
        """Drop the pools that have nothing left (called now and then)."""
        for pool in list(self.pools):
            if not (pool.connections or pool.dialling or pool.reading or pool.count()):
                self.pools.discard(pool)
                pool.limits.users -= 1
                pool.ready.pool = None
                self.manager.forget_idle(pool.ready)

    def figures(self) -> dict[str, int]:
        """What `mta status` shows of this worker's connections."""
        return {
            "connections": sum(len(pool.connections) for pool in self.pools),
            "idle_connections": sum(len(pool.idle) for pool in self.pools),
            "dialling": sum(pool.dialling for pool in self.pools),
            "in_flight": self.in_flight,
        }


def _came_back(outcomes: list[Outcome]) -> bool:
    """Nothing was decided for any recipient."""
    return all(outcome.kind is _UNATTEMPTED for outcome in outcomes)
