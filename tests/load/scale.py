"""Measures a server whose queue is long: start and memory, throughput, operators' acts.

    python -m tests.load.fill HOME --state mixed
    python -m tests.load.scale start HOME
    python -m tests.load.scale rate HOME
    python -m tests.load.scale acts HOME

`acts` uses the queue up. Figures are JSON lines; all traffic is on loopback.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import smtplib
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from mta.loadgen.ledger import Arrival
from mta.loadgen.message import Load
from mta.loadgen.usage import cpu_seconds, pss_bytes
from mta.maillog import reader
from mta.maillog.records import TERMINAL
from mta.testing.ports import free_port
from tests.scenarios.server import Server
from tests.waiting import PATIENCE, wait

WARM_UP = 2000  # messages before a rate is measured
HERE = "here.example"  # where new mail goes, while the queue is for others
_arrival = msgspec.json.Decoder(Arrival).decode


def show(**figures: Any) -> None:
    """A line of figures."""
    rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}
    print(json.dumps(rounded), flush=True)


# ---------------------------------------------------------------------- what it talks to


class Sink:
    """`mta sink` in a process of its own, and what arrived there."""

    def __init__(self, folder: Path, name: str = "sink", *flags: str) -> None:
        self.port, self.file = free_port(), folder / f"{name}.jsonl"
        self._command = [
            sys.executable, "-m", "mta.cli.main", "sink", "--listen", f"127.0.0.1:{self.port}",
            "--record", str(self.file), *flags,
        ]  # fmt: skip

    def __enter__(self) -> Sink:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        wait(self._listens, "the sink does not listen")
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False

    def arrivals(self) -> Iterator[Arrival]:
        """What arrived so far; the sink writes its file at least once a second."""
        with self.file.open("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    yield _arrival(line)


class Lag(threading.Thread):
    """How long the workers' loops take to come round: NOOPs on an idle session with each."""

    def __init__(self, port: int, sessions: int) -> None:
        super().__init__(daemon=True)
        self._clients = [smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) for _ in range(sessions)]
        self.times: list[float] = []
        self._end = threading.Event()
        self.start()

    def run(self) -> None:
        """One NOOP every 5 ms."""
        while not self._end.wait(0.005):
            for client in self._clients:
                began = time.perf_counter()
                client.noop()
                self.times.append(time.perf_counter() - began)

    def stop(self) -> dict[str, float]:
        """Milliseconds: half of the times, 99 and 99.9 of 100, and the longest."""
        self._end.set()
        self.join()
        for client in self._clients:
            client.close()
        times = sorted(self.times)
        at = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}
        found = {name: times[min(len(times) - 1, int(len(times) * a))] for name, a in at.items()}
        return {f"lag_ms_{name}": round(value * 1000, 1) for name, value in found.items()}


@contextlib.contextmanager
def lag(server: Server, **said: Any) -> Iterator[dict[str, Any]]:
    """Show figures with the lag of the loops meanwhile."""
    probe, began, figures = Lag(server.port, server.workers), time.monotonic(), dict(said)
    try:
        yield figures
    finally:
        seconds = time.monotonic() - began
        show(**figures, seconds=seconds, **probe.stop())


def counted(server: Server) -> dict[str, Any]:
    """The status once the rows of earlier runs have been counted."""
    while (totals := server.status()["totals"])["counting"]:
        time.sleep(0.2)
    found: dict[str, Any] = totals
    return found


def pid(server: Server) -> int:
    """The supervisor's."""
    assert server.process is not None
    return server.process.pid


# ---------------------------------------------------------------------- start and memory


