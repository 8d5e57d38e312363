"""Contents that cannot be read: errors delete nothing, and what is gone is proven and copied."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from mta._speedups import bodylog
from mta.errors import SpoolDamagedError, SpoolError
from mta.spool import Gone, Unreadable, keys, record, recover
from mta.spool.doubts import SECOND
from mta.spool.reclaim import LATER
from mta.testing.spool import SpoolBench
from tests.unit.spool.filled import FULL, close, crashed, number_of, opened, send

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mta.model import Message, Recipient
    from mta.spool.doubts import Found


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[SpoolBench]:
    bench = opened(tmp_path / "one")
    yield bench
    if not bench.memory_log.closed:
        assert bench.close() is None


def read(bench: SpoolBench, *messages: Message) -> list[Found]:
    """By the reader's thread."""
    answers: list[dict[bytes, Found]] = []
    bench.shard.read_bodies(list(messages), answers.append)
    while not answers:
        bench.loop.wait()
    return [answers[0][message.id] for message in messages]


def failing(error: Exception) -> Any:
    def fail(*arguments: object) -> None:
        raise error

    return fail


EIO = OSError(errno.EIO, "Input/output error")


def damage(bench: SpoolBench, one: Recipient, octets: bytes, at: int = bodylog.HEADER) -> None:
    """Write over the record of a message on the disk."""
    segment = bench.shard._bodies.segments.of(one.message.place)
    assert segment is not None
    os.pwrite(segment.file, octets, (one.message.place & 0xFFFFFFFF) * bodylog.UNIT + at)


def aside(bench: SpoolBench, one: Recipient) -> dict[str, Any]:
    """What was copied to `corrupt` of a message."""
    path = bench.folder / "corrupt" / f"{one.message.id.hex()}.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def copies(bench: SpoolBench) -> list[str]:
    folder = bench.folder / "corrupt"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


# -- errors


DAMAGED_BLOCK = SpoolDamagedError("block checksum mismatch")
BROKEN_FILE = SpoolError("IO error: while pread")


