"""kill -9 at named points: between two steps that must not come apart (`tools/trial.py points`)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.torture import points
from tests.torture.points import Order
from tests.torture.results import Row
from tests.torture.rig import Rig, StuckError

if TYPE_CHECKING:
    from tests.torture.results import Plan

ABOUT = "kill -9 at named points of the code, and in the recovery from it"
ROUNDS = 1000
RATE = 100.0  # messages a second
PATIENCE = 6.0  # seconds until a point that is not reached is given up
START = 30.0  # the same of a point that a start comes to
IN_A_ROW = 2  # deaths of workers alone; then all start anew, or the supervisor's back-off grows
SKIPS = (0, 0, 0, 1, 3, 10)
SETTINGS = """\
[log]
segment_age = "1s"
"""
ROOT = Path(__file__).parents[3]
# What makes a process come to a point that load alone does not lead to.
STARTING = {
    "a database is opened",
    "the log is applied to the spool",
    "recovery is written, not synced",
}
REPLACING = {"a worker drains"}
OF_SUPERVISOR = {"the supervisor takes back what a worker held"}


def build() -> Path:
    """The tree in which processes can be made to die."""
    command = [sys.executable, str(ROOT / "tools" / "trial.py"), "points", "--build"]
    made = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return Path(made.stdout.strip())


def run(plan: Plan) -> list[Row]:
    """Each point in turn, in an order of the seed's, until the rounds are over."""
    chance, began, tree = random.Random(plan.seed), time.monotonic(), build()
    names = [n for n in points.names(ROOT) if plan.options.get("point", n) == n]
    trigger = plan.folder / "point"
    reached: dict[str, int] = dict.fromkeys(names, 0)
    with Rig(plan.folder, plan.seed, workers=2, tree=tree, settings=SETTINGS,
             environment=lambda home: {points.VARIABLE: str(trigger)}) as rig:  # fmt: skip
        case = Deaths(rig, trigger, chance)
        rig.server.start()
        rig.injector.start(RATE)
        try:
            for number in range(plan.rounds):
                if number % len(names) == 0:
                    chance.shuffle(names)
                name = names[number % len(names)]
                order = case.order(name)
                reached[name] += case.round(order)
                plan.tell(f"round {number + 1}: {order}; {rig.injector.promised:,} promised")
        except StuckError as error:
            rig.say("stuck", str(error))
        account = rig.settle()
        plan.tell(f"{account}; reached: {reached}")
        row = Row(f"{ABOUT}: {len(names)} points", sum(reached.values()))
        row.add(account)
        row.recovery = max(rig.recoveries, default=0.0)
    row.seconds = time.monotonic() - began
    return [row]


class Deaths:
    """One death after another."""

    def __init__(self, rig: Rig, trigger: Path, chance: random.Random) -> None:
        self.rig, self.trigger, self.chance = rig, trigger, chance
        self.in_a_row = 0

    def order(self, name: str) -> Order:
        """Who dies at a point, and at which time it is passed."""
        by_load = not STARTING & {name}
        skip = self.chance.choice(SKIPS) if by_load and name not in REPLACING | OF_SUPERVISOR else 0
        who = self.chance.choice(points.WHO)
        if name in OF_SUPERVISOR and who == "supervisor":
            who = "process"  # it has no parent of ours
        if who == "process" and self.in_a_row >= IN_A_ROW:
            who = "everything"
        return Order(name, skip, who)

    def round(self, order: Order) -> bool:
        """Have it happen, and the server come back; False if the point was not reached."""
        server, reached = self.rig.server, Path(f"{self.trigger}.reached")
        reached.unlink(missing_ok=True)
        points.arm(self.trigger, order)
        self._provoke(order.name)
        deadline = time.monotonic() + (START if order.name in STARTING else PATIENCE)
        while not reached.exists() and time.monotonic() < deadline:
            server.greets()  # new connections: one may be handed to the other worker
            time.sleep(0.02)
        hit = not points.disarm(self.trigger)
        if hit:
            server.note_death(f"{order.who} dies: {order.name}", reached.stat().st_ctime)
            self.in_a_row = self.in_a_row + 1 if server.alive() else 0
        if not server.alive():
            server.gone()
            server.launch()
        self.rig.recover()
        return hit

    def _provoke(self, name: str) -> None:
        server = self.rig.server
        if name in STARTING:
            server.kill()
            server.launch()
            self.in_a_row = 0
        elif name in OF_SUPERVISOR:
            server.kill_worker(self.chance.randrange(2))
        elif name in REPLACING and server.process is not None:
            os.kill(server.process.pid, signal.SIGUSR2)
