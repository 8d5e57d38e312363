"""The server core against its twin: any octets, cut anywhere, with verdicts early and late."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mta.smtp.server import (
    Closed,
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
from tests.reference.server import Reply, Server, summary

PIECES = [
    b"EHLO a.example\r\n", b"HELO a\r\n", b"EHLO\r\n", b"MAIL FROM:<>\r\n", b"QUIT\r\n",
    b"MAIL FROM:<a@b.example> SIZE=20 BODY=8BITMIME\r\n", b"mail from: <x@y> AUTH=<>\r\n",
    b"MAIL FROM:<a@b> SIZE=99999\r\n", b"RCPT TO:<c@d.example>\r\n", b"RCPT TO:<postmaster>\r\n",
    b"rcpt to:<@r,@s:\"q q\"@[IPv6:::1]>  \r\n", b"RCPT TO:<a..b@c>\r\n", b"RCPT TO:<\xe9@c>\r\n",
    b"DATA\r\n", b"DATA x\r\n", b"RSET\r\n", b"NOOP x\r\n", b"VRFY x\r\n", b"VRFY\r\n", b"HELP\r\n",
    b"EXPN x\r\n", b"STARTTLS\r\n", b"FOO\r\n", b"GET / HTTP/1.1\r\n", b"NO\0OP\r\n", b"\r\n",
    b".\r\n", b"\r\n.\r\n", b"text\r\n", b"..dot\r\n", b".x\r\n", b"\xe9\r\n", b"\n.\r\n",
    b"\r.\r\n", b"\n.\n", b"\r\n.\n", b".\r", b"\r\r\n", b"\r", b"\n", b"\0", b".", b"x" * 300,
    b"y" * 990, b" ", b"a@b>", b"<", b"BDAT 3\r\n", b"BDAT 0\r\n", b"bdat 5  last\r\n",
    b"BDAT 0 LAST\r\n", b"BDAT 60\r\n", b"BDAT\r\n", b"BDAT 1 2\r\n", b"BDAT 9LAST\r\n",
    b"BDAT 1234567890123456789\r\n", b"BDAT 6 LAST\r\n.\r\n\r.x", b"BDAT 4\r\na\r\nb",
    b"BDAT 2\r\n\xe9\r", b"BDAT 3 LAST\r\n\n.\0", b"RCPT TO:<\xc3\xa9@c>\r\n",
    b"MAIL FROM:<\xc3\xa9@\xc3\xa9> SMTPUTF8\r\n", b"MAIL FROM:<a@b> BODY=BINARYMIME\r\n",
    b"MAIL FROM:<\xc3@b> SMTPUTF8\r\n", b"MAIL FROM:<a@b> SMTPUTF8=1 RET=\xc3\xa9\r\n",
    b"RCPT TO:<c@d> ORCPT=utf-8;\xc3\xa9@x NOTIFY=NEVER\r\n", b"VRFY \xc3\xa9\r\n",
    b"VRFY \xc3\xa9 smtputf8\r\n",
]  # fmt: skip
COURSE = [
    b"EHLO a\r\nMAIL FROM:<a@b>\r\n", b"RCPT TO:<c@d>\r\nDATA\r\n", b"RCPT TO:<c@d>\r\n",
    b"EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", b"\r\n.\r\n",
    b"EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 2\r\nab",
    b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 60\r\n", b"BDAT 41\r\n",
    b"MAIL FROM:<a@b> SMTPUTF8 BODY=BINARYMIME\r\nRCPT TO:<\xc3\xa9@d>\r\nBDAT 2 LAST\r\n\r\0",
]  # fmt: skip
piece = st.one_of(
    st.sampled_from(COURSE), st.sampled_from(PIECES), st.sampled_from(PIECES),
    st.binary(max_size=12),
)  # fmt: skip
cuts = st.lists(st.integers(0, 4000), max_size=12)
verdicts = st.lists(
    st.sampled_from([None, None, None, (450, "4.2.0"), (550, "5.7.1"), (421, "4.3.0")]),
    max_size=12,
)
options = st.builds(
    ServerOptions,
    st.just("mx.example"),
    max_size=st.sampled_from([0, 40, 5000]),
    max_recipients=st.sampled_from([0, 1]),
    max_command_line=st.just(512),
    max_text_line=st.sampled_from([0, 9]),
    max_errors=st.sampled_from([0, 3]),
    max_messages=st.sampled_from([0, 1]),
    bare_newlines=st.sampled_from(["reject", "fix"]),
    mail_parameters=st.just(["RET"]),
    rcpt_parameters=st.sampled_from([[], ["ORCPT", "NOTIFY"]]),
    chunking=st.just(True),
    binarymime=st.booleans(),
    smtputf8=st.booleans(),
)


def flat(event: Event) -> tuple[Any, ...]:
    """An event as the twin tells it."""
    match event:
        case Hello():
            return "hello", event.name, event.extended
        case Mail():
            kinds = event.body8, event.binary, event.utf8
            return "mail", event.sender, event.size, *kinds, event.params
        case Rcpt():
            return "rcpt", event.recipient, event.params
        case Data():
            return ("data",)
        case Content():
            assert event.size == len(event.body)
            return "content", event.body, event.flags
        case Reset():
            return "reset", summary(event.refusal.reply())[0] if event.refusal else None
        case Closed():
            return ("closed",)


def chunks(data: bytes, at: list[int]) -> list[bytes]:
    """`data` cut at these places."""
    places = [0, *sorted(place for place in at if place < len(data)), len(data)]
    return [data[a:b] for a, b in zip(places, places[1:], strict=False)]


class Pair:
    """Core and twin side by side."""

    def __init__(self, options: ServerOptions, verdicts: list[Reply | None]) -> None:
        self.core, self.twin, self.verdicts = ServerCore(options), Server(options), verdicts[::-1]
        self.said: list[Reply] = []
        self.core.greeting()
        self.twin.greeting()
        self.outstanding = False

    def feed(self, data: bytes) -> None:
        copy = bytearray(data)
        self.core.feed(copy)
        copy[:] = b"\xff" * len(copy)  # the buffer is used again
        self.twin.feed(data)

    def run(self, events: int = 1_000_000) -> None:
        """Take up to so many events, answering each before the next."""
        while events:
            if self.outstanding:
                self.answer()
            event = self.core.next_event()
            assert (flat(event) if event else None) == self.twin.next_event()
            if event is None:
                break
            self.outstanding = not isinstance(event, Reset | Closed)
            events -= 1
        self.compare()

    def answer(self) -> None:
        assert self.core.waiting and self.core.next_event() is None
        reply = self.verdicts.pop() if self.verdicts else None
        self.core.verdict(
            None if reply is None else b"%d %b no\r\n" % (reply[0], reply[1].encode())
        )
        self.twin.verdict(reply)
        self.outstanding = False

    def compare(self) -> None:
        self.said += summary(self.core.output())
        assert self.said == self.twin.replies
        assert (self.core.state, self.core.closing) == (self.twin.state, self.twin.closing)
        assert (self.core.messages, self.core.recipients) == (
            self.twin.messages,
            self.twin.recipients,
        )


@settings(max_examples=600, deadline=None)
@given(options, st.lists(piece, max_size=20), cuts, verdicts)
def test_core_and_twin_say_the_same(
    options: ServerOptions, pieces: list[bytes], at: list[int], verdicts: list[Reply | None]
) -> None:
    pair = Pair(options, verdicts)
    for chunk in chunks(b"".join(pieces), at):
        pair.feed(chunk)
        pair.run()


@settings(max_examples=300, deadline=None)
@given(options, st.lists(piece, max_size=20), cuts, verdicts, st.lists(st.integers(0, 2)))
def test_late_verdicts_change_nothing(
    options: ServerOptions,
    pieces: list[bytes],
    at: list[int],
    verdicts: list[Reply | None],
    steps: list[int],
) -> None:
    pair = Pair(options, verdicts)
    for number, chunk in enumerate(chunks(b"".join(pieces), at)):
        pair.feed(chunk)
        if number < len(steps) and steps[number]:
            pair.run(steps[number])
    pair.run()


@settings(max_examples=200, deadline=None)
@given(st.lists(piece, max_size=12), cuts, st.sampled_from(["shutdown", "time_out"]))
def test_a_farewell_never_comes_between_an_event_and_its_verdict(
    pieces: list[bytes], at: list[int], act: str
) -> None:
    pair = Pair(ServerOptions("mx.example"), [])
    first, *rest = chunks(b"".join(pieces), at[:1]) or [b""]
    pair.feed(first)
    pair.run(3)
    getattr(pair.core, act)()
    getattr(pair.twin, act)()
    pair.feed(b"".join(rest))
    pair.run()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=3000), cuts)
def test_binary_garbage(data: bytes, at: list[int]) -> None:
    pair = Pair(ServerOptions("mx.example", max_errors=0), [])
    for chunk in chunks(data, at):
        pair.feed(chunk)
        pair.run()
