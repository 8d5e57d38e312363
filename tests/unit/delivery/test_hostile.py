"""A hostile server, step by step: the session never hangs, and each message gets its due.

A row has what the server says at each of its turns, and how it ends: it stalls, resets the
connection, closes it, or goes on as it should. Every row is fed whole and octet by octet.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from mta.delivery.transports.smtp import Timeouts
from mta.model import Kind
from tests.unit.delivery.fakes import attempt
from tests.unit.delivery.test_transport import EHLO, TAKEN, FakeFeeder, Rig

HELLO = b"220 hi\r\n"
NO_PIPE = b"250 mx\r\n"
BDAT = b"250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n"
STALL, RESET, CLOSE, OPEN = "stall", "reset", "close", "open"
DONE, LATER, NO, BACK = Kind.DELIVERED, Kind.DEFERRED, Kind.BOUNCED, Kind.UNATTEMPTED


class Row(NamedTuple):
    """One server."""

    name: str
    says: list[bytes]
    ends: str
    kinds: list[list[Kind]]  # of the attempts that were taken, in order
    why: str = ""  # what the connection's outcome says; "" where it has none


ROWS = [
    # Greetings.
    Row("refused", [b"554 go away\r\n"], OPEN, [], "go away"),
    Row("refused for now", [b"421 later\r\n"], OPEN, [], "later"),
    Row("a 3xx greeting", [b"354 hi\r\n"], OPEN, [], "354 does not belong here"),
    Row("no SMTP", [b"HTTP/1.1 400 Bad Request\r\n\r\n"], OPEN, [], "malformed"),
    Row("SSH", [b"SSH-2.0-OpenSSH_9.2\r\n"], OPEN, [], "malformed"),
    Row("TLS", [b"\x15\x03\x01\x00\x02\x02\x0a"], STALL, [], "malformed"),
    Row("NULs", [b"\0" * 5000], OPEN, [], "malformed"),
    Row("an endless line", [b"220 " + b"x" * 5000], OPEN, [], "malformed"),
    Row("endless lines", [b"220-x\r\n" * 200], OPEN, [], "malformed"),
    Row("an endless greeting, dripping", [b"220-x\r\n" * 100], STALL, [], "timed out"),
    Row("a number too small", [b"199 hi\r\n"], OPEN, [], "malformed"),
    Row("a number too large", [b"600 hi\r\n"], OPEN, [], "malformed"),
    Row("two greetings", [HELLO + HELLO, EHLO, b"250 a\r\n", b"250 b\r\n"], OPEN, [[LATER]],
        "does not belong"),
    Row("a greeting by LF", [b"220 hi\n", EHLO, TAKEN, b"250 ok\n"], OPEN, [[DONE]]),
    # EHLO.
    Row("no EHLO, no HELO", [HELLO, b"500 what\r\n", b"500 what\r\n"], OPEN, [], "what"),
    Row("HELO alone", [HELLO, b"502 no\r\n", NO_PIPE, b"250 a\r\n", b"250 b\r\n", b"354 c\r\n",
                       b"250 d\r\n"], OPEN, [[DONE]]),
    Row("4xx to EHLO", [HELLO, b"450 busy\r\n"], OPEN, [], "busy"),
    Row("3xx to EHLO", [HELLO, b"354 what\r\n"], OPEN, [], "does not belong"),
    Row("absurd keywords", [HELLO, b"250-mx\r\n250-SIZE -1\r\n250-SIZE 99999999999999999999999\r\n"
                            b"250-LIMITS RCPTMAX=0 MAILMAX=x RCPTMAX\r\n250-\xff\xfe\r\n250 \r\n",
                            b"250 a\r\n", b"250 b\r\n", b"354 c\r\n", b"250 d\r\n"],
        OPEN, [[DONE]]),
    Row("a SIZE of one octet", [HELLO, b"250-mx\r\n250 SIZE 1\r\n"], OPEN, [[NO]]),
    Row("endless keywords", [HELLO, b"250-X\r\n" * 130], OPEN, [], "malformed"),
    # The envelope.
    Row("3xx to MAIL", [HELLO, EHLO, b"354 go\r\n"], OPEN, [[LATER]], "does not belong"),
    Row("3xx to RCPT", [HELLO, EHLO, b"250 a\r\n354 go\r\n"], OPEN, [[LATER]], "does not belong"),
    Row("2xx to DATA", [HELLO, EHLO, b"250 a\r\n250 b\r\n250 c\r\n"], OPEN, [[LATER]],
        "does not belong"),
    Row("421 to MAIL", [HELLO, EHLO, b"421 enough\r\n"], OPEN, [[LATER]], "enough"),
    Row("421 to RCPT", [HELLO, EHLO, b"250 a\r\n421 enough\r\n"], OPEN, [[LATER]], "enough"),
    Row("421 to DATA", [HELLO, EHLO, b"250 a\r\n250 b\r\n421 enough\r\n"], OPEN, [[LATER]],
        "enough"),
    Row("other codes in one reply", [HELLO, EHLO, b"250 a\r\n250-b\r\n550 no\r\n554 c\r\n"], OPEN,
        [[NO]]),
    Row("replies before their commands", [HELLO, EHLO, TAKEN + b"250 taken\r\n" * 3], OPEN,
        [[DONE]], ""),
    Row("354 to nobody", [HELLO, EHLO, b"250 a\r\n550 b\r\n354 go\r\n", b"554 none\r\n"], OPEN,
        [[NO]]),
    Row("garbage behind 354", [HELLO, EHLO, TAKEN + b"x" * 70_000], OPEN, [[LATER]],
        "malformed"),
    # The content.
    Row("3xx to the dot", [HELLO, EHLO, TAKEN, b"354 more\r\n"], OPEN, [[LATER]],
        "does not belong"),
    Row("421 to the dot", [HELLO, EHLO, TAKEN, b"421 bye\r\n"], OPEN, [[LATER]], "bye"),
    Row("nonsense at the dot", [HELLO, EHLO, TAKEN, b"ok\r\n"], OPEN, [[LATER]], "malformed"),
    Row("half a reply at the dot", [HELLO, EHLO, TAKEN, b"250-taken\r\n250"], RESET, [[LATER]],
        "unknown"),
    Row("speaks while idle", [HELLO, EHLO, TAKEN, b"250 ok\r\n", b"250 what\r\n"], OPEN, [[DONE]],
        "malformed"),
    Row("421 while idle", [HELLO, EHLO, TAKEN, b"250 ok\r\n", b"421 idle\r\n"], OPEN, [[DONE]]),
    # Chunks.
    Row("354 to a chunk", [HELLO, BDAT, b"250 a\r\n250 b\r\n", b"354 go\r\n"], OPEN, [[LATER]],
        "does not belong"),
    Row("a chunk refused", [HELLO, BDAT, b"250 a\r\n250 b\r\n", b"554 no\r\n"], OPEN, [[NO]]),
    Row("a chunk unanswered", [HELLO, BDAT, b"250 a\r\n250 b\r\n"], RESET, [[LATER]], "unknown"),
]  # fmt: skip

# What the server has said when it falls silent or goes, and what then became of the message.
STEPS = {
    "greeting": ([], []),
    "hello": ([HELLO], []),
    "mail": ([HELLO, EHLO], [[LATER]]),
    "rcpt": ([HELLO, EHLO, b"250 a\r\n"], [[LATER]]),
    "data": ([HELLO, EHLO, b"250 a\r\n250 b\r\n"], [[LATER]]),
    "dot": ([HELLO, EHLO, TAKEN], [[LATER]]),
}
WORDS = {
    "greeting": "greeting", "hello": "EHLO", "mail": "MAIL", "rcpt": "RCPT", "data": "DATA",
    "dot": "unknown",
}  # fmt: skip


class Server:
    """Says its lines to a connection, cut as asked."""

    def __init__(self, says: list[bytes], by_octet: bool, *, messages: int = 1) -> None:
        chunks = any(b"CHUNKING" in said for said in says)
        more = {"chunking": "always"} if chunks else {}
        self.rig = Rig(FakeFeeder(*(attempt() for _ in range(messages))), **more)
        for said in says:
            for piece in (said[i : i + 1] for i in range(len(said))) if by_octet else [said]:
                self.say(piece)

    def say(self, piece: bytes) -> None:
        for start in range(0, len(piece), 4096):
            if not self.rig.conn.closed:
                self.rig.read(piece[start : start + 4096])

    def end(self, how: str) -> None:
        conn = self.rig.conn
        if how == STALL:
            self.rig.loop.advance(700)
        elif how == RESET:
            conn.connection_lost(ConnectionResetError(104, "Connection reset by peer"))
        elif how == CLOSE:
            conn.connection_lost(None)

    def is_over(self) -> bool:
        """Ended, or idle at a boundary with a deadline."""
        conn = self.rig.conn
        return conn.closed or (conn.core.idle and conn.core.in_flight == 0)


@pytest.mark.parametrize("by_octet", [False, True], ids=["whole", "octets"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_server_gets_its_due(row: Row, by_octet: bool) -> None:
    server = Server(row.says, by_octet)
    server.end(row.ends)
    feeder = server.rig.feeder
    kinds = server.rig.kinds()
    assert kinds == row.kinds, feeder.end
    assert server.is_over()
    if row.why:
        assert feeder.end is not None and feeder.end.kind == LATER and row.why in feeder.end.text
        assert feeder.told[-1] == "closed" and feeder.told.count("closed") == 1
        assert not server.rig.deadlines
    # Whatever it was, nothing is left that waits for ever.
    server.rig.loop.advance(2000)
    assert server.rig.conn.closed and not server.rig.deadlines and not server.rig.loop.timers
    assert len(feeder.done) + len(feeder.waiting) == 1


@pytest.mark.parametrize("step", STEPS)
def test_a_stall_ends_at_its_deadline(step: str) -> None:
    says, kinds = STEPS[step]
    server = Server(says, by_octet=False)
    rig, seconds = server.rig, getattr(Timeouts(), step)
    rig.loop.advance(seconds - 1)
    assert not rig.conn.closed and not rig.feeder.done
    rig.loop.advance(3)
    assert rig.conn.closed and rig.transport.end == "aborted"
    assert rig.kinds() == kinds
    assert rig.feeder.end is not None and WORDS[step] in rig.feeder.end.text


@pytest.mark.parametrize("step", STEPS)
def test_a_stall_cannot_be_dragged_out_by_drips(step: str) -> None:
    says, kinds = STEPS[step]
    server = Server(says, by_octet=False)
    rig, seconds = server.rig, getattr(Timeouts(), step)
    for _ in range(int(seconds) // 10 + 1):
        if not rig.conn.closed:
            rig.read(b"2")
        rig.loop.advance(10)
    assert rig.conn.closed and rig.kinds() == kinds


@pytest.mark.parametrize("how", [RESET, CLOSE])
@pytest.mark.parametrize("step", STEPS)
def test_a_loss_at_each_step(step: str, how: str) -> None:
    says, kinds = STEPS[step]
    server = Server(says, by_octet=False)
    server.end(how)
    rig = server.rig
    assert rig.conn.closed and rig.kinds() == kinds and not rig.deadlines
    assert rig.feeder.end is not None and rig.feeder.end.kind == LATER
    assert WORDS[step] in rig.feeder.end.text
    assert ("reset by peer" in rig.feeder.end.text) is (how == RESET)


@pytest.mark.parametrize(
    ("reply", "kinds"),
    [
        (b"", [[LATER], [BACK]]),
        (b"250 one\r\n", [[DONE], [BACK]]),
        (b"250 one\r\n250 a\r\n", [[DONE], [LATER]]),
        (b"250 one\r\n503 what\r\n", [[DONE], [BACK]]),
        (b"451 later\r\n550 bad sender\r\n", [[LATER], [NO]]),
        (b"250 one\r\n354 what\r\n", [[DONE], [BACK]]),
    ],
)
def test_what_was_sent_ahead_is_not_blamed(reply: bytes, kinds: list[list[Kind]]) -> None:
    server = Server([HELLO, EHLO, TAKEN, reply], by_octet=False, messages=2)
    server.end(RESET)
    assert server.rig.kinds() == kinds
    assert server.rig.conn.closed
