"""From a recipient to a connection: routing, hosts and client options of one worker."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, cast

from mta.delivery.deadlines import Deadlines
from mta.delivery.transports.handover import HandoverConnection
from mta.delivery.transports.smtp import SmtpConnection
from mta.model import Refusal
from mta.resolver import Resolver, ResolverOptions
from mta.routing import egress
from mta.routing.hosts import HostBook, HostOptions
from mta.routing.planner import Plan, Planner, PlannerOptions
from mta.routing.rules import Router, from_config
from mta.supervisor import ways, wiring
from mta.supervisor.peek import Peek

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from mta.clock import Clock
    from mta.config.schema import Config
    from mta.delivery.dispatcher import Dispatcher
    from mta.delivery.feeder import Connection
    from mta.model import Message, Recipient
    from mta.queues.lanes import ReadyQueue
    from mta.routing.hosts import Target, Targets
    from mta.shaping.gate import Gate
    from mta.smtp.client import ClientOptions

READ_SIZE = 64 * 1024  # octets of one read; replies are short


NO_SOURCE = egress.Source("")  # LMTP: the system chooses
SLOW_HOSTS = 10_000  # servers remembered that cannot take what is sent ahead


class Paths:
    """Plans, servers and connections by the routes in force; `reload` changes all or nothing."""

    def __init__(
        self, config: Config, gate: Gate, clock: Clock, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._gate, self._clock, self._loop = gate, clock, loop
        self._deadlines = Deadlines(loop)
        self._buffer = memoryview(bytearray(READ_SIZE))
        self._sources = egress.Egress({}, {})
        self._ways: dict[str, ways.Way] = {}
        self.resolver = Resolver(_resolver_options(config), clock)
        endpoints = _local_endpoints(config)
        self.hosts = HostBook(
            self.resolver, clock, HostOptions(dead_initial=5.0, local_endpoints=endpoints)
        )
        self._peek = Peek(Planner(Router(), self.resolver))
        self.peek = self._peek.peek  # the plan of (message, recipient), if no look-up is needed
        self._make_planner: Callable[..., Planner] = Planner
        self.reload(config)

    def reload(self, config: Config) -> None:
        """Use other routes, limits and client settings from now on; ConfigError changes nothing."""
        router = Router(from_config(config.route))
        sources = egress.from_config(config)
        found = ways.from_config(config, self._ways)
        self.resolver.reload(_resolver_options(config))
        options = PlannerOptions(
            local_names=frozenset((config.hostname.lower(),)),
            local_endpoints=_local_endpoints(config),
            transports={name: way.site for name, way in found.items()},
        )
        self._routing = router, options
        self.plan_with(self._make_planner)
        self._renewed_ways, self._ways = ways.changed(self._ways, found), found
        self._renewed = sources.changed(self._sources)
        self._sources = sources
        self.egress = sources if config.source or config.pool else None
        self._clients = _clients(config, overlap=config.delivery.overlap)
        self._careful = _clients(config, overlap=False)
        self._lmtp = wiring.client_options(config, overlap=False, lmtp=True)
        self._slow: set[Target] = set()
        self._timeouts = wiring.delivery_timeouts(config)
        self._max_messages = config.delivery.messages_per_connection
        self._idle_timeout = config.delivery.idle_timeout
        limited = set(config.limits.site) - {"default"}
        self._peek.define = self._define if limited else None
        self._defined: set[tuple[str, str]] = set()

    def plan_with(self, make: Callable[..., Planner]) -> Planner:
        """Have `make` make the planner, now and at every reload."""
        router, options = self._routing
        self._make_planner = make
        self._peek.planner = planner = make(router, self.resolver, options)
        return planner

    def gone(self, ready: ReadyQueue) -> bool:
        """The last reload changed or took away what this queue's connections are made of."""
        transport = ready.plan.route.transport
        return transport in self._renewed_ways if transport else ready.source in self._renewed

    # ------------------------------------------------------------------ routes

    @property
    def _planner(self) -> Planner:
        return self._peek.planner

    def _define(self, site: str, domain: str) -> None:
        """Limits may name a domain: tell the gate to which site it belongs."""
        if (site, domain) not in self._defined:
            self._defined.add((site, domain))
            self._gate.define(site, (domain,))

    def resolve(
        self, message: Message, recipient: Recipient, done: Callable[[Plan | Refusal], None]
    ) -> None:
        """The plan by DNS, given to `done`."""
        self._planner.find(message, recipient.domain, recipient.route, done)

    def site_of(self, recipient: Recipient) -> str:
        """The name of a recipient's site, the last one while it is unknown; "" without one."""
        plan = self._planner.peek(recipient.message, recipient.domain, recipient.route)
        return plan.site.name if isinstance(plan, Plan) else recipient.site

    async def learn_site(self, recipient: Recipient) -> str:
        """The name of a recipient's site, looked up where needed; else the last one."""
        plan = await self._planner.plan(recipient.message, recipient.domain, recipient.route)
        return plan.site.name if isinstance(plan, Plan) else recipient.site

    # ------------------------------------------------------------------ connections

    async def targets(self, ready: ReadyQueue) -> Targets:
        """The hosts of a ready queue's site that its source can reach, in the order to try."""
        targets = await self.hosts.connect_targets(ready.plan.site, ready.source)
        source = self._sources.source(ready.source)
        if source is None:  # a reload took it away in this very moment
            targets.clear()
        elif source.addresses:
            egress.reachable(targets, source)
        return targets

    def no_overlap(self, target: Target) -> None:
        """This server cannot take what is sent ahead: one thing after the other from now on."""
        if len(self._slow) >= SLOW_HOSTS:
            self._slow.clear()
        self._slow.add(target)

    def connection(self, dispatcher: Dispatcher, ready: ReadyQueue, target: Target) -> Connection:
        """A connection that is yet to be opened: to a host, or what stands for one."""
        if ready.plan.route.transport:
            return self._handover(dispatcher, ready.plan.route.transport, target)
        source = self._sources.source(ready.source) or egress.DEFAULT
        clients = self._careful if target in self._slow else self._clients
        return self._session(dispatcher, target, target.host, clients[source.name], source)

    def _handover(self, dispatcher: Dispatcher, transport: str, target: Target) -> Connection:
        way = self._ways[transport]
        if way.handler is None:
            return self._session(dispatcher, target, way.peer.name, self._lmtp, NO_SOURCE)
        return HandoverConnection(
            dispatcher,
            self._loop,
            way.handler,
            way.peer,
            self._deadlines,
            self._max_messages,
            self._idle_timeout,
        )

    def _session(
        self,
        dispatcher: Dispatcher,
        target: Target,
        name: str,
        options: ClientOptions,
        source: egress.Source,
    ) -> SmtpConnection:
        connection = SmtpConnection(
            dispatcher,
            self._loop,
            options,
            self._timeouts,
            self._deadlines,
            name,
            _address(target),
            source.name,
            self._max_messages,
            self._idle_timeout,
            self._buffer,
        )
        address = source.local(target.address)
        connection.local = (address, 0) if address else None
        return connection


