"""Too few descriptors, and contents of many times the memory that they may take."""

from __future__ import annotations

import random
import resource
import time
from typing import TYPE_CHECKING

from tests.torture.letters import Mix
from tests.torture.results import Row
from tests.torture.rig import Rig, StuckError

if TYPE_CHECKING:
    from tests.torture.results import Plan
    from tests.torture.rig import Server

ABOUT = "too few descriptors; large contents of many times the memory there is for them"
ROUNDS = 10  # times that descriptors run short
RATE = 100.0  # messages a second
SHORT = 3.0  # seconds of it
BUDGET = 40 << 20  # octets for contents in memory
OVER = 96 << 20  # octets of memory that a server may use beyond budget and start
MESSAGES = 2_000  # large ones
LARGE = Mix({"accept.example": 50, "slow.example": 50}, {400_000: 80, 2_000_000: 20}, {1: 1})
MEMORY = f"""\
[smtpd]
max_size = 4000000
[queue]
body_memory = {BUDGET}
"""


def run(plan: Plan) -> list[Row]:
    """A row for descriptors, and one for memory."""
    kind = plan.options.get("kind")
    rows = [_descriptors(plan)] if kind in (None, "descriptors") else []
    return rows + ([_memory(plan)] if kind in (None, "memory") else [])


def _descriptors(plan: Plan) -> Row:
    chance, began = random.Random(plan.seed), time.monotonic()
    row = Row("no descriptors left", plan.rounds)
    with Rig(plan.folder / "descriptors", plan.seed, workers=2) as rig:
        rig.server.start()
        rig.injector.start(RATE)
        try:
            for number in range(1, plan.rounds + 1):
                time.sleep(chance.uniform(0.2, 1.0))
                limits = _limit(rig.server, chance.randrange(-2, 12))
                time.sleep(SHORT)
                for pid, both in limits.items():
                    resource.prlimit(pid, resource.RLIMIT_NOFILE, both)
                rig.recover()
                plan.tell(f"round {number}: {rig.injector.promised:,} promised")
        except StuckError as error:
            rig.say("stuck", str(error))
        account = rig.settle()
        plan.tell(str(account))
        row.add(account)
        row.recovery = max(rig.recoveries, default=0.0)
    row.seconds = time.monotonic() - began
    return row


def _limit(server: Server, spare: int) -> dict[int, tuple[int, int]]:
    """Leave each process so many descriptors beyond those it has; the limits before."""
    before = {}
    for pid in server.pids():
        before[pid] = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        limit = max(3, server.descriptors(pid) + spare)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[pid][1]))
    return before


def _memory(plan: Plan) -> Row:
    began, row = time.monotonic(), Row("large contents beyond the memory for them", 1)
    count = int(plan.options.get("messages", MESSAGES))
    with Rig(plan.folder / "memory", plan.seed, mix=LARGE, workers=2, settings=MEMORY) as rig:
        rig.server.start()
        at_first = most = rig.server.memory()
        rig.injector.start(1_000.0, sessions=60)
        try:
            while rig.injector.promised < count:
                rig.server.wait(rig.server.alive, "has ended")
                most = max(most, rig.server.memory())
                time.sleep(0.05)
            rig.injector.finish()
        except StuckError as error:
            rig.say("stuck", str(error))
        plan.tell(
            f"{at_first >> 20} MB at first, {most >> 20} MB at most; {BUDGET >> 20} MB budget"
        )
        if most - at_first > BUDGET + OVER:
            rig.say("memory", f"{most - at_first >> 20} MB more than at the start")
        account = rig.settle()
        plan.tell(str(account))
        row.add(account)
    row.seconds = time.monotonic() - began
    return row
