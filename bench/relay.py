"""Scenario `relay`: the same source and sink for each agent, in one sitting.

smtp-source injects 10 kB messages over 20 kept-open sessions, smtp-sink counts them as they
arrive. CPU is that of all processes of the agent from the first message until half a second after
the last has arrived, so that the emptying of its queue counts too.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bench.agents import AGENTS, Agent, fresh
from bench.group import Group

PORT, SINK_PORT = 2625, 2526
TOOLS = ("smtp-source", "smtp-sink")


class Plan(NamedTuple):
    """What is measured."""

    agents: list[str]
    folder: Path
    repeats: int = 3
    seconds: float = 10.0  # aim of one run
    count: int = 0  # messages a run; 0: by the agent's speed
    sessions: int = 20
    size: int = 10240
    limit: float = 90.0  # a run is given up after


def tool(name: str) -> str | None:
    """Where one of Postfix's load tools is."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def missing() -> list[str]:
    """One line for each thing without which nothing can be measured."""
    return [
        f"relay: {name} is not installed (apt-get install postfix)"
        for name in TOOLS
        if not tool(name)
    ]


class Sink:
    """smtp-sink, its counters in a file."""

    def __init__(self, folder: Path) -> None:
        self.counters = folder / "sink.counters"
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        command = [str(tool("smtp-sink")), *user, "-c", f"inet:127.0.0.1:{SINK_PORT}", "4096"]
        with self.counters.open("wb") as output:
            self.group = Group("sink", command, output, folder)
        wait_for_greeting(SINK_PORT, self.group)

    def count(self) -> int:
        """Messages that have arrived: the last whole counter."""
        with self.counters.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 200))
            found = re.findall(rb"mesg=(\d+)\r", file.read())
        return int(found[-1]) if found else 0


def wait_for_greeting(port: int, group: Group, limit: float = 60) -> None:
    """Until something says 220 on a port; RuntimeError if the program ends or the time does."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if group.process.poll() is not None:
            raise RuntimeError(f"it ended with {group.process.returncode} before it listened")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2) as one:
            one.settimeout(5)
            if one.recv(512).startswith(b"220"):
                one.sendall(b"QUIT\r\n")
                one.recv(512)
                return
        time.sleep(0.1)
    raise RuntimeError(f"no greeting on port {port}")


def quiet(limit: float = 10, share: float = 0.1) -> float:
    """Wait, not for ever, for a second in which the machine is nearly idle; how busy it was."""
    deadline = time.monotonic() + limit
    while True:
        busy, total = machine()
        time.sleep(1)
        busy_now, total_now = machine()
        used = (busy_now - busy) / max(1, total_now - total)
        if used <= share or time.monotonic() > deadline:
            return used


def machine() -> tuple[int, int]:
    """Ticks that all cores were busy, and all ticks."""
    fields = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4], sum(fields)


def inject(plan: Plan, count: int, sink: Sink, agent: Group) -> dict[str, Any]:
    """Send `count` messages and wait until the sink has them all."""
    before, accepted, delivered = sink.count(), None, None
    command = [
        str(tool("smtp-source")), "-d", "-s", str(plan.sessions), "-m", str(count),
        "-l", str(plan.size), "-f", "sender@bench.example", "-t", "user@bench.example",
        f"inet:127.0.0.1:{PORT}",
    ]  # fmt: skip
    began = sampled = time.monotonic()
    source = Group("source", command, subprocess.DEVNULL, plan.folder)  # type: ignore[arg-type]
    try:
        while (now := time.monotonic()) - began < plan.limit:
            if accepted is None and source.process.poll() is not None:
                accepted = now - began
                if source.process.returncode:
                    break
            if delivered is None and sink.count() - before >= count:
                delivered = now - began
            if accepted is not None and delivered is not None:
                break
            if now - sampled > 1:
                agent.sample()
                sampled = time.monotonic()
            time.sleep(0.01)
        return {
            "count": count,
            "received": sink.count() - before,
            "complete": delivered is not None and accepted is not None,
            "seconds": delivered or time.monotonic() - began,
            "accept_seconds": accepted or time.monotonic() - began,
            "source_cpu": source.cpu(),
        }
    finally:
        source.end(2)


@contextlib.contextmanager
def running(agent: Agent) -> Iterator[Group]:
    """The agent, freshly configured and answering."""
    fresh(agent.run)
    agent.prepare()
    with (agent.run / "output.log").open("wb") as output:
        group = Group(agent.name, agent.command(), output, agent.run)
    try:
        wait_for_greeting(agent.port, group)
        time.sleep(0.5)
        yield group
    finally:
        group.end()


def measure(plan: Plan, agent: Agent, count: int) -> dict[str, Any]:
    """One run, the agent started afresh; `count` 0 chooses it."""
    sink = Sink(plan.folder)
    try:
        with running(agent) as group:
            if not count:
                first = inject(plan, 200, sink, group)
                trial = inject(plan, 1000, sink, group) if first["complete"] else first
                if not trial["complete"]:
                    return {"agent": agent.name, **trial, "output": _tail(agent)}
                count = max(500, int(1000 / trial["seconds"] * plan.seconds) // 100 * 100)
            else:
                inject(plan, 200, sink, group)
            busy = quiet()
            return {
                "agent": agent.name,
                "busy_before": round(busy, 3),
                **timed(plan, count, sink, group),
            }
    finally:
        sink.group.end(5)


def timed(plan: Plan, count: int, sink: Sink, group: Group) -> dict[str, Any]:
    """The measured burst."""
    group.peak_pss = 0
    group.sample()
    agent_cpu, sink_cpu, (busy, total) = group.cpu(), sink.group.cpu(), machine()
    result = inject(plan, count, sink, group)
    busy_now, total_now = machine()
    time.sleep(0.5)
    group.sample()
    got = max(1, result["received"])
    return {
        **result,
        "rate": got / result["seconds"],
        "accept_rate": count / result["accept_seconds"],
        "cpu_us": (group.cpu() - agent_cpu) * 1e6 / got,
        "sink_us": (sink.group.cpu() - sink_cpu) * 1e6 / got,
        "source_us": result.pop("source_cpu") * 1e6 / got,
        "pss": group.peak_pss,
        "machine_busy": (busy_now - busy) / max(1, total_now - total),
    }


def _tail(agent: Agent) -> str:
    return (agent.run / "output.log").read_text(errors="replace")[-500:]


def run(plan: Plan, say: Any) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """All runs, the agents in turn, and their versions; `say` gets a line for each."""
    agents = []
    for name in plan.agents:
        agent = AGENTS[name](plan.folder / name, PORT, SINK_PORT)
        if reason := agent.missing():
            say(f"{name}: skipped, {reason}")
        else:
            agents.append(agent)
    rows: list[dict[str, Any]] = []
    counts = dict.fromkeys(plan.agents, plan.count)
    for repeat in range(plan.repeats):
        for agent in agents:
            row = measure(plan, agent, counts[agent.name])
            rows.append({"repeat": repeat, **row})
            counts[agent.name] = row["count"]
            say(_line(rows[-1]))
    return rows, {agent.name: agent.version() for agent in agents}


def _line(row: dict[str, Any]) -> str:
    if not row["complete"]:
        return f"{row['agent']}: only {row['received']} of {row['count']} arrived"
    return (
        f"{row['agent']}: {row['count']:,} messages, {row['rate']:,.0f}/s, "
        f"{row['cpu_us']:,.0f} us CPU a message, {row['pss'] / 1e6:,.0f} MB"
    )
