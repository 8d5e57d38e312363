"""Server and sink as processes, and the kills."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mta.loadgen.ledger import Arrival
from mta.testing.ports import free_port
from tests.crash.load import RECEIVERS
from tests.crash.verdict import Kill
from tests.scenarios.server import Server
from tests.waiting import PATIENCE, wait

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

CONFIG = """\
[delivery]
outcome_interval = "{interval:g}s"
[retry]
schedule = ["1s"]
jitter = 0.0
max_age = "1h"
[retry.brief]
schedule = ["1s"]
max_age = "4s"
"""
ROUTE = """\
[[route]]
match = {{ domain = "{domain}" }}
next_hop = ["[127.0.0.1]:{port}"]
retry = "{retry}"
"""
SHARD = re.compile(r"/shard-(\d+)/")


class SinkProcess:
    """`mta sink` with a port per receiver; it outlives every crash and records each arrival."""

    def __init__(self, folder: Path) -> None:
        self.record = folder / "sink.jsonl"
        self.ports = {receiver.domain: free_port() for receiver in RECEIVERS}
        listens = [
            part
            for receiver in RECEIVERS
            for part in ("--listen", f"127.0.0.1:{self.ports[receiver.domain]}={receiver.manner}")
        ]
        with (folder / "sink.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mta.cli.main", "sink", "--record", str(self.record),
                 *listens], stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    def wait_ready(self, timeout: float = PATIENCE) -> None:
        """Wait until every port is open."""
        deadline = time.monotonic() + timeout
        for port in self.ports.values():
            while True:
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
                    break
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError("the sink did not start")
                time.sleep(0.02)

    def stop(self) -> list[Arrival]:
        """End it; all that arrived."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) == 0
        decode = msgspec.json.Decoder(Arrival).decode
        return [decode(line) for line in self.record.read_bytes().splitlines()]

    def kill(self) -> None:
        """Make sure that it is gone."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class CrashServer(Server):
    """`mta serve` with routes to a sink, and ways to die."""

    def __init__(self, folder: Path, sink: SinkProcess, workers: int, interval: float) -> None:
        config = folder / "mailrace.toml"
        config.write_text(CONFIG.format(interval=interval) + "".join(
            ROUTE.format(domain=r.domain, port=sink.ports[r.domain], retry=r.retry)
            for r in RECEIVERS
        ))  # fmt: skip
        super().__init__(folder / "home", "--config", str(config), workers=workers)
        self.kills: list[Kill] = []

    def worker_pids(self) -> list[int]:
        """The supervisor's children."""
        assert self.process is not None
        return children(self.process.pid)

    def kill_worker(self, chance: random.Random) -> bool:
        """kill -9 of one worker; False if none is alive."""
        pids = self.worker_pids()
        if not pids:
            return False
        pid = chance.choice(pids)
        with self._noted("worker", shards_of(pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            while is_worker(pid):
                time.sleep(0.001)
        return True

    @contextlib.contextmanager
    def _noted(self, what: str, shards: frozenset[int] | None = None) -> Iterator[None]:
        """Note a kill: when it begins, and when all are gone."""
        began = time.time()
        yield
        self.kills.append(Kill(began, what, shards, time.time()))

    def kill_everything(self) -> None:
        """kill -9 of supervisor and workers."""
        with self._noted("everything"):
            pids = self.worker_pids()
            self.kill()
            _gone(pids)

    def kill_supervisor(self) -> None:
        """kill -9 of the supervisor alone: its workers end by themselves, as if killed."""
        assert self.process is not None
        with self._noted("supervisor"):
            pids = self.worker_pids()
            self.process.kill()
            self.process.wait()
            _gone(pids)
        self.output.close()
        self.process = None

    def kill_while_starting(self, after: float) -> None:
        """Start, and kill -9 everything some seconds later, whatever it is doing then."""
        with (self.home / "output.log").open("a") as output:
            process = subprocess.Popen(
                self.command(), stdout=output, stderr=output, start_new_session=True
            )
        time.sleep(after)
        with self._noted("everything, starting"):
            pids = children(process.pid)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            _gone(pids)

    def wait_drained(self, timeout: float) -> None:
        """Wait until nothing is queued, worker restarts included."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                left = self.ask("queue.list", limit=5)
            except RuntimeError as error:  # a worker is starting
                left = [str(error)]
            if not left:
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"still queued after {timeout:g} s: {left}")
            time.sleep(0.2)


def children(pid: int) -> list[int]:
    """The processes that a process has started; none of one that is gone."""
    with contextlib.suppress(OSError):
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _gone(pids: list[int]) -> None:
    wait(lambda: not any(map(is_worker, pids)), f"workers {pids} outlive their supervisor")


def shards_of(pid: int) -> frozenset[int]:
    """The shards whose files a process has open."""
    found = set()
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found |= {int(m) for m in SHARD.findall(str(entry.readlink()))}
    return frozenset(found)


def is_worker(pid: int) -> bool:
    """True while a process is one of our workers, and no zombie."""
    with contextlib.suppress(OSError):
        return b"mta.supervisor.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
