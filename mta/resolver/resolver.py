"""Look-ups behind a cache: by TTL, negative ones too, each asked once (compiled).

Every DNS outcome is a value. `peek_*` answer from the cache, `find_*` give a callback the answer,
at once if it is known; `mx`, `address_answer` and `addresses` are for those who can wait.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from mta.clock import Clock, SystemClock
from mta.resolver import wire
from mta.resolver.answers import AddressAnswer, MxAnswer, Status
from mta.resolver.cache import AnswerCache
from mta.resolver.exchange import Asked, Exchange, NetworkExchange, Trouble
from mta.resolver.names import normalise
from mta.resolver.options import ResolverOptions
from mta.resolver.waits import Waits

if TYPE_CHECKING:
    from collections.abc import Callable

    MxDone = Callable[[MxAnswer], object]
    AddressDone = Callable[[AddressAnswer], object]

LONGEST = 0x7FFFFFFF  # seconds; no TTL is larger (RFC 2181 8)


class Records:
    """One type of records at the end of a CNAME chain."""

    __slots__ = ("values", "until", "status", "text")

    def __init__(
        self, values: tuple[tuple[int, str], ...], until: float, status: Status, text: str
    ) -> None:
        self.values, self.until = values, until
        self.status, self.text = status, text


class Stats:
    """Counts since the start."""

    __slots__ = ("hits", "lookups", "shared", "questions", "failures")

    def __init__(self) -> None:
        self.hits = 0  # answered from the cache
        self.lookups = 0  # look-ups begun
        self.shared = 0  # calls that joined a look-up under way
        self.questions = 0  # questions asked, CNAME targets included
        self.failures = 0  # look-ups that ended as temporary

    def __repr__(self) -> str:
        return f"<Stats {', '.join(f'{name}={getattr(self, name)}' for name in self.__slots__)}>"


class Chain:
    """A look-up of one type: a question, and more where a server leaves off within a chain."""

    __slots__ = ("name", "rdtype", "_resolver", "_done", "_target", "_ttl", "_left", "_asked")

    def __init__(
        self, resolver: Resolver, name: str, rdtype: int, done: Callable[..., object]
    ) -> None:
        self.name, self.rdtype = name, rdtype
        self._resolver = resolver
        self._done = done  # is given the chain and its records
        self._target, self._ttl = name, LONGEST
        self._left = wire.MAX_CHAIN  # questions that it may ask
        self._asked: Asked | None = None

    def ask(self) -> None:
        """The next question."""
        self._left -= 1
        self._resolver.stats.questions += 1
        self._asked = self._resolver.exchange.ask(self._target, self.rdtype, self._answered)

    def _answered(self, reply: wire.Reply | Trouble) -> None:
        if isinstance(reply, Trouble):
            self._fail(reply.text)
            return
        self._ttl = min(self._ttl, reply.ttl)
        unfinished = reply.rcode == wire.NOERROR and not reply.values and not reply.negative
        if reply.looped or not unfinished or reply.name == self._target:
            self._end(self._resolver.judge(self.name, self.rdtype, reply, self._ttl))
        elif _name(reply.name) != reply.name:
            self._fail(f"its CNAME {reply.name} is not a domain name")
        elif not self._left:
            self._fail("its CNAME chain does not end")
        else:
            self._target = reply.name
            self.ask()

    def expired(self) -> None:
        """It took too long."""
        self.cancel()
        self._fail(f"gave up after {self._resolver.options.lifetime:g} s")

    def cancel(self) -> None:
        """Ask no more."""
        if self._asked is not None:
            self._asked.cancel()

    def _fail(self, reason: str) -> None:
        self._end(self._resolver.temporary(self.name, self.rdtype, reason))

    def _end(self, records: Records) -> None:
        self._resolver.under_way.discard(self)
        self._done(self.name, self.rdtype, records)


class Families:
    """The addresses of a host while not all families are known."""

    __slots__ = ("wanted", "found", "waiting")

    def __init__(self, wanted: list[int], done: AddressDone) -> None:
        self.wanted = wanted  # the preferred family first
        self.found: dict[int, Records] = {}
        self.waiting = [done]


class Resolver:
    """MX and address look-ups of one worker."""

    def __init__(
        self,
        options: ResolverOptions | None = None,
        clock: Clock | None = None,
        exchange: Exchange | None = None,
    ) -> None:
        self.options = options or ResolverOptions()
        self._clock = clock or SystemClock()
        self.exchange: Exchange = exchange or NetworkExchange(self.options, self._clock)
        self._mx: AnswerCache[MxAnswer] = AnswerCache(self.options.cache_size)
        self._addresses: AnswerCache[AddressAnswer] = AnswerCache(self.options.cache_size)
        self._mx_waiting: dict[str, list[MxDone]] = {}
        self._address_waiting: dict[str, Families] = {}
        self._futures: set[asyncio.Future[Any]] = set()  # of those who can wait
        self.under_way = Waits()  # chains
        self.stats = Stats()

    def __repr__(self) -> str:
        cached = len(self._mx) + len(self._addresses)
        waiting = len(self._mx_waiting) + len(self._address_waiting)
        return f"<Resolver {cached} cached, {waiting} under way>"

    def reload(self, options: ResolverOptions) -> None:
        """Ask by other settings from now on (all but `cache_size`); what is cached stays."""
        if options != self.options:
            self.options = options
            self.exchange.close()  # its sockets run dry
            self.exchange = NetworkExchange(options, self._clock)

    def peek_mx(self, domain: str) -> MxAnswer | None:
        """The cached answer of `mx`, if it still holds."""
        answer = self._mx.get(domain, self._clock.monotonic())
        if answer is None and (name := _name(domain)) != domain:
            answer = self._mx.get(name, self._clock.monotonic())
        self.stats.hits += answer is not None
        return answer

    async def mx(self, domain: str) -> MxAnswer:
        """The mail servers of a domain, given as A-labels or UTF-8."""
        answer: MxAnswer = self.peek_mx(domain) or await self._future(self.find_mx, domain)
        return answer

    def find_mx(self, domain: str, done: MxDone) -> None:
        """Give `done` the answer of `mx`; look-ups of one name are shared."""
        known = self.peek_mx(domain)
        name = _name(domain)
        if known is None and not name:
            known = self._keep_mx(domain, self._invalid_mx(domain))
        if known is not None:
            done(known)
            return
        waiting = self._mx_waiting.get(name)
        if waiting is not None:
            self.stats.shared += 1
            waiting.append(done)
            return
        self.stats.lookups += 1
        self._mx_waiting[name] = [done]
        self._ask(name, wire.MX, self._found_mx)

    def peek_address_answer(self, host: str) -> AddressAnswer | None:
        """The cached answer of `address_answer`, if it still holds."""
        answer = self._addresses.get(host, self._clock.monotonic())
        if answer is None and (name := _name(host)) != host:
            answer = self._addresses.get(name, self._clock.monotonic())
        self.stats.hits += answer is not None
        return answer

    async def address_answer(self, host: str) -> AddressAnswer:
        """The addresses of a host with their status, A and AAAA as the options say."""
        answer: AddressAnswer = self.peek_address_answer(host) or await self._future(
            self.find_addresses, host
        )
        return answer

    def find_addresses(self, host: str, done: AddressDone) -> None:
        """Give `done` the answer of `address_answer`; look-ups of one name are shared."""
        known = self.peek_address_answer(host)
        name = _name(host)
        if known is None and not name:
            known = self._invalid_address(host)
        if known is not None:
            done(known)
            return
        families = self._address_waiting.get(name)
        if families is not None:
            self.stats.shared += 1
            families.waiting.append(done)
            return
        self.stats.lookups += 1
        wanted = [wire.AAAA] * self.options.ipv6 + [wire.A] * self.options.ipv4
        if self.options.prefer == "ipv4":
            wanted.reverse()
        self._address_waiting[name] = Families(wanted, done)
        if not wanted:
            self._merge(name)
        for rdtype in wanted:
            self._ask(name, rdtype, self._found_addresses)

    def peek_addresses(self, host: str) -> list[str] | None:
        """The cached answer of `addresses`, if it still holds."""
        answer = self.peek_address_answer(host)
        return None if answer is None else list(answer.addresses)

    async def addresses(self, host: str) -> list[str]:
        """The addresses of a host, the preferred family first; [] for whatever reason."""
        return list((await self.address_answer(host)).addresses)

    def forget(self) -> None:
        """Drop all cached answers."""
        self._mx.clear()
        self._addresses.clear()

    async def close(self) -> None:
        """Give up what is under way, those who wait for it as well, and close all sockets."""
        for chain in self.under_way.clear():
            chain.cancel()
        self._mx_waiting.clear()
        self._address_waiting.clear()
        for future in self._futures:
            future.cancel()
        self.exchange.close()

    async def _future(self, find: Callable[..., None], name: str) -> Any:
        """What `find` gives its callback; the look-up outlives a caller that gives up."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        find(name, partial(_settle, future))
        return await future

    def _ask(self, name: str, rdtype: int, done: Callable[..., object]) -> None:
        if name == "localhost" or name.endswith(".localhost"):
            done(name, rdtype, self._loopback(name, rdtype))
            return
        chain = Chain(self, name, rdtype, done)
        self.under_way.add(chain, self.options.lifetime)
        chain.ask()

    def _found_mx(self, name: str, rdtype: int, found: Records) -> None:
        if found.status == "nodata":
            self.find_addresses(name, partial(self._implicit, name, found))
        elif found.status != "ok":
            answer = MxAnswer((), False, False, found.until, found.status, found.text)
            self._end_mx(name, answer)
        else:
            hosts = tuple(sorted([pair for pair in found.values if pair[1]]))
            null = not hosts  # RFC 7505 3: "." alone
            self._end_mx(name, MxAnswer(hosts, False, null, found.until, "ok", ""))

    def _implicit(self, name: str, found: Records, own: AddressAnswer) -> None:
        """Without an MX the domain is its own mail server, if it has an address (RFC 5321 5.1)."""
        until = min(found.until, own.ttl_until)
        if own.status == "ok":
            self._end_mx(name, MxAnswer(((0, name),), True, False, until, "ok", ""))
            return
        text = f"{name} has no MX and no address" if own.status == "nodata" else own.text
        self._end_mx(name, MxAnswer((), False, False, until, own.status, text))

    def _invalid_mx(self, domain: str) -> MxAnswer:
        until = self._clock.monotonic() + self.options.max_negative_ttl
        return MxAnswer((), False, False, until, "nxdomain", f"{domain} is not a domain name")

    def _keep_mx(self, name: str, answer: MxAnswer) -> MxAnswer:
        self.stats.failures += answer.status == "temporary"
        self._mx.put(name, answer)
        return answer

    def _end_mx(self, name: str, answer: MxAnswer) -> None:
        self._keep_mx(name, answer)
        _tell(self._mx_waiting.pop(name), answer)

    def _invalid_address(self, host: str) -> AddressAnswer:
        until = self._clock.monotonic() + self.options.max_negative_ttl
        answer = AddressAnswer((), until, "nxdomain", f"{host} is not a domain name")
        self._addresses.put(host, answer)
        return answer

    def _found_addresses(self, name: str, rdtype: int, found: Records) -> None:
        families = self._address_waiting[name]
        families.found[rdtype] = found
        if len(families.found) == len(families.wanted):
            self._merge(name)

    def _merge(self, name: str) -> None:
        """All families are known."""
        families = self._address_waiting.pop(name)
        answer = self._merged(name, [families.found[rdtype] for rdtype in families.wanted])
        self.stats.failures += answer.status == "temporary"
        self._addresses.put(name, answer)
        _tell(families.waiting, answer)

    def _merged(self, name: str, found: list[Records]) -> AddressAnswer:
        """What is known of both families; temporary only if neither has an address."""
        if not found:
            until = self._clock.monotonic() + self.options.max_negative_ttl
            return AddressAnswer((), until, "nodata", "IPv4 and IPv6 are both turned off")
        until = min(records.until for records in found)
        addresses = tuple(value for records in found for _, value in records.values)
        if addresses:
            return AddressAnswer(addresses, until, "ok", "")
        for status in ("temporary", "nxdomain"):
            for records in found:
                if records.status == status:
                    return AddressAnswer((), until, records.status, records.text)
        return AddressAnswer((), until, "nodata", f"{name} has no address")

    def judge(self, name: str, rdtype: int, reply: wire.Reply, ttl: int) -> Records:
        """What a reply, the last one of a chain, says of a name."""
        if reply.looped:
            return self.temporary(name, rdtype, "its CNAME chain does not end")
        if reply.values:
            return Records(reply.values, self._until(ttl, self.options.max_ttl), "ok", "")
        until = self._until(ttl if reply.negative else 0, self.options.max_negative_ttl)
        if reply.rcode == wire.NXDOMAIN:
            return Records((), until, "nxdomain", f"{reply.name} does not exist")
        return Records((), until, "nodata", f"{name} has no {wire.TYPE_NAMES[rdtype]}")

    def _loopback(self, name: str, rdtype: int) -> Records:
        """What names under localhost are, whatever a server says (RFC 6761 6.3)."""
        until = self._clock.monotonic() + self.options.max_ttl
        address = {wire.A: "127.0.0.1", wire.AAAA: "::1"}.get(rdtype)
        if address is None:
            return Records((), until, "nodata", f"{name} has no {wire.TYPE_NAMES[rdtype]}")
        return Records(((0, address),), until, "ok", "")

    def _until(self, ttl: int, ceiling: float) -> float:
        return self._clock.monotonic() + min(max(ttl, self.options.min_ttl), ceiling)

    def temporary(self, name: str, rdtype: int, reason: str) -> Records:
        """Nothing is known now."""
        text = f"looking up {wire.TYPE_NAMES[rdtype]} of {name}: {reason}"
        return Records((), self._clock.monotonic() + self.options.temporary_ttl, "temporary", text)


def _name(domain: str) -> str:
    """The normalised name, or "" for what is none."""
    try:
        return normalise(domain)
    except ValueError:
        return ""


def _tell(waiting: list[Callable[..., object]], answer: object) -> None:
    """Each in a turn of its own but the first, so that one's fault is its alone."""
    for done in waiting[1:]:
        asyncio.get_running_loop().call_soon(done, answer)
    waiting[0](answer)


def _settle(future: asyncio.Future[Any], answer: object) -> None:
    if not future.done():
        future.set_result(answer)
