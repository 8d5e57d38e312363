"""The deadline wheel."""

from __future__ import annotations

from collections.abc import Callable

from mta.smtpd.timeouts import NEVER, Deadlines
from mta.testing.clock import FakeClock


class Timer:
    """A loop's clock and call_later: `run` moves on and calls what is due."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.calls: list[tuple[float, Callable[[], None]]] = []
        self.armed = 0

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        self.armed += 1
        self.calls.append((self.clock.monotonic() + delay, callback))

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)
            due = [call for call in self.calls if call[0] <= self.clock.monotonic()]
            self.calls = [call for call in self.calls if call not in due]
            for _, callback in due:
                callback()


class Thing:
    def __init__(self) -> None:
        self.deadline = self.bucket = self.expired = 0

    def expire(self) -> None:
        self.expired += 1


def wheel() -> tuple[Deadlines, Timer]:
    timer = Timer()
    return Deadlines(timer.clock.monotonic, timer.call_later), timer


def test_expires_once_at_its_second():
    deadlines, timer = wheel()
    thing = Thing()
    deadlines.add(thing, 5)
    timer.run(4)
    assert not thing.expired
    timer.run(1)
    assert thing.expired == 1
    timer.run(10)
    assert thing.expired == 1


def test_a_later_deadline_costs_an_assignment():
    deadlines, timer = wheel()
    thing = Thing()
    deadlines.add(thing, 3)
    timer.run(2)
    thing.deadline = deadlines.now + 10
    timer.run(9)
    assert not thing.expired
    timer.run(1)
    assert thing.expired == 1


def test_an_earlier_deadline_is_advanced():
    deadlines, timer = wheel()
    thing = Thing()
    deadlines.add(thing, 100)
    thing.deadline = deadlines.now + 2
    deadlines.advance(thing)
    timer.run(2)
    assert thing.expired == 1
    timer.run(200)
    assert thing.expired == 1


def test_one_timer_whatever_it_holds():
    deadlines, timer = wheel()
    for seconds in range(1, 500):
        deadlines.add(Thing(), seconds)
    timer.run(50)
    assert timer.armed == 51
    assert len(deadlines) == 449


def test_removed_is_gone_and_the_timer_ends():
    deadlines, timer = wheel()
    thing = Thing()
    deadlines.add(thing, 2)
    deadlines.remove(thing)
    deadlines.remove(thing)
    timer.run(10)
    assert not thing.expired
    assert not timer.calls


def test_starts_again_with_the_time_of_then():
    deadlines, timer = wheel()
    deadlines.add(Thing(), 1)
    timer.run(1000)
    thing = Thing()
    deadlines.add(thing, 3)
    timer.run(2)
    assert not thing.expired
    timer.run(1)
    assert thing.expired == 1


def test_a_late_tick_expires_all_that_was_due():
    deadlines, timer = wheel()
    things = [Thing() for _ in range(20)]
    for number, thing in enumerate(things):
        deadlines.add(thing, number + 1)
    timer.clock.advance(15)
    deadlines.tick()
    assert [thing.expired for thing in things] == [1] * 15 + [0] * 5
    timer.run(5)
    assert all(thing.expired == 1 for thing in things)


def test_an_expired_one_may_stay():
    deadlines, timer = wheel()

    class Again(Thing):
        def expire(self) -> None:
            super().expire()
            deadlines.add(self, 2)

    thing = Again()
    deadlines.add(thing, 1)
    timer.run(5)
    assert thing.expired == 3


def test_never_comes_never():
    deadlines, timer = wheel()
    thing = Thing()
    deadlines.add(thing, NEVER)
    timer.clock.advance(1e9)
    deadlines.tick()
    assert not thing.expired
