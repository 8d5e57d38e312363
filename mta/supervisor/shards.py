"""The shards of a worker: opened and recovered, or refused and tried again.

A shard that cannot be opened is *refused*: the worker's others serve, and it is tried again with
back-off until it opens. So a disk that was full or failed for a while, or a shard that an operator
has repaired, needs no restart.
"""

from __future__ import annotations

import asyncio
import enum
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from mta.audit.losses import Loss, Losses
from mta.errors import (
    ContentsMissingError,
    MailraceError,
    RecordError,
    SpoolDamagedError,
    SpoolVersionError,
)  # fmt: skip
from mta.maillog import reader, segments
from mta.maillog.records import TERMINAL, RecordWriter, decode
from mta.maillog.writer import LogWriter
from mta.model import Kind, Outcome, id_bytes
from mta.spool import keys
from mta.spool.recovery import RecoveredRecord, recover
from mta.spool.shard import Shard
from mta.supervisor import wiring

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from mta.clock import Clock
    from mta.config.schema import Config
    from mta.maillog.records import Fields
    from mta.model import Message, Peer, Recipient

    BodyOf = Callable[[Message], bytes | None]
    MakeDsn = Callable[[Message, Recipient, Outcome, Peer | None, BodyOf], Message | None]

DAMAGE = (SpoolDamagedError, ContentsMissingError, RecordError)
WITH_DSN = {"Bounce", "Expiration", "AdminBounce"}
KINDS: dict[str, Literal["terminal", "deferred", "reception", "lost", "found"]] = {
    **dict.fromkeys(TERMINAL, "terminal"),
    "Reception": "reception", "TransientFailure": "deferred", "Lost": "lost", "Found": "found",
}  # fmt: skip
FIRST = (1, 0)  # where a log that has nothing in it yet may end
NEW = "its spool is new, its log is not"
BACKOFF = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)  # seconds before the n-th attempt to open a shard


class Opened(NamedTuple):
    """A shard that is ready, and what its recovery left to do."""

    shard: Shard
    lines: RecordWriter
    newest: bytes  # the largest id it knows, b"" if none
    receptions: list[tuple[bytes, bytes]]  # of messages without one in the log: id, line
    torn: list[Message]  # without content: they were being stored
    losses: Losses  # what it has lost, now and before
    found: list[bytes]  # records of recipients that are there though they count as lost
    notes: list[str]  # what people should know of the opening


class Cause(enum.StrEnum):
    """What refuses a shard."""

    TROUBLE = "trouble"  # disk, memory, descriptors, a lock: may pass by itself
    DAMAGE = "damage"  # somebody must look at it
    VERSION = "version"  # another version of the program wrote it


class Refused(msgspec.Struct, frozen=True):
    """A shard that does not serve, and why."""

    shard: int
    cause: Cause
    problem: str  # for people


def refusal(number: int, error: Exception) -> Refused:
    """What an error says of a shard that was being opened."""
    cause = Cause.TROUBLE
    if isinstance(error, SpoolVersionError):
        cause = Cause.VERSION
    elif isinstance(error, DAMAGE) or not expected(error):
        cause = Cause.DAMAGE
    return Refused(number, cause, _told(error))


def expected(error: Exception) -> bool:
    """Whether an error tells of the machine or the disk, not of content that nobody foresaw."""
    # RuntimeError: no thread can be started.
    return isinstance(error, MailraceError | OSError | MemoryError | RuntimeError)


