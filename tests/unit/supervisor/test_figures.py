"""The ledger of figures: no counter goes back, whatever ends when."""

from __future__ import annotations

from mta.supervisor.figures import GONE, SILENT_AFTER, Ledger


def test_counters_are_summed_and_outlive_their_process() -> None:
    ledger = Ledger()
    for pid in (1, 2):
        ledger.began(pid)
    ledger.take(1, {"received": 5, "sessions": 2, "number": 0, "pid": 1}, 0)
    ledger.take(2, {"received": 7, "sessions": 3, "number": 1, "pid": 2}, 0)
    assert ledger.totals() == {"received": 12, "sessions": 5}
    ledger.ended(1)
    assert ledger.totals() == {"received": 12, "sessions": 3}
    ledger.began(3)
    ledger.take(3, {"received": 1, "sessions": 1}, 1)
    assert ledger.totals() == {"received": 13, "sessions": 4}
    assert ledger.past() == {"received": 5}  # what the workers' columns lack


def test_a_report_that_is_read_late_counts_once() -> None:
    ledger = Ledger()
    ledger.began(1)
    ledger.take(1, {"received": 5, "sessions": 2}, 0)
    ledger.ended(1)
    ledger.take(1, {"received": 6, "sessions": 9}, 0)
    assert ledger.totals() == {"received": 6}


def test_reports_of_unknown_processes_are_ignored() -> None:
    ledger = Ledger()
    ledger.take(9, {"received": 5}, 0)
    assert ledger.totals() == {}


def test_process_ids_come_again() -> None:
    ledger = Ledger()
    for count in range(1, GONE * 2):
        pid = count % 3
        ledger.began(pid)
        ledger.take(pid, {"received": 1}, 0)
        ledger.ended(pid)
        assert ledger.totals()["received"] == count


def test_many_crashes_keep_the_ledger_small() -> None:
    ledger = Ledger()
    for pid in range(GONE * 3):
        ledger.began(pid)
        ledger.take(pid, {"delivered": 2}, 0)
        ledger.ended(pid)
    assert ledger.totals() == {"delivered": GONE * 6}
    assert len(ledger._gone) == GONE


def test_maxima_are_not_summed() -> None:
    ledger = Ledger()
    for pid, most in ((1, 0.5), (2, 0.25)):
        ledger.began(pid)
        ledger.take(pid, {"commit_seconds_max": most, "log_segment:1": pid}, 0)
    assert ledger.totals()["commit_seconds_max"] == 0.5


def test_alarms_name_their_worker() -> None:
    ledger = Ledger()
    ledger.began(1)
    ledger.began(2)
    alarm = {"alarm": "overdue", "reason": "why", "count": 3, "seconds": 1.0}
    ledger.take(1, {"number": 0, "alarms": []}, 0)
    ledger.take(2, {"number": 1, "alarms": [alarm], "alarm:overdue": 3}, 0)
    assert ledger.alarms() == [{"worker": 1, **alarm}]
    assert ledger.totals() == {"alarm:overdue": 3}
    ledger.ended(2)
    assert not ledger.alarms()
    assert not ledger.totals()


def test_oldest_problems_and_silence() -> None:
    ledger = Ledger()
    ledger.began(1)
    ledger.began(2)
    assert ledger.silent(1e9) == []  # they may still be opening their shards
    ledger.take(1, {"oldest": 30, "problem": "disk full"}, 100)
    ledger.take(2, {"oldest": 0, "problem": None}, 100 + SILENT_AFTER)
    assert ledger.oldest_us() == 30
    assert ledger.problems() == ["disk full"]
    assert ledger.silent(101 + SILENT_AFTER) == [1]
