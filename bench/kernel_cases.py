"""What `kernels` compares: a compiled function, its plain twin, and what else one would use.

Each case is a name and up to three calls without arguments: ours, the twin of tests/reference, the
standard library's or aiosmtpd's way. All do the same work on the same input.
"""

from __future__ import annotations

import email.parser
import io
import re
import smtplib
from collections.abc import Callable
from email._header_value_parser import get_angle_addr  # what aiosmtpd reads addresses with
from typing import NamedTuple

import msgspec

from mta._speedups import bodylog, command, gcra, headers, lines, reply, stuff
from mta._speedups.dots import ContentReader
from mta._speedups.sharedtable import SharedTable, format_table, table_size
from mta.loadgen.message import Composer, Load
from mta.maillog.records import RecordWriter
from mta.model import Kind, Message, Outcome, Peer, Recipient, Stages
from mta.smtp.client import ClientCore, ClientOptions, Transaction
from mta.smtp.server import Content, ServerCore, ServerOptions
from mta.spool import encoder
from mta.testing.clock import FakeClock
from tests.reference import client as client_twin
from tests.reference import command as command_twin
from tests.reference import content as content_twin
from tests.reference import encoder as encoder_twin
from tests.reference import gcra as gcra_twin
from tests.reference import headers as headers_twin
from tests.reference import lines as lines_twin
from tests.reference import logline as logline_twin
from tests.reference import server as server_twin
from tests.reference.bodylog import checksum as checksum_twin
from tests.reference.sharedtable import Table

Call = Callable[[], object]


class Case(NamedTuple):
    """One kernel."""

    name: str
    ours: Call
    twin: Call | None = None
    other: Call | None = None
    way: str = ""  # what `other` is

    def calls(self) -> dict[str, Call]:
        """The calls there are."""
        found = {"compiled": self.ours, "twin": self.twin, "other": self.other}
        return {name: call for name, call in found.items() if call is not None}


LOAD = Load(server="x:1", recipients={"user{n}@d{n}.example": 1.0}, size=10_240)
MESSAGE = Composer(LOAD).content(7, "user7@d7.example")
WIRE = MESSAGE + b".\r\n"
REPLY = b"250-mx.example\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250 CHUNKING\r\n"
PATH = b"<someone.else@mail.example.com> SIZE=10240 BODY=8BITMIME"
PARAMS = b" SIZE=10240 BODY=8BITMIME RET=HDRS"
ENVELOPE = b"MAIL FROM:<a@source.example> SIZE=10240\r\nRCPT TO:<b@mail.example>\r\nDATA\r\n"
BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)")
DROP = frozenset((b"x-tenant", b"x-campaign"))
NAMES = headers.Names(DROP)


def read_content() -> bytes:
    """Content as the server takes it."""
    reader = ContentReader(hint=len(WIRE))
    reader.feed(WIRE)
    return reader.body()


def read_lines() -> bytes:
    """Content line by line, as aiosmtpd's loop does."""
    kept = []
    for line in io.BytesIO(WIRE):
        if line == b".\r\n":
            break
        kept.append(line[1:] if line[:1] == b"." else line)
    return b"".join(kept)


def read_reply() -> int:
    """A reply of five lines."""
    reader = reply.ReplyReader()
    reader.feed(REPLY)
    return reader.code


def twin_reply() -> object:
    """The same by the twin."""
    buffer = client_twin.ReplyBuffer()
    buffer.data = REPLY
    return buffer.next()


CLIENT = smtplib.SMTP()


def smtplib_reply() -> object:
    """The same by smtplib."""
    CLIENT.file = io.BytesIO(REPLY)
    return CLIENT.getreply()


def session() -> int:
    """One transaction through the server's core."""
    core = ServerCore(OPTIONS)
    core.greeting()
    taken = 0
    for data in (b"EHLO client.example\r\n", ENVELOPE, WIRE):
        core.feed(data)
        while (event := core.next_event()) is not None:
            taken += type(event) is Content
            core.verdict()
    core.output()
    return taken


def session_twin() -> int:
    """One transaction through its twin."""
    core = server_twin.Server(OPTIONS)
    core.greeting()
    taken = 0
    for data in (b"EHLO client.example\r\n", ENVELOPE, WIRE):
        core.feed(data)
        while (event := core.next_event()) is not None:
            taken += event[0] == "content"
            core.verdict()
    return taken


OPTIONS = ServerOptions("mx.example")
SHARED = bytearray(table_size(64, 2))
format_table(SHARED, 64, 2, 1)
TABLE, PLAIN = SharedTable(SHARED), Table(2)
SLOT = TABLE.slot(b"site")
BUCKET, PLAIN_BUCKET = gcra.LocalBucket(1, 1_000_000), gcra_twin.TokenBucket(1, 1_000_000)


