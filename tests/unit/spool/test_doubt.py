"""Mail whose commit failed: it may be on the disk, so nobody may be told that it is not."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from mta.errors import SpoolBusyError, SpoolError, SpoolUnknownError
from mta.model import Where
from mta.spool import recover
from mta.spool.cycle import PATIENCE
from mta.testing.spool import SpoolBench
from tests.unit.spool.test_failures import Fault, addresses, busy

if TYPE_CHECKING:
    from pathlib import Path

BROKEN = SpoolError("I/O error")
Answers = list[BaseException | None]


def offered(bench: SpoolBench, address: str) -> Answers:
    """A message is handed in; the answers it gets."""
    answers: Answers = []
    recipients = bench.message(address)
    bench.shard.accept(recipients[0].message, recipients, answers.append)
    return answers


def after_a_kill(bench: SpoolBench, folder: Path) -> SpoolBench:
    """The shard as a crash at this instant leaves it."""
    shutil.copytree(bench.folder, folder)
    return SpoolBench(folder)


@pytest.mark.parametrize("method", ["write", "sync"])
def test_nobody_is_refused_before_the_message_is_provably_gone(
    bench: SpoolBench, method: str
) -> None:
    fault = Fault(bench.shard._store, method, BROKEN)
    answers = offered(bench, "a@x")
    for _ in range(4):
        bench.loop.advance(5, bench.shard)
    assert answers == []
    assert busy(bench)
    fault.on = False
    bench.loop.advance(5, bench.shard)
    assert [type(answer) for answer in answers] == [SpoolBusyError]
    assert "I/O error" in str(answers[0])
    assert bench.shard.healthy
    assert addresses(bench) == []
    assert bench.shard.stats().refused == 2


def test_a_database_that_opens_is_not_enough(bench: SpoolBench) -> None:
    """The batch that failed is in its log: only a synced deletion takes it out."""
    reopened = Fault(bench.shard._store, "reopen", BROKEN)
    reopened.on = False
    fault = Fault(bench.shard._store, "sync", BROKEN)
    answers = offered(bench, "a@x")
    for _ in range(3):
        bench.loop.advance(1, bench.shard)
    assert reopened.calls
    assert fault.calls > 1
    assert answers == []
    assert not bench.shard.healthy
    assert busy(bench)
    fault.on = False
    bench.loop.advance(5, bench.shard)
    assert len(answers) == 1


def test_what_was_never_written_is_refused_at_once(bench: SpoolBench) -> None:
    bench.run()
    fault = Fault(bench.shard._store, "sync", BROKEN)
    written = offered(bench, "a@x")
    bench.loop._run_timer()  # its sync is in the thread
    waiting = offered(bench, "b@x")
    bench.run()
    fault.on = False
    assert written == []
    assert [type(answer) for answer in waiting] == [SpoolBusyError]


def test_what_was_in_a_batch_that_failed_meanwhile_is_in_doubt(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x")
    bench.shard.move(one, Where.HELD)
    bench.loop._run_timer()  # the sync is in the thread
    fault = Fault(bench.shard._store, "write", BROKEN)
    answers = offered(bench, "b@x")
    with pytest.raises(SpoolBusyError):
        bench.shard.held(b"", 10)  # writes it
    bench.run()
    assert answers == []
    fault.on = False
    bench.loop.advance(1, bench.shard)
    assert len(answers) == 1
    assert addresses(bench) == ["a@x"]


def test_patience_is_bounded_and_ends_without_a_verdict(bench: SpoolBench) -> None:
    fault = Fault(bench.shard._store, "sync", BROKEN)
    answers = offered(bench, "a@x")
    bench.run()
    bench.loop.advance(PATIENCE - 1, bench.shard)
    assert answers == []
    bench.loop.advance(1, bench.shard)
    assert [type(answer) for answer in answers] == [SpoolUnknownError]
    assert not isinstance(answers[0], SpoolBusyError)
    assert not bench.shard.healthy
    fault.on = False
    bench.loop.advance(5, bench.shard)
    assert bench.shard.healthy
    assert addresses(bench) == []
    assert len(answers) == 1


def test_a_crash_while_somebody_waits_may_keep_the_message_with_its_record(
    bench: SpoolBench, tmp_path: Path
) -> None:
    fault = Fault(bench.shard._store, "sync", BROKEN)
    answers = offered(bench, "a@x")
    bench.run()
    again = after_a_kill(bench, tmp_path / "killed")
    fault.on = False
    assert answers == []
    assert addresses(again) == ["a@x"]
    assert len(recover(again.shard, []).unlogged) == 1
    again.close()


def test_after_the_refusal_no_crash_brings_the_message_back(
    bench: SpoolBench, tmp_path: Path
) -> None:
    fault = Fault(bench.shard._store, "sync", BROKEN)
    recipients = bench.message("a@x")
    found: list[list[str]] = []

    def refused(error: BaseException | None) -> None:
        again = after_a_kill(bench, tmp_path / "killed")
        found.append(addresses(again))
        again.close()

    bench.shard.accept(recipients[0].message, recipients, refused)
    bench.loop.advance(1, bench.shard)
    fault.on = False
    bench.loop.advance(5, bench.shard)
    assert found == [[]]


def test_nobody_reads_a_database_that_lacks_what_was_done(bench: SpoolBench) -> None:
    """A batch was lost with the database: its recipient would be delivered to again."""
    (one,) = bench.stored("a@x")
    bench.shard.close(one, b"delivered")
    fault = Fault(bench.shard._store, "write", BROKEN)
    bench.commit()
    assert bench.memory_log.lines == [b"delivered"]
    for _ in range(3):
        assert not bench.shard.readable
        with pytest.raises(SpoolBusyError):
            bench.shard.fresh(b"", b"\xff", 10)
        bench.loop.advance(5, bench.shard)
    fault.on = False
    bench.loop.advance(5, bench.shard)
    assert bench.shard.readable
    assert bench.shard.fresh(b"", b"\xff", 10) == []


def test_closing_tells_those_who_wait_that_nobody_knows(bench: SpoolBench) -> None:
    Fault(bench.shard._store, "sync", BROKEN)
    answers = offered(bench, "a@x")
    bench.run()
    assert isinstance(bench.close(), SpoolError)
    assert [type(answer) for answer in answers] == [SpoolUnknownError]
