from __future__ import annotations

from typing import TYPE_CHECKING

from mta.model import Message, Recipient, Where
from mta.spool import Recovered, RecoveredRecord, recover
from mta.testing.spool import SpoolBench

if TYPE_CHECKING:
    from collections.abc import Iterable

MINUTE = 60_000_000


def terminal(recipient: Recipient, type: str = "Delivery") -> RecoveredRecord:
    return RecoveredRecord(recipient.message.id, recipient.number, "terminal", type=type)


def deferred(recipient: Recipient, attempts: int, due_us: int) -> RecoveredRecord:
    return RecoveredRecord(
        *(recipient.message.id, recipient.number, "deferred", attempts, due_us, 451),
        enhanced="4.7.1",
        text="later",
    )


def reception(recipient: Recipient) -> RecoveredRecord:
    return RecoveredRecord(recipient.message.id, 0, "reception")


def again(bench: SpoolBench) -> SpoolBench:
    """The shard after a restart, with the log it had."""
    bench.close()
    return SpoolBench(bench.folder, log=bench.memory_log)


def state(bench: SpoolBench) -> list[tuple[str, int, int, int]]:
    found, _ = bench.shard.scan(b"", 1000)
    return [(r.address, r.where, r.due_us, r.attempts) for r in found]


def recovered(bench: SpoolBench, entries: Iterable[RecoveredRecord]) -> Recovered:
    return recover(bench.shard, entries)


def test_recorded_ends_are_applied(bench: SpoolBench) -> None:
    one, two = bench.stored("a@x", "b@x")
    (three,) = bench.stored("c@x")
    bench = again(bench)
    result = recovered(bench, [terminal(one), terminal(three)])
    assert (result.closed, result.records) == (2, 2)
    bench = again(bench)
    assert [name for name, *_ in state(bench)] == ["b@x"]
    message = bench.shard.message(two.message.id)
    assert message is not None
    assert message.open == 1
    rows = bench.shard._store.rows(b"", b"\xff", 9)
    assert [row[:1] for row in rows] == [b"e", b"f"]
    bench.close()