@pytest.mark.parametrize("error", [EIO, DAMAGED_BLOCK, BROKEN_FILE])
def test_an_error_says_nothing_of_the_content(
    bench: SpoolBench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    (one,) = send(bench, size=6000 if error is EIO else 500)
    with monkeypatch.context() as patch:
        patch.setattr(bodylog, "read", failing(error))
        patch.setattr(bench.shard._store, "get", failing(error))
        patch.setattr(bench.shard._store, "get_many", failing(error))
        for _ in range(5):
            (found,) = read(bench, one.message)
            assert isinstance(found, Unreadable)
            bench.clock.advance(200)
        (trouble,) = bench.shard.troubles()
        assert (trouble.alarm, trouble.count) == ("unreadable_content", 1)
    assert read(bench, one.message) == [one.message.body]
    assert list(bench.shard.troubles()) == []
    assert copies(bench) == []


def test_an_error_that_nobody_expected_is_told_and_ends_nothing(
    bench: SpoolBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = send(bench)
    answers: list[dict[bytes, Found]] = []
    with monkeypatch.context() as patch:
        patch.setattr(bodylog, "read", failing(RuntimeError("surprise")))
        bench.shard.read_bodies([one.message], answers.append)
        with pytest.raises(RuntimeError, match="surprise"):
            bench.loop.wait()
        assert isinstance(answers[0][one.message.id], Unreadable)
        bench.shard._body_reader().work(failing(RuntimeError("surprise")))
        with pytest.raises(RuntimeError, match="surprise"):
            bench.loop.wait()
    assert read(bench, one.message) == [one.message.body]


def test_those_beside_one_that_cannot_be_read_are_read(
    bench: SpoolBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = send(bench, 3, size=500)
    get = bench.shard._store.get

    def fail(family: Any, key: bytes) -> bytes | None:
        if key == sent[1].message.id:
            raise SpoolError("IO error")
        return get(family, key)

    monkeypatch.setattr(bench.shard._store, "get", fail)
    monkeypatch.setattr(bench.shard._store, "get_many", failing(SpoolError("IO error")))
    found = read(bench, *(r.message for r in sent))
    assert [isinstance(one, bytes) for one in found] == [True, False, True]
    assert bench.shard.stats().read_failures == 1


def test_a_file_that_was_cut_while_open_is_an_error(bench: SpoolBench) -> None:
    one, two = send(bench, 2)
    segment = bench.shard._bodies.segments.of(one.message.place)
    assert segment is not None
    os.ftruncate(segment.file, 3000)
    for _ in range(3):
        found = read(bench, one.message, two.message)
        assert all(isinstance(each, Unreadable) for each in found)
        assert found[1] == Unreadable("0000000001.bodies: the file is too short", found[1].wait)
        bench.clock.advance(10)


def test_files_that_were_exchanged_are_an_error(bench: SpoolBench) -> None:
    sent = send(bench, FULL + 1)
    one, other = sent[0], sent[FULL]
    table = bench.shard._bodies.segments.table
    first, second = table[number_of(one)], table[number_of(other)]
    first.file, second.file = second.file, first.file
    for _ in range(3):
        (found,) = read(bench, one.message)
        assert isinstance(found, Unreadable)
        assert "a record of segment 2 is in its place: was it exchanged?" in found.why
        bench.clock.advance(10)
    first.file, second.file = second.file, first.file
    assert read(bench, one.message) == [one.message.body]


def test_a_message_that_ended_while_it_was_read_leaves_no_doubt(bench: SpoolBench) -> None:
    (one,) = send(bench)
    close(bench, [one])
    bench.shard._bodies.segments.table.clear()
    (found,) = read(bench, one.message)
    assert isinstance(found, Unreadable)
    assert list(bench.shard.troubles()) == []


def test_one_that_ends_while_in_doubt_is_in_doubt_no_more(
    bench: SpoolBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = send(bench)
    monkeypatch.setattr(bodylog, "read", failing(EIO))
    read(bench, one.message)
    assert len(bench.shard._bodies.doubts.known) == 1
    close(bench, [one])
    assert bench.shard._bodies.doubts.known == {}


# -- what is gone


def test_a_damaged_content_is_read_twice_and_copied(bench: SpoolBench) -> None:
    (one,) = send(bench)
    damage(bench, one, b"damaged")
    (found,) = read(bench, one.message)
    assert found == Unreadable("its hash is wrong", SECOND)
    assert copies(bench) == []
    bench.clock.advance(SECOND)
    assert read(bench, one.message) == [Gone("its hash is wrong")]
    facts = aside(bench, one)
    assert facts["problem"] == "its hash is wrong"
    assert (facts["sender"], facts["recipients"]) == ("from@example.com", ["a@x"])
    key = keys.recipient(one.message.id, 0)
    assert (
        facts["records"][key.hex()]
        == bench.shard._store.get(bench.shard._store.messages, key).hex()
    )  # type: ignore[union-attr]
    left = (bench.folder / "corrupt" / facts["content"]).read_bytes()
    assert left[:7] == b"damaged"
    assert left[7:] == one.message.body[7:]  # type: ignore[index]
    (trouble,) = [t for t in bench.shard.troubles() if t.alarm == "damaged_content"]
    assert trouble.count == 1
    close(bench, [one])


def test_a_place_that_has_another_record_leaves_nothing_to_copy(bench: SpoolBench) -> None:
    one, other = send(bench, 2)
    one.message.place = other.message.place
    for _ in range(2):
        (found,) = read(bench, one.message)
        bench.clock.advance(SECOND)
    assert found == Gone(f"the record of message {other.message.id.hex()} is in its place")
    assert aside(bench, one)["content"] == "nothing is left of it"
    assert copies(bench) == [f"{one.message.id.hex()}.json"]


def test_zeros_in_its_place(bench: SpoolBench) -> None:
    (one,) = send(bench)
    damage(bench, one, bytes(7000), at=0)
    for _ in range(2):
        (found,) = read(bench, one.message)
        bench.clock.advance(SECOND)
    assert found == Gone("there is no record in its place")


def test_a_small_content_that_the_database_does_not_have(bench: SpoolBench) -> None:
    (one,) = send(bench, size=500)
    del bench.shard._store.bodies[one.message.id]
    assert isinstance(read(bench, one.message)[0], Unreadable)
    bench.clock.advance(SECOND)
    assert isinstance(read(bench, one.message)[0], Gone)
    assert aside(bench, one)["recipients"] == ["a@x"]


def test_what_only_memory_has_wrong_is_read_from_the_disk(
    bench: SpoolBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = send(bench)
    damage(bench, one, b"poison")
    dropped: list[tuple[int, int, int]] = []

    def drop(file: int, start: int, size: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_DONTNEED
        dropped.append((file, start, size))
        damage(bench, one, one.message.body[:6])  # type: ignore[index]

    monkeypatch.setattr(os, "posix_fadvise", drop)
    assert isinstance(read(bench, one.message)[0], Unreadable)
    assert dropped == []
    bench.clock.advance(SECOND)
    assert read(bench, one.message) == [one.message.body]
    ((_, start, size),) = dropped
    place = (one.message.place & 0xFFFFFFFF) * bodylog.UNIT
    assert start <= place < place + bodylog.HEADER + 6000 <= start + size
    assert copies(bench) == []


def test_what_cannot_be_copied_is_not_gone(
    bench: SpoolBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = send(bench)
    damage(bench, one, b"damaged")
    read(bench, one.message)
    bench.clock.advance(SECOND)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(OSError(errno.ENOSPC, "No space left on device")))
        (found,) = read(bench, one.message)
        assert isinstance(found, Unreadable) and "cannot take" in found.why
    with monkeypatch.context() as patch:
        patch.setattr(bench.shard._store, "get_many", failing(SpoolError("IO error")))
        assert isinstance(read(bench, one.message)[0], Unreadable)
    with monkeypatch.context() as patch:
        patch.setattr(bodylog, "read_any", failing(EIO))
        assert isinstance(read(bench, one.message)[0], Unreadable)
    assert not [name for name in copies(bench) if not name.endswith(".tmp")]
    assert isinstance(read(bench, one.message)[0], Gone)


def test_one_reading_here_and_now(bench: SpoolBench, monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = send(bench)
    assert bench.shard.body(one.message) == bench.shard.body(one.message, anew=True)
    damage(bench, one, b"damaged")
    assert bench.shard.body(one.message, anew=True) == Gone("its hash is wrong")
    monkeypatch.setattr(bodylog, "read", failing(EIO))
    assert bench.shard.body(one.message) == Unreadable("0000000001.bodies: Input/output error")
    assert bench.shard._bodies.doubts.known == {}


# -- emptying segments


def sparse(bench: SpoolBench) -> list[Recipient]:
    """One body left in each of seven segments, and one in the active."""
    sent = send(bench, 7 * FULL + 1)
    left = sent[::FULL]
    close(bench, [r for r in sent if r not in left])
    return left


def emptied(bench: SpoolBench) -> None:
    """Let what is being emptied be emptied."""
    while bench.shard._reclaim._moving is not None:
        bench.run()
        if bench.shard._reclaim._moving is not None:
            bench.loop.wait()
    bench.run()


def test_a_segment_with_a_body_that_cannot_be_read_is_kept(
    bench: SpoolBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(bodylog, "read_any", failing(EIO))
        left = sparse(bench)
        bench.shard._reclaim.look()
        emptied(bench)
    assert bench.shard._reclaim._left
    table = bench.shard._bodies.segments.table
    assert all(number_of(r) in table for r in left)
    assert [bench.shard.body(r.message) for r in left] == [r.message.body for r in left]
    bench.loop.advance(LATER, bench.shard)
    emptied(bench)
    assert not all(number_of(r) in table for r in left)
    assert [bench.shard.body(r.message) for r in left] == [r.message.body for r in left]
    close(bench, left)


# -- records that cannot be read


def test_a_message_whose_body_cannot_be_read_is_set_aside_later(
    bench: SpoolBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = send(bench)
    key, told = keys.recipient(one.message.id, 0), list[bytes]()
    bench.shard.on_corrupt = lambda id, number, detail: told.append(id)
    value = bench.shard._store.get(bench.shard._store.messages, key)
    assert value is not None
    damaged = value[: record.PLACED] + b"garbage"  # its envelope, not the place of its body
    bench.shard._young.list_all()
    bench.run()
    bench.shard._store.messages.put(key, damaged)
    with monkeypatch.context() as patch:
        patch.setattr(bodylog, "read_any", failing(EIO))
        for _ in range(3):
            assert bench.shard.get(one.message.id, 0) is None
            bench.loop.advance(5, bench.shard)
        assert told == []
        assert bench.shard.body(one.message) == one.message.body
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(OSError(errno.ENOSPC, "No space left on device")))
        bench.loop.advance(5, bench.shard)
        assert told == []
    bench.loop.advance(5, bench.shard)
    bench.loop.advance(5, bench.shard)
    assert told == [one.message.id]
    content = bench.folder / "corrupt" / f"{one.message.id.hex()}.eml"
    assert content.read_bytes() == one.message.body


def test_a_torn_message_that_cannot_be_copied_stays(
    bench: SpoolBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = send(bench)
    bench.shard.on_corrupt = lambda id, number, detail: None
    with monkeypatch.context() as patch:
        patch.setattr(bodylog, "read_any", failing(EIO))
        assert not bench.shard.set_aside(one.message, "torn")
    bench.loop.advance(20, bench.shard)
    assert bench.shard.get(one.message.id, 0) is not None
    assert bench.shard.set_aside(one.message, "torn")


# -- a start after a crash


def test_an_error_while_recovering_is_no_torn_content(
    bench: SpoolBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = send(bench, 2)
    again = crashed(bench)
    pauses: list[float] = []
    with monkeypatch.context() as patch:
        patch.setattr(bodylog, "read", failing(EIO))
        result = recover(again.shard, [], pause=pauses.append)
    assert [m.id for m in result.unlogged] == [r.message.id for r in sent]
    assert (result.torn, pauses) == ([], [])
    again.close()


def test_a_torn_content_is_read_twice_too(
    bench: SpoolBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = send(bench, 2)
    damage(bench, one, b"damaged")
    damage(bench, two, b"damaged")
    again = crashed(bench)
    monkeypatch.setattr(
        os,
        "posix_fadvise",
        lambda *how: damage(again, two, two.message.body[:7]),  # type: ignore[index]
    )
    pauses: list[float] = []
    result = recover(again.shard, [], pause=pauses.append)
    assert [m.id for m in result.torn] == [one.message.id]
    assert [m.id for m in result.unlogged] == [two.message.id]
    assert len(pauses) == 1
    again.shard.on_corrupt = lambda id, number, detail: again.shard.log(b"removed")
    again.shard.set_aside(result.torn[0], "torn")
    left = (again.folder / "corrupt" / f"{one.message.id.hex()}.eml").read_bytes()
    assert left.startswith(b"damaged")
    again.close()


def test_the_file_of_another_shard_is_no_end_of_a_content(
    bench: SpoolBench, tmp_path: Path
) -> None:
    one = send(bench, 1)[0]
    other = SpoolBench(tmp_path / "other", number=2)
    send(other, 1)
    segment = bench.shard._bodies.segments.of(one.message.place)
    [theirs] = other.shard._bodies.segments.table.values()
    assert segment is not None
    own, segment.file = segment.file, theirs.file
    for place in (one.message.place, one.message.place + 3):  # where no record of theirs begins
        one.message.place = place
        for _ in range(3):
            (found,) = read(bench, one.message)
            assert isinstance(found, Unreadable)
            assert "was it exchanged?" in found.why
            bench.clock.advance(10)
    segment.file = own
    other.close()
