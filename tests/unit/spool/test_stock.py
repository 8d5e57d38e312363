"""Which segment files there must be: a shard without them serves nothing, and forgets nothing."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from mta._speedups import bodylog
from mta.errors import ContentsMissingError, SpoolError
from mta.model import IdGenerator
from mta.spool import Gone, Unreadable, keys, segments, stock
from mta.spool.doubts import SECOND
from mta.spool.look import Look
from mta.spool.store import Store
from mta.testing.clock import FakeClock
from mta.testing.spool import SpoolBench, descriptors
from tests.unit.spool.filled import (
    FULL,
    OPTIONS,
    close,
    crashed,
    number_of,
    opened,
    prepared,
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


def bodies(bench: SpoolBench) -> Path:
    return bench.shard._bodies.segments.folder


def rows(bench: SpoolBench) -> list[int]:
    found = bench.shard._store.settings(keys.SEGMENT, keys.above(keys.SEGMENT))
    return [keys.parse_u32(key[-4:]) for key, _ in found]


def files(bench: SpoolBench) -> list[int]:
    return sorted(int(path.stem) for path in bodies(bench).iterdir())


def again(bench: SpoolBench) -> SpoolBench:
    return SpoolBench(bench.folder, options=OPTIONS)


def counted(bench: SpoolBench) -> None:
    """Let the places be counted, and what is not in its place be looked for."""
    while not bench.shard._bodies.segments.counted:
        bench.loop.advance(0.1, bench.shard)
    rest(bench)


# -- what is missing


@pytest.mark.parametrize("what", ["folder", "file", "two", "cut"])
def test_a_shard_without_its_files_is_refused_until_they_are_back(
    bench: SpoolBench, tmp_path: Path, what: str
) -> None:
    sent = send(bench, 2 * FULL + 1)
    bench.close()
    before, copy = descriptors(), tmp_path / "copy"
    shutil.copytree(bodies(bench), copy)
    first = bodies(bench) / "0000000001.bodies"
    if what == "folder":
        shutil.rmtree(bodies(bench))
    elif what == "cut":
        os.truncate(first, first.stat().st_size - 512)
    else:
        first.unlink()
        if what == "two":
            (bodies(bench) / "0000000002.bodies").unlink()
    there = sorted(path.name for path in bodies(bench).parent.rglob("*.bodies"))
    for _ in range(2):  # refusing it gave the lock back
        with pytest.raises(ContentsMissingError, match="0000000001.bodies") as refusal:
            again(bench)
        assert "serves nothing" in str(refusal.value)
        assert "copy back what is missing" in str(refusal.value)
        assert "`mta spool repair --shard 1`" in str(refusal.value)
    assert sorted(path.name for path in bodies(bench).parent.rglob("*.bodies")) == there
    assert bodies(bench).is_dir() == (what != "folder")
    assert descriptors() == before
    shutil.rmtree(bodies(bench), ignore_errors=True)
    copy.rename(bodies(bench))
    bench = again(bench)
    assert [bench.shard.body(r.message) for r in sent] == [r.message.body for r in sent]
    bench.close()


def test_a_new_shard_and_an_empty_one_need_no_files(bench: SpoolBench) -> None:
    close(bench, send(bench))
    bench.close()
    bench = again(bench)
    counted(bench)
    for _ in range(2):
        bench.commit()
    assert rows(bench) == []
    bench.close()
    shutil.rmtree(bodies(bench))
    again(bench).close()


def test_a_file_that_vanishes_while_it_is_open_is_read_to_its_end(bench: SpoolBench) -> None:
    sent = send(bench, FULL + 1)
    shutil.rmtree(bodies(bench))
    assert [bench.shard.body(r.message) for r in sent] == [r.message.body for r in sent]


def test_a_folder_that_cannot_be_read_is_refused(
    bench: SpoolBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.close()

    def fail(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied", "bodies")

    for name, text in (("listdir", "cannot be read"), ("open", "cannot be opened")):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, _only(name, fail))
            with pytest.raises(SpoolError, match=text):
                again(bench)
    again(bench).close()


def _only(name: str, fail: Any) -> Any:
    """Fails for segment files and their folder."""
    real = getattr(os, name)

    def call(path: Any, *arguments: Any, **named: Any) -> Any:
        return fail() if "bodies" in str(path) else real(path, *arguments, **named)

    return call


def test_other_files_in_the_folder_are_let_alone(bench: SpoolBench) -> None:
    names = ["lost+found", "x.bodies", "9999999999999.bodies", "3.bodies~", ".bodies"]
    for name in names:
        (bodies(bench) / name).touch()
    bench.close()
    bench = again(bench)
    assert list(bench.shard._bodies.segments.table) == [1]
    assert {path.name for path in bodies(bench).iterdir()} == {"0000000001.bodies", *names}
    bench.close()


# -- the rows


def test_a_row_is_there_before_anything_needs_its_file(bench: SpoolBench) -> None:
    send(bench, FULL + 1)
    assert rows(bench) == files(bench) == [1, 2]
    other = crashed(bench)
    assert rows(other) == files(other) == [1, 2]
    other.close()


def test_a_file_is_never_taken_away_before_its_row(
    bench: SpoolBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard that is killed at any of these moments opens again."""
    moments: list[str] = []

    def killed(what: str, *arguments: Any) -> Any:
        moments.append(what)
        crashed(bench, f"killed-{len(moments)}").close()
        result = real[what](*arguments)
        crashed(bench, f"killed-{len(moments)}-behind").close()
        return result

    real = {"remove": segments.remove, "sync": segments.sync_folder}
    monkeypatch.setattr(segments, "remove", lambda *what: killed("remove", *what))
    monkeypatch.setattr(segments, "sync_folder", lambda *what: killed("sync", *what))
    sent = send(bench, 5 * FULL)
    close(bench, sent[: 4 * FULL])
    rest(bench)
    sent = sent[4 * FULL :] + send(bench, FULL)  # in a file that is used again
    rest(bench)
    assert {"remove", "sync"} == set(moments)
    assert set(rows(bench)) == set(files(bench)) - {
        one.number for one in bench.shard._bodies.segments.free
    }
    assert [bench.shard.body(r.message) for r in sent] == [r.message.body for r in sent]


