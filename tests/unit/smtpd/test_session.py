"""A session between its transport and the core."""

from __future__ import annotations

import asyncio
import sys

import pytest

from mta._speedups.verdict import ACCEPTED, Verdict
from mta.errors import SpoolBusyError, SpoolUnknownError
from mta.reception.admit import Member
from mta.smtpd.timeouts import Timeouts

from .desk import Desk

ENVELOPE = b"MAIL FROM:<a@c.example>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"
BODY = b"Subject: s\r\n\r\nHello\r\n.\r\n"


def test_a_message_in_single_steps():
    desk = Desk()
    talk = desk.open()
    assert talk.replies().startswith(b"220 mx.example.net ")
    assert talk.codes(b"EHLO c.example\r\n") == [250]
    assert talk.codes(b"MAIL FROM:<a@c.example>\r\n") == [250]
    assert talk.codes(b"RCPT TO:<b@example.com>\r\n") == [250]
    assert talk.codes(b"DATA\r\n") == [354]
    message = desk.messages
    reply = talk.say(BODY)
    assert reply == b"250 2.0.0 Ok: queued as %b\r\n" % message[0][0].id.hex().encode()
    assert message[0][1] == ["b@example.com"]
    assert talk.codes(b"QUIT\r\n") == [221]
    assert talk.transport.eof


def test_one_write_per_read():
    desk = Desk()
    talk = desk.open()
    talk.replies()
    talk.send(b"EHLO c\r\n" + (ENVELOPE + BODY) * 3 + b"QUIT\r\n")
    assert len(talk.transport.writes) == 1
    assert len(desk.messages) == 3
    assert len({m.id for m, _ in desk.messages}) == 3


def test_a_late_verdict_goes_on_with_what_waits():
    desk = Desk(at_once=False)
    talk = desk.open()
    talk.replies()
    talk.send(b"EHLO c\r\n" + ENVELOPE + BODY + ENVELOPE + BODY + b"NOOP\r\n")
    assert b"queued" not in talk.replies()
    assert len(desk.pending) == 1
    desk.pending.pop()(None)
    assert talk.replies().count(b"queued") == 1
    assert len(desk.messages) == 2
    desk.pending.pop()(SpoolBusyError("full"))
    assert [line[:3] for line in talk.replies().splitlines()] == [b"452", b"250"]


def test_what_nobody_knows_is_not_answered():
    desk = Desk(at_once=False)
    talk = desk.open()
    talk.send(b"EHLO c\r\n" + ENVELOPE + BODY + b"NOOP\r\n")
    talk.replies()
    desk.pending.pop()(SpoolUnknownError("the spool failed"))
    assert talk.replies() == b""
    assert talk.transport.aborted
    assert desk.log[-1]["reason"] == "unknown"


def test_connection_lost_before_the_verdict_keeps_the_message():
    desk = Desk(at_once=False)
    talk = desk.open()
    talk.send(b"EHLO c\r\n" + ENVELOPE + BODY)
    talk.lost()
    assert desk.listener.sessions == set()
    assert desk.service.limits.sessions == 0
    desk.pending.pop()(None)
    assert len(desk.messages) == 1


def test_reading_pauses_while_enough_waits():
    desk = Desk(at_once=False, pipeline_limit=1024)
    talk = desk.open()
    talk.send(b"EHLO c\r\n" + ENVELOPE + BODY)
    assert talk.transport.reading
    talk.send(b"NOOP\r\n" * 400)
    assert not talk.transport.reading
    desk.pending.pop()(None)
    assert talk.transport.reading
    assert talk.replies().count(b"250 2.0.0 Ok\r\n") == 400


def test_a_client_that_does_not_read_is_not_read_either():
    desk = Desk(timeouts=Timeouts(command=10, idle=10))
    talk = desk.open()
    talk.session.pause_writing()
    assert not talk.transport.reading
    talk.session.resume_writing()
    assert talk.transport.reading
    talk.session.pause_writing()
    desk.loop.run(11)
    assert talk.transport.aborted
    assert desk.service.timed_out == 1


