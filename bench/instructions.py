"""Scenario `instructions`: what a message costs a worker, in user instructions, by callgrind.

They hold on a quiet machine within a percent, so that `compare` can judge small steps. A server
with one worker runs under valgrind, source and sink do not; counting begins behind a first burst.
What the worker does each second whether there is mail or not is counted when idle, and subtracted.
Valgrind replaces the C library's memory functions, and what the kernel does is not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from bench import machine, relay, report
from bench.agents import fresh
from bench.agents.mailrace import Mailrace
from bench.group import Group
from bench.traffic import OwnSink

WARM = 300  # messages before the counted ones
START, CONTROL = 300.0, 60.0  # seconds for a start under valgrind, and for one of its commands
AFTER = 2.0  # seconds until what follows the last delivery is done
IDLE = 10.0  # seconds without mail
TOOLS = ("valgrind", "callgrind_control")
NAME = re.compile(r"\((\d+)\)(?: (.*))?")


class Counted(Mailrace):
    """A server with one worker, all its processes under callgrind."""

    def command(self) -> list[str]:
        """The server behind valgrind."""
        valgrind = [
            "valgrind", "-q", "--tool=callgrind", "--trace-children=yes",
            f"--callgrind-out-file={self.run}/counted.%p",
        ]  # fmt: skip
        return [*valgrind, *super().command(), "--workers", "1"]


class Costs(NamedTuple):
    """Instructions by object (a library or `python`), and by object and function."""

    objects: Counter[str]
    functions: Counter[tuple[str, str]]

    @property
    def total(self) -> int:
        """All of them."""
        return self.objects.total()

    def less(self, idle: Costs, share: float) -> None:
        """Subtract so much of what an idle worker costs."""
        for mine, its in ((self.objects, idle.objects), (self.functions, idle.functions)):
            for name, cost in its.items():
                mine[name] -= round(cost * share)


def options(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="disk of the spools")
    parser.add_argument("--results", type=Path, default=report.RESULTS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--count", type=int, default=1500, help="messages that are counted")
    parser.add_argument("--size", type=int, default=10_240, help="octets of a message")
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--top", type=int, default=40, help="functions that are shown")


def missing() -> str:
    """What is not installed; empty if all is."""
    lacking = [name for name in TOOLS if shutil.which(name) is None]
    return f"{lacking[0]} is not installed (apt-get install valgrind)" if lacking else ""


def resolve(names: dict[str, str], text: str) -> str:
    """A name of callgrind's format: told once as `(number) name`, then as `(number)`."""
    found = NAME.fullmatch(text)
    if found is None:
        return text
    if found[2] is not None:
        names[found[1]] = found[2]
    return names[found[1]]


def parse(lines: Iterable[str]) -> Costs:
    """The costs that functions have themselves, in a dump of callgrind."""
    objects: dict[str, str] = {}
    functions: dict[str, str] = {}
    costs, place, called = Costs(Counter(), Counter()), ["", ""], False
    for line in lines:
        key, equals, value = line.rstrip("\n").partition("=")
        if equals and key in ("ob", "cob"):
            name = Path(resolve(objects, value)).name.partition(".")[0]
            place[0] = name if key == "ob" else place[0]
        elif equals and key in ("fn", "cfn"):
            name = resolve(functions, value)
            place[1] = name if key == "fn" else place[1]
        elif equals and key == "calls":
            called = True  # the line behind it is the cost of what was called
        elif line[:1].isdigit() or line[:1] in ("+", "-", "*"):
            if not called:
                cost = int(line.split()[-1])
                costs.objects[place[0]] += cost
                costs.functions[place[0], place[1]] += cost
            called = False
    return costs


def worker(group: Group) -> int:
    """The process id of the server's worker."""
    for pid in group.pids():
        with contextlib.suppress(OSError):
            if b"supervisor.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
    raise RuntimeError("there is no worker")


def control(pid: int, *arguments: str) -> None:
    """Tell callgrind what to do with a process."""
    command = ["callgrind_control", *arguments, str(pid)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CONTROL)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")


