from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mta.resolver import wire
from mta.resolver.exchange import DOWN_TIME, NetworkExchange, Port, Trouble, Upstream
from mta.resolver.options import ResolverOptions
from mta.testing.clock import FakeClock
from mta.testing.zones import ZoneExchange

ONE, TWO = "192.0.2.1:53", "192.0.2.2:53"
GOOD = wire.Reply(0, False, ((10, "mx.example.com"),), "example.com", 300)


class Script:
    """Stands in for the network: what each server says, and who was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self.says: dict[str, wire.Reply | Exception] = {ONE: GOOD, TWO: GOOD}
        self.asked: list[str] = []
        self.clock = FakeClock()
        monkeypatch.setattr(Upstream, "ask", self._answer())
        settings = ResolverOptions(nameservers=("192.0.2.1", "192.0.2.2"), **options)
        self._exchange = NetworkExchange(settings, self.clock)

    def _answer(self) -> Any:
        async def ask(upstream: Upstream, section: bytes, timeout: float) -> wire.Reply:
            name = str(upstream.server)
            self.asked.append(name)
            said = self.says[name]
            if isinstance(said, Exception):
                raise said
            return said

        return ask

    def ask(self) -> wire.Reply | Trouble:
        """One question; who was asked begins anew."""
        self.asked.clear()
        return asyncio.run(self._exchange.ask("example.com", wire.MX))


def test_a_useful_answer_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch)
    assert script.ask() == GOOD
    script.says[ONE] = GOOD._replace(rcode=wire.NXDOMAIN, values=())
    assert script.ask() == script.says[ONE]
    assert script.asked == [ONE]


@pytest.mark.parametrize("rcode", [1, 2, 4, 5, 9])
def test_another_server_may_know_better(monkeypatch: pytest.MonkeyPatch, rcode: int) -> None:
    script = Script(monkeypatch)
    script.says[ONE] = GOOD._replace(rcode=rcode, values=())
    assert script.ask() == GOOD
    assert script.asked == [ONE, TWO]


def test_servers_that_fail_are_not_asked_twice_silent_ones_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = Script(monkeypatch, attempts=3)
    script.says[ONE] = GOOD._replace(rcode=wire.SERVFAIL, values=())
    script.says[TWO] = TimeoutError()
    assert script.ask() == Trouble(f"{TWO}: no answer in time")
    assert script.asked == [ONE, TWO, TWO, TWO]
    script.says[TWO] = script.says[ONE]
    assert script.ask() == Trouble(f"{TWO}: SERVFAIL")
    assert len(script.asked) == 2


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TimeoutError(), "no answer in time"),
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        (wire.WireError("malformed answer: x"), "malformed answer: x"),
        (OSError(), "OSError"),
    ],
)
def test_a_failure_is_told(monkeypatch: pytest.MonkeyPatch, error: Exception, text: str) -> None:
    script = Script(monkeypatch)
    script.says = {ONE: error, TWO: error}
    assert script.ask() == Trouble(f"{TWO}: {text}")


def test_a_silent_server_is_asked_last_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch)
    script.says[ONE] = TimeoutError()
    script.ask()
    script.says[ONE] = GOOD
    script.ask()
    assert script.asked == [TWO]
    script.clock.advance(DOWN_TIME)
    script.ask()
    assert script.asked == [ONE]


class Transport(asyncio.DatagramTransport):
    """Keeps what was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.closed = False

    def sendto(self, data: Any, addr: Any = None) -> None:
        self.sent.append(bytes(data))

    def close(self) -> None:
        self.closed = True


def response(id: bytes, name: str) -> bytes:
    zones = ZoneExchange({name: {"MX": f"10 mx.{name}"}})
    return id + zones.response(name, wire.MX).to_wire()[2:]


def test_only_the_answer_to_the_question_is_taken() -> None:
    async def run() -> None:
        port, transport = Port(), Transport()
        port.connection_made(transport)
        section = wire.question("example.com", wire.MX)
        asking = asyncio.create_task(port.ask(section, 60))
        await asyncio.sleep(0)
        id = transport.sent[0][:2]
        other = bytes((id[0] ^ 1, id[1]))
        right = response(id, "example.com")
        for forged in (b"", b"\0", id, response(other, "example.com"), response(id, "example.org"),
                       transport.sent[0]):  # fmt: skip
            port.datagram_received(forged, None)
            await asyncio.sleep(0)
            assert not asking.done()
        port.datagram_received(right, None)
        port.datagram_received(right, None)  # a copy is late
        assert await asking == right

    asyncio.run(run())


def test_a_port_is_left_after_its_questions() -> None:
    async def run() -> None:
        port, transport = Port(), Transport()
        port.connection_made(transport)
        section = wire.question("example.com", wire.MX)
        asking = []
        while port.usable:
            asking.append(asyncio.create_task(port.ask(section, 60)))
            await asyncio.sleep(0)
        ids = {query[:2] for query in transport.sent}
        assert len(ids) == len(asking) == 100
        for number, id in enumerate(ids):
            assert not transport.closed
            port.datagram_received(response(id, "example.com"), None)
            await asyncio.gather(*(task for task in asking if number == 99 or task.done()))
        assert transport.closed

    asyncio.run(run())


def test_what_waits_at_a_dead_port_fails_at_once() -> None:
    async def run() -> None:
        port = Port()
        port.connection_made(Transport())
        section = wire.question("example.com", wire.MX)
        for end in (port.error_received, port.connection_lost):
            asking = asyncio.create_task(port.ask(section, 60))
            await asyncio.sleep(0)
            end(ConnectionRefusedError(111, "Connection refused"))
            with pytest.raises(ConnectionRefusedError):
                await asking
        assert not port.usable

    asyncio.run(run())
