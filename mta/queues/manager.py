"""Where every accepted recipient is, and what follows from an outcome (compiled).

It runs on the worker's loop and owns all `Message`s and `Recipient`s of the worker. Everything it
needs from its neighbours comes in through `Ports`; what it decides goes to the shard (spool and
log together) and to the ready queues.

`memory` holds each recipient that is in a lane, in flight or waiting for its route. All others
are rows of the spool only. `stamp` gives strictly rising wall-clock times: rows that are to be read
"now" get one, so they always sort behind the watermarks of `mta.queues.loader`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mta.model import Kind, Message, Outcome, Peer, Recipient, Refusal, Stages, Where, id_shard
from mta.queues.lanes import Parcel, ReadyQueue
from mta.queues.names import cached_name as _name
from mta.queues.notices import SUCCESS, close_delivered, close_failed, tell_delay
from mta.queues.ports import Counters
from mta.queues.retry import next_attempt_us
from mta.queues.unrouted import NOWHERE, Unrouted, question

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence

    from mta.maillog.records import RecordWriter
    from mta.model import Wish
    from mta.queues.acts import Acts
    from mta.queues.ports import Plan, Ports, Settings
    from mta.queues.retry import RetryPolicy
    from mta.spool.shard import Shard
    from mta.spool.writes import Dsn

UNKNOWN = Stages()
DEFAULT_SOURCE = "default"  # where no pool says otherwise
MEMORY_SHARE = (1.0, 0.9, 0.8)  # of `memory_items`, by class: bulk never fills it all
KEPT_BODIES = 0.75  # of `body_memory`; the rest is for contents that wait for their commit

# What is compared for every message, as C has it (manager.pxd).
_FRESH, _DUE, _BACKLOG, _HELD, _CLOSED = map(int, Where)
_DELIVERED, _DEFERRED, _BOUNCED, _UNATTEMPTED = map(int, Kind)
_SUCCESS, _KEPT_BODIES, _MEMORY_SHARE = SUCCESS, KEPT_BODIES, MEMORY_SHARE


def _queue_name(recipient: Recipient) -> str:
    message = recipient.message
    return _name(message.campaign, message.tenant, recipient.domain, recipient.route)


def _ready_key(source: str, site_key: str) -> object:
    """The key of a ready queue; the default source's are those of the site."""
    return site_key if source == DEFAULT_SOURCE else (source, site_key)


class _Accepted:
    """What follows when a message's commit group is on disk."""

    __slots__ = ("manager", "message", "recipients", "done", "plan", "plans")

    def __init__(
        self,
        manager: QueueManager,
        message: Message,
        recipients: list[Recipient],
        done: Callable[[BaseException | None], None],
        plan: Plan | Refusal | None,
    ) -> None:
        self.manager, self.message = manager, message
        self.recipients, self.done = recipients, done
        self.plan, self.plans = plan, manager.plans  # of a lone recipient

    def __call__(self, error: BaseException | None) -> None:
        if error is None:
            plan = self.plan if self.plans == self.manager.plans else None
            self.manager.accepted(self.message, self.recipients, plan)
        else:
            self.manager.arriving.discard(self.message.id)
            self.manager.forget_body(self.message)
        self.done(error)


