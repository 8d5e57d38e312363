"""The queue manager on a real shard: lanes, backlog, expiry, bodies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from mta.errors import SpoolBusyError
from mta.model import Class, Where
from mta.queues import ends, loader
from mta.queues.acts import Verb
from mta.queues.views import Views
from tests.unit.queues.desk import AGAIN, LATER, NEVER, OK, Desk

Make = Callable[..., Desk]


def addresses(count: int, prefix: str = "r", domain: str = "b.example") -> list[str]:
    return [f"{prefix}{number}@{domain}" for number in range(count)]


def test_what_finds_its_lane_full_waits_in_the_backlog_and_leaves_in_order(make: Make) -> None:
    desk = make(lane_items=8)
    given = addresses(100)
    states = [desk.where(desk.accept(address)) for address in given]
    assert states == [Where.FRESH] * 8 + [Where.BACKLOG] * 92
    assert desk.deliver_all() == given
    assert desk.ends() == {"Delivery": 100}
    assert desk.manager.memory == {} and desk.queued() == []


def test_no_more_is_in_memory_than_allowed(make: Make) -> None:
    desk = make(lane_items=1000, memory_items=20)
    for address in addresses(60):
        desk.accept(address)
        desk.run(0.1)
        assert len(desk.manager.memory) <= 18  # class normal gets nine tenths
    assert sorted(desk.deliver_all()) == sorted(addresses(60))


def test_a_message_of_more_recipients_than_memory_takes_is_sent_in_parts(make: Make) -> None:
    desk = make(lane_items=1000, memory_items=20, per_transaction=5)
    desk.accept(*addresses(100))
    assert sorted(desk.deliver_all()) == sorted(addresses(100))
    assert desk.ends() == {"Delivery": 100}


def test_new_mail_does_not_overtake_the_backlog_for_ever(make: Make) -> None:
    desk = make(lane_items=16)
    old = addresses(64, "old")
    for address in old:
        desk.accept(address)
    left: list[str] = []
    for number in range(400):  # as much comes in as goes out
        desk.accept(f"new{number}@b.example")
        parcel = desk.take()
        left += [r.address for r in parcel.recipients] if parcel else []
        desk.end(parcel, OK)
        desk.run(0.05)
    assert set(old) <= set(left[:150])


@pytest.mark.parametrize("clean", [True, False])
def test_a_restart_reads_everything_once(make: Make, clean: bool) -> None:
    desk = make(lane_items=4)
    given = addresses(50)
    for address in given[:40]:
        desk.accept(address)
    first, second = desk.take(), desk.take()
    desk.end(first, OK)
    desk.end(second, LATER)
    desk.restart(clean=clean)
    for address in given[40:]:
        desk.accept(address)
    desk.run(61)
    rest = desk.deliver_all()
    assert Counter(rest) == Counter(given[1:])
    assert desk.ends() == {"Delivery": 50}


def test_a_deferred_recipient_is_due_after_its_delay(desk: Desk) -> None:
    message = desk.accept("r@b.example")
    desk.end(desk.take(), LATER)
    desk.run(59)
    assert desk.where(message) == Where.DUE and desk.take() is None
    desk.run(2)
    parcel = desk.take()
    assert parcel is not None and parcel.recipients[0].attempts == 1


def test_bulk_leaves_room_for_receipts(make: Make) -> None:
    desk = make(lane_items=1000, memory_items=100)
    for address in addresses(300, "bulk"):
        desk.accept(address, klass=Class.BULK)
    assert len(desk.manager.memory) == 80
    receipt = desk.accept("receipt@b.example", klass=Class.TRANSACTIONAL)
    assert desk.where(receipt) == Where.FRESH
    parcel = desk.take()
    assert parcel is not None and parcel.message is receipt


def test_a_receipt_of_the_last_run_leaves_soon_after_a_restart(make: Make) -> None:
    desk = make(lane_items=50, memory_items=200)
    for address in addresses(1000, "bulk"):
        desk.accept(address, klass=Class.BULK)
    desk.accept("receipt@b.example", klass=Class.TRANSACTIONAL)
    desk.restart()
    desk.run(1)
    taken = [desk.take() for _ in range(3)]
    assert "receipt@b.example" in [p.recipients[0].address for p in taken if p]


def test_tenants_of_the_backlog_share(make: Make) -> None:
    desk = make(lane_items=20, memory_items=60)
    for tenant in ("big", "big", "big", "small"):
        for address in addresses(50, tenant):
            desk.accept(address, tenant=tenant, size=60_000)
    desk.restart()
    desk.run(1)
    order = [a[:3] for a in desk.deliver_all()]
    assert order[:40].count("sma") >= 15


def test_more_lanes_than_are_known_are_found_again(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "KNOWN_LANES", 4)
    desk = make(lane_items=1)
    given = [f"r{n}@{c}.example" for c in "abcdefghij" for n in range(3)]
    for address in given:
        desk.accept(address)
    left: list[str] = []
    for _ in range(40):
        for domain in "abcdefghij":
            while (parcel := desk.take(f"{domain}.example")) is not None:
                left += [r.address for r in parcel.recipients]
                desk.end(parcel, OK)
        desk.run(0.1)
    assert Counter(left) == Counter(given)


def test_a_backlog_slice_of_obsolete_rows_does_not_hide_the_rest(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "SLICE", 4)
    desk = make(lane_items=4)
    messages = [desk.accept(address) for address in addresses(20)]
    for message in messages[4:12]:  # the frame that takes their rows away is not written yet
        recipient = desk.bench.shard.get(message.id, 0)
        assert recipient is not None
        ends.remove(desk.manager, recipient, "gone")
    while (parcel := desk.take()) is not None:
        desk.end(parcel, OK)
    for _ in range(5):
        desk.loader.run_once()
    assert desk.deliver_all() == addresses(20)[12:]


def test_mail_for_an_unknown_route_is_bounded_too(make: Make) -> None:
    desk = make(lane_items=5)
    desk.unknown["b.example"] = []
    for address in addresses(30):
        desk.accept(address, sender=f"s{address}")
    desk.run(3)
    assert len(desk.manager.memory) == 5 and len(desk.unknown["b.example"]) == 5
    commits = desk.bench.shard.stats().commits
    desk.run(1)
    assert desk.bench.shard.stats().commits == commits  # nothing is moved to and fro
    desk.answer("b.example")
    assert desk.manager.unrouted.count("b.example") == 0
    assert sorted(desk.deliver_all()) == sorted(addresses(30))


# ---------------------------------------------------------------------- expiry


@pytest.mark.parametrize("state", ["fresh", "ready", "due", "backlog", "held", "unrouted"])
def test_expiry_holds_in_every_state(make: Make, state: str) -> None:
    desk = make(lane_items=1 if state == "backlog" else 10)
    desk.dsns = True
    if state == "unrouted":
        desk.unknown["b.example"] = []
    if state == "backlog":
        desk.accept("first@b.example", sender="")
    message = desk.accept("r@b.example", sender="s@a.example")
    if state == "due":
        for _ in range(3):
            desk.end(desk.take(), LATER)
            desk.run(61)
    elif state == "held":
        desk.act(Verb.HOLD, all=True)
        desk.sweep()
        assert desk.where(message) == Where.HELD
    elif state == "fresh":
        desk.restart()
    desk.run(1)
    desk.clock.advance(3600)
    desk.run(3)
    assert desk.where(message) is None
    ended = [r for r in desk.records() if r["type"] == "Expiration" and r["sender"]]
    assert [r["recipient"] for r in ended] == ["r@b.example"]
    [dsn] = [r for r in desk.records() if r.get("recipients") == ["s@a.example"]]
    assert dsn["sender"] == ""
    desk.ends()


@pytest.mark.parametrize(
    ("outcome", "end"), [(OK, "Delivery"), (NEVER, "Bounce"), (LATER, "Expiration")]
)
def test_in_flight_the_outcome_decides_before_the_age(
    desk: Desk, outcome: object, end: str
) -> None:
    desk.accept("r@b.example")
    parcel = desk.take()
    desk.clock.advance(4000)
    desk.run(2)
    assert desk.ends() == {}
    desk.end(parcel, outcome)  # type: ignore[arg-type]
    assert desk.ends() == {end: 1}


def test_unattempted_mail_that_got_too_old_in_flight_expires(desk: Desk) -> None:
    desk.accept("r@b.example")
    parcel = desk.take()
    desk.clock.advance(4000)
    desk.end(parcel, AGAIN)
    assert desk.ends() == {"Expiration": 1} and desk.take() is None


def test_an_expiration_without_an_attempt_names_the_last_site(desk: Desk) -> None:
    desk.accept("r@b.example")
    parcel = desk.take()
    desk.end(parcel, LATER)
    desk.run(1)
    desk.clock.advance(3600)
    desk.run(3)
    [record] = [r for r in desk.records() if r["type"] == "Expiration"]
    assert record["site"] == parcel.ready.name != ""


def test_an_expiration_after_an_attempt_names_its_site(desk: Desk) -> None:
    desk.accept("r@b.example")
    parcel = desk.take()
    desk.clock.advance(4000)
    desk.end(parcel, LATER)
    [record] = [r for r in desk.records() if r["type"] == "Expiration"]
    assert record["site"] == parcel.ready.name != ""


def test_rows_for_programs_speak_as_the_log_does(desk: Desk) -> None:
    desk.accept("r@b.example")
    views = Views(desk.manager, lambda recipient: "site")
    [recipient] = desk.queued()
    row = views.row(recipient)
    assert row["class"] == "normal" and not {"code", "enhanced", "text"} & row.keys()
    desk.end(desk.take(), LATER)
    [recipient] = desk.queued()
    row = views.row(recipient)
    assert (row["code"], row["text"]) == (recipient.code, recipient.text) != (0, "")


def test_mail_that_waits_for_its_commit_is_left_alone_by_expiry(make: Make) -> None:
    desk = make()
    message = desk.submit("r@b.example")
    recipient = desk.manager
    desk.clock.advance(4000)
    desk.loader.run_once()  # sees the row: it was written, not synced
    assert message.id in recipient.arriving
    desk.run(2)
    assert desk.ends() == {"Expiration": 1}


# ---------------------------------------------------------------------- bodies


def test_bodies_beyond_the_memory_share_are_dropped_once_they_are_stored(make: Make) -> None:
    desk = make(body_memory=1000)
    messages = [desk.accept(address, size=100) for address in addresses(20)]
    kept = [message for message in messages if message.body is not None]
    assert len(kept) == 7 and desk.manager.body_bytes == 700
    waiting = [desk.submit(address, size=100) for address in addresses(4, "w")]
    assert desk.manager.body_bytes > 1000  # what is not on the disk yet comes on top
    desk.bench.run()
    assert desk.manager.body_bytes == 700 and waiting[0].body is None


def test_a_body_that_comes_when_its_message_has_ended_is_not_kept(desk: Desk) -> None:
    message = desk.accept("r@b.example")
    desk.manager.forget_body(message)
    desk.end(desk.take(), OK)
    desk.manager.keep_body(message, b"x" * 10)
    assert desk.manager.body_bytes == 0 and message.body is None


def test_body_bytes_are_given_back_however_a_message_ends(desk: Desk) -> None:
    desk.dsns = True
    for number in range(20):
        desk.accept(f"r{number}@b.example", f"x{number}@c.example")
    for outcome in (OK, LATER, NEVER, AGAIN):
        desk.end(desk.take(), outcome)
    desk.act(Verb.DELETE, all=True)
    desk.sweep()
    desk.run(1)
    while (parcel := desk.take("a.example")) is not None:
        desk.end(parcel, OK)
    assert desk.manager.memory == {} and desk.manager.body_bytes == 0


def test_a_refused_message_leaves_nothing(desk: Desk) -> None:
    desk.bench.shard.require_free(1 << 62)
    desk.clock.advance(60)
    with pytest.raises(SpoolBusyError):
        desk.submit("r@b.example")
    assert not desk.manager.arriving and desk.manager.body_bytes == 0


# ---------------------------------------------------------------------- parcels


def test_recipients_of_one_site_leave_together_and_end_apart(desk: Desk) -> None:
    desk.accept("a@b.example", "x@c.example", "b@b.example", "c@b.example")
    parcel = desk.take()
    assert parcel is not None
    assert [r.address for r in parcel.recipients] == ["a@b.example", "b@b.example", "c@b.example"]
    desk.end(parcel, OK, NEVER, LATER)
    desk.end(desk.take("c.example"), OK)
    assert desk.ends() == {"Delivery": 2, "Bounce": 1}
    desk.run(61)
    desk.end(desk.take(), OK)
    assert desk.ends() == {"Delivery": 3, "Bounce": 1}


SHARED = {"b.example": "mx.example", "c.example": "mx.example"}
THREE = ("a@b.example", "b@c.example", "c@b.example")


def together(desk: Desk, site: str = "b.example") -> list[list[str]]:
    """The addresses of each transaction to a domain's site, each put off for a minute."""
    found = []
    while (parcel := desk.take(site)) is not None:
        found.append([recipient.address for recipient in parcel.recipients])
        desk.end(parcel, LATER)
    return found


