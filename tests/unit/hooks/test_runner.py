"""Loading a hook file and calling its functions; answers that are kept."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from mta.errors import ConfigError, HookError
from mta.hooks import Accept, Bounce, Class, Defer, QueueSettings, Refuse, Skip
from mta.hooks.answers import RETRY, Answers
from mta.hooks.runner import Hooks
from mta.hooks.script import load
from mta.testing.clock import FakeClock
from tests.waiting import PATIENCE

PATH = "/etc/hooks.py"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def event(r:\n", "/etc/hooks.py:1: not Python"),
        ("\n1/0\n", "/etc/hooks.py:2: ZeroDivisionError"),
        ("import sys\nsys.exit(2)\n", "/etc/hooks.py:2: SystemExit: 2"),
        ("\0", "null bytes"),
        ("x = 1\n", "has no hook"),
        ("event = 3\n", "event: is no function"),
        ("def event(): ...\n", "/etc/hooks.py:1: event: cannot be called with one argument"),
        ("\ndef event(a, b): ...\n", "/etc/hooks.py:2: event: cannot be called"),
        ("def event(r): ...\ndef chose_route(d): ...\n", "did you mean choose_route"),
    ],
)
def test_a_file_that_cannot_be_used(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(PATH, text, {})
    assert told in str(caught.value)


def test_functions_classes_and_helpers_of_a_file() -> None:
    text = """
from dataclasses import dataclass
from mta.hooks import Skip
@dataclass
class Seen:
    count: int = 0
    def __call__(self, attempt):
        self.count += 1
        return self.count
before_attempt = Seen()
def _event(record): ...
def unlike(record): ...
async def event(record, more=tables["t"]):
    return more
"""
    functions = load(PATH, text, {"t": 7})
    assert set(functions) == {"before_attempt", "event"}
    assert [functions["before_attempt"](None) for _ in range(2)] == [1, 2]
    assert asyncio.run(functions["event"](None)) == 7


class Told(list[str]):
    """Lines for people."""


def call(
    name: str, function: Callable[[Any], Any], *, timeout: float = PATIENCE
) -> tuple[Any, Told]:
    """The answer or the HookError of one call, and what was told."""
    told = Told()

    async def run() -> Any:
        hooks = Hooks({name: function}, path=PATH, timeout=timeout, report=told.append)
        try:
            return await hooks.call(name, 1)
        except HookError as error:
            with pytest.raises(HookError):
                await hooks.call(name, 1)
            return error
        finally:
            hooks.close()

    return asyncio.run(run()), told


async def _asynchronous(argument: int) -> Skip:
    await asyncio.sleep(0)
    return Skip(argument)


def test_plain_functions_run_in_threads_and_async_ones_do_not() -> None:
    names: list[str] = []

    def plain(argument: int) -> Skip:
        names.append(threading.current_thread().name)
        return Skip(argument)

    assert call("before_attempt", plain)[0] == Skip(1)
    assert names[0].startswith("hook")
    assert call("before_attempt", _asynchronous)[0] == Skip(1)
    assert call("before_attempt", lambda a: _asynchronous(a))[0] == Skip(1)
    assert call("before_attempt", lambda a: None)[0] is None


def test_failures_are_named_and_told_once() -> None:
    def raises(argument: int) -> None:
        raise TimeoutError("its own")

    async def hangs(argument: int) -> None:
        await asyncio.Event().wait()

    def refuses(argument: int) -> Refuse:
        return Refuse("no")

    async def cancelled(argument: int) -> None:
        raise asyncio.CancelledError

    for function, timeout, why in (
        (raises, PATIENCE, "TimeoutError: its own (/etc/hooks.py:1)"),
        (hangs, 0.001, "no answer within 0.001 s"),
        (cancelled, PATIENCE, "what it waited for was cancelled"),
        (
            lambda a: Refuse("no"),
            PATIENCE,
            "it answered Refuse, not Go, Skip, Defer, Bounce or None",
        ),
    ):
        error, told = call("before_attempt", function, timeout=timeout)
        assert isinstance(error, HookError)
        assert (error.hook, error.why) == ("before_attempt", why)
        assert told == [f"hook before_attempt failed: {why}"]


def test_a_call_that_is_cancelled_from_outside_is_no_failure_of_the_hook() -> None:
    async def run() -> Told:
        told = Told()

        async def hangs(argument: int) -> None:
            await asyncio.Event().wait()

        hooks = Hooks({"event": hangs}, report=told.append)
        task = asyncio.ensure_future(hooks.call("event", {}))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return told

    assert asyncio.run(run()) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: Accept(tenant="x" * 65), lambda: Accept(pool="a\n"), lambda: Accept(klass=7),
        lambda: Accept(set_headers={"A": "\n"}), lambda: Refuse("two\nlines"),
        lambda: Refuse("x", 250), lambda: Refuse("x", 550, "4.7.1"), lambda: Refuse("x", 550, ""),
        lambda: Defer("x", 550), lambda: Bounce("x", 450, "4.0.0"), lambda: Skip(0.5),
        lambda: Defer("x" * 401),
    ],
)  # fmt: skip
def test_answers_that_cannot_be(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError):
        make()


def test_answers_that_can_be() -> None:
    assert Accept(klass=2).klass is Class.BULK  # type: ignore[arg-type]
    assert Refuse("x", 451, "4.7.1").code == 451
    assert QueueSettings().max_age is None


class Asked:
    """Answers of a scripted hook."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.keys: list[str] = []
        self.fails = False
        self.answers: Answers[str, int] = Answers(self.ask, 60.0, self.clock, size=2)

    async def ask(self, key: str) -> int:
        self.keys.append(key)
        await asyncio.sleep(0)
        if self.fails:
            raise HookError("h", "why")
        return len(self.keys)


def test_a_key_is_asked_for_once_and_renewed_in_the_background() -> None:
    async def run() -> None:
        asked = Asked()
        answers = asked.answers
        assert answers.peek("a") is None
        assert await asyncio.gather(answers.get("a"), answers.get("a")) == [1, 1]
        asked.clock.advance(59)
        assert await answers.get("a") == 1
        asked.clock.advance(1)
        assert await answers.get("a") == 1  # the old one, while it is asked anew
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (await answers.get("a"), asked.keys) == (2, ["a", "a"])

    asyncio.run(run())


def test_a_failure_is_raised_first_and_later_leaves_the_old_answer() -> None:
    async def run() -> None:
        asked = Asked()
        asked.fails = True
        for _ in range(2):
            with pytest.raises(HookError):
                await asked.answers.get("a")
        asked.fails = False
        assert await asked.answers.get("a") == 3
        asked.fails = True
        asked.clock.advance(60)
        for _ in range(3):
            kept = asked.answers.peek("a")
            assert kept is not None and kept.value == 3
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert len(asked.keys) == 4  # and not at each look
        asked.clock.advance(RETRY)
        asked.answers.peek("a")
        await asyncio.sleep(0)
        assert len(asked.keys) == 5

    asyncio.run(run())


def test_the_oldest_answer_makes_room() -> None:
    async def run() -> None:
        answers = Asked().answers
        for key in "abc":
            await answers.get(key)
        assert answers.peek("a") is None and answers.peek("c") is not None

    asyncio.run(run())
