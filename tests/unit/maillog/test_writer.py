"""The log's writer when the disk, or somebody, gets in its way: what was synced is written once."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mta.maillog import LogWriter, read, records, segments
from mta.testing.clock import FakeClock

EIO = OSError(errno.EIO, "Input/output error")
Patch = pytest.MonkeyPatch


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def line(text: str) -> bytes:
    return b'{"type":"Delivery","time":1,"text":"%s"}' % text.encode()


def texts(folder: Path) -> list[str]:
    return [record["text"] for _, record in read(folder)]


class Broken:
    """Replaces a function of a module; fails where `when(*arguments)` holds while it is on."""

    def __init__(
        self, patch: Patch, thing: Any, name: str, error: OSError, when: Callable[..., bool]
    ) -> None:
        self.on, self.calls = True, 0
        self._real, self._error, self._when = getattr(thing, name), error, when
        patch.setattr(thing, name, self._call)

    def _call(self, *arguments: Any, **named: Any) -> Any:
        if self.on and self._when(*arguments):
            self.calls += 1
            raise self._error
        return self._real(*arguments, **named)


def always(*arguments: object) -> bool:
    return True


def filled(folder: Path, clock: FakeClock, count: int = 6, **options: Any) -> LogWriter:
    """A writer with a frame in each segment, all of them applied."""
    writer = LogWriter(folder, clock=clock, segment_bytes=1, **options)
    for number in range(count):
        writer.append([line(str(number))])
    writer.applied((99, 0))
    return writer


def test_zero_keeps_all(tmp_path: Path, clock: FakeClock) -> None:
    writer = filled(tmp_path, clock, retain_bytes=0, retain_age=0.0)
    for number in segments.numbers(tmp_path):
        os.utime(tmp_path / segments.name(number), (1, 1))
    clock.advance(61)
    writer.retire()
    assert len(texts(tmp_path)) == 6
    writer.close()


def test_the_open_segment_does_not_count_for_the_size_of_closed_ones(
    tmp_path: Path, clock: FakeClock
) -> None:
    writer = filled(tmp_path, clock, count=2)
    writer._retain_bytes = (tmp_path / segments.name(1)).stat().st_size
    clock.advance(61)
    writer.retire()
    assert texts(tmp_path) == ["0", "1"]
    writer.close()


@pytest.mark.parametrize(
    ("thing", "name", "error"),
    [
        (os, "listdir", OSError(errno.EMFILE, "Too many open files")),
        (os, "unlink", OSError(errno.EACCES, "Permission denied")),
        (os, "stat", OSError(errno.EIO, "Input/output error")),
    ],
)
def test_trouble_with_old_segments_is_told_and_adds_nothing_twice(
    tmp_path: Path, clock: FakeClock, monkeypatch: Patch, thing: Any, name: str, error: OSError
) -> None:
    writer = filled(tmp_path, clock, retain_bytes=1)
    clock.advance(61)
    broken = Broken(monkeypatch, thing, name, error, always)
    writer._segment_bytes, writer._segment_age = 1 << 20, 1e12
    writer.append([line("6")])
    writer.retire()
    broken.on = False
    assert str(error.strerror) in str(writer.trouble)
    assert texts(tmp_path) == list("0123456")
    writer.retire()
    assert str(error.strerror) in str(writer.trouble)  # tried again later
    clock.advance(61)
    writer.retire()
    assert writer.trouble is None
    assert texts(tmp_path)[-1] == "6"
    assert len(texts(tmp_path)) < 7
    writer.close()


def test_segments_that_somebody_removed_are_no_trouble(
    tmp_path: Path, clock: FakeClock, monkeypatch: Patch
) -> None:
    writer = filled(tmp_path, clock, retain_bytes=1)
    gone = OSError(errno.ENOENT, "No such file or directory")
    Broken(
        monkeypatch,
        os,
        "stat",
        FileNotFoundError(*gone.args),
        lambda p, **_: str(p).endswith("3.zst"),
    )
    clock.advance(61)
    writer.retire()
    assert writer.trouble is None
    assert segments.numbers(tmp_path) == [3, 6]
    writer.close()


def test_one_segment_that_cannot_go_does_not_keep_the_others(
    tmp_path: Path, clock: FakeClock, monkeypatch: Patch
) -> None:
    writer = filled(tmp_path, clock, retain_bytes=1)
    denied = OSError(errno.EACCES, "Permission denied")
    Broken(monkeypatch, os, "unlink", denied, lambda path, **_: str(path).endswith("1.zst"))
    clock.advance(61)
    writer.retire()
    assert segments.numbers(tmp_path) == [1, 6]
    assert "Permission denied" in str(writer.trouble)
    writer.close()


def test_a_full_segment_is_gone_on_with_where_no_other_can_be_made(
    tmp_path: Path, clock: FakeClock, monkeypatch: Patch
) -> None:
    writer = LogWriter(tmp_path, clock=clock, segment_bytes=1)
    writer.append([line("a")])
    full = OSError(errno.EMFILE, "Too many open files")
    broken = Broken(monkeypatch, os, "open", full, lambda path, *_: str(path).endswith(".zst"))
    assert writer.append([line("b")])[0] == 1
    assert "Too many open files" in str(writer.trouble)
    broken.on = False
    assert writer.append([line("c")])[0] == 2
    assert writer.trouble is None
    assert texts(tmp_path) == ["a", "b", "c"]
    writer.close()


def test_a_segment_that_could_not_be_begun_leaves_no_file(
    tmp_path: Path, clock: FakeClock, monkeypatch: Patch
) -> None:
    writer = LogWriter(tmp_path, clock=clock, segment_bytes=1)
    writer.append([line("a")])
    broken = Broken(monkeypatch, os, "fsync", EIO, always)
    for text in "bcd":
        assert writer.append([line(text)])[0] == 1
    broken.on = False
    assert segments.numbers(tmp_path) == [1]
    assert writer.append([line("e")])[0] == 2
    assert texts(tmp_path) == list("abcde")
    writer.close()


def test_after_a_failed_sync_the_frame_goes_to_another_segment(
    tmp_path: Path, clock: FakeClock, monkeypatch: Patch
) -> None:
    """The kernel may have dropped the pages: a second sync of them would say nothing."""
    writer = LogWriter(tmp_path, clock=clock)
    before = writer.append([line("a")])
    broken = Broken(monkeypatch, os, "fdatasync", EIO, always)
    with pytest.raises(OSError, match="Input/output"):
        writer.append([line("b")])
    assert writer.position == before
    with pytest.raises(OSError, match="Input/output"):  # what is there has to be cut off first
        writer.append([line("b")])
    assert segments.numbers(tmp_path) == [1]
    broken.on = False
    assert writer.append([line("b")])[0] == 2
    assert (tmp_path / segments.name(1)).stat().st_size == before[1]
    assert texts(tmp_path) == ["a", "b"]
    writer.close()


def test_what_a_failed_sync_left_is_cut_off_at_once(
    tmp_path: Path, clock: FakeClock, monkeypatch: Patch
) -> None:
    writer = LogWriter(tmp_path, clock=clock)
    writer.append([line("a")])
    Broken(monkeypatch, os, "fdatasync", EIO, always)
    with pytest.raises(OSError, match="Input/output"):
        writer.append([line("b")])
    assert texts(tmp_path) == ["a"]  # nobody reads a record that is not safe


def test_a_segment_that_somebody_removed_is_not_written_to(
    tmp_path: Path, clock: FakeClock
) -> None:
    writer = LogWriter(tmp_path, clock=clock)
    writer.append([line("a")])
    (tmp_path / segments.name(1)).unlink()
    assert writer.append([line("b")])[0] == 2
    assert texts(tmp_path) == ["b"]
    writer.close()


def test_the_last_frame_is_made_durable_before_anything_follows_from_it(
    tmp_path: Path, clock: FakeClock, monkeypatch: Patch
) -> None:
    """It may be in the page cache alone: its sync failed, then the process was killed."""
    writer = LogWriter(tmp_path, clock=clock)
    writer.append([line("a")])
    before = writer.position[1]
    writer.append([line("b")])
    writer.close()
    calls: list[tuple[str, int]] = []
    pwrite, sync = os.pwrite, os.fdatasync

    def written(file: int, data: bytes, at: int) -> int:
        calls.append(("write", at))
        return pwrite(file, data, at)

    def synced(file: int) -> None:
        calls.append(("sync", 0))
        sync(file)

    monkeypatch.setattr(os, "pwrite", written)
    monkeypatch.setattr(os, "fdatasync", synced)
    again = LogWriter(tmp_path, clock=clock)
    assert calls == [("write", before), ("sync", 0)]
    assert texts(tmp_path) == ["a", "b"]
    again.close()


def test_a_log_that_cannot_be_written_is_opened_and_goes_on_when_it_can(
    tmp_path: Path, clock: FakeClock, monkeypatch: Patch
) -> None:
    writer = LogWriter(tmp_path, clock=clock)
    end = writer.append([line("a")])
    writer.close()
    readonly = OSError(errno.EROFS, "Read-only file system")
    broken = Broken(
        monkeypatch, os, "open", readonly,
        lambda path, flags, *_: bool(flags & (os.O_WRONLY | os.O_RDWR)),
    )  # fmt: skip
    writer = LogWriter(tmp_path, clock=clock, segment_age=1e12)
    assert writer.position == end
    with pytest.raises(OSError, match="Read-only"):
        writer.append([line("b")])
    broken.on = False
    assert writer.append([line("b")])[0] == 1
    assert texts(tmp_path) == ["a", "b"]
    writer.close()


def test_the_first_segment_may_come_later(
    tmp_path: Path, clock: FakeClock, monkeypatch: Patch
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    broken = Broken(monkeypatch, os, "open", full, lambda path, *_: str(path).endswith(".zst"))
    writer = LogWriter(tmp_path, clock=clock)
    assert writer.position == (0, 0)
    with pytest.raises(OSError, match="No space"):
        writer.append([line("a")])
    broken.on = False
    assert writer.append([line("a")])[0] == 1
    assert texts(tmp_path) == ["a"]
    writer.close()


def test_closing_never_fails(tmp_path: Path, clock: FakeClock, monkeypatch: Patch) -> None:
    writer = LogWriter(tmp_path, clock=clock)
    writer.append([line("a")])
    descriptors = {writer._file, writer._lock}
    Broken(monkeypatch, os, "close", EIO, lambda file: file in descriptors)
    writer.close()
    monkeypatch.undo()
    for file in descriptors:
        os.close(file)


# ---------------------------------------------------------------- marks


def test_a_mark_is_kept_with_its_frame_and_is_no_record(tmp_path: Path, clock: FakeClock) -> None:
    writer = LogWriter(tmp_path, clock=clock)
    assert writer.mark == b""
    writer.append([line("a")], b"one")
    writer.append([], b"two")
    assert writer.mark == b"two"
    writer.append([line("b")])  # says nothing new
    assert writer.mark == b"two"
    assert texts(tmp_path) == ["a", "b"]
    writer.close()


def test_the_last_mark_is_known_after_a_restart(tmp_path: Path, clock: FakeClock) -> None:
    writer = LogWriter(tmp_path, clock=clock, segment_bytes=1)
    for number in range(3):
        writer.append([line(str(number))], b"mark %d" % number)
    writer.close()
    assert opened_mark(tmp_path, clock) == b"mark 2"
    path = tmp_path / segments.name(3)
    os.truncate(path, path.stat().st_size - 1)  # torn: the one before it counts
    assert opened_mark(tmp_path, clock) == b"mark 1"
    (tmp_path / segments.name(4)).touch()  # just begun
    assert opened_mark(tmp_path, clock) == b"mark 1"
    assert texts(tmp_path) == ["0", "1"]


def opened_mark(folder: Path, clock: FakeClock) -> bytes:
    writer = LogWriter(folder, clock=clock)
    writer.close()
    return writer.mark


def test_a_frame_that_failed_leaves_the_mark_as_it_was(
    tmp_path: Path, clock: FakeClock, monkeypatch: Patch
) -> None:
    writer = LogWriter(tmp_path, clock=clock)
    writer.append([line("a")], b"one")
    broken = Broken(monkeypatch, os, "fdatasync", EIO, always)
    with pytest.raises(OSError, match="Input/output"):
        writer.append([line("b")], b"two")
    broken.on = False
    assert writer.mark == b"one"
    writer.close()
    assert opened_mark(tmp_path, clock) == b"one"


def test_a_log_of_an_older_version_has_no_mark(tmp_path: Path, clock: FakeClock) -> None:
    writer = LogWriter(tmp_path, clock=clock)
    writer.append([line("a")])
    writer.close()
    assert opened_mark(tmp_path, clock) == b""


def test_a_mark_that_is_no_mark_counts_as_none() -> None:
    record = line("a") + b"\n"
    for last in (b'{"type":"Mark","time":1,"mark":"zz"}\n', b'{"type":"Mark",\n'):
        assert records.split_mark(record + last) == (record, b"")
    assert records.split_mark(record) == (record, b"")
    assert records.split_mark(b"\n") == (b"\n", b"")
    whole = records.mark_line(7, b"\x01\xff") + b"\n"
    assert records.split_mark(whole) == (b"", b"\x01\xff")