def test_domains_of_one_mx_site_share_its_queue_but_no_transaction(desk: Desk) -> None:
    desk.sites = SHARED
    apart = [["a@b.example", "c@b.example"], ["b@c.example"]]
    desk.accept(*THREE)
    assert list(desk.manager.ready) == ["mx.example"]
    assert together(desk) == apart
    desk.run(61)
    assert sorted(together(desk)) == apart  # retried
    desk.restart()
    desk.run(61)
    assert sorted(together(desk)) == apart
    assert list(desk.manager.ready) == ["mx.example"]


def test_domains_of_one_site_share_transactions_where_that_is_allowed(make: Make) -> None:
    desk = make(by_domain=False)
    desk.sites = SHARED
    desk.accept(*THREE)
    assert together(desk) == [list(THREE)]


def test_a_static_next_hop_takes_all_domains_together(desk: Desk) -> None:
    desk.sites = dict.fromkeys(SHARED, "192.0.2.1:25")
    desk.accept(*THREE)
    assert together(desk) == [list(THREE)]


def test_a_parcel_whose_path_is_gone_is_divided_by_the_new_routes(desk: Desk) -> None:
    desk.sites = dict.fromkeys(SHARED, "192.0.2.1:25")
    desk.accept(*THREE)
    desk.accept(*THREE)
    flying = desk.take()
    assert flying is not None
    ready = desk.ready()
    desk.sites = {"b.example": "mx.example", "c.example": "mx2.example"}
    desk.manager.place_again(ready)
    desk.end(flying, AGAIN)
    assert together(desk) == [["a@b.example", "c@b.example"]] * 2
    assert together(desk, "c.example") == [["b@c.example"]] * 2


