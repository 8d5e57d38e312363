"""Operators' acts on mail in every state, and over crashes in mid-sweep."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mta.model import Where
from mta.queues.acts import Act, Verb
from tests.unit.queues.desk import AGAIN, LATER, OK, Desk

Make = Callable[..., Desk]

STATES = ("fresh", "ready", "in flight", "deferred", "held", "backlog", "unrouted", "arriving")
SELECTORS = (
    {"domain": "B.example"}, {"site": "b.example"}, {"tenant": "acme"}, {"campaign": "spr*"},
    {"sender": "S@a.example"}, {"recipient": "r?@b.example"}, {"all": True}, {"id": "?"},
)  # fmt: skip


class Case:
    """A message in a state, beside one of another site, tenant and so on that nobody means."""

    def __init__(self, desk: Desk, state: str) -> None:
        self.desk, self.state = desk, state
        self.parcel = None
        self.other = desk.accept("x@c.example", sender="o@o.example", tenant="o", campaign="o")
        if state == "backlog":
            desk.accept("r0@b.example", sender="first@a.example", tenant="acme", campaign="spring")
        if state == "unrouted":
            desk.unknown["b.example"] = []
        submit = desk.submit if state == "arriving" else desk.accept
        self.message = submit(
            "r1@b.example", sender="s@a.example", tenant="acme", campaign="spring"
        )
        if state == "in flight":
            self.parcel = desk.take()
        elif state == "deferred":
            desk.end(desk.take(), LATER)
        elif state == "held":
            act = desk.act(Verb.HOLD, domain="b.example")
            desk.sweep()
            desk.retire(act)
        elif state == "fresh":
            desk.restart()

    def settle(self) -> None:
        """Whatever was between two states gets out of there."""
        desk = self.desk
        if self.state == "unrouted":
            desk.answer("b.example")
        if self.parcel is not None:
            desk.end(self.parcel, LATER)
        desk.run(1)


@pytest.fixture(params=STATES)
def case(request: pytest.FixtureRequest, make: Make) -> Case:
    return Case(make(lane_items=1 if request.param == "backlog" else 10), request.param)


@pytest.mark.parametrize("select", SELECTORS, ids=lambda select: next(iter(select)))
def test_delete_by_each_selector_in_each_state(case: Case, select: dict[str, object]) -> None:
    desk, message = case.desk, case.message
    if "id" in select:
        select = {"id": message.id.hex()}
    act = desk.act(Verb.DELETE, **select)
    if case.parcel is not None:
        desk.sweep(steps=20)
    else:
        desk.sweep()
        desk.retire(act)
    case.settle()
    assert desk.where(message) is None
    removed = [r for r in desk.records() if r["type"] == "Removed"]
    assert message.id.hex() in [r["id"] for r in removed]
    assert removed[0]["act"] == act.sequence
    assert (desk.where(case.other) is None) == ("all" in select)
    desk.ends()


def test_bounce_ends_with_one_record_and_a_dsn(case: Case) -> None:
    desk = case.desk
    desk.dsns = True
    desk.act(Verb.BOUNCE, id=case.message.id.hex())
    desk.sweep(steps=20)
    case.settle()
    assert desk.ends()["AdminBounce"] == 1
    assert [r["recipients"] for r in desk.records() if r.get("sender") == ""] == [["s@a.example"]]


def test_hold_and_release(case: Case) -> None:
    desk, message = case.desk, case.message
    hold = desk.act(Verb.HOLD, id=message.id.hex())
    desk.sweep(steps=20)
    case.settle()
    if case.parcel is not None:
        desk.sweep(hold)
    desk.retire(hold)
    desk.run(70)
    assert desk.where(message) == Where.HELD
    desk.restart()
    desk.run(1)
    assert desk.where(message) == Where.HELD
    if case.state == "held":
        desk.sweep(desk.act(Verb.RELEASE, domain="b.example"))
        assert desk.where(message) == Where.HELD
    release = desk.act(Verb.RELEASE, id=message.id.hex())
    desk.sweep()
    desk.retire(release)
    assert "r1@b.example" in desk.deliver_all()
    assert desk.ends()["Delivery"] >= 1


def test_reroute_sends_it_elsewhere(case: Case) -> None:
    desk, message = case.desk, case.message
    act = desk.act(Verb.REROUTE, next_hop="d.example", id=message.id.hex())
    desk.sweep(steps=20)
    case.settle()
    if case.parcel is not None:
        desk.sweep(act)
    desk.retire(act)
    desk.restart()
    if case.state == "held":
        assert desk.where(message) == Where.HELD
        desk.act(Verb.RELEASE, all=True)
        desk.sweep()
    desk.run(70)
    [parcel] = [desk.take("d.example")]
    assert parcel is not None and [r.address for r in parcel.recipients] == ["r1@b.example"]
    desk.end(parcel, OK)
    assert desk.where(message) is None


def test_flush_makes_the_deferred_due_now_and_leaves_the_rest(case: Case) -> None:
    desk, message = case.desk, case.message
    before = desk.where(message)
    desk.act(Verb.FLUSH, all=True)
    desk.sweep(steps=20)
    desk.run(1)
    if case.state == "deferred":
        assert desk.take() is not None
    else:
        assert desk.where(message) == before


# ---------------------------------------------------------------------- who is meant


def test_a_hold_holds_what_comes_later_too_until_it_is_released(desk: Desk) -> None:
    hold = desk.act(Verb.HOLD, domain="b.example")
    early = desk.accept("early@b.example")
    desk.sweep()
    desk.retire(hold)
    late, other = desk.accept("late@b.example"), desk.accept("x@c.example")
    desk.run(1)
    assert desk.where(early) == desk.where(late) == Where.HELD
    assert desk.where(other) == Where.FRESH
    desk.act(Verb.RELEASE, domain="B.example")
    after = desk.accept("after@b.example")  # no sweep has begun
    assert desk.where(after) == Where.FRESH
    desk.sweep()
    desk.run(1)
    assert sorted(desk.deliver_all()) == ["after@b.example", "early@b.example", "late@b.example"]


def test_a_hold_that_was_released_before_its_sweep_holds_no_later_mail(desk: Desk) -> None:
    hold, release = desk.act(Verb.HOLD, all=True), desk.act(Verb.RELEASE, all=True)
    later = desk.accept("r@b.example")
    assert desk.where(later) == Where.FRESH
    desk.sweep(hold, release)
    assert desk.where(later) == Where.FRESH


def held_by(desk: Desk, **select: object) -> Act:
    """A hold whose sweep has ended."""
    hold = desk.act(Verb.HOLD, **select)
    desk.sweep(hold)
    desk.retire(hold)
    return hold


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("number", [False, True])
def test_a_release_frees_nothing_that_another_hold_covers(
    desk: Desk, restart: bool, number: bool
) -> None:
    both = desk.accept("both@b.example", tenant="acme")
    domain = desk.accept("domain@b.example")
    first, second = held_by(desk, tenant="acme"), held_by(desk, domain="b.example")
    release = desk.release(second) if number else desk.act(Verb.RELEASE, domain="b.example")
    if restart:
        desk.restart()
    desk.sweep(release)
    desk.retire(release)
    late = desk.accept("late@b.example", tenant="acme")
    assert desk.deliver_all() == ["domain@b.example"]
    assert desk.where(domain) is None
    assert desk.where(both) == desk.where(late) == Where.HELD
    assert desk.touched[release.sequence] == 1
    last = desk.release(first)
    desk.sweep(last)
    assert sorted(desk.deliver_all()) == ["both@b.example", "late@b.example"]


def test_of_two_equal_holds_one_can_be_released(desk: Desk) -> None:
    message = desk.accept("r@b.example")
    first, second = held_by(desk, domain="b.example"), held_by(desk, domain="b.example")
    desk.sweep(desk.release(first))
    assert desk.where(message) == Where.HELD
    desk.sweep(desk.release(second))
    assert desk.deliver_all() == ["r@b.example"]


def test_a_release_of_all_ends_every_hold(desk: Desk) -> None:
    desk.accept("a@b.example", tenant="acme")
    held_by(desk, tenant="acme")
    held_by(desk, all=True)
    desk.sweep(desk.act(Verb.RELEASE, all=True))
    assert desk.deliver_all() == ["a@b.example"]
    assert not desk.manager.acts.standing


def test_a_release_frees_what_no_hold_is_known_of(desk: Desk) -> None:
    """The holds were lost with the node's state."""
    desk.accept("r@b.example")
    held_by(desk, domain="b.example")
    desk.acts.clear()
    desk.restart()
    desk.sweep(desk.act(Verb.RELEASE, all=True))
    assert desk.deliver_all() == ["r@b.example"]


