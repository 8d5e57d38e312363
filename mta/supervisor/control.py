"""The control socket: what the command line asks of a running server.

JSON lines over `HOME/control.sock` (mode 0600): a request `{"op": ..., "args": {...}}` is answered
by any number of `{"part": ...}` lines and one `{"ok": true, "result": ...}` or
`{"error": text, "hint": text}`. One request a connection at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import msgspec

from mta.errors import PASSING, ConfigError, MailraceError
from mta.supervisor.channel import report_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

REQUEST_LIMIT = 1 << 20  # octets of a request line
AGAIN = 30.0  # seconds until a disk that was full is asked for a socket again
LAST = 30.0  # seconds for the answer to a client that has closed its end


class ControlServer:
    """Serves `answer(op, args, part)` to whoever may open the socket."""

    def __init__(
        self,
        path: Path,
        answer: Callable[[str, dict[str, Any], Callable[[Any], None]], Awaitable[Any]],
        say: Callable[[str], None],
    ) -> None:
        self.path, self._answer, self._say = path, answer, say
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen, or say why that is not possible now; MailraceError where it never will be.

        The home's lock is held, so a socket file that is there is stale.
        """
        try:
            self.path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(
                self._serve, path=self.path, limit=REQUEST_LIMIT
            )
            self.path.chmod(0o600)
        except OSError as error:  # a path that is too long has no strerror
            self.close()
            text = f"cannot listen on {self.path}: {error.strerror or error}"
            if error.errno not in PASSING:
                hint = "choose another with -o control.socket=PATH"
                raise MailraceError(f"{text}; {hint}") from None
            self._say(f"{text}; tried again every {AGAIN:g} s")

    async def keep(self) -> None:
        """Try again until it listens."""
        while self._server is None:
            await asyncio.sleep(AGAIN)
            await self.start()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.LimitOverrunError, ValueError):
            line = await reader.readline()
            while line:
                answering = asyncio.ensure_future(self._one(line, writer))
                reading = asyncio.ensure_future(reader.readline())
                await asyncio.wait({answering, reading}, return_when=asyncio.FIRST_COMPLETED)
                # A client that has sent its last may read on, but one that has gone looks alike.
                await asyncio.wait({answering}, timeout=LAST if reading.done() else None)
                answering.cancel()
                await asyncio.wait({answering})
                line = await reading
        writer.close()

    async def _one(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        def send(answer: dict[str, Any]) -> None:
            if not writer.is_closing():
                writer.write(msgspec.json.encode(answer) + b"\n")

        try:
            request = msgspec.json.decode(line)
            op, args = request["op"], request.get("args") or {}
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
            send({"error": 'a request is {"op": name, "args": {...}} on one line', "hint": ""})
            return
        try:
            result = await self._answer(op, args, lambda part: send({"part": part}))
        except ConfigError as error:
            send({"error": str(error), "hint": error.hint})
        except (MailraceError, msgspec.ValidationError) as error:
            send({"error": str(error), "hint": ""})
        except Exception as error:  # noqa: BLE001 - the asker must not wait for ever
            report_error(error, f"request {op!r}")
            text = f"an error in the server itself: {type(error).__name__}: {error}"
            send({"error": text, "hint": ""})
        else:
            send({"ok": True, "result": result})
        await writer.drain()

    def close(self) -> None:
        """Stop listening and remove the socket."""
        if self._server is not None:
            self._server.close()
            self._server = None
        with contextlib.suppress(OSError):  # the next start removes it
            self.path.unlink(missing_ok=True)
