"""The clock is set to and fro, and time is missed: attempts, expiry, acts and marks follow."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from mta.model import Message, Notify, Recipient, Where, Wish
from mta.queues import timekeeper
from mta.queues.acts import Verb
from mta.queues.retry import RetryPolicy
from tests.unit.queues.desk import LATER, OK, POLICY, Desk

Make = Callable[..., Desk]

HOUR, DAY = 3600.0, 86_400.0
LONG = RetryPolicy((60.0, 7200.0), 0.0, 5 * DAY)


def us(seconds: float) -> int:
    return round(seconds * 1_000_000)


def waits(desk: Desk) -> list[float]:
    """Seconds until each recipient that is put off is due; what is in memory is due now."""
    now = desk.clock.wall_us()
    put_off = (r for r in desk.queued() if r.where == Where.DUE and desk.manager.absent(r))
    return sorted((r.due_us - now) / 1e6 for r in put_off)


def put_off(desk: Desk, count: int = 1) -> list[Message]:
    """Messages whose first attempt has failed."""
    messages = [desk.accept(f"r{number}@b.example") for number in range(count)]
    while (parcel := desk.take()) is not None:
        desk.end(parcel, LATER)
    desk.bench.commit()
    return messages


def attempts_when_due(desk: Desk, seconds: float) -> int:
    """How many recipients get an attempt, which fails, within so many seconds."""
    count = 0
    for _ in range(round(seconds / 2)):
        desk.run(2, 0.5)
        while (parcel := desk.take()) is not None:
            count += len(parcel.recipients)
            desk.end(parcel, LATER)
    return count


# -- set back


def test_a_day_forward_and_back(desk: Desk) -> None:
    before = put_off(desk, 3)
    desk.clock.step(DAY)
    desk.run(2)  # those are due by the clock, and new mail comes
    meanwhile = put_off(desk, 3)
    assert len(waits(desk)) == 6
    desk.clock.step(-DAY)
    desk.run(2)
    assert all(0 <= wait <= 60 for wait in waits(desk))
    assert attempts_when_due(desk, 62) == 6
    put_off(desk, 1)  # nothing that comes later is pushed behind a mark of that day
    assert all(0 <= wait <= 60 for wait in waits(desk))
    for message in before + meanwhile:
        assert desk.where(message) == Where.DUE
    assert desk.said == ["the clock was set back: 6 next attempts follow it"]
    desk.run(61)
    assert len(desk.deliver_all()) == 7
    assert desk.ends() == {"Delivery": 7}


def test_what_was_to_wait_for_a_while_waits_as_long(make: Make) -> None:
    desk = make(retries={"": LONG})
    desk.clock.step(DAY)
    desk.run(2)
    put_off(desk)
    desk.run(61)
    desk.end(desk.take(), LATER)  # the next attempt is in two hours
    desk.run(HOUR, 5)
    desk.clock.step(-DAY)
    desk.run(2)
    assert waits(desk) == [pytest.approx(HOUR, abs=5)]


def test_what_is_due_within_its_policy_is_not_brought_into_the_past(make: Make) -> None:
    desk = make(retries={"": LONG})
    put_off(desk)
    desk.run(61)
    desk.end(desk.take(), LATER)
    desk.bench.commit()
    desk.clock.step(-HOUR)  # the rest of the two hours stays two hours
    desk.run(2)
    assert waits(desk) == [pytest.approx(7200, abs=5)]
    desk.clock.step(-10 * DAY)
    desk.run(2)
    assert waits(desk) == [pytest.approx(7200, abs=5)]


def test_a_release_that_a_client_asked_for_stays(desk: Desk) -> None:
    release = desk.clock.wall_us() + us(2 * DAY)
    message = desk.accept("r@b.example", release_us=release)
    desk.clock.step(DAY)
    desk.run(2)
    desk.clock.step(-DAY)
    desk.run(2)
    [recipient] = desk.queued()
    assert recipient.due_us == release
    assert recipient.expires_us == release + POLICY.max_age_us
    desk.restart()
    desk.run(2)
    assert desk.queued()[0].due_us == release
    desk.clock.advance(2 * DAY)
    desk.run(1)
    assert desk.deliver_all() == ["r@b.example"]
    assert desk.where(message) is None


def test_who_was_flushed_before_the_release_waits_no_longer_than_others(desk: Desk) -> None:
    desk.accept("r@b.example", release_us=desk.clock.wall_us() + us(2 * DAY))
    act = desk.act(Verb.FLUSH, all=True)
    desk.sweep()
    desk.retire(act)
    desk.run(1)
    desk.end(desk.take(), LATER)
    desk.clock.step(HOUR)
    assert attempts_when_due(desk, 4) == 1
    desk.clock.step(-HOUR)
    desk.run(2)
    assert [0 <= wait <= 60 for wait in waits(desk)] == [True]


def test_flush_moves_all_mail_of_the_day_that_was_none(desk: Desk) -> None:
    put_off(desk, 2)
    desk.clock.step(DAY)
    desk.run(2)
    put_off(desk, 3)
    desk.clock.step(-DAY)
    desk.run(2)
    act = desk.act(Verb.FLUSH, all=True)
    desk.sweep()
    desk.retire(act)
    desk.run(1)
    assert len(desk.deliver_all()) == 5


def test_an_act_of_the_future_spares_the_mail_that_comes_later(desk: Desk) -> None:
    desk.clock.step(DAY)
    desk.run(2)
    put_off(desk, 2)
    act = desk.act(Verb.DELETE, all=True)
    desk.clock.step(-DAY)
    desk.run(2)
    later = desk.accept("later@b.example")
    desk.sweep()
    desk.retire(act)
    assert desk.where(later) == Where.FRESH
    assert desk.ends() == {"Removed": 2}


def test_what_an_act_covers_outlives_a_crash(desk: Desk) -> None:
    put_off(desk, 1)
    act = desk.act(Verb.DELETE, all=True)
    later = desk.accept("later@b.example")
    desk.restart(clean=False)
    desk.sweep(act)
    desk.run(1)
    assert desk.where(later) is not None
    desk.restart()  # swept here, but not by all workers
    desk.sweep(act)
    assert desk.where(later) is not None
    desk.retire(act)
    desk.bench.commit()
    assert desk.bench.shard.covered() == {}
    assert desk.ends() == {"Removed": 1}


def test_ids_rise_and_young_mail_is_kept(desk: Desk) -> None:
    ids = [desk.accept("a@b.example").id]
    desk.clock.step(DAY)
    ids += [desk.accept("a@b.example").id for _ in range(3)]
    desk.clock.step(-DAY)
    ids += [desk.accept("a@b.example").id for _ in range(500)]
    assert ids == sorted(set(ids))
    desk.restart(clean=False)
    assert desk.accept("a@b.example").id > ids[-1]
    desk.run(2)
    assert len(desk.queued()) == 505


def test_a_backlog_of_the_future_is_not_overtaken(make: Make) -> None:
    desk = make(lane_items=4)
    desk.clock.step(DAY)
    desk.run(2)
    for number in range(12):
        desk.accept(f"old{number}@b.example")
    desk.clock.step(-DAY)
    desk.run(2)
    for number in range(12):
        desk.accept(f"new{number}@b.example")
    order = desk.deliver_all()
    assert len(order) == 24
    assert max(map(order.index, (f"old{n}@b.example" for n in range(12)))) < 16


def test_mail_of_the_future_expires_by_its_age(desk: Desk) -> None:
    desk.accept("before@b.example")
    desk.clock.step(DAY)
    desk.run(2)
    desk.accept("meanwhile@b.example")
    desk.run(2)
    desk.clock.step(-DAY)
    desk.run(2)
    now = desk.clock.wall_us()
    assert all(r.expires_us <= now + POLICY.max_age_us for r in desk.queued())
    for recipient in desk.manager.memory.values():
        assert recipient.expires_us <= now + POLICY.max_age_us
    desk.restart()
    assert all(r.expires_us <= now + POLICY.max_age_us for r in desk.queued())
    desk.run(4400, 5)
    assert desk.ends() == {"Expiration": 2}


def test_set_back_while_the_server_is_down(desk: Desk) -> None:
    desk.clock.step(DAY)
    put_off(desk, 3)
    desk.run(70)
    put_off(desk, 3)
    desk.restart(away=-DAY)
    desk.run(1)
    assert all(0 <= wait <= 60 for wait in waits(desk))
    assert attempts_when_due(desk, 62) == 6


def test_killed_in_the_middle_of_a_pass(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.clock.step(DAY)
    desk.run(2)
    put_off(desk, 9)
    desk.clock.step(-DAY)
    attempt = timekeeper.Pass._attempt

    def four(one: timekeeper.Pass, recipient: Recipient) -> None:
        if one._count < 4:
            attempt(one, recipient)

    with monkeypatch.context() as patched:
        patched.setattr(timekeeper.Pass, "_attempt", four)
        desk.run(2)
    assert sum(wait > 60 for wait in waits(desk)) == 5
    desk.restart(clean=False)
    desk.run(1)
    assert all(0 <= wait <= 60 for wait in waits(desk))
    assert len(waits(desk)) == 9


def test_the_database_is_reopened_in_the_middle_of_a_pass(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.clock.step(DAY)
    desk.run(2)
    put_off(desk, 9)
    desk.clock.step(-DAY)
    monkeypatch.setattr(timekeeper, "SLICE", 2)
    attempt, reopened = timekeeper.Pass._attempt, list[bool]()

    def reopening(one: timekeeper.Pass, recipient: Recipient) -> None:
        attempt(one, recipient)
        if not reopened:
            desk.bench.shard._store.reopen()
            reopened.append(True)

    monkeypatch.setattr(timekeeper.Pass, "_attempt", reopening)
    desk.run(5)
    assert reopened
    assert all(0 <= wait <= 60 for wait in waits(desk))
    assert len(waits(desk)) == 9


def test_set_back_twice_brings_nothing_into_the_past(make: Make) -> None:
    desk = make(retries={"": LONG})
    desk.clock.step(DAY)
    desk.run(2)
    put_off(desk, 40)
    desk.run(61)
    while (parcel := desk.take()) is not None:
        desk.end(parcel, LATER)
    desk.clock.step(-DAY / 2)
    desk.timekeeper._tick()
    desk.clock.step(-DAY / 2)
    desk.timekeeper._tick()
    desk.run(2)
    assert all(7000 <= wait <= 7200 for wait in waits(desk))


# -- set forward, or missed


def test_nothing_expires_because_the_clock_was_a_day_ahead(desk: Desk) -> None:
    waiting = put_off(desk, 2) + [desk.accept("ready@b.example")]
    desk.clock.step(DAY)
    desk.run(60)
    assert attempts_when_due(desk, 60) >= 3  # as any other mail
    assert desk.ends() == {}
    desk.clock.step(-DAY)
    desk.run(2)
    assert all(desk.where(message) is not None for message in waiting)
    assert all(0 <= wait <= 60 for wait in waits(desk))
    desk.run(61)
    assert len(desk.deliver_all()) == 3


@pytest.mark.parametrize("away", [None, 60.0])
def test_a_clock_set_right_takes_no_life_from_mail(desk: Desk, away: float | None) -> None:
    """Its clock was a week behind: what came before and meanwhile lives on by its true age."""
    desk.accept("before@b.example")
    desk.run(70)
    if away is None:
        desk.clock.step(-7 * DAY)
    else:
        desk.restart(away=away - 7 * DAY)
    desk.run(2)
    desk.accept("meanwhile@b.example")
    desk.run(2)
    desk.clock.step(7 * DAY)
    desk.timekeeper._tick()
    desk.run(2)
    desk.accept("after@b.example")
    now = desk.clock.wall_us()
    for recipient in [*desk.queued(), *desk.manager.memory.values()]:
        left = (recipient.expires_us - now) / 1e6
        assert POLICY.max_age - 100 <= left <= POLICY.max_age + 5
    desk.restart()
    desk.run(POLICY.max_age - 200, 5)
    assert desk.ends() == {}
    desk.run(800, 5)
    assert desk.ends() == {"Expiration": 3}


def test_an_interrupted_pass_gives_nobody_the_step_twice(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timekeeper, "SLICE", 2)
    monkeypatch.setattr(timekeeper, "TURN", 0.0)
    for number in range(9):
        desk.accept(f"r{number}@b.example")
        desk.run(25, 5)
    ends = [recipient.expires_us + us(90) for recipient in desk.queued()]
    desk.clock.step(90)  # shorter than what lies between the first and the last
    desk.timekeeper._tick()
    while desk.timekeeper._passes[-1].under_way:
        desk.run(0.001, 0.001)
        desk.timekeeper._passes[-1]._interrupt()
    desk.bench.commit()
    assert sorted(r.expires_us for r in desk.queued()) == sorted(ends)


def test_to_and_fro_adds_no_life_for_ever(desk: Desk) -> None:
    message = desk.accept("r@b.example")
    for _ in range(5):
        desk.clock.step(DAY)
        desk.timekeeper._tick()
        desk.run(2)
        desk.clock.step(-DAY)
        desk.timekeeper._tick()
        desk.run(2)
    [recipient] = desk.queued()
    assert recipient.expires_us == message.received_us + POLICY.max_age_us


def test_a_release_that_was_asked_for_is_no_later_for_a_clock_set_forward(desk: Desk) -> None:
    release = desk.clock.wall_us() + us(2 * DAY)
    desk.accept("r@b.example", release_us=release)
    desk.clock.step(DAY)
    desk.run(2)
    [recipient] = desk.queued()
    assert (recipient.due_us, recipient.expires_us) == (release, release + POLICY.max_age_us)


def test_after_a_week_everything_is_tried_once_more(desk: Desk) -> None:
    good, bad = put_off(desk, 2)
    ready = desk.accept("ready@b.example")
    desk.clock.miss(7 * DAY)
    desk.run(2)
    while (parcel := desk.take()) is not None:
        desk.end(parcel, LATER if parcel.message.id == bad.id else OK)
    assert desk.ends() == {"Delivery": 2}
    desk.run(POLICY.max_age / 10 + 2, 1)
    assert desk.ends() == {"Delivery": 2, "Expiration": 1}
    assert desk.where(good) is desk.where(ready) is desk.where(bad) is None


def test_after_a_week_without_the_server_everything_is_tried_once_more(desk: Desk) -> None:
    good, bad = put_off(desk, 2)
    desk.run(70)  # noted as alive
    desk.restart(away=7 * DAY)
    desk.run(2)
    assert desk.ends() == {}
    while (parcel := desk.take()) is not None:
        desk.end(parcel, OK if parcel.message.id == good.id else LATER)
    desk.run(POLICY.max_age / 10 + 2, 1)
    assert desk.ends() == {"Delivery": 1, "Expiration": 1}


def test_a_grace_is_given_once(desk: Desk) -> None:
    put_off(desk)
    desk.run(70)
    desk.restart(away=7 * DAY)
    attempts_when_due(desk, 65)
    assert desk.ends() == {}
    desk.restart()  # in the middle of its grace
    desk.run(2)
    assert desk.ends() == {"Expiration": 1}


def test_short_gaps_make_no_grace_longer(desk: Desk) -> None:
    put_off(desk)
    desk.clock.miss(7 * DAY)
    desk.run(2)
    for _ in range(round(POLICY.max_age / 10 / 30) + 1):
        attempts_when_due(desk, 20)
        desk.clock.miss(15)
    desk.run(2)
    assert desk.ends() == {"Expiration": 1}


def test_held_mail_expires_when_the_grace_is_over(desk: Desk) -> None:
    message = desk.accept("r@b.example")
    act = desk.act(Verb.HOLD, all=True)
    desk.sweep()
    desk.retire(act)
    desk.clock.miss(7 * DAY)
    desk.run(2)
    assert desk.where(message) == Where.HELD
    desk.run(POLICY.max_age / 10 + 2, 1)
    assert desk.ends() == {"Expiration": 1}


def test_a_clock_set_forward_is_no_delay_to_tell_of(make: Make) -> None:
    desk = make(delay_after=600.0, retries={"": RetryPolicy((60.0,), 0.0, 5 * DAY)})
    desk.dsns, desk.wishes = True, {0: Wish(int(Notify.DELAY))}
    put_off(desk)
    desk.clock.step(DAY)
    desk.run(2)
    desk.end(desk.take(), LATER)
    assert desk.told == []
    desk.clock.step(-DAY)
    attempts_when_due(desk, 700)
    assert desk.told == [("delayed", "r0@b.example")]


# -- at random


@pytest.mark.parametrize("seed", range(6))
def test_the_clock_at_random(make: Make, seed: int) -> None:
    """However it is set: nothing is lost, doubled, or due later than its policy allows."""
    chance = random.Random(seed)
    policy = RetryPolicy((30.0, 120.0, 600.0), 0.1, 3 * DAY)
    desk = make(retries={"": policy}, lane_items=8)
    accepted, delivered = 0, 0
    for _ in range(60):
        event = chance.random()
        if event < 0.4:
            for _ in range(chance.randrange(4)):
                desk.submit(f"r{accepted}@b.example")
                accepted += 1
        elif event < 0.6:
            desk.clock.step(chance.choice([-1, 1]) * chance.choice([5, 300, HOUR, DAY]))
        elif event < 0.65:
            desk.clock.miss(chance.choice([60, HOUR]))
        elif event < 0.75:
            desk.restart(away=chance.choice([0, 0, 60, HOUR, -HOUR]))
        desk.run(*chance.choice([(0.1, 0.05), (2, 0.25), (90, 5)]))
        while (parcel := desk.take()) is not None:
            good = chance.random() < 0.2
            delivered += good
            desk.end(parcel, OK if good else LATER)
    desk.restart(away=-10 * DAY)
    desk.run(3)
    late = [wait for wait in waits(desk) if wait > policy.longest]
    assert late == []
    left = [(r.message.id, r.number) for r in desk.queued()]
    assert len(set(left)) == len(left) == accepted - delivered - desk.ends()["Expiration"]
    desk.run(policy.longest + 5, 5)
    while (parcel := desk.take()) is not None:
        desk.end(parcel, OK)
        desk.run(0.1)
    desk.run(2)
    assert _rest(desk) == []
    assert sum(desk.ends().values()) == accepted


def _rest(desk: Desk) -> list[Recipient]:
    for _ in range(100):
        if not desk.queued():
            break
        desk.deliver_all(rounds=1)
        desk.run(120, 5)
    return desk.queued()