class QueueManager:
    """All queues of one worker: takes mail in, keeps its place, and ends it by its outcomes."""

    def __init__(
        self,
        shards: list[Shard],
        lines: list[RecordWriter],
        settings: Settings,
        ports: Ports,
        acts: Acts,
    ) -> None:
        self.shards = {shard.number: shard for shard in shards}
        self.home = shards[0]  # takes the new mail
        self._lines = {shard.number: writer for shard, writer in zip(shards, lines, strict=True)}
        self.missing: set[int] = set()  # shards that may be added later: they cannot be opened now
        self._home_lines = lines[0]
        self.settings, self.ports, self.acts = settings, ports, acts
        self.ready: dict[object, ReadyQueue] = {}
        self.memory: dict[tuple[bytes, int], Recipient] = {}
        self.unrouted = Unrouted(self)
        self.arriving: set[bytes] = set()  # messages that wait for their commit
        self.body_bytes = 0
        self.counters = Counters()
        self.plans = 0  # raised when routes change: plans from before are not kept
        self.waiting = [0] * len(Where)  # recipients out of memory, by the row that holds them
        # Says the retry policy of a recipient where its route alone does not.
        self.policy_hook: Callable[[Recipient], RetryPolicy] | None = None
        self.on_backlog: Callable[[Recipient], None] = lambda recipient: None
        # Lanes of the home shard that have a backlog, by class: kept by its loader.
        self.behind: Sequence[Container[tuple[int, str, str, str]]] = ((), (), ())
        self.on_record: Callable[[bytes, bytes], None] | None = None  # message id, line
        # What expired behind `missed_from` and up to `missed_to` lives on until `grace_us`.
        self.missed_from = self.missed_to = self.grace_us = 0
        self._stamp = 0

    def add_shard(self, shard: Shard, lines: RecordWriter) -> None:
        """Take in a shard that could not be opened before; the home stays what it is."""
        # Whoever goes through the shards now goes on without it.
        self.shards = {**self.shards, shard.number: shard}
        self._lines[shard.number] = lines
        self.missing.discard(shard.number)

    # ------------------------------------------------------------------ acceptance

    def stamp(self) -> int:
        """The wall clock in microseconds, never the same twice, going back by `rewind` alone."""
        now = self.ports.clock.wall_us()
        self._stamp = now if now > self._stamp else self._stamp + 1
        return self._stamp

    def rewind(self) -> None:
        """The clock was set back: stamps follow it. Readers must begin anew at the same instant."""
        self._stamp = 0

    def submit(
        self,
        message: Message,
        addresses: Iterable[str],
        done: Callable[[BaseException | None], None],
        wishes: Mapping[int, Wish] | None = None,
    ) -> None:
        """Store a message, then `done(None)`, then queue it; SpoolBusyError takes nothing.

        `wishes` has what was asked for single recipients, by their place in `addresses`.
        """
        hand = self.ports.receiving
        if hand is not None:
            hand.hold(message.id)
        try:
            self._submit(message, addresses, done, wishes)
        finally:
            if hand is not None:
                hand.drop()

    def _submit(
        self,
        message: Message,
        addresses: Iterable[str],
        done: Callable[[BaseException | None], None],
        wishes: Mapping[int, Wish] | None,
    ) -> None:
        recipients: list[Recipient] = []
        for address in addresses:
            recipient = Recipient(message, len(recipients), address)
            recipient.due_us = self.stamp()
            recipients.append(recipient)
        if wishes:
            for number, wish in wishes.items():
                recipients[number].notify, recipients[number].orcpt = wish
        message.open = message.total = len(recipients)
        plan = self.ports.peek(message, recipients[0])
        self._follow_route(message, plan)
        self.arrive(recipients[0], plan)
        if len(recipients) > 1:
            plan = None
            for recipient in recipients[1:]:
                self.arrive(recipient, self.ports.peek(message, recipient))
        self.home.accept(message, recipients, _Accepted(self, message, recipients, done, plan))
        self.arriving.add(message.id)
        self.count_body(message.size)

    def _follow_route(self, message: Message, plan: Plan | Refusal | None) -> None:
        """The class of the first recipient's route, where its rule names one."""
        if plan is not None and not isinstance(plan, Refusal) and plan.route.klass is not None:
            message.klass = plan.route.klass

    def arrive(self, recipient: Recipient, plan: Plan | Refusal | None) -> None:
        """Set the expiry and the row of a recipient that is to be stored, by its plan if known."""
        self._set_expiry(recipient, plan)
        self._choose_row(recipient, plan)
        if recipient.where != _FRESH and plan is not None and not isinstance(plan, Refusal):
            recipient.site = plan.site.name

    def _set_expiry(self, recipient: Recipient, plan: Plan | Refusal | None) -> None:
        """By the retry policy of its route, as far as that is known now."""
        message = recipient.message
        if self.policy_hook is not None:
            policy = self.policy_hook(recipient)
        else:
            policy = self._policy_by(plan)
        begins = message.received_us
        if message.release_us > begins:
            begins = message.release_us
        recipient.expires_us = begins + policy.max_age_us

    def _choose_row(self, recipient: Recipient, plan: Plan | Refusal | None) -> None:
        """FRESH if its lane has room, else BACKLOG; HELD by an operator, DUE by its release."""
        message = recipient.message
        if self.acts.standing and self.acts.holds(recipient):
            recipient.where = _HELD
        elif message.release_us > recipient.due_us:
            recipient.where, recipient.due_us = _DUE, message.release_us
        elif not self.has_room(message) or not self._may_pass(recipient, plan):
            recipient.where = _BACKLOG
            self.on_backlog(recipient)

    def has_room(self, message: Message) -> bool:
        """True while memory takes all recipients of `message`."""
        return len(self.memory) + message.total <= self._most(message.klass)

    def _most(self, klass: int) -> float:
        """How many recipients memory takes before nothing of a class may enter it."""
        share: float = _MEMORY_SHARE[klass]
        return self.settings.memory_items * share

    def _may_pass(self, recipient: Recipient, plan: Plan | Refusal | None) -> bool:
        """True when new mail may go straight into its lane.

        Past older mail in the backlog only while half the lane is free: the loader keeps it
        fuller than that, so new mail waits its turn unless the disk is slower than the remote.
        """
        room, message = self._lane_room(recipient, plan), recipient.message
        behind = self.behind[message.klass]
        if not behind or 2 * room > self.settings.lane_items:
            return room > 0
        return (message.klass, message.tenant, message.campaign, recipient.domain) not in behind

    def _lane_room(self, recipient: Recipient, plan: Plan | Refusal | None) -> int:
        """How many more parcels the lane of a recipient takes."""
        if plan is None or isinstance(plan, Refusal):
            return self.settings.lane_items - self.unrouted.count(recipient.domain)
        return self._room(plan, recipient.message)

    def _room(self, plan: Plan, message: Message) -> int:
        """How many more parcels the lanes of `message` take, of all sources it may leave from."""
        egress = self.ports.egress
        if egress is None:
            return self._room_at(plan.site.key, message)
        room, key = 0, plan.site.key
        for source in egress.sources(plan, message):
            room += self._room_at(_ready_key(source, key), message)
        return room

    def _room_at(self, key: object, message: Message) -> int:
        ready = self.ready.get(key)
        return self.settings.lane_items if ready is None else ready.room(message)

    def accepted(
        self, message: Message, recipients: list[Recipient], plan: Plan | Refusal | None = None
    ) -> None:
        """A message is on disk: log its Reception and queue it, a lone recipient by its plan."""
        self.counters.received += len(recipients)
        lines = self.lines(message)
        line = lines.reception(message, recipients)
        self.shard_of(message).log(line, logged=message.id)
        if self.on_record is not None:
            self.on_record(message.id, line)
        self.arriving.discard(message.id)
        if self.body_bytes > _KEPT_BODIES * self.settings.body_memory:
            self.forget_body(message)
        fresh = self._of_new(message, recipients)
        if fresh:
            self.admit(fresh, message.received_us, plan)
        else:
            self.forget_body(message)

    def _of_new(self, message: Message, recipients: list[Recipient]) -> list[Recipient]:
        """Those recipients of a new message that go into memory; others stay on disk."""
        if not message.release_us:
            for recipient in recipients:
                if recipient.where != _FRESH:
                    break
            else:
                return recipients
        fresh = [r for r in recipients if r.where == Where.FRESH]
        if message.release_us:  # the loader may have passed a time that is over by now
            now = self.stamp()
            fresh += [r for r in recipients if r.where == Where.DUE and r.due_us <= now]
        if len(fresh) < len(recipients):
            self._not_loaded(recipients, fresh)
        return fresh

    def _not_loaded(self, recipients: list[Recipient], fresh: list[Recipient]) -> None:
        """Count those of a new message that stay on disk; no sweep has judged what was arriving."""
        loaded = {recipient.number for recipient in fresh}
        for recipient in recipients:
            if recipient.number not in loaded:
                self.waiting[recipient.where] += 1
                if self.acts.judging:
                    self.acts.apply(self, recipient)

    # ------------------------------------------------------------------ room, for the loader

    def fits(self, recipient: Recipient) -> bool:
        """True when memory and the recipient's lane have room."""
        message = recipient.message
        if len(self.memory) >= self._most(message.klass):
            return False
        return self._lane_room(recipient, self.ports.peek(message, recipient)) > 0

    def absent(self, recipient: Recipient) -> bool:
        """True when the recipient is not in memory."""
        return (recipient.message.id, recipient.number) not in self.memory

    def lane_space(self, lane: tuple[int, str, str, str], pool: str = "") -> int:
        """How many recipients of a backlog lane may be read: 0 until a quarter of it is free."""
        klass, tenant, campaign, domain = lane
        probe = Message(b"", "", tenant=tenant, campaign=campaign, klass=klass, pool=pool)
        recipient = Recipient(probe, 0, f"@{domain}")
        room = self._lane_room(recipient, self.ports.peek(probe, recipient))
        if 4 * room < self.settings.lane_items:
            return 0
        space = int(self._most(klass)) - len(self.memory)
        return max(0, min(space, room))

    # ------------------------------------------------------------------ into the lanes

    def admit(
        self, recipients: list[Recipient], queued_us: int, plan: Plan | Refusal | None = None
    ) -> None:
        """Take recipients of one message into memory and send them towards their lanes."""
        message = recipients[0].message
        message.uses += len(recipients)
        for recipient in recipients:
            self.remember(recipient)
        if len(recipients) == 1:
            self.place(Parcel(message, recipients, queued_us), plan)
        else:
            for parcel in self._parcels(recipients, queued_us):
                self.place(parcel)

    def remember(self, recipient: Recipient) -> None:
        """It is in memory from now on."""
        recipient.loaded = True
        self.memory[recipient.message.id, recipient.number] = recipient

    def _parcels(self, recipients: list[Recipient], queued_us: int) -> list[Parcel]:
        """Those that may share a transaction, together."""
        groups: dict[object, list[Recipient]] = {}
        by_domain = self.settings.by_domain
        for recipient in recipients:
            plan = self.ports.peek(recipient.message, recipient)
            if plan is None or isinstance(plan, Refusal):
                key = question(recipient)
            elif by_domain and plan.site.mx:
                key = (plan.site.key, recipient.domain)
            else:
                key = plan.site.key
            groups.setdefault(key, []).append(recipient)
        most = self.settings.per_transaction
        return [
            Parcel(group[0].message, group[start : start + most], queued_us)
            for group in groups.values()
            for start in range(0, len(group), most)
        ]

    def place(self, parcel: Parcel, plan: Plan | Refusal | None = None) -> None:
        """Put a parcel into the lane of its site, or let it wait for its route."""
        if self.acts.judging:
            if not self.obey(parcel):
                return
            plan = None  # that may have given it another route
        recipient = parcel.recipients[0]
        if plan is None:
            plan = self.ports.peek(parcel.message, recipient)
        if plan is None:
            self.unrouted.wait(parcel, recipient)
        elif isinstance(plan, Refusal):
            self.finish(parcel, [plan.outcome] * len(parcel.recipients), NOWHERE, UNKNOWN)
        else:
            self.enter(parcel, plan)

    def enter(self, parcel: Parcel, plan: Plan) -> None:
        """Put a parcel into its lane."""
        ready = self.ready_queue(plan, parcel.message)
        ready.push(parcel)
        self.ports.wake(ready)

    def load(self, recipients: list[Recipient]) -> None:
        """`admit` for recipients that were rows alone."""
        hand = self.ports.loading
        if hand is not None:
            hand.hold(recipients[0].message.id)
        for recipient in recipients:
            self.waiting[recipient.where] -= 1
        self.admit(recipients, self.ports.clock.wall_us())
        if hand is not None:
            hand.drop()

    def _leave(self, recipient: Recipient, was: int) -> None:
        """Out of memory: its row alone says where it is; `was` is where it was if not there."""
        message = recipient.message
        if recipient.where != _CLOSED:
            self.waiting[recipient.where] += 1
        held = self.memory.pop((message.id, recipient.number), None)
        if held is None:
            self.waiting[was] -= 1
            return
        held.loaded = False
        message.uses -= 1
        if not message.uses:
            self.forget_body(message)

    def recount(self) -> None:
        """Begin `waiting` anew: to what it is now comes what the rows are at this instant."""
        self.waiting = [0] * len(Where)
        for recipient in self.memory.values():
            self.waiting[recipient.where] -= 1

    def obey(self, parcel: Parcel) -> bool:
        """Apply operators' acts to a parcel; True when something of it is left to send."""
        for recipient in list(parcel.recipients):
            if recipient.loaded:  # one that was moved may have been read from its row again
                self.acts.apply(self, recipient)
        return self.still_open(parcel)

    def still_open(self, parcel: Parcel) -> bool:
        """Drop the recipients of a parcel that left memory or expired; True when one is left."""
        now = self.ports.clock.wall_us()
        gone = False
        for recipient in parcel.recipients:
            if not recipient.loaded:
                gone = True
            elif recipient.expires_us <= now and not self.missed(recipient.expires_us):
                self.expire(recipient)
                gone = True
        if gone:
            parcel.recipients = [r for r in parcel.recipients if r.loaded]
        return bool(parcel.recipients)

    def missed(self, expires_us: int) -> bool:
        """True for a time that went by unseen, until the grace for that is over."""
        return self.missed_from < expires_us <= self.missed_to

    def take(self, ready: ReadyQueue) -> Parcel | None:
        """The next parcel of a ready queue that may be attempted; what it drops is closed."""
        while True:
            parcel = ready.pop()
            if parcel is None:
                return None
            if self.still_open(parcel):
                return parcel

    def ready_queue(self, plan: Plan, message: Message) -> ReadyQueue:
        """The ready queue of a plan, made where there is none; it takes over the newest plan."""
        site = plan.site
        key: object = site.key
        source = DEFAULT_SOURCE
        if self.ports.egress is not None:
            source = self._source(plan, message)
            key = _ready_key(source, site.key)
        ready = self.ready.get(key)
        if ready is None:
            ready = ReadyQueue(key, site.name, plan, self.settings.lane_items, source)
            self.ready[key] = ready
        ready.plan = plan
        return ready

    def _source(self, plan: Plan, message: Message) -> str:
        """The source whose turn it is, of those that a plan and a message leave from."""
        assert self.ports.egress is not None
        key = plan.site.key
        return self.ports.egress.choose(
            plan, message, lambda source: self._room_at(_ready_key(source, key), message) > 0
        )

    def place_again(self, ready: ReadyQueue) -> None:
        """Give up a ready queue whose path is gone: what waits in it is routed anew."""
        if self.ready.get(ready.key) is ready:
            del self.ready[ready.key]
        for parcel in ready.drain():
            if self.still_open(parcel):
                self._place_anew(parcel)

    def _place_anew(self, parcel: Parcel) -> None:
        """Route a parcel again: its recipients may have no way in common any more."""
        if len(parcel.recipients) == 1:
            self.place(parcel)
            return
        for part in self._parcels(parcel.recipients, parcel.queued_us):
            self.place(part)

    def give_back(self, parcel: Parcel) -> None:
        """A parcel that left its lane and was not attempted returns to its front."""
        ready = parcel.ready
        for recipient in parcel.recipients:
            recipient.flying = False
        if not self.still_open(parcel):
            return
        if ready is None or self.ready.get(ready.key) is not ready:
            self._place_anew(parcel)
        else:
            ready.put_back(parcel)

    def forget_idle(self, ready: ReadyQueue) -> None:
        """Drop an empty ready queue; its pool is closed."""
        if not ready.count and self.ready.get(ready.key) is ready:
            del self.ready[ready.key]

    # ------------------------------------------------------------------ outcomes

    def finish(self, parcel: Parcel, outcomes: list[Outcome], peer: Peer, stages: Stages) -> None:
        """Record what became of each recipient of an attempt, and do what follows."""
        recipients = parcel.recipients
        if len(outcomes) != len(recipients):
            raise ValueError(f"{len(outcomes)} outcomes for {parcel!r}")
        site = parcel.ready.name if parcel.ready is not None else ""
        again: list[Recipient] | None = None
        for number, recipient in enumerate(recipients):
            outcome = outcomes[number]
            recipient.flying = False
            if outcome.kind == _UNATTEMPTED:
                self._follow_orders(recipient)
                again = again or []
                again.append(recipient)
            else:
                self._ended(recipient, outcome, peer, stages, site)
        if again:
            parcel.recipients = again
            self.give_back(parcel)

    def _ended(
        self, recipient: Recipient, outcome: Outcome, peer: Peer, stages: Stages, site: str
    ) -> None:
        """Record an outcome: delivered, bounced, or put off until the next attempt."""
        kind, lines = outcome.kind, self.lines(recipient.message)
        recipient.attempts += 1
        recipient.code, recipient.enhanced = outcome.code, outcome.enhanced
        recipient.text = outcome.text
        if kind == _DELIVERED:
            self.counters.delivered += 1
            queue = _queue_name(recipient)
            line = lines.delivery(recipient, outcome, peer, stages, queue, site)
            if recipient.notify & _SUCCESS:
                close_delivered(self, recipient, line, outcome, peer)
            else:
                self.close(recipient, line)
        elif kind == _BOUNCED:
            self.counters.bounced += 1
            queue = _queue_name(recipient)
            line = lines.bounce(recipient, outcome, peer, stages, queue=queue, site=site)
            close_failed(self, recipient, line, outcome, peer)
        else:
            self._defer(recipient, outcome, peer, stages, site)

    def shard_of(self, message: Message) -> Shard:
        """The shard that holds a message."""
        if len(self.shards) == 1:
            return self.home
        return self.shards[id_shard(message.id)]

    def lines(self, message: Message) -> RecordWriter:
        """What makes the records of a message's shard."""
        if len(self._lines) == 1:
            return self._home_lines
        return self._lines[id_shard(message.id)]

    def close(self, recipient: Recipient, line: bytes, dsn: Dsn | None = None) -> None:
        """End a recipient with its terminal record, and store its DSN in the same batch."""
        if self.on_record is not None:
            self.on_record(recipient.message.id, line)
        self.shard_of(recipient.message).close(recipient, line, dsn)
        was, recipient.where = recipient.where, _CLOSED
        self._leave(recipient, was)

    def policy_of(self, recipient: Recipient) -> RetryPolicy:
        """The retry policy of a recipient."""
        if self.policy_hook is not None:
            return self.policy_hook(recipient)
        return self._policy_by(self.ports.peek(recipient.message, recipient))

    def _policy_by(self, plan: Plan | Refusal | None) -> RetryPolicy:
        """The retry policy that a route names, or the default."""
        retries = self.settings.retries
        if len(retries) > 1 and plan is not None and not isinstance(plan, Refusal):
            return retries.get(plan.route.retry, retries[""])
        return retries[""]

    def _defer(
        self,
        recipient: Recipient,
        outcome: Outcome,
        peer: Peer | None,
        stages: Stages,
        site: str,
    ) -> None:
        self.counters.deferred += 1
        message = recipient.message
        policy = self.policy_of(recipient)
        now = self.stamp()
        expires = self.grace_us if self.missed(recipient.expires_us) else recipient.expires_us
        due = next_attempt_us(policy, recipient.attempts, now, expires, self.ports.random)
        queue = _queue_name(recipient)
        line = self.lines(message).transient_failure(
            recipient, outcome, peer, stages, due or 0, queue=queue, site=site
        )
        if self.on_record is not None:
            self.on_record(message.id, line)
        if due is None:
            self.shard_of(message).log(line)
            self.expire(recipient, outcome, peer, site)
            return
        if recipient.notify or self.settings.delay_unasked:
            tell_delay(self, recipient, outcome, peer, now)
        if site:
            recipient.site = site
        self.shard_of(message).defer(recipient, line, Where.DUE, due)
        self._leave(recipient, _CLOSED)
        self._follow_orders(recipient)

    def _follow_orders(self, recipient: Recipient) -> None:
        """Obey the acts that reached a recipient while it was in flight."""
        if recipient.orders is not None:
            self.acts.follow(self, recipient)

    # ------------------------------------------------------------------ ends without an attempt

    def expire(
        self,
        recipient: Recipient,
        last: Outcome | None = None,
        peer: Peer | None = None,
        site: str = "",
    ) -> None:
        """Close a recipient whose time is over: Expiration, and a DSN with status 4.4.7."""
        if recipient.where == Where.CLOSED:
            return
        self.counters.expired += 1
        said = last.text if last else recipient.text
        text = f"message expired after {recipient.attempts} attempts" + (
            f"; the last answer was: {recipient.code or ''} {said}".rstrip() if said else ""
        )
        outcome = Outcome(Kind.BOUNCED, 0, "4.4.7", text, "expire")
        queue = _queue_name(recipient)
        line = self.lines(recipient.message).expiration(
            recipient, last, peer, queue=queue, site=site or recipient.site
        )
        close_failed(self, recipient, line, outcome, peer)

    def shift(self, recipient: Recipient, where: Where, due_us: int = 0) -> None:
        """Move a recipient that is not in flight to another row, out of memory; 0 is due now."""
        was, plan = recipient.where, self.ports.peek(recipient.message, recipient)
        if plan is not None and not isinstance(plan, Refusal):
            recipient.site = plan.site.name
        now = self.stamp()
        self.shard_of(recipient.message).move(recipient, where, max(now, due_us))
        self._leave(recipient, was)
        if where == Where.BACKLOG:
            self.on_backlog(recipient)

    def postpone(self, recipient: Recipient, seconds: float) -> None:
        """Take a recipient that is in flight out of memory for so long; nothing is counted."""
        was, recipient.flying = recipient.where, False
        due = self.stamp() + round(seconds * 1_000_000)
        self.shard_of(recipient.message).move(recipient, Where.DUE, due)
        self._leave(recipient, was)
        self._follow_orders(recipient)

    # ------------------------------------------------------------------ bodies

    def keep_body(self, message: Message, body: bytes) -> None:
        """Content that was read for an attempt, if there is still something to attempt."""
        if message.body is None and message.uses:
            message.body = body
            self.count_body(message.size)

    def forget_body(self, message: Message) -> None:
        """Nothing will ask for this content soon."""
        if message.body is not None:
            message.body = None
            self.count_body(-message.size)

    def count_body(self, octets: int) -> None:
        """So many octets of content are in memory now; below 0, no longer."""
        self.body_bytes += octets
        self.ports.count_memory(octets)

    def figures(self) -> dict[str, Any]:
        """What `mta status` shows of this worker's queues."""
        return {
            **self.counters.figures(),
            "in_memory": len(self.memory),
            "body_bytes": self.body_bytes,
            "ready_queues": len(self.ready),
        }
