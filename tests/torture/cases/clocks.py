"""The clock of a server's machine is set to and fro, or the machine is suspended, at each stage.

A round is a stage, which is what the server does at that moment, and a change of its clocks. They
come in turn, in an order of the seed's, until each has met each. A change that is *believed* is
left so for more than a minute (which passes at once: all clocks of the server go on).

In each round some mail is put off, some waits for a release that its client asked for, and some is
new. Then, beside what every run accounts for:

    flow      mail is taken and leaves within seconds, sessions that were open go on
    due       nobody waits longer than the retry policy says
    release   mail leaves when the wall clock says so, if that is believed, and not before
    flush     everybody who waits is attempted
    expiry    nobody expires before the time has truly passed, everybody does in the end
    records   each has the time of its event, by a clock that was believed then
"""

from __future__ import annotations

import contextlib
import datetime
import random
import smtplib
import threading
import time
from bisect import bisect
from typing import TYPE_CHECKING, NamedTuple

from tests.timewarp import Timewarp
from tests.torture.checker import Fault
from tests.torture.letters import Mix, number_of
from tests.torture.results import Row
from tests.torture.rig import Rig, StuckError, suspended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.torture.logfiles import LogFiles, Record
    from tests.torture.results import Plan

ABOUT = "wall clocks set to and fro, suspended machines"
DAY, WEEK, MINUTES = 86_400.0, 604_800.0, 600.0
AGE, WAIT, RELEASE = 3600.0, 300.0, 7200.0  # seconds: max age, between attempts, until a release
BELIEVED = 66.0  # seconds after which a step must be believed
STRIDE, STRIDES, LOOK = 8.0, 9, 1.1  # time that passes unmissed; each process looks once a second
LIMIT = 30.0  # seconds in which mail must flow; a busy machine has them, too
PATIENCE = 60.0
NEAR = 5.0  # seconds between an event and its record
RATE, SESSIONS, LETTERS = 40.0, 6, 8
MIX = Mix(
    {"accept.example": 45, "slow.example": 10, "later.example": 20, "unknown.example": 10,
     "defer.example": 15},
    {500: 30, 3_000: 40, 20_000: 30},
    {1: 70, 2: 20, 5: 10},
)  # fmt: skip
SETTINGS = '[log]\nretain_age = "0s"\n'
FLAGS = ("-o", "grace=1s", "-o", 'retry.brief.schedule=["5m"]', "-o", "retry.brief.jitter=0",
         "-o", "retry.brief.max_age=1h")  # fmt: skip


class Move(NamedTuple):
    """One change of the clocks."""

    seconds: float
    believed: bool = False  # it stays so long
    suspend: bool = False


CHANGES: dict[str, tuple[Move, ...]] = {
    "a day forward for seconds": (Move(DAY), Move(-DAY)),
    "a day forward, and back": (Move(DAY, True), Move(-DAY, True)),
    "a week back for seconds": (Move(-WEEK), Move(WEEK)),
    "a week back, and forward": (Move(-WEEK, True), Move(WEEK, True)),
    "minutes forward, and back": (Move(MINUTES, True), Move(-MINUTES, True)),
    "minutes back, and forward": (Move(-MINUTES, True), Move(MINUTES, True)),
    "to and fro": (Move(MINUTES), Move(-DAY), Move(WEEK), Move(DAY - WEEK - MINUTES)),
    "a week of suspend": (Move(WEEK, suspend=True),),
    "minutes of suspend": (Move(MINUTES, suspend=True),),
}
STAGES = ("accepting", "waiting", "attempt", "stop", "start", "crash", "starting")
STARTS = STAGES[3:]  # the server starts after the first move, and has only that clock to go by
ROUNDS = len(CHANGES) * len(STAGES)


