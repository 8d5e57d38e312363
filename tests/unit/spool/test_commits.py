from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mta.errors import SpoolBusyError
from mta.model import Where
from mta.spool import Gone
from mta.testing.spool import SpoolBench

if TYPE_CHECKING:
    from pathlib import Path

MINUTE = 60_000_000


def reopened(bench: SpoolBench) -> SpoolBench:
    assert bench.close() is None
    return SpoolBench(bench.folder)


def everything(bench: SpoolBench) -> list[tuple[str, int, int]]:
    found, _ = bench.shard.scan(b"", 1000)
    return [(r.address, r.where, r.due_us) for r in found]


def row_count(bench: SpoolBench) -> int:
    store = bench.shard._store
    return len(store.rows(b"", b"\xff", 10**6)) + len(store.records(b"", b"\xff" * 21, 10**6))


def test_done_is_called_after_the_sync_and_not_before(bench: SpoolBench) -> None:
    answers: list[BaseException | None] = []
    recipients = bench.message("a@x.example")
    bench.shard.accept(recipients[0].message, recipients, answers.append)
    assert answers == []
    bench.run()
    assert answers == [None]
    assert bench.shard.stats().commits == 1


def test_messages_of_one_turn_share_a_commit(bench: SpoolBench) -> None:
    answers: list[BaseException | None] = []
    for _ in range(20):
        recipients = bench.message("a@x.example")
        bench.shard.accept(recipients[0].message, recipients, answers.append)
    bench.run()
    stats = bench.shard.stats()
    assert (answers, stats.commits, stats.largest_group) == ([None] * 20, 1, 20)


def test_a_cycle_waits_a_millisecond_for_as_many_messages_as_the_last_had(
    bench: SpoolBench,
) -> None:
    answers: list[BaseException | None] = []

    def accept() -> None:
        recipients = bench.message("a@x.example")
        bench.shard.accept(recipients[0].message, recipients, answers.append)

    for _ in range(3):
        accept()
    bench.run()
    accept()
    bench.run()
    assert len(answers) == 3  # it waits for company
    accept()
    accept()
    bench.run()
    assert len(answers) == 6  # which has come
    accept()
    bench.loop.advance(0.0011, bench.shard)
    assert len(answers) == 7  # nobody else came
    accept()
    bench.run()
    assert len(answers) == 8  # and a lone session never waits


def test_an_accepted_message_is_there_after_a_restart(bench: SpoolBench) -> None:
    recipients = bench.stored("a@x.example", "b@y.example")
    again = reopened(bench)
    found = again.shard.recipients(recipients[0].message.id)
    assert [r.address for r in found] == ["a@x.example", "b@y.example"]
    assert found[0].message is found[1].message
    assert (found[0].message.open, found[0].message.total) == (2, 2)
    assert again.shard.body(found[0].message) == recipients[0].message.body
    assert again.shard.epoch == 2
    again.close()


