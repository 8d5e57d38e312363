"""Scenario `sessions`: connections by the ten thousand, in and out, and what each costs.

In: client processes hold sessions from 127.0.2.x (18,000 each: a process has 20,000 descriptors);
meanwhile a source measures how fast mail is accepted. Out: sinks answer long after the dot, so that
every message keeps a connection of its own; a pool that is stuck opens one more each second, so
many next hops fill up in seconds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from bench import machine, report
from bench.agents import Mailrace, Scene
from bench.clients import Holding
from bench.group import Group
from bench.relay import running
from bench.traffic import OwnSink, OwnSource
from mta.loadgen.message import Load

PER_PROCESS = 18_000
LIMITS = [
    "-o", "smtpd.max_sessions=100000", "-o", "delivery.max_connections=100000",
]  # fmt: skip


class Server(Mailrace):
    """Mailrace with room for all."""

    more: list[str] = []

    def command(self) -> list[str]:
        return [*super().command(), *LIMITS, *self.more]


def options(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument("--incoming", type=int, default=36_000)
    parser.add_argument("--talking", type=float, default=500.0, help="NOOP/s over all sessions")
    parser.add_argument("--outgoing", type=int, default=30_000)
    parser.add_argument("--hops", type=int, default=3000, help="next hops of those going out")
    parser.add_argument("--held", type=float, default=40.0, help="seconds until a dot is answered")
    parser.add_argument("--pace", type=float, default=200.0, help="messages/s accepted meanwhile")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="disk of the spools")
    parser.add_argument("--results", type=Path, default=report.RESULTS)
    parser.add_argument("--repeats", type=int, default=1)


def figures(group: Group) -> dict[str, int]:
    """Memory and descriptors now."""
    return {
        "pss": group.memory(),
        "kernel": machine.kernel_memory(),
        "descriptors": group.descriptors(),
    }


def growth(before: dict[str, int], after: dict[str, int], count: int) -> dict[str, int]:
    """Octets for each of `count`."""
    return {
        f"{name}_each": round((after[name] - before[name]) / max(1, count))
        for name in ("pss", "kernel")
    }


def accepting(folder: Path, scene: Scene, pace: float, seconds: float) -> dict[str, Any]:
    """Acceptance of mail at a pace: latency from dot to 250."""
    load = Load(
        server=f"127.0.0.1:{scene.port}", recipients={"user@d0.example": 1.0}, size=10_240,
        messages=int(pace * seconds), rate=pace, ids=False, timeout=seconds * 3,
    )  # fmt: skip
    source = OwnSource(folder, load)
    deadline = time.monotonic() + seconds * 4
    while not source.ended() and time.monotonic() < deadline:
        time.sleep(0.05)
    found = source.report()
    source.end()
    times = found.histogram()
    return {
        "accepted": found.accepted, "of": load.messages,
        "p50_us": times.quantile(0.5), "p99_us": times.quantile(0.99), "slowest_us": found.slowest,
    }  # fmt: skip


class Holders:
    """The client processes."""

    def __init__(self, folder: Path, port: int, sessions: int, noops: float) -> None:
        self.outputs: list[Path] = []
        self.groups: list[Group] = []
        shares = [min(PER_PROCESS, sessions - start) for start in range(0, sessions, PER_PROCESS)]
        for index, share in enumerate(shares):
            holding = Holding(
                port=port, sessions=share, source=f"127.0.2.{index + 1}",
                noops=noops * share / sessions,
            )  # fmt: skip
            text = msgspec.json.encode(holding).decode()
            path = folder / f"clients-{index}.out"
            with path.open("wb") as output:
                command = [sys.executable, "-m", "bench.clients", text]
                self.groups.append(Group("clients", command, output, folder))
            self.outputs.append(path)

    def state(self) -> dict[str, Any]:
        """The sums of what they print."""
        found = []
        for path in self.outputs:
            lines = path.read_bytes().splitlines()
            if lines:
                found.append(json.loads(lines[-1]))
        return {
            "open": sum(one["open"] for one in found),
            "refused": sum(one["refused"] for one in found),
            "done": len(found) == len(self.outputs) and all(one["done"] for one in found),
        }

    def wait(self, limit: float) -> dict[str, Any]:
        """Until all are open or refused."""
        deadline = time.monotonic() + limit
        while not self.state()["done"] and time.monotonic() < deadline:
            time.sleep(0.25)
        time.sleep(1)
        return self.state() | {"seconds": round(limit - (deadline - time.monotonic()), 1)}

    def end(self) -> None:
        """Hang up."""
        for group in self.groups:
            group.process.terminate()
        for group in self.groups:
            group.end(20)


def incoming(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Sessions in: idle, then talking."""
    scene = Scene()
    sink = OwnSink(folder, scene)
    try:
        with running(Server(folder / "server", scene)) as group:
            empty = accepting(folder, scene, options.pace, 3.0)
            time.sleep(1)
            before = figures(group)
            holders = Holders(folder, scene.port, options.incoming, options.talking)
            try:
                state = holders.wait(180)
                cpu = group.cpu()
                talking = accepting(folder, scene, options.pace, 5.0)
                cpu = group.cpu() - cpu
                after = figures(group)
                return {
                    "asked": options.incoming, **state, **growth(before, after, state["open"]),
                    "before": before, "after": after, "still_open": holders.state()["open"],
                    "noops_per_second": options.talking, "cpu_seconds_of_5": round(cpu, 3),
                    "accepting_without": empty, "accepting_meanwhile": talking,
                }  # fmt: skip
            finally:
                holders.end()
    finally:
        sink.end()


