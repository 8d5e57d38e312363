"""The power goes: what was synced is there, of the rest what a disk may have.

A *history* is a server under load, killed, started, stopped and started again, whose file calls are
kept in a journal. Of one history many cuts are made: `disk` writes what may be left at a moment, a
server starts on that, and the account is of what had been promised, and had arrived, until then.
The control is a history whose syncs did nothing: it must lose mail, else losses would not be seen.

`--fs ext4` (xfs, btrfs; as root) has a real file system below instead, and cuts are copies of its
disk: see `volumes`.
"""

from __future__ import annotations

import bisect
import contextlib
import random
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.torture import checker, interpose, volumes
from tests.torture.disk import MODELS, STYLES, Disk
from tests.torture.interpose import CREATED, Control, Note
from tests.torture.letters import Mix
from tests.torture.results import Row
from tests.torture.rig import Before, Rig, StuckError
from tests.torture.volumes import Volume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.torture.checker import Account
    from tests.torture.logfiles import Record
    from tests.torture.results import Plan

ABOUT = "the power goes: unsynced writes are dropped, torn or reordered"
ROUNDS = 200
CUTS = 40  # of one history
SNAPSHOTS = 20  # of one volume
PATIENCE = 90.0  # seconds that a start or the emptying of its queue may take
CONTROL = 20.0  # the same where syncs did nothing: to be refused is a loss, too
RATE = 80.0  # messages a second
LIFE = 1.5  # seconds between a history's starts and ends
ENTRIES, DATA = 1 << 20, 2 << 30  # room in the journal
MIX = Mix(
    {"accept.example": 55, "later.example": 30, "drop.example": 10, "unknown.example": 5},
    {500: 20, 3_900: 30, 10_000: 40, 60_000: 8, 400_000: 2},
    {1: 70, 2: 15, 4: 15},
)
SETTINGS = '[log]\nsegment_age = "1s"\n[memory]\ncap = "80MB"\n[smtpd]\nmax_size = "5MB"\n'
FLAGS = ("-o", "grace=1s")
NAMES = (interpose.RENAMED, interpose.UNLINKED, interpose.CUT_TO, interpose.SYNCED)


@dataclass
class History:
    """What happened, in the order of the journal's notes."""

    root: Path
    notes: list[Note]
    journal: list[Record]  # the injector's
    arrivals: list[Record]
    faults: list[checker.Fault]

    def cuts(self, count: int, chance: random.Random) -> list[int]:
        """Numbers of notes before which the power goes; half of them near syncs and names."""
        near = [note.number for note in self.notes if note.kind in NAMES
                or note.kind == interpose.OPENED and note.a & CREATED]  # fmt: skip
        last = self.notes[-1].number
        found = (
            chance.choice(near) + chance.randint(-2, 3) if turn % 2 else chance.randint(1, last)
            for turn in range(count)
        )
        return sorted(min(max(cut, 1), last) for cut in found)

    def until(self, cut: int) -> Before:
        """What clients and receivers had seen before a note."""
        at = bisect.bisect_left(self.notes, cut, key=lambda note: note.number)
        seconds = self.notes[at - 1].seconds
        return past(self.journal, self.arrivals, self.faults, seconds, lambda e: e["mark"] <= cut)


def past(
    journal: list[Record],
    arrivals: list[Record],
    faults: list[checker.Fault],
    seconds: float,
    seen: Callable[[Record], bool],
) -> Before:
    """What was seen before a cut; a reply that came later was lost."""
    journal = [event for event in journal if seen(event)]
    offered = {event["number"] for event in journal if event["event"] == "offer"}
    ended = {event["number"] for event in journal if event["event"] not in ("offer", "odd")}
    journal += [{"event": "lost", "number": number} for number in offered - ended]
    copies = [one for one in arrivals if one["event"] == "copy" and seen(one)]
    earlier = [fault for fault in faults if fault.began < seconds]
    return Before(journal, copies, [*earlier, checker.Fault("power cut", seconds, seconds)])