def start(home: Path, workers: int) -> None:
    """S-24: how soon mail is accepted, and what the processes need; without a queue, too."""
    with tempfile.TemporaryDirectory(dir=home.parent) as empty, Sink(home) as sink:
        for name, folder in (("empty", Path(empty)), ("full", home)):
            server = Server(folder, "--route", f"{HERE}=127.0.0.1:{sink.port}", "--route",
                            "*=127.0.0.1:9", workers=workers)  # fmt: skip
            began = time.monotonic()
            with server:
                server.send(f"first@{HERE}")
                show(queue=name, accepted=time.monotonic() - began, cpu=cpu_seconds(pid(server)),
                     pss_mb=pss_bytes(pid(server)) / 1e6)  # fmt: skip
                totals = counted(server)
                queued = {k: v for k, v in totals.items() if k.startswith("queued_") and v}
                show(counted=time.monotonic() - began, **queued)
                with lag(server):
                    time.sleep(10)
                show(after=time.monotonic() - began, pss_mb=pss_bytes(pid(server)) / 1e6)


# ---------------------------------------------------------------------- throughput


def rate(home: Path, workers: int, messages: int, rounds: int) -> None:
    """S-25: new mail through a server with a long queue and through one without, in turns."""
    best: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=home.parent) as empty, Sink(home) as sink:
        flags = ("--route", f"{HERE}=127.0.0.1:{sink.port}", "--route", "*=127.0.0.1:9")
        for _ in range(rounds):
            for name, folder in (("empty", Path(empty)), ("full", home)):
                with Server(folder, *flags, workers=workers) as server:
                    counted(server)
                    figures = _relay(server, messages)
                show(queue=name, **figures)
                best[name] = min(best.get(name, 1e9), figures["cpu_us"])
    show(cpu_empty_us=best["empty"], cpu_full_us=best["full"],
         share=best["empty"] / best["full"])  # fmt: skip


def _relay(server: Server, messages: int) -> dict[str, float]:
    """Messages a second until all are delivered, and CPU of the server for each."""
    _inject(server, WARM_UP)
    _wait_delivered(server, WARM_UP)
    cpu, began = cpu_seconds(pid(server)), time.monotonic()
    _inject(server, messages)
    _wait_delivered(server, WARM_UP + messages)
    seconds = time.monotonic() - began
    return {
        "rate": messages / seconds,
        "cpu_us": (cpu_seconds(pid(server)) - cpu) / messages * 1e6,
        "pss_mb": pss_bytes(pid(server)) / 1e6,
    }


def _inject(server: Server, messages: int) -> None:
    load = Load(
        server=f"127.0.0.1:{server.port}", recipients={f"r{{n}}@{HERE}": 1.0}, messages=messages
    )
    done = subprocess.run(
        [sys.executable, "-m", "mta.loadgen.source"], input=msgspec.json.encode(load),
        capture_output=True, check=True, timeout=600,
    )  # fmt: skip
    accepted = json.loads(done.stdout.splitlines()[-1])["report"]["accepted"]
    assert accepted == messages, f"{accepted} of {messages} accepted"


def _wait_delivered(server: Server, count: int) -> None:
    while server.status()["totals"]["delivered"] < count:
        time.sleep(0.02)


# ---------------------------------------------------------------------- acts


class Operator:
    """Gives acts to a server and watches what becomes of them."""

    def __init__(self, server: Server, sinks: dict[str, Sink]) -> None:
        self.server, self.sinks = server, sinks
        self.given = 0.0  # when the last act left us

    def act(self, verb: str, campaign: str, **more: Any) -> tuple[int, float]:
        """The act's number and the wall clock when it was answered."""
        began = time.monotonic()
        self.given = time.time()
        act = self.server.ask("act", verb=verb, select={"campaign": campaign}, **more)
        now = time.time()
        show(verb=verb, campaign=campaign, answered=time.monotonic() - began)
        return int(act["act"]), now

    def swept(self, act: int) -> None:
        """Wait for the end of a sweep."""
        while any(a["sequence"] == act and not a.get("swept") for a in self.server.ask("act.list")):
            time.sleep(0.05)

    def after(self, campaign: str, moment: float, name: str = "sink") -> list[float]:
        """Seconds after `moment` at which mail of a campaign arrived."""
        arrivals = self.sinks[name].arrivals()
        ours = (a for a in arrivals if f"@{campaign}." in a.recipient and not a.failed)
        return sorted(a.time - moment for a in ours if a.time > moment)


