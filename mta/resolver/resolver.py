"""Look-ups behind a cache: by TTL, negative answers too, identical ones under way shared.

Every DNS outcome is a value. `peek_*` answer from the cache, without a task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

from mta.clock import Clock, SystemClock
from mta.resolver import wire
from mta.resolver.answers import AddressAnswer, MxAnswer, Status
from mta.resolver.cache import AnswerCache
from mta.resolver.exchange import Exchange, NetworkExchange, Trouble
from mta.resolver.names import normalise
from mta.resolver.options import ResolverOptions

Answer = TypeVar("Answer", MxAnswer, AddressAnswer)


class Records(NamedTuple):
    """One type of records at the end of a CNAME chain."""

    values: tuple[tuple[int, str], ...]
    until: float
    status: Status
    text: str


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
        self._exchange = exchange or NetworkExchange(self.options, self._clock)
        self._mx: AnswerCache[MxAnswer] = AnswerCache(self.options.cache_size)
        self._addresses: AnswerCache[AddressAnswer] = AnswerCache(self.options.cache_size)
        self._under_way: dict[tuple[str, str], asyncio.Task[Any]] = {}
        self.stats = Stats()

    def __repr__(self) -> str:
        cached = len(self._mx) + len(self._addresses)
        return f"<Resolver {cached} cached, {len(self._under_way)} under way>"

    def reload(self, options: ResolverOptions) -> None:
        """Ask by other settings from now on (all but `cache_size`); what is cached stays."""
        if options != self.options:
            self.options = options
            self._exchange = NetworkExchange(options, self._clock)  # the old one's sockets run dry

    def peek_mx(self, domain: str) -> MxAnswer | None:
        """The cached answer of `mx`, if it still holds."""
        answer = self._mx.get(domain, self._clock.monotonic())
        if answer is None and (name := _name(domain)) != domain:
            answer = self._mx.get(name, self._clock.monotonic())
        self.stats.hits += answer is not None
        return answer

    async def mx(self, domain: str) -> MxAnswer:
        """The mail servers of a domain, given as A-labels or UTF-8."""
        cached = self.peek_mx(domain)
        if cached is not None:
            return cached
        name = _name(domain)
        if not name:
            return self._keep_mx(domain, self._invalid_mx(domain))
        return await self._shared("mx", name, self._find_mx)

    def peek_address_answer(self, host: str) -> AddressAnswer | None:
        """The cached answer of `address_answer`, if it still holds."""
        answer = self._addresses.get(host, self._clock.monotonic())
        if answer is None and (name := _name(host)) != host:
            answer = self._addresses.get(name, self._clock.monotonic())
        self.stats.hits += answer is not None
        return answer

    async def address_answer(self, host: str) -> AddressAnswer:
        """The addresses of a host with their status, A and AAAA as the options say."""
        cached = self.peek_address_answer(host)
        if cached is not None:
            return cached
        name = _name(host)
        if not name:
            text = f"{host} is not a domain name"
            until = self._clock.monotonic() + self.options.max_negative_ttl
            answer = AddressAnswer((), until, "nxdomain", text)
            self._addresses.put(host, answer)
            return answer
        return await self._shared("address", name, self._find_addresses)

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
        """Give up what is under way and close all sockets."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._exchange.close()

    async def _shared(
        self, kind: str, name: str, find: Callable[[str], Coroutine[Any, Any, Answer]]
    ) -> Answer:
        """Join the look-up that is under way, or begin it; it outlives a caller that gives up."""
        key = kind, name
        task = self._under_way.get(key)
        if task is None:
            self.stats.lookups += 1
            task = self._under_way[key] = asyncio.create_task(find(name), name=f"dns {kind} {name}")
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        else:
            self.stats.shared += 1
        answer: Answer = await asyncio.shield(task)
        return answer

    async def _find_mx(self, name: str) -> MxAnswer:
        found = await self._records_in_time(name, wire.MX)
        if found.status == "nodata":
            return self._keep_mx(name, await self._implicit(name, found))
        if found.status != "ok":
            return self._keep_mx(name, MxAnswer((), False, False, *found[1:]))
        hosts = tuple(sorted((preference, host) for preference, host in found.values if host))
        if not hosts:  # RFC 7505 3: "." alone
            return self._keep_mx(name, MxAnswer((), False, True, found.until, "ok", ""))
        return self._keep_mx(name, MxAnswer(hosts, False, False, *found[1:]))

    async def _implicit(self, name: str, found: Records) -> MxAnswer:
        """Without an MX the domain is its own mail server, if it has an address (RFC 5321 5.1)."""
        own = await self.address_answer(name)
        until = min(found.until, own.ttl_until)
        if own.status == "ok":
            return MxAnswer(((0, name),), True, False, until, "ok", "")
        text = f"{name} has no MX and no address" if own.status == "nodata" else own.text
        return MxAnswer((), False, False, until, own.status, text)

    def _invalid_mx(self, domain: str) -> MxAnswer:
        until = self._clock.monotonic() + self.options.max_negative_ttl
        return MxAnswer((), False, False, until, "nxdomain", f"{domain} is not a domain name")

    def _keep_mx(self, name: str, answer: MxAnswer) -> MxAnswer:
        self.stats.failures += answer.status == "temporary"
        self._mx.put(name, answer)
        return answer

    async def _find_addresses(self, name: str) -> AddressAnswer:
        wanted = [wire.AAAA] * self.options.ipv6 + [wire.A] * self.options.ipv4
        if self.options.prefer == "ipv4":
            wanted.reverse()
        found = await asyncio.gather(*(self._records_in_time(name, rdtype) for rdtype in wanted))
        answer = self._merged(name, found)
        self.stats.failures += answer.status == "temporary"
        self._addresses.put(name, answer)
        return answer

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

    async def _records_in_time(self, name: str, rdtype: int) -> Records:
        try:
            async with asyncio.timeout(self.options.lifetime):
                return await self._records(name, rdtype)
        except TimeoutError:
            return self._temporary(name, rdtype, f"gave up after {self.options.lifetime:g} s")

    async def _records(self, name: str, rdtype: int) -> Records:
        """Follow the CNAME chain, over several questions where the server leaves off."""
        if name == "localhost" or name.endswith(".localhost"):
            return self._loopback(name, rdtype)
        target, chain_ttl = name, 0x7FFFFFFF
        for _ in range(wire.MAX_CHAIN):
            self.stats.questions += 1
            reply = await self._exchange.ask(target, rdtype)
            if isinstance(reply, Trouble):
                return self._temporary(name, rdtype, reply.text)
            chain_ttl = min(chain_ttl, reply.ttl)
            unfinished = reply.rcode == wire.NOERROR and not reply.values and not reply.negative
            if reply.looped or not unfinished or reply.name == target:
                return self._judge(name, rdtype, reply, chain_ttl)
            target = reply.name
            if _name(target) != target:
                return self._temporary(name, rdtype, f"its CNAME {target} is not a domain name")
        return self._temporary(name, rdtype, "its CNAME chain does not end")

    def _judge(self, name: str, rdtype: int, reply: wire.Reply, ttl: int) -> Records:
        if reply.looped:
            return self._temporary(name, rdtype, "its CNAME chain does not end")
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

    def _temporary(self, name: str, rdtype: int, reason: str) -> Records:
        text = f"looking up {wire.TYPE_NAMES[rdtype]} of {name}: {reason}"
        return Records((), self._clock.monotonic() + self.options.temporary_ttl, "temporary", text)


def _name(domain: str) -> str:
    """The normalised name, or "" for what is none."""
    try:
        return normalise(domain)
    except ValueError:
        return ""
