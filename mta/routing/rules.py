"""Route rules: which next hop, pool, class and retry schedule a message gets; pure, compiled.

The first rule that matches counts; without one, mail goes to the MX of the recipient's domain.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from mta.errors import ConfigError
from mta.model import Class
from mta.resolver.names import ip_text, normalise

if TYPE_CHECKING:
    from mta.config.schema import Route as RouteSection

MX_KEYWORD = "mx"  # `example.com=mx` and `*=mx:2525`: the recipient's domain by MX, after all
MEMO = 100_000  # (tenant, campaign, domain) that a router remembers

_NEXT_HOP = re.compile(r"(\[[^\[\]\s]+\]|[^\[\]\s:,]+)(?::(\d{1,5}))?")
_HOST_NAME = re.compile(r"([a-z0-9_-]+\.)*(?!\d+$)[a-z0-9_-]+")  # 300.1.2.3 is a slip, not a name
_HINT = "write it like [192.0.2.1]:25, [2001:db8::1]:25, smtp.example.net or mx"


class Envelope(Protocol):
    """What rules look at; `mta.model.Message` has it."""

    sender: str
    tenant: str
    campaign: str


class Hop(NamedTuple):
    """One server to send to, or a name whose MX are."""

    host: str  # IP address or name in A-labels
    port: int
    mx: bool  # look up the host's MX first

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Match(NamedTuple):
    """Patterns that must all match; `*` stands for anything, `?` for one character."""

    domain: str = "*"
    tenant: str = "*"
    campaign: str = "*"
    sender: str = "*"


@dataclass(frozen=True, slots=True)
class RouteRule:
    """One `[[route]]` or `--route`."""

    name: str
    match: Match = field(default_factory=Match)
    next_hop: tuple[Hop, ...] = ()  # tried in order; () is the MX of the recipient's domain
    pool: str = ""  # "" leaves the message's own
    klass: Class | None = None  # None leaves the message's own
    retry: str = ""  # name of a `[retry.NAME]`
    port: int = 25  # of MX hosts
    transport: str = ""  # name of a `[transport.NAME]`, instead of a next hop


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """What a rule says of the messages that it matches; one object per rule, equal by identity."""

    number: int  # place of the rule, -1 without one
    name: str
    next_hop: tuple[Hop, ...] = ()
    pool: str = ""
    klass: Class | None = None
    retry: str = ""
    port: int = 25
    transport: str = ""


MX_ROUTE = Route(-1, MX_KEYWORD)


def parse_hop(text: str, port: int = 25) -> Hop:
    """One next hop; ConfigError if it is none. Brackets or an IP address mean no MX look-up."""
    text = text.strip()
    whole = ip_text(text)
    if whole:
        return Hop(whole, port, False)
    match = _NEXT_HOP.fullmatch(text)
    if match is None or (match[2] and not 0 < int(match[2]) < 65536):
        raise ConfigError(f'"{text}" is not a next hop', key="route", hint=_HINT)
    host, bracketed = match[1].strip("[]"), match[1].startswith("[")
    if bracketed and host.lower().startswith("ipv6:"):  # RFC 5321 4.1.3
        host = host[5:]
    address = ip_text(host)
    name = address or _host_name(host)
    if not name:
        raise ConfigError(f'"{text}" is not a next hop', key="route", hint=_HINT)
    return Hop(name, int(match[2] or port), not address and not bracketed)


def _host_name(host: str) -> str:
    """The name in A-labels, or "" if it is not one of a host."""
    try:
        name = normalise(host)
    except ValueError:
        return ""
    return name if _HOST_NAME.fullmatch(name) else ""


def parse_next_hop(texts: str | Iterable[str], port: int = 25) -> tuple[tuple[Hop, ...], int]:
    """The hops in order and the port of MX hosts; "mx", alone, is no hop. ConfigError."""
    parts = texts.split(",") if isinstance(texts, str) else list(texts)
    hops = tuple(parse_hop(part, port) for part in parts)
    if len(hops) == 1 and hops[0].mx and hops[0].host == MX_KEYWORD:
        return (), hops[0].port
    if any(hop.mx and hop.host == MX_KEYWORD for hop in hops):
        raise ConfigError('"mx" stands alone, not beside other hops', key="route", hint=_HINT)
    return hops, port


def parse_route(text: str) -> RouteRule:
    """The command line's form: `example.com=[192.0.2.1]:25`, several hops with commas."""
    pattern, equals, hops = (part.strip() for part in text.partition("="))
    if not equals or not pattern or not hops:
        raise ConfigError(
            f'"{text}" is not a route',
            key="--route",
            hint="write it like example.com=[192.0.2.1]:25 or *=127.0.0.1:2526",
        )
    next_hop, port = parse_next_hop(hops)
    return RouteRule(pattern, Match(domain=pattern), next_hop, port=port)