def test_both_reasons_must_go_before_reading_resumes():
    desk = Desk(at_once=False, pipeline_limit=1024)
    talk = desk.open()
    talk.send(b"EHLO c\r\n" + ENVELOPE + BODY + b"NOOP\r\n" * 400)
    talk.session.pause_writing()
    assert not talk.transport.reading
    desk.pending.pop()(None)
    assert not talk.transport.reading
    talk.session.resume_writing()
    assert talk.transport.reading


def test_half_closed_client_gets_its_replies():
    desk = Desk(at_once=False)
    talk = desk.open()
    talk.send(b"EHLO c\r\n" + ENVELOPE + BODY + b"NOOP\r\n")
    assert talk.session.eof_received()
    talk.replies()
    desk.pending.pop()(None)
    assert talk.replies().count(b"250 2.0.0 Ok") == 2
    assert talk.transport.closed


def test_half_closed_client_without_a_message_is_let_go():
    talk = Desk().open()
    talk.send(b"EHLO c\r\n" + ENVELOPE + b"half a mess")
    assert not talk.session.eof_received()


def test_after_too_many_errors_the_last_reply_is_read_before_the_end():
    desk = Desk(max_errors=2, timeouts=Timeouts(linger=3))
    talk = desk.open()
    talk.replies()
    assert talk.codes(b"FOO\r\nFOO\r\nFOO\r\n")[-1] == 421
    assert talk.transport.eof and not talk.transport.closed
    assert talk.say(b"FOO\r\n") == b""
    desk.loop.run(4)
    assert talk.transport.aborted


def test_idle_time_out():
    desk = Desk(timeouts=Timeouts(command=30, idle=20, linger=2))
    talk = desk.open()
    talk.send(b"EHLO c\r\n")
    desk.loop.run(19)
    talk.replies()
    desk.loop.run(2)
    assert talk.replies().startswith(b"421 4.4.2 ")
    assert talk.transport.eof
    desk.loop.run(3)
    assert talk.transport.aborted


def test_within_a_transaction_the_command_time_counts():
    desk = Desk(timeouts=Timeouts(command=30, idle=10))
    talk = desk.open()
    talk.send(b"EHLO c\r\nMAIL FROM:<a@c>\r\n")
    talk.replies()
    desk.loop.run(29)
    assert talk.replies() == b""
    desk.loop.run(2)
    assert talk.replies().startswith(b"421 ")


def test_octets_of_a_command_buy_no_time():
    desk = Desk(timeouts=Timeouts(command=10, idle=10))
    talk = desk.open()
    talk.replies()
    for _ in range(10):
        talk.send(b"N")
        desk.loop.run(1)
    desk.loop.run(1)
    assert talk.replies().startswith(b"421 4.4.2 ")


def test_content_has_time_between_pieces_and_in_all():
    desk = Desk(timeouts=Timeouts(data_block=10, content=60))
    talk = desk.open()
    talk.send(b"EHLO c\r\n" + ENVELOPE)
    talk.replies()
    for _ in range(6):
        desk.loop.run(9)
        talk.send(b"drip\r\n")
    assert talk.replies() == b""
    desk.loop.run(7)
    assert talk.replies().startswith(b"421 4.4.2 ")
    assert desk.messages == []


def test_content_that_stops():
    desk = Desk(timeouts=Timeouts(data_block=10))
    talk = desk.open()
    talk.send(b"EHLO c\r\n" + ENVELOPE)
    talk.replies()
    desk.loop.run(11)
    assert talk.replies().startswith(b"421 4.4.2 ")


def test_the_content_limit_ends_with_the_content():
    desk = Desk(timeouts=Timeouts(content=20, idle=50))
    talk = desk.open()
    talk.send(b"EHLO c\r\n" + ENVELOPE + BODY)
    talk.replies()
    desk.loop.run(45)
    assert talk.replies() == b""


