from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterable
from typing import Any

import pytest

from mta._speedups import server
from mta._speedups.verdict import Reason
from mta.model import Flag
from mta.smtp.server import (
    STATES,
    Closed,
    Command,
    Content,
    Data,
    Event,
    Hello,
    Mail,
    Rcpt,
    Reset,
    ServerCore,
    ServerOptions,
)

ENVELOPE = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"


def session(**settings: object) -> ServerCore:
    """A session that has been greeted."""
    core = ServerCore(ServerOptions("mx.example", **settings))  # type: ignore[arg-type]
    core.greeting()
    assert core.output() == b"220 mx.example ESMTP Mailrace\r\n"
    return core


def run(core: ServerCore, *pieces: bytes, refuse: dict[type, bytes] | None = None) -> list[Event]:
    """Feed, answer every event at once, give the events."""
    events = []
    for piece in pieces:
        core.feed(piece)
        while (event := core.next_event()) is not None:
            events.append(event)
            if core.waiting:
                core.verdict((refuse or {}).get(type(event)))
    return events


def kinds(events: Iterable[Event]) -> list[type]:
    return [type(event) for event in events]


def test_the_events_of_a_message() -> None:
    core = session(mail_parameters=["AUTH"])
    events = run(
        core, b"EHLO c.example\r\nMAIL FROM:<a@b> SIZE=9 BODY=8bitmime AUTH=<>\r\n",
        b"RCPT TO:<@x:c@d>\r\nDATA\r\n..\xe9\r\n.\r\nQUIT\r\n",
    )  # fmt: skip
    hello, mail, rcpt, data, content, closed = events
    assert isinstance(hello, Hello) and (hello.name, hello.extended) == ("c.example", True)
    assert isinstance(mail, Mail) and (mail.sender, mail.size, mail.body8) == ("a@b", 9, True)
    assert mail.params == {"AUTH": "<>"}
    assert isinstance(rcpt, Rcpt) and (rcpt.recipient, rcpt.params) == ("c@d", None)
    assert isinstance(data, Data) and isinstance(closed, Closed)
    assert isinstance(content, Content) and (content.body, content.size) == (b".\xe9\r\n", 4)
    assert content.flags == Flag.EIGHT_BIT | Flag.DOT_LINES | Flag.BODY_8BITMIME
    assert core.closing and core.state == "closed" and core.messages == 1


def test_while_a_verdict_is_outstanding_nothing_is_parsed_and_reading_pauses() -> None:
    core = session(pipeline_limit=100)
    core.feed(b"EHLO c\r\n" + b"NOOP\r\n" * 30)
    assert isinstance(core.next_event(), Hello) and core.waiting
    assert (core.next_event(), core.output(), core.wants_read) == (None, b"", False)
    core.feed(b"VRFY x\r\n")
    core.verdict(b"250 hello\r\n")
    assert core.output() == b"250 hello\r\n"
    assert core.next_event() is None and core.wants_read
    assert core.output() == b"250 2.0.0 Ok\r\n" * 30 + (
        b"252 2.0.0 Cannot VRFY a user, but will take mail and try to deliver it\r\n"
    )


def test_the_state_behind_every_command() -> None:
    core, seen = session(), []
    for line in (b"EHLO c", b"MAIL FROM:<>", b"RCPT TO:<a@b>", b"DATA", b".", b"MAIL FROM:<>"):
        run(core, line + b"\r\n")
        seen.append(core.state)
    assert seen == ["ready", "mail", "rcpt", "content", "ready", "mail"]
    assert set(seen) < set(STATES)


@pytest.mark.parametrize(
    ("refused", "state", "recipients"), [(Rcpt, "mail", 0), (Data, "rcpt", 1), (Mail, "ready", 0)]
)
@pytest.mark.parametrize("code", [b"450 4.7.0", b"550 5.7.0"])
def test_where_a_refusal_leads(refused: type, state: str, recipients: int, code: bytes) -> None:
    core = session()
    run(core, b"EHLO c\r\n", ENVELOPE, refuse={refused: code + b" no\r\n"})
    assert (core.state, core.recipients) == (state, recipients)
    hard = code.startswith(b"5")
    assert core.errors == hard + (refused is Rcpt)  # DATA without recipients is an error