def outgoing(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Connections out, each with a message whose dot waits for its reply."""
    processes = -(-options.outgoing // PER_PROCESS)
    scene = Scene(hops=options.hops)
    count = options.outgoing
    manner = f"latency:0,{options.held:g}"
    sink = OwnSink(folder, scene, manner, processes, capacity=count + 1000)
    load = Load(
        server=f"127.0.0.1:{scene.port}", messages=count, size=1024, ids=False,
        recipients={f"user@d{index}.example": 1.0 for index in range(scene.hops)},
        tally=str(sink.path), sessions=20, timeout=180,
    )  # fmt: skip
    try:
        server = Server(folder / "server", scene)
        server.more = ["-o", "delivery.overlap=false"]  # else some messages wait behind others
        with running(server) as group:
            before, peak, memory, kernel = figures(group), 0, 0, 0
            source = OwnSource(folder, load)
            began, opened = time.monotonic(), 0.0
            arrived = False  # the sink counts what it has not answered yet
            while not arrived and time.monotonic() - began < 120 + 3 * options.held:
                arrived = source.ended() and sink.count() >= count
                now = figures(group)
                connections = now["descriptors"] - before["descriptors"]
                if source.ended() and connections > peak:
                    peak, memory, kernel = connections, now["pss"], now["kernel"]
                    opened = time.monotonic() - began
                time.sleep(0.5)
            found = sink.tally.settle(0, count)
            source.end()
            after = {"pss": memory, "kernel": kernel}
            return {
                "asked": count, "hops": scene.hops, "peak_connections": peak,
                "seconds_to_peak": round(opened, 1),
                "held": options.held, "arrived": found.arrived, "lost": found.lost,
                "duplicates": found.duplicates, **growth(before, after, peak),
                "before": before, "at_peak": after,
            }  # fmt: skip
    finally:
        sink.end()


def page(result: dict[str, Any]) -> str:
    """The page of results."""
    lines = ["# Sessions by the ten thousand", ""]
    lines += [*report.preamble(result["environment"], "mta bench sessions"), ""]
    lines += ["| | in | out |", "|---|---|---|"]
    one, two = result["incoming"], result["outgoing"]
    without, during = one["accepting_without"], one["accepting_meanwhile"]
    rows = [
        ("asked", f"{one['asked']:,}", f"{two['asked']:,}"),
        ("open at once", f"{one['open']:,}", f"{two['peak_connections']:,}"),
        ("refused, lost", f"{one['refused']:,}", f"{two['lost']:,}"),
        ("memory of our processes, octets each", f"{one['pss_each']:,}", f"{two['pss_each']:,}"),
        ("kernel memory, octets each", f"{one['kernel_each']:,}", f"{two['kernel_each']:,}"),
        ("seconds to open", f"{one['seconds']}", f"{two['seconds_to_peak']}"),
        ("acceptance p99 without, ms", f"{without['p99_us'] / 1000:.1f}", ""),
        ("acceptance p99 meanwhile, ms", f"{during['p99_us'] / 1000:.1f}", ""),
    ]  # fmt: skip
    lines += [f"| {name} | {first} | {second} |" for name, first, second in rows]
    lines += [
        "",
        f"In: every session has said EHLO; {one['noops_per_second']:,.0f} NOOP/s among them, mail",
        f"at {during['of'] / 5:,.0f}/s beside them. Out: each connection carries a message of 1 kB",
        f"whose dot is answered after {two['held']:g} s, to {two['hops']:,} next hops; the memory",
        "includes those messages (after a second their contents are only in the spool, of which",
        "RocksDB keeps its write buffers in memory), what is kept for each next hop, and all that",
        "a first use leaves: nothing is sent before the count begins.",
        "Plaintext. Kernel memory: the machine's slabs and buffers, both ends.",
        "",
    ]
    return "\n".join(lines)


def main(options: argparse.Namespace) -> int:
    """Sessions in and out: how many, what memory, how fast mail is accepted meanwhile."""
    folder = Path(tempfile.mkdtemp(prefix="mailrace-bench-", dir=options.folder))
    try:
        with machine.alone():
            machine.quiet()
            result: dict[str, Any] = {
                "scenario": "sessions", "environment": report.environment(folder),
                "incoming": incoming(folder, options), "outgoing": {},
            }  # fmt: skip
            print(json.dumps(result["incoming"]), flush=True)
            result["outgoing"] = outgoing(folder, options)
            print(json.dumps(result["outgoing"]), flush=True)
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=False)
    print(report.write(result, options.results, "sessions", page(result)))
    short = result["incoming"]["open"] < options.incoming
    return int(short or result["outgoing"]["lost"] > 0)
