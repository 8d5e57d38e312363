"""A planner that asks hooks first: which route mail takes, and what its queue wants.

Both are asked before a recipient enters a lane, where DNS is asked too, so the queues need not
know: `peek` gives None until the hooks have answered.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from mta.errors import ConfigError, HookError
from mta.hooks import Destination, RouteChoice
from mta.model import Kind, Outcome
from mta.model import Refusal as Failure
from mta.routing.planner import Done, Plan, Planner, PlannerOptions
from mta.routing.rules import Envelope, Hop, Route, Router, parse_next_hop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mta.hooks.answers import Answers
    from mta.resolver import Resolver


class Choice(NamedTuple):
    """A hook's choice, read; None leaves what the rules say."""

    hops: tuple[tuple[Hop, ...], int] | None  # and the port of MX hosts
    transport: str | None
    pool: str | None
    retry: str | None


class Known(NamedTuple):
    """The names that a choice may have."""

    retries: frozenset[str] = frozenset()
    transports: frozenset[str] = frozenset()


def read_choice(choice: RouteChoice, known: Known) -> Choice:
    """A hook's choice; ValueError where it names what there is not."""
    hops, transport = None, choice.transport
    if choice.next_hop is not None:
        if transport:
            raise ValueError("transport: stands beside next_hop, choose either")
        transport = ""
        try:
            hops = parse_next_hop(choice.next_hop)
        except ConfigError as error:
            raise ValueError(f"next_hop: {error.problem}") from None
    if transport and transport not in known.transports:
        raise ValueError(f"transport: there is no [transport.{transport}]")
    if choice.retry and choice.retry not in known.retries:
        raise ValueError(f"retry: there is no [retry.{choice.retry}]")
    return Choice(hops, transport, choice.pool, choice.retry)


class HookedPlanner(Planner):
    """Plans with hooks' answers; `learned` tells if a queue's settings are known, `learn` asks."""

    def __init__(
        self,
        router: Router,
        resolver: Resolver,
        options: PlannerOptions | None = None,
        *,
        choices: Answers[Destination, Choice | None] | None = None,
        learned: Callable[[Envelope, str, str], bool] | None = None,
        learn: Callable[[Envelope, str, str], Awaitable[object]] | None = None,
    ) -> None:
        super().__init__(router, resolver, options)
        self._choices, self._learned, self._learn = choices, learned, learn
        self._chosen: dict[tuple[Route, Choice], Route] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def peek(self, envelope: Envelope, domain: str, reroute: str = "") -> Plan | Failure | None:
        """The plan if neither a hook nor DNS has to be asked."""
        if not self._has_learned(envelope, domain, reroute):
            return None
        return super().peek(envelope, domain, reroute)

    def _has_learned(self, envelope: Envelope, domain: str, reroute: str) -> bool:
        if self._learned is not None and not self._learned(envelope, domain, reroute):
            return False
        choices = self._choices
        if choices is None or reroute:
            return True
        return choices.peek(_destination(envelope, domain)) is not None

    def find(self, envelope: Envelope, domain: str, reroute: str, done: Done) -> None:
        """Give `done` the plan, by a task if a hook has to be asked."""
        if self._has_learned(envelope, domain, reroute):
            super().find(envelope, domain, reroute, done)
            return
        task = asyncio.create_task(self._find(envelope, domain, reroute, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _find(self, envelope: Envelope, domain: str, reroute: str, done: Done) -> None:
        """A hook that fails defers, and the outcome names it."""
        try:
            await self.learn(envelope, domain, reroute)
        except HookError as error:
            done(Failure(Outcome(Kind.DEFERRED, 451, "4.3.0", str(error), "hook")))
        else:
            super().find(envelope, domain, reroute, done)

    async def learn(self, envelope: Envelope, domain: str, reroute: str = "") -> None:
        """Ask the hooks what they have not yet said; HookError."""
        if self._learn is not None:
            await self._learn(envelope, domain, reroute)
        if self._choices is not None and not reroute:
            await self._choices.get(_destination(envelope, domain))

    def route_of(self, envelope: Envelope, domain: str, reroute: str = "") -> Route | None:
        """The route as far as hooks have chosen it; None for an operator's that is none."""
        route = self._route(envelope, domain, reroute)
        return None if isinstance(route, Failure) else route

    def _route(self, envelope: Envelope, domain: str, reroute: str) -> Route | Failure:
        route = super()._route(envelope, domain, reroute)
        if self._choices is None or reroute or isinstance(route, Failure):
            return route
        kept = self._choices.peek(_destination(envelope, domain))
        if kept is None or kept.value is None:
            return route
        return self._by_choice(route, kept.value)

    def _by_choice(self, route: Route, choice: Choice) -> Route:
        """The one object for a rule's route and a choice over it."""
        chosen = self._chosen.get((route, choice))
        if chosen is None:
            if len(self._chosen) >= self._options.memo_size:
                self._chosen.clear()
            chosen = replace(
                route,
                next_hop=route.next_hop if choice.hops is None else choice.hops[0],
                port=route.port if choice.hops is None else choice.hops[1],
                transport=route.transport if choice.transport is None else choice.transport,
                pool=route.pool if choice.pool is None else choice.pool,
                retry=route.retry if choice.retry is None else choice.retry,
            )
            self._chosen[route, choice] = chosen
        return chosen


def _destination(envelope: Envelope, domain: str) -> Destination:
    return Destination(domain, envelope.tenant, envelope.campaign, envelope.sender)
