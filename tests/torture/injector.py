"""Clients that survive every fault and write down exactly what was promised to them.

Each message is offered once, under a number of its own: what was refused must never arrive, and is
told apart from the message that took its place. The journal is JSON lines, each in the file before
the next step is taken; times are seconds since 1970, `mark` is what the caller's clock says:

    offer     number, recipients, hash; the final dot is about to leave
    promise   number, id: the 250 was read
    refused   number, code, text: another reply, to the dot or, if `dot` is false, before it
    lost      number: the connection went between the dot and its reply
    odd       text: what must not happen to a client: no reply in time, a 5xx
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from typing import TYPE_CHECKING, Any

from tests.torture.letters import EVERYTHING, SENDER, Letter, letter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.torture.letters import Mix

PAUSE = 0.05  # seconds before a refused connection or message is followed by another
SILENCE = 120.0  # seconds without a reply that are odd


class RefusedError(Exception):
    """A reply that is not the one hoped for."""

    def __init__(self, line: bytes) -> None:
        super().__init__(line)
        self.code, self.text = int(line[:3]), line.decode("latin-1").strip()


class Injector:
    """Sends messages over some sessions, in a thread: `start` and `finish`, or `send`."""

    def __init__(
        self,
        port: int,
        seed: int,
        journal: Path,
        mix: Mix = EVERYTHING,
        mark: Callable[[], int] = lambda: 0,
        silence: float = SILENCE,
    ) -> None:
        self.port, self.mix = port, mix
        self.promised = 0
        self.last = 0  # the number that was given out last
        self.halted = False  # contents stop half-way
        self._parameters = b""
        self._seed, self._mark, self._silence = seed, mark, silence
        self._journal = journal.open("a")
        self._thread: threading.Thread | None = None
        self._deadline, self._left, self._pause = 0.0, 0, 0.0
        self._underway = 0  # messages with a ticket

    @property
    def running(self) -> bool:
        """Whether messages are being sent."""
        return self._thread is not None

    def start(self, rate: float, sessions: int = 10) -> None:
        """Send so many messages a second until `finish`."""
        self._begin(1 << 60, float("inf"), sessions, sessions / rate)

    def finish(self) -> None:
        """No new messages; returns when every session has its last reply."""
        self._left = -(1 << 60)
        self._join()

    def send(self, count: int, seconds: float, sessions: int = 4, parameters: str = "") -> int:
        """Have so many messages accepted; how many were, within so many seconds.

        `parameters`: what MAIL has behind the address.
        """
        before, self._parameters = self.promised, parameters.encode()
        self._begin(count, time.monotonic() + seconds, sessions, 0.0)
        self._join()
        self._parameters = b""
        return self.promised - before

    def close(self) -> None:
        """End, and close the journal."""
        self.finish()
        self._journal.close()

    def _begin(self, count: int, deadline: float, sessions: int, pause: float) -> None:
        self._left, self._deadline, self._pause = count, deadline, pause
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(sessions)))
        self._thread.start()

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _note(self, event: str, **fields: Any) -> None:
        record = {"event": event, "time": time.time(), "mark": self._mark()}
        self._journal.write(json.dumps(record | fields) + "\n")
        self._journal.flush()

    def _going(self) -> bool:
        """Whether more is wanted; what others have in hand may yet be refused."""
        return self._left + self._underway > 0 and time.monotonic() < self._deadline

    async def _run(self, sessions: int) -> None:
        await asyncio.gather(*(self._keep_open() for _ in range(sessions)))

    async def _keep_open(self) -> None:
        while self._going():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(PAUSE)
                continue
            try:
                await self._session(reader, writer)
            except (OSError, asyncio.IncompleteReadError, RefusedError):
                await asyncio.sleep(PAUSE)
            finally:
                writer.close()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._expect(reader, 220)
        writer.write(b"EHLO client.example\r\n")
        await self._expect(reader, 250)
        while self._going():
            due = time.monotonic() + self._pause
            if self._left > 0:
                await self._ticket(reader, writer)
            await asyncio.sleep(max(due - time.monotonic(), 0 if self._left > 0 else PAUSE))
        writer.write(b"QUIT\r\n")

    async def _ticket(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One message of those that are wanted; given back if it is not accepted."""
        self._left, self._underway, accepted = self._left - 1, self._underway + 1, False
        try:
            await self._message(reader, writer)
            accepted = True
        finally:
            self._underway -= 1
            self._left += not accepted

    async def _message(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One transaction; whatever happens is in the journal under its number."""
        self.last += 1
        item, dot = letter(self._seed, self.last, self.mix), False
        try:
            await self._envelope(item, reader, writer)
            self._note(
                "offer", number=item.number, recipients=item.recipients, hash=item.hash,
                size=len(item.content),
            )  # fmt: skip
            dot = True
            await self._content(re.sub(rb"(?m)^\.", b"..", item.content) + b".\r\n", writer)
            line = await self._expect(reader, 250)
        except RefusedError as error:
            self._note("refused", number=item.number, dot=dot, code=error.code, text=error.text)
            raise
        except (OSError, asyncio.IncompleteReadError):
            if dot:
                self._note("lost", number=item.number)
            raise
        self._note("promise", number=item.number, id=line.split()[-1].decode())
        self.promised += 1

    async def _envelope(
        self, item: Letter, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        more = self._parameters and b" " + self._parameters
        writer.write(b"MAIL FROM:<%b>%b\r\n" % (SENDER.encode(), more))
        writer.writelines(b"RCPT TO:<%b>\r\n" % r.encode() for r in item.recipients)
        writer.write(b"DATA\r\n")
        for _ in range(1 + len(item.recipients)):
            await self._expect(reader, 250)
        await self._expect(reader, 354)

    async def _content(self, octets: bytes, writer: asyncio.StreamWriter) -> None:
        half = len(octets) // 2
        writer.write(octets[:half])
        while self.halted:  # noqa: ASYNC110 - another thread says so
            await asyncio.sleep(PAUSE)
        writer.write(octets[half:])

    async def _expect(self, reader: asyncio.StreamReader, code: int) -> bytes:
        """The last line of a reply with this code; another code is `RefusedError`."""
        while True:
            try:
                line = await asyncio.wait_for(reader.readuntil(b"\n"), self._silence)
            except TimeoutError:
                self._note("odd", text=f"no reply within {self._silence:g} s instead of {code}")
                raise ConnectionAbortedError from None
            if line[3:4] != b"-":
                break
        if line[:3] == b"%d" % code:
            return line
        error = RefusedError(line)
        if error.code >= 500:
            self._note("odd", text=f"{error.text} instead of {code}")
        raise error
