"""Source and sink of a measurement: our own, or Postfix's smtp-source and smtp-sink.

Ours pipeline, spread over domains and next hops, keep a pace and know the times of each message;
Postfix's are what all the world measures with.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from bench.agents.base import Scene
from bench.group import Group
from bench.machine import wait_for_greeting
from mta.loadgen.message import Load
from mta.loadgen.sinks import Plan
from mta.loadgen.source import Part, Report
from mta.loadgen.tally import Settled, Tally, create

TOOLS = ("smtp-source", "smtp-sink")
RUNNER = """
import asyncio, sys
from mta.loadgen.sinks import Plan, run
import msgspec
plan = msgspec.json.decode(open(sys.argv[1], "rb").read(), type=Plan)
quiet = lambda *_, **__: None
asyncio.run(run(plan, int(sys.argv[2]), quiet, quiet))
"""


def tool(name: str) -> str | None:
    """Where one of Postfix's load tools is."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def missing() -> list[str]:
    """One line for each of Postfix's tools that is not there."""
    return [
        f"{name} is not installed (apt-get install postfix)" for name in TOOLS if not tool(name)
    ]


def memory_folder(folder: Path) -> Path:
    """Where a mapped file costs no disk writes."""
    shared = Path("/dev/shm")
    return shared if os.access(shared, os.W_OK) else folder


class OwnSink:
    """`mta.loadgen.sinks` with a tally."""

    def __init__(
        self, folder: Path, scene: Scene, manner: str = "accept", processes: int = 1,
        capacity: int = 1_000_000,
    ) -> None:  # fmt: skip
        self.path = memory_folder(folder) / f"mailrace-bench-{os.getpid()}.tally"
        create(self.path, capacity, processes)
        self.tally = Tally(self.path)
        plan = Plan(listeners=[(scene.listen, manner)], tally=str(self.path))
        file = folder / "sink.json"
        file.write_bytes(msgspec.json.encode(plan))
        command = [sys.executable, "-c", RUNNER, str(file), str(processes)]
        with (folder / "sink.log").open("wb") as output:
            self.group = Group("sink", command, output, folder)
        for index in range(min(scene.hops, processes)):
            wait_for_greeting(scene.sink_port, self.group, scene.hop(index))

    def count(self) -> int:
        """Messages that have arrived, a few milliseconds ago."""
        return self.tally.counts().messages

    def end(self) -> None:
        """Stop it, and forget the tally."""
        self.group.end(5)
        self.path.unlink(missing_ok=True)


class OwnSource:
    """`mta.loadgen.source`: `processes` of them in one group."""

    def __init__(self, folder: Path, load: Load, processes: int = 1) -> None:
        self.groups, self.outputs, self.load = [], [], load
        for index in range(processes):
            file, output = folder / f"load-{index}.json", folder / f"source-{index}.out"
            file.write_bytes(msgspec.json.encode(load.share(index, processes)))
            command = [sys.executable, "-m", "mta.loadgen.source"]
            with file.open("rb") as given, output.open("wb") as out:
                self.groups.append(Group("source", command, out, folder, given))
            self.outputs.append(output)

    def ended(self) -> bool:
        """Whether all processes have."""
        return all(group.process.poll() is not None for group in self.groups)

    def cpu(self) -> float:
        """CPU seconds."""
        return sum(group.cpu() for group in self.groups)

    def report(self) -> Report:
        """What became of the load; call it when all have ended."""
        total = Report()
        for path in self.outputs:
            lines = path.read_bytes().splitlines()
            part = msgspec.json.decode(lines[-1], type=Part) if lines else Part()
            total.merge(part.report or Report())
        return total

    def end(self) -> None:
        """Stop it."""
        for group in self.groups:
            group.end(2)


class PostfixSink:
    """smtp-sink, its counters in a file."""

    tally = None

    def __init__(self, folder: Path, scene: Scene) -> None:
        self.counters = folder / "sink.counters"
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        address = f"inet:127.0.0.1:{scene.sink_port}"
        command = [str(tool("smtp-sink")), *user, "-c", "-m", "5000", address, "4096"]
        with self.counters.open("wb") as output:
            self.group = Group("sink", command, output, folder)
        wait_for_greeting(scene.sink_port, self.group)

    def count(self) -> int:
        """Messages that have arrived: the last whole counter."""
        with self.counters.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 200))
            found = re.findall(rb"mesg=(\d+)\r", file.read())
        return int(found[-1]) if found else 0

    def end(self) -> None:
        """Stop it."""
        self.group.end(5)


class SilentSink:
    """A port that takes connections and never greets: nothing is delivered."""

    tally = None

    def __init__(self, folder: Path, scene: Scene) -> None:
        program = (
            f"import signal, socket; s = socket.create_server(('127.0.0.1', {scene.sink_port}),"
            " backlog=4096); print('ready', flush=True); signal.pause()"
        )
        path = folder / "silent.out"
        with path.open("wb") as output:
            self.group = Group("silent", [sys.executable, "-c", program], output, folder)
        while not path.read_bytes() and self.group.process.poll() is None:
            time.sleep(0.02)

    def count(self) -> int:
        """None, ever."""
        return 0

    def end(self) -> None:
        """Stop it."""
        self.group.end(5)


class PostfixSource:
    """smtp-source: no pipelining, connections kept open."""

    def __init__(self, folder: Path, load: Load) -> None:
        recipient = next(iter(load.recipients)).replace("{n}", "")
        command = [
            str(tool("smtp-source")), "-d", "-s", str(load.sessions), "-m", str(load.messages),
            "-l", str(load.size), "-f", load.sender, "-t", recipient, f"inet:{load.server}",
        ]  # fmt: skip
        self.load = load
        self.group = Group("source", command, subprocess.DEVNULL, folder)  # type: ignore[arg-type]

    def ended(self) -> bool:
        """Whether it has."""
        return self.group.process.poll() is not None

    def cpu(self) -> float:
        """CPU seconds."""
        return self.group.cpu()

    def report(self) -> Report:
        """All or nothing, as far as it tells."""
        good = not self.group.process.returncode
        return Report(accepted=self.load.messages if good else 0)

    def end(self) -> None:
        """Stop it."""
        self.group.end(2)


def latencies(report: Report, settled: Settled | None) -> dict[str, Any]:
    """What only our own source and sink know; nothing of Postfix's."""
    if settled is None:
        return {}
    times = report.histogram()
    return {
        "accept_p50_us": times.quantile(0.5),
        "accept_p99_us": times.quantile(0.99),
        "deliver_p50_us": settled.p50,
        "deliver_p99_us": settled.p99,
        "lost": settled.lost,
        "duplicates": settled.duplicates,
    }
