"""kill -9 of everything, or of one worker, under load."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from tests.torture.results import Row
from tests.torture.rig import Rig, StuckError

if TYPE_CHECKING:
    from tests.torture.results import Plan

ABOUT = "kill -9 of everything, or of one worker, under load"
ROUNDS = 50
LIFE = (0.1, 2.0)  # seconds from one kill to the next
RATE = 100.0  # messages a second


def run(plan: Plan) -> list[Row]:
    """Kill at random moments, start again, and account for everything in the end."""
    chance, began = random.Random(plan.seed), time.monotonic()
    row = Row(ABOUT, plan.rounds)
    with Rig(plan.folder, plan.seed, workers=2) as rig:
        rig.server.start()
        rig.injector.start(RATE)
        try:
            for number in range(1, plan.rounds + 1):
                time.sleep(chance.uniform(*LIFE))
                what = _kill(rig, chance)
                plan.tell(f"round {number}: {what}; {rig.injector.promised:,} messages promised")
        except StuckError as error:
            rig.say("stuck", str(error))
        account = rig.settle()
        plan.tell(str(account))
        row.add(account)
        row.recovery = max(rig.recoveries, default=0.0)
    row.seconds = time.monotonic() - began
    return [row]


def _kill(rig: Rig, chance: random.Random) -> str:
    """One kill, and the way back; of a worker never twice: the supervisor's back-off would grow."""
    faults = rig.server.faults
    if chance.random() < 0.5 and not (faults and "worker" in faults[-1].what):
        while rig.server.kill_worker(chance.randrange(2)) is None:
            time.sleep(0.02)
    else:
        rig.server.kill()
        rig.server.launch()
    rig.recover()
    return rig.server.faults[-1].what
