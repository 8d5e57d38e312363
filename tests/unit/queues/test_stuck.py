"""Mail that the loader leaves is told; mail that waits for good reasons is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mta.model import Where
from mta.queues.acts import Verb
from mta.queues.stuck import EVERY, LATE, StuckRows
from tests.unit.queues.desk import LATER, POLICY, Desk

Make = Callable[..., Desk]


def alarms(desk: Desk) -> list[str]:
    """What is found at two looks."""
    check = StuckRows(desk.manager, [desk.loader])
    check()
    desk.run(EVERY, 1)
    return [trouble.alarm for trouble in check()]


def put_off(desk: Desk) -> None:
    desk.accept("r@b.example")
    desk.end(desk.take(), LATER)
    desk.bench.commit()


def test_due_and_not_looked_at(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    put_off(desk)
    with monkeypatch.context() as patched:
        patched.setattr(desk.loader, "_load_due", lambda: False)
        desk.run(60 + LATE - 5, 1)
        assert alarms(desk) == []  # it was not late at the first look
        assert "not_looked_at" in alarms(desk)
    desk.run(1)
    assert alarms(desk) == []


def test_a_row_behind_its_watermark_that_nobody_has(desk: Desk) -> None:
    put_off(desk)
    desk.run(62, 1)
    [(key, recipient)] = desk.manager.memory.items()
    del desk.manager.memory[key]
    assert recipient.where == Where.DUE
    desk.run(LATE + 5, 1)
    assert "not_looked_at" in alarms(desk)


def test_past_its_age(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    put_off(desk)
    with monkeypatch.context() as patched:
        patched.setattr(desk.loader, "_expire", lambda: False)
        desk.run(POLICY.max_age + LATE + 5, 10)
        assert "overdue" in alarms(desk)


def test_no_false_alarms(make: Make) -> None:
    desk = make(lane_items=1)
    for number in range(8):  # one is ready, one in flight, others in the backlog
        desk.accept(f"r{number}@b.example")
    parcel = desk.take()
    desk.accept("held@c.example")
    act = desk.act(Verb.HOLD, domain="c.example")
    desk.sweep()
    desk.retire(act)
    desk.run(3 * LATE, 5)
    assert alarms(desk) == []
    desk.run(POLICY.max_age, 10)
    assert alarms(desk) == []  # one is in flight past its age
    desk.end(parcel, LATER)
    desk.run(5)
    assert desk.ends() == {"Expiration": 9}


def test_time_that_was_missed_is_no_alarm(desk: Desk) -> None:
    put_off(desk)
    desk.clock.miss(7 * 86_400)
    desk.run(2)
    assert alarms(desk) == []
    desk.loader.stop()
    assert alarms(desk) == []
