"""Disks that fill up under load and have room again: spool, log, both, inodes, and a start."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from tests.torture import disks
from tests.torture.results import Row
from tests.torture.rig import Rig, StuckError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.torture.disks import Disk
    from tests.torture.results import Plan

ABOUT = "a disk without room or inodes, under load and at a start"
ROUNDS = 10  # of each kind
RATE = 100.0  # messages a second
FULL = 4.0  # seconds without room
BETWEEN = 1.5  # seconds of plain load
SPOOL, LOG = 700 << 20, 64 << 20  # octets of the file systems
KINDS = ("spool", "log", "both", "inodes", "start")


def run(plan: Plan) -> list[Row]:
    """A row for each kind."""
    reason = disks.lacking()
    assert not reason, reason
    kinds = [kind for kind in KINDS if plan.options.get("kind", kind) == kind]
    return [_kind(plan, kind) for kind in kinds]


def _kind(plan: Plan, kind: str) -> Row:
    began, row = time.monotonic(), Row(f"full disk: {kind}", plan.rounds)
    folder = plan.folder / kind
    with contextlib.ExitStack() as stack:
        folder.mkdir(parents=True)
        home = folder / "home"
        spool = stack.enter_context(disks.ext4(folder / "spool.img", home / "spool", SPOOL))
        log = stack.enter_context(disks.ext4(folder / "log.img", home / "log", LOG))
        rig = stack.enter_context(Rig(folder, plan.seed, flags=("-o", "disk.min_free=0")))
        case = _Case(rig, spool, log)
        rig.server.start()
        rig.injector.start(RATE)
        try:
            for number in range(1, plan.rounds + 1):
                time.sleep(BETWEEN)
                case.round(kind)
                plan.tell(f"{kind}, round {number}: {rig.injector.promised:,} promised,"
                          f" takes mail again after {rig.recoveries[-1]:.1f} s")  # fmt: skip
        except StuckError as error:
            rig.say("stuck", str(error))
        account = rig.settle()
        plan.tell(f"{kind}: {account}")
        row.add(account)
        row.recovery = max(rig.recoveries, default=0.0)
    row.seconds = time.monotonic() - began
    return row


class _Case:
    def __init__(self, rig: Rig, spool: Disk, log: Disk) -> None:
        self.rig, self.spool, self.log = rig, spool, log

    def round(self, kind: str) -> None:
        """Without room for a while, then with room."""
        fill: dict[str, Callable[[], None]] = {
            "spool": self.spool.fill,
            "log": self.log.fill,
            "both": self._both,
            "inodes": self.spool.fill_inodes,
            "start": self._start,
        }
        fill[kind]()
        time.sleep(FULL)
        if not self.rig.server.alive():
            raise StuckError(f"ended by itself: {self.rig.server.last_words()}")
        self.spool.give_back()
        self.log.give_back()
        self.rig.recover()

    def _both(self) -> None:
        self.spool.fill()
        self.log.fill()

    def _start(self) -> None:
        """It is killed while the disks are full, and starts on full ones."""
        self._both()
        time.sleep(FULL / 4)
        self.rig.server.kill()
        self.rig.server.launch()
