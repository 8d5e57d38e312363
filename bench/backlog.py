"""Scenario `queue`: a million messages wait; what that costs while other mail comes and goes.

A bulk loader (bench/bulk.py) writes them into the spool as put off once, due in an hour or later.
Then: memory, the time until mail is accepted after a start, throughput beside the empty queue, the
cost of a retry, and operators' acts on one campaign of a hundred.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import machine, report
from bench.agents import Mailrace, Scene, fresh
from bench.bulk import CAMPAIGNS
from bench.group import ROOT, Group
from bench.relay import Plan, Workload, inject
from bench.traffic import OwnSink

SHARDS = 2
DUE = 3600  # seconds until the first of them is due
ACT_LIMIT = 120.0


def options(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument("--waiting", type=int, default=1_000_000, help="messages that wait")
    parser.add_argument("--size", type=int, default=1024, help="octets of each")
    parser.add_argument("--count", type=int, default=20_000, help="messages of a burst, 10 kB")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="disk of the spools")
    parser.add_argument("--results", type=Path, default=report.RESULTS)
    parser.add_argument("--repeats", type=int, default=3, help="bursts")
    parser.add_argument("--name", default="queue", help="of the result")


class Waiting(Mailrace):
    """Mailrace: what waits goes to receivers that put off, all else to those that accept."""

    def command(self) -> list[str]:
        refuse = ["--route", f"*.waits.example=127.0.0.2:{self.scene.sink_port}"]
        serve, *rest = (command := super().command())[command.index("serve") :]
        before = command[: command.index("serve")]
        return [*before, serve, *refuse, *rest, "--workers", str(SHARDS), "--retry", "1h"]


def load(run: Path, options: argparse.Namespace) -> float:
    """Fill both shards, a process each; seconds."""
    began = time.monotonic()
    fillers = []
    for shard in range(SHARDS):
        count = len(range(shard, options.waiting, SHARDS))
        command = [
            sys.executable, "-m", "bench.bulk", str(run / "spool"), str(run / "log"), str(shard),
            str(count), str(options.size), str(DUE),
        ]  # fmt: skip
        fillers.append(Group("bulk", command, subprocess.DEVNULL, ROOT))
    codes = [filler.process.wait() for filler in fillers]
    for filler in fillers:
        filler.end(1)
    if any(codes):
        raise RuntimeError(f"bulk loading failed: {codes}")
    return time.monotonic() - began


class Run:
    """One server on a spool, with sinks that accept and that put off."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder, self.options, self.scene = folder, options, Scene()
        self.agent = Waiting(folder / "server", self.scene)
        self.first = 0

    def start(self) -> tuple[Group, float]:
        """The server, and seconds from its start to its greeting."""
        began = time.monotonic()
        with (self.folder / "output.log").open("wb") as output:
            group = Group("mailrace", self.agent.command(), output, self.folder)
        machine.wait_for_greeting(self.scene.port, group)
        return group, time.monotonic() - began

    def burst(self, group: Group, sink: OwnSink, count: int) -> dict[str, Any]:
        """Relay so many messages of 10 kB to the sink that accepts."""
        work = Workload("queue", seconds=20)
        plan = Plan([], self.folder, work, 1)
        cpu = group.cpu()
        found = inject(plan, self.first, count, sink, group, "user@other.example")
        time.sleep(0.5)
        self.first += count
        rate = found["received"] / found["seconds"]
        cpu_us = (group.cpu() - cpu) * 1e6 / max(1, found["received"])
        return {**found, "rate": rate, "cpu_us": cpu_us}

    def bursts(self, group: Group, sink: OwnSink) -> dict[str, Any]:
        """Some bursts; medians and all."""
        self.burst(group, sink, 2000)
        rows = [self.burst(group, sink, self.options.count) for _ in range(self.options.repeats)]
        return {
            "rate": statistics.median(row["rate"] for row in rows),
            "cpu_us": statistics.median(row["cpu_us"] for row in rows),
            "lost": sum(row.get("lost", 0) for row in rows),
            "rows": rows,
        }

    def sinks(self) -> tuple[OwnSink, Group]:
        """One that accepts, with a tally; one that puts off."""
        room = 10_000 + self.options.count * (self.options.repeats * 2 + 2)
        good = OwnSink(self.folder, self.scene, capacity=room)
        command = [
            sys.executable, "-m", "mta.cli.main", "sink",
            "--listen", f"127.0.0.2:{self.scene.sink_port}=defer", "--json",
        ]  # fmt: skip
        with (self.folder / "defer.out").open("wb") as output:
            bad = Group("defer", command, output, self.folder)
        machine.wait_for_greeting(self.scene.sink_port, bad, "127.0.0.2")
        return good, bad

    def mta(self, *arguments: str) -> Any:
        """Ask the server by the command line."""
        command = [sys.executable, "-m", "mta.cli.main", *arguments, "--home", str(self.agent.run)]
        done = subprocess.run([*command, "--json"], capture_output=True, text=True, cwd=ROOT)
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)}: {done.stderr.strip()}")
        if verb := arguments[1] if arguments[0] == "queue" else "":
            lines = done.stdout.splitlines() if verb == "acts" else []
            return [json.loads(line) for line in lines]
        return json.loads(done.stdout)

    def act(self, group: Group, verb: str, campaign: str) -> dict[str, float]:
        """An act on one campaign, until it is retired (hold stays: until its sweep has ended)."""
        cpu, began = group.cpu(), time.monotonic()
        self.mta("queue", verb, "--campaign", campaign, "--yes", "--wait", "0")
        answered = time.monotonic() - began
        while time.monotonic() - began < ACT_LIMIT and self.sweeping():
            time.sleep(0.2)
        took = time.monotonic() - began
        return {"answered": answered, "ended": took, "cpu_seconds": group.cpu() - cpu}

    def sweeping(self) -> bool:
        """Whether an act has not yet been applied to all."""
        return any(not act.get("swept") for act in self.mta("queue", "acts"))

    def retries(self, group: Group, campaign: str) -> dict[str, float]:
        """Flush one campaign: each message is tried and put off again; CPU with the sweep."""
        count = self.options.waiting // CAMPAIGNS
        time.sleep(1)
        before, cpu, began = self.failures(), group.cpu(), time.monotonic()
        self.mta("queue", "flush", "--campaign", campaign, "--yes", "--wait", "0")
        while (done := self.failures() - before) < count and time.monotonic() - began < ACT_LIMIT:
            time.sleep(0.5)
        seconds = time.monotonic() - began
        used = group.cpu() - cpu
        return {
            "retried": done, "seconds": seconds, "cpu_us_each": used * 1e6 / max(1, done),
        }  # fmt: skip

    def failures(self) -> int:
        """Recipients that the second sink has put off, by its last line; it prints each second."""
        lines = (self.folder / "defer.out").read_bytes().splitlines()
        figures = [json.loads(line) for line in lines[-1:]]
        return int(figures[0].get("deferred", 0)) if figures else 0


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Empty first, then with all that waits."""
    run = Run(folder, options)
    good, bad = run.sinks()
    try:
        empty = with_server(run, good, lambda group: run.bursts(group, good))
        fresh(run.agent.run)
        seconds = load(run.agent.run, options)
        loaded = with_server(run, good, lambda group: full(run, group, good))
        return {
            "waiting": options.waiting, "size": options.size, "load_seconds": round(seconds, 1),
            "empty": empty, "loaded": loaded,
            "rate_share": loaded["bursts"]["rate"] / empty["found"]["rate"],
            "cpu_factor": loaded["bursts"]["cpu_us"] / empty["found"]["cpu_us"],
        }  # fmt: skip
    finally:
        good.end()
        bad.end(5)


def with_server(run: Run, good: OwnSink, work: Any) -> dict[str, Any]:
    """Start, time until a message is accepted, work, end."""
    if not run.agent.run.exists():
        fresh(run.agent.run)
    group, greeting = run.start()
    try:
        before = time.monotonic()
        run.burst(group, good, 1)
        accepted = greeting + time.monotonic() - before
        found = work(group)
        more = found if "bursts" in found else {"found": found}
        return {"greeting": greeting, "first_message": accepted, **more}
    finally:
        group.end()


def full(run: Run, group: Group, good: OwnSink) -> dict[str, Any]:
    """With all that waits: memory, throughput, retries, acts."""
    early = group.memory()
    cpu = group.cpu()
    time.sleep(10)
    counting = group.cpu() - cpu
    resident = group.memory()
    return {
        "pss_at_once": early,
        "pss": resident,
        "cpu_seconds_of_10": counting,
        "bursts": run.bursts(group, good),
        "retries": run.retries(group, "c1"),
        "acts": {
            verb: run.act(group, verb, campaign)
            for verb, campaign in (("hold", "c2"), ("release", "c2"), ("delete", "c3"))
        },
        "pss_after": group.memory(),
    }


def page(result: dict[str, Any]) -> str:
    """The page of results."""
    found = result["found"]
    empty, loaded = found["empty"], found["loaded"]
    retries, acts = loaded["retries"], loaded["acts"]
    idle, busy = empty["found"], loaded["bursts"]
    sweep = acts["hold"]["cpu_seconds"] * 1e6 / max(1, retries["retried"])
    retry = max(0.0, retries["cpu_us_each"] - sweep)
    rows = [
        ("messages that wait, put off once", f"{found['waiting']:,} of {found['size']:,} octets"),
        ("start until the greeting, empty", f"{empty['greeting']:.2f} s"),
        ("start until the greeting", f"{loaded['greeting']:.2f} s"),
        ("start until a new message was delivered", f"{loaded['first_message']:.2f} s"),
        ("memory of all processes 10 s after the start", f"{loaded['pss'] / 1e6:,.0f} MB"),
        ("memory at the end", f"{loaded['pss_after'] / 1e6:,.0f} MB"),
        ("10 kB relayed, queue empty", f"{idle['rate']:,.0f}/s, {idle['cpu_us']:,.0f} us CPU"),
        ("10 kB relayed beside what waits", f"{busy['rate']:,.0f}/s, {busy['cpu_us']:,.0f} us CPU"),
        ("share of the empty queue's rate", f"{found['rate_share']:.0%}"),
        ("CPU for a message beside the empty queue's", f"{busy['cpu_us'] / idle['cpu_us']:.0%}"),
        ("CPU of a retry that is put off again, without the sweep", f"{retry:,.0f} us"),
        ("such retries", f"{retries['retried']:,} in {retries['seconds']:.1f} s"),
    ]  # fmt: skip
    for verb, act in acts.items():
        text = (
            f"answered after {act['answered']:.2f} s, applied to all after {act['ended']:.1f} s, "
        )
        text += f"{act['cpu_seconds']:.1f} s of CPU"
        rows.append((f"`mta queue {verb} --campaign`, one of {CAMPAIGNS}", text))
    lines = ["# A long queue", ""]
    command = f"mta bench queue --waiting {found['waiting']}"
    lines += [*report.preamble(result["environment"], command), ""]
    lines += ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), ""]
    lines += [
        "Durable, plaintext, unsigned; source, sinks and server share the machine. What waits was",
        "written by bench/bulk.py with the calls of a worker: 1,000 domains, 100 campaigns,",
        f"due an hour later. Rates are medians of {len(loaded['bursts']['rows'])} bursts.",
        "",
    ]
    return "\n".join(lines)


def main(options: argparse.Namespace) -> int:
    """A long queue: memory, start, throughput beside it, retries, acts."""
    folder = Path(tempfile.mkdtemp(prefix="mailrace-bench-", dir=options.folder))
    folder.chmod(0o755)
    try:
        with machine.alone():
            machine.quiet()
            found = measure(folder, options)
        result = {
            "scenario": "queue", "environment": report.environment(folder), "found": found,
        }  # fmt: skip
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = page(result)
    print(text)
    print(report.write(result, options.results, options.name, text))
    return int(found["loaded"]["bursts"]["lost"] > 0)
