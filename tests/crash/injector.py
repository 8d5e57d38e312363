"""Clients that survive every crash and write down exactly what was promised to them."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, NamedTuple

from tests.crash.load import SENDER, letter
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from tests.crash.load import Letter

PAUSE = 0.05  # seconds before a refused connection or message is tried again


class Promise(NamedTuple):
    """A 250 to a final dot."""

    id: str
    letter: Letter


class RefusedError(Exception):
    """A reply that is not the one hoped for."""


class Injector:
    """Sends messages at a rate over some sessions, in a thread, until `finish`."""

    def __init__(self, port: int, seed: int, rate: float, sessions: int = 10) -> None:
        self.port, self.seed, self.rate, self.sessions = port, seed, rate, sessions
        self.promises: dict[int, Promise] = {}
        self.unknown: set[int] = set()  # the dot left, no reply came
        self.faults: list[str] = []  # what must not happen to a client
        self.deferred = 0  # 4xx replies; the message was offered again
        self._next = 0
        self._again: list[int] = []  # nothing was promised and the dot had not left
        self._ending = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def finish(self) -> None:
        """No new messages; returns when every session has its last reply."""
        self._ending = True
        if self._thread.ident is not None:  # it was started
            self._thread.join()

    async def _run(self) -> None:
        await asyncio.gather(*(self._keep_open() for _ in range(self.sessions)))

    async def _keep_open(self) -> None:
        while not self._ending:
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
        await self._expect(reader, b"220")
        writer.write(b"EHLO client.example\r\n")
        await self._expect(reader, b"250")
        loop, pause = asyncio.get_running_loop(), self.sessions / self.rate
        while not self._ending:
            due = loop.time() + pause
            await self._message(reader, writer)
            await asyncio.sleep(due - loop.time())
        writer.write(b"QUIT\r\n")

    async def _message(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One transaction; whatever happens, its number ends in exactly one of the books."""
        number = self._again.pop() if self._again else self._fresh()
        item, dot_left = letter(self.seed, number), False
        try:
            writer.write(b"MAIL FROM:<%b>\r\n" % SENDER.encode())
            writer.writelines(b"RCPT TO:<%b>\r\n" % r.encode() for r in item.recipients)
            writer.write(b"DATA\r\n")
            for _ in range(1 + len(item.recipients)):
                await self._expect(reader, b"250")
            await self._expect(reader, b"354")
            dot_left = True
            writer.write(item.content() + b".\r\n")
            line = await self._expect(reader, b"250")
        except RefusedError:
            self._again.append(number)
            raise
        except (OSError, asyncio.IncompleteReadError):
            if dot_left:
                self.unknown.add(number)
            else:
                self._again.append(number)
            raise
        self.promises[number] = Promise(line.split()[-1].decode(), item)

    def _fresh(self) -> int:
        self._next += 1
        return self._next

    async def _expect(self, reader: asyncio.StreamReader, code: bytes) -> bytes:
        """The last line of a reply with this code; another code is `RefusedError`."""
        while True:
            try:
                line = await asyncio.wait_for(reader.readuntil(b"\n"), PATIENCE)
            except TimeoutError:
                self.faults.append(f"no reply within {PATIENCE:g} s instead of {code.decode()}")
                raise ConnectionAbortedError from None
            if line[3:4] != b"-":
                break
        if line[:3] == code:
            return line
        if line[:1] == b"4":
            self.deferred += 1
        else:
            self.faults.append(f"{line.decode('latin-1').strip()} instead of {code.decode()}")
        raise RefusedError
