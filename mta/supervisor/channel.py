"""JSON lines between supervisor and worker, both ways, over one socket pair.

A request is `{"id": n, "op": name, "args": {...}}`; its answers are any number of
`{"id": n, "part": ...}` and one `{"id": n, "result": ...}` or `{"id": n, "error": text}`. A line
without an id is a notice and has no answer. `{"cancel": n}` ends a request whose asker has gone.
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


def report_error(error: BaseException, where: str) -> None:
    """Give an error that nobody expected to the loop's exception handler."""
    context = {"message": f"unexpected error in {where}", "exception": error}
    asyncio.get_running_loop().call_exception_handler(context)


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
        self._answering: dict[int, asyncio.Task[None]] = {}  # by request
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

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

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
            task = self._spawn(self._answer(line))
            if (id := line.get("id")) is not None:
                self._answering[id] = task
                task.add_done_callback(lambda _: self._answering.pop(id, None))
        elif "cancel" in line:
            if (answering := self._answering.get(line["cancel"])) is not None:
                answering.cancel()
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
        except Exception as error:  # noqa: BLE001 - the asker must not wait for ever
            name = type(error).__name__
            answer = {"id": id, "error": f"an error in the server itself: {name}: {error}"}
            report_error(error, f"request {line['op']!r}")
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
        ended = False
        try:
            self._send({"id": id, "op": op, "args": args})
            while not ended:
                line = await queue.get()
                ended = "error" in line or "result" in line
                yield line
        finally:
            del self._waiting[id]
            if not ended:
                self._send({"cancel": id})

    def close(self) -> None:
        """End the channel."""
        self._writer.close()
