"""What becomes of a file by the verdict on its message."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from mta._speedups.verdict import ACCEPTED, UNKNOWN, Reason, Verdict
from mta.reception.pickup import Drop, EnvelopePath, Settled
from mta.smtp.replies import NO_STORAGE
from mta.supervisor.pickup import Pickup

TO = EnvelopePath("a@x", {})
LOOP = Verdict(554, "5.4.6", "Mail loop", Reason.LOOP)


class Reception:
    """Takes everything, and answers the content."""

    options = SimpleNamespace(hostname="h")
    room = SimpleNamespace(reserve=lambda *_: True, release=lambda *_: None)

    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict

    def mail(self, client: Any, sender: str, params: Any) -> Verdict:
        client.recipients = [sender]
        return ACCEPTED

    def rcpt(self, *_: object) -> Verdict:
        return ACCEPTED

    data = rcpt

    def content(self, client: Any, transaction: Any, body: bytes, flags: int, done: Any) -> None:
        done(self._verdict)


@pytest.mark.parametrize(
    ("verdict", "stays", "bad"),
    [
        (ACCEPTED, False, False),
        (NO_STORAGE, True, False),
        (UNKNOWN, True, False),  # nobody knows: it stays, and a later look takes it
        (LOOP, False, True),
    ],
)
def test_a_file_goes_when_its_message_is_stored(verdict: Verdict, stays: bool, bad: bool) -> None:
    async def stored() -> Settled:
        loop = asyncio.get_running_loop()
        folder, reception = SimpleNamespace(), Reception(verdict)
        pickup = Pickup(folder, 1.0, reception, 100, loop)  # type: ignore[arg-type]
        content = Drop(TO, [TO], b"x", 0)
        return await pickup._store(SimpleNamespace(name="f", content=content))  # type: ignore[arg-type]

    settled = asyncio.run(stored())
    assert settled.stays is stays
    assert stays or settled.bad is bad