class Timeline:
    """The server's clocks, and what they said at which real time."""

    def __init__(self, warp: Timewarp) -> None:
        self.warp = warp
        self._passed = [(0.0, 0.0)]  # real time, and how much more had passed for the server
        self._set = [(0.0, 0.0)]  # the server's true time, and how far its wall clock was off

    def step(self, seconds: float) -> None:
        """Set the wall clock."""
        self.warp.step(seconds)
        self._set.append((self.truth(time.time()), self.off + seconds))

    def suspend(self, seconds: float) -> None:
        """The machine was suspended."""
        self.warp.suspend(seconds)
        self._pass(seconds)

    def run(self, seconds: float) -> None:
        """Time passes at once."""
        self.warp.run(seconds)
        self._pass(seconds)

    def _pass(self, seconds: float) -> None:
        self._passed.append((time.time(), self._passed[-1][1] + seconds))

    @property
    def off(self) -> float:
        """How far its wall clock is off now."""
        return self._set[-1][1]

    def truth(self, real: float) -> float:
        """What a clock of the server's machine that nobody sets said then."""
        return real + self._passed[bisect(self._passed, (real, float("inf"))) - 1][1]

    def wall(self) -> float:
        """What its wall clock says now."""
        return self.truth(time.time()) + self.off

    def said(self, real: float) -> list[float]:
        """What the server may have taken for the time then: a step is believed a minute late."""
        now, found = self.truth(real), list[float]()
        for (since, off), (until, _) in zip(self._set, [*self._set[1:], (now, 0.0)], strict=True):
            if since <= now + NEAR and until >= now - BELIEVED:
                found.append(now + off)
        return found

    def real(self, said: float) -> float | None:
        """The latest real time at which the server may have taken it to be so; None: at none."""
        now = time.time()
        spans = zip(self._set, [*self._set[1:], (self.truth(now), 0.0)], strict=True)
        fit = [
            said - off for (since, off), (until, _) in spans
            if since - NEAR <= said - off <= until + BELIEVED + NEAR
        ]  # fmt: skip
        return self._real_of(max(fit)) if fit else None

    def _real_of(self, truth: float) -> float:
        """The time at which more had passed at once stands for all of that."""
        for (since, more), (until, _) in zip(
            self._passed, [*self._passed[1:], (float("inf"), 0.0)], strict=True
        ):
            if truth - more <= until:
                return max(truth - more, since)
        raise AssertionError(truth)


class _Rig(Rig):
    """The log's records have real times."""

    timeline: Timeline

    def read_log(self) -> LogFiles:
        log = super().read_log()
        for record in log.records:
            record["said"], real = record["time"] / 1e6, self.timeline.real(record["time"] / 1e6)
            if real is None:
                log.damage.append(f"a {record['type']} has a time that no clock had: {record}")
            else:
                record["time"] = int(real * 1e6)
        log.records.sort(key=lambda record: record["time"])
        return log


def run(plan: Plan) -> list[Row]:
    """Each change at each stage, or as many as rounds are wanted."""
    began = time.monotonic()
    chance, stages, changes = random.Random(plan.seed), list(STAGES), list(CHANGES)
    chance.shuffle(stages)
    chance.shuffle(changes)
    with (
        Timewarp(plan.folder / "clock") as warp,
        _Rig(plan.folder, plan.seed, mix=MIX, workers=2, settings=SETTINGS, flags=FLAGS,
             environment=lambda home: warp.environment) as rig,
    ):  # fmt: skip
        rig.timeline = Timeline(warp)
        rig.server.start()
        case = Clocks(rig, chance)
        for number in range(plan.rounds):
            stage = plan.options.get("stage", stages[number % len(stages)])
            change = plan.options.get("change", changes[number % len(changes)])
            since, known = time.monotonic(), len(rig.problems)
            case.round(stage, change)
            plan.tell(
                f"round {number + 1}: {stage}, {change}: {time.monotonic() - since:.1f} s;"
                f" {rig.injector.promised:,} promised"
                + "".join(f"\n    {problem}" for problem in rig.problems[known:])
            )
        case.end()
        account = rig.settle(PATIENCE)
        plan.tell(str(account))
        row = Row(f"{ABOUT}, at {len(STAGES)} stages", plan.rounds)
        row.add(account)
        row.recovery = max(rig.recoveries, default=0.0)
    row.seconds = time.monotonic() - began
    return [row]


