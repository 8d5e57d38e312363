"""Errors that nobody expected: the traceback goes to a file, one line of it to the terminal."""

from __future__ import annotations

import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from pathlib import Path

QUIET = 10.0  # seconds between two lines on the terminal; the file has all


class Faults:
    """Writes tracebacks of one process to `path` and tells of them by `say(line)`."""

    def __init__(self, name: str, path: Path, say: Callable[[str], None]) -> None:
        self.name, self.path, self._say = name, path, say
        self._silent_until = 0.0

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take over what the loop's callbacks and tasks let through."""
        loop.set_exception_handler(self._handle)

    def _handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException):
            line = self.record(error, str(context.get("message", "")))
            if time.monotonic() >= self._silent_until:
                self._silent_until = time.monotonic() + QUIET
                self._say(line)
        else:
            self._write(f"{context.get('message')}\n")

    def record(self, error: BaseException, where: str) -> str:
        """Take an error down; the line that tells of it."""
        self._write(f"{where}\n{''.join(traceback.format_exception(error))}\n")
        text = " ".join(str(error).split())
        return f"{self.name}: {type(error).__name__}: {text} (see {self.path})"

    def _write(self, text: str) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        try:
            with self.path.open("a") as file:
                file.write(f"{now} {text}")
        except OSError:  # a full disk must not hide the error too
            print(text, file=sys.stderr, flush=True)