class Clock:
    """Time that goes on."""

    now = 0

    def tick(self) -> int:
        """A microsecond later."""
        Clock.now += 1000
        return Clock.now


CLOCK = Clock()


def connection() -> int:
    """One connection leased and given back."""
    TABLE.acquire(SLOT, 0, 100)
    return TABLE.release(SLOT, 0)


def connection_twin() -> object:
    """The same by the twin."""
    PLAIN.acquire(1, 0, 100)
    return PLAIN.release(1, 0)


RECORD = Message(bytes(16), "a@source.example", campaign="c1", received_us=1, size=10_240)
ROW = Recipient(RECORD, 0, "someone.else@mail.example.com", due_us=5, expires_us=9)
FIELDS = [getattr(ROW, name) for name in ("address", "attempts", "due_us", "expires_us", "where",
          "code", "enhanced", "text", "route", "notify", "orcpt")]  # fmt: skip
ENCODER = msgspec.msgpack.Encoder()

WRITER = RecordWriter("node", 1, FakeClock())
LINES = logline_twin.Lines(logline_twin.tail("node", 1))
SENT = Outcome(Kind.DELIVERED, 250, "2.0.0", "queued as 4F2A91", ".")
PEER, STAGES = Peer("mx.mail.example.com", "192.0.2.1:25", ""), Stages(1200, 0, 0, 900)


def line_twin() -> bytes:
    """A Delivery by the twin."""
    return LINES.delivery(1, ROW, SENT, PEER, STAGES, "", "mail.example.com", None, "normal")


def sending(core: ClientCore | client_twin.ClientTwin) -> None:
    """One transaction from the greeting on."""
    core.feed(b"220 mx\r\n")
    core.feed(b"250-mx.example\r\n250-PIPELINING\r\n250 SIZE 50000000\r\n")
    core.submit(Transaction("a@source.example", ["b@mail.example"], MESSAGE))
    core.feed(b"250 ok\r\n250 ok\r\n354 go\r\n")
    core.send_content(None)
    core.output()
    core.feed(b"250 2.0.0 queued\r\n")


CLIENT_OPTIONS = ClientOptions("client.example")

CASES = (
    Case("content, 10 kB", read_content, lambda: content_twin.read(WIRE), read_lines,
         "line by line, as aiosmtpd"),
    Case("dot-stuffing, 10 kB", lambda: stuff.dot_stuff(MESSAGE),
         lambda: client_twin.stuff(MESSAGE), lambda: re.sub(rb"(?m)^\.", b"..", MESSAGE),
         "re.sub, as smtplib"),
    Case("bare newline, 10 kB", lambda: lines.bare_newline(MESSAGE),
         lambda: lines_twin.bare_newline(MESSAGE), lambda: BARE.search(MESSAGE), "re"),
    Case("header, 6 fields", lambda: headers.scan(MESSAGE, NAMES),
         lambda: headers_twin.scan(MESSAGE, DROP),
         lambda: email.parser.BytesHeaderParser().parsebytes(MESSAGE), "email.parser"),
    Case("reply of 5 lines", read_reply, twin_reply, smtplib_reply, "smtplib"),
    Case("path", lambda: command.path(PATH, True), lambda: command_twin.path(PATH, True),
         lambda: get_angle_addr(PATH.decode()), "email, as aiosmtpd"),
    Case("parameters", lambda: command.params(PARAMS), lambda: command_twin.params(PARAMS),
         lambda: [word.partition(b"=") for word in PARAMS.split()], "split, unchecked"),
    Case("server session, 10 kB", session, session_twin),
    Case("client session, 10 kB", lambda: sending(ClientCore(CLIENT_OPTIONS)),
         lambda: sending(client_twin.ClientTwin(CLIENT_OPTIONS))),
    Case("rate limit", lambda: BUCKET.take(CLOCK.tick()),
         lambda: PLAIN_BUCKET.take(CLOCK.tick())),
    Case("connection lease", connection, connection_twin),
    Case("body's hash, 10 kB", lambda: bodylog.checksum(MESSAGE), lambda: checksum_twin(MESSAGE)),
    Case("recipient's record", lambda: encoder.encode_recipient(ROW),
         lambda: encoder_twin.encode_recipient(ROW),
         lambda: ENCODER.encode(FIELDS), "msgspec, fields at hand"),
    Case("line of a Delivery",
         lambda: WRITER.delivery(ROW, SENT, PEER, STAGES, site="mail.example.com"), line_twin,
         lambda: WRITER.delivery_by_struct(ROW, SENT, PEER, STAGES, "", "mail.example.com", None),
         "msgspec, by a struct"),
)  # fmt: skip