class Clocks:
    """One round after another."""

    def __init__(self, rig: _Rig, chance: random.Random) -> None:
        self.rig, self.chance, self.timeline = rig, chance, rig.timeline
        self._name = ""
        self._scheduled: set[str] = set()  # ids of messages that wait for their release

    def round(self, stage: str, change: str) -> None:
        """One change at one stage; what does not hold is noted."""
        self._name, moves = f"{stage}, {change}", CHANGES[change]
        try:
            self.rig.injector.send(LETTERS, PATIENCE)
            self._schedule()
            getattr(self, f"_{stage}")(moves)
            if stage in STARTS:
                self._follow()
            self._judge(self._releases(stage, moves))
        except StuckError as error:
            self.rig.blame(StuckError(f"[{self._name}] {error}"))
            self.rig.server.wait_greeting(PATIENCE)

    def _say(self, kind: str, text: str) -> None:
        self.rig.say(kind, f"[{self._name}] {text}")

    # -- clocks

    def _move(self, move: Move) -> None:
        if move.suspend:
            self.timeline.suspend(move.seconds)
        else:
            self.timeline.step(move.seconds)

    def _go(self, *moves: Move, begun: bool = False) -> None:
        """Make the moves, the first one unless it was `begun`."""
        for move in moves:
            if not begun:
                self._move(move)
            begun = False
            if move.believed:
                self._follow()
            else:
                time.sleep(self.chance.uniform(0.3, 3.0))

    def _follow(self) -> None:
        """Let time pass, in strides that nobody misses, until any step is believed."""
        for _ in range(STRIDES):
            self.timeline.run(STRIDE)
            time.sleep(LOOK)

    # -- stages

    def _accepting(self, moves: tuple[Move, ...]) -> None:
        rig, before = self.rig, self._refusals()
        with smtplib.SMTP("127.0.0.1", rig.server.port, timeout=PATIENCE) as idle:
            idle.ehlo("client.example")
            rig.injector.start(RATE, SESSIONS)
            time.sleep(0.5)
            rig.injector.halted = True
            time.sleep(0.3)
            self._go(*moves)
            rig.injector.halted = False
            rig.recover(LIMIT)
            rig.injector.finish()
            with contextlib.suppress(OSError, smtplib.SMTPException):
                if idle.noop()[0] == 250:
                    before += 1
        if before != self._refusals() + 1:
            self._say("client", "a session was ended, or a message refused")

    def _refusals(self) -> int:
        text = self.rig.journal.read_text()
        return text.count('"event": "refused"') + text.count('"event": "lost"')

    def _waiting(self, moves: tuple[Move, ...]) -> None:
        self._quiet()
        self._go(*moves)

    def _attempt(self, moves: tuple[Move, ...]) -> None:
        """No time passes while the receivers are silent: it would be a receiver's fault."""
        with suspended(self.rig.sink.process):
            self.rig.injector.send(LETTERS, PATIENCE)
            time.sleep(0.3)
            self._move(moves[0])
            time.sleep(1.5)
        self._go(*moves, begun=True)

    def _stop(self, moves: tuple[Move, ...]) -> None:
        timer = threading.Timer(self.chance.uniform(0.0, 1.0), self._move, moves[:1])
        began = time.time()
        with suspended(self.rig.sink.process):
            self.rig.injector.send(LETTERS, PATIENCE)
            timer.start()
            self.rig.stop()
            timer.join()
        # What had its dot behind it, and no reply within `grace`, is sent again.
        self.rig.server.faults.append(Fault("a stop without replies", began, time.time()))
        self._started(moves)

    def _start(self, moves: tuple[Move, ...]) -> None:
        self.rig.stop()
        self._move(moves[0])
        self._started(moves)

    def _crash(self, moves: tuple[Move, ...]) -> None:
        with suspended(self.rig.sink.process):
            self.rig.injector.send(LETTERS, PATIENCE)
            self.rig.server.kill()
            self._move(moves[0])
        self._started(moves)

    def _starting(self, moves: tuple[Move, ...]) -> None:
        self.rig.stop()
        self.rig.server.launch()
        time.sleep(self.chance.uniform(0.0, 1.5))
        self._move(moves[0])
        self.rig.server.wait_greeting(PATIENCE)
        self._go(*moves, begun=True)

    def _started(self, moves: tuple[Move, ...]) -> None:
        self.rig.server.start(PATIENCE)
        self._go(*moves, begun=True)

    # -- what must hold

    def _judge(self, releases: bool | None) -> None:
        self.rig.recover(LIMIT)
        self.rig.injector.send(2, LIMIT)
        waiting = {row["id"] for row in self._rows()} & self._scheduled
        if releases is False and waiting != self._scheduled:
            self._say("time", "mail left before its release")
        if releases:
            self._wait(lambda: not self._unsent(self._scheduled), "mail stays after its release")
        self._quiet()
        self._wait(lambda: not self._late(), "somebody waits for longer than the policy says",
                   lambda: str(self._late()[:3]))  # fmt: skip
        self._wait(lambda: not self._short_lived(), "somebody will expire too early",
                   lambda: str(self._short_lived()[:3]))  # fmt: skip
        self._flush()

    def _releases(self, stage: str, moves: tuple[Move, ...]) -> bool | None:
        """Whether the mail that waits for its release leaves; None: it may."""
        off = 0.0
        for move in moves:
            off += move.seconds
            if off > RELEASE and (move.believed or move.suspend):
                return True
        if stage in STARTS and moves[0].seconds > RELEASE:
            return None if stage in ("stop", "starting") else True
        return None if stage in STARTS and len(moves) > 2 else False

    def _schedule(self) -> None:
        """Mail that its client wants to be sent later."""
        first = self.rig.injector.last + 1
        at = datetime.datetime.fromtimestamp(self.timeline.wall() + RELEASE, datetime.UTC)
        self.rig.injector.send(3, PATIENCE, parameters=f"HOLDUNTIL={at:%Y-%m-%dT%H:%M:%SZ}")
        journal, _ = self.rig.evidence()
        self._scheduled = {
            one["id"] for one in journal if one["event"] == "promise" and one["number"] >= first
        }

    def _flush(self) -> None:
        """An operator has everybody attempted."""
        before = {(row["id"], row["rno"]): row["attempts"] for row in self._rows()}
        self.rig.server.ask("act", verb="flush", select={"all": True})

        def left() -> list[tuple[str, int]]:
            now = {(row["id"], row["rno"]): row["attempts"] for row in self._rows()}
            return [key for key, attempts in before.items() if now.get(key) == attempts]

        self._wait(lambda: not left(), "somebody is not attempted after a flush",
                   lambda: f"{len(left())} of {len(before)}")  # fmt: skip

    def _quiet(self) -> None:
        """Everything leaves that can."""
        self._wait(lambda: not self._moving(), "mail that can leave stays",
                   lambda: str(self._moving()[:3]))  # fmt: skip

    def _moving(self) -> list[Record]:
        return [
            row for row in self._rows()
            if not (row["domain"] == "defer.example" and row["attempts"])
            and row["id"] not in self._scheduled
        ]  # fmt: skip

    def _unsent(self, ids: Iterable[str]) -> list[Record]:
        return [row for row in self._rows() if row["id"] in ids and not row["attempts"]]

    def _late(self) -> list[Record]:
        """Who is due later than any policy says, by each clock that the server may go by."""
        said = self.timeline.said(time.time())
        return [
            row for row in self._rows()
            if row["state"] == "deferred" and row["attempts"]
            and not any(row["due"] / 1e6 - now <= WAIT + NEAR for now in said)
        ]  # fmt: skip

    def _short_lived(self) -> list[Record]:
        """Who is to expire before the time has passed, as far as the clock is right now."""
        journal, _ = self.rig.evidence()
        numbers = {one["id"]: one["number"] for one in journal if one["event"] == "promise"}
        offers = {one["number"]: one["time"] for one in journal if one["event"] == "offer"}
        ends = {id: self.timeline.truth(offers[number]) + AGE for id, number in numbers.items()}
        return [
            row for row in self._rows()
            if row["expires"] / 1e6 - self.timeline.off < ends.get(row["id"], 0.0) - NEAR
        ]  # fmt: skip

    def _rows(self) -> list[Record]:
        rows = self.rig.server.rows()
        if rows is None:
            raise StuckError(f"the queue cannot be asked: {self.rig.server.last_words()}")
        return rows

    def _wait(
        self, true: Callable[[], object], what: str, found: Callable[[], str] = lambda: ""
    ) -> None:
        """Wait until it is so; a problem if it is not within `LIMIT`."""
        deadline = time.monotonic() + LIMIT
        while not true():
            if time.monotonic() > deadline:
                self._say("time", f"{what} for {LIMIT:g} s: {found()}")
                return
            time.sleep(0.1)

    # -- the end

    def end(self) -> None:
        """Everything that is put off grows too old, and has its last attempt."""
        self._name = "at the end"
        self._scheduled = set()
        try:
            self.timeline.suspend(2 * AGE + RELEASE)
            self._wait(lambda: not self._past(), "who is too old is not tried")
            for _ in range(12):
                if self.rig.server.is_empty():
                    break
                self.timeline.run(BELIEVED)
                time.sleep(LOOK)
        except StuckError as error:
            self.rig.blame(StuckError(f"[{self._name}] {error}"))
        self._name = "in the end"
        journal, arrivals = self.rig.evidence()
        for text in [*self._early(journal, arrivals), *self._misdated(journal)]:
            self._say("time", text)

    def _past(self) -> list[Record]:
        """Who is due, by all clocks."""
        return [row for row in self._rows() if row["due"] / 1e6 < self.timeline.wall() - NEAR]

    def _early(self, journal: list[Record], arrivals: list[Record]) -> Iterator[str]:
        """Who expired before the time had passed."""
        offers = {one["number"]: one["time"] for one in journal if one["event"] == "offer"}
        for one in arrivals:
            for recipient in one.get("failed", ()):
                if one["sender"] == "" and recipient.endswith("@defer.example"):
                    age = self.timeline.truth(one["time"]) - self.timeline.truth(
                        offers[one["number"]]
                    )
                    if age < AGE - NEAR:
                        yield f"message {one['number']} to {recipient} expired after {age:.0f} s"

    def _misdated(self, journal: list[Record]) -> Iterator[str]:
        """Receptions that were not between offer and promise, by no clock that was believed."""
        times: dict[str, dict[int, float]] = {"offer": {}, "promise": {}}
        for one in journal:
            if one["event"] in times:
                times[one["event"]][one["number"]] = one["time"]
        for record in self.rig.read_log().records:
            number = number_of(record.get("message_id", ""))
            if record["type"] == "Reception" and number in times["promise"]:
                first, last = times["offer"][number], times["promise"][number]
                if not any(
                    self.timeline.said(first)[n] - NEAR <= record["said"] <= late + NEAR
                    for n, late in enumerate(self.timeline.said(last))
                ):
                    yield f"message {number} was received at {record['said']:.0f}"
