from __future__ import annotations

import errno
import os
import shutil
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mta._speedups import bodylog
from mta.errors import SpoolBusyError
from mta.model import Message, Recipient, Where
from mta.spool import Unreadable, keys, recover, zeros
from mta.spool.segments import KEPT_FREE
from mta.testing.spool import SpoolBench, descriptors
from tests.unit.spool.filled import (
    BODY,
    FULL,
    OPTIONS,
    bodies_in_rocksdb,
    close,
    crashed,
    number_of,
    opened,
    rest,
    send,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[SpoolBench]:
    bench = opened(tmp_path / "one")
    yield bench
    if not bench.memory_log.closed:
        assert bench.close() is None


def test_a_body_lies_in_a_segment_and_comes_back(bench: SpoolBench) -> None:
    one, two = send(bench, 2)
    small, large = send(bench, size=1000) + send(bench, size=40_000)
    assert (one.message.place, two.message.place) == (1 << 32, 1 << 32 | 12)
    assert (small.message.place, large.message.place) == (0, 0)
    for r in (one, two, small, large):
        assert bench.shard.body(r.message) == r.message.body
    assert bodies_in_rocksdb(bench) == 2
    found: list[object] = []
    bench.shard.read_bodies([one.message, small.message], found.append)
    while not found:
        bench.loop.wait()
    assert found == [{r.message.id: r.message.body for r in (one, small)}]


def test_a_body_that_is_not_written_yet_is_read(bench: SpoolBench) -> None:
    (one,) = bench.message("a@x", body=b"x" * BODY)
    bench.shard.accept(one.message, [one], lambda error: None)
    assert bench.shard.body(one.message) == b"x" * BODY
    bench.run()


def test_bodies_survive_a_crash_and_a_restart(bench: SpoolBench) -> None:
    sent = send(bench, 3)
    for again in (crashed(bench), None):
        if again is None:
            bench.close()
            again = SpoolBench(bench.folder, options=OPTIONS)
        for r in sent:
            message = again.shard.message(r.message.id)
            assert message is not None
            assert again.shard.body(message) == r.message.body
        again.close()


def test_a_segment_is_used_again_once_it_is_empty(bench: SpoolBench) -> None:
    sent = send(bench, FULL + 1)
    segments = bench.shard._bodies.segments
    assert {number_of(r) for r in sent} == {1, 2}
    close(bench, sent[1:FULL])
    assert [one.number for one in segments.free] == []
    close(bench, sent[:1])
    assert [one.number for one in segments.free] == [1]
    more = send(bench, FULL)
    assert {number_of(r) for r in more} == {2, 3}
    assert segments.free == []
    names = sorted(path.name for path in segments.folder.iterdir())
    assert names == ["0000000002.bodies", "0000000003.bodies"]
    assert [bench.shard.body(r.message) for r in more] == [r.message.body for r in more]
    bench.shard.close(more[-1], b"end")


def test_a_body_of_an_earlier_use_of_a_file_is_none(bench: SpoolBench) -> None:
    sent = send(bench, FULL + 1)
    close(bench, sent[:FULL])
    send(bench, FULL)
    assert isinstance(bench.shard.body(sent[FULL - 1].message), Unreadable)


def test_after_a_restart_segments_are_counted_before_any_is_free(bench: SpoolBench) -> None:
    sent = send(bench, FULL + 2)
    close(bench, sent[:FULL] + sent[FULL + 1 :])
    again = crashed(bench)
    segments = again.shard._bodies.segments
    assert not segments.counted
    segments.look(segments.table[1])
    assert segments.free == []
    while not segments.counted:
        again.loop.advance(0.1, again.shard)
    assert {number: one.live for number, one in segments.table.items()} == {2: 1}
    assert [one.number for one in segments.free] == [1]
    assert segments.claim()[0] == 3
    again.close()


def test_a_torn_body_is_set_aside_after_a_crash(bench: SpoolBench) -> None:
    whole, torn = send(bench, 2)
    place = (torn.message.place & 0xFFFFFFFF) * bodylog.UNIT
    again_folder = bench.folder.with_name("crashed")
    shutil.copytree(bench.folder, again_folder)
    segment = again_folder / "spool" / "shard-0001" / "bodies" / "0000000001.bodies"
    with open(segment, "r+b") as file:
        file.seek(place + bodylog.HEADER + 4000)
        file.write(bytes(2000))
    again = SpoolBench(again_folder, options=OPTIONS)
    result = recover(again.shard, [])
    assert [m.id for m in result.unlogged] == [whole.message.id]
    assert [m.id for m in result.torn] == [torn.message.id]
    removed: list[bytes] = []

    def report(id: bytes, number: int, detail: str) -> None:
        removed.append(id)
        again.shard.log(b"removed")

    again.shard.on_corrupt = report
    again.shard.set_aside(result.torn[0], "torn")
    again.commit()
    again.commit()
    assert removed == [torn.message.id]
    assert [r.message.id for r in again.shard.scan(b"", 10)[0]] == [whole.message.id]
    assert (again_folder / "corrupt" / f"{torn.message.id.hex()}.json").exists()
    again.close()


def test_a_full_disk_refuses_and_what_was_placed_is_free_again(
    bench: SpoolBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = send(bench)

    def fail(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(bodylog, "append", fail)
        (two,) = bench.message("b@x", body=b"y" * BODY)
        answers = bench.accept([two])
    for _ in range(3):
        bench.loop.advance(6, bench.shard)
    (answer,) = answers
    assert isinstance(answer, SpoolBusyError)
    assert "No space left" in str(answer)
    assert bench.shard.healthy
    segment = bench.shard._bodies.segments.table[1]
    assert (segment.live, segment.pins) == (1, 0)
    (three,) = send(bench)
    assert bench.shard.body(three.message) == three.message.body
    assert bench.shard.body(one.message) == one.message.body


def test_without_room_for_a_segment_bodies_go_to_rocksdb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = SpoolBench(tmp_path, options=OPTIONS)

    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", fail)
        (one,) = bench.message("a@x", body=b"x" * BODY)
        assert bench.accept([one]) == [None]
        rest(bench)
    assert one.message.place == 0
    assert bench.shard.body(one.message) == b"x" * BODY
    assert list(bench.shard._bodies.segments.folder.iterdir()) == []
    bench.loop.advance(2, bench.shard)
    (two,) = send(bench)
    assert two.message.place
    bench.close()


def files_of(bench: SpoolBench) -> list[str]:
    return sorted(path.name for path in bench.shard._bodies.segments.folder.iterdir())


def test_files_that_nobody_needs_go_when_their_mail_has_left(bench: SpoolBench) -> None:
    sent = send(bench, 6 * FULL)
    assert len(files_of(bench)) >= 6
    close(bench, sent)
    rest(bench)
    segments = bench.shard._bodies.segments
    assert len(segments.free) == KEPT_FREE
    kept = len(segments.free) + len(segments.table) + (segments.spare is not None)
    assert len(files_of(bench)) == kept <= KEPT_FREE + 2
    (again,) = send(bench)
    assert bench.shard.body(again.message) == again.message.body


def test_files_that_nobody_needs_go_after_a_restart(bench: SpoolBench) -> None:
    close(bench, send(bench, 6 * FULL))
    rest(bench)
    again = crashed(bench)
    for number in range(50, 55):  # as if a crash had come before they were removed
        path = again.shard._bodies.segments.folder / f"{number:010}.bodies"
        path.write_bytes(bytes(64 << 10))
        again.shard._bodies.segments._take_up(path, number)
    while not again.shard._bodies.segments.counted:
        again.loop.advance(0.1, again.shard)
    rest(again)
    assert len(files_of(again)) <= KEPT_FREE + 1
    again.close()


def test_a_descriptor_is_closed_with_its_file(bench: SpoolBench) -> None:
    sent = send(bench, 6 * FULL)
    before = descriptors()
    gone = len(files_of(bench))
    close(bench, sent)
    rest(bench)
    rest(bench)  # they are closed by the reader, when the loop knows
    gone -= len(files_of(bench))
    assert gone > 0
    assert descriptors() == before - gone


def test_bodies_are_read_while_a_segment_is_prepared(
    bench: SpoolBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = send(bench)
    gate = threading.Event()
    make = zeros.make
    monkeypatch.setattr(zeros, "make", lambda *how: gate.wait(180) and make(*how))
    bench.shard._reclaim._prepare()
    answers: list[object] = []
    bench.shard.read_bodies([one.message], answers.append)
    bench.loop.wait()
    assert answers == [{one.message.id: one.message.body}]
    gate.set()
    rest(bench)


class Ended(threading.Event):
    """Notes how long it is waited for, instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        return self.is_set()


def test_a_preparation_leaves_the_disk_to_others_unless_mail_waits_for_it(
    bench: SpoolBench,
) -> None:
    reclaim, segments = bench.shard._reclaim, bench.shard._bodies.segments
    ended = Ended()
    assert segments.active is None
    reclaim._ended = ended
    reclaim._rest(0.9, 0.1)
    assert ended.waits == []  # there is none at all
    reclaim._ended = threading.Event()
    send(bench, FULL // 2 + 1)
    rest(bench)
    assert segments.active is not None
    assert 0.0 < segments.due() < 0.5
    reclaim._ended = ended
    reclaim._rest(0.5, 0.1)
    reclaim._rest(0.5, 100.0)
    assert ended.waits == [pytest.approx(0.3), 1.0]
    reclaim._ended = threading.Event()
    send(bench, FULL // 2 - 2)
    assert segments.due() > 0.5
    reclaim._ended = ended
    reclaim._rest(0.5, 0.1)
    assert len(ended.waits) == 2


def test_a_shard_that_closes_does_not_wait_for_a_preparation(tmp_path: Path) -> None:
    bench = SpoolBench(tmp_path, options=replace(OPTIONS, segment_bytes=64 << 20))
    bench.shard._reclaim._prepare()
    bench.shard._reclaim.stop()
    assert bench.close() is None
    assert files_of(bench) == []


def test_a_dsn_lies_in_a_segment_too(bench: SpoolBench) -> None:
    (one,) = send(bench)
    dsn = bench.message("from@example.com", body=b"d" * BODY)
    bench.shard.close(one, b"bounce", (dsn[0].message, dsn, lambda error: None))
    bench.commit()
    assert dsn[0].message.place
    again = crashed(bench)
    message = again.shard.message(dsn[0].message.id)
    assert message is not None
    assert again.shard.body(message) == b"d" * BODY
    again.close()


def emptied(bench: SpoolBench) -> None:
    """Turn the loop until no segment is being emptied."""
    reclaim = bench.shard._reclaim
    while reclaim._moving is not None:
        bench.run()
        if reclaim._moving is not None:
            bench.loop.wait()
    bench.run()


def sparse(bench: SpoolBench) -> list[Recipient]:
    """One body left in each of seven segments, and one in the active."""
    sent = send(bench, 7 * FULL + 1)
    left = sent[::FULL]
    ends = [r for r in sent if r not in left]
    for r in ends:
        bench.shard.close(r, b"end")
    bench.commit()
    bench.commit()
    return left


def test_what_is_left_in_sparse_segments_goes_to_rocksdb(bench: SpoolBench) -> None:
    left = sparse(bench)
    segments = bench.shard._bodies.segments
    for _ in range(10):
        bench.shard._reclaim.look()
        emptied(bench)
    moved = [r for r in left if number_of(r) not in segments.table]
    assert len(moved) == bodies_in_rocksdb(bench) == 3  # four segments of waste are allowed
    assert bench.shard._store.settings(keys.MOVING, keys.above(keys.MOVING)) == []
    for r in left:
        assert bench.shard.body(r.message) == r.message.body
        message = bench.shard.message(r.message.id)
        assert message is not None
        assert bench.shard.body(message) == r.message.body
    close(bench, left)
    assert bodies_in_rocksdb(bench) == 0
    assert sum(one.live for one in segments.table.values()) == 0


def test_what_ends_while_its_segment_is_emptied_leaves_nothing(bench: SpoolBench) -> None:
    left = sparse(bench)
    bench.shard._reclaim.look()
    victim = bench.shard._reclaim._moving
    assert victim is not None
    (one,) = [r for r in left if number_of(r) == victim.number]
    bench.shard.close(one, b"end")
    emptied(bench)
    bench.commit()
    bench.commit()
    store = bench.shard._store
    assert store.get(store.bodies, one.message.id) is None
    assert victim.number not in bench.shard._bodies.segments.table


def test_emptying_goes_on_after_a_crash(bench: SpoolBench) -> None:
    left = sparse(bench)
    bench.shard._reclaim.look()
    bench.shard._cycle.settle()
    again = crashed(bench)
    segments = again.shard._bodies.segments
    begun = [one for one in segments.table.values() if one.moving]
    assert len(begun) == 1
    while not segments.counted:
        again.loop.advance(0.1, again.shard)
    emptied(again)
    assert begun[0].number not in segments.table
    for r in left:
        message = again.shard.message(r.message.id)
        assert message is not None
        assert again.shard.body(message) == r.message.body
        found = again.shard.get(r.message.id, 0)
        assert found is not None
        again.shard.close(found, b"end")
    again.commit()
    again.commit()
    assert bodies_in_rocksdb(again) == 0
    again.close()


# -- recipients without index rows


def rows(bench: SpoolBench) -> list[bytes]:
    return [row[:1] for row in bench.shard._store.rows(b"", b"\xff", 99)]


def test_a_young_recipient_has_no_rows_and_ends_with_one_delete(bench: SpoolBench) -> None:
    (one,) = send(bench)
    assert rows(bench) == []
    assert len(bench.shard._store.records(b"", keys.END, 9)) == 1
    close(bench, [one])
    assert bench.shard._store.records(b"", keys.END, 9) == []


def test_a_recipient_that_stays_fresh_gets_its_rows(bench: SpoolBench) -> None:
    (one,) = send(bench)
    bench.loop.advance(1.1, bench.shard)
    assert rows(bench) == []
    bench.loop.advance(1.1, bench.shard)
    assert rows(bench) == [b"e", b"f"]
    assert bench.shard._young.listed > keys.recipient(one.message.id, 0)
    close(bench, [one])
    assert rows(bench) == []


def test_what_has_rows_at_once_is_not_read_at_the_next_start(bench: SpoolBench) -> None:
    (one,) = bench.message("a@b.example")
    one.where = Where.BACKLOG
    bench.accept([one])
    for _ in range(2):
        bench.loop.advance(1.1, bench.shard)
    again = crashed(bench)
    assert again.shard._young.listed > keys.recipient(one.message.id, 0)
    again.close()


def test_after_a_crash_the_young_are_found(bench: SpoolBench) -> None:
    old = send(bench, 2)
    bench.loop.advance(3, bench.shard)
    new = send(bench, 2)
    bench.shard.move(new[0], Where.HELD)
    bench.run()
    again = crashed(bench)
    fresh = again.shard.fresh(b"", b"\xff" * 16, 10)
    assert [r.message.id for r in fresh] == [r.message.id for r in (*old, new[1])]
    assert rows(again) == [b"e"] * 4 + [b"f"] * 3 + [b"h"]
    again.close()


def test_an_outcome_that_waits_for_its_frame_keeps_its_recipient_findable(
    bench: SpoolBench,
) -> None:
    (one,) = send(bench)
    kept = bench.shard._cycle.kept
    kept.resting, kept.error, kept._bound = True, "full", 0  # neither log nor spool takes it
    bench.shard.close(one, b"end")
    for _ in range(4):
        bench.loop.advance(1.1, bench.shard)
    bench.shard._cycle.settle()
    assert bench.shard._young.listed <= keys.recipient(one.message.id, 0)
    again = crashed(bench)
    assert [r.message.id for r in again.shard.fresh(b"", b"\xff" * 16, 9)] == [one.message.id]
    again.close()
    kept.resting, kept.error, kept._bound = False, None, 1 << 20
    bench.shard._cycle.kick()
    bench.run()


def test_an_id_that_does_not_rise_has_its_rows_at_once(bench: SpoolBench) -> None:
    late = bench.message("late@x", body=b"x" * BODY)
    send(bench)
    assert bench.accept(late) == [None]
    assert rows(bench) == [b"e", b"f"]


def test_a_young_recipient_expires_in_time(bench: SpoolBench) -> None:
    (one,) = bench.message("a@x", body=b"x" * BODY)
    one.expires_us = bench.clock.wall_us() + 100
    assert bench.accept([one]) == [None]
    found, _ = bench.shard.expiring(b"", one.expires_us, 10)
    assert found == [(one.message.id, 0, one.expires_us)]


@pytest.mark.parametrize("moved", [False, True])
def test_a_young_recipient_whose_expiry_was_read_past_is_read_still(
    bench: SpoolBench, moved: bool
) -> None:
    (one,) = bench.message("a@x", body=b"x" * BODY)
    one.expires_us = bench.clock.wall_us() + 100
    bench.shard.accept(one.message, [one], lambda error: None)
    found, after = bench.shard.expiring(b"", one.expires_us + 5, 10)
    assert found == []
    bench.run()
    if moved:
        bench.shard.move(one, Where.HELD)
    found, _ = bench.shard.expiring(after, one.expires_us + 10, 10)
    assert found == [(one.message.id, 0, one.expires_us)]
    close(bench, [one])
    again = crashed(bench)
    assert rows(again) == []
    again.close()


def test_a_corrupt_young_record_is_met_after_a_crash(bench: SpoolBench) -> None:
    (one,) = send(bench)
    key = keys.recipient(one.message.id, 0)
    bench.shard._store.messages.put(key, b"\x02garbage")
    again = crashed(bench)
    seen: list[bytes] = []
    again.shard.on_corrupt = lambda id, number, detail: seen.append(id)
    assert again.shard.fresh(b"", b"\xff" * 16, 9) == []
    assert seen == [one.message.id]
    again.close()
    bench.shard._store.messages.delete(key)


def test_many_young_recipients_do_not_pile_up(
    bench: SpoolBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mta.spool.young.MANY", 10)
    send(bench, 25)
    assert len(bench.shard._young._young) <= 10
    bench.run()
    fresh = bench.shard.fresh(b"", b"\xff" * 16, 99)
    assert len(fresh) == 25
    assert isinstance(fresh[0].message, Message)
