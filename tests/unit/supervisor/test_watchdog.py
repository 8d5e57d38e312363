"""A loop that stood still is told, with the place where it stood."""

from __future__ import annotations

from mta.supervisor.watchdog import AFTER, TOLD, Watchdog
from mta.testing.clock import FakeClock


def test_how_long_and_where() -> None:
    clock = FakeClock()
    watchdog = Watchdog(clock)
    for _ in range(int(AFTER) + 2):
        clock.advance(1)
        watchdog.look()
    watchdog.beat()
    [trouble] = watchdog.check()
    assert trouble.alarm == "stalled_loop"
    assert f"stood still for {AFTER + 2:.1f} s, in " in trouble.reason
    assert "test_how_long_and_where (test_watchdog.py:" in trouble.reason
    clock.advance(TOLD)
    assert list(watchdog.check()) == []


def test_a_loop_that_comes_round_is_none() -> None:
    clock = FakeClock()
    watchdog = Watchdog(clock)
    for _ in range(100):
        clock.advance(2)
        watchdog.look()
        watchdog.beat()
    assert list(watchdog.check()) == []


def test_a_process_that_was_stopped_names_no_place() -> None:
    clock = FakeClock()
    watchdog = Watchdog(clock)
    clock.advance(100)
    watchdog.look()
    watchdog.beat()
    [trouble] = watchdog.check()
    assert trouble.reason == "the event loop stood still for 100.0 s"