def _address(target: Target) -> str:
    """As the records have it."""
    if not target.port:
        return f"unix:{target.address}"
    host = f"[{target.address}]" if ":" in target.address else target.address
    return f"{host}:{target.port}"


def _clients(config: Config, *, overlap: bool) -> dict[str, ClientOptions]:
    """What each source's sessions share, by its name."""
    names = {egress.DEFAULT_NAME: "", **{name: s.ehlo for name, s in config.source.items()}}
    return {
        name: wiring.client_options(config, ehlo, overlap=overlap) for name, ehlo in names.items()
    }


def _resolver_options(config: Config) -> ResolverOptions:
    dns, delivery = config.dns, config.delivery
    return ResolverOptions(
        nameservers=dns.nameservers,
        timeout=dns.timeout,
        attempts=dns.attempts,
        cache_size=dns.cache_size,
        min_ttl=dns.min_ttl,
        max_ttl=dns.max_ttl,
        ipv4=delivery.ipv4,
        ipv6=delivery.ipv6,
    )


class LocalEndpoints(frozenset[tuple[str, int]]):
    """Where we listen ourselves; 0.0.0.0 and :: stand for every address of this machine."""

    def __contains__(self, endpoint: object) -> bool:
        if super().__contains__(endpoint):
            return True
        address, port = cast("tuple[str, int]", endpoint)
        # A socket on :: takes IPv4 only where it is told to, which we do not.
        everywhere = "::" if ":" in address else "0.0.0.0"  # noqa: S104 - compared, not bound
        return super().__contains__((everywhere, port)) and _is_local(address)


def _is_local(address: str) -> bool:
    """Only an address of this machine can be bound: no list of interfaces could grow old."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _local_endpoints(config: Config) -> LocalEndpoints:
    """Mail must not be sent there by MX."""
    endpoints = [listener.endpoint for listener in config.listener]
    return LocalEndpoints((e.host, e.port) for e in endpoints if not e.path)
