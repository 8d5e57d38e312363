"""`python -m bench.bodies`: bodies in RocksDB against segments, through a whole shard, no network.

A child stores and ends messages of one recipient in groups, both log records included, then fills
the shard and kills itself; another opens it again and reads every acknowledged body.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from bench import report
from mta.clock import SystemClock
from mta.maillog.records import RecordWriter
from mta.maillog.writer import LogWriter
from mta.model import IdGenerator, Kind, Message, Outcome, Peer, Recipient, Stages
from mta.spool import Shard, ShardOptions

if TYPE_CHECKING:
    from collections.abc import Callable

GROUP = 10
STORES = {"rocksdb": 1 << 60, "segments": 1}  # segment_from
SIZES = {1_000: 10_000, 10_240: 10_000, 100_000: 2_000, 5_000_000: 60}  # octets: messages
DAY = 86_400_000_000
PEER = Peer("mx.example.net", "192.0.2.1:25", "ip1")
OUTCOME = Outcome(Kind.DELIVERED, 250, "2.0.0", "2.0.0 Ok: queued as 4F9D195432C", ".")


class Load:
    """One shard, kept busy with GROUP messages at a time."""

    def __init__(self, folder: Path, store: str, size: int) -> None:
        loop, self.clock = asyncio.get_running_loop(), SystemClock()
        options = ShardOptions(segment_from=STORES[store])
        self.shard = Shard.open(
            folder / "spool" / "shard-0001", 1, LogWriter(folder / "log", clock=self.clock),
            options, self.clock, lambda call: void(loop.call_soon_threadsafe(call)),
            loop.call_later,
        )  # fmt: skip
        self.shard.begin()
        self.records, self.ids = RecordWriter("node", 1, self.clock), IdGenerator(1, self.clock)
        self.content = os.urandom(size)
        self.left = self.open = 0
        self.finished: asyncio.Future[None] = loop.create_future()

    async def run(self, count: int, stored: Callable[[Recipient], None]) -> None:
        """Store `count` messages; `stored` is told of each."""
        self.left, self.open = count, count
        self.finished = asyncio.get_running_loop().create_future()
        for _ in range(min(GROUP, count)):
            self._next(stored)
        await self.finished

    def _next(self, stored: Callable[[Recipient], None]) -> None:
        self.left -= 1
        id, now = self.ids.next(), self.clock.wall_us()
        body = id + self.content[16:]
        message = Message(
            id, "sender@source.example", received_us=now, size=len(body), body=body,
            peer_name="client.example", peer_address="192.0.2.77", session="s1",
            message_id="<abc@source.example>",
        )  # fmt: skip
        one = Recipient(message, 0, "u@d0.example", due_us=now, expires_us=now + 2 * DAY)
        self.shard.accept(message, [one], partial(self._done, stored, one))

    def _done(
        self, stored: Callable[[Recipient], None], one: Recipient, error: BaseException | None
    ) -> None:
        assert error is None, error
        self.shard.log(self.records.reception(one.message, [one]), logged=one.message.id)
        stored(one)
        one.message.body = None
        self.open -= 1
        if self.left:
            self._next(stored)
        elif not self.open:
            self.finished.set_result(None)

    def end(self, one: Recipient) -> None:
        """Deliver a message."""
        one.attempts = 1
        line = self.records.delivery(one, OUTCOME, PEER, Stages(900, 0, 0, 2000), site="d0.example")
        self.shard.close(one, line)


def void(result: object) -> None:
    """Nothing."""


async def fill(folder: Path, store: str, size: int) -> None:
    """The child: measure, print, fill, die."""
    load, count = Load(folder, store, size), SIZES[size]
    await load.run(GROUP, load.end)
    await asyncio.sleep(0.5)  # the first segment is made
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    await load.run(count, load.end)
    load.shard.flush_now()
    seconds = time.perf_counter() - began
    await asyncio.sleep(0.2)
    after, stats = resource.getrusage(resource.RUSAGE_SELF), load.shard.stats()
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    print(json.dumps({
        "store": store, "size": size, "count": count, "cpu_us": (user + system) / count * 1e6,
        "user_us": user / count * 1e6, "rate": count / seconds,
        "mb_s": count * size / seconds / 1e6,
        "commit_ms": stats.commit_seconds / stats.commits * 1e3,
    }))  # fmt: skip
    sys.stdout.flush()
    file = os.open(folder / "acknowledged", os.O_WRONLY | os.O_CREAT)
    await load.run(count, lambda one: void(os.write(file, one.message.id)))
    os.kill(os.getpid(), signal.SIGKILL)


async def recover(folder: Path, store: str, size: int) -> None:
    """The other child: open, read, print."""
    acknowledged = (folder / "acknowledged").read_bytes()
    began = time.perf_counter()
    load = Load(folder, store, size)
    opened = time.perf_counter() - began
    lost = 0
    began = time.perf_counter()
    for at in range(0, len(acknowledged), 16):
        id = acknowledged[at : at + 16]
        message = load.shard.message(id)
        body = load.shard.body(message) if message is not None else b""
        lost += body[:16] != id or len(body) != size
    read = time.perf_counter() - began
    print(json.dumps({
        "open_ms": opened * 1e3, "lost": lost, "kept": len(acknowledged) // 16,
        "read_us": read / (len(acknowledged) / 16) * 1e6,
    }))  # fmt: skip
    load.shard.close_shard(lambda error: load.finished.set_result(None))
    await load.finished


def measure(folder: Path, store: str, size: int) -> dict[str, Any]:
    """One row."""
    row: dict[str, Any] = {}
    for what in ("fill", "recover"):
        done = subprocess.run(
            [sys.executable, "-m", "bench.bodies", what, store, str(size), "--folder", str(folder)],
            cwd=report.ROOT, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        if not done.stdout:
            raise SystemExit(done.stderr)
        row |= json.loads(done.stdout)
    return row


def table(rows: list[dict[str, Any]]) -> list[str]:
    """One line a size and store: medians."""
    lines = [
        "| octets | store | CPU us | of it user | messages/s | MB/s | commit ms | open ms "
        "| read us | lost |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for size, store in dict.fromkeys((row["size"], row["store"]) for row in rows):
        these = [row for row in rows if (row["size"], row["store"]) == (size, store)]
        keys = ("cpu_us", "user_us", "rate", "mb_s", "commit_ms", "open_ms", "read_us")
        cells = [report.middle(these, key, digits=int(key == "commit_ms")) for key in keys]
        lost = sum(row["lost"] for row in these)
        lines.append("| " + " | ".join([f"{size:,}", store, *cells, str(lost)]) + " |")
    return lines


def compare(options: argparse.Namespace) -> int:
    """All sizes and stores in turn; 1 if anything was lost."""
    rows = []
    for _ in range(options.repeats):
        for size in SIZES:
            for store in STORES:
                folder = Path(tempfile.mkdtemp(prefix="mailrace-bodies-", dir=options.folder))
                try:
                    rows.append(measure(folder, store, size))
                    print(json.dumps(rows[-1]), flush=True)
                finally:
                    shutil.rmtree(folder, ignore_errors=True)
    env = report.environment(options.folder)
    page = [
        "# Bodies: RocksDB against segments", "",
        f"`python -m bench.bodies` on {env['at']}, commit {env['commit']}: {env['cores']} cores of",
        f"{env['cpu']}, {env['system']}, spool on {env['disk']}. Groups of {GROUP}; a message is",
        "accepted, logged, closed and logged; each fill ends with kill -9 before it is opened",
        "again. Median (lowest to highest).", "", *table(rows), "",
    ]  # fmt: skip
    print("\n".join(page))
    options.results.mkdir(parents=True, exist_ok=True)
    result = {"environment": env, "rows": rows}
    (options.results / "bodies.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.results / "bodies.md").write_text("\n".join(page))
    return int(any(row["lost"] for row in rows))


def main() -> int:
    """Compare, or be one of the children."""
    parser = argparse.ArgumentParser(prog="python -m bench.bodies", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["compare", "fill", "recover"],
                        default="compare")  # fmt: skip
    parser.add_argument("store", nargs="?", choices=list(STORES))
    parser.add_argument("size", nargs="?", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="disk of the spools")
    parser.add_argument("--results", type=Path, default=report.RESULTS)
    options = parser.parse_args()
    if options.what == "compare":
        return compare(options)
    child = fill if options.what == "fill" else recover
    uvloop.run(child(options.folder, options.store, options.size))
    return 0


if __name__ == "__main__":
    sys.exit(main())
