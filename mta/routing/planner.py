"""From message and domain to a site: at once if static or cached, else by DNS (compiled)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, cast

from mta.errors import ConfigError
from mta.model import Kind, Outcome
from mta.model import Refusal as Failure
from mta.resolver import MxAnswer, Resolver
from mta.routing.mx import Hosts, bounce, defer, literal, select
from mta.routing.rules import Envelope, Hop, Route, Router, parse_next_hop
from mta.routing.site import SitePlan, mx_site, smarthost_site, static_site

HOP_STEP = 1 << 16  # preferences of a later hop's MX come after all of an earlier one's


class Plan(NamedTuple):
    """Where a recipient's mail goes."""

    site: SitePlan
    route: Route


Done = Callable[[Plan | Failure], object]


@dataclass(frozen=True, slots=True)
class PlannerOptions:
    """Settings of a planner."""

    local_names: frozenset[str] = frozenset()  # host names that are this server, A-labels
    local_endpoints: frozenset[tuple[str, int]] = frozenset()  # (address, port) we listen on
    memo_size: int = 100_000  # plans remembered
    transports: Mapping[str, SitePlan] = field(default_factory=dict)  # by name


class Sought:
    """A plan while not all of its names are looked up."""

    __slots__ = ("_planner", "_route", "_domain", "_answers", "_left", "_done")

    def __init__(self, planner: Planner, route: Route, domain: str, names: int, done: Done) -> None:
        self._planner, self._route, self._domain = planner, route, domain
        self._answers: list[MxAnswer | None] = [None] * names
        self._left = names
        self._done = done

    def answered(self, number: int, answer: MxAnswer) -> None:
        """What one of the names is."""
        self._answers[number] = answer
        self._left -= 1
        if not self._left:
            answers = cast("tuple[MxAnswer, ...]", tuple(self._answers))
            self._done(self._planner.looked_up(self._route, self._domain, answers))


