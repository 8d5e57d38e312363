"""Recipients whose content was not read: they wait without an attempt, or end in one Bounce."""

from __future__ import annotations

from typing import NoReturn

import pytest

from mta.errors import SpoolError
from mta.model import Where
from mta.queues import ends
from mta.queues.unread import settle
from mta.spool import Gone, Unreadable
from mta.spool.unread import AGAIN
from tests.unit.queues.desk import LATER, OK, Desk

BROKEN, GONE = Unreadable("Input/output error", 4.0), Gone("its hash is wrong")


def test_what_cannot_be_read_waits_and_costs_no_attempt(desk: Desk) -> None:
    message = desk.accept("a@b.example", "c@b.example")
    parcel = desk.take()
    assert parcel is not None
    settle(desk.manager, parcel, BROKEN)
    desk.run(3.5)
    assert desk.take() is None
    assert desk.where(message) == Where.DUE
    desk.run(1)
    parcel = desk.take()
    assert parcel is not None
    assert [r.attempts for r in parcel.recipients] == [0, 0]
    desk.end(parcel, OK)
    assert desk.ends() == {"Delivery": 2}
    assert [r["type"] for r in desk.records()] == ["Reception", "Delivery", "Delivery"]
    assert desk.manager.counters.deferred == 0


def test_what_cannot_be_read_expires_in_time_and_its_sender_is_told(desk: Desk) -> None:
    desk.dsns = True
    desk.accept("a@b.example")
    for _ in range(3600 // 100 + 2):
        if (parcel := desk.take()) is not None:
            settle(desk.manager, parcel, Unreadable("Input/output error", 120.0))
        desk.clock.advance(99)
        desk.run(1)
    assert desk.ends() == {"Expiration": 1}
    assert desk.told == [("failed", "a@b.example")]


def test_what_cannot_be_read_waits_over_a_restart(desk: Desk) -> None:
    desk.accept("a@b.example")
    parcel = desk.take()
    assert parcel is not None
    settle(desk.manager, parcel, BROKEN)
    desk.restart()
    desk.run(5)
    assert desk.deliver_all() == ["a@b.example"]


def test_what_is_gone_ends_in_a_bounce_and_a_dsn(desk: Desk) -> None:
    desk.dsns = True
    desk.accept("a@b.example", "c@b.example", "x@other.example")
    parcel = desk.take()
    assert parcel is not None
    settle(desk.manager, parcel, GONE)
    assert desk.ends() == {"Bounce": 2}
    assert desk.told == [("failed", "a@b.example"), ("failed", "c@b.example")]
    (bounce, _) = (r for r in desk.records() if r["type"] == "Bounce")
    assert (bounce["enhanced"], bounce["command"]) == ("5.3.0", "content")
    assert bounce["text"] == "the stored content was damaged"
    assert "attempts" not in bounce
    settle(desk.manager, parcel, GONE)  # they have ended: nothing is said twice
    settle(desk.manager, parcel, BROKEN)
    assert desk.ends() == {"Bounce": 2}
    assert desk.deliver_all("other.example") == ["x@other.example"]


def test_of_a_bounce_that_is_gone_nobody_is_told(desk: Desk) -> None:
    desk.dsns = True
    desk.manager.ports.bury = lambda *what: pytest.fail("there is nothing to bury")
    desk.accept("a@b.example", sender="")
    parcel = desk.take()
    assert parcel is not None
    settle(desk.manager, parcel, GONE)
    assert desk.ends() == {"Bounce": 1}
    assert desk.told == []


def test_recipients_that_ended_while_their_content_was_read_are_let_alone(desk: Desk) -> None:
    desk.accept("a@b.example", "c@b.example")
    parcel = desk.take()
    assert parcel is not None
    first = parcel.recipients[0]
    first.flying = False
    ends.remove(desk.manager, first, "an operator's")
    settle(desk.manager, parcel, GONE)
    assert desk.ends() == {"Removed": 1, "Bounce": 1}


def test_one_that_was_deferred_before_keeps_its_attempts(desk: Desk) -> None:
    desk.accept("a@b.example")
    desk.end(desk.take(), LATER)
    desk.run(61)
    parcel = desk.take()
    assert parcel is not None
    settle(desk.manager, parcel, BROKEN)
    desk.run(5)
    parcel = desk.take()
    assert parcel is not None
    assert parcel.recipients[0].attempts == 1


def test_what_has_an_unreadable_record_comes_in_when_it_can_be_read(desk: Desk) -> None:
    desk.accept("a@b.example")
    parcel = desk.take()
    assert parcel is not None
    settle(desk.manager, parcel, BROKEN)
    desk.run(1)
    store = desk.bench.shard._store
    get, get_many = store.get, store.get_many

    def fails(*wanted: object) -> NoReturn:
        raise SpoolError("Input/output error")

    store.get = store.get_many = fails  # type: ignore[method-assign]
    desk.run(5)
    assert desk.take() is None
    store.get, store.get_many = get, get_many  # type: ignore[method-assign]
    desk.run(AGAIN + 1)
    assert desk.deliver_all() == ["a@b.example"]
    assert desk.ends() == {"Delivery": 1}
