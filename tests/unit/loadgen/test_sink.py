"""A sink session over the real SMTP core and a transport of paper: manners, cuts, the ledger."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from mta.errors import ConfigError
from mta.loadgen.ledger import Ledger
from mta.loadgen.manners import Judges, Manner, parse
from mta.loadgen.sink import Sink, SinkSession, addresses, parse_domain, parse_listen

ENVELOPE = b"MAIL FROM:<s@x>\r\nRCPT TO:<%b>\r\nDATA\r\n"
CONTENT = b"X-Load-Id: %d\r\n\r\ntext\r\n.\r\n"


class Paper:
    """A transport, and the loop's time and timers."""

    def __init__(self) -> None:
        self.written, self.closed, self.aborted, self.paused = b"", False, False, False
        self.now = 100.0
        self.timers: list[tuple[float, Callable[..., object], tuple[Any, ...]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Callable[..., object], *args: Any) -> None:
        self.timers.append((self.now + delay, call, args))

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for timer in [timer for timer in self.timers if timer[0] <= self.now]:
            self.timers.remove(timer)
            timer[1](*timer[2])

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Bench:
    """A sink with one session after the other."""

    def __init__(self, manner: str, **domains: str) -> None:
        self.paper, self.ledger = Paper(), Ledger()
        rules: dict[str, Manner] = {name + ".example": parse(m) for name, m in domains.items()}
        self.sink = Sink(self.ledger, self.paper, rules)
        self.judges = Judges(parse(manner), self.sink.rules)
        self.connect()

    def connect(self) -> None:
        self.paper.closed = self.paper.aborted = False
        self.session = SinkSession(self.sink, self.judges)
        self.session.connection_made(self.paper)  # type: ignore[arg-type]
        self.say(b"EHLO test\r\n")

    def say(self, data: bytes) -> list[bytes]:
        """The codes of the replies."""
        self.paper.written = b""
        self.session.get_buffer(-1)[: len(data)] = data
        self.session.buffer_updated(len(data))
        return self.replies()

    def replies(self) -> list[bytes]:
        return re.findall(rb"^(\d{3}) ", self.paper.written, re.M)

    def mail(self, number: int, recipient: bytes = b"user@a.example") -> list[bytes]:
        return self.say(ENVELOPE % recipient) + self.say(CONTENT % number)


def test_accepts_and_remembers() -> None:
    bench = Bench("accept")
    assert bench.mail(7) == [b"250", b"250", b"354", b"250"]
    assert bench.ledger.copies(7, "user@a.example") == 1
    assert (bench.ledger.counts.connections, bench.ledger.counts.messages) == (1, 1)
    assert bench.say(b"QUIT\r\n") == [b"221"]
    assert bench.paper.closed


def test_greylist_counts_time_from_the_first_attempt() -> None:
    bench = Bench("greylist:3")
    assert bench.say(ENVELOPE % b"a@x.example")[1] == b"450"
    bench.paper.advance(3.5)
    assert bench.say(b"RSET\r\n" + ENVELOPE % b"a@x.example") == [b"250", b"250", b"250", b"354"]
    assert bench.ledger.counts.deferred == 1


def test_unknown_user() -> None:
    bench = Bench("unknown")
    assert bench.say(ENVELOPE % b"unknown1@x.example")[1] == b"550"
    assert bench.ledger.counts.rejected == 1


def test_throttle_says_421_and_closes() -> None:
    bench = Bench("throttle:1,100")
    bench.mail(1)
    assert bench.say(ENVELOPE % b"a@x.example") == [b"250", b"421"]
    assert bench.paper.closed
    bench.session.connection_lost(None)
    bench.connect()
    assert bench.mail(2)[-1] == b"250"


def test_cut_before_the_content_leaves_nothing() -> None:
    bench = Bench("drop:1")
    assert bench.say(ENVELOPE % b"a@x.example") == [b"250"]
    assert bench.paper.aborted
    bench.connect()
    assert bench.say(ENVELOPE % b"a@x.example") == [b"250", b"250"]
    assert bench.paper.aborted
    assert bench.ledger.counts.cut == 2
    assert list(bench.ledger.arrivals()) == []


def test_cut_at_the_dot_is_no_delivery() -> None:
    bench = Bench("drop:1")
    for _ in range(3):
        bench.say(ENVELOPE % b"a@x.example")
        bench.connect()
    assert bench.say(ENVELOPE % b"a@x.example") == [b"250", b"250", b"354"]
    assert bench.say(CONTENT % 9) == []
    assert bench.paper.aborted
    assert (bench.ledger.copies(9, "a@x.example"), bench.ledger.cuts(9, "a@x.example")) == (0, 1)


def test_slow_replies_come_in_order() -> None:
    bench = Bench("slow:0.5")
    assert bench.say(ENVELOPE % b"a@x.example") == [b"250"]
    bench.paper.advance(0.4)
    assert bench.replies() == [b"250"]
    bench.paper.advance(0.2)
    assert bench.replies() == [b"250", b"250", b"354"]
    assert bench.say(CONTENT % 3) == []
    assert bench.ledger.copies(3, "a@x.example") == 1
    bench.paper.advance(0.6)
    assert bench.replies() == [b"250"]


def test_slow_client_that_leaves_gets_no_late_reply() -> None:
    bench = Bench("slow:0.5")
    bench.say(ENVELOPE % b"a@x.example")
    bench.session.connection_lost(None)
    bench.paper.written = b""
    bench.paper.advance(1)
    assert bench.paper.written == b""


def test_reading_pauses_while_a_reply_is_late() -> None:
    bench = Bench("slow:0.5")
    bench.say(ENVELOPE.replace(b"DATA\r\n", b"NOOP\r\n" * 20_000) % b"a@x.example")
    assert bench.paper.paused
    bench.paper.advance(1)
    assert not bench.paper.paused


def test_domain_decides_over_listener() -> None:
    bench = Bench("accept", late="defer")
    assert bench.say(ENVELOPE % b"a@sub.late.example")[1] == b"451"
    assert bench.say(b"RSET\r\n" + ENVELOPE % b"a@x.example")[2] == b"250"


def test_several_recipients_each_count() -> None:
    bench = Bench("unknown")
    bench.say(ENVELOPE.replace(b"DATA", b"RCPT TO:<unknown@x>\r\nRCPT TO:<b@x>\r\nDATA") % b"a@x")
    bench.say(CONTENT % 4)
    assert sorted(bench.ledger.arrivals()) == [(4, "a@x"), (4, "b@x")]


@pytest.mark.parametrize("text", ["2526", "127.0.0.1:x", "unix:/tmp/x", "127.0.0.1:70000"])
def test_bad_addresses(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_listen(text, parse("accept"))


def test_rules_of_the_command_line() -> None:
    assert parse_listen("[::1]:25=slow:2", parse("accept")) == ("[::1]:25", ("slow", (2.0,)))
    assert parse_domain("*.Example.COM=defer") == ("example.com", ("defer", ()))
    with pytest.raises(ConfigError, match="as example.com"):
        parse_domain("example.com")


def test_latency_delays_what_is_ready_and_the_dot_more() -> None:
    bench = Bench("latency:0.2,1")
    assert bench.paper.written == b""
    bench.paper.advance(0.2)
    assert bench.paper.written.startswith(b"220 ")
    bench.say(b"EHLO x\r\n" + ENVELOPE % b"u@x")
    bench.paper.written = b""
    bench.paper.advance(0.2)
    assert [line[:3] for line in bench.paper.written.splitlines()][-3:] == [b"250", b"250", b"354"]
    bench.say(CONTENT % 5)
    bench.paper.written = b""
    bench.paper.advance(1.0)
    assert bench.paper.written == b""
    bench.paper.advance(0.2)
    assert bench.paper.written.startswith(b"250 ")
    assert bench.ledger.copies(5, "u@x") == 1


def test_flaky_puts_every_third_recipient_off() -> None:
    judge = Judges(parse("flaky:3")).judge("a@x")
    replies = [judge.recipient("s", "a@x", 0, 0.0).reply for _ in range(6)]
    assert [reply is None for reply in replies] == [True, True, False] * 2


def test_cap_turns_further_connections_away_until_one_ends() -> None:
    ledger, paper = Ledger(), Paper()
    sink, judges = Sink(ledger, paper), Judges(parse("cap:1"))

    def connect() -> tuple[SinkSession, Paper]:
        session, own = SinkSession(sink, judges), Paper()
        session.connection_made(own)  # type: ignore[arg-type]
        return session, own

    (first, greeted), (second, refused) = connect(), connect()
    assert greeted.written.startswith(b"220 ")
    assert refused.written.startswith(b"421 ") and refused.closed
    second.connection_lost(None)
    assert connect()[1].closed
    first.connection_lost(None)
    assert connect()[1].written.startswith(b"220 ")
    assert ledger.counts.deferred == 2


def test_ranges_of_addresses() -> None:
    assert addresses("127.0.0.254-127.0.1.1:25") == [
        "127.0.0.254:25", "127.0.0.255:25", "127.0.1.0:25", "127.0.1.1:25"
    ]  # fmt: skip
    assert addresses("mx-1.example:25") == ["mx-1.example:25"]
    assert addresses("[::1]:25") == ["[::1]:25"]
    assert parse_listen("127.0.1.1-127.0.1.9:25=defer", parse("accept"))[1].name == "defer"
