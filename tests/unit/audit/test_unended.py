"""What a log knows no end of, read in passes of bounded memory."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from mta.audit import unended
from mta.audit.unended import Walk
from mta.maillog import LogWriter
from mta.testing.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def id_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


def received(number: int, total: int = 1) -> bytes:
    text = '{"type":"Reception","time":%d,"id":"%s","total":%d,"sender":"s%d@x"}'
    return (text % (number, id_of(number).hex(), total, number)).encode()


def ended(number: int, rno: int = 0, type: str = "Delivery", time: int = 1) -> bytes:
    text = '{"type":"%s","time":%d,"id":"%s","rno":%d}'
    return (text % (type, time, id_of(number).hex(), rno)).encode()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LogWriter]:
    writer = LogWriter(tmp_path, clock=FakeClock(), segment_bytes=200)
    yield writer
    writer.close()


def open_in(folder: Path, limit: int = 100) -> dict[int, list[int]]:
    """Recipients without an end, by message, over all passes."""
    walk = Walk(folder, (0, 0), limit=limit)
    found: dict[int, list[int]] = {}
    while True:
        for _ in walk.more():
            assert len(walk.open) <= limit + 1
        for id, one in walk.open.items():
            numbers = list(one.numbers())
            assert len(numbers) == one.left
            if numbers:
                found[int.from_bytes(id, "big")] = numbers
        if not walk.next():
            return found


def test_what_has_its_end_is_not_open(tmp_path: Path, log: LogWriter) -> None:
    log.append([received(1), received(2, 3), b"no record", b'{"type":"Rejection","time":1}'])
    log.append([ended(1), ended(2, 1, "Bounce"), ended(2, 1), ended(2, 7), ended(99)])
    assert open_in(tmp_path) == {2: [0, 2]}
    log.append([ended(2, 0), ended(2, 2, "Removed")])
    assert open_in(tmp_path) == {}


def test_what_was_lost_has_its_end_unless_it_was_found(tmp_path: Path, log: LogWriter) -> None:
    log.append([received(1, 2), ended(1, 0, "Lost"), ended(1, 1, "Lost")])
    assert open_in(tmp_path) == {}
    log.append([ended(1, 1, "Found")])
    assert open_in(tmp_path) == {1: [1]}
    log.append([ended(1, 1, "Delivery")])
    assert open_in(tmp_path) == {}


@pytest.mark.parametrize("limit", [2, 3, 7, 1000])
def test_passes_find_the_same_with_little_memory(
    tmp_path: Path, log: LogWriter, limit: int
) -> None:
    order = [*range(1, 40, 2), *range(40, 2, -2), *range(41, 60)]  # ids do not always rise
    for at, number in enumerate(order):
        log.append([received(number), ended(order[at // 2])])
    gone = {order[at // 2] for at in range(len(order))}
    assert open_in(tmp_path, limit) == {n: [0] for n in order if n not in gone}


def test_a_walk_goes_on_with_what_was_written_since(tmp_path: Path, log: LogWriter) -> None:
    log.append([received(1), received(2)])
    walk = Walk(tmp_path, (0, 0))
    list(walk.more())
    assert set(walk.open) == {id_of(1), id_of(2)}
    log.append([ended(1)])
    list(walk.more())
    assert set(walk.open) == {id_of(2)}


def test_lost_records_are_counted_from_a_time_on(tmp_path: Path, log: LogWriter) -> None:
    log.append([received(1), received(2), received(3)])
    log.append([ended(number, 0, "Lost", time) for number, time in ((1, 5), (2, 9), (3, 10))])
    walk = Walk(tmp_path, (0, 0), lost_from_us=9)
    list(walk.more())
    assert walk.lost == 2


def test_receptions_are_read_again_by_their_place(tmp_path: Path, log: LogWriter) -> None:
    for number in range(1, 9):
        log.append([received(number), received(number + 100)])
    walk = Walk(tmp_path, (0, 0))
    list(walk.more())
    wanted = {id: one for id, one in walk.open.items() if id in (id_of(3), id_of(107))}
    found = {id: record["sender"] for id, record in unended.receptions(tmp_path, wanted)}
    assert found == {id_of(3): "s3@x", id_of(107): "s107@x"}


def test_records_of_another_shard_count_for_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "shard-0003"
    mine, other = (received(n)[:-1] + b',"shard":%d}' % shard for n, shard in ((1, 3), (2, 4)))
    with closing(LogWriter(folder, clock=FakeClock())) as log:
        log.append([mine, other, received(3), ended(1)])  # shard 0 is not written out
    assert open_in(folder) == {1: [0]}
    assert list(unended.received(folder)) == [id_of(1)]
    assert list(unended.ends(folder)) == []
