"""Several sink processes as one; each is `python -m mta.loadgen.sinks PLAN`, a `Plan` as JSON.

An address belongs to one process where there are enough of them; else all processes share it by
SO_REUSEPORT. Each process judges by itself: on a shared address greylisting and caps count for
each.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import uvloop

from mta.errors import MailraceError
from mta.loadgen.ledger import Counts, Ledger
from mta.loadgen.manners import parse
from mta.loadgen.sink import Sink, addresses
from mta.loadgen.tally import Tally, TallyLedger

if TYPE_CHECKING:
    from collections.abc import Callable

    from mta.loadgen.manners import Manner
    from mta.loadgen.sink import Tell

PUBLISH = 0.02  # seconds between two looks at the counts of a process with a tally


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the sink processes do; addresses may be ranges."""

    listeners: list[tuple[str, str]]  # (address, manner)
    domains: dict[str, str] = {}
    tally: str = ""  # a file that mta.loadgen.tally made
    record: str = ""  # each arrival; with several processes PATH.0, PATH.1 ...
    index: int = 0
    shared: bool = False

    def share(self, index: int, of: int) -> Plan:
        """The part of one process."""
        every = [(one, manner) for text, manner in self.listeners for one in addresses(text)]
        shared = len(every) < of
        return msgspec.structs.replace(
            self,
            listeners=every if shared else every[index::of],
            record=f"{self.record}.{index}" if self.record and of > 1 else self.record,
            index=index,
            shared=shared,
        )


def planned(listeners: list[tuple[str, Manner]], domains: dict[str, Manner], record: str) -> Plan:
    """What the command line asks for."""
    return Plan(
        listeners=[(address, str(manner)) for address, manner in listeners],
        domains={suffix: str(manner) for suffix, manner in domains.items()},
        record=record,
    )


class Line(msgspec.Struct, omit_defaults=True):
    """What a child prints: the addresses it has bound, then its counts."""

    listening: list[tuple[str, str]] = []
    counts: Counts | None = None


async def child(plan: Plan) -> None:
    """One process, until SIGTERM or until its input ends."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # the parent's to answer
    loop.add_reader(0, ended.set)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(plan.record, "ab", 1 << 20)) if plan.record else None  # noqa: ASYNC230
        tally = Tally(Path(plan.tally)) if plan.tally else None
        ledger = TallyLedger(tally, plan.index, file) if tally else Ledger(file)
        rules = {suffix: parse(manner) for suffix, manner in plan.domains.items()}
        sink = Sink(ledger, loop, rules)
        try:
            bound = [
                (await sink.listen(one, parse(manner), shared=plan.shared), manner)
                for one, manner in plan.listeners
            ]
            _print(Line(listening=bound))
            await _tell(ledger, ended, PUBLISH if tally else 1.0, quiet=tally is not None)
        except MailraceError as error:
            sys.exit(f"mta: {error}")
        finally:
            await sink.close()
        _print(Line(counts=ledger.counts))


async def _tell(ledger: Ledger, ended: asyncio.Event, interval: float, *, quiet: bool) -> None:
    while not ended.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), interval)
        ledger.flush()
        if not quiet:
            _print(Line(counts=ledger.counts))


def _print(line: Line) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


async def run(
    plan: Plan, processes: int, listening: Callable[[str, str], None], tell: Tell
) -> None:
    """Keep all until SIGINT or SIGTERM; `tell` gets the sums once a second and at the end."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    counts = [Counts() for _ in range(processes)]
    shown: set[str] = set()
    failed: list[int] = []

    async def follow(index: int) -> None:
        share = msgspec.json.encode(plan.share(index, processes))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mta.loadgen.sinks", share.decode(),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 24,
        )  # fmt: skip
        assert process.stdout is not None and process.stdin is not None
        stopping = asyncio.create_task(ended.wait())
        stopping.add_done_callback(lambda _: process.stdin.close())  # type: ignore[union-attr]
        async for text in process.stdout:
            line = msgspec.json.decode(text, type=Line)
            for address, manner in line.listening:
                if address not in shown:
                    shown.add(address)
                    listening(address, manner)
            counts[index] = line.counts or counts[index]
        if await process.wait():
            failed.append(index)
        ended.set()

    children = asyncio.gather(*(follow(index) for index in range(processes)))
    while not ended.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), 1.0)
        if not ended.is_set():
            tell(total(counts), final=False)
    await children
    if failed:
        raise MailraceError(f"{len(failed)} of {processes} sink processes failed; see above")
    tell(total(counts), final=True)


def total(counts: list[Counts]) -> Counts:
    """The sums."""
    columns = zip(*(msgspec.structs.astuple(one) for one in counts), strict=True)
    return Counts(*map(sum, itertools.chain(columns)))


def main() -> None:
    """One process, as its argument says."""
    uvloop.run(child(msgspec.json.decode(sys.argv[1], type=Plan)))


if __name__ == "__main__":
    main()
