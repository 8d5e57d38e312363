from __future__ import annotations

import gc

from mta.model import Message, Recipient, Where
from mta.spool import Gone, Lane
from mta.testing.spool import SpoolBench

MINUTE = 60_000_000


def names(recipients: list[Recipient]) -> list[str]:
    return [r.address for r in recipients]


def deferred(bench: SpoolBench, address: str, minutes: int) -> Recipient:
    (one,) = bench.stored(address)
    bench.shard.move(one, Where.DUE, bench.clock.wall_us() + minutes * MINUTE)
    return one


def backlogged(bench: SpoolBench, address: str, due: int = 0, **fields: object) -> Recipient:
    (one,) = bench.message(address)
    for name, value in fields.items():
        setattr(one.message, name, value)
    one.where, one.due_us = Where.BACKLOG, due or bench.clock.wall_us()
    assert bench.accept([one]) == [None]
    return one


def test_fresh_rows_come_in_slices_up_to_this_run(bench: SpoolBench) -> None:
    for number in range(5):
        bench.stored(f"{number}@x", f"{number}@y")
    before = bench.message("new@x")
    bench.accept(before)
    seen: list[str] = []
    after = b""
    while found := bench.shard.fresh(after, before[0].message.id, 3):
        assert len(found) <= 3
        seen += names(found)
        after = found[-1].message.id + found[-1].number.to_bytes(4, "big")
    assert seen == [f"{n}@{d}" for n in range(5) for d in "xy"]


def test_recipients_of_one_message_share_it(bench: SpoolBench) -> None:
    id = bench.stored("a@x", "b@x")[0].message.id
    gc.collect()
    one, two = bench.shard.fresh(b"", b"\xff" * 16, 10)
    assert one.message is two.message is bench.shard.message(id)


def test_a_loaded_message_is_forgotten_with_its_last_user(bench: SpoolBench) -> None:
    bench.stored("a@x")
    gc.collect()
    assert len(bench.shard._messages) == 0


def test_due_rows_come_in_time_order_behind_the_watermark(bench: SpoolBench) -> None:
    for minutes in (3, 1, 2):
        deferred(bench, f"{minutes}@x", minutes)
    start = bench.clock.wall_us()
    assert bench.shard.next_due() == start + MINUTE
    found, mark = bench.shard.due(b"", start + 2 * MINUTE, 10)
    assert names(found) == ["1@x", "2@x"]
    assert bench.shard.next_due() == start + 3 * MINUTE
    found, mark = bench.shard.due(mark, start + 3 * MINUTE, 10)
    assert names(found) == ["3@x"]
    assert bench.shard.due(mark, start + 3 * MINUTE, 10) == ([], mark)
    assert bench.shard.next_due() is None


def test_due_slices_end_at_the_limit(bench: SpoolBench) -> None:
    for _ in range(5):
        deferred(bench, "a@x", 1)
    seen, mark = 0, b""
    for expected in (2, 2, 1, 0):
        found, mark = bench.shard.due(mark, bench.clock.wall_us() + MINUTE, 2)
        assert len(found) == expected
        seen += len(found)
    assert seen == 5


