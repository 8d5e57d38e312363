"""A wall clock that was set is told from one that runs, and believed when it has stayed so."""

from __future__ import annotations

import pytest

from mta.clock import MISSED, NOTHING, REST, STABLE, Ages, Change, Reading, SteadyClock, Steps
from mta.testing.clock import FakeClock

DAY = 86_400.0


class Machine:
    """Its three clocks, and a look at them each second."""

    def __init__(self) -> None:
        self.at = Reading(1.7e9, 5000.0, 9000.0)
        self.steps = Steps(self.at)
        self.changes: list[Change] = []

    def run(self, seconds: float, *, every: float = 1.0, drift: float = 0.0) -> None:
        for _ in range(round(seconds / every)):
            wall, monotonic, boot = self.at
            self.at = Reading(wall + every + drift, monotonic + every, boot + every)
            self.look()

    def set(self, seconds: float) -> None:
        self.at = self.at._replace(wall=self.at.wall + seconds)

    def suspend(self, seconds: float) -> None:
        wall, monotonic, boot = self.at
        self.at = Reading(wall + seconds, monotonic, boot + seconds)

    def look(self) -> None:
        change = self.steps.look(self.at)
        if change is not NOTHING:
            self.changes.append(change)

    @property
    def error(self) -> float:
        """What the steady clock is ahead of the wall clock."""
        return self.at.monotonic + self.steps.ahead - self.at.wall


def test_a_day_forward_for_ten_seconds_is_never_seen() -> None:
    machine = Machine()
    machine.run(5)
    machine.set(DAY)
    machine.run(10)
    assert machine.steps.doubted == pytest.approx(DAY)
    assert machine.error == pytest.approx(-DAY)
    machine.set(-DAY)
    machine.run(200)
    assert machine.steps.doubted == 0
    assert machine.error == pytest.approx(0)
    assert machine.changes == []


@pytest.mark.parametrize("step", [DAY, -DAY, 1.5, -3600.0])
def test_a_step_that_stays_is_believed(step: float) -> None:
    machine = Machine()
    machine.set(step)
    machine.run(STABLE - 1)
    assert machine.changes == []
    machine.run(3)
    assert machine.changes == [Change(moved=pytest.approx(step))]
    assert machine.error == pytest.approx(0)
    machine.run(3 * STABLE)
    assert len(machine.changes) == 1


def test_steps_to_and_fro_are_believed_where_they_end() -> None:
    machine = Machine()
    for step in (DAY, -2 * DAY, 3600, DAY - 1800):
        machine.set(step)
        machine.run(STABLE / 2)
    assert machine.changes == []
    machine.run(STABLE)
    assert machine.changes == [Change(moved=pytest.approx(1800))]


def test_drift_is_followed() -> None:
    machine = Machine()
    machine.run(600, drift=0.4)
    assert machine.error == pytest.approx(0)
    machine.run(600, drift=-0.4)
    assert machine.error == pytest.approx(0)
    assert machine.changes == []


def test_a_suspended_machine_has_missed_a_week() -> None:
    machine = Machine()
    machine.suspend(7 * DAY)
    machine.run(1)
    assert machine.changes == [Change(missed=pytest.approx(7 * DAY + 1))]
    assert machine.error == pytest.approx(0)
    machine.run(100)
    assert len(machine.changes) == 1


def test_a_process_that_stood_still_has_missed_that() -> None:
    machine = Machine()
    machine.run(MISSED, every=MISSED)
    assert machine.changes == []
    machine.run(3 * MISSED, every=3 * MISSED)
    assert machine.changes == [Change(missed=3 * MISSED)]


def test_a_clock_that_is_set_while_the_machine_is_suspended() -> None:
    machine = Machine()
    machine.suspend(DAY)
    machine.set(3600)
    machine.run(2 * STABLE)
    assert machine.changes == [
        Change(missed=pytest.approx(DAY + 1)), Change(moved=pytest.approx(3600)),
    ]  # fmt: skip


def test_ages_are_not_believed_behind_a_jump() -> None:
    clock = FakeClock()
    ages = Ages(clock)
    clock.advance(40 * DAY)
    assert ages.believed()
    clock.step(40 * DAY)
    assert not ages.believed()
    clock.advance(REST - 1)
    assert not ages.believed()
    clock.step(-40 * DAY)
    clock.advance(1)
    assert ages.believed()
    assert not Ages(clock, clock.wall_us() - round(2 * DAY * 1e6)).believed()
    assert Ages(clock, clock.wall_us() - round(DAY * 1e6 / 2)).believed()


def test_the_clocks_of_this_machine() -> None:
    clock = SteadyClock()
    assert clock.look() is NOTHING
    assert clock.doubted == 0
    wall, monotonic, boot = Reading.now()
    assert boot >= monotonic
    assert abs(clock.wall_us() / 1e6 - wall) < 60
    assert clock.monotonic() >= monotonic
