from __future__ import annotations

import pytest

from mta.model import Message, Recipient, id_shard
from mta.queues.acts import Act, Acts, Judge, Select, Verb, released


def recipient(
    address: str = "r@b.example",
    *,
    campaign: str = "spring",
    tenant: str = "acme",
    id: bytes = bytes(range(16)),
) -> Recipient:
    message = Message(id, "Sender@a.example", campaign=campaign, tenant=tenant)
    return Recipient(message, 0, address)


def acts(*given: Act) -> Acts:
    known = Acts(lambda recipient: "mx.b.example")
    known.replace(list(given))
    known.covered = {id_shard(bytes(range(16))): {act.sequence: b"\xff" * 16 for act in given}}
    return known


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        (Select(all=True), True),
        (Select(domain="b.example"), True),
        (Select(domain="*.example"), True),
        (Select(domain="a.example"), False),
        (Select(site="mx.b.example"), True),
        (Select(site="mx.a.example"), False),
        (Select(tenant="acme", campaign="spring"), True),
        (Select(tenant="acme", campaign="autumn"), False),
        (Select(sender="sender@*"), True),
        (Select(recipient="R@b.example"), True),
        (Select(recipient="x@b.example"), False),
        (Select(id="000102030405060708090a0b0c0d0e0f"), True),
        (Select(id="00010203-0405-0607-0809-0a0b0c0d0e0f"), True),
        (Select(id="ff0102030405060708090a0b0c0d0e0f"), False),
    ],
)
def test_a_selection_matches_when_all_its_fields_do(select: Select, expected: bool) -> None:
    assert Judge(select)(recipient(), lambda _: "mx.b.example") is expected


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        (Select(all=True), [1, 2, 3]),
        (Select(campaign="spring"), [1]),
        (Select(domain="B.Example"), [2]),
        (Select(id="00010203-0405-0607-0809-0A0B0C0D0E0F"), [3]),
        (Select(campaign="spring", domain="b.example"), []),
        (Select(campaign="*"), []),
    ],
)
def test_a_release_ends_the_holds_of_the_same_selection(
    select: Select, expected: list[int]
) -> None:
    known = [
        Act(1, Verb.HOLD, Select(campaign="spring"), 5, swept=True),
        Act(2, Verb.HOLD, Select(domain="b.example"), 5),
        Act(3, Verb.HOLD, Select(id="000102030405060708090a0b0c0d0e0f"), 5),
        Act(4, Verb.DELETE, Select(campaign="spring"), 5),
    ]
    assert [act.sequence for act in released(known, select)] == expected


def test_an_act_covers_what_came_before_it_and_a_hold_what_comes_later_too() -> None:
    known = acts(Act(1, Verb.DELETE, Select(all=True), 5), Act(2, Verb.HOLD, Select(all=True), 5))
    older, newer = recipient(), recipient(id=bytes(range(1, 17)))
    known.covered = {id_shard(one.message.id): {1: older.message.id} for one in (newer, older)}
    assert newer.message.id > older.message.id
    assert [act.sequence for act in known.covering(older)] == [1, 2]
    assert [act.sequence for act in known.covering(newer)] == [2]


def test_mail_is_held_while_a_hold_covers_it() -> None:
    hold = Act(1, Verb.HOLD, Select(campaign="spring"), 20, swept=True)
    release = Act(3, Verb.RELEASE, Select(domain="b.example"), 30)
    later = recipient(id=b"\xff" * 16)
    assert acts(hold).holds(later)
    assert not acts(hold).holds(recipient(campaign="autumn"))
    assert acts(hold, release).holds(later), "that has ended another hold"
    assert not acts(release).holds(later)


def test_mail_is_judged_on_its_way_while_acts_are_swept_or_a_site_is_held() -> None:
    assert not acts(Act(1, Verb.HOLD, Select(campaign="spring"), 20, swept=True)).judging
    assert acts(Act(1, Verb.HOLD, Select(campaign="spring"), 20)).judging
    assert acts(Act(1, Verb.HOLD, Select(site="mx.b.example"), 20, swept=True)).judging
    assert not acts().judging


def test_only_acts_that_are_new_are_to_be_swept() -> None:
    first, second = Act(1, Verb.FLUSH, Select(all=True), 5), Act(2, Verb.FLUSH, Select(all=True), 6)
    known = Acts(lambda recipient: "")
    assert known.replace([first]) == [first]
    assert known.replace([first, second]) == [second]
    assert known.replace([second]) == []
    assert not known.is_active(1) and known.is_active(2)