def test_no_number_is_given_twice_though_its_file_is_gone(bench: SpoolBench) -> None:
    sent = send(bench, 3 * FULL)
    close(bench, sent)
    bench.close()
    bench = again(bench)
    counted(bench)
    bench.close()
    shutil.rmtree(bodies(bench))  # all were empty
    bench = again(bench)
    newest = max(number_of(r) for r in sent)
    prepared(bench)
    (one,) = send(bench)
    assert number_of(one) > newest
    bench.close()


# -- spools of an earlier version


def without_rows(bench: SpoolBench) -> None:
    """As a version left it that did not keep them."""
    store = bench.shard._store
    for number in rows(bench):
        store.default.delete(keys.segment(number))
    store.default.delete(keys.NEWEST)
    store.default.put(keys.FORMAT, keys.u32(2))
    bench.close()


def test_rows_are_made_for_the_files_of_an_earlier_version(bench: SpoolBench) -> None:
    sent = send(bench, FULL + 1)
    without_rows(bench)
    bench = again(bench)
    assert rows(bench) == [1, 2]
    assert [bench.shard.body(r.message) for r in sent] == [r.message.body for r in sent]
    bench.close()


def test_a_folder_that_is_missing_since_an_earlier_version(bench: SpoolBench) -> None:
    send(bench)
    without_rows(bench)
    shutil.rmtree(bodies(bench))
    with pytest.raises(ContentsMissingError, match="the folder with the contents"):
        again(bench)


def test_a_folder_that_no_mail_of_an_earlier_version_needs(bench: SpoolBench) -> None:
    (one,) = send(bench, size=500)
    without_rows(bench)
    shutil.rmtree(bodies(bench))
    bench = again(bench)
    assert bench.shard.body(one.message) == one.message.body
    bench.close()


