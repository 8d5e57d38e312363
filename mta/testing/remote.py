"""A remote mail server that says what a test wants it to say, and records what it gets."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 180.0  # seconds; only against hanging for ever
EXTENSIONS = ("PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "SIZE 100000000")


@dataclass
class Received:
    """One message that was answered with 2xx."""

    sender: str
    recipients: list[str]
    content: bytes  # unstuffed
    session: int
    mail_line: str = ""
    client: str = ""  # IP address that it came from
    helo: str = ""  # what it said in EHLO


@dataclass
class Manners:
    """What it answers; a hook gives a whole reply, "" to drop the connection, None for 250."""

    banner: str = "220 remote.example ESMTP"
    extensions: tuple[str, ...] = EXTENSIONS
    ehlo: Callable[[str], str | None] = lambda name: None
    mail: Callable[[str], str | None] = lambda sender: None
    rcpt: Callable[[str], str | None] = lambda recipient: None
    data: Callable[[list[str]], str | None] = lambda recipients: None
    dot: Callable[[Received], str | None] = lambda received: None


@dataclass
class RemoteMX:
    """A server on 127.0.0.1 in a thread of its own; use it as a context manager."""

    manners: Manners = field(default_factory=Manners)
    host: str = "127.0.0.1"
    port: int = 0

    def __post_init__(self) -> None:
        self.received: list[Received] = []
        self.sessions = 0
        self.open = 0
        self.most_open = 0
        self.commands: list[str] = []
        self._arrived = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._up = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> RemoteMX:
        self._thread.start()
        if not self._up.wait(PATIENCE):
            raise TimeoutError(f"no server on {self.host}:{self.port}")
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join(10)

    def wait(self, count: int, timeout: float = PATIENCE) -> list[Received]:
        """Block until so many messages came; TimeoutError says how many did."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self.received) >= count, timeout):
                raise TimeoutError(f"{len(self.received)} of {count} messages after {timeout} s")
            return list(self.received)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, self.host, self.port, limit=1 << 26)
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self._up.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    def _stop(self) -> None:
        self._server.close()
        self._loop.stop()

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.sessions += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._session(reader, writer, self.sessions)
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()

    async def _session(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        manners = self.manners
        writer.write(manners.banner.encode() + b"\r\n")
        client, helo = str(writer.get_extra_info("peername")[0]), ""
        envelope = Received("", [], b"", number, client=client)
        while line := (await reader.readuntil(b"\r\n")).decode("latin-1").rstrip("\r\n"):
            self.commands.append(line)
            verb = line[:4].upper()
            if verb == "DATA":
                answer = await self._content(reader, writer, envelope)
                envelope = Received("", [], b"", number, client=client, helo=helo)
            else:
                answer = self._command(verb, line, envelope)
                if verb in ("EHLO", "HELO"):
                    envelope.helo = helo = line[5:]
            if not answer:
                return
            writer.write(answer.encode() + b"\r\n")
            if verb == "QUIT" or answer.startswith("421"):
                await writer.drain()
                return

    def _command(self, verb: str, line: str, envelope: Received) -> str:
        manners = self.manners
        if verb == "EHLO":
            said = manners.ehlo(line[5:])
            lines = ["remote.example", *manners.extensions]
            return _or(said, "\r\n".join(
                f"250{'-' if n < len(lines) - 1 else ' '}{text}" for n, text in enumerate(lines)
            ))  # fmt: skip
        if verb == "MAIL":
            envelope.sender, envelope.mail_line = _path(line), line
            envelope.recipients.clear()
            return _or(manners.mail(envelope.sender), "250 2.1.0 Ok")
        if verb == "RCPT":
            answer = _or(manners.rcpt(_path(line)), "250 2.1.5 Ok")
            if answer.startswith("2"):
                envelope.recipients.append(_path(line))
            return answer
        if verb == "QUIT":
            return "221 2.0.0 Bye"
        return "250 2.0.0 Ok" if verb in ("HELO", "RSET", "NOOP") else "500 5.5.1 What"

    async def _content(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, envelope: Received
    ) -> str:
        if not envelope.recipients:
            return "554 5.5.1 No valid recipients"
        refused = self.manners.data(envelope.recipients)
        if refused is not None:
            return refused
        writer.write(b"354 Go on\r\n")
        lines = []
        while (line := await reader.readuntil(b"\r\n")) != b".\r\n":
            lines.append(line[1:] if line.startswith(b".") else line)
        envelope.content = b"".join(lines)
        answer = _or(self.manners.dot(envelope), "250 2.0.0 Queued")
        if answer.startswith("2"):
            with self._arrived:
                self.received.append(envelope)
                self._arrived.notify_all()
        return answer


def _or(said: str | None, default: str) -> str:
    return default if said is None else said


def _path(line: str) -> str:
    return line.partition("<")[2].partition(">")[0]