def test_a_release_ends_the_sweep_of_its_hold(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mta.queues.sweeper.SLICE", 3)
    monkeypatch.setattr("mta.queues.sweeper.FEW", 2)
    desk = make(lane_items=4)
    messages = [desk.accept(f"r{n}@b.example") for n in range(20)]
    hold = desk.act(Verb.HOLD, all=True)
    desk.sweep(hold, steps=3)
    release = desk.act(Verb.RELEASE, all=True)
    desk.sweep(hold, release)
    desk.retire(release)
    assert len(desk.deliver_all()) == 20
    assert all(desk.where(message) is None for message in messages)
    assert desk.bench.shard.cursors() == {}


def test_what_a_hold_reached_in_flight_is_free_if_that_was_released_meanwhile(desk: Desk) -> None:
    message = desk.accept("r@b.example")
    parcel = desk.take()
    hold = desk.act(Verb.HOLD, all=True)
    desk.sweep(hold, steps=20)
    release = desk.act(Verb.RELEASE, all=True)
    desk.sweep(release)
    desk.end(parcel, LATER)
    assert desk.where(message) == Where.DUE


def test_a_release_frees_nothing_whose_site_is_held_and_unknown_now(desk: Desk) -> None:
    message = desk.accept("r@b.example")
    first = held_by(desk, domain="b.example")
    held_by(desk, site="b.example")
    desk.unknown["b.example"] = []  # its DNS answer has had its time
    desk.restart()
    release = desk.release(first)
    desk.sweep(release)
    desk.retire(release)
    desk.run(1)
    desk.answer("b.example") if desk.unknown["b.example"] else desk.unknown.clear()
    desk.run(1)
    assert desk.where(message) == Where.HELD and desk.take() is None


def test_a_count_goes_on_after_a_restart(desk: Desk) -> None:
    desk.accept("a@b.example")
    parcel = desk.take()
    desk.accept("b@b.example", "c@b.example")
    act = desk.act(Verb.DELETE, all=True)
    desk.sweep(act, steps=50)
    desk.bench.commit()
    assert desk.swept == [] and parcel is not None
    desk.restart()
    desk.run(1)
    desk.sweep(act)
    assert desk.touched[act.sequence] == 3
    assert desk.ends() == {"Removed": 3}


def test_a_hold_counts_what_it_covers_and_other_acts_what_they_change(desk: Desk) -> None:
    desk.accept("a@b.example", "b@b.example")
    holds = held_by(desk, tenant="*"), held_by(desk, domain="b.example")
    assert [desk.touched[hold.sequence] for hold in holds] == [2, 2]
    delete = desk.act(Verb.DELETE, recipient="a@*")
    desk.sweep(delete)
    assert desk.touched[delete.sequence] == 1


def test_a_hold_by_site_holds_mail_whose_site_was_not_known_yet(desk: Desk) -> None:
    hold = desk.act(Verb.HOLD, site="b.example")
    desk.sweep()
    desk.retire(hold)
    desk.unknown["b.example"] = []
    message = desk.accept("r@b.example")
    assert desk.where(message) == Where.FRESH
    desk.answer("b.example")
    assert desk.where(message) == Where.HELD and desk.take() is None


def test_later_mail_is_not_deleted(desk: Desk) -> None:
    act = desk.act(Verb.DELETE, all=True)
    message = desk.accept("r@b.example")
    desk.sweep(act)
    assert desk.where(message) == Where.FRESH


def test_mail_to_the_null_sender_can_be_selected(desk: Desk) -> None:
    desk.accept("a@b.example", sender="")
    kept = desk.accept("b@b.example")
    desk.act(Verb.DELETE, sender="<>")
    desk.sweep()
    assert desk.ends() == {"Removed": 1} and desk.where(kept) is not None


def test_what_waits_for_its_commit_is_judged_once(desk: Desk) -> None:
    message = desk.submit("r@b.example", "x@c.example")
    desk.act(Verb.DELETE, all=True)
    desk.sweep(steps=3)  # its rows are visible already
    assert message.id in desk.manager.arriving
    desk.run(1)
    assert desk.ends() == {"Removed": 2}


@pytest.mark.parametrize("routed", [True, False])
def test_what_a_flush_left_behind_in_its_lane_obeys_nothing(desk: Desk, routed: bool) -> None:
    message = desk.accept("r1@b.example", "r2@b.example")
    held = desk.take() if routed else None  # its parcel, with another recipient in flight
    if held is not None:
        desk.end(held, LATER)
        desk.run(61)
    else:
        desk.unknown["c.example"] = []
        message = desk.accept("r1@c.example")
    flush = desk.act(Verb.FLUSH, all=True)
    for recipient in list(desk.manager.memory.values()):  # due, but still in a lane
        desk.manager.shift(recipient, Where.DUE)
    desk.retire(flush)
    desk.run(1)  # read again
    assert desk.manager.memory
    desk.act(Verb.DELETE, all=True)
    desk.sweep()
    if not routed:
        desk.answer("c.example")
    assert desk.take() is None
    assert desk.where(message) is None
    desk.ends()


# ---------------------------------------------------------------------- crashes


@pytest.mark.parametrize("verb", [Verb.DELETE, Verb.BOUNCE, Verb.HOLD, Verb.REROUTE])
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 13])
def test_an_act_survives_a_crash_in_mid_sweep(
    make: Make, monkeypatch: pytest.MonkeyPatch, verb: Verb, steps: int
) -> None:
    monkeypatch.setattr("mta.queues.sweeper.SLICE", 3)
    monkeypatch.setattr("mta.queues.sweeper.FEW", 2)
    desk = make(lane_items=4)
    messages = [desk.accept(f"r{n}@b.example", f"x{n}@c.example") for n in range(20)]
    for parcel in [desk.take() for _ in range(3)]:
        desk.end(parcel, LATER)
    act = desk.act(verb, next_hop="d.example", domain="b.example")
    desk.sweep(steps=steps)
    crash(desk)
    desk.sweep(act)
    desk.retire(act)
    crash(desk)  # what was swept is durable
    if verb is Verb.HOLD:
        assert [desk.where(m) for m in messages] == [Where.HELD] * 20
        assert desk.ends() == {}
    elif verb is Verb.REROUTE:
        kept = [desk.bench.shard.get(m.id, 0) for m in messages]
        assert [r.route for r in kept if r] == ["d.example"] * 20
    else:
        assert [desk.where(m) for m in messages] == [None] * 20
        name = "Removed" if verb is Verb.DELETE else "AdminBounce"
        assert desk.ends() == {name: 20}
    assert all(desk.where(m, 1) is not None for m in messages)


def crash(desk: Desk) -> None:
    """End a run without its last commit, and begin another on what is on the disk."""
    lines = desk.log.frames
    desk.loader.stop()
    store = desk.bench.shard._store
    desk.bench.shard._cycle.closed = True
    store.close()
    desk.log.frames = lines
    desk.start()


def test_an_act_is_in_force_until_what_was_in_flight_has_come_back(desk: Desk) -> None:
    message = desk.accept("r@b.example")
    parcel = desk.take()
    act = desk.act(Verb.DELETE, all=True)
    desk.sweep(act, steps=50)
    assert desk.swept == []
    desk.end(parcel, AGAIN)
    assert desk.where(message) is None
    desk.sweep(act)
    assert desk.swept == [act.sequence] and desk.ends() == {"Removed": 1}