def test_refused_content_ends_the_transaction() -> None:
    core = session()
    run(core, b"EHLO c\r\n", ENVELOPE, b"x\r\n.\r\n", refuse={Content: b"451 4.3.0 no\r\n"})
    assert (core.state, core.messages, core.recipients) == ("ready", 0, 0)


def test_a_421_verdict_closes() -> None:
    core = session()
    events = run(core, b"EHLO c\r\nNOOP\r\n", refuse={Hello: b"421 4.3.0 later\r\n"})
    assert kinds(events) == [Hello, Closed]
    assert core.output() == b"421 4.3.0 later\r\n" and core.closing


def test_refused_content_is_told_with_its_reply() -> None:
    core = session(max_size=3)
    events = run(core, b"EHLO c\r\n", ENVELOPE, b"too long\r\n.\r\n")
    assert kinds(events)[-1] is Reset and isinstance(events[-1], Reset)
    refusal = events[-1].refusal
    assert refusal is not None and (refusal.code, refusal.reason) == (552, Reason.TOO_LARGE)
    assert refusal.text.startswith("The message is larger than 3 octets")
    assert core.output().endswith(refusal.reply())


def test_rset_is_told_without_a_reply() -> None:
    events = run(session(), b"RSET\r\n")
    assert isinstance(events[0], Reset) and events[0].refusal is None


def test_content_size_counts_what_is_passed_over() -> None:
    core = session(max_size=10)
    run(core, b"EHLO c\r\n", ENVELOPE, b"x" * 1000)
    assert core.in_content and core.content_size == 1000
    run(core, b"\r\n.\r\n")
    assert not core.in_content and core.content_size == 0


def test_an_overlong_line_is_passed_over_in_bounded_memory() -> None:
    core = session(max_command_line=512, pipeline_limit=512)
    for _ in range(1000):
        core.feed(b"x" * 600)
        assert core.next_event() is None and core.wants_read
    run(core, b"\r\nNOOP\r\n")
    first, second, _ = core.output().split(b"\r\n")
    assert first.startswith(b"500 5.5.2 The command line is longer than 512 octets")
    assert second == b"250 2.0.0 Ok"


@pytest.mark.parametrize(("length", "code"), [(512, b"250"), (513, b"500")])
def test_the_longest_line(length: int, code: bytes) -> None:
    core = session(max_command_line=512)
    run(core, b"NOOP " + b"x" * (length - 7) + b"\r\n")
    assert core.output().startswith(code)


def test_shutdown_waits_for_the_message_under_way() -> None:
    core = session()
    run(core, b"EHLO c\r\n", ENVELOPE)
    core.shutdown("Back soon")
    assert not core.closing
    core.feed(b"x\r\n.\r\nMAIL FROM:<next@x>\r\n")
    assert isinstance(core.next_event(), Content)
    core.shutdown()
    core.output()
    core.verdict()
    assert core.output() == (
        b"250 2.0.0 Ok\r\n421 4.3.2 mx.example Shutting down\r\n"
    ) and isinstance(core.next_event(), Closed)
    assert core.next_event() is None


def test_time_out_is_told_at_once_but_not_before_a_verdict() -> None:
    core = session()
    run(core, b"EHLO c\r\n", ENVELOPE, b"half a li")
    core.output()
    core.time_out()
    assert core.output() == b"421 4.4.2 mx.example Timeout, closing\r\n" and not core.in_content
    late = session()
    late.feed(b"EHLO c\r\n")
    assert isinstance(late.next_event(), Hello)
    late.time_out()
    assert late.output() == b"" and not late.closing
    late.verdict(b"250 hi\r\n")
    assert late.output() == b"250 hi\r\n421 4.4.2 mx.example Timeout, closing\r\n"


def test_a_connection_may_be_refused_in_the_greetings_place() -> None:
    core = ServerCore(ServerOptions("mx.example"))
    core.refuse(b"421 4.7.0 Too many connections\r\n")
    core.feed(b"EHLO c\r\n")
    assert core.output() == b"421 4.7.0 Too many connections\r\n" and core.closing
    assert isinstance(core.next_event(), Closed) and not core.wants_read
    with pytest.raises(RuntimeError):
        core.greeting()