def _told(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, MailraceError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


class Shards:
    """Opens a worker's shards, by `open_shard(number)` in a thread each.

    `tell()` is called whenever `serving` or `refused` has changed, `fault(error)` for an error
    that nobody foresaw.
    """

    def __init__(
        self,
        numbers: Sequence[int],
        open_shard: Callable[[int], Opened],
        tell: Callable[[], None],
        fault: Callable[[Exception], object],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.serving: list[int] = []
        self.refused: dict[int, Refused] = {}
        self._numbers, self._open, self._sleep = list(numbers), open_shard, sleep
        self._tell, self._fault = tell, fault
        self._arrived: asyncio.Queue[Opened] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()

    async def first(self) -> list[Opened]:
        """Those that open at once; else the first that does, however long that takes."""
        found = await asyncio.gather(*(self._try(number) for number in self._numbers))
        for number in self.refused:
            self._spawn(self._again(number))
        self._tell()
        opened = [one for one in found if one is not None]
        return opened or [await self._arrived.get()]

    def join(self, take: Callable[[Opened], None]) -> None:
        """Give those that open later to `take`."""
        if self.refused or not self._arrived.empty():
            self._spawn(self._join(take))

    def stop(self) -> None:
        """Open none any more."""
        for task in self._tasks:
            task.cancel()

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, take: Callable[[Opened], None]) -> None:
        while self.refused or not self._arrived.empty():
            take(await self._arrived.get())

    async def _try(self, number: int) -> Opened | None:
        """The shard, or None: it is among the refused."""
        try:
            opened = await asyncio.to_thread(self._open, number)
        except Exception as error:  # noqa: BLE001 - others must serve whatever is wrong with one
            refused = refusal(number, error)
            if not expected(error) and refused != self.refused.get(number):
                self._fault(error)
            self.refused[number] = refused
            return None
        self.refused.pop(number, None)
        self.serving.append(number)
        return opened

    async def _again(self, number: int) -> None:
        opened = None
        for pause in chain(BACKOFF, repeat(BACKOFF[-1])):
            await self._sleep(pause)
            opened = await self._try(number)
            if opened is not None:
                break
            self._tell()
        assert opened is not None
        self._arrived.put_nowait(opened)
        self._tell()


def open_shard(
    config: Config,
    number: int,
    shards: int,
    clock: Clock,
    loop: asyncio.AbstractEventLoop,
    make_dsn: MakeDsn,
) -> Opened:
    """Open and recover one of the node's `shards` shards; not on the loop: it waits for the disk.

    What fails leaves nothing open, so that it can be called again.
    """
    Path(config.spool).mkdir(parents=True, exist_ok=True, mode=0o750)
    segment_bytes, retain_bytes = wiring.log_sizes(config, shards)
    log = LogWriter(
        Path(config.log_dir) / f"shard-{number:04}",
        segment_bytes=segment_bytes,
        segment_age=config.log.segment_age,
        retain_bytes=retain_bytes,
        retain_age=config.log.retain_age,
        level=config.log.level,
        clock=clock,
    )

    def wake(callback: Callable[[], None]) -> None:
        loop.call_soon_threadsafe(callback)

    try:
        shard = Shard.open(
            Path(config.spool) / f"shard-{number:04}",
            number,
            log,
            wiring.shard_options(config, shards),
            clock,
            wake,
            loop.call_later,
        )
    except BaseException:
        log.close()
        raise
    try:
        return _recovered(config, shard, clock, make_dsn)
    except BaseException:
        shard.abandon()
        raise


def _recovered(config: Config, shard: Shard, clock: Clock, make_dsn: MakeDsn) -> Opened:
    """Apply the log to a shard that was opened."""
    number = shard.number

    def body_of(message: Message) -> bytes | None:
        found = shard.body(message)
        return found if isinstance(found, bytes) else None

    def dsn(
        recipient: Recipient, record: RecoveredRecord
    ) -> tuple[Message, list[Recipient]] | None:
        if record.type not in WITH_DSN or not recipient.message.sender:
            return None
        outcome = Outcome(Kind.BOUNCED, record.code, record.enhanced, record.text, "")
        made = make_dsn(recipient.message, recipient, outcome, None, body_of)
        return None if made is None else (made, [wiring.dsn_recipient(config, made, recipient)])

    folder = Path(config.log_dir) / f"shard-{number:04}"
    losses = Losses(folder)
    start = _Start(shard, folder, losses, clock)
    entries = () if start.new else _behind(folder, shard.position)
    kept = partial(_of_lines, shard.kept_lines)
    result = recover(shard, entries, dsn, start.missing, kept=kept)
    lines = RecordWriter(config.hostname, number, clock)
    receptions = [
        (message.id, lines.reception(message, shard.recipients(message.id)))
        for message in result.unlogged
    ]
    found = [lines.found(one, "restored from a copy") for one in result.found.values()]
    newest = shard.newest_id()
    shard.begin()
    return Opened(shard, lines, newest, receptions, result.torn, losses, found, start.notes)


class _Start:
    """Notes what a shard has lost, before recovery moves its position in the log."""

    def __init__(self, shard: Shard, folder: Path, losses: Losses, clock: Clock) -> None:
        self._number, self._losses, self._clock = shard.number, losses, clock
        self._end, self._since = shard.log_end.position, shard.position
        self.notes = list(shard.notes)
        self._noted = False
        self.new = shard.is_new and self._end > FIRST
        if self._since > self._end:
            self.notes.append(
                f"shard {shard.number}: its log ends before what its spool has applied: {folder}"
                " was removed or is an older copy. No mail is lost by that; the records are"
            )
            self._since = reader.BEGINNING
        problem = lost_batches(shard)
        if shard.found.replaced and is_exchanged(folder, shard.found.identity):
            self.notes.append(
                f"shard {shard.number}: {folder} ends with a segment of another log: put back what"
                " was exchanged. No mail is lost by that"
            )
        elif problem or self.new:
            self._lost(problem or NEW, certain=bool(problem))

    def missing(self, recipients: int) -> None:
        """Recovery misses recipients that were received."""
        if not self._noted:
            self._lost("mail that its log has received is not in its spool", certain=True)

    def _lost(self, what: str, *, certain: bool) -> None:
        since = reader.BEGINNING if self.new else self._since
        self._noted = True
        self._losses.found(Loss(self._clock.wall_us(), what, since, certain))


def is_exchanged(folder: Path, identity: bytes) -> bool:
    """Whether it is the end of a log that is another's, not the database: it has records of another
    shard, or marks of the database before that."""
    shard, last = reader.shard_of(folder), max(segments.numbers(folder), default=0)
    shards = (record.get("shard", 0) for _, record in reader.read(folder, (last, 0)))
    marks = map(keys.parse_mark, reader.last_marks(folder))
    return next(shards, shard) != shard or any(m and m.identity == identity for m in marks)


def lost_batches(shard: Shard) -> str:
    """What the look at a shard's files tells of a loss, for people; "" if all is there."""
    found = shard.found
    if found.unused and found.required:
        return NEW
    if found.replaced:
        return "another database is in its place"
    if found.lost:
        return (
            f"its files end {found.lost} batches before what was synced: they were cut, or are"
            " an older copy"
        )
    return ""


def _behind(folder: Path, position: tuple[int, int]) -> Iterator[RecoveredRecord]:
    """The records behind the spool's position, as recovery reads them."""
    shard = reader.shard_of(folder)
    records = (record for _, record in reader.read(folder, position))
    # What is of another shard, whose log somebody has put here, says nothing of this one.
    return _of(record for record in records if record.get("shard", 0) == shard)


def _of_lines(lines: Callable[[], Iterator[bytes]]) -> Iterator[RecoveredRecord]:
    """The same of lines that are not in the log yet."""
    return _of(record for record in map(decode, lines()) if record is not None)


def _of(records: Iterable[Fields]) -> Iterator[RecoveredRecord]:
    for record in records:
        type = record["type"]
        kind = KINDS.get(type)
        if kind is not None:
            yield RecoveredRecord(
                id_bytes(record["id"]),
                record.get("rno") or 0,
                kind,
                record.get("attempts", 0),
                record.get("next_attempt", 0),
                record.get("code", 0),
                record.get("enhanced", ""),
                record.get("text", ""),
                type,
                record.get("total", 0),
                record.get("site", ""),
            )