def test_no_time_out_while_the_delay_is_ours():
    desk = Desk(at_once=False, timeouts=Timeouts(command=10, idle=10, data_block=10))
    talk = desk.open()
    talk.send(b"EHLO c\r\n" + ENVELOPE + BODY)
    talk.replies()
    desk.loop.run(100)
    assert talk.replies() == b""
    desk.pending.pop()(None)
    assert b"queued" in talk.replies()
    desk.loop.run(11)
    assert talk.replies().startswith(b"421 4.4.2 ")


def test_a_whole_session_ends_at_a_boundary():
    desk = Desk(timeouts=Timeouts(session=30))
    talk = desk.open()
    talk.send(b"EHLO c\r\n")
    talk.replies()
    for _ in range(29):
        desk.loop.run(1)
        assert talk.codes(b"NOOP\r\n") == [250]
    talk.send(ENVELOPE)
    desk.loop.run(2)
    talk.replies()
    talk.send(BODY)
    desk.loop.run(2)
    replies = talk.replies()
    assert b"queued" in replies and replies.splitlines()[-1].startswith(b"421 4.3.2 ")


def test_content_is_not_endless_when_the_session_should_have_ended():
    desk = Desk(timeouts=Timeouts(session=5, content=20, data_block=10))
    talk = desk.open()
    talk.send(b"EHLO c\r\n" + ENVELOPE)
    for _ in range(19):
        desk.loop.run(1)
        talk.send(b"drip\r\n")
        assert not talk.transport.eof
    desk.loop.run(2)
    assert talk.replies().splitlines()[-1].startswith(b"421 4.4.2 ")


def test_drain_between_transactions():
    talk = (desk := Desk()).open()
    talk.send(b"EHLO c\r\n")
    talk.replies()
    desk.listener.drain()
    assert talk.replies().startswith(b"421 4.3.2 ")
    assert talk.transport.eof


def test_drain_waits_for_content_and_verdict():
    talk = (desk := Desk(at_once=False)).open()
    talk.send(b"EHLO c\r\n" + ENVELOPE)
    talk.replies()
    desk.listener.drain()
    assert talk.replies() == b""
    talk.send(BODY)
    assert talk.replies() == b""
    desk.pending.pop()(None)
    lines = talk.replies().splitlines()
    assert [line[:3] for line in lines] == [b"250", b"421"]


def test_abort():
    talk = (desk := Desk()).open()
    desk.listener.abort()
    assert talk.transport.aborted


def test_relaying_denied_is_logged():
    talk = (desk := Desk()).open("192.0.2.1")
    talk.replies()
    codes = talk.codes(b"EHLO c\r\nMAIL FROM:<a@c>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n")
    assert codes == [250, 250, 554, 503]
    assert [(r["code"], r["command"]) for r in desk.log] == [(554, "RCPT"), (503, "DATA")]


def test_a_stranger_that_sends_content_before_the_354_is_let_go():
    desk = Desk(rule={"relay_from": ["192.0.2.1"], "relay_domains": ["example.com"]})
    talk = desk.open("198.51.100.1")
    talk.replies()
    assert talk.codes(b"EHLO c\r\n" + ENVELOPE + BODY + b"NOOP\r\n") == [250, 250, 250, 503, 503]
    assert talk.transport.eof and desk.messages == []
    assert [(r["command"], r["reason"]) for r in desk.log] == [("DATA", "pipelining")] * 2
    for address, step in (("198.51.100.1", True), ("192.0.2.1", False)):
        talk = desk.open(address)
        talk.replies()
        if step:
            assert talk.codes(b"EHLO c\r\n" + ENVELOPE) == [250, 250, 250, 354]
            assert talk.codes(BODY) == [250]
        else:
            assert talk.codes(b"EHLO c\r\n" + ENVELOPE + BODY) == [250, 250, 250, 354, 250]


