"""Scenario `relay`: the same source and sink for each agent, in one sitting.

Numbered messages over kept-open sessions, counted as they arrive. CPU is that of all processes of
the agent from the first message until half a second after the last has arrived, so that the
emptying of its queue counts too. Every agent is asked for durability: synced before the 250.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bench import machine, traffic
from bench.agents import AGENTS, Agent, Scene, fresh
from bench.group import Group
from bench.traffic import OwnSink, OwnSource, PostfixSink, PostfixSource, SilentSink
from mta.loadgen.message import Load

Source = OwnSource | PostfixSource
Sink = OwnSink | PostfixSink | SilentSink
WARM = 10_000  # numbers kept for the bursts before the measured one


class Workload(NamedTuple):
    """What is sent, over what, to receivers of what kind."""

    name: str
    size: int = 10_240
    sessions: int = 20
    hops: int = 1
    manner: str = "accept"
    tools: str = "own"  # or "postfix"
    seconds: float = 10.0  # aim of one run
    processes: int = 1  # of the sink
    rate: float = 0.0  # messages/s of the source; 0: all that is taken
    connections: int = 0  # that one next hop takes; 0: the agent's own limit holds
    domains: int = 0  # that messages go to in turn; 0: one for each next hop

    @property
    def retry(self) -> int:
        """Seconds between attempts, where some are put off."""
        return 2 if self.manner.startswith(("flaky", "greylist", "throttle", "drop")) else 0

    def title(self) -> str:
        """For people."""
        size = f"{self.size // 1024} kB" if self.size >= 1024 else f"{self.size} octets"
        hops = f", {self.hops:,} next hops" if self.hops > 1 else ""
        manner = f", receivers {self.manner}" if self.manner != "accept" else ""
        tools = ", smtp-source and smtp-sink" if self.tools == "postfix" else ""
        rate = f", {self.rate:,.0f}/s offered" if self.rate else ""
        most = f" on at most {self.connections:,} connections" if self.connections else ""
        return f"{size}, {self.sessions} sessions{hops}{manner}{most}{tools}{rate}"


WORKLOADS = {
    one.name: one
    for one in (
        Workload("standard"),
        Workload("tools", tools="postfix"),
        Workload("small", size=1024),
        Workload("large", size=102_400),
        Workload("sessions", sessions=200),
        Workload("hops", hops=1000),
        Workload("deferrals", manner="flaky:10"),
        Workload("latency", manner="latency:0.2", connections=8000),
        Workload("dot", manner="latency:0,1", connections=8000),
        Workload("accept", manner="silent"),
        Workload("steady", seconds=600.0),
    )
}


class Plan(NamedTuple):
    """What is measured, how often."""

    agents: list[str]
    folder: Path
    workload: Workload
    repeats: int = 3
    count: int = 0  # messages a run; 0: by the agent's speed
    pipelining: bool = True  # of the source

    @property
    def scene(self) -> Scene:
        """What the agents are configured for."""
        work = self.workload
        return Scene(
            hops=work.hops, retry=work.retry, silent=work.manner == "silent",
            connections=work.connections,
        )  # fmt: skip

    @property
    def limit(self) -> float:
        """Seconds after which a run is given up."""
        return 90 + 3 * self.workload.seconds

    def load(self, first: int, count: int, sink: Sink) -> Load:
        """One burst."""
        work = self.workload
        names = {f"user@d{index}.example": 1.0 for index in range(work.hops)}
        if work.domains:
            names = {"user@d{n}.example": 1.0}
        return Load(
            server=f"127.0.0.1:{self.scene.port}",
            recipients=names,
            sender="sender@bench.example",
            messages=count,
            first=first,
            size=work.size,
            sessions=work.sessions,
            timeout=self.limit,
            rate=work.rate,
            names=work.domains,
            pipelining=self.pipelining,
            tally=str(sink.path) if isinstance(sink, OwnSink) else "",
            ids=False,
        )


def start_sink(plan: Plan) -> Sink:
    """The sink of a workload."""
    work = plan.workload
    if work.tools == "postfix":
        return PostfixSink(plan.folder, plan.scene)
    if plan.scene.silent:
        return SilentSink(plan.folder, plan.scene)
    room = WARM + (plan.count or int(work.seconds * 25_000))
    return OwnSink(plan.folder, plan.scene, work.manner, work.processes, room)


class Watch:
    """Samples of a run: memory once a second, and for long runs the course of things."""

    def __init__(self, agent: Group, sink: Sink, seconds: float) -> None:
        self.agent, self.sink = agent, sink
        self._long = seconds >= 60
        self._interval = seconds / 60 if self._long else 1.0
        self.series: list[dict[str, float]] = []
        self.began = self._last = time.monotonic()
        self._sample(self.began)

    def look(self, now: float) -> None:
        """Take a sample if it is time."""
        if now - self._last >= self._interval:
            self._last = now
            self._sample(now)

    def _sample(self, now: float) -> None:
        self.agent.sample()
        if self._long:
            self.series.append(
                {
                    "seconds": round(now - self.began, 2),
                    "received": self.sink.count(),
                    "cpu": self.agent.cpu(),
                    "pss": self.agent.memory(),
                    "descriptors": self.agent.descriptors(),
                }
            )


def inject(
    plan: Plan, first: int, count: int, sink: Sink, agent: Group, to: str = ""
) -> dict[str, Any]:
    """Send `count` messages, all to one address if it is given; wait until all have arrived."""
    before, accepted, delivered = sink.count(), None, None
    load = plan.load(first, count, sink)
    load = msgspec.structs.replace(load, recipients={to: 1.0}) if to else load
    source: Source = (
        PostfixSource(plan.folder, load)
        if isinstance(sink, PostfixSink)
        else OwnSource(plan.folder, load)
    )
    watch = Watch(agent, sink, plan.workload.seconds)
    began = watch.began
    try:
        while (now := time.monotonic()) - began < plan.limit:
            if accepted is None and source.ended():
                accepted = now - began
                if source.report().accepted < count:
                    break
                if plan.scene.silent:
                    delivered = accepted
            if delivered is None and sink.count() - before >= count:
                delivered = now - began
            if accepted is not None and delivered is not None:
                break
            watch.look(now)
            time.sleep(0.01)
        settled = None
        if isinstance(sink, OwnSink):
            time.sleep(0.1)  # a second copy would be under way
            settled = sink.tally.settle(first, first + count)
        seconds = delivered or time.monotonic() - began
        if isinstance(source, OwnSource) and delivered and source.report().seconds:
            # without the start of the source's interpreter
            seconds -= max(0.0, (accepted or 0) - source.report().seconds)
            accepted = source.report().seconds
        return {
            "count": count,
            "received": source.report().accepted if plan.scene.silent else sink.count() - before,
            "complete": delivered is not None and accepted is not None,
            "seconds": seconds,
            "accept_seconds": accepted or time.monotonic() - began,
            "source_cpu": source.cpu(),
            "refusals": source.report().replies,
            **(traffic.latencies(source.report(), settled) if accepted else {}),
            **({"series": watch.series} if watch.series else {}),
        }
    finally:
        source.end()


@contextlib.contextmanager
def running(agent: Agent) -> Iterator[Group]:
    """The agent, freshly configured and answering."""
    fresh(agent.run)
    agent.prepare()
    for inside, fixed in agent.mounts:
        subprocess.run(["mount", "--bind", str(agent.run / inside), fixed], check=True)
    try:
        with (agent.run / "output.log").open("wb") as output:
            group = Group(agent.name, agent.command(), output, agent.run)
        try:
            machine.wait_for_greeting(agent.scene.port, group)
            time.sleep(0.5)
            yield group
        finally:
            group.end()
    finally:
        for _, fixed in agent.mounts:
            subprocess.run(["umount", "-l", fixed], check=False)


def speed(plan: Plan, sink: Sink, group: Group, key: str) -> dict[str, Any]:
    """Short bursts, each by the speed of the one before; the last one's figures."""
    first, count = 0, 200
    for _ in range(3):
        trial = inject(plan, first, count, sink, group)
        if not trial["complete"]:
            return trial
        first += count
        count = max(200, min(4000, int(count / trial[key])) // 100 * 100)
    return trial


def measure(plan: Plan, agent: Agent, count: int) -> dict[str, Any]:
    """One run, the agent started afresh; `count` 0 chooses it."""
    plan = plan._replace(pipelining=agent.pipelining)
    sink = start_sink(plan)
    try:
        with running(agent) as group, machine.alone():
            if count:
                inject(plan, 0, min(1000, count), sink, group)
            else:
                # What comes late, by the agent or its receivers, is no measure of its speed.
                late = agent.late or plan.workload.manner.startswith("latency")
                key = "accept_seconds" if late else "seconds"
                trial = speed(plan, sink, group, key)
                if not trial["complete"]:
                    return {"agent": agent.name, **trial, "output": _tail(agent)}
                rate = trial["count"] / trial[key]
                rate = min(rate, plan.workload.rate) if plan.workload.rate else rate
                count = max(500, int(rate * plan.workload.seconds) // 100 * 100)
            busy = machine.quiet()
            return {
                "agent": agent.name,
                "busy_before": round(busy, 3),
                **timed(plan, count, sink, group),
            }
    finally:
        sink.end()


def timed(plan: Plan, count: int, sink: Sink, group: Group, first: int = WARM) -> dict[str, Any]:
    """The measured burst."""
    group.peak_pss = 0
    group.sample()
    agent_cpu, sink_cpu, (busy, total) = group.cpu(), sink.group.cpu(), machine.ticks()
    result = inject(plan, first, count, sink, group)
    busy_now, total_now = machine.ticks()
    time.sleep(0.5)
    group.sample()
    got = max(1, result["received"])
    cpu, sunk = group.cpu() - agent_cpu, sink.group.cpu() - sink_cpu
    used = (busy_now - busy) / max(1, total_now - total)
    ours = (cpu + sunk + result["source_cpu"]) / max(1, total_now - total) * 100
    return {
        **result,
        "rate": got / result["seconds"],
        "accept_rate": count / result["accept_seconds"],
        "cpu_us": cpu * 1e6 / got,
        "sink_us": sunk * 1e6 / got,
        "source_us": result.pop("source_cpu") * 1e6 / got,
        "pss": group.peak_pss,
        "machine_busy": round(used, 3),
        "other_busy": round(max(0.0, used - ours), 3),
    }


def _tail(agent: Agent) -> str:
    return (agent.run / "output.log").read_text(errors="replace")[-500:]


def able(plan: Plan, say: Callable[[str], None]) -> list[Agent]:
    """The agents that can run; `say` gets a line for each that cannot."""
    agents = []
    for name in plan.agents:
        agent = AGENTS[name](plan.folder / name, plan.scene)
        if reason := agent.missing() or agent.unfit():
            say(f"{name}: skipped, {reason}")
        else:
            agents.append(agent)
    return agents


def run(
    plan: Plan, say: Callable[[str], None]
) -> tuple[list[dict[str, Any]], dict[str, str], list[str]]:
    """All runs, the agents in turn; rows, versions, and what was left out."""
    skipped: list[str] = []
    agents = able(plan, skipped.append)
    for line in skipped:
        say(line)
    rows: list[dict[str, Any]] = []
    versions = {}
    counts = dict.fromkeys(plan.agents, plan.count)
    for repeat in range(plan.repeats):
        for agent in agents:
            try:
                row = measure(plan, agent, counts[agent.name])
            except (RuntimeError, OSError) as error:
                row = {
                    "agent": agent.name, "complete": False, "count": counts[agent.name],
                    "received": 0, "output": f"{error}: {_tail(agent)}",
                }  # fmt: skip
            rows.append({"repeat": repeat, **row})
            counts[agent.name] = row["count"]
            versions[agent.name] = agent.version()
            say(_line(rows[-1]))
    return rows, versions, skipped


def _line(row: dict[str, Any]) -> str:
    if not row["complete"]:
        more = f", refusals {row['refusals']}" if row.get("refusals") else ""
        return f"{row['agent']}: only {row['received']} of {row['count']} arrived{more}"
    lost = f", {row['lost']} lost, {row['duplicates']} twice" if row.get("lost") else ""
    return (
        f"{row['agent']}: {row['count']:,} messages, {row['rate']:,.0f}/s, "
        f"{row['cpu_us']:,.0f} us CPU a message, {row['pss'] / 1e6:,.0f} MB{lost}"
    )
