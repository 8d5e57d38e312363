from __future__ import annotations

import errno
import io
import os
from contextlib import closing
from typing import TYPE_CHECKING, BinaryIO

import pytest

from mta.errors import SpoolLockedError
from mta.maillog import LogWriter, follow, read, read_all, reader, segments
from mta.testing.clock import FakeClock

if TYPE_CHECKING:
    from pathlib import Path

    from mta.maillog import Fields


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def line(clock: FakeClock, text: str) -> bytes:
    return b'{"type":"Delivery","time":%d,"text":"%s"}' % (clock.wall_us(), text.encode())


def texts(folder: Path, position: tuple[int, int] | None = None) -> list[str]:
    return [record["text"] for _, record in read(folder, position)]


def segment(folder: Path, number: int) -> Path:
    return folder / segments.name(number)


def test_records_come_back_in_order_over_segments(tmp_path: Path, clock: FakeClock) -> None:
    writer = LogWriter(tmp_path, clock=clock, segment_bytes=1)
    for number in range(10):
        writer.append([line(clock, f"{number}a"), line(clock, f"{number}b")])
    assert texts(tmp_path) == [f"{n}{c}" for n in range(10) for c in "ab"]
    assert len(segments.numbers(tmp_path)) == 10
    writer.close()


def test_a_position_is_the_place_to_go_on_from(tmp_path: Path, clock: FakeClock) -> None:
    writer = LogWriter(tmp_path, clock=clock, segment_bytes=300)
    positions = [writer.position]
    for number in range(10):
        positions.append(writer.append([line(clock, str(number))]))
    for number, position in enumerate(positions):
        assert texts(tmp_path, position) == [str(n) for n in range(number, 10)]
    assert positions == sorted(positions)
    assert positions[-1] == writer.position
    writer.close()


def test_the_position_of_a_record_in_the_middle_gives_its_frame_again(
    tmp_path: Path, clock: FakeClock
) -> None:
    writer = LogWriter(tmp_path, clock=clock)
    writer.append([line(clock, text) for text in "abc"])
    writer.append([line(clock, "d")])
    again = [texts(tmp_path, position) for position, _ in read(tmp_path)]
    assert again == [list("abcd"), list("abcd"), ["d"], []]
    writer.close()


def test_the_log_goes_on_after_it_was_opened_again(tmp_path: Path, clock: FakeClock) -> None:
    writer = LogWriter(tmp_path, clock=clock)
    position = writer.append([line(clock, "a")])
    writer.close()
    writer = LogWriter(tmp_path, clock=clock)
    assert writer.position == position
    writer.append([line(clock, "b")])
    assert texts(tmp_path) == ["a", "b"]
    writer.close()


def torn(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 5)


def zeros(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 5)
    os.truncate(path, path.stat().st_size + 4096)


def garbage(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"\x28\xb5\x2f\xfd garbage" * 10)


@pytest.mark.parametrize(("damage", "left"), [(torn, "a"), (zeros, "a"), (garbage, "ab")])
def test_a_torn_last_frame_is_cut_off(
    tmp_path: Path, clock: FakeClock, damage: object, left: str
) -> None:
    writer = LogWriter(tmp_path, clock=clock)
    positions = [writer.append([line(clock, text)]) for text in "ab"]
    writer.close()
    assert callable(damage)
    damage(segment(tmp_path, 1))
    assert texts(tmp_path) == list(left)  # a reader stops in front of it
    writer = LogWriter(tmp_path, clock=clock)
    assert writer.position == positions[len(left) - 1]
    assert segment(tmp_path, 1).stat().st_size == writer.position[1]
    writer.append([line(clock, "c")])
    assert texts(tmp_path) == [*left, "c"]
    writer.close()


def test_a_damaged_frame_in_the_middle_is_passed_over(tmp_path: Path, clock: FakeClock) -> None:
    writer = LogWriter(tmp_path, clock=clock)
    ends = [writer.append([line(clock, text * 50)])[1] for text in "abc"]
    writer.close()
    with open(segment(tmp_path, 1), "r+b") as file:
        file.seek(ends[0] + 10)
        file.write(b"\0" * 8)
    assert texts(tmp_path) == ["a" * 50, "c" * 50]
    writer = LogWriter(tmp_path, clock=clock)
    assert writer.position == (1, ends[2])
    writer.close()


def test_a_segment_ends_with_its_age(tmp_path: Path, clock: FakeClock) -> None:
    writer = LogWriter(tmp_path, clock=clock, segment_age=60)
    writer.append([line(clock, "a")])
    clock.advance(40)
    writer.close()
    writer = LogWriter(tmp_path, clock=clock, segment_age=60)
    assert writer.append([line(clock, "b")])[0] == 1
    clock.advance(20)
    assert writer.append([line(clock, "c")])[0] == 2
    writer.close()


