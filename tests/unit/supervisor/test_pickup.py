"""What becomes of a file by the reply that its message got."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from mta.supervisor.pickup import Pickup

TO = SimpleNamespace(address="a@x", params=None)
DROP = SimpleNamespace(sender=TO, recipients=[TO], body=b"x", flags=0, size=1)


class Reception:
    """Takes everything, and answers the content."""

    options = SimpleNamespace(hostname="h")
    room = SimpleNamespace(reserve=lambda *_: True, release=lambda *_: None)

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def mail(self, client: Any, sender: str, params: Any) -> None:
        client.recipients = [sender]

    def rcpt(self, *_: object) -> None:
        return None

    data = rcpt

    def content(self, client: Any, transaction: Any, body: bytes, flags: int, done: Any) -> None:
        done(self._answer)


@pytest.mark.parametrize(
    ("answer", "becomes"),
    [
        (b"250 2.0.0 Ok\r\n", ""),
        (b"452 4.3.1 Not enough storage now\r\n", None),
        (b"", None),  # nobody knows: it stays, and a later look takes it
        (b"554 5.4.6 Mail loop\r\n", "554 5.4.6 Mail loop"),
    ],
)
def test_a_file_goes_when_its_message_is_stored(answer: bytes, becomes: str | None) -> None:
    async def stored() -> str | None:
        loop = asyncio.get_running_loop()
        folder, reception = SimpleNamespace(), Reception(answer)
        pickup = Pickup(folder, 1.0, reception, 100, loop)  # type: ignore[arg-type]
        return await pickup._store(SimpleNamespace(name="f", drop=DROP))  # type: ignore[arg-type]

    assert asyncio.run(stored()) == becomes