def test_an_outcome_waits_for_the_interval_then_record_and_rows_follow(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x.example")
    bench.shard.close(one, b"delivered")
    bench.run()
    assert bench.memory_log.frames == []
    bench.commit()
    assert bench.memory_log.frames == [[b"delivered"]]
    assert row_count(bench) == 0
    assert bench.shard.position == bench.memory_log.position == bench.memory_log.safe


def test_records_of_one_interval_share_a_frame(bench: SpoolBench) -> None:
    recipients = [bench.stored("a@x.example")[0] for _ in range(5)]
    for one in recipients:
        bench.shard.log(b"reception", logged=one.message.id)
        bench.shard.close(one, b"delivered")
    bench.commit()
    assert [len(frame) for frame in bench.memory_log.frames] == [10]


def test_many_records_make_a_frame_before_the_interval(bench: SpoolBench) -> None:
    for _ in range(5000):
        bench.shard.log(b"x")
    bench.run()
    assert len(bench.memory_log.lines) == 5000


def test_a_body_goes_with_the_last_recipient(bench: SpoolBench) -> None:
    one, two = bench.stored("a@x.example", "b@x.example")
    bench.shard.close(one, b"1")
    bench.commit()
    assert bench.shard.body(one.message)
    assert one.message.open == 1
    bench.shard.close(two, b"2")
    bench.commit()
    assert isinstance(bench.shard.body(one.message), Gone)
    assert row_count(bench) == 0


def test_the_envelope_tells_how_many_are_open_after_a_restart(bench: SpoolBench) -> None:
    one, two, three = bench.stored("a@x.example", "b@x.example", "c@x.example")
    bench.shard.close(one, b"1")
    bench.shard.close(three, b"3")
    again = reopened(bench)
    message = again.shard.message(one.message.id)
    assert message is not None
    assert (message.open, message.total) == (1, 3)
    assert everything(again) == [("b@x.example", Where.FRESH, two.due_us)]
    again.close()


def test_a_recipient_is_closed_once(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x.example")
    bench.shard.close(one, b"1")
    with pytest.raises(ValueError, match="is closed"):
        bench.shard.close(one, b"2")


def test_a_deferral_is_stored_with_its_record(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x.example")
    due = bench.clock.wall_us() + MINUTE
    one.attempts, one.code, one.text = 1, 451, "later"
    bench.shard.defer(one, b"deferred", Where.DUE, due)
    assert (one.where, one.due_us) == (Where.DUE, due)
    bench.commit()
    again = reopened(bench)
    found = again.shard.get(one.message.id, 0)
    assert found is not None
    assert (found.where, found.due_us, found.attempts, found.code, found.text) == (
        *(Where.DUE, due, 1, 451),
        "later",
    )
    assert again.shard.fresh(b"", b"\xff" * 16, 10) == []
    again.close()


def test_a_move_is_written_without_a_frame(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x.example")
    bench.shard.move(one, Where.HELD)
    bench.run()
    assert bench.memory_log.frames == []
    again = reopened(bench)
    assert [r.address for r in again.shard.held(b"", 10)] == ["a@x.example"]
    assert again.shard.fresh(b"", b"\xff" * 16, 10) == []
    again.close()


MOVES = {
    "move, close": lambda s, r: (s.move(r, Where.HELD), s.close(r, b"end")),
    "defer, close": lambda s, r: (s.defer(r, b"d", Where.DUE, 5), s.close(r, b"end")),
    "defer, move, close": lambda s, r: (
        *(s.defer(r, b"d", Where.DUE, 5), s.move(r, Where.BACKLOG)),
        s.close(r, b"end"),
    ),
}


@pytest.mark.parametrize("name", MOVES)
def test_changes_of_one_cycle_are_applied_in_their_order(bench: SpoolBench, name: str) -> None:
    (one,) = bench.stored("a@x.example")
    MOVES[name](bench.shard, one)
    bench.commit()
    assert row_count(bench) == 0


def test_a_move_behind_a_deferral_stays_behind_it(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x.example")
    bench.shard.defer(one, b"d", Where.DUE, bench.clock.wall_us() + MINUTE)
    bench.shard.move(one, Where.HELD)
    bench.shard.move(one, Where.BACKLOG, 77)
    again = reopened(bench)
    assert everything(again) == [("a@x.example", Where.BACKLOG, 77)]
    assert len(again.shard._store.rows(b"", b"\xff", 100)) == 2
    again.close()


def test_moves_while_a_cycle_is_under_way_keep_their_order(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x.example")
    bench.shard.defer(one, b"d", Where.DUE, bench.clock.wall_us() + MINUTE)
    bench.clock.advance(0.06)
    bench.loop._run_timer()  # the frame is in the thread now
    bench.shard.move(one, Where.HELD)
    bench.commit()
    assert everything(bench) == [("a@x.example", Where.HELD, one.due_us)]
    assert [row[:1] for row in bench.shard._store.rows(b"", b"\xff", 100)] == [b"e", b"h"]


def test_a_dsn_is_stored_in_the_batch_that_closes(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x.example")
    dsn = bench.message("from@example.com", body=b"dsn")
    answers: list[BaseException | None] = []
    bench.shard.close(one, b"bounce", (dsn[0].message, dsn, answers.append))
    bench.clock.advance(0.06)
    bench.loop._run_timer()
    assert everything(bench) == []  # the record comes first
    bench.run()
    assert answers == [None]
    assert everything(bench) == [("from@example.com", Where.FRESH, dsn[0].due_us)]
    assert bench.shard.body(dsn[0].message) == b"dsn"


def test_closing_commits_what_waits_and_what_callbacks_add(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x.example")
    dsn = bench.message("from@example.com")
    id = dsn[0].message.id
    submit = (dsn[0].message, dsn, lambda error: bench.shard.log(b"reception", logged=id))
    bench.shard.close(one, b"bounce", submit)
    assert bench.close() is None
    assert bench.memory_log.lines == [b"bounce", b"reception"]
    assert bench.memory_log.closed


def test_a_closing_shard_takes_no_mail(bench: SpoolBench) -> None:
    bench.close()
    recipients = bench.message("a@x.example")
    with pytest.raises(SpoolBusyError):
        bench.shard.accept(recipients[0].message, recipients, lambda error: None)


def test_the_newest_logged_message_and_older_ones_without_record(bench: SpoolBench) -> None:
    one, two, three = (bench.stored("a@x.example")[0].message.id for _ in range(3))
    bench.shard.log(b"1", logged=one)
    bench.shard.log(b"3", logged=three)
    again = reopened(bench)
    assert again.shard._cycle.newest_logged == three
    assert list(again.shard._cycle.unlogged) == [two]
    again.close()


def test_cursors_of_acts(bench: SpoolBench) -> None:
    bench.shard.set_cursor(7, b"here")
    bench.shard.set_cursor(300, b"there")
    bench.shard.set_cursor(300, None)
    again = reopened(bench)
    assert again.shard.cursors() == {7: b"here"}
    again.close()


def test_bodies_are_read_by_the_thread(bench: SpoolBench) -> None:
    messages = [bench.stored("a@x.example")[0].message for _ in range(20)]
    found: list[object] = []
    bench.shard.read_bodies(messages, found.append)
    bench.loop.wait()
    assert found == [dict.fromkeys([m.id for m in messages], b"Subject: x\r\n\r\nx\r\n")]


def test_two_owners_of_a_shard_are_impossible(bench: SpoolBench, tmp_path: Path) -> None:
    from mta.errors import SpoolLockedError

    with pytest.raises(SpoolLockedError, match="in use by process"):
        SpoolBench(tmp_path)