class Planner:
    """Makes plans of routes and MX answers, each once for as long as its answers hold."""

    def __init__(
        self, router: Router, resolver: Resolver, options: PlannerOptions | None = None
    ) -> None:
        self._router, self._resolver = router, resolver
        self._options = options or PlannerOptions()
        self._memo = self._options.memo_size
        self._local_names = frozenset(
            name.lower().rstrip(".") for name in self._options.local_names
        )
        self._plans: dict[tuple[Route, str], tuple[tuple[MxAnswer, ...], Plan | Failure]] = {}
        self._static: dict[Route, Plan] = {}
        self._reroutes: dict[str, Route | Failure] = {}
        self._sites: dict[str, SitePlan] = {}
        self._by_hosts: dict[tuple[Route, Hosts], Plan] = {}  # by what an answer named

    def __repr__(self) -> str:
        return f"<Planner {len(self._plans)} plans, {len(self._sites)} sites>"

    def peek(self, envelope: Envelope, domain: str, reroute: str = "") -> Plan | Failure | None:
        """The plan if no look-up is needed; `reroute` is an operator's next hop."""
        route = self._route(envelope, domain, reroute)
        if isinstance(route, Failure):
            return route
        fixed = self._fixed(route, domain)
        if fixed is not None:
            return fixed
        if not route.next_hop:
            answer = self._resolver.peek_mx(domain)
            return None if answer is None else self.looked_up(route, domain, (answer,))
        answers = []
        for name in _names(route, domain):
            answer = self._resolver.peek_mx(name)
            if answer is None:
                return None
            answers.append(answer)
        return self.looked_up(route, domain, tuple(answers))

    async def plan(self, envelope: Envelope, domain: str, reroute: str = "") -> Plan | Failure:
        """The plan, for those who can wait."""
        future: asyncio.Future[Plan | Failure] = asyncio.get_running_loop().create_future()
        self.find(envelope, domain, reroute, partial(_settle, future))
        return await future

    def find(self, envelope: Envelope, domain: str, reroute: str, done: Done) -> None:
        """Give `done` the plan; those that want the same names meanwhile share the look-ups."""
        route = self._route(envelope, domain, reroute)
        if isinstance(route, Failure):
            done(route)
            return
        fixed = self._fixed(route, domain)
        if fixed is not None:
            done(fixed)
            return
        names = _names(route, domain)
        sought = Sought(self, route, domain, len(names), done)
        for number, name in enumerate(names):
            self._resolver.find_mx(name, partial(sought.answered, number))

    def _route(self, envelope: Envelope, domain: str, reroute: str) -> Route | Failure:
        if not reroute:
            return self._router.route(envelope, domain)
        route = self._reroutes.get(reroute)
        if route is None:
            if len(self._reroutes) >= self._memo:
                self._reroutes.clear()
            route = self._reroutes[reroute] = _reroute(reroute)
        return route

    def _fixed(self, route: Route, domain: str) -> Plan | Failure | None:
        """A plan that needs no DNS: named servers, a transport, or an address literal."""
        plan = self._static.get(route)
        if plan is not None:
            return plan
        if route.transport:
            return self._keep(Plan(self._options.transports[route.transport], route))
        if not route.next_hop:
            return self._literal(route, domain) if domain.startswith("[") else None
        for hop in route.next_hop:
            if hop.mx:
                return None
        return self._keep(Plan(self._site(static_site(route.next_hop)), route))

    def _keep(self, plan: Plan) -> Plan:
        """Remember the plan of a route without look-ups."""
        if len(self._static) >= self._memo:
            self._static.clear()
        self._static[plan.route] = plan
        return plan

    def _literal(self, route: Route, domain: str) -> Plan | Failure:
        address = literal(domain)
        assert address is not None
        if isinstance(address, Outcome):
            return Failure(address)
        if (address, route.port) in self._options.local_endpoints:
            return Failure(bounce("5.4.6", f"mail for {domain} loops back to this server"))
        site = static_site([Hop(address, route.port, False)])
        return Plan(self._site(site), route)

    def looked_up(self, route: Route, domain: str, answers: tuple[MxAnswer, ...]) -> Plan | Failure:
        """The plan of these answers, made again only when an answer was replaced."""
        key = route, "" if route.next_hop else domain
        kept = self._plans.get(key)
        if kept is not None and _same(kept[0], answers):
            return kept[1]
        if len(self._plans) >= self._memo:
            self._plans.clear()
        plan = (
            self._smarthost(route, answers) if route.next_hop else self._mx(route, domain, answers)
        )
        self._plans[key] = answers, plan
        return plan

    def _mx(self, route: Route, domain: str, answers: Sequence[MxAnswer]) -> Plan | Failure:
        said = route, answers[0].hosts
        plan = self._by_hosts.get(said)
        if plan is not None:  # most domains share their servers with others
            return plan
        hosts = select(domain, answers[0], self._local_names)
        if isinstance(hosts, Outcome):
            return Failure(hosts)
        if len(self._by_hosts) >= self._options.memo_size:
            self._by_hosts.clear()
        plan = self._by_hosts[said] = Plan(self._site(mx_site(hosts, route.port)), route)
        return plan

    def _smarthost(self, route: Route, answers: Sequence[MxAnswer]) -> Plan | Failure:
        """Hops in order, those looked up replaced by their MX; what fails is left out."""
        found: list[tuple[int, Hop]] = []
        failures: list[Outcome] = []
        left = iter(answers)
        for number, hop in enumerate(route.next_hop):
            if not hop.mx:
                found.append((number * HOP_STEP, hop))
                continue
            hosts = select(hop.host, next(left))
            if isinstance(hosts, Outcome):
                failures.append(hosts)
            else:
                found += [(number * HOP_STEP + p, Hop(h, hop.port, False)) for p, h in hosts]
        if not found:
            return Failure(_configuration(failures[0]))
        name = ",".join(str(hop) for hop in route.next_hop)
        return Plan(self._site(smarthost_site(name, found)), route)

    def _site(self, site: SitePlan) -> SitePlan:
        """The one object for equal sites."""
        kept = self._sites.get(site.key)
        if kept == site:
            return kept
        if len(self._sites) >= self._memo:
            self._sites.clear()
        self._sites[site.key] = site
        return site


def _settle(future: asyncio.Future[Plan | Failure], plan: Plan | Failure) -> None:
    if not future.done():
        future.set_result(plan)


def _names(route: Route, domain: str) -> list[str]:
    return [hop.host for hop in route.next_hop if hop.mx] or [domain]


def _same(some: tuple[MxAnswer, ...], others: tuple[MxAnswer, ...]) -> bool:
    """Whether they are the same objects."""
    for number, one in enumerate(some):  # noqa: SIM110 (a generator costs more)
        if one is not others[number]:
            return False
    return True


def _reroute(text: str) -> Route | Failure:
    try:
        hops, port = parse_next_hop(text)
    except ConfigError as error:
        return Failure(defer("4.3.5", str(error)))
    return Route(-1, text, hops, port=port)


def _configuration(outcome: Outcome) -> Outcome:
    """A next hop that does not exist is our mistake, not the recipient's: try again later."""
    if outcome.kind == Kind.DEFERRED:
        return outcome
    return defer("4.3.5", f"the route's next hop cannot be used: {outcome.text}")