def acts(home: Path, workers: int) -> None:
    """E-14: hold, release, reroute and bounce by campaign over a long queue that is moving."""
    with Sink(home) as one, Sink(home, "other") as other:
        sinks = {"sink": one, "other": other}
        server = Server(home, "--route", f"*=127.0.0.1:{one.port}", "--rate", "1000/s", "-o",
                        "tenant.acme.dsn=off", workers=workers)  # fmt: skip
        server.patience = 600
        with server:
            counted(server)
            with lag(server, what="no act"):
                time.sleep(10)
            operator = Operator(server, sinks)
            moments = _gates(operator, other)
            _look(server)
            _bounce(operator, "d")
            time.sleep(2)
            number, _ = operator.act("bounce", "e")
            time.sleep(1)
            server.kill()
            server.start()
            with lag(server, what="bounce e, on from its cursor after kill -9"):
                operator.swept(number)
        time.sleep(1.5)  # the sink writes once a second
        _tell(operator, moments)
    _records(home)


def _gates(operator: Operator, other: Sink) -> dict[str, float]:
    """Hold a; hold and release b; reroute c."""
    moments: dict[str, float] = {}
    for what, verb, campaign in (
        ("hold", "hold", "a"), ("hold b", "hold", "b"), ("release", "release", "b"),
        ("reroute", "reroute", "c"),
    ):  # fmt: skip
        more = {"next_hop": f"127.0.0.1:{other.port}"} if verb == "reroute" else {}
        with lag(operator.server, what=what):
            number, moments[what] = operator.act(verb, campaign, **more)
            moments[f"{what} given"] = operator.given
            operator.swept(number)
    return moments


def _bounce(operator: Operator, campaign: str) -> None:
    with lag(operator.server, what="bounce"):
        number, _ = operator.act("bounce", campaign)
        operator.swept(number)


def _look(server: Server) -> None:
    for op, more in (("queue.top", {"by": "campaign"}), ("queue.top", {"by": "site"}),
                     ("queue.list", {"select": {"campaign": "nobody"}, "limit": 10})):  # fmt: skip
        with lag(server, what=op, **more):
            server.ask(op, **more)


def _tell(operator: Operator, moments: dict[str, float]) -> None:
    held = operator.after("a", moments["hold"])
    show(what="arrivals of a after its hold was answered", count=len(held), last=held[-1:])
    held_for = moments["release given"] - moments["hold b"]
    early = [t for t in operator.after("b", moments["hold b"]) if t < held_for]
    show(what="arrivals of b while held", count=len(early), last=early[-1:])
    first = operator.after("b", moments["release"])
    show(what="first arrival of b after its release was answered", first=first[:1])
    strays = operator.after("c", moments["reroute"])
    show(what="arrivals of c at the old host after its reroute", count=len(strays),
         last=strays[-1:])  # fmt: skip
    there = operator.after("c", moments["reroute"], "other")
    show(what="first arrival of c at the new host", first=there[:1], count=len(there))


def _records(home: Path) -> None:
    """Terminal records by campaign and type, and how many recipients have more than one."""
    seen: set[tuple[str, int]] = set()
    kinds: Counter[str] = Counter()
    twice = 0
    for record in reader.read_all(home / "log"):
        if record["type"] in TERMINAL:
            key = (record["id"], record["rno"])
            twice += key in seen
            seen.add(key)
            kinds[f"{record.get('campaign', '')} {record['type']}"] += 1
    show(records=dict(sorted(kinds.items())), closed_twice=twice)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("start", "rate", "acts"))
    parser.add_argument("home", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--messages", type=int, default=30_000, help="for rate")
    parser.add_argument("--rounds", type=int, default=3, help="for rate")
    args = parser.parse_args()
    if args.what == "start":
        start(args.home, args.workers)
    elif args.what == "rate":
        rate(args.home, args.workers, args.messages, args.rounds)
    else:
        acts(args.home, args.workers)


if __name__ == "__main__":
    main()