def run(plan: Plan) -> list[Row]:
    """Histories and their cuts; then the control."""
    if kind := plan.options.get("fs", ""):
        return on_volume(plan, kind)
    chance, done = random.Random(plan.seed), 0
    rows = {model: Row(f"power cut, names {model}", 0) for model in MODELS}
    while done < plan.rounds:
        count = min(CUTS, plan.rounds - done)
        with _rig(plan, done) as (rig, journal):
            history = record(plan, rig, journal)
            _cut(plan, rig, history, chance, rows, count)
        done += count
    return [*rows.values(), control(plan)]


def control(plan: Plan) -> Row:
    """The end of a history whose syncs did nothing; if that loses nothing, it is the problem."""
    with _rig(plan, 1 << 20) as (rig, journal):
        history = record(plan, rig, journal, lying=True, lives=1)
        cut, home = history.notes[-1].number, rig.folder / "case" / "home"
        disk = Disk(history.root, MODELS[0])
        for note in history.notes:
            disk.follow(note)
        disk.save(home, "nothing", random.Random(plan.seed))
        account = start_on(rig, history.until(cut), home, CONTROL)
    return _control_row("control", [account])


def _control_row(what: str, accounts: list[Account]) -> Row:
    """Mail that is lost, or that no start gives back, shows that losses are seen."""
    row = Row(f"{what}: syncs do nothing, mail must be lost", len(accounts))
    row.recipients = sum(account.recipients for account in accounts)
    problems = [problem for account in accounts for problem in account.problems]
    lost = sum(problem.kind in ("lost", "locked", "missing") for problem in problems)
    row.lost = min(lost, row.recipients)  # one may be both lost and missing
    if not row.lost:
        row.problems, row.found = 1, ["syncs did nothing, and no loss was seen"]
    return row


@contextlib.contextmanager
def _rig(plan: Plan, number: int) -> Iterator[tuple[Rig, Control]]:
    """A rig whose marks are numbers of the journal's notes."""
    folder = plan.folder / str(number)
    folder.mkdir(parents=True)
    control = Control(folder, ENTRIES, DATA)
    with contextlib.closing(control), Rig(
        folder, plan.seed + number, mix=MIX, settings=SETTINGS, flags=FLAGS,
        clock=control.path, mark=lambda: control.mark, environment=control.environment,
    ) as rig:  # fmt: skip
        yield rig, control
    shutil.rmtree(folder, ignore_errors=True)


def record(plan: Plan, rig: Rig, control: Control, lying: bool = False, lives: int = 4) -> History:
    """Run a server under load; it ends by kill -9, and every other time by a stop."""
    rig.server.home.mkdir()
    control.keep_journal(True)
    if lying:
        control.lie()
    rig.server.start(PATIENCE)
    rig.injector.start(RATE)
    for life in range(lives):
        if life:
            rig.server.start(PATIENCE)
        time.sleep(LIFE)
        rig.server.stop(PATIENCE) if life % 2 else rig.server.kill()
    rig.injector.finish()
    control.keep_journal(False)
    assert not control.overflowed, "the journal is too small"
    notes = list(control.notes())
    plan.tell(f"history: {rig.injector.promised:,} messages promised, {len(notes):,} file calls")
    journal, arrivals = rig.evidence()
    return History(rig.server.home, notes, journal, arrivals, list(rig.server.faults))


def _cut(
    plan: Plan, rig: Rig, history: History, chance: random.Random, rows: dict[str, Row], count: int
) -> None:
    """Cuts in the order of their time; the models take turns."""
    disks = {model: Disk(history.root, model) for model in MODELS}
    at, last = 0, history.notes[-1].number
    for turn, cut in enumerate(history.cuts(count, chance)):
        while at < len(history.notes) and history.notes[at].number < cut:
            for disk in disks.values():
                disk.follow(history.notes[at])
            at += 1
        model, style = MODELS[turn % len(MODELS)], chance.choice(["", "", "", *STYLES])
        row, began = rows[model], time.monotonic()
        home = rig.folder / "case" / "home"
        shutil.rmtree(home.parent, ignore_errors=True)
        disks[model].save(home, style, chance)
        account = start_on(rig, history.until(cut), home)
        what = f"cut {cut} of {last}, {model}, {style or 'mixed'}"
        row.rounds += 1
        row.recovery = max(row.recovery, *rig.recoveries)
        row.seconds += time.monotonic() - began
        row.add(account, f"[{what}] ")
        plan.tell(f"{what}: {account}")


