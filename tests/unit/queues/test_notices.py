"""When a sender is told: of failure, of success, once of a delay."""

from __future__ import annotations

from pathlib import Path

import pytest

from mta.model import Message, Notify, Peer, Where, Wish
from tests.unit.queues.desk import LATER, NEVER, OK, PEER, Desk

WITH_DSN = PEER._replace(success="")
LOCAL = PEER._replace(success="delivered")
TO = "r@b.example"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path / "shard-0001", delay_after=100.0)
    desk.dsns = True
    return desk


def sent(desk: Desk, notify: int, **fields: object) -> Message:
    desk.wishes = {0: Wish(notify)} if notify else None
    message = desk.accept(TO, **fields)
    desk.wishes = None
    return message


@pytest.mark.parametrize(
    ("notify", "peer", "told"),
    [
        (0, PEER, []),
        (Notify.FAILURE | Notify.DELAY, PEER, []),
        (Notify.SUCCESS, PEER, [("relayed", TO)]),
        (Notify.SUCCESS | Notify.FAILURE, LOCAL, [("delivered", TO)]),
        (Notify.SUCCESS, WITH_DSN, []),
    ],
)
def test_success_is_told_if_asked_and_nobody_else_will(
    desk: Desk, notify: int, peer: Peer, told: list[tuple[str, str]]
) -> None:
    sent(desk, notify)
    desk.end(desk.take(), OK, peer=peer)
    assert desk.told == told
    desk.run(0.2)
    assert desk.deliver_all("a.example") == ["s@a.example"] * len(told)
    assert desk.ends() == {"Delivery": 1 + len(told)}
    desk.close()


def test_nothing_is_told_to_the_null_sender(desk: Desk) -> None:
    sent(desk, Notify.SUCCESS | Notify.DELAY, sender="")
    desk.clock.advance(200)
    desk.end(desk.take(), LATER)
    desk.run(61)
    desk.end(desk.take(), OK)
    assert desk.told == [] and desk.ends() == {"Delivery": 1}
    desk.close()


@pytest.mark.parametrize("unasked", [False, True])
@pytest.mark.parametrize("notify", [0, Notify.FAILURE, Notify.NEVER, Notify.DELAY])
def test_a_delay_is_told_once_to_those_who_asked(desk: Desk, notify: int, unasked: bool) -> None:
    desk.manager.settings.delay_unasked = unasked
    message = sent(desk, notify)
    desk.end(desk.take(), LATER)
    assert desk.told == []
    for _ in range(3):
        desk.run(61)
        desk.end(desk.take(), LATER)
    wanted = notify == Notify.DELAY or (unasked and not notify)
    assert desk.told == [("delayed", TO)] * wanted
    assert desk.where(message) == Where.DUE
    if wanted:
        desk.restart()
        desk.run(61)
        desk.end(desk.take(), LATER)
        assert desk.told == [("delayed", TO)]
        assert desk.bench.shard.get(message.id, 0).notify == notify | Notify.DELAYED
    desk.close()


def test_a_delay_counts_from_the_release(desk: Desk) -> None:
    message = sent(desk, Notify.DELAY, release_us=desk.clock.wall_us() + 90_000_000)
    assert desk.take() is None and desk.where(message) == Where.DUE
    desk.run(91)
    desk.end(desk.take(), LATER)
    desk.run(61)
    desk.end(desk.take(), LATER)
    assert desk.told == []
    desk.run(61)
    desk.end(desk.take(), NEVER)
    assert desk.told == [("failed", TO)]
    desk.close()


def test_a_release_that_passes_before_the_commit_is_not_lost(desk: Desk) -> None:
    message = desk.submit(TO, release_us=desk.clock.wall_us() + 1_000_000)
    desk.clock.advance(5)
    desk.bench.shard.due(b"", desk.manager.stamp(), 10)
    desk.bench.run()
    desk.end(desk.take(), OK)
    assert desk.ends() == {"Delivery": 1} and desk.where(message) is None
    desk.close()