def test_who_speaks_before_the_greeting_is_sent_away() -> None:
    core = ServerCore(ServerOptions("mx.example"))
    core.feed(b"EHLO c\r\n")
    assert isinstance(core.next_event(), Closed)
    assert core.output() == b"421 4.5.1 mx.example You spoke before the greeting\r\n"


def test_errors_are_forgiven_by_an_accepted_message() -> None:
    core = session(max_errors=2)
    run(core, b"EHLO c\r\nFOO\r\n", ENVELOPE, b".\r\n", b"FOO\r\n")
    assert (core.errors, core.closing) == (2, False)
    run(core, b"FOO\r\n")
    assert core.closing and core.output().endswith(
        b"421 4.7.0 mx.example Too many errors, closing\r\n"
    )


def test_commands_behind_a_refused_mail_are_no_errors() -> None:
    core = session(max_errors=2)
    run(core, b"EHLO c\r\n", b"MAIL FROM:<>\r\n" + b"RCPT TO:<a@b>\r\n" * 9 + b"DATA\r\n",
        refuse={Mail: b"452 4.3.1 full\r\n"})  # fmt: skip
    assert (core.errors, core.closing, core.output().count(b"503 5.5.1")) == (0, False, 10)


def test_parameters_that_a_listener_hands_on() -> None:
    core = session(mail_parameters=["RET"], rcpt_parameters=["NOTIFY"])
    lines = b"MAIL FROM:<a@b> ret=HDRS\r\nRCPT TO:<c@d> NOTIFY=NEVER\r\nRCPT TO:<c@d> RET=HDRS\r\n"
    _, mail, rcpt = run(core, b"EHLO c\r\n", lines)
    assert isinstance(mail, Mail) and mail.params == {"RET": "HDRS"}
    assert isinstance(rcpt, Rcpt) and rcpt.params == {"NOTIFY": "NEVER"}
    assert b"555 5.5.4 Parameter RET is not known here" in core.output()


def test_a_verdict_needs_its_event_and_a_reply() -> None:
    core = session()
    with pytest.raises(RuntimeError):
        core.verdict()
    core.feed(b"EHLO c\r\n")
    with pytest.raises(RuntimeError):  # made, but not taken
        core.verdict()
    core.next_event()
    for reply in (b"", b"250 no end", b"354 go\r\n"):
        with pytest.raises(ValueError):
            core.verdict(reply)
    core.verdict()
    assert core.state == "ready"


