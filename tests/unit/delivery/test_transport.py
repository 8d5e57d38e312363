"""The shell around the client core, on a fake transport, and once on a real loop and peer."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import pytest
import uvloop
from aiosmtpd.smtp import SMTP

from mta.delivery.conversion import Conversion
from mta.delivery.deadlines import Deadlines
from mta.delivery.transports.smtp import SmtpConnection, Timeouts
from mta.model import Flag, Kind, Notify, Outcome
from mta.smtp.client import KIND_NAMES, ClientOptions
from tests.unit.delivery.fakes import FakeFeeder, FakeLoop, FakeTransport, attempt
from tests.waiting import PATIENCE

EHLO = b"250-mx\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 1000\r\n"
ENVELOPE = b"MAIL FROM:<a@x> SIZE=3\r\nRCPT TO:<b@y>\r\nDATA\r\n"
CONVERSION = Conversion(eight_bit=True, binary=True)
TAKEN = b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n"


class Rig:
    """A connection with everything around it faked."""

    def __init__(self, feeder: FakeFeeder, *, max_messages: int = 0, **options: Any) -> None:
        self.loop, self.feeder, self.transport = FakeLoop(), feeder, FakeTransport()
        self.deadlines = Deadlines(self.loop)
        self.buffer = memoryview(bytearray(4096))
        self.conn = SmtpConnection(
            feeder,
            self.loop,  # type: ignore[arg-type]
            ClientOptions("me", **options),
            Timeouts(),
            self.deadlines,
            "mx.example",
            "192.0.2.1:25",
            "ip1",
            max_messages,
            60,
            self.buffer,
        )
        self.transport.lost = self.conn.connection_lost
        self.conn.connection_made(self.transport)  # type: ignore[arg-type]

    def open(self, ehlo: bytes = EHLO) -> Rig:
        self.read(b"220 hi\r\n")
        self.transport.writes.clear()
        self.read(ehlo)
        return self

    def read(self, data: bytes) -> list[bytes]:
        """Give it octets; the writes that follow, one entry a call."""
        target = self.conn.get_buffer(-1)
        target[: len(data)] = data
        before = len(self.transport.writes)
        self.conn.buffer_updated(len(data))
        return self.transport.writes[before:]

    def kinds(self) -> list[list[Kind]]:
        return [[one.kind for one in outcomes] for _, outcomes in self.feeder.done]


def test_one_write_for_each_read() -> None:
    rig = Rig(FakeFeeder(attempt(), attempt(), attempt()))
    assert rig.read(b"220 hi\r\n") == [b"EHLO me\r\n"]
    assert rig.read(EHLO) == [ENVELOPE]
    assert rig.read(TAKEN) == [b"x\r\n.\r\n" + ENVELOPE]
    assert rig.read(b"250 2.0.0 one\r\n" + TAKEN) == [b"x\r\n.\r\n" + ENVELOPE]
    assert rig.feeder.told == ["ready", "done"]
    assert rig.read(b"250 2.0.0 two\r\n" + TAKEN) == [b"x\r\n.\r\n"]
    assert rig.read(b"250 2.0.0 three\r\n") == []
    assert rig.feeder.told == ["ready", "done", "done", "done", "idle"]
    texts = [outcomes[0].text for _, outcomes in rig.feeder.done]
    assert texts == ["one", "two", "three"]
    assert not rig.loop.soon


def test_kick_sends_at_once() -> None:
    rig = Rig(FakeFeeder()).open()
    assert rig.feeder.told == ["ready", "idle"]
    rig.feeder.waiting.append(attempt())
    rig.conn.kick()
    assert rig.transport.writes == [ENVELOPE]
    rig.conn.kick()  # under way: nothing to do
    assert rig.transport.writes == [ENVELOPE]


def test_kick_from_within_connection_idle() -> None:
    feeder = FakeFeeder()

    def more(conn: SmtpConnection) -> None:
        if len(feeder.told) < 4:
            feeder.waiting.append(attempt())
            conn.kick()

    feeder.on["idle"] = more
    rig = Rig(feeder).open()
    assert rig.transport.writes == [ENVELOPE]


def test_message_limit_ends_with_quit() -> None:
    rig = Rig(FakeFeeder(attempt(), attempt(), attempt()), max_messages=2).open()
    rig.read(TAKEN)
    assert rig.read(b"250 ok\r\n" + TAKEN) == [b"x\r\n.\r\n"]
    assert rig.read(b"250 ok\r\n") == [b"QUIT\r\n"]
    rig.read(b"221 bye\r\n")
    assert rig.feeder.told == ["ready", "done", "done", "closed"]
    assert (rig.feeder.end, rig.transport.end, len(rig.feeder.waiting)) == (None, "closed", 1)
    assert len(rig.deadlines) == 0


def test_idle_limit_ends_with_quit() -> None:
    rig = Rig(FakeFeeder()).open()
    rig.loop.advance(59)
    assert rig.transport.writes == []
    rig.loop.advance(3)
    assert rig.transport.writes == [b"QUIT\r\n"]
    rig.loop.advance(15)  # no 221
    assert (rig.feeder.told, rig.feeder.end) == (["ready", "idle", "closed"], None)
    assert not rig.loop.timers or len(rig.deadlines) == 0


def test_idle_limit_counts_from_the_last_message() -> None:
    rig = Rig(FakeFeeder()).open()
    rig.loop.advance(50)
    rig.feeder.waiting.append(attempt())
    rig.conn.kick()
    rig.read(TAKEN)
    rig.read(b"250 ok\r\n")
    rig.loop.advance(58)
    assert rig.transport.writes[-1] != b"QUIT\r\n"
    rig.loop.advance(4)
    assert rig.transport.writes[-1] == b"QUIT\r\n"


def test_close_waits_for_the_boundary() -> None:
    rig = Rig(FakeFeeder(attempt(), attempt())).open()
    rig.conn.close()
    assert rig.read(TAKEN) == [b"x\r\n.\r\n"]  # nothing is sent ahead any more
    assert rig.read(b"250 ok\r\n") == [b"QUIT\r\n"]
    rig = Rig(FakeFeeder()).open()
    rig.conn.close()
    assert rig.transport.writes == [b"QUIT\r\n"]


def test_close_before_the_session_is_up() -> None:
    rig = Rig(FakeFeeder(attempt()))
    rig.conn.close()
    rig.read(b"220 hi\r\n")
    assert rig.read(EHLO) == [b"QUIT\r\n"]


def test_close_from_within_next_attempt_is_no_idling() -> None:
    feeder = FakeFeeder()
    feeder.on["next"] = lambda conn: conn.close()
    rig = Rig(feeder).open()
    assert rig.transport.writes == [b"QUIT\r\n"]
    assert feeder.told == ["ready"]


@pytest.mark.parametrize("when", ["ready", "idle"])
def test_abort_from_within(when: str) -> None:
    feeder = FakeFeeder()
    feeder.on[when] = lambda conn: conn.abort()
    rig = Rig(feeder).open()
    assert feeder.told[-1] == "closed"
    assert rig.conn.closed
    assert feeder.told.count("closed") == 1


def test_abort_decides_what_is_under_way() -> None:
    rig = Rig(FakeFeeder(attempt(), attempt())).open()
    rig.read(TAKEN)
    rig.conn.abort()
    assert rig.kinds() == [[Kind.DEFERRED], [Kind.UNATTEMPTED]]
    assert rig.transport.end == "aborted"
    rig.conn.connection_lost(None)
    assert rig.feeder.told == ["ready", "done", "done", "closed"]


def test_refused_greeting_is_the_hosts_outcome() -> None:
    rig = Rig(FakeFeeder(attempt()))
    assert rig.read(b"554 5.7.1 no\r\n") == [b"QUIT\r\n"]
    assert rig.feeder.end is not None
    assert (rig.feeder.end.kind, rig.feeder.end.command) == (Kind.DEFERRED, "connect")
    assert rig.transport.end == "closed"
    assert len(rig.feeder.waiting) == 1


def test_loss_gives_its_reason() -> None:
    rig = Rig(FakeFeeder(attempt("b@y", "c@y"))).open()
    rig.conn.connection_lost(ConnectionResetError("reset by peer"))
    assert rig.kinds() == [[Kind.DEFERRED] * 2]
    text = "connection lost waiting for the reply to MAIL: reset by peer"
    assert rig.feeder.done[0][1][0].text == text
    assert rig.feeder.end is not None
    assert rig.feeder.end.text == text


def test_each_recipient_has_its_outcome() -> None:
    rig = Rig(FakeFeeder(attempt("b@y", "c@y", "d@y"))).open()
    rig.read(b"250 a\r\n250 b\r\n550 5.1.1 no\r\n452 4.5.3 too many\r\n354 go\r\n")
    rig.read(b"250 2.0.0 ok\r\n")
    assert rig.kinds() == [[Kind.DELIVERED, Kind.BOUNCED, Kind.UNATTEMPTED]]


def test_time_out_of_the_dot() -> None:
    rig = Rig(FakeFeeder(attempt())).open()
    rig.loop.advance(250)
    rig.read(TAKEN)
    rig.loop.advance(599)
    assert rig.kinds() == []
    rig.loop.advance(2)
    assert rig.kinds() == [[Kind.DEFERRED]]
    assert rig.transport.end == "aborted"


def test_dripping_octets_win_no_time() -> None:
    rig = Rig(FakeFeeder(attempt())).open()
    for _ in range(30):
        rig.loop.advance(10)
        if not rig.conn.closed:
            rig.read(b"2" if rig.conn.core.replies == 2 else b"")
    assert not rig.kinds()
    rig.loop.advance(2)
    assert rig.feeder.told[-1] == "closed"


def test_no_reply_to_what_was_sent_ahead() -> None:
    rig = Rig(FakeFeeder(attempt(), attempt())).open()
    rig.read(TAKEN)
    rig.read(b"250 ok\r\n")
    rig.loop.advance(11.5)
    assert not rig.conn.core.overlap_ok
    assert rig.feeder.told == ["ready", "done"]
    rig.loop.advance(21.5)
    assert rig.kinds() == [[Kind.DELIVERED], [Kind.UNATTEMPTED]]
    assert rig.conn.overlap_failed


def test_a_late_reply_to_what_was_sent_ahead_is_taken() -> None:
    rig = Rig(FakeFeeder(attempt(), attempt(), attempt())).open()
    rig.read(TAKEN)
    rig.read(b"250 ok\r\n")
    rig.loop.advance(15)
    assert rig.read(TAKEN) == [b"x\r\n.\r\n"]  # the third is not sent ahead
    assert rig.read(b"250 ok\r\n") == [ENVELOPE]
    assert rig.kinds() == [[Kind.DELIVERED], [Kind.DELIVERED]]
    assert rig.conn.core.overlap_failed  # for this host


def test_a_server_that_takes_nothing_is_dropped() -> None:
    rig = Rig(FakeFeeder(attempt())).open()
    rig.transport.unsent = 1000
    rig.read(TAKEN)
    rig.conn.pause_writing()
    rig.loop.advance(170)
    rig.transport.unsent = 900  # it takes some
    rig.loop.advance(170)
    assert not rig.conn.closed
    rig.loop.advance(200)
    assert rig.conn.closed
    assert rig.kinds() == [[Kind.DEFERRED]]
    assert rig.transport.end == "aborted"


def test_nothing_new_while_the_last_is_not_taken() -> None:
    rig = Rig(FakeFeeder(attempt()), overlap=False).open()
    rig.feeder.waiting.append(attempt())
    rig.read(TAKEN)
    rig.conn.pause_writing()
    assert rig.read(b"250 early\r\n") == []
    assert rig.kinds() == [[Kind.DELIVERED]]
    rig.conn.resume_writing()
    assert rig.transport.writes[-1] == ENVELOPE
    assert KIND_NAMES[rig.conn.core.deadline_kind] == "mail"
    assert rig.conn.deadline == rig.loop.now + 300


def test_what_is_decided_here_lets_others_have_a_turn() -> None:
    many = [attempt(body=b"x" * 2000) for _ in range(250)]
    rig = Rig(FakeFeeder(*many)).open()
    assert len(rig.feeder.done) == 100
    rig.loop.turn()
    assert len(rig.feeder.done) == 200
    rig.loop.turn()
    assert len(rig.feeder.done) == 250
    assert rig.feeder.told[-1] == "idle"
    assert rig.transport.writes == []


def test_eight_bit_is_converted_where_that_is_wished() -> None:
    body = b"Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n.caf\xc3\xa9\r\n"
    ehlo = b"250-mx\r\n250 PIPELINING\r\n"
    rig = Rig(FakeFeeder(attempt(body=body, flags=Flag.EIGHT_BIT), prepare=CONVERSION))
    rig.open(ehlo)
    assert b"BODY" not in rig.transport.writes[0]
    sent = rig.read(TAKEN)[0]
    assert sent.isascii()
    assert sent.endswith(b"quoted-printable\r\n\r\n..caf=C3=A9\r\n.\r\n")
    rig = Rig(FakeFeeder(attempt(body=body, flags=Flag.EIGHT_BIT))).open(ehlo)
    assert [outcomes[0].enhanced for _, outcomes in rig.feeder.done] == ["5.6.3"]
    assert rig.transport.writes == []


def test_stage_times() -> None:
    first, second = attempt(), attempt()
    rig = Rig(FakeFeeder(first, second))
    rig.loop.advance(0.5)
    rig.open()
    rig.loop.advance(0.25)
    rig.read(TAKEN)
    rig.loop.advance(0.25)
    rig.read(b"250 ok\r\n")
    assert (first.connect_us, first.transfer_us) == (500_000, 500_000)
    rig.read(TAKEN)
    rig.read(b"250 ok\r\n")
    assert (second.connect_us, second.transfer_us) == (0, 250_000)


def test_repr_is_a_status_line() -> None:
    rig = Rig(FakeFeeder(attempt()))
    assert repr(rig.conn) == (
        "<SmtpConnection mx.example (192.0.2.1:25) from ip1: GREETING, 0 messages, 0 in flight>"
    )
    rig.open()
    assert "MAIL, 0 messages, 1 in flight" in repr(rig.conn)
    rig.read(TAKEN + b"250 ok\r\n")
    rig.loop.advance(7)
    assert "IDLE for 7 s, 1 messages, 0 in flight" in repr(rig.conn)


def test_timeouts_are_in_the_order_of_the_kinds() -> None:
    assert ("none", *Timeouts._fields[1:]) == KIND_NAMES


# On a real loop


class Sink:
    """aiosmtpd's handler: keeps what it is given, refuses one user."""

    def __init__(self) -> None:
        self.got: list[tuple[list[str], bytes]] = []

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if address.startswith("nobody"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.got.append((list(envelope.rcpt_tos), envelope.original_content))
        return "250 2.0.0 kept"


class WaitingFeeder(FakeFeeder):
    """Says when the connection has ended."""

    def __init__(self, *attempts: Any) -> None:
        super().__init__(*attempts)
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.on["idle"] = lambda conn: conn.close()
        self.on["closed"] = lambda conn: self.over.set_result(None)


class PlainConnection(SmtpConnection, asyncio.BufferedProtocol):
    """As asyncio's own loop wants it."""

    __slots__ = ()


class SilentLoop(FakeLoop):
    """A loop whose peers never answer."""

    async def create_connection(self, *_: Any) -> None:
        await asyncio.get_running_loop().create_future()


def connection(feeder: FakeFeeder, deadlines: Deadlines, loop: Any = None) -> SmtpConnection:
    loop = loop or asyncio.get_running_loop()
    buffer = memoryview(bytearray(65536))
    options = ClientOptions("localhost")
    return PlainConnection(
        feeder, loop, options, Timeouts(), deadlines, "mx", "127.0.0.1", "", 0, 60, buffer
    )


@pytest.mark.parametrize("run", [uvloop.run, asyncio.run])
@pytest.mark.parametrize("local", [None, ("127.0.0.1", 0)])
def test_against_aiosmtpd(run: Any, local: tuple[str, int] | None) -> None:
    sink, delayed = Sink(), list[int]()

    def ready(conn: SmtpConnection) -> None:
        sock = conn._transport.get_extra_info("socket")  # type: ignore[union-attr]
        delayed.append(not sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    bodies = [b"one\r\n", b".\r\n..two\r\n.\r\n", b"\xff 8bit\r\n", b"z" * 70 + b"\r\n"]
    bodies[3] *= 20_000  # 1.4 MB: more than the socket takes at once

    async def main() -> WaitingFeeder:
        loop = asyncio.get_running_loop()
        deadlines = Deadlines(loop)
        feeder = WaitingFeeder(
            *[attempt("b@y.example", "nobody@y.example", body=body, flags=3) for body in bodies],
            attempt("nobody@y.example"),
        )
        server = await loop.create_server(lambda: SMTP(sink, hostname="peer"), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        conn = connection(feeder, deadlines)
        feeder.on["ready"] = ready
        await conn.connect("127.0.0.1", port, local)
        await asyncio.wait_for(feeder.over, PATIENCE)
        server.close()
        await server.wait_closed()
        assert len(deadlines) == 0
        deadlines.close()
        return feeder

    feeder = run(main())
    assert delayed == [False]
    assert [body for _, body in sink.got] == bodies
    assert feeder.end is None
    kinds = [[one.kind for one in outcomes] for _, outcomes in feeder.done]
    assert kinds == [[Kind.DELIVERED, Kind.BOUNCED]] * 4 + [[Kind.BOUNCED]]


@pytest.mark.parametrize("run", [uvloop.run, asyncio.run])
def test_connection_refused(run: Any) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

        async def main() -> WaitingFeeder:
            feeder = WaitingFeeder(attempt())
            await connection(feeder, Deadlines(asyncio.get_running_loop())).connect(
                "127.0.0.1", port
            )
            return feeder

        feeder = run(main())
    assert feeder.end is not None
    assert feeder.end.kind == Kind.DEFERRED
    assert feeder.end.text == f"cannot connect to [127.0.0.1]:{port}: Connection refused"
    assert feeder.told == ["closed"]


@pytest.mark.parametrize("late", [True, False])
def test_a_host_that_does_not_answer(late: bool) -> None:
    loop, feeder = SilentLoop(), FakeFeeder(attempt())

    async def main() -> bool:
        dialling = asyncio.ensure_future(
            connection(feeder, Deadlines(loop), loop).connect("192.0.2.1", 25)
        )
        await asyncio.sleep(0)
        loop.advance(29)
        assert feeder.told == []
        loop.advance(1) if late else dialling.cancel()
        await asyncio.wait([dialling])
        return dialling.cancelled()

    assert asyncio.run(main()) is not late
    assert feeder.told == ["closed"]
    assert feeder.end is not None
    wanted = "cannot connect to [192.0.2.1]:25: timed out"
    assert feeder.end.text == (wanted if late else "connecting to [192.0.2.1]:25 was cancelled")
    assert [timer for timer in loop.timers if not timer.cancelled] == []


def test_a_source_that_cannot_be_used_says_nothing_of_the_host() -> None:
    async def main() -> WaitingFeeder:
        feeder = WaitingFeeder(attempt())
        conn = connection(feeder, Deadlines(asyncio.get_running_loop()))
        await conn.connect("127.0.0.1", 9, ("192.0.2.7", 0))
        return feeder

    feeder = asyncio.run(main())
    assert feeder.end is not None
    assert (feeder.end.kind, feeder.end.command) == (Kind.DEFERRED, "bind")
    assert feeder.end.text.startswith("cannot send from 192.0.2.7 (source ")
    assert feeder.told == ["closed"]


LIMITED = b"250-mx\r\n250-PIPELINING\r\n250 LIMITS MAILMAX=2 RCPTMAX=2 RCPTDOMAINMAX=1\r\n"


def test_a_server_that_takes_few_recipients_gets_them_in_shares() -> None:
    rig = Rig(FakeFeeder(attempt("a@y", "b@y", "c@y"), attempt("a@y", "b@z")))
    [envelope] = rig.open(LIMITED).transport.writes
    assert envelope == b"MAIL FROM:<a@x>\r\nRCPT TO:<a@y>\r\nRCPT TO:<b@y>\r\nDATA\r\n"
    [out] = rig.read(b"250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n")
    assert out.endswith(b"MAIL FROM:<a@x>\r\nRCPT TO:<a@y>\r\nDATA\r\n")
    rig.read(b"250 taken\r\n")
    assert rig.kinds() == [[Kind.DELIVERED, Kind.BOUNCED, Kind.UNATTEMPTED]]


def test_a_server_that_takes_few_messages_is_left_after_them() -> None:
    rig = Rig(FakeFeeder(attempt(), attempt(), attempt())).open(LIMITED)
    rig.read(TAKEN)
    assert rig.read(b"250 one\r\n" + TAKEN) == [b"x\r\n.\r\n"]
    assert rig.read(b"250 two\r\n") == [b"QUIT\r\n"]
    assert len(rig.feeder.waiting) == 1


def asking(**more: Any) -> Any:
    one = attempt("b@y", "c@y", **more)
    one.message.ret, one.message.envid, one.message.priority = "HDRS", "QQ+2B", -3
    one.recipients[1].notify = Notify.SUCCESS | Notify.DELAY | Notify.DELAYED
    one.recipients[1].orcpt = "utf-8;\u00e9@y"
    return one


def test_what_the_client_asked_is_passed_on() -> None:
    rig = Rig(FakeFeeder(asking()))
    rig.open(b"250-mx\r\n250-PIPELINING\r\n250-DSN\r\n250 MT-PRIORITY\r\n")
    assert rig.transport.writes == [
        b"MAIL FROM:<a@x> RET=HDRS ENVID=QQ+2B MT-PRIORITY=-3\r\nRCPT TO:<b@y>\r\n"
        b"RCPT TO:<c@y> NOTIFY=SUCCESS,DELAY ORCPT=utf-8;\\x{E9}@y\r\nDATA\r\n"
    ]
    assert rig.conn.peer.success == ""


def test_nothing_is_passed_on_where_it_is_not_offered() -> None:
    rig = Rig(FakeFeeder(asking()), disable=["DSN"])
    rig.open(b"250-mx\r\n250-PIPELINING\r\n250 DSN\r\n")
    assert rig.transport.writes == [
        b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nRCPT TO:<c@y>\r\nDATA\r\n"
    ]
    assert rig.conn.peer.success == "relayed"


def test_binary_content_is_sent_as_it_is_or_converted() -> None:
    odd = {"body": b"Subject: x\r\n\r\n\0\n", "flags": Flag.BINARYMIME | Flag.EIGHT_BIT}
    rig = Rig(FakeFeeder(attempt(**odd), prepare=CONVERSION))
    rig.open(b"250-mx\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 BINARYMIME\r\n")
    assert rig.read(b"250 ok\r\n250 ok\r\n") == [b"BDAT 16 LAST\r\n" + odd["body"]]
    rig = Rig(FakeFeeder(attempt(**odd), prepare=CONVERSION)).open()
    [out] = rig.read(TAKEN)
    assert b"Content-Transfer-Encoding: base64\r\n\r\nAAo=\r\n.\r\n" in out
    rig = Rig(FakeFeeder(attempt(**odd))).open()
    [(_, [outcome])] = rig.feeder.done
    assert (outcome.kind, outcome.enhanced) == (Kind.BOUNCED, "5.6.3")


def test_an_internationalized_domain_is_sent_as_a_labels_where_that_is_enough() -> None:
    to = ["b@b\u00fccher.example", "\u00e9@b\u00fccher.example"]
    rig = Rig(FakeFeeder(attempt(*to, sender="a@\u00e9", flags=Flag.SMTPUTF8))).open()
    [envelope] = rig.transport.writes
    assert envelope.startswith(b"MAIL FROM:<a@xn--9ca> SIZE=3\r\n")
    assert b"RCPT TO:<b@xn--bcher-kva.example>\r\nDATA" in envelope
    rig.read(TAKEN + b"250 ok\r\n")
    [(_, outcomes)] = rig.feeder.done
    assert [one.enhanced for one in outcomes] == ["", "5.6.7"]
    rig = Rig(FakeFeeder(attempt(*to, sender="a@\u00e9", flags=Flag.SMTPUTF8)))
    rig.open(b"250-mx\r\n250-PIPELINING\r\n250 SMTPUTF8\r\n")
    assert rig.transport.writes[0].startswith("MAIL FROM:<a@\u00e9> SMTPUTF8\r\n".encode())


def test_the_end_is_told_when_the_connection_is_gone() -> None:
    """Whoever opens another one in its place is not one too many for the server."""
    rig = Rig(FakeFeeder()).open()
    rig.transport.lost = None
    rig.conn.close()
    rig.read(b"221 2.0.0 bye\r\n")
    assert rig.transport.end == "closed"
    assert "closed" not in rig.feeder.told and not rig.conn.closed
    rig.conn.kick()
    rig.read(b"250 late\r\n")
    rig.conn.connection_lost(None)
    assert rig.feeder.told.count("closed") == 1 and rig.conn.closed
    assert len(rig.deadlines) == 0


def test_last_words_that_are_not_taken_are_given_up() -> None:
    rig = Rig(FakeFeeder())
    rig.transport.lost = None
    assert rig.read(b"554 5.7.1 no\r\n") == [b"QUIT\r\n"]
    assert rig.transport.end == "closed"
    rig.transport.end = ""
    rig.loop.advance(Timeouts().quit + 2)
    assert rig.feeder.told == [] and rig.transport.end == "aborted"
    rig.conn.connection_lost(None)
    assert rig.feeder.told == ["closed"]
    assert rig.feeder.end is not None and rig.feeder.end.code == 554


@pytest.mark.parametrize("ends", [b"221 2.0.0 bye\r\n", b""])
def test_a_turn_after_the_end_was_told_the_socket_is_closed(ends: bytes) -> None:
    """The dispatcher gives the lease back then (uvloop closes behind `connection_lost`)."""

    async def run() -> int:
        loop, closed = asyncio.get_running_loop(), asyncio.Event()

        class Told(FakeFeeder):
            def connection_closed(self, conn: Any, outcome: Outcome | None) -> None:
                loop.call_soon(closed.set)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 hi\r\n")
            await reader.readuntil(b"\n")
            writer.write(EHLO)
            await reader.readuntil(b"\n")
            writer.write(ends)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        conn = SmtpConnection(
            Told(), loop, ClientOptions("me"), Timeouts(), Deadlines(loop), "mx", "", "", 0, 60,
            memoryview(bytearray(4096)),
        )  # fmt: skip
        await conn.connect(*server.sockets[0].getsockname())
        descriptor: int = conn._transport.get_extra_info("socket").fileno()
        conn.close()
        await closed.wait()
        with pytest.raises(OSError):
            os.fstat(descriptor)
        server.close()
        return descriptor

    assert uvloop.run(run()) > 0