def test_content_behind_a_refused_data_becomes_no_command():
    talk = (desk := Desk()).open()
    desk.room.open = False
    talk.replies()
    text = b"MAIL FROM:<evil@c>\r\nRCPT TO:<b@example.com>\r\n.\r\n"
    assert talk.codes(b"EHLO c\r\n" + ENVELOPE + text) == [250, 250, 250, 452, 503]
    assert talk.transport.eof and talk.session.sender is None


def test_messages_too_large_are_logged_once():
    talk = (desk := Desk(max_size=1000)).open()
    talk.replies()
    large = b"x\r\n" * 1000 + b".\r\n"
    talk.send(b"EHLO c\r\n" + ENVELOPE + large + b"MAIL FROM:<a@c> SIZE=1001\r\nFOO\r\n")
    assert [line[:4] for line in talk.replies().splitlines()[-3:]] == [b"552 ", b"552 ", b"500 "]
    assert [record["command"] for record in desk.log] == [".", "MAIL"]
    talk.send(b"FOO\r\nMAIL FROM:<a@c> SIZE=1001\r\nNOOP\r\n")
    assert len(desk.log) == 3


def test_what_the_core_refuses_is_logged_but_not_what_is_no_smtp():
    talk = (desk := Desk()).open()
    talk.replies()
    wrong = b"RCPT TO:<b@c>\r\nMAIL FROM:a b\r\nMAIL FROM:<a@c> SIZE=x\r\n"
    talk.send(b"EHLO c\r\nFOO\r\n" + wrong)
    assert [line[:4] for line in talk.replies().splitlines()[-4:]] == [
        b"500 ", b"503 ", b"501 ", b"501 ",
    ]  # fmt: skip
    said = [(record["code"], record["command"], record["reason"]) for record in desk.log]
    assert said == [
        (503, "RCPT", "sequence"), (501, "MAIL", "address"), (501, "MAIL", "parameter"),
    ]  # fmt: skip


def test_no_room():
    talk = (desk := Desk()).open()
    desk.room.open = False
    talk.replies()
    assert talk.codes(b"EHLO c\r\n" + ENVELOPE) == [250, 250, 250, 452]


def test_new_ehlo_and_rset_end_the_transaction():
    talk = (desk := Desk()).open()
    for command in (b"EHLO d\r\n", b"RSET\r\n"):
        talk.send(b"EHLO c\r\nMAIL FROM:<x@c>\r\nRCPT TO:<x@example.com>\r\n" + command)
        assert talk.session.sender is None
        talk.send(ENVELOPE + BODY)
        assert desk.messages[-1][1] == ["b@example.com"]


def test_received_names_the_client_of_now():
    talk = (desk := Desk()).open()
    talk.send(b"HELO one\r\n" + ENVELOPE + BODY + b"EHLO two\r\n" + ENVELOPE + BODY)
    first, second = (message.body or b"" for message, _ in desk.messages)
    assert b"from one ([127.0.0.1])" in first and b"with SMTP id" in first
    assert b"from two ([127.0.0.1])" in second and b"with ESMTP id" in second


def test_repr_tells_what_it_does():
    talk = Desk().open()
    talk.send(b"EHLO c.example\r\n")
    assert repr(talk.session) == "<Session 1-0-1 c.example [127.0.0.1] ready>"


@pytest.mark.parametrize("size", [2048])
def test_an_idle_session_is_small(size):
    session = Desk().open().session
    assert not hasattr(session, "__dict__")
    own = [session, session.core, session.id, session.name, session.trace]
    assert sum(map(sys.getsizeof, own)) < size


def test_a_declared_size_holds_nothing():
    desk = Desk(at_once=False)
    talk = desk.open()
    assert talk.codes(b"EHLO c\r\nMAIL FROM:<a@c> SIZE=50000000\r\n") == [220, 250, 250]
    assert talk.codes(b"RCPT TO:<b@d>\r\nDATA\r\n") == [250, 354]
    assert desk.room.octets == 0
    talk.send(b"x" * 70 + b"\r\n")
    assert 72 <= desk.room.octets < 10_000
    talk.send(b".\r\n")
    assert desk.room.octets == 0 and len(desk.messages) == 1


