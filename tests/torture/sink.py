"""Receivers that write down every connection, attempt and copy: `python -m tests.torture.sink`.

The standard library alone, so that nothing the server does wrong is done here in the same way.
Each MANNER gets a port of its own, and the first line of output is the list of ports as JSON:

    accept        takes everything
    slow:S        replies to the final dot after S seconds
    greylist:S    450 to a recipient until S seconds after its first attempt
    unknown       550 5.1.1 to local parts that begin with "unknown"
    defer         451 to everything
    drop:N        every N-th transaction loses its connection: before the content, or, every other
                  time, between the final dot and its reply
    closing:N     421 after N messages on a connection
    stall:S       sends an octet of a reply each S seconds

Records are JSON lines, in the order of events; times are seconds since 1970. All have `event`,
`time`, `port` (the place in the list) and `connection`:

    open, close   of a connection
    attempt       MAIL came
    copy          a content came to its final dot: sender, recipients that were taken, hash and size
                  without our Received field, number (of a load), failed (recipients that a DSN
                  names), began (MAIL), dot, mark; `cut`: the connection was ended instead of the
                  reply, which else left at `time`

`mark` is the first u64 of the file --clock, read when the final dot came and before its reply.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import mmap
import re
import signal
import struct
import sys
import time
from pathlib import Path
from typing import IO, Any, NamedTuple

from tests.torture.letters import NUMBER, hashed

LARGEST = 64 << 20  # octets of a content
EXTENSIONS = ("sink.example", "PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "SIZE 64000000")
END = b"\r\n.\r\n"
FAILED = re.compile(rb"(?mi)^Final-Recipient: *rfc822; *(\S+?)\r?$")
NUMBERED = re.compile(rb"(?mi)^%b: *(\d+)\r?$" % NUMBER.encode())
ADDRESS = re.compile(rb"<([^>]*)>")


class Manner(NamedTuple):
    """How one port behaves."""

    name: str
    value: float = 0.0


def manner(text: str) -> Manner:
    """A manner from its text form."""
    name, _, value = text.partition(":")
    return Manner(name, float(value or 0))


class Recorder:
    """Writes the records; each is in the file before a reply that follows it leaves."""

    def __init__(self, file: IO[str], clock: Path | None) -> None:
        self._file = file
        self._clock: mmap.mmap | None = None
        if clock is not None:
            with clock.open("rb") as opened:
                self._clock = mmap.mmap(opened.fileno(), 8, access=mmap.ACCESS_READ)

    def write(self, event: str, port: int, connection: int, **fields: Any) -> None:
        """One record, with the time of now unless it is given."""
        record = {"event": event, "time": time.time(), "port": port, "connection": connection}
        self._file.write(json.dumps(record | fields) + "\n")
        self._file.flush()

    def mark(self) -> int:
        """What the clock file says."""
        return 0 if self._clock is None else int(struct.unpack_from("<Q", self._clock)[0])


class Transaction:
    """What MAIL began."""

    def __init__(self, sender: str) -> None:
        self.sender, self.began = sender, time.time()
        self.recipients: list[str] = []


class Port:
    """One manner, over all its connections."""

    def __init__(self, number: int, manner: Manner, recorder: Recorder) -> None:
        self.number, self.manner, self._recorder = number, manner, recorder
        self._connections, self._transactions = itertools.count(1), itertools.count(1)
        self._first: dict[str, float] = {}  # greylist: first attempt of a recipient

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection to its end."""
        number = next(self._connections)
        self._recorder.write("open", self.number, number)
        try:
            await Session(self, self._recorder, number, reader, writer).run()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._recorder.write("close", self.number, number)
            writer.close()

    def judge(self, recipient: str) -> bytes:
        """The reply to a RCPT."""
        match self.manner.name:
            case "defer":
                return b"451 4.3.0 Not now"
            case "unknown" if recipient.startswith("unknown"):
                return b"550 5.1.1 No such user here"
            case "greylist":
                now = time.monotonic()
                if now - self._first.setdefault(recipient, now) < self.manner.value:
                    return b"450 4.7.1 Greylisted, come back later"
        return b"250 2.1.5 Ok"

    def cut(self) -> str:
        """Where this transaction loses its connection: "", "data" or "dot"."""
        count, turn = next(self._transactions), int(self.manner.value)
        if self.manner.name != "drop" or count % turn:
            return ""
        return "dot" if count // turn % 2 else "data"


