"""Alarms: said once, shown while they last, over by themselves."""

from __future__ import annotations

import msgspec
import pytest

from mta import alarms
from mta.alarms import CALM, Alarms, Trouble
from mta.errors import SpoolBusyError
from mta.testing.clock import FakeClock

FEW, MANY = Trouble("silent_worker", "worker 1", 2), Trouble("silent_worker", "worker 2", 5)


class Board:
    """A board whose only check finds what `troubles` says."""

    def __init__(self) -> None:
        self.clock, self.said, self.troubles = FakeClock(), list[str](), list[Trouble]()
        self.alarms = Alarms(self.clock, self.said.append)
        self.alarms.checks.append(lambda: self.troubles)

    def look(self, seconds: float = 0) -> list[str]:
        self.clock.advance(seconds)
        self.alarms.look()
        said = list(self.said)
        self.said.clear()
        return said


def test_an_alarm_is_said_once_and_its_end_too() -> None:
    board = Board()
    assert board.look() == []
    board.troubles = [FEW]
    assert board.look() == ["alarm silent_worker: worker 1"]
    assert board.look(30) == []
    assert board.alarms.figures()["alarm:silent_worker"] == 2
    board.troubles = []
    assert board.look(CALM / 2) == []
    assert board.look(CALM / 2) == ["alarm silent_worker is over after 30 s"]
    assert board.alarms.figures() == {"alarms": []}


def test_one_that_comes_again_soon_has_not_ended() -> None:
    board = Board()
    for _ in range(5):
        board.troubles = [FEW]
        board.look(CALM / 2)
        board.troubles = []
        assert board.look(CALM / 2) == []


def test_troubles_of_one_name_are_one_alarm() -> None:
    board = Board()
    board.troubles = [FEW, MANY]
    board.look()
    [alarm] = board.alarms.report()
    assert (alarm.count, alarm.reason) == (7, "worker 2")
    board.troubles = [FEW]
    board.look(3)
    found = msgspec.to_builtins(board.alarms.report())
    assert found == [
        {"alarm": "silent_worker", "reason": "worker 1", "count": 2, "seconds": 3.0},
    ]


def test_a_check_that_cannot_look_stops_no_other() -> None:
    board = Board()

    def broken() -> list[Trouble]:
        raise SpoolBusyError("being reopened")

    board.alarms.checks.insert(0, broken)
    board.troubles = [FEW]
    assert board.look() == ["alarm silent_worker: worker 1"]


def test_an_alarm_is_declared() -> None:
    board = Board()
    board.troubles = [Trouble("made_up", "")]
    with pytest.raises(ValueError, match="made_up"):
        board.look()
    assert all(name.isidentifier() for name in alarms.ALARMS)