def test_no_room_is_said_at_data_alone():
    desk = Desk()
    desk.room.open = False
    talk = desk.open()
    said = talk.codes(b"EHLO c\r\nMAIL FROM:<a@c> SIZE=100000\r\nRCPT TO:<b@d>\r\nDATA\r\n")
    assert said == [220, 250, 250, 250, 452]
    assert (desk.log[0]["command"], desk.log[0]["reason"]) == ("DATA", "no room")


def test_content_that_came_in_one_read_needs_room_too():
    talk = (desk := Desk()).open()
    talk.send(b"EHLO c\r\n" + ENVELOPE)
    talk.replies()
    desk.room.open = False
    assert talk.codes(BODY) == [452] and desk.messages == []
    desk.room.open = True
    assert talk.codes(ENVELOPE + BODY) == [250, 250, 354, 250]


def test_content_that_has_to_give_way():
    talk = (desk := Desk()).open()
    talk.send(b"EHLO c\r\n" + ENVELOPE + b"x" * 70 + b"\r\n")
    talk.replies()
    assert talk.session.held() == 72 and talk.session.origin() == bytes([127, 0, 0, 1])
    talk.session.give_way()
    assert talk.replies().startswith(b"421 4.3.1 mx.example.net ")
    assert talk.transport.eof and desk.room.octets == 0
    assert (desk.log[0]["command"], desk.log[0]["reason"]) == (".", "no room")


def test_content_that_is_refused_on_its_way_holds_nothing():
    talk = (desk := Desk()).open()
    talk.send(b"EHLO c\r\n" + ENVELOPE + b"x" * 70 + b"\r\n")
    assert desk.room.octets
    talk.send(b"\0\r\n")
    assert desk.room.octets == 0 and talk.session.core.in_content


def test_chunks_hold_room_between_each_other():
    talk = (desk := Desk(chunking=True)).open()
    talk.send(b"EHLO c\r\n" + ENVELOPE.replace(b"DATA\r\n", b"BDAT 5000\r\n") + b"x" * 5000)
    assert desk.room.octets >= 5000
    talk.send(b"BDAT 5000\r\n" + b"x" * 5000)
    assert desk.room.octets >= 10_000
    desk.room.open = False
    talk.send(b"BDAT 5000\r\n" + b"x" * 5000)
    assert desk.room.waiting == [talk.session] and not talk.transport.reading


@pytest.mark.parametrize("command", [b"NOOP", b"VRFY x", b"HELP", b"FOO", b"EXPN x", b"DATA x"])
def test_what_gets_nowhere_buys_no_time_within_a_transaction(command: bytes):
    desk = Desk(timeouts=Timeouts(command=30, idle=30), max_errors=1000)
    talk = desk.open()
    talk.send(b"EHLO c\r\nMAIL FROM:<a@c>\r\n")
    for _ in range(29):
        desk.loop.run(1)
        talk.send(command + b"\r\n")
    assert not talk.transport.eof
    talk.send(b"RCPT TO:<b@d>\r\n")
    for _ in range(29):
        desk.loop.run(1)
        talk.send(command + b"\r\n")
    assert not talk.transport.eof, "a recipient is progress"
    talk.replies()
    desk.loop.run(2)
    assert talk.replies().startswith(b"421 4.4.2 ")


def test_chunks_without_octets_buy_no_time():
    desk = Desk(timeouts=Timeouts(command=30, idle=30, data_block=20), chunking=True)
    talk = desk.open()
    talk.send(b"EHLO c\r\n" + ENVELOPE.replace(b"DATA\r\n", b"BDAT 5\r\nabc\r\n"))
    for _ in range(3):
        desk.loop.run(19)
        talk.send(b"BDAT 5\r\nabc\r\n")
    assert not talk.transport.eof
    for _ in range(25):
        desk.loop.run(1)
        talk.send(b"BDAT 0\r\n")
    assert talk.replies().splitlines()[-1].startswith(b"421 4.4.2 ")


