"""Members of choose, prepare and settle: what each may say, and what follows."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any, cast

import pytest
import uvloop

from mta.delivery.decisions import (
    TAKEN,
    Answer,
    Choose,
    Decisions,
    Ended,
    Prepare,
    Settle,
    Skip,
    Wait,
)
from mta.delivery.dispatcher import Dispatcher
from mta.delivery.feeder import Attempt, Connection
from mta.delivery.orders import ObeyActs
from mta.delivery.pool import Dial, Pool
from mta.delivery.rates import QueueRates
from mta.model import Kind, Message, Outcome, Peer, Scope, Where
from mta.queues.acts import Verb
from mta.routing.hosts import Targets
from mta.shaping.limits import Limits, LimitSpec, Rate
from tests.unit.delivery.fakes import FakeLoop, make_gate
from tests.unit.queues.desk import NEVER, OK, Desk
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mta.queues.lanes import Parcel

REFUSED = Outcome(Kind.BOUNCED, 550, "5.7.1", "not today", "choose")


class Line(Connection):
    """A connection that takes what it gets; `busy` keeps it from ending attempts by itself."""

    def __init__(self, dispatcher: Dispatcher, pool: Pool, *, offers: int = 0) -> None:
        super().__init__()
        self.dispatcher, self.sent = dispatcher, list[bytes]()
        self.peer, self.local, self.offers = Peer("mx", "127.0.0.1:25", "default"), None, offers
        self.overlap_failed = False
        self.dial = Dial(pool, Targets(), 0.0)
        assert dispatcher.gate.connect(pool.limits) is None
        pool.connections[self] = None

    def take(self) -> Attempt | None:
        return self.dispatcher.next_attempt(self)

    def end(self, attempt: Attempt | None, outcome: Outcome = OK) -> None:
        assert attempt is not None
        self.sent.append(attempt.body)
        self.dispatcher.attempt_done(self, attempt, [outcome] * len(attempt.recipients))

    def kick(self) -> None:
        while (attempt := self.take()) is not None:
            self.end(attempt)
        self.dispatcher.connection_idle(self)

    def close(self) -> None:
        raise AssertionError("nobody wants this place")


class Rig:
    """A dispatcher between a real queue manager and a real gate."""

    def __init__(self, folder: Path, loop: Any = None, limits: Limits | None = None) -> None:
        self.desk, self.loop = Desk(folder), loop or FakeLoop()
        nothing = cast("Any", None)
        self.dispatcher = Dispatcher(
            self.loop, self.desk.clock, self.desk.manager, make_gate(limits, self.desk.clock),
            hosts=nothing, targets=nothing, connection=nothing, read_bodies=self.read,
            no_overlap=nothing,
        )  # fmt: skip
        self.desk.manager.ports.wake = self.dispatcher.wake

    def read(self, messages: list[Message], done: Any) -> None:
        for message in messages:
            self.desk.manager.keep_body(message, b"x" * 10)
        done({})

    def use(self, *members: Any) -> None:
        by = [[m for m in members if isinstance(m, kind)] for kind in (Choose, Prepare, Settle)]
        self.dispatcher.decide_by(Decisions(*by))

    def line(self, domain: str = "b.example", **options: Any) -> Line:
        ready = self.desk.ready(domain)
        self.dispatcher.wake(ready)
        return Line(self.dispatcher, cast("Pool", ready.pool), **options)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.dispatcher.decider.ahead.close()
    rig.desk.close()


class Says(Choose):
    """A member that says what it is told to say, and counts."""

    def __init__(self, *answers: Answer) -> None:
        self.answers, self.asked, self.undone = list(answers), 0, 0
        self.taken: list[tuple[Pool, Parcel]] = []

    def choose(self, pool: Pool, parcel: Parcel) -> Answer:
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else None
        if answer is TAKEN:
            self.taken.append((pool, parcel))
            for recipient in parcel.recipients:
                recipient.flying = True
        return answer

    def undo(self, parcel: Parcel) -> None:
        self.undone += 1


def test_nobody_asked_costs_nothing(rig: Rig) -> None:
    rig.desk.accept("x@b.example")
    line = rig.line()
    line.end(line.take())
    assert rig.desk.ends() == {"Delivery": 1}


def test_a_no_has_others_give_back_what_they_took(rig: Rig) -> None:
    first, second = Says(), Says(Skip(REFUSED))
    first.last = second.last = True
    rig.use(first, second)
    rig.desk.accept("x@b.example")
    assert rig.line().take() is None
    assert (first.asked, first.undone, second.undone) == (1, 1, 0)
    assert rig.desk.ends() == {"Bounce": 1}
    [bounce] = [r for r in rig.desk.records() if r["type"] == "Bounce"]
    assert (bounce["enhanced"], bounce["text"]) == ("5.7.1", "not today")


def test_a_message_waits_outside_memory_and_no_attempt_is_counted(rig: Rig) -> None:
    rig.use(Says(Wait(Scope.MESSAGE, 30)))
    message = rig.desk.accept("x@b.example")
    line = rig.line()
    assert line.take() is None
    assert rig.desk.where(message) == Where.DUE
    rig.desk.run(31)
    assert line.take() is None, "its content is read"
    attempt = line.take()
    assert attempt is not None and attempt.recipients[0].attempts == 0


def test_a_tenant_waits_and_others_leave(rig: Rig) -> None:
    rig.use(Says(Wait(Scope.TENANT, 5)))
    rig.desk.accept("x@b.example", tenant="slow")
    rig.desk.accept("y@b.example", tenant="quick")
    line = rig.line()
    attempt = line.take()
    assert attempt is not None and attempt.message.tenant == "quick"
    assert line.take() is None
    rig.loop.advance(5)
    attempt = line.take()
    assert attempt is not None and attempt.message.tenant == "slow"


def test_who_takes_its_time_is_not_asked_again(rig: Rig) -> None:
    slow, quick = Says(TAKEN), Says()
    rig.use(slow, quick)
    rig.desk.accept("x@b.example")
    line = rig.line()
    assert line.take() is None
    [(pool, parcel)] = slow.taken
    assert parcel.recipients[0].flying
    rig.dispatcher.decider.chosen(slow, pool, parcel, None, "said")
    attempt = line.take()
    assert attempt is not None and attempt.tag.cleared == {slow: "said"}
    assert (slow.asked, quick.asked) == (1, 1)


@pytest.mark.parametrize("how", ["choose", "prepare"])
def test_many_that_are_decided_here_let_others_have_a_turn(rig: Rig, how: str) -> None:
    rig.use(Says(*[Skip(REFUSED)] * 250) if how == "choose" else Fails())
    for _ in range(250):
        rig.desk.accept("x@b.example")
    line = rig.line()
    rig.loop.soon.clear()
    ready = line.dial.pool.ready
    for left in (150, 50, 0):
        line.dial.pool.woken = False
        assert line.take() is None
        assert (ready.count, line.dial.pool.woken) == (left, left > 0)


def test_one_that_has_all_it_can_take_stops_the_pool(rig: Rig) -> None:
    rig.use(full := Says(Wait(Scope.SITE, float("inf"))))
    rig.desk.accept("x@b.example")
    line = rig.line()
    assert line.take() is None and full.asked == 1
    assert not [timer for timer in rig.loop.timers if not timer.cancelled]
    assert line.take() is not None


def test_acts_are_obeyed_at_the_last_moment(rig: Rig) -> None:
    rig.desk.accept("x@b.example")
    kept = rig.desk.accept("y@b.example")
    rig.desk.act(Verb.DELETE, recipient="x@b.example")
    rig.use(ObeyActs(rig.desk.manager))
    line = rig.line()
    attempt = line.take()
    assert attempt is not None and attempt.message is kept
    assert rig.desk.ends() == {"Removed": 1}


def test_a_queues_token_comes_back_when_the_site_says_no(tmp_path: Path) -> None:
    rig = Rig(tmp_path, limits=Limits(default=LimitSpec(rate=Rate(1, burst=1))))
    rates = QueueRates(rig.dispatcher.gate, lambda recipient: ("queue", Rate(1, burst=2)))
    rig.use(rates)
    for _ in range(3):
        rig.desk.accept("x@b.example")
    line = rig.line()
    assert line.take() is not None
    pool = line.dial.pool
    assert line.take() is None and pool.paced is not None
    bucket = rig.dispatcher.gate.queue_bucket("queue", Rate(1, burst=2))
    assert rig.dispatcher.gate.take((bucket,)) == 0.0, "one is left of two"
    rig.desk.close()


class Marks(Prepare):
    """Adds a line to the content."""

    def prepare(self, attempt: Attempt, offers: int) -> None:
        attempt.body = b"Marked: %d\r\n" % offers + attempt.body


class Fails(Prepare):
    def prepare(self, attempt: Attempt, offers: int) -> None:
        raise ValueError("no key")


def test_members_change_what_leaves_in_order(rig: Rig) -> None:
    rig.use(Marks(), Marks())
    message = rig.desk.accept("x@b.example")
    attempt = rig.line(offers=7).take()
    assert attempt is not None
    assert attempt.body == b"Marked: 7\r\n" * 2 + b"x" * 10
    assert message.body == b"x" * 10, "the next attempt begins with what was accepted"


def test_what_cannot_be_prepared_does_not_leave(tmp_path: Path) -> None:
    rig = Rig(tmp_path, limits=Limits(default=LimitSpec(rate=Rate(1, burst=1))))
    rig.use(Fails())
    rig.desk.accept("x@b.example")
    line = rig.line()
    assert line.take() is None
    [failure] = [r for r in rig.desk.records() if r["type"] == "TransientFailure"]
    assert (failure["code"], failure["enhanced"]) == (451, "4.3.0")
    assert failure["text"] == "ValueError: no key"
    rig.use()
    rig.desk.accept("y@b.example")
    assert line.take() is not None, "the token of the first came back"
    rig.desk.close()


class Judges(Settle):
    def __init__(self, dispatcher: Dispatcher, *, keeps: bool) -> None:
        self.dispatcher, self.keeps, self.kept = dispatcher, keeps, list[Ended]()

    def settle(self, ended: Ended) -> Ended | None:
        if self.keeps:
            self.kept.append(ended)
            return None
        return ended._replace(outcomes=[NEVER] * len(ended.outcomes))


def test_outcomes_are_recorded_as_members_leave_them(rig: Rig) -> None:
    keeper, judge = Judges(rig.dispatcher, keeps=True), Judges(rig.dispatcher, keeps=False)
    rig.use(keeper, judge)
    rig.desk.accept("x@b.example")
    line = rig.line()
    line.end(line.take())
    assert rig.desk.ends() == {}
    rig.dispatcher.decider.settled(keeper, keeper.kept[0])
    assert rig.desk.ends() == {"Bounce": 1}


class Signer(Prepare):
    """Takes a millisecond, and notes where."""

    threaded = True

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.may = threading.Event()
        self.may.set()

    def prepare(self, attempt: Attempt, offers: int) -> None:
        self.may.wait(PATIENCE)
        self.threads.add(threading.get_ident())
        end = time.perf_counter() + 0.001
        while time.perf_counter() < end:
            pass
        attempt.body = b"Signed: yes\r\n" + attempt.body


async def until(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what is awaited is no event
            await asyncio.sleep(0)


def on_a_loop(tmp_path: Path, what: Any) -> None:
    """Run a test on a real loop with a rig of it."""

    async def main() -> None:
        rig = Rig(tmp_path, asyncio.get_running_loop())
        try:
            await what(rig)
        finally:
            rig.dispatcher.decider.ahead.close()
            rig.desk.close()

    uvloop.run(main())


def test_a_signer_works_in_a_thread_while_connections_go_on(tmp_path: Path) -> None:
    async def signing(rig: Rig) -> None:
        signer = Signer()
        rig.use(signer)
        for number in range(40):
            rig.desk.accept(f"{number}@b.example", f"{number}@c.example")
        lines = [rig.line("b.example"), rig.line("b.example"), rig.line("c.example")]
        for line in lines:
            line.kick()
        await until(lambda: sum(len(line.sent) for line in lines) == 80)
        assert all(body.startswith(b"Signed: yes\r\n") for one in lines for body in one.sent)
        assert signer.threads and threading.get_ident() not in signer.threads
        assert rig.desk.ends() == {"Delivery": 80}

    on_a_loop(tmp_path, signing)


def test_acts_hold_of_what_is_being_prepared(tmp_path: Path) -> None:
    async def deleting(rig: Rig) -> None:
        signer = Signer()
        signer.may.clear()
        rig.use(signer)
        message = rig.desk.accept("x@b.example")
        line = rig.line()
        line.kick()
        recipient = rig.desk.manager.memory[message.id, 0]
        assert recipient.flying and line.sent == []
        act = rig.desk.act(Verb.DELETE, all=True)
        recipient.orders = [act]
        signer.may.set()
        await until(lambda: not rig.desk.manager.memory)
        assert rig.desk.ends() == {"Removed": 1} and line.sent == []

    on_a_loop(tmp_path, deleting)


def test_what_expires_while_it_is_prepared_does_not_leave(tmp_path: Path) -> None:
    async def expiring(rig: Rig) -> None:
        rig.use(Signer())
        rig.desk.accept("x@b.example")
        line = rig.line()
        pool = line.dial.pool
        assert line.take() is None
        await until(lambda: pool.prepared is not None and len(pool.prepared.attempts) == 1)
        rig.desk.clock.advance(3601)
        assert line.take() is None
        assert rig.desk.ends() == {"Expiration": 1}

    on_a_loop(tmp_path, expiring)


@pytest.mark.parametrize("how", ["reload", "drain"])
def test_what_is_prepared_returns_to_its_lane(tmp_path: Path, how: str) -> None:
    async def returning(rig: Rig) -> None:
        signer = Signer()
        rig.use(signer)
        rig.desk.accept("x@b.example")
        rig.desk.accept("y@b.example")
        line = rig.line()
        pool = line.dial.pool
        attempt = line.take()
        await until(lambda: pool.prepared is not None and len(pool.prepared.attempts) == 2)
        attempt = line.take()
        assert attempt is not None and pool.count() == 1
        if how == "drain":
            line.close = lambda: None  # type: ignore[method-assign]
            rig.dispatcher.drain()
        else:
            rig.use()
        assert pool.ready.count == 1 == pool.count()
        line.end(attempt)
        if how == "reload":
            attempt = line.take()
            assert attempt is not None and attempt.body == b"x" * 10

    on_a_loop(tmp_path, returning)


def test_another_kind_of_server_has_it_prepared_anew(tmp_path: Path) -> None:
    class Notes(Signer):
        def prepare(self, attempt: Attempt, offers: int) -> None:
            attempt.body = b"%d" % offers

    async def differing(rig: Rig) -> None:
        rig.use(Notes())
        rig.desk.accept("x@b.example")
        one, two = rig.line(offers=1), rig.line(offers=2)
        pool = one.dial.pool
        assert one.take() is None
        await until(lambda: len(pool.prepared.attempts) == 1)
        assert two.take() is None
        await until(lambda: len(pool.prepared.attempts) == 1)
        attempt = two.take()
        assert attempt is not None and attempt.body == b"2"

    on_a_loop(tmp_path, differing)
