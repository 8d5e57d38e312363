"""The tally: what was lost and what came twice, over sink processes."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mta.loadgen.ledger import Counts
from mta.loadgen.sinks import Plan, total
from mta.loadgen.tally import Tally, TallyLedger, create

BODY = b"X-Load-Id: %d\r\n\r\ntext\r\n"


def tally_of(tmp_path: Path, processes: int = 2) -> Tally:
    create(tmp_path / "tally", 13, processes)
    return Tally(tmp_path / "tally")


def take(ledger: TallyLedger, number: int) -> None:
    ledger.take("s@x", ["r@x"], BODY % number, cut=False, now=0.0)


def test_loss_and_duplicates_over_processes(tmp_path: Path) -> None:
    tally = tally_of(tmp_path)
    for number in range(4):
        tally.sent[number] = 1000
        tally.accepted[number] = 2000
    tally.accepted[3] = 0  # its 250 was lost: it may have arrived or not
    one, two = TallyLedger(tally, 0), TallyLedger(Tally(tmp_path / "tally"), 1)
    for ledger, number in ((one, 0), (one, 1), (two, 1), (two, 1), (two, 99)):
        take(ledger, number)
    found = tally.settle()
    assert (found.accepted, found.arrived, found.lost, found.duplicates) == (3, 2, 1, 2)
    assert tally.arrived(1)[1] == 3
    assert found.p50 > 0
    assert tally.settle(first=2).lost == 1
    assert tally.settle(first=3).accepted == 0


def test_counts_are_summed_when_they_are_published(tmp_path: Path) -> None:
    tally = tally_of(tmp_path)
    ledgers = [TallyLedger(tally, 0), TallyLedger(tally, 1)]
    for ledger in ledgers:
        take(ledger, 5)
    assert tally.counts().messages == 0
    for ledger in ledgers:
        ledger.flush()
    assert tally.counts() == Counts(
        messages=2, recipients=2, octets=2 * len(BODY % 5), duplicates=0
    )


def test_addresses_are_shared_out_or_shared() -> None:
    plan = Plan(listeners=[("127.0.0.1-127.0.0.4:25", "accept")], record="r")
    second = plan.share(1, 2)
    assert second.listeners == [("127.0.0.2:25", "accept"), ("127.0.0.4:25", "accept")]
    assert (second.record, second.shared) == ("r.1", False)
    assert plan.share(1, 8).shared
    assert len(plan.share(1, 8).listeners) == 4
    assert msgspec.json.decode(msgspec.json.encode(second), type=Plan) == second


def test_total() -> None:
    assert total([Counts(messages=2, cut=1), Counts(messages=3)]) == Counts(messages=5, cut=1)
