"""Fill a shard of a stopped server: `python -m bench.bulk SPOOL LOG NUMBER COUNT SIZE DUE`.

The same calls that a worker makes, so the same rows: messages and Reception records, each recipient
in the state "due later", as after an attempt that was put off. DUE is seconds from now, spread over
an hour. Message i goes to user@d<i % 1000>.waits.example, campaign c<i % 100>.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

from mta.clock import SystemClock
from mta.maillog.records import RecordWriter
from mta.maillog.writer import LogWriter
from mta.model import IdGenerator, Message, Recipient, Where
from mta.spool import Shard, ShardOptions

BATCH = 2000
DAY = 86_400_000_000
HOUR = 3_600_000_000
DOMAINS, CAMPAIGNS = 1000, 100


def made(ids: IdGenerator, now: int, index: int, body: bytes, due: int) -> Recipient:
    """The recipient of message `index`."""
    message = Message(
        ids.next(), "sender@bench.example", campaign=f"c{index % CAMPAIGNS}", received_us=now,
        size=len(body),
    )  # fmt: skip
    message.body = body
    recipient = Recipient(
        message, 0, f"user@d{index % DOMAINS}.waits.example",
        due_us=now + due + index * 7919 % HOUR, expires_us=now + 2 * DAY,
    )  # fmt: skip
    recipient.where, recipient.attempts = Where.DUE, 1
    recipient.code, recipient.enhanced, recipient.text = 451, "4.3.0", "Not now"
    return recipient


async def fill(spool: Path, logs: Path, number: int, count: int, size: int, due: int) -> None:
    """Accept `count` messages, a batch at a time, and wait until all is synced."""
    loop, clock = asyncio.get_running_loop(), SystemClock()
    name = f"shard-{number:04}"
    log = LogWriter(logs / name, clock=clock)
    shard = Shard.open(
        spool / name, number, log, ShardOptions(), clock, loop.call_soon_threadsafe, loop.call_later
    )
    shard.begin()
    ids, lines = IdGenerator(number, clock), RecordWriter("bench.example", number, clock)
    body = (b"Subject: waits\r\n\r\n" + b"x" * 70 + b"\r\n") * (size // 90 + 1)
    for start in range(0, count, BATCH):
        now, batch = clock.wall_us(), range(start, min(start + BATCH, count))
        await store(
            shard, lines, [[made(ids, now, i, body[:size], due * 1_000_000)] for i in batch]
        )
    await close(shard)


async def store(shard: Shard, lines: RecordWriter, messages: list[list[Recipient]]) -> None:
    """Accept messages, given as their recipients, in one group; then log their Reception."""
    stored, left = asyncio.get_running_loop().create_future(), len(messages)

    def done(error: BaseException | None) -> None:
        nonlocal left
        left -= 1
        if error is not None and not stored.done():
            stored.set_exception(error)
        elif not left and not stored.done():
            stored.set_result(None)

    for recipients in messages:
        shard.accept(recipients[0].message, recipients, done)
    await stored
    for recipients in messages:
        message = recipients[0].message
        shard.log(lines.reception(message, recipients), logged=message.id)


async def close(shard: Shard) -> None:
    """Write and sync what is left."""
    closed = asyncio.get_running_loop().create_future()
    shard.close_shard(closed.set_result)
    if error := await closed:
        raise error


def main() -> None:
    """Fill what the arguments name."""
    spool, logs, number, count, size, due = sys.argv[1:]
    uvloop.run(fill(Path(spool), Path(logs), int(number), int(count), int(size), int(due)))


if __name__ == "__main__":
    main()