class Session:
    """One connection."""

    def __init__(
        self,
        port: Port,
        recorder: Recorder,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._port, self._recorder, self._number = port, recorder, number
        self._reader, self._writer = reader, writer
        self._transaction: Transaction | None = None
        self._taken = 0
        self._held = b""  # of a reply, to be sent octet by octet

    async def run(self) -> None:
        """Greet, and answer until either side has enough."""
        self._reply(b"220 sink.example ESMTP")
        await self._flush()
        going = True
        while going:
            line = (await self._reader.readuntil(b"\n")).strip()
            going = await self._command(line[:4].upper(), line)
            await self._flush()

    def _reply(self, *lines: bytes) -> None:
        text = b"".join(line + b"\r\n" for line in lines)
        if self._port.manner.name == "stall":
            self._held += text
        else:
            self._writer.write(text)

    async def _flush(self) -> None:
        """See that replies leave, each at its manner's pace."""
        held, self._held = self._held, b""
        for octet in held:
            self._writer.write(bytes((octet,)))
            await asyncio.sleep(self._port.manner.value)
        await self._writer.drain()

    async def _command(self, verb: bytes, line: bytes) -> bool:
        """Answer one line; False ends the connection."""
        if verb == b"DATA":
            return await self._data()
        if verb == b"EHLO":
            names = [name.encode() for name in EXTENSIONS]
            self._reply(*(b"250-" + name for name in names[:-1]), b"250 " + names[-1])
        elif verb == b"MAIL":
            self._mail(line)
        elif verb == b"RCPT":
            self._rcpt(line)
        elif verb == b"QUIT":
            self._reply(b"221 2.0.0 Bye")
            return False
        elif verb in (b"RSET", b"NOOP", b"HELO"):
            self._transaction = self._transaction if verb == b"NOOP" else None
            self._reply(b"250 2.0.0 Ok")
        else:
            self._reply(b"500 5.5.2 What?")
        return True

    def _mail(self, line: bytes) -> None:
        self._recorder.write("attempt", self._port.number, self._number)
        manner = self._port.manner
        if manner.name == "closing" and self._taken >= manner.value:
            self._reply(b"421 4.7.0 Enough on this connection")
            return
        self._transaction = Transaction(_address(line))
        self._reply(b"250 2.1.0 Ok")

    def _rcpt(self, line: bytes) -> None:
        if self._transaction is None:
            return self._reply(b"503 5.5.1 MAIL first")
        reply = self._port.judge(_address(line))
        if reply.startswith(b"250"):
            self._transaction.recipients.append(_address(line))
        return self._reply(reply)

    async def _data(self) -> bool:
        transaction, self._transaction = self._transaction, None
        if transaction is None or not transaction.recipients:
            self._reply(b"554 5.5.1 No valid recipients")
            return True
        cut = self._port.cut()
        if cut == "data":
            return False
        self._reply(b"354 Go on")
        await self._flush()
        content = await self._content()
        dot, mark = time.time(), self._recorder.mark()
        if self._port.manner.name == "slow":
            await asyncio.sleep(self._port.manner.value)
        self._taken += 1
        self._recorder.write(
            "copy", self._port.number, self._number, **described(content),
            sender=transaction.sender, recipients=transaction.recipients,
            began=transaction.began, dot=dot, mark=mark, cut=cut == "dot",
        )  # fmt: skip
        if cut:
            return False
        self._reply(b"250 2.0.0 Taken")
        return True

    async def _content(self) -> bytes:
        """Up to the final dot, unstuffed."""
        content = await self._reader.readuntil(END)
        content = content[: -len(END) + 2]
        return re.sub(rb"(?m)^\.", b"", content)


def described(content: bytes) -> dict[str, Any]:
    """What a record says of a content; our Received field is no part of it."""
    own = without_received(content)
    numbered = NUMBERED.search(content)
    return {
        "number": int(numbered[1]) if numbered else None,
        "failed": [found.decode() for found in FAILED.findall(content)],
        "hash": hashed(own),
        "size": len(own),
    }


def without_received(content: bytes) -> bytes:
    """The content below the first header field, if that is a Received."""
    if not content.startswith(b"Received:"):
        return content
    return re.sub(rb"\AReceived:[^\n]*\n(?:[ \t][^\n]*\n)*", b"", content)


def _address(line: bytes) -> str:
    found = ADDRESS.search(line)
    return found[1].decode("utf-8", "replace") if found else ""


async def serve(manners: list[str], record: Path, clock: Path | None) -> None:
    """Listen until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with record.open("a") as file:
        recorder = Recorder(file, clock)
        ports = [Port(n, manner(text), recorder) for n, text in enumerate(manners)]
        servers = [
            await asyncio.start_server(port.serve, "127.0.0.1", 0, limit=LARGEST, backlog=4096)
            for port in ports
        ]
        print(json.dumps([one.sockets[0].getsockname()[1] for one in servers]), flush=True)
        await stop.wait()
        for one in servers:
            one.close()


def main() -> int:
    """Parse and serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture.sink", description=__doc__)
    parser.add_argument("--record", type=Path, required=True, help="where records are appended")
    parser.add_argument("--clock", type=Path, help="file whose first u64 is each copy's mark")
    parser.add_argument("manner", nargs="+", help="one for each port")
    args = parser.parse_args()
    asyncio.run(serve(args.manner, args.record, args.clock))
    return 0


if __name__ == "__main__":
    sys.exit(main())