def test_nothing_is_put_behind_the_due_watermark(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x")
    now = bench.clock.wall_us()
    _, mark = bench.shard.due(b"", now, 10)
    bench.shard.move(one, Where.DUE, now - MINUTE)
    assert one.due_us == now + 1
    assert names(bench.shard.due(mark, now + 1, 10)[0]) == ["a@x"]


def test_a_deferral_that_waits_for_its_frame_is_read_when_it_is_due(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x")
    two = deferred(bench, "b@x", 0)
    now = bench.clock.wall_us()
    bench.shard.defer(one, b"deferred", Where.DUE, now - 1)
    assert bench.shard.next_due() == now - 1
    found, mark = bench.shard.due(b"", now - 1, 10)
    assert found == [one]
    found, mark = bench.shard.due(mark, now + 10, 10)
    assert names(found) == [two.address]
    bench.commit()
    assert bench.shard.due(mark, now + 10, 10) == ([], mark)


def test_a_backlog_row_that_waits_for_its_frame_is_read(bench: SpoolBench) -> None:
    lane = Lane(1, "", "", "x.example")
    (one,) = bench.stored("a@x.example")
    (elsewhere,) = bench.stored("a@y.example")
    backlogged(bench, "b@x.example", due=50)
    for recipient in (one, elsewhere):
        bench.shard.defer(recipient, b"deferred", Where.DUE, 1)
        bench.shard.move(recipient, Where.BACKLOG, 40)
    found, mark = bench.shard.backlog(lane, b"", 1)
    assert found == [one]
    found, mark = bench.shard.backlog(lane, mark, 10)
    assert names(found) == ["b@x.example"]
    bench.commit()
    assert bench.shard.backlog(lane, mark, 10) == ([], mark)
    assert names(bench.shard.backlog(lane, b"", 10)[0]) == ["a@x.example", "b@x.example"]


def test_backlog_lanes_are_found_by_class_first(bench: SpoolBench) -> None:
    for number in range(150):
        backlogged(bench, f"a@{number % 75:02}.example", klass=2)
    backlogged(bench, "a@x.example", klass=0, tenant="acme", campaign="c")
    lanes = list(bench.shard.backlog_lanes())
    assert lanes[0] == Lane(0, "acme", "c", "x.example")
    assert lanes[1:] == [Lane(2, "", "", f"{number:02}.example") for number in range(75)]


def test_a_lane_is_read_in_order_of_due_time(bench: SpoolBench) -> None:
    now = bench.clock.wall_us()
    for due in (3, 1, 2):
        backlogged(bench, f"{due}@x.example", due=now + due)
    backlogged(bench, "a@xx.example")
    lane = Lane(1, "", "", "x.example")
    found, mark = bench.shard.backlog(lane, b"", 2)
    assert names(found) == ["1@x.example", "2@x.example"]
    found, mark = bench.shard.backlog(lane, mark, 2)
    assert names(found) == ["3@x.example"]
    assert bench.shard.backlog(lane, mark, 2) == ([], mark)


def test_nothing_is_put_behind_a_lanes_watermark_until_it_is_forgotten(bench: SpoolBench) -> None:
    lane, now = Lane(1, "", "", "x.example"), bench.clock.wall_us()
    first = backlogged(bench, "a@x.example", due=now)
    _, mark = bench.shard.backlog(lane, b"", 10)
    late = backlogged(bench, "b@x.example", due=now - 5)
    assert late.due_us == now + 1
    assert bench.shard.backlog(lane, mark, 10)[0] == [late] or late.due_us > first.due_us
    bench.shard.forget_lane(lane)
    assert backlogged(bench, "c@x.example", due=now - 5).due_us == now - 5


def test_a_move_is_seen_by_the_next_read(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x.example")
    bench.shard.move(one, Where.BACKLOG)
    found, _ = bench.shard.backlog(Lane(1, "", "", "x.example"), b"", 10)
    assert names(found) == ["a@x.example"]
    bench.shard.move(one, Where.HELD)
    assert names(bench.shard.held(b"", 10)) == ["a@x.example"]
    assert list(bench.shard.backlog_lanes()) == []


def test_what_is_closed_is_not_read_any_more(bench: SpoolBench) -> None:
    one, two = bench.stored("a@x", "b@x")
    bench.shard.move(one, Where.HELD)
    bench.shard.close(one, b"end")
    id = one.message.id
    assert bench.shard.get(id, 0) is None
    assert bench.shard.held(b"", 10) == []
    assert names(bench.shard.recipients(id)) == ["b@x"]
    assert names(bench.shard.scan(b"", 10)[0]) == ["b@x"]
    assert [number for _, number, _ in bench.shard.expiring(b"", two.expires_us, 10)[0]] == [1]


def test_what_waits_for_its_frame_is_read_as_it_is_in_memory(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x")
    bench.shard.defer(one, b"d", Where.HELD, 5)
    assert bench.shard.get(one.message.id, 0) is one
    assert bench.shard.fresh(b"", b"\xff" * 16, 10) == []


def test_expiring_rows_carry_id_number_and_time(bench: SpoolBench) -> None:
    one, _ = bench.stored("a@x", "b@x")
    expected = [(one.message.id, number, one.expires_us) for number in (0, 1)]
    assert bench.shard.expiring(b"", one.expires_us - 1, 10)[0] == []
    found, mark = bench.shard.expiring(b"", one.expires_us, 10)
    assert found == expected
    assert bench.shard.expiring(mark, one.expires_us, 10) == ([], mark)


def test_scan_goes_over_all_recipients_once(bench: SpoolBench) -> None:
    for number in range(7):
        bench.stored(f"{number}@x", f"{number}@y")
    seen, after = [], b""
    while found := bench.shard.scan(after, 3):
        recipients, after = found
        if not recipients:
            break
        seen += names(recipients)
    assert seen == [f"{n}@{d}" for n in range(7) for d in "xy"]


def test_the_newest_id_bounds_new_ones(bench: SpoolBench) -> None:
    assert bench.shard.newest_id() == b""
    bench.stored("a@x")
    (last,) = bench.stored("a@x")
    assert bench.shard.newest_id() == last.message.id


def test_unknown_messages(bench: SpoolBench) -> None:
    assert bench.shard.message(bytes(16)) is None
    assert bench.shard.get(bytes(16), 0) is None
    assert bench.shard.recipients(bytes(16)) == []
    assert isinstance(bench.shard.body(Message(bytes(16), "")), Gone)


# -- records that cannot be read


def put(bench: SpoolBench, key: bytes, value: bytes) -> None:
    bench.shard._store.messages.put(key, value)


def reports(bench: SpoolBench) -> list[tuple[bytes, int, str]]:
    """Records what is reported and logs it, as a worker does."""
    seen: list[tuple[bytes, int, str]] = []

    def report(id: bytes, number: int, detail: str) -> None:
        seen.append((id, number, detail))
        bench.shard.log(b"removed")

    bench.shard.on_corrupt = report
    return seen


def test_a_corrupt_recipient_is_set_aside_and_the_rest_is_served(bench: SpoolBench) -> None:
    seen = reports(bench)
    one = bench.stored("a@x", "b@x", "c@x")[0]
    id, key = one.message.id, one.message.id + bytes(3) + b"\1"
    put(bench, key, b"\x01garbage")
    assert names(bench.shard.fresh(b"", b"\xff" * 16, 10)) == ["a@x", "c@x"]
    bench.commit()
    assert [(report[0], report[1]) for report in seen] == [(id, 1)]
    assert bench.memory_log.frames == [[b"removed"]]
    assert one.message.open == 2
    assert bench.shard._store.get(bench.shard._store.messages, key) is None
    saved = (bench.folder / "corrupt" / f"{id.hex()}-1.json").read_text()
    assert b"\x01garbage".hex() in saved
    assert key.hex() in saved


def test_a_corrupt_recipient_stays_while_nobody_can_log_it(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x")
    key = one.message.id + bytes(4)
    bench.shard._young.list_all()
    bench.run()
    put(bench, key, b"garbage")
    assert bench.shard.get(one.message.id, 0) is None
    bench.commit()
    assert bench.shard._store.get(bench.shard._store.messages, key) == b"garbage"
    assert len(bench.shard._store.rows(b"", b"\xff", 9)) == 2


def test_a_corrupt_envelope_takes_its_recipients_along(bench: SpoolBench) -> None:
    seen = reports(bench)
    message = bench.stored("a@x", "b@x")[0].message
    id = message.id
    bench.stored("good@x")
    put(bench, id, b"")
    bench.shard._messages.clear()
    assert names(bench.shard.fresh(b"", b"\xff" * 16, 10)) == ["good@x"]
    bench.commit()
    assert [(report[0], report[1]) for report in seen] == [(id, 0), (id, 1)]
    assert isinstance(bench.shard.body(message), Gone)
    assert (bench.folder / "corrupt" / f"{id.hex()}.eml").read_bytes()
    rows = bench.shard._store.rows(b"", b"\xff", 100)
    assert [row[:1] for row in rows if row[-20:-4] == id] == []


def test_a_missing_envelope_is_a_corrupt_message(bench: SpoolBench) -> None:
    seen = reports(bench)
    one, two = bench.stored("a@x", "b@x")
    for recipient in (one, two):
        bench.shard.move(recipient, Where.DUE)
    bench.run()
    id, due = one.message.id, one.due_us
    bench.shard._messages.clear()
    bench.shard._store.messages.delete(id)
    assert bench.shard.due(b"", due, 10)[0] == []
    bench.commit()
    assert seen == [(id, number, "its envelope is missing") for number in (0, 1)]
    assert bench.shard._store.rows(b"", b"\xff", 100) == []


def test_a_row_of_a_recipient_that_is_gone_is_dropped(bench: SpoolBench) -> None:
    one = deferred(bench, "a@x", 1)
    bench.run()
    bench.shard._store.messages.delete(one.message.id + bytes(4))
    assert bench.shard.due(b"", one.due_us, 10)[0] == []
    bench.commit()
    assert [row[:1] for row in bench.shard._store.rows(b"", b"\xff", 9)] == [b"e"]


def test_what_cannot_be_copied_stays(bench: SpoolBench) -> None:
    seen = reports(bench)
    (one,) = bench.stored("a@x")
    key = one.message.id + bytes(4)
    put(bench, key, b"garbage")
    (bench.folder / "corrupt").write_text("a file is in the way")
    assert bench.shard.fresh(b"", b"\xff" * 16, 10) == []
    bench.commit()
    assert seen == []
    assert bench.shard._store.get(bench.shard._store.messages, key) == b"garbage"


def test_a_repr_says_how_the_shard_is(bench: SpoolBench) -> None:
    assert repr(bench.shard) == "<Shard 1 epoch 1, 0 pending, healthy>"
    assert isinstance(bench.message("a@x")[0].message, Message)
