"""Promises 1 and 2 under kill -9: a short run; the long one is a command (docs/testing.md)."""

from __future__ import annotations

from pathlib import Path

from tests.crash.run import Plan, run
from tests.crash.verdict import Bounds
from tests.waiting import PATIENCE


def test_no_acknowledged_recipient_is_lost_or_closed_twice(tmp_path: Path) -> None:
    bounds = Bounds(slack=PATIENCE)
    result = run(Plan(tmp_path, rounds=4, seed=28, rate=100, least=150, bounds=bounds))
    assert result.verdict.problems == [], "\n".join(result.verdict.problems)
    assert set(result.kills) == {"worker", "everything", "everything, starting", "supervisor"}
    assert {"Delivery", "Bounce", "Expiration"} <= set(result.verdict.finals)