def test_what_counting_finds_missing_is_an_alarm_and_is_kept(bench: SpoolBench) -> None:
    sent = send(bench, FULL + 1)
    without_rows(bench)
    (bodies(bench) / "0000000001.bodies").unlink()
    bench = again(bench)
    counted(bench)
    (trouble,) = bench.shard.troubles()
    assert (trouble.alarm, trouble.count) == ("missing_content", 1)
    answers: list[Any] = []
    for _ in range(3):
        bench.shard.read_bodies([sent[0].message], answers.append)
        bench.loop.wait()
        (found,) = answers.pop().values()
        assert isinstance(found, Unreadable)
        assert "segment 1 is missing" in found.why
        bench.clock.advance(SECOND)
    assert bench.shard.body(sent[-1].message) == sent[-1].message.body
    bench.close()


def test_what_was_emptied_is_not_missing(bench: SpoolBench) -> None:
    """Its contents are in the database: they were few."""
    left = send(bench, 7 * FULL + 1)
    close(bench, [r for r in left if r not in left[::FULL]])
    bench.shard._reclaim.look()
    while bench.shard._reclaim._moving is not None:
        bench.loop.wait()
        bench.run()
    bench.run()
    assert rows(bench) != [number_of(r) for r in left[::FULL]]
    bench.close()
    bench = again(bench)
    counted(bench)
    assert list(bench.shard.troubles()) == []
    assert all(bench.shard.body(r.message) == r.message.body for r in left[::FULL])
    bench.close()


def test_where_batches_are_lost_a_row_proves_nothing(
    bench: SpoolBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = send(bench, FULL + 1)
    bench.close()
    (bodies(bench) / "0000000001.bodies").unlink()
    monkeypatch.setattr(Look, "lost", 3)
    bench = again(bench)
    monkeypatch.undo()
    assert rows(bench) == [2]
    counted(bench)
    (trouble,) = [t for t in bench.shard.troubles() if t.alarm == "missing_content"]
    assert trouble.count == 1
    assert isinstance(bench.shard.body(sent[0].message), Unreadable)
    bench.close()


# -- doing without


def give_up(bench: SpoolBench) -> None:
    """As a repair does for the first segment."""
    store = Store(bodies(bench).parent, 1, OPTIONS)
    assert stock.lacking(store.settings(b"", b"\xff"), bodies(bench)) == [1]
    batch = store.batch()
    batch.delete(keys.segment(1))
    batch.put(keys.lost(1), b"")
    store.write(batch)
    store.close()


def test_an_operator_may_do_without_what_is_missing(bench: SpoolBench) -> None:
    sent = send(bench, FULL + 1)
    bench.close()
    first = bodies(bench) / "0000000001.bodies"
    first.rename(first.with_suffix(".away"))
    give_up(bench)
    bench = again(bench)
    counted(bench)
    assert list(bench.shard.troubles()) == []
    assert isinstance(bench.shard.body(sent[0].message), Gone)
    assert bench.shard.body(sent[-1].message) == sent[-1].message.body
    bench.close()
    first.with_suffix(".away").rename(first)  # it has come back after all
    bench = again(bench)
    assert bench.shard.body(sent[0].message) == sent[0].message.body
    bench.close()


def test_an_operator_may_do_without_what_was_cut_off(bench: SpoolBench) -> None:
    sent = send(bench, FULL + 1)
    bench.close()
    os.truncate(bodies(bench) / "0000000001.bodies", 7000)
    give_up(bench)
    bench = again(bench)
    assert bench.shard.body(sent[0].message) == sent[0].message.body
    assert isinstance(bench.shard.body(sent[1].message), Gone)
    bench.close()


def test_the_file_of_another_shard_is_refused(bench: SpoolBench, tmp_path: Path) -> None:
    sent = send(bench, 1)
    bench.close()
    path = bodies(bench) / "0000000001.bodies"
    own = path.read_bytes()
    id = IdGenerator(7, FakeClock()).next()
    file = os.open(path, os.O_WRONLY)
    bodylog.append(file, 0, 1, [(id, b"another's")])
    os.close(file)
    with pytest.raises(ContentsMissingError, match="of shard 7: was it exchanged"):
        again(bench)
    path.write_bytes(own)
    bench = again(bench)
    assert [bench.shard.body(r.message) for r in sent] == [r.message.body for r in sent]
    bench.close()
