"""Opening a worker's shards: log, database, recovery."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mta.maillog import reader
from mta.maillog.records import TERMINAL, RecordWriter
from mta.maillog.writer import LogWriter
from mta.model import Kind, Outcome, id_bytes
from mta.spool.recovery import RecoveredRecord, recover
from mta.spool.shard import Shard
from mta.supervisor import wiring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mta.clock import Clock
    from mta.config.schema import Config
    from mta.model import Message, Peer, Recipient

    BodyOf = Callable[[Message], bytes | None]
    MakeDsn = Callable[[Message, Recipient, Outcome, Peer | None, BodyOf], Message | None]

WITH_DSN = {"Bounce", "Expiration", "AdminBounce"}


class Opened(NamedTuple):
    """A shard that is ready, and what its recovery left to do."""

    shard: Shard
    lines: RecordWriter
    unlogged: list[Message]  # stored, but their Reception is not in the log
    torn: list[Message]  # without content: they were being stored


async def open_shards(
    config: Config,
    numbers: list[int],
    workers: int,
    clock: Clock,
    loop: asyncio.AbstractEventLoop,
    make_dsn: MakeDsn,
) -> list[Opened]:
    """Open and recover in a thread each, so that a slow disk costs its own time only."""

    def one(number: int) -> Opened:
        return _open(config, number, len(numbers) * workers, clock, loop, make_dsn)

    return list(await asyncio.gather(*(asyncio.to_thread(one, number) for number in numbers)))


def _open(
    config: Config,
    number: int,
    shards: int,
    clock: Clock,
    loop: asyncio.AbstractEventLoop,
    make_dsn: MakeDsn,
) -> Opened:
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

    shard = Shard.open(
        Path(config.spool) / f"shard-{number:04}",
        number,
        log,
        wiring.shard_options(config, shards),
        clock,
        wake,
        loop.call_later,
    )

    def body_of(message: Message) -> bytes | None:
        try:
            return shard.body(message)
        except KeyError:
            return None

    def dsn(
        recipient: Recipient, record: RecoveredRecord
    ) -> tuple[Message, list[Recipient]] | None:
        if record.type not in WITH_DSN or not recipient.message.sender:
            return None
        outcome = Outcome(Kind.BOUNCED, record.code, record.enhanced, record.text, "")
        made = make_dsn(recipient.message, recipient, outcome, None, body_of)
        return None if made is None else (made, [wiring.dsn_recipient(config, made, recipient)])

    result = recover(shard, _behind(Path(config.log_dir), number, shard.position), dsn)
    lines = RecordWriter(config.hostname, number, clock)
    return Opened(shard, lines, result.unlogged, result.torn)


def _behind(log_dir: Path, number: int, position: tuple[int, int]) -> Iterator[RecoveredRecord]:
    """The records behind the spool's position, as recovery reads them."""
    for _, record in reader.read(log_dir / f"shard-{number:04}", position):
        kind = record["type"]
        if kind in TERMINAL or kind in ("Reception", "TransientFailure"):
            yield RecoveredRecord(
                id_bytes(record["id"]),
                record.get("rno") or 0,
                "terminal" if kind in TERMINAL
                else "reception" if kind == "Reception" else "deferred",
                record.get("attempts", 0),
                record.get("next_attempt", 0),
                record.get("code", 0),
                record.get("enhanced", ""),
                record.get("text", ""),
                kind,
            )  # fmt: skip
