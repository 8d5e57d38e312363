"""What operators see of a worker's queues."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from mta.model import Where
from mta.queues.acts import Act, Judge, Select, Verb
from mta.queues.census import Census
from mta.queues.views import Views
from tests.unit.queues.desk import LATER, Desk

Make = Callable[..., Desk]


def views(desk: Desk) -> Views:
    return Views(desk.manager, desk._site_of)


def top(desk: Desk, by: str = "site") -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in asyncio.run(views(desk).top(by))}


def listed(desk: Desk, **select: Any) -> list[str]:
    rows = asyncio.run(views(desk).listing(Select(**select), 100))
    return [row["recipient"] for row in rows]


@pytest.mark.parametrize("state", ["deferred", "held", "backlog"])
@pytest.mark.parametrize("clean", [True, False])
def test_sites_stay_when_dns_tells_nothing_any_more(make: Make, state: str, clean: bool) -> None:
    desk = make(lane_items=1)
    if state == "held":
        desk.act(Verb.HOLD, domain="b.example")
    desk.accept("first@b.example")
    if state == "deferred":
        desk.end(desk.take(), LATER)
    else:
        desk.accept("second@b.example")
    desk.bench.commit()
    desk.unknown["b.example"] = []
    desk.restart(clean=clean)
    assert list(top(desk)) == ["b.example"] or state == "backlog"
    assert top(desk)["b.example"]["queued"] >= 1
    expected = ["first@b.example"] if state == "deferred" else ["second@b.example"]
    assert listed(desk, site="B.example")[-1:] == expected
    assert listed(desk, site="c.example") == []


def test_a_reroute_forgets_the_site(desk: Desk) -> None:
    message = desk.accept("r@b.example")
    desk.end(desk.take(), LATER)
    desk.unknown["b.example"] = desk.unknown["d.example"] = []
    desk.act(Verb.REROUTE, next_hop="d.example", all=True)
    desk.sweep()
    [recipient] = desk.bench.shard.recipients(message.id)
    assert recipient.route == "d.example" and recipient.site == ""


def test_what_leaves_at_once_is_stored_without_a_site(desk: Desk) -> None:
    message = desk.accept("r@b.example")
    [stored] = desk.bench.shard.recipients(message.id)
    assert stored.where == Where.FRESH and stored.site == ""


def test_top_counts_the_states_that_metrics_have(make: Make) -> None:
    desk = make(lane_items=2)
    census = Census(desk.manager, desk.bench.loop.call_later)
    census.begin()
    for number in range(4):
        desk.accept(f"r{number}@b.example")  # two wait in the backlog
    desk.end(desk.take(), LATER)
    parcel = desk.take()
    desk.run(61)  # what was put off is due again: ready, with an attempt behind it
    desk.accept("later@c.example", release_us=desk.clock.wall_us() + 3_600_000_000)
    desk.accept("tried@d.example")
    desk.end(desk.take("d.example"), LATER)
    desk.act(Verb.HOLD, domain="d.example")  # an attempt behind it, too
    desk.sweep()
    desk.accept("tried@e.example")
    desk.end(desk.take("e.example"), LATER)
    found, figures = top(desk), census.figures(0)
    assert parcel is not None and census.complete
    assert sum(row["deferred"] for row in found.values()) == figures["queued_deferred"] == 2
    assert sum(row["held"] for row in found.values()) == figures["queued_held"] == 1
    names = ("fresh", "ready", "deferred", "backlog", "held")
    queued = sum(figures[f"queued_{name}"] for name in names)
    assert sum(row["queued"] for row in found.values()) == queued == 7


# ---------------------------------------------------------------------- by site


def test_a_search_by_site_reads_whole_only_what_may_be_meant(desk: Desk) -> None:
    desk.accept("a@b.example", "b@c.example")
    desk.accept("c@b.example")
    desk.accept("d@c.example")
    desk.unknown["x.example"] = []
    desk.accept("e@x.example")

    def found(guess: bool) -> list[str]:
        judge = Judge(Select(site="B.*"), desk._site_of, guess=guess)
        return [r.address for r in desk.bench.shard.search(b"", judge, 1000, 64)[0]]

    assert found(False) == ["a@b.example", "c@b.example"]
    assert found(True) == ["a@b.example", "c@b.example", "e@x.example"]


def test_a_hold_by_site_looks_nothing_up(desk: Desk) -> None:
    desk.accept("a@b.example")
    desk.unknown["x.example"] = []
    unknown = desk.accept("b@x.example")
    hold = desk.act(Verb.HOLD, site="?.example")
    desk.sweep()
    desk.retire(hold)
    assert desk.learned == [] and desk.touched[hold.sequence] == 1
    desk.answer("x.example")
    desk.run(1)
    assert desk.where(unknown) == Where.HELD and desk.take("x.example") is None


def test_other_acts_by_site_look_up_each_destination_once(desk: Desk) -> None:
    for name in ("x.example", "dead.example"):
        desk.unknown[name] = []
        for number in range(100):
            desk.accept(f"r{number}@{name}")
    desk.accept("a@b.example")
    desk.dead.add("dead.example")
    act = desk.act(Verb.DELETE, site="x.example")
    wanted = Act(0, Verb.DELETE, Select(site="x.example"), 0)

    async def learn(recipient: Any) -> str:
        return "" if recipient.domain in desk.dead else str(recipient.domain)

    assert asyncio.run(views(desk).reached(wanted, (), learn)) == 100
    desk.sweep(act)
    assert sorted(desk.learned) == ["dead.example", "x.example"]
    assert desk.touched[act.sequence] == 100
    assert desk.ends() == {"Removed": 100}


def test_a_release_sends_nothing_before_the_time_its_client_asked_for(desk: Desk) -> None:
    hold = desk.act(Verb.HOLD, all=True)
    desk.accept("r@b.example", release_us=desk.clock.wall_us() + 3_600_000_000)
    desk.sweep(hold)
    desk.sweep(desk.act(Verb.RELEASE, all=True))
    desk.run(2)
    assert desk.take() is None and listed(desk) == ["r@b.example"]
    desk.run(3600, step=1)
    assert desk.take() is not None
