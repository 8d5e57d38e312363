"""Twice as much mail as can leave, for ten minutes: what waits grows on disk, not in memory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.torture.letters import Mix
from tests.torture.results import Row
from tests.torture.rig import Rig, StuckError

if TYPE_CHECKING:
    from tests.torture.results import Plan

ABOUT = "injection at twice the rate at which mail leaves"
ROUNDS = 1
MINUTES = 10.0
LEAVES = 100  # messages a second that the receiver's limit lets through
MIX = Mix({"accept.example": 1}, {2_000: 50, 10_000: 50}, {1: 1})
OVER = 192 << 20  # octets of memory beyond those after the first quarter
SETTINGS = f"""\
[limits.site.default]
rate = "{LEAVES}/s, burst=10"
"""
OPEN = 'rate = "100000/s, burst=1000"'


def run(plan: Plan) -> list[Row]:
    """Load, then a reload that lifts the limit, then everything leaves."""
    minutes = float(plan.options.get("minutes", MINUTES))
    began, row = time.monotonic(), Row(f"twice capacity for {minutes:g} minutes", plan.rounds)
    with Rig(plan.folder, plan.seed, mix=MIX, workers=2, settings=SETTINGS) as rig:
        rig.server.start()
        rig.injector.start(2.0 * LEAVES, sessions=10)
        try:
            early = most = 0
            for quarter in range(4):
                until = time.monotonic() + minutes * 15
                while time.monotonic() < until:
                    rig.server.wait(rig.server.alive, "has ended")
                    most = max(most, rig.server.memory())
                    time.sleep(0.2)
                early = early or most
                plan.tell(f"quarter {quarter + 1}: {rig.injector.promised:,} promised,"
                          f" {most >> 20} MB at most")  # fmt: skip
            if most - early > OVER:
                rig.say("memory", f"{most - early >> 20} MB more than in the first quarter")
            rig.injector.finish()
            text = rig.server.config.read_text()
            rig.server.config.write_text(text.replace(SETTINGS.splitlines()[1], OPEN))
            rig.server.ask("reload")
        except StuckError as error:
            rig.say("stuck", str(error))
        account = rig.settle(600.0)
        plan.tell(str(account))
        row.add(account)
    row.seconds = time.monotonic() - began
    return [row]
