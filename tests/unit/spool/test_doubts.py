"""When a content that could not be read is tried again, and when it counts as gone."""

from __future__ import annotations

import pytest

from mta.spool import doubts
from mta.spool.doubts import FIRST, FORGET, LONGEST, SECOND, Doubts, Gone, Unreadable
from mta.testing.clock import FakeClock

ONE, TWO, THREE = b"1" * 16, b"2" * 16, b"3" * 16
BROKEN, AWAY = Unreadable("Input/output error"), Gone("its hash is wrong")


class Bench(Doubts):
    """Doubts of shard 5 with a clock of their own."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        super().__init__(5, self.clock)

    def read(self, id: bytes, found: Unreadable | Gone) -> Unreadable | Gone:
        """A reading that gave this, past the cache if that is due."""
        return self.judge(id, found, anew=self.second(id))

    def alarms(self) -> list[str]:
        return [trouble.alarm for trouble in self.troubles()]


def test_a_content_waits_twice_as_long_each_time() -> None:
    bench, waits = Bench(), []
    for _ in range(10):
        found = bench.read(ONE, BROKEN)
        assert isinstance(found, Unreadable)
        waits.append(found.wait)
        bench.clock.advance(found.wait)
    assert waits[:4] == [FIRST, FIRST, 2 * FIRST, 4 * FIRST]
    assert waits[-1] == LONGEST
    assert bench.failures == 10


def test_errors_never_prove_that_a_content_is_gone() -> None:
    bench = Bench()
    for _ in range(100):
        assert isinstance(bench.read(ONE, BROKEN), Unreadable)
        bench.clock.advance(100)


def test_the_second_reading_a_while_later_proves_it() -> None:
    bench = Bench()
    assert bench.read(ONE, AWAY) == Unreadable(AWAY.why, SECOND)
    bench.clock.advance(SECOND / 2)
    assert not bench.second(ONE)
    assert isinstance(bench.read(ONE, AWAY), Unreadable)  # too soon
    bench.clock.advance(SECOND / 2)
    assert bench.second(ONE)
    assert isinstance(bench.judge(ONE, AWAY, anew=False), Unreadable)  # it asked the cache again
    assert bench.read(ONE, BROKEN) == Unreadable(BROKEN.why, FIRST)
    assert bench.read(ONE, AWAY) == AWAY
    assert bench.read(ONE, AWAY) == AWAY  # for the message's other recipients


def test_one_that_is_read_meanwhile_begins_anew() -> None:
    bench = Bench()
    bench.read(ONE, AWAY)
    bench.over(ONE)
    bench.clock.advance(SECOND)
    assert isinstance(bench.read(ONE, AWAY), Unreadable)


def test_a_database_that_is_reopened_is_no_doubt() -> None:
    bench = Bench()
    busy = Unreadable("being reopened", FIRST)
    assert bench.read(ONE, busy) == busy
    assert (bench.known, bench.failures, bench.alarms()) == ({}, 0, [])


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doubts, "MANY", 2)
    bench = Bench()
    bench.read(ONE, BROKEN)
    bench.read(TWO, BROKEN)
    bench.clock.advance(30)
    assert bench.read(THREE, AWAY) == Unreadable(AWAY.why, 30)
    bench.clock.advance(30)
    assert bench.read(THREE, AWAY) == Unreadable(AWAY.why, 60)
    assert len(bench.known) == 2
    bench.over(ONE)
    assert bench.read(THREE, AWAY) == Unreadable(AWAY.why, SECOND)


def test_the_alarm_lasts_while_a_content_is_in_doubt() -> None:
    bench = Bench()
    assert bench.alarms() == []
    bench.read(ONE, BROKEN)
    bench.read(TWO, BROKEN)
    (trouble,) = bench.troubles()
    assert (trouble.alarm, trouble.count) == ("unreadable_content", 2)
    assert "shard 5" in trouble.reason and "Input/output error" in trouble.reason
    bench.over(ONE)
    assert bench.alarms() == ["unreadable_content"]
    bench.clock.advance(FORGET + 1)  # nobody asks for the other any more: it is held, say
    assert bench.alarms() == []
    assert bench.known == {}


def test_what_was_set_aside_is_told_for_an_hour() -> None:
    bench = Bench()
    bench.set_aside()
    (trouble,) = bench.troubles()
    assert (trouble.alarm, trouble.count) == ("damaged_content", 1)
    bench.clock.advance(doubts.SHOWN)
    assert bench.alarms() == []


def test_a_missing_file_is_an_alarm_of_its_own() -> None:
    bench = Bench()
    found = bench.read(ONE, Unreadable("the file of segment 7 is missing", 0.0, 7))
    assert isinstance(found, Unreadable)
    assert bench.alarms() == ["unreadable_content", "missing_content"]
