"""JSON lines between supervisor and worker, both ways, over one socket pair.

A request is `{"id": n, "op": name, "args": {...}}`; its answers are any number of
`{"id": n, "part": ...}` and one `{"id": n, "result": ...}` or `{"id": n, "error": text}`. A line
without an id is a notice and has no answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import msgspec

from mta.errors import ControlError, MailraceError

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Awaitable, Callable

LINE_LIMIT = 64 << 20  # octets of one line: a configuration or a slice of a queue listing

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

Handler = "Callable[[str, dict[str, Any], Callable[[Any], None]], Awaitable[Any]]"


class Channel:
    """One end; `handler(op, args, part)` answers the other end's requests and notices."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        handler: Callable[[str, dict[str, Any], Callable[[Any], None]], Awaitable[Any]],
    ) -> None:
        self._reader, self._writer, self._handler = reader, writer, handler
        self._waiting: dict[int, asyncio.Queue[dict[str, Any]]] = {}
        self._next = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.closed = asyncio.Event()

    @classmethod
    async def over(
        cls,
        sock: socket.socket,
        handler: Callable[[str, dict[str, Any], Callable[[Any], None]], Awaitable[Any]],
    ) -> Channel:
        """A channel over a connected socket; its reading starts at once."""
        reader, writer = await asyncio.open_connection(sock=sock, limit=LINE_LIMIT)
        channel = cls(reader, writer, handler)
        channel._spawn(channel._read())
        return channel

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _send(self, line: dict[str, Any]) -> None:
        if not self._writer.is_closing():
            self._writer.write(_encode(line) + b"\n")

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while line := await self._reader.readline():
                self._take(_decode(line))
        self.closed.set()
        for queue in self._waiting.values():
            queue.put_nowait({"error": "the process at the other end has gone"})
        self._writer.close()

    def _take(self, line: dict[str, Any]) -> None:
        if "op" in line:
            self._spawn(self._answer(line))
        elif (queue := self._waiting.get(line["id"])) is not None:
            queue.put_nowait(line)

    async def _answer(self, line: dict[str, Any]) -> None:
        id = line.get("id")

        def part(value: Any) -> None:
            self._send({"id": id, "part": value})

        try:
            result = await self._handler(line["op"], line.get("args") or {}, part)
        except MailraceError as error:
            answer = {"id": id, "error": str(error)}
        else:
            answer = {"id": id, "result": result}
        if id is not None:
            self._send(answer)

    def notify(self, op: str, **args: Any) -> None:
        """Tell without waiting."""
        self._send({"op": op, "args": args})

    async def request(
        self, op: str, args: dict[str, Any] | None = None, part: Callable[[Any], None] | None = None
    ) -> Any:
        """Ask and wait; parts go to `part`; ControlError when the other end refuses or is gone."""
        async for line in self._exchange(op, args or {}):
            if "error" in line:
                raise ControlError(line["error"])
            if "result" in line:
                return line["result"]
            if part is not None:
                part(line["part"])
        raise ControlError("no answer")

    async def _exchange(self, op: str, args: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        if self.closed.is_set():
            yield {"error": "the process at the other end has gone"}
            return
        self._next += 1
        id = self._next
        queue = self._waiting[id] = asyncio.Queue()
        try:
            self._send({"id": id, "op": op, "args": args})
            while True:
                yield await queue.get()
        finally:
            del self._waiting[id]

    def close(self) -> None:
        """End the channel."""
        self._writer.close()