def burst(plan: relay.Plan, first: int, count: int, sink: OwnSink, group: Group) -> None:
    """Send messages, wait until all have arrived and their ends are written down."""
    found = relay.inject(plan, first, count, sink, group)
    if not found["complete"]:
        raise RuntimeError(f"only {found['received']} of {count} arrived")
    time.sleep(AFTER)


def counted(folder: Path, pid: int, work: Callable[[], None]) -> Costs:
    """What a process costs while something is done."""
    control(pid, "--zero")
    work()
    control(pid, "--dump")
    # a dump at request has a number, the one at the end has none
    dump = max(folder.glob(f"counted.{pid}.*"), key=lambda one: int(one.suffix[1:]))
    with dump.open(errors="replace") as lines:
        return parse(lines)


def measure(plan: relay.Plan) -> Costs:
    """Costs of `plan.count` messages."""
    agent = Counted(plan.folder / "counted", plan.scene)
    fresh(agent.run)
    sink = OwnSink(plan.folder, plan.scene)
    try:
        with (agent.run / "output.log").open("wb") as output:
            group = Group(agent.name, agent.command(), output, agent.run)
        try:
            machine.wait_for_greeting(plan.scene.port, group, limit=START)
            burst(plan, 0, WARM, sink, group)
            pid = worker(group)
            began = time.monotonic()
            costs = counted(agent.run, pid, lambda: burst(plan, WARM, plan.count, sink, group))
            took = time.monotonic() - began
            costs.less(counted(agent.run, pid, lambda: time.sleep(IDLE)), took / IDLE)
            return costs
        finally:
            group.end(60)
    finally:
        sink.end()


def row(costs: Costs, count: int, top: int) -> dict[str, Any]:
    """One run, for a message."""
    return {
        "instructions": round(costs.total / count),
        "objects": {name: round(cost / count) for name, cost in costs.objects.most_common(20)},
        "functions": [
            [name, function, round(cost / count)]
            for (name, function), cost in costs.functions.most_common(top)
        ],
    }


def page(result: dict[str, Any]) -> str:
    """The page of results; functions are those of the last run."""
    rows = result["rows"]
    counts = [one["instructions"] for one in rows]
    middle = statistics.median(counts)
    lines = ["# Instructions", ""]
    lines += [*report.preamble(result["environment"], "mta bench instructions"), ""]
    lines += [
        f"{middle:,.0f} user instructions of the worker for a message ({min(counts):,} to "
        f"{max(counts):,}, {len(rows)} runs", f"of {result['count']:,}): {result['title']}.",
        "Durable, plaintext, unsigned.", "", "| object | instructions | share |", "|---|---|---|",
    ]  # fmt: skip
    for name in rows[-1]["objects"]:
        cost = statistics.median(one["objects"].get(name, 0) for one in rows)
        lines.append(f"| {name} | {cost:,.0f} | {cost / middle:.1%} |")
    lines += ["", "| function | object | instructions |", "|---|---|---|"]
    lines += [f"| `{fn[:80]}` | {name} | {cost:,} |" for name, fn, cost in rows[-1]["functions"]]
    return "\n".join([*lines, ""])


def main(options: argparse.Namespace) -> int:
    """User instructions of a worker for a message, by library and function (valgrind)."""
    if line := missing():
        print(f"instructions: skipped, {line}")
        return 0
    work = relay.Workload("instructions", options.size, options.sessions, seconds=150.0)
    rows = []
    with tempfile.TemporaryDirectory(dir=options.folder, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        plan = relay.Plan([], folder, work, options.repeats, options.count)
        for _ in range(options.repeats):
            rows.append(row(measure(plan), options.count, options.top))
            print(f"{rows[-1]['instructions']:,} instructions a message", flush=True)
        result = {
            "scenario": "instructions", "environment": report.environment(folder),
            "title": work.title(), "count": options.count, "rows": rows,
        }  # fmt: skip
    text = page(result)
    print(text)
    print(report.write(result, options.results, "instructions", text))
    return 0
