"""Wires the hooks of one worker: each into the part that asks it, and nothing where there is none.

A worker loads the hook file's text, which the supervisor hands to all of them, in a thread. When it
changes, new functions take the place of the old; what was asked of the old ones ends with them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import structs

from mta.config.values import Rate
from mta.delivery.conversion import Conversion
from mta.delivery.decisions import Choose, Decisions, Prepare, Settle
from mta.delivery.hooked import AlterHeader, AskAfter, AskBefore, Tasks
from mta.delivery.orders import ObeyActs
from mta.delivery.rates import QueueRates
from mta.hooks import Accept, Destination, NewMessage, Queue, QueueSettings, Refuse, script
from mta.hooks.answers import Answers
from mta.hooks.runner import Hooks
from mta.hooks.tables import Tables, TableSpec, build
from mta.model import ascii_domain
from mta.queues.names import cached_name
from mta.routing.hooked import Choice, HookedPlanner, Known, read_choice
from mta.routing.planner import Planner
from mta.supervisor.events import EventPump

if TYPE_CHECKING:
    from collections.abc import Callable

    from mta.clock import Clock
    from mta.config.schema import Config
    from mta.model import Recipient
    from mta.queues.retry import RetryPolicy
    from mta.reception.hooked import Before
    from mta.routing.rules import Envelope
    from mta.spool.shard import Shard
    from mta.supervisor.worker import Worker

AT_ARRIVAL = ("message_accepted", "queue_settings", "choose_route")


@dataclass(slots=True)
class Sent:
    """What routes are chosen by, before there is a message."""

    sender: str
    tenant: str
    campaign: str


class QueuePolicy:
    """What a hook wants for a queue: retries, and a rate. ValueError if that cannot be read."""

    def __init__(self, settings: QueueSettings) -> None:
        wanted = {
            "schedule": settings.schedule,
            "jitter": settings.jitter,
            "max_age": settings.max_age,
        }
        self.rate = None if settings.rate is None else Rate.parse(settings.rate)
        self._wanted: dict[str, Any] = {k: v for k, v in wanted.items() if v is not None}
        self._over: dict[RetryPolicy, RetryPolicy] = {}

    def over(self, policy: RetryPolicy) -> RetryPolicy:
        """The policy of a route with the queue's own values in it; ValueError."""
        made = self._over.get(policy)
        if made is None:
            made = self._over[policy] = replace(policy, **self._wanted)
        return made