def on_volume(plan: Plan, kind: str) -> list[Row]:
    """The same on a real file system: cuts are copies of its disk under load."""
    if lacking := volumes.missing(kind):
        raise AssertionError(f"{kind} cannot be tried: {lacking}")
    row = Row(f"power cut on {kind}", 0)
    while row.rounds < plan.rounds:
        count = min(SNAPSHOTS, plan.rounds - row.rounds)
        _volume(plan, kind, row, count)
    accounts = _volume(plan, kind, Row("", 0), 1, lying=True)
    return [row, _control_row(f"control on {kind}", accounts)]


def _volume(plan: Plan, kind: str, row: Row, count: int, lying: bool = False) -> list[Account]:
    """Take copies of a disk under load; then start on each."""
    folder = plan.folder / f"{kind}-{row.rounds}{'-lying' * lying}"
    chance = random.Random(plan.seed + row.rounds)
    with Volume(folder / "volume", kind) as volume:
        control, home = Control(folder), volume.mounted / "home"
        if lying:
            control.lie()
        preload = control.environment if lying else lambda home: {}
        with contextlib.closing(control), Rig(
            folder, plan.seed + row.rounds, mix=MIX, settings=SETTINGS, flags=FLAGS,
            home=home, environment=preload,
        ) as rig:  # fmt: skip
            cuts = _snapshots(rig, volume, chance, count)
            plan.tell(f"{kind}: {rig.injector.promised:,} messages promised, {count} copies")
            patience = CONTROL if lying else PATIENCE
            accounts = [_on_copy(plan, rig, volume, disk, before, row, patience)
                        for disk, before in cuts]  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)
    return accounts


def _snapshots(
    rig: Rig, volume: Volume, chance: random.Random, count: int
) -> list[tuple[Path, Before]]:
    """Copies of the disk at random times, and what had been seen; some lives lie between them."""
    rig.server.start(PATIENCE)
    rig.injector.start(RATE)
    found: list[tuple[Path, float]] = []
    with volume.written_back(rig.injector.last):
        for number in range(count):
            if number % 7 == 6:
                rig.server.kill()
                rig.server.launch()  # cuts in its recovery, too
            time.sleep(chance.uniform(0.3, 2.0))
            with rig.server.frozen():
                found.append((volume.snapshot(str(number)), time.time()))
    rig.server.kill()
    rig.injector.finish()
    journal, arrivals = rig.evidence()
    faults = list(rig.server.faults)
    return [
        (disk, past(journal, arrivals, faults, cut, lambda event, cut=cut: event["time"] <= cut))
        for disk, cut in found
    ]


def _on_copy(
    plan: Plan, rig: Rig, volume: Volume, disk: Path, before: Before, row: Row, patience: float
) -> Account:
    began = time.monotonic()
    volume.mount(disk)
    account = start_on(rig, before, volume.mounted / "home", patience)
    row.rounds += 1
    row.recovery = max(row.recovery, *rig.recoveries)
    row.seconds += time.monotonic() - began
    row.add(account, f"[{volume.kind}, copy {disk.stem}] ")
    plan.tell(f"{volume.kind}, copy {disk.stem}: {account}")
    disk.unlink()
    return account


def start_on(rig: Rig, before: Before, home: Path, patience: float = PATIENCE) -> Account:
    """Start on what is left, have it take and send mail, and account for it."""
    rig.recoveries = [0.0]
    rig.new_server(home, before, environment=lambda home: {}).launch()
    try:
        rig.recover(patience)
        rig.injector.send(2, patience)
    except StuckError as error:
        rig.blame(error)
    return rig.settle(patience)