def retire(writer: LogWriter, clock: FakeClock) -> None:
    clock.advance(61)
    writer.append([line(clock, "x")])
    writer.retire()


def test_old_segments_go_by_size_but_not_those_that_recovery_needs(
    tmp_path: Path, clock: FakeClock
) -> None:
    writer = LogWriter(tmp_path, clock=clock, segment_bytes=1, retain_bytes=200)
    for _ in range(6):
        writer.append([line(clock, "a")])
    retire(writer, clock)
    assert segments.numbers(tmp_path) == [1, 2, 3, 4, 5, 6, 7]  # nothing is applied yet
    writer.applied((3, 0))
    retire(writer, clock)
    assert segments.numbers(tmp_path) == [3, 4, 5, 6, 7, 8]
    writer.applied((9, 0))
    retire(writer, clock)
    left = segments.numbers(tmp_path)
    assert left[-1] == 9
    assert 1 <= len(left) < 6
    assert len(texts(tmp_path, (1, 0))) == len(left)
    writer.close()


def test_old_segments_go_by_age(tmp_path: Path, clock: FakeClock) -> None:
    writer = LogWriter(tmp_path, clock=clock, segment_bytes=1, retain_age=3600)
    for number in range(1, 4):
        writer.append([line(clock, "a")])
        now = clock.wall_us() / 1e6
        os.utime(segment(tmp_path, number), (now, now))
        clock.advance(1800)
    writer.applied((4, 0))
    retire(writer, clock)
    assert segments.numbers(tmp_path) == [3, 4]
    writer.close()


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
def test_a_frame_that_failed_is_added_once_when_it_is_tried_again(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    writer = LogWriter(tmp_path, clock=clock)
    writer.append([line(clock, "a")])
    before, real, failing = writer.position, getattr(os, call), [True]

    def fail(*arguments: object) -> object:
        if failing[0]:
            if call == "pwrite":
                os.truncate(segment(tmp_path, 1), before[1] + 7)  # a part was written
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(os, call, fail)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            writer.append([line(clock, "b")])
        assert writer.position == before
    assert texts(tmp_path, (1, 0))[:1] == ["a"]
    failing[0] = False
    writer.append([line(clock, "b")])
    assert texts(tmp_path) == ["a", "b"]
    writer.close()


def test_a_log_has_one_writer(tmp_path: Path, clock: FakeClock) -> None:
    writer = LogWriter(tmp_path, clock=clock, segment_bytes=1)
    for text in "ab":
        writer.append([line(clock, text)])
    with pytest.raises(SpoolLockedError, match="another process"):
        LogWriter(tmp_path, clock=clock)
    writer.close()
    LogWriter(tmp_path, clock=clock).close()


def logs(tmp_path: Path, clock: FakeClock, count: int = 3) -> list[LogWriter]:
    return [LogWriter(tmp_path / f"shard-{n:04}", clock=clock) for n in range(count)]


def test_shards_are_merged_by_time(tmp_path: Path, clock: FakeClock) -> None:
    writers = logs(tmp_path, clock)
    for number in range(12):
        writers[number % 3].append([line(clock, str(number))])
        clock.advance(1)
    assert [r["text"] for r in read_all(tmp_path)] == [str(n) for n in range(12)]
    for writer in writers:
        writer.close()


def test_a_span_of_time_and_a_predicate(tmp_path: Path, clock: FakeClock) -> None:
    (writer,) = logs(tmp_path, clock, 1)
    start = clock.wall_us()
    for number in range(300):
        writer.append([line(clock, str(number))])
        clock.advance(1)
    since, until = start + 100_000_000, start + 110_000_000
    found = read_all(tmp_path, since, until, lambda r: int(r["text"]) % 2 == 0)
    assert [r["text"] for r in found] == ["100", "102", "104", "106", "108"]
    assert sum(1 for _ in read_all(tmp_path, since=since)) == 200
    assert sum(1 for _ in read_all(tmp_path, until=until)) == 110
    writer.close()


def test_segments_closed_before_the_span_are_not_read(tmp_path: Path, clock: FakeClock) -> None:
    folder = tmp_path / "shard-0000"
    writer = LogWriter(folder, clock=clock, segment_bytes=1)
    for _ in range(2):
        writer.append([line(clock, "x")])
        clock.advance(1000)
    segment(folder, 1).write_bytes(b"")  # reading it would find nothing, skipping it finds no less
    os.utime(segment(folder, 1), (1, 1))
    now = clock.wall_us() / 1e6
    os.utime(segment(folder, 2), (now, now))
    assert sum(1 for _ in read_all(tmp_path, since=clock.wall_us() - 1_000_000_000)) == 1
    writer.close()


def test_following_gives_what_is_logged_from_now_on(tmp_path: Path, clock: FakeClock) -> None:
    writers = logs(tmp_path, clock, 2)
    writers[0].append([line(clock, "old")])
    steps = iter(("new", "newer", "end"))

    def wait() -> bool:
        step = next(steps)
        if step == "end":
            return False
        for writer in writers:
            clock.advance(1)
            writer.append([line(clock, step)])
        return True

    assert [r["text"] for r in follow(tmp_path, wait)] == ["new", "new", "newer", "newer"]
    for writer in writers:
        writer.close()


def test_following_waits_for_a_frame_that_is_being_written(
    tmp_path: Path, clock: FakeClock
) -> None:
    folder = tmp_path / "shard-0000"
    writer = LogWriter(folder, clock=clock)
    writer.append([line(clock, "a")])
    writer.close()
    whole = segment(folder, 1).read_bytes()
    steps = iter((whole[:20], whole[:-1], whole, None))
    segment(folder, 1).write_bytes(b"")
    seen: list[Fields] = []
    counts = []

    def wait() -> bool:
        counts.append(len(seen))
        step = next(steps)
        segment(folder, 1).write_bytes(step or whole)
        return step is not None

    for record in follow(tmp_path, wait):
        seen.append(record)
    assert [record["text"] for record in seen] == ["a"]
    assert counts == [0, 0, 0, 1]


def test_following_goes_on_from_positions(tmp_path: Path, clock: FakeClock) -> None:
    (writer,) = logs(tmp_path, clock, 1)
    position = writer.append([line(clock, "a")])
    writer.append([line(clock, "b")])
    positions = {"shard-0000": position}
    found = list(follow(tmp_path, lambda: False, positions=positions))
    assert [record["text"] for record in found] == ["b"]
    assert positions == {"shard-0000": writer.position}
    writer.close()


def test_a_folder_that_does_not_exist_is_an_empty_log(tmp_path: Path) -> None:
    assert list(read(tmp_path / "none")) == []
    assert list(read_all(tmp_path / "none")) == []


def test_large_frames_are_read_whole(tmp_path: Path, clock: FakeClock) -> None:
    writer = LogWriter(tmp_path, clock=clock)
    large = [line(clock, os.urandom(500).hex()) for _ in range(1000)]  # several chunks
    writer.append(large)
    writer.append([line(clock, "end")])
    assert len(texts(tmp_path)) == 1001
    writer.close()


def test_the_end_is_found_without_reading_all(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LogWriter(tmp_path, clock=clock)
    sizes = (0, 1, 10, 100, 1000, 3000)  # none, raw and several compressed blocks; runs
    ends = [writer.append([line(clock, os.urandom(size).hex() + "x" * 200_000)]) for size in sizes]
    writer.close()
    read: list[int] = []
    frame = segments._frame

    def counted(file: BinaryIO, offset: int) -> tuple[int, bytes] | None:
        read.append(offset)
        return frame(file, offset)

    monkeypatch.setattr(segments, "_frame", counted)
    with open(segment(tmp_path, 1), "rb") as file:
        assert segments.last(file) == (ends[-2][1], ends[-1][1])
        for cut in range(1, 200, 7):  # whatever is left of the last one
            torn = io.BytesIO(segment(tmp_path, 1).read_bytes()[:-cut])
            assert segments.last(torn)[1] == ends[-2][1]
        read.clear()
        segments.last(file)
    assert read == [ends[-2][1], ends[-1][1]]  # the last one, and what may follow
    assert segments.last(io.BytesIO()) == (0, 0)


def test_a_clock_that_jumped_ahead_removes_no_segment(tmp_path: Path, clock: FakeClock) -> None:
    writer = LogWriter(tmp_path, clock=clock, segment_bytes=1, retain_age=30 * 86_400)
    for number in range(1, 4):
        writer.append([line(clock, "a")])
        now = clock.wall_us() / 1e6
        os.utime(segment(tmp_path, number), (now, now))
    writer.applied((4, 0))
    clock.step(365 * 86_400)
    retire(writer, clock)
    assert segments.numbers(tmp_path) == [1, 2, 3, 4]
    clock.advance(5 * 3600)
    retire(writer, clock)
    assert segments.numbers(tmp_path) == [4, 5]
    writer.close()


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with closing(LogWriter(tmp_path, clock=FakeClock(), segment_bytes=1)) as log:
        for number in range(5):
            log.append([b'{"type":"Delivery","time":%d,"id":""}' % number])
    assert list(reader.damage(tmp_path)) == []
    one, two, three, four, five = sorted(tmp_path.glob("*.zst"))
    one.write_bytes(one.read_bytes()[:-1])
    two.unlink()
    three.write_bytes(b"")
    four.write_bytes(b"x" + four.read_bytes())
    five.write_bytes(five.read_bytes() + b"torn")  # as a crash leaves it
    size = one.stat().st_size
    assert list(reader.damage(tmp_path)) == [
        "00000002.zst missing",
        f"00000001.zst: octets 0 to {size} are no records",
        "00000003.zst: it is empty",
        "00000004.zst: octets 0 to 1 are no records",
    ]
