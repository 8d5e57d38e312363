"""Dead letters: nothing else is left of their content, so an error of the disk is waited out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from mta.config.schema import Config
from mta.model import Kind, Message, Outcome, Recipient
from mta.spool import Gone, Unreadable
from mta.supervisor import failures
from mta.supervisor.failures import PATIENCE, UNREAD, Failures
from mta.testing.clock import FakeClock

if TYPE_CHECKING:
    from pathlib import Path

    from mta.spool.doubts import Found

NOBODY = Outcome(Kind.BOUNCED, 550, "5.1.1", "nobody", "RCPT")
MESSAGE = Message(b"m" * 16, "")


class Desk:
    """Buries a message whose readings give what `found` says, the last one for ever."""

    def __init__(self, folder: Path, *found: Found) -> None:
        self.found = list(found)
        self.failures = Failures(Config(home=str(folder)), {}, FakeClock(), self._read)

    def _read(self, message: Message) -> Found:
        return self.found.pop(0) if len(self.found) > 1 else self.found[0]

    def bury(self) -> bytes:
        """The content of the letter."""
        asyncio.run(self._bury())
        (letter,) = self.failures.dead.list()
        self.text = letter.text
        return self.failures.dead.load(letter.id).content

    async def _bury(self) -> None:
        buried = asyncio.Event()
        self.failures.bury(MESSAGE, Recipient(MESSAGE, 0, "a@x"), NOBODY, buried.set)
        await buried.wait()


@pytest.fixture(autouse=True)
def no_sleep(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    class Asyncio:
        def __getattr__(self, name: str) -> Any:
            return sleep if name == "sleep" else getattr(asyncio, name)

    monkeypatch.setattr(failures, "asyncio", Asyncio())
    return slept


def test_a_letter_has_its_content(tmp_path: Path) -> None:
    desk = Desk(tmp_path, b"content")
    assert (desk.bury(), desk.text) == (b"content", "nobody")


def test_an_error_is_waited_out(tmp_path: Path, no_sleep: list[float]) -> None:
    desk = Desk(tmp_path, Unreadable("EIO"), Gone("hash"), Unreadable("EIO"), b"content")
    assert (desk.bury(), desk.text) == (b"content", "nobody")
    assert no_sleep == [5.0, 5.0, 10.0]


@pytest.mark.parametrize("found", [Unreadable("EIO"), Gone("hash")])
def test_what_cannot_be_read_for_an_hour_is_a_letter_without_content(
    tmp_path: Path, no_sleep: list[float], found: Found
) -> None:
    desk = Desk(tmp_path, found)
    assert (desk.bury(), desk.text) == (b"", "nobody" + UNREAD)
    assert PATIENCE <= sum(no_sleep) < 2 * PATIENCE