@pytest.mark.parametrize("declared", [b"", b" SIZE=10"])
def test_content_that_was_not_declared_waits_half_way(declared: bytes):
    desk = Desk()
    talk = desk.open()
    talk.codes(b"EHLO c\r\nMAIL FROM:<a@c>" + declared + b"\r\nRCPT TO:<b@d>\r\nDATA\r\n")
    line = b"x" * 98 + b"\r\n"
    talk.send(b"Subject: s\r\n\r\n" + line * 600)
    desk.room.open = False
    talk.send(line * 200)
    assert desk.room.waiting == [talk.session] and not talk.transport.reading
    desk.loop.run(400)
    assert talk.replies() == b"" and not talk.transport.closed, "the delay is ours"
    desk.room.open = True
    desk.room.waiting.clear()
    talk.session.more_room()
    assert talk.transport.reading
    assert talk.codes(line * 2000 + b".\r\n") == [250]
    assert desk.room.octets == 0 and desk.messages[0][0].size > 280_000


def test_a_wait_for_room_has_an_end():
    desk = Desk(timeouts=Timeouts(content=600))
    talk = desk.open()
    talk.codes(b"EHLO c\r\nMAIL FROM:<a@c>\r\nRCPT TO:<b@d>\r\nDATA\r\n")
    desk.room.open = False
    talk.send((b"x" * 98 + b"\r\n") * 800)
    desk.loop.run(700)
    assert talk.replies().startswith(b"421 4.4.2 ")
    talk.lost()
    assert desk.room.octets == 0 and desk.room.waiting == []


def test_content_beyond_the_largest_size_needs_no_room():
    desk = Desk(max_size=100_000)
    talk = desk.open()
    talk.codes(b"EHLO c\r\nMAIL FROM:<a@c>\r\nRCPT TO:<b@d>\r\nDATA\r\n")
    talk.send((b"x" * 98 + b"\r\n") * 1500)
    desk.room.open = False
    assert talk.codes((b"x" * 98 + b"\r\n") * 5000 + b".\r\n") == [552]
    assert desk.room.waiting == [] and desk.room.octets == 0


def test_a_loop_with_a_buffer_of_its_own():
    talk = Desk().open()
    talk.session.data_received(b"EHLO c\r\nQUIT\r\n")
    assert talk.replies().endswith(b" closing\r\n")
    talk.session.data_received(b"NOOP\r\n")
    assert talk.replies() == b""


@pytest.mark.parametrize("parameters", [b"", b" SMTPUTF8"])
def test_our_header_is_written_where_room_was_left_for_it(parameters):
    desk = Desk(smtputf8=True)
    talk = desk.open()
    envelope = b"MAIL FROM:<a@c.example>%b\r\nRCPT TO:<b@example.com>\r\nDATA\r\n" % parameters
    talk.send(b"EHLO c\r\n" + envelope)
    room = talk.session.core.ahead
    talk.send(BODY)
    [(message, _)] = desk.messages
    assert message.body is not None
    assert message.body.index(b"Subject: s\r\n") == room
    assert message.body[room:] == b"Subject: s\r\n\r\nHello\r\n"


class Late(Member):
    """Answers each step when it is told to."""

    reads_content = True

    def __init__(self) -> None:
        self.said: list[asyncio.Future[Verdict]] = []

    def mail(self, client: object, params: object) -> asyncio.Future[Verdict]:
        self.said.append(asyncio.get_running_loop().create_future())
        return self.said[-1]

    def rcpt(self, client: object, recipient: str, params: object) -> asyncio.Future[Verdict]:
        return self.mail(client, params)

    def data(self, client: object) -> asyncio.Future[Verdict]:
        return self.mail(client, None)

    def message(self, arrival: object) -> asyncio.Future[Verdict]:
        return self.mail(arrival, None)


