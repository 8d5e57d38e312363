"""Fills the spool of a stopped server, as if it had accepted all that by SMTP.

    python -m tests.load.fill HOME --messages 1000000 --state deferred

Bodies, envelopes, rows and Reception records are written by the server's own code, under the
shards' locks, in a process for each shard. Message n of campaign c goes to `r{n}-{rno}@c.{domain}`;
campaigns alternate, or with `--blocks` follow each other.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import time
from dataclasses import dataclass, fields
from pathlib import Path

from bench.bulk import close, store
from mta.clock import SystemClock
from mta.config.load import complete
from mta.config.schema import Config
from mta.loadgen.message import Composer, Load
from mta.model import IdGenerator, Message, Recipient, Where
from mta.supervisor.shards import open_shard

GROUP = 500  # messages that share a commit
MAX_AGE = 2 * 86_400_000_000  # us
DEFERRED, BACKLOG, HELD = "deferred", "backlog", "held"
WHERE = {DEFERRED: Where.DUE, BACKLOG: Where.BACKLOG, HELD: Where.HELD}
STATES = {DEFERRED: (DEFERRED,), BACKLOG: (BACKLOG,), HELD: (HELD,), "mixed": (DEFERRED, BACKLOG)}


@dataclass(frozen=True)
class Fill:
    """What is to be queued; the order of the fields is that of the help."""

    home: Path
    messages: int = 1_000_000
    recipients: int = 1  # of each message
    state: str = DEFERRED  # of STATES; deferred: one attempt was made
    campaigns: str = "abcdefghij"  # a letter each
    blocks: bool = False
    domain: str = "far.example"
    size: int = 500  # octets of a message
    shards: int = 2
    after: float = 7200.0  # seconds until the first is due; the others within as much more

    def campaign(self, number: int) -> str:
        """The campaign of a message."""
        count = len(self.campaigns)
        return self.campaigns[number * count // self.messages if self.blocks else number % count]


def fill(wanted: Fill) -> None:
    """Fill all shards; SystemExit when one cannot be."""
    context = multiprocessing.get_context("spawn")
    numbers = range(wanted.shards)
    parts = [context.Process(target=_fill_shard, args=(wanted, number)) for number in numbers]
    for part in parts:
        part.start()
    for part in parts:
        part.join()
    if any(part.exitcode for part in parts):
        raise SystemExit("a shard could not be filled")


def _fill_shard(wanted: Fill, shard: int) -> None:
    os.nice(5)
    asyncio.run(_run(wanted, shard))


async def _run(wanted: Fill, number: int) -> None:
    config = complete(Config(workers=wanted.shards), wanted.home)
    loop, clock = asyncio.get_running_loop(), SystemClock()
    opened = open_shard(config, number, wanted.shards, clock, loop, lambda *_: None)
    maker = Maker(wanted, IdGenerator(number, clock), clock.wall_us())
    if newest := opened.shard.newest_id():
        maker.ids.resume_after(newest)
    mine = range(number, wanted.messages, wanted.shards)
    for start in range(0, len(mine), GROUP):
        group = [maker.make(n) for n in mine[start : start + GROUP]]
        await store(opened.shard, opened.lines, group)
    await close(opened.shard)


class Maker:
    """Makes the messages of a fill, each a pure function of its number but for ids and times."""

    def __init__(self, wanted: Fill, ids: IdGenerator, now_us: int) -> None:
        self.wanted, self.ids, self._now = wanted, ids, now_us
        load = Load(server="", recipients={"r{n}": 1.0}, size=wanted.size)
        self._composer, self._states = Composer(load), STATES[wanted.state]

    def make(self, number: int) -> list[Recipient]:
        """The recipients of a message; it has its body."""
        wanted, campaign = self.wanted, self.wanted.campaign(number)
        message = Message(
            self.ids.next(), "load@source.example", tenant="acme", campaign=campaign,
            received_us=self._now, peer_name="fill.example", peer_address="127.0.0.1",
            message_id=f"<{number}@source.example>", session="fill",
        )  # fmt: skip
        message.body = self._composer.content(number, f"r{number}@{campaign}.{wanted.domain}")
        message.size = len(message.body)
        state = self._states[number // len(wanted.campaigns) % len(self._states)]
        return [
            self._recipient(message, rno, f"r{number}-{rno}@{campaign}.{wanted.domain}", state)
            for rno in range(wanted.recipients)
        ]

    def _recipient(self, message: Message, rno: int, address: str, state: str) -> Recipient:
        due, wanted = self._now, self.wanted
        recipient = Recipient(message, rno, address, expires_us=due + MAX_AGE, where=WHERE[state])
        if state == DEFERRED:
            spread = rno + int.from_bytes(message.id[-4:], "big")
            due += round(wanted.after * 1e6 * (1 + spread % 10_000 / 10_000))
            recipient.attempts, recipient.code = 1, 451
            recipient.enhanced, recipient.text = "4.3.0", "Not now"
        recipient.due_us = due
        return recipient


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("home", type=Path)
    for field in fields(Fill)[1:]:
        name = "--" + field.name
        if field.default is False:
            parser.add_argument(name, action="store_true")
        else:
            parser.add_argument(name, type=type(field.default), default=field.default)
    wanted = Fill(**vars(parser.parse_args()))
    began = time.monotonic()
    fill(wanted)
    count = wanted.messages * wanted.recipients
    print(f"{count} recipients queued in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
