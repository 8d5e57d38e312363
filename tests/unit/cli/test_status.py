"""`mta status`: how its rows are made."""

from __future__ import annotations

from mta.cli.status import parts, raised


def test_alarms_are_rows_with_the_reason_last() -> None:
    alarm = {"alarm": "overdue", "reason": "why", "count": 3, "seconds": 12.5}
    [row] = raised([alarm | {"worker": 1}])
    assert list(row.items()) == [
        ("alarm", "overdue"), ("worker", 1), ("for (s)", 12.5), ("count", 3), ("reason", "why"),
    ]  # fmt: skip
    assert raised([alarm])[0]["worker"] is None
    assert raised([]) == "none"


def test_figures_of_alarms_are_no_part_of_the_server() -> None:
    assert parts({"alarm:overdue": 1, "pss:worker 1": 5}) == [{"part": "worker 1", "pss": 5}]