def from_config(sections: Sequence[RouteSection]) -> tuple[RouteRule, ...]:
    """The rules of the configuration, in order, named after what they match."""
    return tuple(_from_section(section) for section in sections)


def _from_section(section: RouteSection) -> RouteRule:
    match = section.match
    given = Match(match.domain, match.tenant, match.campaign, match.sender)
    next_hop, port = parse_next_hop(section.next_hop, section.port)
    klass = None if section.klass is None else Class[section.klass.upper()]
    return RouteRule(
        rule_name(given), given, next_hop, section.pool, klass, section.retry, port,
        section.transport,
    )  # fmt: skip


def rule_name(match: Match) -> str:
    """What a rule is called: its domain pattern, with the other patterns if there are any."""
    parts = zip(("tenant", "campaign", "sender"), match[1:], strict=True)
    others = [f"{key}={pattern}" for key, pattern in parts if pattern != "*"]
    return ",".join([match.domain, *others])


Test = Callable[[str], bool]


def glob(pattern: str) -> Test | None:
    """A test of one value, ignoring case; None if everything matches. Brackets are literal."""
    pattern = pattern.lower()
    if pattern == "*":
        return None
    tail = pattern[1:]
    if "*" not in pattern and "?" not in pattern:
        return lambda value: value.lower() == pattern
    if pattern[0] == "*" and "*" not in tail and "?" not in tail:
        return lambda value: value.lower().endswith(tail)
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    compiled = re.compile(expression, re.I | re.S)
    return lambda value: compiled.fullmatch(value) is not None


def _domain_pattern(pattern: str) -> str:
    """The pattern in A-labels, as recipients' domains are compared."""
    if pattern.isascii():
        return pattern
    labels = pattern.split(".")
    return ".".join(label if label.isascii() else normalise(label) for label in labels)


class _Tests(NamedTuple):
    domain: Test | None
    tenant: Test | None
    campaign: Test | None
    sender: Test | None

    @classmethod
    def of(cls, match: Match) -> _Tests:
        domain = glob(_domain_pattern(match.domain))
        return cls(domain, glob(match.tenant), glob(match.campaign), glob(match.sender))

    def match(self, envelope: Envelope, domain: str) -> bool:
        return (
            (self.domain is None or self.domain(domain))
            and (self.tenant is None or self.tenant(envelope.tenant))
            and (self.campaign is None or self.campaign(envelope.campaign))
            and (self.sender is None or self.sender(envelope.sender))
        )


class Router:
    """Finds the route of a message and a recipient's domain; remembers what it found."""

    def __init__(self, rules: Sequence[RouteRule] = (), memo: int = MEMO) -> None:
        self.rules = tuple(rules)
        self.routes = tuple(
            Route(
                number,
                rule.name,
                rule.next_hop,
                rule.pool,
                rule.klass,
                rule.retry,
                rule.port,
                rule.transport,
            )  # fmt: skip
            for number, rule in enumerate(self.rules)
        )
        self._tests = [_Tests.of(rule.match) for rule in self.rules]
        self._exact: dict[str, list[int]] = {}  # rules that name one domain, by it
        self._patterns: list[int] = []  # all others
        for number, rule in enumerate(self.rules):
            name = _domain_pattern(rule.match.domain).lower()
            exact = "*" not in name and "?" not in name
            (self._exact.setdefault(name, []) if exact else self._patterns).append(number)
        first = self.routes[0] if self.routes and not any(self._tests[0]) else None
        self._only = first if self.routes else MX_ROUTE
        self._by_sender = any(tests.sender for tests in self._tests)
        self._memo: dict[tuple[str, ...], Route] = {}
        self._memo_size = memo

    def __repr__(self) -> str:
        return f"<Router {len(self.rules)} rules, {len(self._memo)} remembered>"

    def route(self, envelope: Envelope, domain: str) -> Route:
        """The route of the first rule that matches, else the MX of the domain."""
        if self._only is not None:
            return self._only
        key: tuple[str, ...] = envelope.tenant, envelope.campaign, domain
        if self._by_sender:
            key = *key, envelope.sender
        route = self._memo.get(key)
        if route is None:
            if len(self._memo) >= self._memo_size:
                self._memo.clear()
            route = self._memo[key] = self._find(envelope, domain)
        return route

    def _find(self, envelope: Envelope, domain: str) -> Route:
        if not domain.isascii():
            try:
                domain = normalise(domain)
            except ValueError:
                pass  # compared as it is; the look-up will refuse it
        exact = self._exact.get(domain.lower())
        for number in sorted([*exact, *self._patterns]) if exact else self._patterns:
            if self._tests[number].match(envelope, domain):
                return self.routes[number]
        return MX_ROUTE
