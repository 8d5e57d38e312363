from __future__ import annotations

import pytest

from mta.model import Message, Recipient, id_shard
from mta.queues.acts import Act, Acts, Judge, Select, Verb


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
    ("wide", "narrow", "expected"),
    [
        (Select(all=True), Select(campaign="x"), True),
        (Select(campaign="x"), Select(campaign="x", domain="a.example"), True),
        (Select(campaign="x*"), Select(campaign="xy"), True),
        (Select(campaign="x"), Select(domain="a.example"), False),
        (Select(campaign="x", domain="a.example"), Select(campaign="x"), False),
    ],
)
def test_takes_in(wide: Select, narrow: Select, expected: bool) -> None:
    assert wide.takes_in(narrow) is expected


def test_an_act_covers_what_came_before_it_and_a_hold_what_comes_later_too() -> None:
    known = acts(Act(1, Verb.DELETE, Select(all=True), 5), Act(2, Verb.HOLD, Select(all=True), 5))
    older, newer = recipient(), recipient(id=bytes(range(1, 17)))
    known.covered = {id_shard(one.message.id): {1: older.message.id} for one in (newer, older)}
    assert newer.message.id > older.message.id
    assert [act.sequence for act in known.covering(older)] == [1, 2]
    assert [act.sequence for act in known.covering(newer)] == [2]


def test_of_holds_and_releases_the_last_one_decides() -> None:
    hold, release = (
        Act(1, Verb.HOLD, Select(all=True), 20),
        Act(2, Verb.RELEASE, Select(all=True), 20),
    )
    assert acts(hold, release).verdicts(recipient()) == [release]
    again = Act(3, Verb.HOLD, Select(campaign="spring"), 20)
    assert acts(hold, release, again).verdicts(recipient()) == [again]
    assert acts(hold, release, again).verdicts(recipient(campaign="x")) == [release]


def test_new_mail_is_held_until_a_release_takes_the_hold_in() -> None:
    hold = Act(1, Verb.HOLD, Select(campaign="spring"), 20, swept=True)
    later = recipient(id=b"\xff" * 16)
    assert acts(hold).holds(later)
    assert not acts(hold).holds(recipient(campaign="autumn"))
    other = Act(2, Verb.RELEASE, Select(domain="b.example"), 30)
    assert acts(hold, other).holds(later)
    assert not acts(hold, Act(3, Verb.RELEASE, Select(all=True), 30)).holds(later)


def test_only_acts_that_are_new_are_to_be_swept() -> None:
    first, second = Act(1, Verb.FLUSH, Select(all=True), 5), Act(2, Verb.FLUSH, Select(all=True), 6)
    known = Acts(lambda recipient: "")
    assert known.replace([first]) == [first]
    assert known.replace([first, second]) == [second]
    known.retire(1)
    assert known.active == [second]
