"""Thousands of idle, slow and stubborn clients beside normal ones, whose replies must not wait."""

from __future__ import annotations

import contextlib
import resource
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from tests.torture import checker
from tests.torture.results import Row
from tests.torture.rig import Rig, StuckError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.torture.results import Plan

ABOUT = "30,000 idle, 5,000 slow and 206 greedy clients beside normal ones"
ROUNDS = 1
RATE = 50.0  # messages a second of the normal ones
SPAN = 30.0  # seconds that are compared: without strangers, and beside them
WANTED = {"idle": 30_000, "slow": 5_000, "noop": 206}
SLOWER, LONGEST = 3.0, 1.0  # the p99 beside them: times that without them, and seconds
SPARE = 1_000  # descriptors of a process beside those for strangers
SETTINGS = """\
[smtpd]
max_sessions = 60000
max_sessions_per_network = 60000
"""


def run(plan: Plan) -> list[Row]:
    """The account, and the p99 of the reply to the final dot in both spans."""
    span = float(plan.options.get("span", SPAN))
    share = float(plan.options.get("share", 1.0))
    wanted = {kind: max(1, int(count * share)) for kind, count in WANTED.items()}
    total = sum(wanted.values())
    room = descriptors(total + SPARE) - SPARE
    workers = max(2, -(-5 * total // (4 * room)))  # they do not share them out quite evenly
    began, row = time.monotonic(), Row(f"{total:,} strangers", plan.rounds)
    with Rig(plan.folder, plan.seed, workers=workers, settings=SETTINGS) as rig:
        rig.server.start()
        rig.injector.start(RATE)
        try:
            for _ in range(plan.rounds):
                marks = [time.time()]
                time.sleep(span)
                marks.append(time.time())
                with strangers(rig.server.port, wanted, -(-total // room)):
                    marks.append(time.time())
                    time.sleep(span)
                    marks.append(time.time())
                row.fault = f"{total:,} strangers: {judge(rig, marks)}"
                plan.tell(row.fault)
        except StuckError as error:
            rig.say("stuck", str(error))
        account = rig.settle()
        plan.tell(str(account))
        row.add(account)
    row.seconds = time.monotonic() - began
    return [row]


def descriptors(wanted: int) -> int:
    """Let each process from now on have so many, or as many as are allowed."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
        return wanted
    assert hard > 2 * SPARE, f"a process may have {hard} descriptors: raise the limit"
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@contextlib.contextmanager
def strangers(port: int, wanted: dict[str, int], processes: int) -> Iterator[None]:
    """They are there."""
    with contextlib.ExitStack() as stack:
        started = []
        for part in range(processes):
            counts = (f"{kind}={-(-count // processes)}" for kind, count in wanted.items())
            command = [sys.executable, "-m", "tests.torture.strangers", str(port), str(part)]
            started.append(subprocess.Popen(
                [*command, *counts], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ))  # fmt: skip
            stack.callback(end, started[-1])
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline(), "the strangers have ended"
        yield


def end(process: subprocess.Popen[str]) -> None:
    """Have the strangers of a process go."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def judge(rig: Rig, marks: list[float]) -> str:
    """Compare the two spans, for people; a refusal or a slow reply is a problem."""
    alone, beside = (p99(rig, marks[at], marks[at + 1]) for at in (0, 2))
    if beside > LONGEST or beside > SLOWER * alone:
        rig.say("slow", f"p99 {beside:.3f} s beside strangers, {alone:.3f} s without them")
    journal = checker.load(rig.journal.read_text())
    refused = [one for one in journal if one["event"] == "refused" and one["time"] > marks[2]]
    if refused:
        rig.say("refused", f"{len(refused)} refusals, such as {refused[0]['text']}")
    return f"p99 of a reply {beside * 1000:.0f} ms beside them, {alone * 1000:.0f} ms without"


def p99(rig: Rig, began: float, ended: float) -> float:
    """Of the seconds from the final dot to its 250."""
    dots, waits = {}, []
    for one in checker.load(rig.journal.read_text()):
        if one["event"] == "offer":
            dots[one["number"]] = one["time"]
        elif one["event"] == "promise" and began <= one["time"] < ended:
            waits.append(one["time"] - dots[one["number"]])
    assert waits, "nothing was promised in that span"
    return sorted(waits)[int(len(waits) * 0.99)]
