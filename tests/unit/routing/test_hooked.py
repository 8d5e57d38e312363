"""A planner that asks hooks: nothing is planned before they have answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from mta.errors import HookError
from mta.hooks import Destination, RouteChoice
from mta.hooks.answers import Answers
from mta.model import Kind, Message
from mta.model import Refusal as Failure
from mta.routing.hooked import Choice, HookedPlanner, Known, read_choice
from mta.routing.planner import Plan, PlannerOptions
from mta.routing.rules import Router, parse_route
from mta.routing.site import static_site
from mta.testing.clock import FakeClock
from mta.testing.zones import FakeResolver

MESSAGE = Message(bytes(16), "a@sender.example", tenant="t", campaign="c")
KNOWN = Known(frozenset({"slow"}), frozenset({"local"}))
Choose = Callable[[Destination], RouteChoice | None]


def planner(choose: Choose, asked: list[Destination] | None = None) -> HookedPlanner:
    clock = FakeClock()

    async def ask(key: Destination) -> Choice | None:
        if asked is not None:
            asked.append(key)
        choice = choose(key)
        return None if choice is None else read_choice(choice, KNOWN)

    local = static_site(parse_route("x=[192.0.2.99]:9").next_hop)
    return HookedPlanner(
        Router([parse_route("*=[192.0.2.1]:25")]),
        FakeResolver({"mx.example": {"MX": ["10 m.mx.example"]}}, clock=clock),
        PlannerOptions(transports={"local": local}),
        choices=Answers(ask, 60.0, clock),
    )


def test_peek_waits_for_the_hook_and_then_takes_its_route() -> None:
    asked: list[Destination] = []
    made = planner(lambda d: RouteChoice(next_hop="[192.0.2.7]:26", pool="p", retry="slow"), asked)
    assert made.peek(MESSAGE, "a.example") is None
    plan = asyncio.run(made.plan(MESSAGE, "a.example"))
    assert isinstance(plan, Plan)
    assert made.peek(MESSAGE, "a.example") == plan
    assert plan.site.name == "192.0.2.7:26"
    assert (plan.route.pool, plan.route.retry) == ("p", "slow")
    assert asked == [Destination("a.example", "t", "c", "a@sender.example")]
    assert made.route_of(MESSAGE, "a.example") is plan.route


@pytest.mark.parametrize(
    ("choice", "site"),
    [
        (None, "192.0.2.1:25"),
        (RouteChoice(pool="p"), "192.0.2.1:25"),
        (RouteChoice(next_hop="mx"), "m.mx.example"),
        (RouteChoice(transport="local"), "192.0.2.99:9"),
    ],
)
def test_what_is_not_chosen_stays(choice: RouteChoice | None, site: str) -> None:
    plan = asyncio.run(planner(lambda d: choice).plan(MESSAGE, "mx.example"))
    assert isinstance(plan, Plan) and plan.site.name == site


def test_equal_choices_share_one_route() -> None:
    made = planner(lambda d: RouteChoice(pool="p"))
    plans = [asyncio.run(made.plan(MESSAGE, f"{n}.example")) for n in range(3)]
    assert len({id(plan.route) for plan in plans if isinstance(plan, Plan)}) == 1


def test_an_operators_reroute_asks_nobody() -> None:
    def fails(key: Destination) -> None:
        raise HookError("choose_route", "boom")

    made = planner(fails)
    plan = made.peek(MESSAGE, "a.example", "[192.0.2.8]:25")
    assert isinstance(plan, Plan) and plan.site.name == "192.0.2.8:25"
    failed = asyncio.run(made.plan(MESSAGE, "a.example"))
    assert isinstance(failed, Failure)
    assert failed.outcome.kind == Kind.DEFERRED
    assert failed.outcome.text == "hook choose_route failed: boom"


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (RouteChoice(next_hop="[x"), "next_hop"),
        (RouteChoice(retry="fast"), r"\[retry.fast\]"),
        (RouteChoice(transport="lost"), r"\[transport.lost\]"),
        (RouteChoice(transport="local", next_hop="mx"), "choose either"),
    ],
)
def test_choices_that_cannot_be(choice: RouteChoice, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read_choice(choice, KNOWN)