async def turns() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


def test_a_verdict_that_comes_later_is_waited_for_at_each_step() -> None:
    async def test() -> None:
        late = Late()
        desk = Desk(members=[late])
        talk = desk.open()
        talk.say(b"EHLO c\r\n")
        assert talk.say(ENVELOPE + BODY) == b""
        for code in (b"250 2.1.0 ", b"250 2.1.5 ", b"354 ", b"250 2.0.0 Ok: queued as "):
            assert talk.replies() == b"" and desk.messages == []
            late.said[-1].set_result(ACCEPTED)
            await turns()
            assert talk.replies().startswith(code)
        assert len(desk.messages) == 1 and len(late.said) == 4

    asyncio.run(test())


def test_a_client_that_goes_takes_the_late_verdict_on_its_envelope_with_it() -> None:
    async def test() -> None:
        late = Late()
        desk = Desk(members=[late])
        talk = desk.open()
        talk.say(b"EHLO c\r\nMAIL FROM:<a@c.example>\r\n")
        talk.lost()
        await turns()
        assert late.said[0].cancelled() and desk.log == []

    asyncio.run(test())


def test_a_late_refusal_is_a_rejection_and_the_next_mail_may_come() -> None:
    async def test() -> None:
        late = Late()
        desk = Desk(members=[late])
        talk = desk.open()
        talk.say(b"EHLO c\r\nMAIL FROM:<a@c.example>\r\nMAIL FROM:<b@c.example>\r\n")
        late.said[0].set_result(Verdict(550, "5.7.1", "No", "mine"))
        await turns()
        assert talk.replies() == b"550 5.7.1 No\r\n"
        assert [(r["sender"], r["reason"]) for r in desk.log] == [("a@c.example", "mine")]
        late.said[1].set_result(ACCEPTED)
        await turns()
        assert talk.replies() == b"250 2.1.0 Ok\r\n"

    asyncio.run(test())


def test_a_member_that_fails_behind_a_late_one_defers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Fails(Member):
        def rcpt(self, client: object, recipient: str, params: object) -> Verdict:
            raise RuntimeError("broken")

    async def test() -> None:
        late = Late()
        talk = Desk(members=[late, Fails()]).open()
        talk.send(b"EHLO c\r\nMAIL FROM:<a@c.example>\r\nRCPT TO:<b@example.com>\r\n")
        late.said[0].set_result(ACCEPTED)
        await turns()
        assert not talk.transport.aborted
        late.said[1].set_result(ACCEPTED)
        await turns()
        assert talk.replies().endswith(b"451 4.3.0 A local error, try again later\r\n")

    asyncio.run(test())
    assert "RuntimeError: broken" in capsys.readouterr().err


def test_a_submission_that_fails_behind_a_late_verdict_ends_the_connection(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class LateContent(Member):
        async def message(self, arrival: object) -> Verdict:
            await asyncio.sleep(0)
            return ACCEPTED

    async def test() -> None:
        desk = Desk(members=[LateContent()])
        desk.messages = None  # type: ignore[assignment]  # submitting fails
        talk = desk.open()
        talk.say(b"EHLO c\r\n" + ENVELOPE + BODY)
        await turns()
        assert talk.transport.aborted and desk.room.octets == 0

    asyncio.run(test())
    assert "Traceback" in capsys.readouterr().err


def test_a_session_that_fails_behind_a_late_verdict_is_ended() -> None:
    async def test() -> None:
        late = Late()
        talk = Desk(members=[late]).open()
        talk.say(b"EHLO c\r\nMAIL FROM:<a@c.example>\r\n")
        talk.transport.write = None  # type: ignore[assignment]  # writing fails
        late.said[0].set_result(ACCEPTED)
        await turns()
        assert talk.transport.aborted

    asyncio.run(test())
