"""Calls hooks within their time: async functions on the loop, plain ones in a few threads."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mta.errors import HookError
from mta.hooks.script import Functions, line_of
from mta.hooks.spec import HOOKS

TELL_EVERY = 60.0  # seconds between two lines about the same failure
TOLD = 1000  # failures remembered


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Hooks:
    """The functions of one hook file; `name in hooks` tells whether it has one."""

    def __init__(
        self,
        functions: Functions,
        *,
        path: str = "hooks",
        timeout: float = 5.0,
        threads: int = 8,
        report: Callable[[str], None] = _to_stderr,
    ) -> None:
        self.path, self.timeout = path, timeout
        self._functions = functions
        self._on_loop = {n for n, f in functions.items() if inspect.iscoroutinefunction(f)}
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="hook")
        self._report = report
        self._told: dict[str, float] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._functions

    def __repr__(self) -> str:
        return f"<Hooks of {self.path}: {', '.join(self._functions)}>"

    async def call(self, name: str, argument: Any) -> Any:
        """The hook's answer, of a type that it may give; HookError after telling stderr."""
        try:
            answer = await self._within_time(name, argument)
        except HookError as error:
            self._tell(str(error))
            raise
        allowed = HOOKS[name].answers
        if answer is not None and not isinstance(answer, allowed) and allowed:
            names = ", ".join(kind.__name__ for kind in allowed)
            raise self.failed(name, f"it answered {type(answer).__name__}, not {names} or None")
        return answer

    async def _within_time(self, name: str, argument: Any) -> Any:
        function = self._functions[name]
        try:
            async with asyncio.timeout(self.timeout) as limit:
                if name in self._on_loop:
                    return await function(argument)
                loop = asyncio.get_running_loop()
                answer = await loop.run_in_executor(self._threads, function, argument)
                return await answer if inspect.isawaitable(answer) else answer
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise HookError(name, "what it waited for was cancelled") from None
        except (Exception, SystemExit) as error:  # whatever the operator's code may raise
            if limit.expired():
                raise HookError(name, f"no answer within {self.timeout:g} s") from None
            if isinstance(error, HookError):
                raise
            line = line_of(error, self.path)
            why = f"{type(error).__name__}: {error} ({self.path}:{line})"
            raise HookError(name, why) from error

    def failed(self, name: str, why: str) -> HookError:
        """The error of an answer that cannot be used, told to stderr."""
        error = HookError(name, why)
        self._tell(str(error))
        return error

    def _tell(self, text: str) -> None:
        """One line for people, the same one at most once a minute."""
        now = asyncio.get_running_loop().time()
        if now < self._told.get(text, 0.0):
            return
        if len(self._told) >= TOLD:
            self._told.clear()
        self._told[text] = now + TELL_EVERY
        self._report(text)

    def close(self) -> None:
        """Start nothing more in the threads; a call that hangs there is left alone."""
        self._threads.shutdown(wait=False, cancel_futures=True)
