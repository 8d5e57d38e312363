"""What the clocks of a server said, and when."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.timewarp import Timewarp
from tests.torture.cases.clocks import CHANGES, DAY, STAGES, WEEK, Clocks, Timeline

if TYPE_CHECKING:
    from pathlib import Path


def test_a_time_that_was_said_is_a_real_one(tmp_path: Path) -> None:
    with Timewarp(tmp_path) as warp:
        timeline, began = Timeline(warp), time.time()
        assert timeline.said(began) == [pytest.approx(began, abs=1)]
        timeline.step(DAY)
        assert [round(said - began) for said in timeline.said(time.time())] == [0, DAY]
        assert timeline.real(began + DAY) == pytest.approx(began, abs=1)
        for _ in range(10):
            timeline.run(8.0)
        assert [round(said - began) for said in timeline.said(time.time())] == [DAY + 80]
        timeline.step(-DAY)
        timeline.suspend(WEEK)
        assert timeline.truth(time.time()) == pytest.approx(began + 80 + WEEK, abs=1)
        assert timeline.truth(began) == began
        assert timeline.wall() == pytest.approx(time.time() + warp.ahead, abs=1)
        for said in (began, began + 80 + WEEK, began + DAY + 40):
            assert timeline.real(said) == pytest.approx(began, abs=1)
        assert timeline.real(began + 3 * WEEK) is None


def test_the_wall_clock_is_right_in_the_end() -> None:
    for moves in CHANGES.values():
        assert sum(move.seconds for move in moves if not move.suspend) == 0
    assert all(callable(getattr(Clocks, f"_{stage}")) for stage in STAGES)
