"""The source's session against scripted replies; no sockets, no time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mta.loadgen.message import Load
from mta.loadgen.source import Report, Session, Work
from mta.loadgen.tally import Tally, create

OPEN = b"220 hello\r\n250-hello\r\n250 PIPELINING\r\n"


class Wire:
    """A transport that keeps what was written."""

    def __init__(self) -> None:
        self.written, self.closed = b"", False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written += data

    def close(self) -> None:
        self.closed = True

    def take(self) -> bytes:
        """What was written since the last call, the contents left out."""
        data, self.written = self.written, b""
        lines = [line for line in data.split(b"\r\n") if line[:5] in VERBS or line == b"."]
        return b" ".join(line.split(b":")[0].split(b" ")[0] for line in lines)


VERBS = (b"EHLO ", b"MAIL ", b"RCPT ", b"DATA", b"RSET", b"QUIT")


class Bench:
    """One session over one wire."""

    def __init__(
        self,
        messages: int = 2,
        *,
        pipelining: bool = True,
        rate: float = 0.0,
        tally: str = "",
    ) -> None:
        self.later: list[Callable[[], None]] = []
        self.time = 0.0
        load = Load(
            server="x:1",
            recipients={"u{n}@a.example": 1.0},
            messages=messages,
            size=500,
            pipelining=pipelining,
            rate=rate,
            tally=tally,
        )
        self.work = Work(load, now=lambda: self.time)
        self.connect()

    def connect(self) -> None:
        self.wire = Wire()
        self.session = Session(self.work, lambda _, call: self.later.append(call))
        self.session.connection_made(self.wire)  # type: ignore[arg-type]

    def say(self, *lines: bytes) -> bytes:
        self.session.data_received(b"".join(line + b"\r\n" for line in lines))
        return self.wire.take()


def test_one_write_for_dot_and_next_envelope() -> None:
    bench = Bench(2)
    bench.session.data_received(OPEN)
    assert bench.wire.take() == b"EHLO MAIL RCPT DATA"
    assert bench.say(b"250 ok", b"250 ok", b"354 go") == b". MAIL RCPT DATA"
    bench.time = 0.25
    assert bench.say(b"250 2.0.0 Ok: queued as 00ff", b"250 ok", b"250 ok", b"354 go") == b"."
    assert bench.say(b"250 fine") == b"QUIT"
    report = bench.work.result(1.0)
    assert (report.accepted, report.unsent, report.queue_ids) == (2, 0, {0: "00ff"})
    assert abs(report.slowest - 250_000) <= 1


def test_without_pipelining_every_command_waits() -> None:
    bench = Bench(1, pipelining=False)
    bench.session.data_received(OPEN)
    assert bench.wire.take() == b"EHLO MAIL"
    assert [bench.say(reply) for reply in (b"250 a", b"250 b", b"354 c", b"250 d")] == [
        b"RCPT",
        b"DATA",
        b".",
        b"QUIT",
    ]
    assert bench.work.report.accepted == 1


def test_replies_in_pieces() -> None:
    bench = Bench(1)
    for byte in OPEN + b"250 a\r\n250 b\r\n354 c\r\n250-many\r\n250 lines\r\n":
        bench.session.data_received(bytes([byte]))
    assert bench.work.report.accepted == 1


def test_refused_recipient_takes_a_lone_dot_and_is_not_counted() -> None:
    bench = Bench(1)
    bench.session.data_received(OPEN)
    bench.wire.take()
    assert bench.say(b"250 ok", b"550 5.1.1 nobody", b"354 go") == b"."
    assert bench.say(b"250 nothing") == b"RSET"
    report = bench.work.result(1.0)
    assert (report.accepted, report.refused) == (0, 1)
    assert report.replies == {"550 5.1.1 nobody": 1}


@pytest.mark.parametrize("pipelining", [True, False])
def test_4xx_is_offered_again_after_a_pause(pipelining: bool) -> None:
    bench = Bench(1, pipelining=pipelining)
    bench.session.data_received(OPEN)
    bench.say(b"452 4.3.1 full", *([b"503 no", b"503 no"] if pipelining else []))
    assert bench.wire.take() == b""
    bench.later.pop()()
    assert bench.wire.take() == b"RSET"
    assert bench.say(b"250 ok").startswith(b"MAIL")
    report = bench.work.result(1.0)
    assert (report.deferred, report.refused, report.unsent) == (1, 0, 1)


def test_lost_before_the_dot_is_sent_again_after_it_is_unknown() -> None:
    bench = Bench(3)
    bench.session.data_received(OPEN)
    bench.say(b"250 ok", b"250 ok", b"354 go")  # dot of 0 and envelope of 1 have left
    bench.session.connection_lost(None)
    assert bench.work.report.unknown == [0]
    bench.connect()
    bench.session.data_received(OPEN)
    assert b"u1@" in bench.wire.written
    assert bench.work.open == 2


def test_421_to_the_dot_is_not_taken() -> None:
    bench = Bench(1)
    bench.session.data_received(OPEN)
    bench.say(b"250 ok", b"250 ok", b"354 go")
    bench.say(b"421 4.3.2 going down")
    assert bench.wire.closed
    bench.session.connection_lost(None)
    assert bench.work.report.unknown == []
    assert (bench.work.report.deferred, bench.work.open) == (1, 1)


def test_refused_greeting_closes() -> None:
    bench = Bench(1)
    bench.say(b"554 no")
    assert bench.wire.closed
    assert bench.work.open == 1


def test_waits_while_another_session_may_give_back() -> None:
    bench = Bench(2)
    bench.work.next(), bench.work.next()  # another session has them
    bench.session.data_received(OPEN)
    assert bench.wire.take() == b"EHLO"
    bench.work.give_back(1)
    bench.later.pop()()
    assert bench.wire.take() == b"MAIL RCPT DATA"


def test_reports_add_up() -> None:
    first, second = Report(accepted=2, replies={"a": 1}, seconds=1.0), Report(
        accepted=3, replies={"a": 2, "b": 1}, seconds=2.0, unknown=[4], latency=[(5, 1)], slowest=5
    )  # fmt: skip
    first.merge(second)
    assert (first.accepted, first.seconds, first.unknown) == (5, 2.0, [4])
    assert first.replies == {"a": 3, "b": 1}
    assert first.histogram().quantile(1.0) == 5


def test_pace_sends_the_dot_alone_until_the_next_is_due() -> None:
    bench = Bench(2, rate=10.0)
    bench.session.data_received(OPEN)
    bench.wire.take()
    assert bench.say(b"250 ok", b"250 ok", b"354 go") == b"."
    assert bench.say(b"250 fine") == b""
    bench.time = 0.05
    bench.later.pop()()
    assert bench.wire.take() == b""
    bench.time = 0.11
    bench.later.pop()()
    assert bench.wire.take() == b"MAIL RCPT DATA"


def test_tally_has_the_times_of_each_number(tmp_path: Path) -> None:
    create(tmp_path / "tally", 10, 2)
    bench = Bench(1, tally=str(tmp_path / "tally"))
    bench.session.data_received(OPEN)
    tally = Tally(tmp_path / "tally")
    assert tally.sent[0] == 0
    bench.say(b"250 ok", b"250 ok", b"354 go")
    assert tally.sent[0] > 0 and tally.accepted[0] == 0
    bench.say(b"250 fine")
    assert tally.accepted[0] >= tally.sent[0]


def test_pipelines_only_where_it_is_offered() -> None:
    bench = Bench(1)
    bench.session.data_received(b"220 hello\r\n250-hello\r\n250 SIZE 1000\r\n")
    assert bench.wire.take() == b"EHLO MAIL"
    assert bench.say(b"250 ok") == b"RCPT"
