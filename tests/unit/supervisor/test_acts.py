"""Operators' acts on the node, with workers that are told what to answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mta.errors import ControlError
from mta.queues.acts import Act, Verb
from mta.supervisor.acts import ActDesk
from mta.supervisor.state import NodeState


class Node:
    """A supervisor with two workers, over restarts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reached = 1  # recipients that an act would touch, by worker
        self.live: dict[str, int] = {}  # what each worker has touched that has not told
        self.logged: list[dict[str, Any]] = []
        self.missing: list[str] = []
        self.start()

    def start(self) -> None:
        self.state = NodeState(self.folder / "state.db")
        self.state.load()
        channel = SimpleNamespace(request=self._request)
        ready = SimpleNamespace(is_set=lambda: True)
        master: Any = SimpleNamespace(
            state=self.state, count=2, ask=self._ask, tell=self._tell,
            health=SimpleNamespace(missing=lambda: self.missing),
            workers=[SimpleNamespace(ready=ready, channel=channel)],
        )  # fmt: skip
        self.desk = ActDesk(master)

    def restart(self) -> None:
        self.state.close()
        self.start()

    async def _ask(self, op: str, args: dict[str, Any]) -> list[int]:
        return [self.reached, self.reached]

    async def _tell(self, op: str, args: dict[str, Any]) -> list[Any]:
        return [dict(self.live), dict(self.live)] if op == "act.touched" else [0, 0]

    async def _request(self, op: str, args: dict[str, Any]) -> None:
        self.logged.append(args)

    async def give(self, verb: Verb, by: str = "anna", **select: Any) -> int:
        which = {"act": select["act"]} if "act" in select else {"select": select}
        return int((await self.desk.give({"verb": verb, "by": by, **which}))["act"])

    async def sweep(self, act: int, *touched: int) -> None:
        for worker, count in enumerate(touched):
            await self.desk.swept(worker, act, count)

    def counts(self) -> list[tuple[int, int]]:
        return [(record["act"], record["touched"]) for record in self.logged]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_an_act_is_recorded_once_when_all_have_swept(node: Node) -> None:
    async def play() -> None:
        act = await node.give(Verb.DELETE, domain="b.example")
        await node.sweep(act, 3)
        assert node.logged == [] and node.state.acts()
        waiting = asyncio.ensure_future(node.desk.wait({"act": act, "seconds": 60}))
        await asyncio.sleep(0)
        await node.sweep(act, 0, 4)
        assert await waiting == {"ended": True, "touched": 7, "missing": []}
        assert node.counts() == [(act, 7)] and node.state.acts() == []
        assert node.logged[0]["by"] == "anna" and node.logged[0]["select"] == "domain=b.example"
        await node.sweep(act, 1)  # late news
        assert node.counts() == [(act, 7)]
        [row] = await node.desk.listing({"ended": True})
        assert (row["state"], row["touched"], row["by"]) == ("done", 7, "anna")
        assert await node.desk.listing({}) == []

    asyncio.run(play())


@pytest.mark.parametrize(("verb", "total"), [(Verb.DELETE, 8), (Verb.HOLD, 6)])
@pytest.mark.parametrize("restart", [False, True])
def test_counts_over_restarts(node: Node, verb: Verb, total: int, restart: bool) -> None:
    """A worker that starts anew sweeps again: a hold covers the same, others find the rest."""

    async def play() -> None:
        act = await node.give(verb, domain="b.example")
        await node.sweep(act, 3)
        if restart:
            node.restart()
        await node.sweep(act, 1)
        await node.desk.swept(1, act, 4)
        expected = total if verb is Verb.DELETE else 1 + 4
        assert node.counts() == [(act, expected)]

    asyncio.run(play())


def test_a_hold_that_is_released_in_mid_sweep_has_its_record(node: Node) -> None:
    async def play() -> None:
        hold = await node.give(Verb.HOLD, domain="b.example")
        node.live = {str(hold): 5}
        release = await node.give(Verb.RELEASE, domain="b.example")
        assert [act.sequence for act in node.state.acts()] == [release]
        await node.sweep(hold, 9, 9)  # nobody waits for it
        await node.sweep(release, 1, 1)
        assert sorted(node.counts()) == [(hold, 10), (release, 2)]
        rows = await node.desk.listing({"ended": True})
        assert [row["state"] for row in rows] == ["released", "done"]

    asyncio.run(play())


def test_an_act_that_goes_on_tells_how_far_it_is(node: Node) -> None:
    async def play() -> None:
        act = await node.give(Verb.DELETE, all=True)
        await node.sweep(act, 3)
        node.live, node.missing = {str(act): 2}, ["shard 1 is refused"]
        found = await node.desk.wait({"act": act, "seconds": 0})
        assert found == {"ended": False, "touched": 7, "missing": ["shard 1 is refused"]}
        assert [row["touched"] for row in await node.desk.listing({})] == [7]
        with pytest.raises(ControlError, match="no act has the number 9"):
            await node.desk.wait({"act": 9, "seconds": 0})

    asyncio.run(play())


def test_releases_by_number_and_selection(node: Node) -> None:
    async def play() -> None:
        first = await node.give(Verb.HOLD, domain="b.example")
        second = await node.give(Verb.HOLD, domain="B.EXAMPLE")
        third = await node.give(Verb.HOLD, tenant="acme")
        for act in (first, second, third):
            await node.sweep(act, 1, 1)
        with pytest.raises(ControlError, match=r"no hold in force has the number 9; .*acme"):
            await node.give(Verb.RELEASE, act=9)
        node.reached = 0
        with pytest.raises(ControlError, match=r"no hold has this selection .*domain=c.example"):
            await node.give(Verb.RELEASE, domain="c.example")
        await node.give(Verb.RELEASE, act=second)
        assert in_force(node.state.acts()) == [first, third]
        await node.give(Verb.RELEASE, all=True)
        assert in_force(node.state.acts()) == []
        with pytest.raises(ControlError, match="there are no holds"):
            await node.give(Verb.RELEASE, all=True)
        node.reached = 1  # held, though no hold is known
        await node.give(Verb.RELEASE, all=True)

    asyncio.run(play())


def in_force(acts: list[Act]) -> list[int]:
    return [act.sequence for act in acts if act.verb is Verb.HOLD]


def test_an_unknown_id_is_refused_unless_a_part_is_missing(node: Node) -> None:
    async def play() -> None:
        node.reached = 0
        for verb in (Verb.HOLD, Verb.DELETE, Verb.FLUSH):
            with pytest.raises(ControlError, match="is not queued"):
                await node.give(verb, id="01" * 16)
        node.missing = ["worker 1 is not ready"]
        await node.give(Verb.DELETE, id="01" * 16)

    asyncio.run(play())
