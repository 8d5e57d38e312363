"""A spool that has lost mail: each start tells, records what is missing, and tells it once.

Thirty messages were taken; ten of them ended, ten were deferred. Each case takes spool and log as
kill -9 leaves them, removes something, and opens the shard as a worker does.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from mta.audit.check import missing
from mta.audit.losses import Loss, Losses
from mta.audit.source import Source
from mta.clock import SystemClock
from mta.config.load import complete
from mta.config.schema import Config
from mta.maillog import LogWriter, read
from mta.model import IdGenerator, Kind, Message, Outcome, Peer, Recipient, Stages, Where
from mta.spool import wal
from mta.supervisor.losses import LossWatch
from mta.supervisor.shards import Opened, open_shard

if TYPE_CHECKING:
    from collections.abc import Callable

OK = Outcome(Kind.DELIVERED, 250, "2.0.0", "Ok", ".")
LATER = Outcome(Kind.DEFERRED, 451, "4.7.1", "later", "RCPT")
PEER = Peer("mx.x", "192.0.2.1:25", "")
DAY = 86_400_000_000
SHARD = "shard-0001"


def opened_in(home: Path) -> Opened:
    config = complete(Config(), home)
    (home / "spool").mkdir(parents=True, exist_ok=True)  # as the supervisor does
    loop = asyncio.get_running_loop()
    return open_shard(config, 1, 1, SystemClock(), loop, lambda *_: None)


async def until_durable(opened: Opened) -> None:
    done = asyncio.get_running_loop().create_future()
    opened.shard.when_durable(lambda error: done.set_result(None))
    await done


async def closed(opened: Opened) -> None:
    done = asyncio.get_running_loop().create_future()
    opened.shard.close_shard(lambda error: done.set_result(None))
    await done


async def taken(opened: Opened, ids: IdGenerator, number: int) -> Recipient:
    """A message that is stored, its Reception in the next frame."""
    now = SystemClock().wall_us()
    message = Message(ids.next(), "from@x", received_us=now, message_id=str(number))
    message.body = b"Subject: x\r\n\r\nx\r\n"
    one = Recipient(message, 0, f"{number}@x", due_us=now, expires_us=now + DAY)
    done = asyncio.get_running_loop().create_future()
    opened.shard.accept(message, [one], done.set_result)
    assert await done is None
    opened.shard.log(opened.lines.reception(message, [one]), logged=message.id)
    return one


async def build(home: Path) -> None:
    """The homes `early` (ten messages), `crashed` (thirty) and `log` as it was at the end."""
    live = home / "live"
    opened = opened_in(live)
    ids = IdGenerator(1, SystemClock())
    for number in range(30):
        one = await taken(opened, ids, number)
        if number % 3 == 0:
            opened.shard.close(one, opened.lines.delivery(one, OK, PEER, Stages()))
        elif number % 3 == 1:
            one.attempts = 1
            line = opened.lines.transient_failure(one, LATER, PEER, Stages(), one.due_us + DAY)
            opened.shard.defer(one, line, Where.DUE, one.due_us + DAY)
        if number % 10 == 9:
            await until_durable(opened)
        if number == 9:
            opened.shard._store._db.flush()
            shutil.copytree(live, home / "early")
    await until_durable(opened)
    shutil.copytree(live, home / "crashed")
    await closed(opened)


@pytest.fixture(scope="module")
def images(folders: Path) -> Path:
    folder = Path(tempfile.mkdtemp(dir=folders))
    asyncio.run(build(folder))
    return folder


class Seen(NamedTuple):
    """What a start made of it."""

    lost: list[str]  # addresses that were recorded as Lost
    found: list[str]
    queued: list[str]
    lines: list[str]  # what is told of losses
    notes: list[str]
    alarms: list[int]


async def start(home: Path) -> Seen:
    """Open the shard, let the comparison end, close."""
    faults: list[Exception] = []
    watch = LossWatch(home / "log", SystemClock(), faults.append)
    opened = opened_in(home)
    for line in opened.found:
        opened.shard.log(line)
    for id, line in opened.receptions:
        opened.shard.log(line, logged=id)
    watch.begin(opened)
    while watch._running:
        await asyncio.gather(*watch._running)
        await asyncio.sleep(0)
    assert faults == []
    await until_durable(opened)
    queued = sorted(r.address for r in opened.shard.scan(b"", 1000)[0])
    lines, alarms = watch.lines(), [trouble.count for trouble in watch.troubles()]
    await closed(opened)
    by_type: dict[str, list[str]] = {"Lost": [], "Found": []}
    for _, record in read(home / "log" / SHARD):
        if record["type"] in by_type:
            by_type[record["type"]].append(record["recipient"])
    return Seen(
        sorted(by_type["Lost"]), sorted(by_type["Found"]), queued, lines, opened.notes, alarms
    )


def accounts(home: Path) -> Counter[str]:
    """How often each address has an end; a Found takes one Lost back."""
    ends: Counter[str] = Counter()
    for _, record in read(home / "log" / SHARD):
        kind = record["type"]
        if kind in ("Delivery", "Bounce", "Removed", "Lost"):
            ends[record["recipient"]] += 1
        elif kind == "Found":
            ends[record["recipient"]] -= 1
    return ends


def spool_of(home: Path) -> Path:
    return home / "spool" / SHARD


def log_in(home: Path) -> Path:
    return wal.files(spool_of(home))[-1].path


def halve(home: Path) -> None:
    """Cut at the end of the batch in the middle."""
    ends = [batch.end for batch in wal.Wal(log_in(home)).read()]
    os.truncate(log_in(home), ends[len(ends) // 2])


def older_copy(home: Path) -> None:
    shutil.rmtree(home / "spool")
    shutil.copytree(home.with_name("early") / "spool", home / "spool")


LOSSES: dict[str, Callable[[Path], Any]] = {
    "the log of the database is halved": halve,
    "the log of the database is gone": lambda home: log_in(home).unlink(),
    "the folder of the shard is gone": lambda home: shutil.rmtree(spool_of(home)),
    "the whole spool is gone": lambda home: shutil.rmtree(home / "spool"),
    "the spool is an older copy": older_copy,
}


def taken_from(images: Path, tmp_path: Path) -> Path:
    shutil.copytree(images / "early", tmp_path / "early")
    shutil.copytree(images / "crashed", tmp_path / "home")
    return tmp_path / "home"


def to_end(home: Path) -> set[str]:
    """Addresses that were taken and not delivered."""
    return {f"{number}@x" for number in range(30) if number % 3}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_told_and_each_recipient_has_its_record(
    images: Path, tmp_path: Path, name: str
) -> None:
    home = taken_from(images, tmp_path)
    LOSSES[name](home)
    seen = asyncio.run(start(home))
    assert seen.lost
    assert set(seen.lost) | set(seen.queued) == to_end(home)
    assert not set(seen.lost) & set(seen.queued)
    (line,) = seen.lines
    assert f"{len(seen.lost)} recipients are recorded as Lost" in line
    assert seen.alarms == [len(seen.lost)]
    ends = accounts(home)
    assert all(ends[f"{number}@x"] == (f"{number}@x" not in seen.queued) for number in range(30))

    again = asyncio.run(start(home))  # nothing new, still not accepted
    assert (again.lost, again.queued, again.lines) == (seen.lost, seen.queued, seen.lines)
    Losses(home / "log" / SHARD).accept("root", "", 1)
    assert asyncio.run(start(home)).lines == []


def test_a_kill_is_no_loss(images: Path, tmp_path: Path) -> None:
    home = taken_from(images, tmp_path)
    seen = asyncio.run(start(home))
    assert (seen.lost, seen.lines, seen.notes, seen.alarms) == ([], [], [], [])
    assert set(seen.queued) == to_end(home)


def test_a_log_that_is_gone_is_no_loss_of_mail(images: Path, tmp_path: Path) -> None:
    home = taken_from(images, tmp_path)
    shutil.rmtree(home / "log")
    seen = asyncio.run(start(home))
    assert (seen.lost, seen.lines) == ([], [])
    assert set(seen.queued) == to_end(home)
    (note,) = seen.notes
    assert "its log ends before what its spool has applied" in note
    assert asyncio.run(start(home)).notes == []


def test_outcomes_that_the_spool_lacks_are_no_loss(images: Path, tmp_path: Path) -> None:
    """The spool goes back to its early state, and so does all that the log received since."""
    home = taken_from(images, tmp_path)
    older_copy(home)
    shutil.rmtree(home / "log")
    shutil.copytree(home.with_name("early") / "log", home / "log")
    seen = asyncio.run(start(home))
    assert (seen.lost, seen.lines) == ([], [])


def test_what_is_restored_is_found_and_delivered(images: Path, tmp_path: Path) -> None:
    """The disk was not mounted: all is recorded as lost, then it is there again."""
    home = taken_from(images, tmp_path)
    shutil.move(home / "spool", home / "aside")
    assert set(asyncio.run(start(home)).lost) == to_end(home)
    shutil.rmtree(home / "spool")
    shutil.move(home / "aside", home / "spool")
    seen = asyncio.run(start(home))
    assert set(seen.queued) == set(seen.found) == to_end(home)
    assert sorted(seen.lost) == sorted(to_end(home))  # none a second time
    assert len(seen.lines) == 2  # two losses were found, and neither accepted
    assert all(ends == (address not in to_end(home)) for address, ends in accounts(home).items())


def test_a_comparison_that_a_crash_ended_begins_again(images: Path, tmp_path: Path) -> None:
    home = taken_from(images, tmp_path)
    shutil.rmtree(home / "spool")

    async def opened_only() -> None:
        opened = opened_in(home)
        await closed(opened)

    asyncio.run(opened_only())
    (loss,) = Losses(home / "log" / SHARD).pending
    assert not loss.compared
    seen = asyncio.run(start(home))
    assert set(seen.lost) == to_end(home)
    assert len(seen.lines) == 1


def test_a_new_spool_beside_an_old_log_without_marks(images: Path, tmp_path: Path) -> None:
    """The first start after an upgrade: only what the comparison finds counts."""
    home = taken_from(images, tmp_path)
    shutil.rmtree(home / "spool")
    unmark(home / "log" / SHARD)
    assert set(asyncio.run(start(home)).lost) == to_end(home)

    other = tmp_path / "other"
    shutil.copytree(home, other)
    shutil.rmtree(other / "spool")
    (other / "log" / SHARD / "losses.json").unlink()
    unmark(other / "log" / SHARD)  # everything in it has its end
    seen = asyncio.run(start(other))
    assert (seen.lines, seen.alarms) == ([], [])


def unmark(folder: Path) -> None:
    """Write the log anew, as a version before marks has written it."""
    from mta.maillog import LogWriter, reader

    lines = [line for _, found in reader.read_lines(folder) for line in found if line]
    for path in folder.glob("*.zst"):
        path.unlink()
    writer = LogWriter(folder, clock=SystemClock())
    writer.append(lines)
    writer.close()


def no_room(*arguments: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


async def delivered_without_log(home: Path, opened: Opened, patch: pytest.MonkeyPatch) -> Recipient:
    """A recipient whose Reception and whose end are two rows that the log could not take."""
    patch.setattr(opened.shard.log_end, "append", no_room)
    one = await taken(opened, IdGenerator(1, SystemClock()), 0)
    await until_durable(opened)
    opened.shard.close(one, opened.lines.delivery(one, OK, PEER, Stages()))
    await until_durable(opened)
    return one


async def killed_half_way(home: Path, patch: pytest.MonkeyPatch) -> Seen:
    live = home / "live"
    opened = opened_in(live)
    await delivered_without_log(live, opened, patch)
    shutil.copytree(live, home / "killed")
    first = [next(opened.shard.kept_lines())]
    patch.undo()
    await closed(opened)
    log = LogWriter(home / "killed" / "log" / SHARD, clock=SystemClock())
    log.append(first)  # the log has the first row; the spool does not know yet
    log.close()
    return await start(home / "killed")


def test_what_waits_for_the_log_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = asyncio.run(killed_half_way(tmp_path, monkeypatch))
    assert (seen.lost, seen.lines, seen.queued) == ([], [], [])
    assert accounts(tmp_path / "killed") == {"0@x": 1}


async def compared_meanwhile(home: Path, patch: pytest.MonkeyPatch) -> list[str]:
    opened = opened_in(home)
    one = await taken(opened, IdGenerator(1, SystemClock()), 0)
    await until_durable(opened)  # its Reception is in the log
    patch.setattr(opened.shard.log_end, "append", no_room)
    opened.shard.close(one, opened.lines.delivery(one, OK, PEER, Stages()))
    await until_durable(opened)
    opened.losses.found(Loss(SystemClock().wall_us(), "a trial", (0, 0)))
    watch = LossWatch(home / "log", SystemClock(), lambda error: None)
    watch.begin(opened)
    (task,) = watch._running
    done, _ = await asyncio.wait([task], timeout=0.5)
    assert not done  # it waits for the log
    patch.undo()
    await task
    await closed(opened)
    return [record["type"] for _, record in read(home / "log" / SHARD)]


def test_a_comparison_waits_for_what_the_log_could_not_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    types = asyncio.run(compared_meanwhile(tmp_path, monkeypatch))
    assert types == ["Reception", "Delivery"]


async def left_for_later(home: Path, patch: pytest.MonkeyPatch) -> None:
    opened = opened_in(home)
    one = await taken(opened, IdGenerator(1, SystemClock()), 0)
    await until_durable(opened)
    patch.setattr(opened.shard.log_end, "append", no_room)
    opened.shard.close(one, opened.lines.delivery(one, OK, PEER, Stages()))
    await closed(opened)


def test_a_check_knows_what_the_log_could_not_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(left_for_later(tmp_path, monkeypatch))
    folder = tmp_path / "log" / SHARD
    source = Source(tmp_path / "spool" / SHARD, None)
    try:
        assert list(missing(source, folder)) == []
    finally:
        source.close()