@pytest.mark.parametrize(
    "settings",
    [{"bare_newlines": "maybe"}, {"max_command_line": 80}, {"max_size": -1}, {"banner": "a\nb"}],
)
def test_settings_that_cannot_be_used(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        ServerOptions("mx.example", **settings)  # type: ignore[arg-type]


def test_what_ehlo_and_repr_say() -> None:
    core = session(keywords=["DSN"], max_size=0)
    run(core, b"EHLO c\r\n")
    assert core.output().split(b"\r\n") == [
        b"250-mx.example", b"250-PIPELINING", b"250-SIZE", b"250-8BITMIME",
        b"250-ENHANCEDSTATUSCODES", b"250 DSN", b"",
    ]  # fmt: skip
    assert repr(core) == "<ServerCore ready, 0 messages, 0 errors, 0 octets kept>"


def test_sessions_leave_nothing_behind() -> None:
    def work(times: int) -> int:
        for _ in range(times):
            core = session()
            run(core, b"EHLO c\r\n", ENVELOPE, b"x" * 100_000 + b"\r\n.\r\n", ENVELOPE, b"half")
            run(core, b"\n\r\n.\r\n", ENVELOPE, b"y" * 10_000)
            core.feed(b"z" * 1000)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = work(5)
        assert work(50) - before < 10_000
    finally:
        tracemalloc.stop()


def test_commands_of_the_shell_are_answered_by_it() -> None:
    core = session(commands=["AUTH", "NOOP"], max_errors=3)
    run(core, b"EHLO a\r\n")
    core.output()
    core.feed(b"auth LOGIN =\r\nc2VjcmV0\r\nMAIL FROM:<a@b>\r\n")
    first = core.next_event()
    assert isinstance(first, Command) and (first.verb, first.line) == ("AUTH", b"auth LOGIN =")
    assert "=" not in repr(first)
    assert core.waiting and core.next_event() is None
    with pytest.raises(RuntimeError):
        core.verdict(b"235 Ok\r\n")
    core.say(b"334 UGFzcw==\r\n")
    assert core.output() == b"334 UGFzcw==\r\n"
    core.proceed("line")
    second = core.next_event()
    assert isinstance(second, Command) and (second.verb, second.line) == ("", b"c2VjcmV0")
    core.say(b"235 Ok\r\n")
    with pytest.raises(ValueError):
        core.proceed("backwards")
    core.proceed()
    mail = core.next_event()
    assert isinstance(mail, Mail)
    core.verdict()
    with pytest.raises(RuntimeError):
        core.proceed()


def test_errors_that_the_shell_says_count() -> None:
    core = session(commands=["NOOP"], max_errors=2)
    for _ in range(2):
        core.feed(b"NOOP\r\n")
        assert isinstance(core.next_event(), Command)
        core.say(b"550-5.7.1 No\r\n")
        core.say(b"550 5.7.1 No\r\n")
        core.proceed()
    assert core.closing and core.errors == 2


@pytest.mark.parametrize(
    ("what", "state"), [("command", "mail"), ("reset", "ready"), ("start", "start")]
)
def test_ways_to_proceed(what: Any, state: str) -> None:
    core = session(commands=["RSET"])
    run(core, b"EHLO a\r\nMAIL FROM:<a@b>\r\n")
    core.feed(b"RSET\r\n")
    core.next_event()
    core.proceed(what)
    assert core.state == state


def test_a_long_answer_within_an_exchange() -> None:
    core = session(commands=["AUTH"], max_command_line=512)
    core.feed(b"AUTH X\r\n" + b"x" * 12_000 + b"\r\nAUTH X\r\n" + b"x" * 20_000 + b"\r\n")
    lines = []
    while isinstance(event := core.next_event(), Command):
        lines.append(event.line)
        core.proceed("line" if event.verb else "command")
    assert lines == [b"AUTH X", b"x" * 12_000, b"AUTH X", None]


def test_every_line_is_the_shells() -> None:
    core = ServerCore(
        ServerOptions("a", commands=["*"], bare_newlines="keep", max_command_line=512)
    )
    core.greeting(b"220 me\r\n")
    assert core.output() == b"220 me\r\n"
    wire = b"helo x\n\r\nM\xc3\x84IL a\rb\0\r\n" + b"x" * 600 + b"\r\nDATA\r\n"
    for octet in wire:
        core.feed(bytes([octet]))
    seen = []
    while isinstance(event := core.next_event(), Command):
        seen.append((event.verb, event.line))
        if event.verb == "DATA":
            core.take_content(0, 0)
        else:
            core.proceed()
    assert seen == [
        ("HELO", b"helo x"), ("", b""), ("", b"M\xc3\x84IL a\rb\0"), ("", None), ("DATA", b"DATA"),
    ]  # fmt: skip
    core.feed(b"..a\rb\n.\r\n\0\r\n.\r\nQUIT\r\nNOOP\r\n")
    content = core.next_event()
    assert isinstance(content, Content) and content.body == b".a\rb\n.\r\n\0\r\n"
    core.say(b"250 Ok\r\n")
    core.proceed()
    core.discard()
    assert core.next_event() is None
    assert core.output() == b"250 Ok\r\n" and not core.waiting


def test_a_refused_content_is_the_shells_too() -> None:
    core = ServerCore(ServerOptions("a", commands=["*"]))
    core.greeting()
    core.output()
    core.feed(b"DATA\r\n")
    core.next_event()
    core.take_content(4, 0)
    core.feed(b"too large\r\n.\r\nDATA\r\n")
    refused = core.next_event()
    assert isinstance(refused, Reset) and refused.refusal and refused.refusal.code == 552
    assert core.waiting and core.output() == b""
    core.proceed()
    assert isinstance(core.next_event(), Command)


def test_kinds_tell_what_events_do():
    core = ServerCore(ServerOptions("mx.example.net"))
    core.greeting()
    data = bytearray(b"EHLO c\r\nMAIL FROM:<a@c> SIZE=7\r\nRCPT TO:<b@d>\r\nDATA\r\n.x\r\n.\r\n")
    with pytest.raises(ValueError):
        core.read(data, len(data) + 1)
    core.read(data, len(data))
    assert core.next_kind() == server.HELLO and (core.name, core.greets_extended) == ("c", True)
    core.verdict()
    assert core.next_kind() == server.MAIL
    assert (core.envelope.address, core.envelope.size, core.envelope.params) == ("a@c", 7, None)
    assert core.status() == server.WAITING | server.WANTS_READ
    core.verdict()
    assert core.next_kind() == server.RCPT and core.envelope.address == "b@d"
    core.verdict()
    assert core.next_kind() == server.DATA
    core.ahead = 3
    core.verdict()
    assert core.next_kind() == server.CONTENT
    assert (core.flags, core.body()[3:], core.body()) == (0, b"x\r\n", None)
    core.verdict()
    assert (core.ahead, core.next_kind(), core.status()) == (0, server.NOTHING, server.WANTS_READ)


def test_the_room_ahead_is_for_one_transaction():
    core = ServerCore(ServerOptions("mx.example.net", max_size=4))
    core.greeting()
    envelope = b"MAIL FROM:<a@c>\r\nRCPT TO:<b@d>\r\nDATA\r\n"
    core.feed(b"EHLO c\r\n" + (envelope + b"too large\r\n.\r\n") + envelope + b"x\r\n.\r\n")
    bodies = []
    while kind := core.next_kind():
        if kind == server.DATA and not bodies and core.errors == 0:
            core.ahead = 100
        if kind == server.RESET:
            assert (
                core.reset_by
                and core.reset_by.code == 552
                and core.status() & server.IN_CONTENT == 0
            )
        elif kind == server.CONTENT:
            bodies.append(core.body())
            core.verdict()
        else:
            core.verdict()
    assert bodies == [b"x\r\n"]


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(
    "end",
    [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n.\r", b"\r.\n",
     b"\r\r\n.\r\n", b"\r\n.\r\r\n"],
)  # fmt: skip
def test_a_bare_newline_ends_the_session_with_the_content(end: bytes, cut: bool) -> None:
    core = session()
    evil = b"MAIL FROM:<evil@b>\r\nRCPT TO:<x@y>\r\nDATA\r\ntwo\r\n.\r\n"
    sent = b"EHLO c\r\n" + ENVELOPE + b"one" + end + evil + evil
    pieces = [sent[at : at + 1] for at in range(len(sent))] if cut else [sent]
    assert kinds(run(core, *pieces)) == [Hello, Mail, Rcpt, Data, Reset, Closed]
    *_, last = core.output().splitlines()
    assert last.startswith(b"550 5.5.2 ") and last.endswith(b", closing") and core.closing
    assert core.messages == 0


def test_what_waits_behind_a_refused_data_is_never_parsed() -> None:
    refuse = {Data: b"451 4.3.0 Not now\r\n"}
    evil = b"RSET\r\nMAIL FROM:<evil@b>\r\n"
    for first in (ENVELOPE, b"DATA\r\n", b"MAIL FROM:<a@b>\r\nDATA\r\n", b"DATA now\r\n"):
        core = session()
        events = run(core, b"EHLO c\r\n" + first + evil, refuse=refuse)
        assert kinds(events)[-1] is Closed and Reset not in kinds(events)
        assert core.output().splitlines()[-1].startswith(b"503 5.5.1 Content came ")
        assert core.closing and not core.pending()
    core = session()
    run(core, b"EHLO c\r\n" + ENVELOPE, evil, refuse=refuse)
    assert not core.closing and core.state == "mail", "a client may go on when it has the reply"
    core = session(chunking=True)
    run(
        core,
        b"EHLO c\r\n" + ENVELOPE[:-6] + b"BDAT 4\r\nRSETBDAT 4 LAST\r\nRSETNOOP\r\n",
        refuse=refuse,
    )
    assert not core.closing, "the octets of a chunk are counted"
