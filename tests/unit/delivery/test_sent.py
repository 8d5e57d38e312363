"""Contents that wait for their reply: which leave memory, and when."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from mta.delivery.dispatcher import Dispatcher
from mta.delivery.sent import AGE, Sent
from mta.model import Kind
from tests.unit.delivery.fakes import FakeFeeder, FakeLoop, attempt
from tests.unit.delivery.test_transport import TAKEN, Rig


class Watching(FakeFeeder):
    """Looks at connections as a dispatcher does."""

    def __init__(self, *attempts: Any) -> None:
        super().__init__(*attempts)
        self.over: list[Any] = []

    def content_sent(self, conn: Any) -> None:
        self.sent.watch(conn)

    def content_over(self, attempt: Any) -> None:
        self.over.append(attempt)


def rig(*attempts: Any, **options: Any) -> tuple[Rig, Watching, Sent]:
    feeder = Watching(*attempts)
    made = Rig(feeder, **options)
    feeder.sent = Sent(made.loop)
    return made.open(), feeder, feeder.sent


def test_content_is_given_up_when_its_reply_takes_long() -> None:
    one = attempt()
    made, feeder, sent = rig(one)
    made.read(TAKEN)
    made.loop.advance(AGE / 2)
    assert (one.body, feeder.over) == (b"x\r\n", [])
    made.loop.advance(2 * AGE)
    assert (one.body, feeder.over, len(sent)) == (b"", [one], 0)
    made.read(b"250 taken\r\n")
    assert made.kinds() == [[Kind.DELIVERED]]


def test_content_stays_while_the_server_takes_it_in() -> None:
    one = attempt()
    made, feeder, sent = rig(one)
    made.transport.unsent = 10
    made.read(TAKEN)
    made.loop.advance(5 * AGE)
    assert (one.body, len(sent)) == (b"x\r\n", 1)
    made.transport.unsent = 0
    made.loop.advance(AGE)
    assert (one.body, feeder.over, len(sent)) == (b"", [one], 0)


def test_a_busy_connection_is_looked_at_once_and_keeps_what_has_just_left() -> None:
    attempts = [attempt() for _ in range(50)]
    made, feeder, sent = rig(*attempts, overlap=False)
    for _ in attempts[1:]:
        made.read(TAKEN)
        assert len(sent) == 1
        made.read(b"250 taken\r\n")
        made.loop.advance(AGE / 10)
    assert feeder.over == []
    assert attempts[-1].body


def test_nothing_is_watched_once_all_is_answered() -> None:
    made, feeder, sent = rig(attempt())
    made.read(TAKEN)
    made.read(b"250 taken\r\n")
    made.loop.advance(2 * AGE)
    assert (len(sent), feeder.over) == (0, [])
    feeder.waiting.append(second := attempt())
    made.conn.kick()
    made.read(TAKEN)
    made.loop.advance(3 * AGE)
    assert feeder.over == [second]


def test_what_was_sent_ahead_keeps_its_content() -> None:
    first, ahead = attempt(), attempt()
    made, feeder, _ = rig(first, ahead)
    made.read(TAKEN)
    made.loop.advance(3 * AGE)
    assert feeder.over == [first]
    assert ahead.body
    assert b"x\r\n.\r\n" in b"".join(made.read(b"250 taken\r\n" + TAKEN))


@pytest.mark.parametrize(("uses", "forgotten"), [(1, True), (2, False)])
def test_what_other_recipients_wait_for_stays(uses: int, forgotten: bool) -> None:
    messages: list[Any] = []
    nothing = cast("Any", None)
    dispatcher = Dispatcher(
        cast("Any", FakeLoop()),
        nothing,
        cast("Any", SimpleNamespace(finish=nothing, forget_body=messages.append)),
        gate=nothing,
        hosts=nothing,
        targets=nothing,
        connection=nothing,
        read_bodies=nothing,
        no_overlap=nothing,
    )
    one = attempt()
    one.message.uses = uses
    dispatcher.content_over(one)
    assert messages == [one.message] * forgotten
