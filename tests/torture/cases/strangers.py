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
OPENING = 300.0  # seconds to open all of them
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
    need = 2 * sum(wanted.values()) + 4_000
    hard = max(need, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))
    began, row = time.monotonic(), Row(f"{sum(wanted.values()):,} strangers", plan.rounds)
    with Rig(plan.folder, plan.seed, workers=2, settings=SETTINGS) as rig:
        rig.server.start()
        rig.injector.start(RATE)
        try:
            for _ in range(plan.rounds):
                marks = [time.time()]
                time.sleep(span)
                marks.append(time.time())
                with strangers(rig.server.port, wanted):
                    marks.append(time.time())
                    time.sleep(span)
                    marks.append(time.time())
                judge(rig, marks, plan)
        except StuckError as error:
            rig.say("stuck", str(error))
        account = rig.settle()
        plan.tell(str(account))
        row.add(account)
    row.seconds = time.monotonic() - began
    return [row]


@contextlib.contextmanager
def strangers(port: int, wanted: dict[str, int]) -> Iterator[None]:
    """They are there."""
    command = [sys.executable, "-m", "tests.torture.strangers", str(port)]
    command += [f"{kind}={count}" for kind, count in wanted.items()]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, "the strangers have ended"
        yield
    finally:
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def judge(rig: Rig, marks: list[float], plan: Plan) -> None:
    """Compare the two spans; a refusal or a slow reply is a problem."""
    alone, beside = (p99(rig, marks[at], marks[at + 1]) for at in (0, 2))
    plan.tell(f"p99 of a reply: {alone * 1000:.1f} ms alone, {beside * 1000:.1f} ms beside them")
    if beside > LONGEST or beside > SLOWER * max(alone, 0.02):
        rig.say("slow", f"p99 {beside:.3f} s beside strangers, {alone:.3f} s without them")
    journal = checker.load(rig.journal.read_text())
    refused = [one for one in journal if one["event"] == "refused" and one["time"] > marks[2]]
    if refused:
        rig.say("refused", f"{len(refused)} refusals, such as {refused[0]['text']}")


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