def test_domains_that_wait_for_their_site_share_no_transaction(desk: Desk) -> None:
    desk.sites = SHARED
    desk.unknown = {"b.example": [], "c.example": []}
    desk.accept(*THREE)
    desk.answer("c.example")
    desk.answer("b.example")
    assert sorted(together(desk)) == [["a@b.example", "c@b.example"], ["b@c.example"]]


def test_too_many_recipients_at_once_leave_the_rest_at_the_front(desk: Desk) -> None:
    desk.accept(*addresses(3))
    desk.accept("later@b.example")
    desk.end(desk.take(), OK, AGAIN, AGAIN)
    parcel = desk.take()
    assert parcel is not None and [r.number for r in parcel.recipients] == [1, 2]
    assert parcel.recipients[0].attempts == 0


def test_nothing_is_loaded_or_ended_while_that_could_not_be_kept(make: Make) -> None:
    desk = make(lane_items=1)
    for number in range(3):
        desk.accept(f"{number}@b.example")
    desk.loader.held = True
    desk.end(desk.take(), OK)
    desk.clock.advance(30 * 86400)  # beyond their age
    desk.run(2)
    assert desk.take() is None
    assert desk.ends() == {"Delivery": 1}
    desk.loader.held = False
    desk.run(3)
    assert desk.ends() == {"Delivery": 1, "Expiration": 2}
