"""The wheel: late by a second at most, never early, no timer without need."""

from __future__ import annotations

from mta.delivery.deadlines import NEVER, Deadlines, Timed
from tests.unit.delivery.fakes import FakeLoop


class Thing(Timed):
    """Keeps when it was told."""

    def __init__(self, loop: FakeLoop, deadline: float) -> None:
        super().__init__()
        self.loop, self.deadline = loop, deadline
        self.told: list[float] = []

    def expired(self) -> None:
        self.told.append(self.loop.now)


def wheel(*after: float) -> tuple[FakeLoop, Deadlines, list[Thing]]:
    loop = FakeLoop()
    deadlines = Deadlines(loop)
    things = [Thing(loop, loop.now + seconds) for seconds in after]
    for thing in things:
        deadlines.add(thing)
    return loop, deadlines, things


def test_told_within_a_second() -> None:
    loop, deadlines, things = wheel(0, 0.5, 1, 7.3, 600, -5)
    wanted = [max(thing.deadline, loop.now) for thing in things]
    loop.advance(700)
    for thing, deadline in zip(things, wanted, strict=True):
        (told,) = thing.told
        assert 0 <= told - deadline <= 1
    assert len(deadlines) == 0
    assert loop.timers == []


def test_later_costs_nothing_and_is_kept() -> None:
    loop, _, (thing,) = wheel(5)
    for _ in range(20):
        loop.advance(3)
        thing.deadline = loop.now + 5
    assert thing.told == []
    loop.advance(7)
    assert len(thing.told) == 1


def test_earlier_after_adding_again() -> None:
    loop, deadlines, (thing,) = wheel(600)
    thing.deadline = loop.now + 2
    assert thing.deadline < thing.armed
    deadlines.add(thing)
    loop.advance(4)
    assert len(thing.told) == 1
    assert len(deadlines) == 0


def test_removed_is_not_told() -> None:
    loop, deadlines, (first, second) = wheel(3, 3)
    deadlines.remove(first)
    deadlines.remove(first)
    loop.advance(10)
    assert (first.told, len(second.told)) == ([], 1)
    deadlines.remove(second)


def test_removed_by_another_that_expires() -> None:
    loop, deadlines, things = wheel(3, 3)
    for thing, other in zip(things, reversed(things), strict=True):
        thing.expired = lambda other=other: (  # type: ignore[method-assign,misc]
            other.told.append(0.0), deadlines.remove(other)
        )  # fmt: skip
    loop.advance(10)
    assert len(things[0].told) + len(things[1].told) == 1


def test_added_again_while_it_is_told() -> None:
    loop, deadlines, (thing,) = wheel(3)
    told = thing.told

    def again() -> None:
        told.append(loop.now)
        thing.deadline = loop.now + 10
        if len(told) < 3:
            deadlines.add(thing)

    thing.expired = again  # type: ignore[method-assign]
    loop.advance(100)
    assert len(told) == 3
    assert loop.timers == []


def test_one_timer_for_many_and_none_for_nothing() -> None:
    loop, deadlines, things = wheel(*range(100))
    assert len(loop.timers) == 1
    assert len(deadlines) == 100
    deadlines.close()
    loop.advance(200)
    assert not any(thing.told for thing in things)
    assert all(thing.armed == NEVER for thing in things)


def test_after_a_long_sleep_all_are_told_once() -> None:
    loop, _, things = wheel(5, 50, 500)
    loop.now += 1000  # the machine slept
    loop.advance(1)
    assert [len(thing.told) for thing in things] == [1, 1, 1]