def test_recorded_deferrals_are_applied_in_order(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x")
    due = bench.clock.wall_us() + MINUTE
    bench = again(bench)
    result = recovered(bench, [deferred(one, 1, due), deferred(one, 2, due + MINUTE)])
    assert result.deferred == 2
    found = bench.shard.get(one.message.id, 0)
    assert found is not None
    assert (found.code, found.enhanced, found.text) == (451, "4.7.1", "later")
    assert state(bench) == [("a@x", Where.DUE, due + MINUTE, 2)]
    rows = bench.shard._store.rows(b"", b"\xff", 9)
    assert [row[:1] for row in rows] == [b"d", b"e"]
    bench.close()


def test_recovery_may_be_done_again(bench: SpoolBench) -> None:
    one, two = bench.stored("a@x", "b@x")
    due = bench.clock.wall_us() + MINUTE
    entries = [deferred(two, 1, due), terminal(one), reception(one)]
    bench = again(bench)
    recovered(bench, entries)
    first = state(bench)
    result = recovered(bench, entries)
    assert (result.closed, result.deferred, result.unlogged) == (0, 0, [])
    assert state(bench) == first == [("b@x", Where.DUE, due, 1)]
    bench.close()


def test_what_an_operator_holds_stays_held(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x")
    bench.shard.move(one, Where.HELD)
    bench = again(bench)
    recovered(bench, [deferred(one, 1, 5)])
    assert state(bench) == [("a@x", Where.HELD, 5, 1)]
    bench.close()


def test_unknown_recipients_are_passed_over(bench: SpoolBench) -> None:
    stranger = Recipient(Message(bytes(16), ""), 3, "a@x")
    result = recovered(bench, [terminal(stranger), deferred(stranger, 1, 5)])
    assert (result.closed, result.deferred) == (0, 0)


def test_messages_without_reception_record_are_told(bench: SpoolBench) -> None:
    logged, older, seen, lost = (bench.stored(f"{n}@x", "b@x")[0] for n in range(4))
    bench.shard.log(b"reception", logged=logged.message.id)
    bench = again(bench)
    result = recovered(bench, [reception(seen)])
    assert [m.id for m in result.unlogged] == [older.message.id, lost.message.id]
    bench = again(bench)
    result = recovered(bench, [])  # the worker died before it had logged them
    assert [m.id for m in result.unlogged] == [older.message.id, lost.message.id]
    for message in result.unlogged:
        bench.shard.log(b"reception", logged=message.id)
    bench = again(bench)
    assert recovered(bench, []).unlogged == []
    bench.close()


def test_a_dsn_that_a_crash_swallowed_is_made_again(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x")
    (two,) = bench.stored("b@x")
    bench = again(bench)
    dsn = bench.message("from@example.com", body=b"dsn")

    def make(
        recipient: Recipient, entry: RecoveredRecord
    ) -> tuple[Message, list[Recipient]] | None:
        assert bench.shard.body(recipient.message)
        return (dsn[0].message, dsn) if entry.type == "Bounce" else None

    result = recover(bench.shard, [terminal(one, "Bounce"), terminal(two)], make)
    assert (result.closed, result.dsns) == (2, 1)
    assert [m.id for m in result.unlogged][-1] == dsn[0].message.id
    bench = again(bench)
    assert [name for name, *_ in state(bench)] == ["from@example.com"]
    assert bench.shard.body(dsn[0].message) == b"dsn"
    bench.close()


def test_the_position_is_the_logs_end_afterwards(bench: SpoolBench) -> None:
    bench.memory_log.append([b"x"])
    assert bench.shard.position == (0, 0)
    recovered(bench, [])
    assert bench.shard.position == bench.memory_log.safe == (1, 1)


def test_many_records_are_applied_in_several_writes(bench: SpoolBench) -> None:
    many = bench.stored(*(f"{n}@x" for n in range(2500)))
    result = recovered(bench, [terminal(r) for r in many[:-1]])
    assert result.closed == 2499
    assert [name for name, *_ in state(bench)] == ["2499@x"]
    assert bench.shard._store.get(bench.shard._store.bodies, many[0].message.id) is not None


# ---------------------------------------------------------------- what the spool has lost


def gone(bench: SpoolBench, total: int = 1) -> Message:
    """A message that the log has received, and the spool does not have."""
    return Message(bench.ids.next(), "from@example.com", total=total)


def of(message: Message, kind: str, number: int = 0, **more: object) -> RecoveredRecord:
    return RecoveredRecord(message.id, number, kind, **more)  # type: ignore[arg-type]


def missed(bench: SpoolBench, *entries: RecoveredRecord) -> tuple[int, list[int]]:
    """How many recipients are missing, and what was told of that."""
    told: list[int] = []
    position = bench.shard.position

    def lost(missing: int) -> None:
        assert bench.shard.position == position  # not moved yet
        told.append(missing)

    return recover(bench.shard, entries, None, lost).missing, told


def test_what_was_received_behind_the_position_is_missed(bench: SpoolBench) -> None:
    (here,) = bench.stored("a@x")
    one, many = gone(bench), gone(bench, 3)
    entries = [
        of(here.message, "reception", total=1),
        of(one, "reception", total=1),
        of(many, "reception", total=3),
        of(many, "terminal", 1, type="Bounce"),
    ]
    assert missed(bench, *entries) == (3, [3])


def test_what_has_its_end_in_the_log_is_not_missed(bench: SpoolBench) -> None:
    """As when a crash came while recovery had removed it already."""
    one, many, lost = gone(bench), gone(bench, 2), gone(bench)
    entries = [
        of(one, "reception", total=1),
        of(one, "terminal", type="Delivery"),
        of(many, "reception", total=2),
        of(many, "terminal", 0, type="Delivery"),
        of(many, "terminal", 1, type="Removed"),
        of(lost, "reception", total=1),
        of(lost, "lost", type="Lost"),
    ]
    assert missed(bench, *entries) == (0, [])


def test_recovery_that_was_interrupted_misses_nothing(bench: SpoolBench) -> None:
    one, two = bench.stored("a@x", "b@x")
    entries = [of(one.message, "reception", total=2), terminal(one), terminal(two)]
    assert missed(bench, *entries) == (0, [])
    assert missed(bench, *entries) == (0, [])  # again, from the same place


def test_what_is_recorded_as_lost_and_there_is_found(bench: SpoolBench) -> None:
    one, two = bench.stored("a@x", "b@x")
    (three,) = bench.stored("c@x")
    (four,) = bench.stored("d@x")
    entries = [of(r.message, "lost", r.number, type="Lost") for r in (one, two, three, four)]
    entries += [of(three.message, "found", type="Found"), terminal(four)]
    result = recovered(bench, entries)
    assert [r.address for r in result.found.values()] == ["a@x", "b@x"]
    assert result.closed == 1
    assert {r.address for r in bench.shard.scan(b"", 9)[0]} == {"a@x", "b@x", "c@x"}