class Loader:
    """Makes hooks of the file's text, and the tables that they may ask."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._specs: dict[str, TableSpec] = {}
        self.tables = Tables({})

    async def load(self, config: Config, text: str) -> Hooks | None:
        """The hooks, not yet in use; None without a file. ConfigError.

        Tables stay while their settings do; old ones end with the calls that still use them.
        """
        settings = config.hooks
        if not settings.file:
            return None
        specs = {n: TableSpec(**structs.asdict(table)) for n, table in config.table.items()}
        tables = self.tables
        if specs != self._specs:
            tables = await asyncio.to_thread(build, specs, self._clock)
        functions = await asyncio.to_thread(script.load, settings.file, text, tables)
        self._specs, self.tables = specs, tables
        return Hooks(
            functions, path=settings.file, timeout=settings.timeout, threads=settings.threads
        )


class WorkerHooks:
    """The hooks of one worker: `use` puts them in the place of those before, `close` ends them."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.hooks: Hooks | None = None
        self.before: Before | None = None  # who is asked before a message is stored
        self._tasks = Tasks(worker.loop)
        self._choose: list[Choose] = []
        self._prepare: list[Prepare] = []
        self._settle: list[Settle] = []
        self._planner: HookedPlanner | None = None
        self._queues: Answers[Queue, QueuePolicy | None] | None = None
        self._pumps: list[EventPump] = []

    def use(self, hooks: Hooks | None, config: Config) -> None:
        """These hooks from now on; what `before` is asked by is to be composed anew."""
        self.hooks, self._planner, self._queues = hooks, None, None
        manager = self._worker.manager
        empty = Hooks({}) if hooks is None else hooks
        self._use_members(empty)
        self._use_planner(empty, config)
        self.compose()
        asks = any(name in empty for name in AT_ARRIVAL)
        self.before = self._before if asks else None
        manager.policy_hook = None if self._planner is None else self._policy_of
        manager.plans += 1
        self._use_pumps(hooks if "event" in empty else None, Path(config.home) / "hooks")

    def _use_members(self, hooks: Hooks) -> None:
        """The members of the decisions that hooks ask for."""
        decider = self._worker.dispatcher.decider
        self._choose, self._prepare, self._settle = [], [], []
        if "before_attempt" in hooks:
            before = AskBefore(decider, hooks, self._tasks)
            self._choose.append(before)
            self._prepare.append(AlterHeader(before))
        if "after_attempt" in hooks:
            self._settle.append(AskAfter(decider, hooks, self._tasks))

    def compose(self) -> None:
        """Say who decides about mail that leaves: again when acts, hooks or settings change."""
        worker = self._worker
        acts: list[Choose] = [ObeyActs(worker.manager)] if worker.acts.judging else []
        prepare, delivery = list(self._prepare), worker.config.delivery
        eight_bit, binary = delivery.convert_8bit == "convert", delivery.convert_binary == "convert"
        if eight_bit or binary:
            prepare.append(Conversion(eight_bit=eight_bit, binary=binary))
        worker.dispatcher.decide_by(Decisions(acts + self._choose, prepare, self._settle))

    # ------------------------------------------------------------------ arrival

    async def _before(self, message: NewMessage) -> Accept | Refuse:
        """What `message_accepted` says; then its queues' hooks are asked, for its max age."""
        assert self.hooks is not None
        answer: Accept | Refuse | None = None
        if "message_accepted" in self.hooks:
            answer = await self.hooks.call("message_accepted", message)
        if answer is None:
            answer = Accept()
        planner = self._planner
        if planner is not None and isinstance(answer, Accept):
            sent = Sent(
                message.sender,
                message.tenant if answer.tenant is None else answer.tenant,
                message.campaign if answer.campaign is None else answer.campaign,
            )
            domains = {ascii_domain(r.rpartition("@")[2].lower()) for r in message.recipients}
            await asyncio.gather(*(planner.learn(sent, domain) for domain in domains))
        return answer

    # ------------------------------------------------------------------ routes and queues

    def _use_planner(self, hooks: Hooks, config: Config) -> None:
        """The planner that asks, where `choose_route` or `queue_settings` is there."""
        paths, clock = self._worker.paths, self._worker.clock
        routes, queues = "choose_route" in hooks, "queue_settings" in hooks
        if not routes and not queues:
            paths.plan_with(Planner)
            return
        refresh = config.hooks.refresh
        choices = None
        if routes:
            known = Known(frozenset(config.retry.named), frozenset(config.transport))
            choices = Answers(partial(_choose, hooks, known), refresh, clock)
        if queues:
            settings = self._worker.manager.settings
            ask = partial(_queue_settings, hooks, lambda: settings.retries[""])
            self._queues = Answers(ask, refresh, clock)
            self._choose.append(QueueRates(self._worker.gate, self._rate_of))
        planner = partial(
            HookedPlanner,
            choices=choices,
            learned=self._learned if queues else None,
            learn=self._learn if queues else None,
        )
        made = paths.plan_with(planner)
        assert isinstance(made, HookedPlanner)
        self._planner = made

    def _learned(self, envelope: Envelope, domain: str, reroute: str) -> bool:
        return self._queues is None or (
            self._queues.peek(_queue(envelope, domain, reroute)) is not None
        )

    async def _learn(self, envelope: Envelope, domain: str, reroute: str) -> None:
        if self._queues is not None:
            await self._queues.get(_queue(envelope, domain, reroute))

    def _policy_of(self, recipient: Recipient) -> RetryPolicy:
        """The retry policy of a recipient's queue, by its route and over it by its hook."""
        message, retries = recipient.message, self._worker.manager.settings.retries
        assert self._planner is not None
        route = self._planner.route_of(message, recipient.domain, recipient.route)
        policy = retries.get(route.retry if route else "", retries[""])
        if self._queues is not None:
            kept = self._queues.peek(_queue(message, recipient.domain, recipient.route))
            if kept is not None and kept.value is not None:
                return kept.value.over(policy)
        return policy

    def _rate_of(self, recipient: Recipient) -> tuple[str, Rate] | None:
        """A recipient's queue and its rate, where it has one."""
        assert self._queues is not None
        queue = _queue(recipient.message, recipient.domain, recipient.route)
        kept = self._queues.peek(queue)
        if kept is None or kept.value is None or kept.value.rate is None:
            return None
        return queue.name, kept.value.rate

    # ------------------------------------------------------------------ events

    def _use_pumps(self, hooks: Hooks | None, folder: Path) -> None:
        """A pump for each shard's log, where there is a hook for its records."""
        if hooks is None:
            for pump in self._pumps:
                pump.forget()
            self._pumps = []
        elif self._pumps:
            for pump in self._pumps:
                pump.hooks = hooks
        else:
            log = Path(self._worker.config.log_dir)
            shards = self._worker.manager.shards.values()
            self._pumps = [EventPump(shard, log, folder, hooks) for shard in shards]
            for pump in self._pumps:
                pump.start()

    def joined(self, shard: Shard) -> None:
        """The worker serves another shard."""
        if self.hooks is not None and "event" in self.hooks:
            config = self._worker.config
            pump = EventPump(shard, Path(config.log_dir), Path(config.home) / "hooks", self.hooks)
            self._pumps.append(pump)
            pump.start()

    async def close(self) -> None:
        """The end: what waits for a hook stays as it is in the spool."""
        self._tasks.close()
        await asyncio.gather(*(pump.stop() for pump in self._pumps))
        if self.hooks is not None:
            self.hooks.close()
        await self._worker.hook_loader.tables.close()


def _queue(envelope: Envelope, domain: str, reroute: str) -> Queue:
    campaign, tenant = envelope.campaign, envelope.tenant
    return Queue(cached_name(campaign, tenant, domain, reroute), campaign, tenant, domain, reroute)


async def _choose(hooks: Hooks, known: Known, key: Destination) -> Choice | None:
    choice = await hooks.call("choose_route", key)
    try:
        return None if choice is None else read_choice(choice, known)
    except ValueError as error:
        raise hooks.failed("choose_route", str(error)) from None


async def _queue_settings(
    hooks: Hooks, default: Callable[[], RetryPolicy], key: Queue
) -> QueuePolicy | None:
    settings = await hooks.call("queue_settings", key)
    if settings is None:
        return None
    try:
        policy = QueuePolicy(settings)
        policy.over(default())
    except (ValueError, TypeError) as error:
        raise hooks.failed("queue_settings", str(error)) from None
    return policy
