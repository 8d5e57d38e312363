"""What waits, by state: exact after any history, without reading the queues again."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mta.maillog.records import RecordWriter
from mta.model import Kind, Message, Outcome, Peer, Recipient, Stages, Where
from mta.queues import census as module
from mta.queues import ends
from mta.queues.acts import Acts
from mta.queues.census import Census
from mta.queues.loader import Loader
from mta.queues.manager import QueueManager
from mta.queues.ports import Ports, Settings
from mta.queues.retry import RetryPolicy
from mta.testing.spool import SpoolBench

DELIVERED = Outcome(Kind.DELIVERED, 250, "2.0.0", "Ok", ".")
DEFERRED = Outcome(Kind.DEFERRED, 451, "4.3.0", "later", ".")
BOUNCED = Outcome(Kind.BOUNCED, 550, "5.1.1", "unknown", "RCPT")
NAMES = {Where.FRESH: "fresh", Where.DUE: "deferred", Where.BACKLOG: "backlog", Where.HELD: "held"}


class Node:
    """A queue manager over a real shard; mail goes nowhere by itself."""

    def __init__(self, folder: Path, lane_items: int = 4) -> None:
        self.bench = bench = SpoolBench(folder)
        plan: Any = SimpleNamespace(
            site=SimpleNamespace(key="s", name="s", mx=True),
            route=SimpleNamespace(retry="", pool="", klass=None),
        )
        settings = Settings(lane_items=lane_items, retries={"": RetryPolicy((60.0,), 0.0, 3600.0)})
        ports = Ports(
            clock=bench.clock,
            random=lambda: 0.5,
            peek=lambda message, recipient: plan,
            resolve=lambda message, recipient, done: None,
            wake=lambda ready: None,
            failed=lambda message, recipient, outcome, peer: None,
            bury=lambda message, recipient, outcome, done: done(),
        )
        lines = RecordWriter("node", 1, bench.clock)
        self.manager = QueueManager([bench.shard], [lines], settings, ports, Acts(lambda r: ""))
        self.census = Census(self.manager, bench.loop.call_later)
        self.census.begin()
        self.loader = Loader(bench.shard, self.manager, bench.loop.call_later, bench.ids.next())
        self.manager.on_backlog = self.loader.backlogged
        self.loader.start()

    def submit(self, *addresses: str, sender: str = "a@b.example") -> None:
        body = b"Subject: x\r\n\r\n"
        message = Message(self.bench.ids.next(), sender, size=len(body), body=body)
        message.received_us = self.bench.clock.wall_us()
        self.manager.submit(message, addresses, lambda error: None)

    def attempt(self, outcome: Outcome) -> None:
        """The next parcel's attempt, if one is ready."""
        for ready in list(self.manager.ready.values()):
            parcel = self.manager.take(ready)
            if parcel is not None:
                outcomes = [outcome] * len(parcel.recipients)
                self.manager.finish(parcel, outcomes, Peer("", "", ""), Stages())

    def pass_time(self, seconds: float) -> None:
        for _ in range(30):
            self.bench.loop.advance(seconds / 30, self.bench.shard)

    def everything(self) -> list[Recipient]:
        found, after = self.bench.shard.scan(b"", 1000)
        return found

    def truth(self) -> dict[str, int]:
        """What reading the whole spool says."""
        counts: Counter[str] = Counter()
        for stored in self.everything():
            known = self.manager.memory.get((stored.message.id, stored.number))
            counts["ready" if known else NAMES[Where(stored.where)]] += 1
        return {f"queued_{name}": counts[name] for name in ("ready", *NAMES.values())}

    def said(self) -> dict[str, int]:
        figures = self.census.figures(0)
        assert not figures.pop("counting"), "the count has not ended"
        assert not figures.pop("queued_in_flight")
        return figures


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.census.stop()
    made.loader.stop()
    made.bench.close()


def history(node: Node, seed: int) -> None:
    """Some hundred steps of everything that moves a recipient."""
    dice = random.Random(seed)
    manager = node.manager
    for _ in range(150):
        step = dice.randrange(9)
        if step < 3:
            domain = dice.choice(("x.example", "y.example"))
            sender = dice.choice(("", "a@b.example"))
            node.submit(*[f"u{n}@{domain}" for n in range(dice.randint(1, 3))], sender=sender)
        elif step < 6:
            node.attempt(dice.choice((DELIVERED, DEFERRED, DEFERRED, BOUNCED)))
        elif step == 6:
            node.pass_time(dice.choice((0.1, 5.0, 70.0, 1200.0)))
        else:
            node.bench.commit()
            stored = node.everything()
            for one in dice.sample(stored, min(2, len(stored))):
                known = manager.memory.get((one.message.id, one.number), one)
                act = dice.randrange(4)
                if act == 0:
                    ends.remove(manager, known, "test")
                elif act == 1:
                    manager.expire(known)
                else:
                    manager.shift(known, dice.choice((Where.HELD, Where.DUE, Where.BACKLOG)))
    node.pass_time(0.2)


@pytest.mark.parametrize("seed", range(8))
def test_counts_follow_every_change(node: Node, seed: int) -> None:
    history(node, seed)
    assert node.said() == node.truth()
    assert sum(node.said().values()) > 0


@pytest.mark.parametrize("seed", range(4))
def test_what_an_earlier_run_left_is_counted_while_it_moves(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Node(tmp_path)
    history(first, seed)
    left = sum(first.truth().values())
    first.loader.stop()
    first.bench.close()
    assert left

    monkeypatch.setattr(module, "SLICE", 3)
    second = Node(tmp_path)
    assert second.census.figures(0)["counting"]
    history(second, seed + 100)
    assert second.said() == second.truth()
    second.census.stop()
    second.loader.stop()
    second.bench.close()


def test_a_recount_waits_for_an_instant_without_pending_changes(node: Node) -> None:
    history(node, 5)
    node.manager.waiting[Where.DUE] += 7  # as a record that was set aside would
    node.submit("z@x.example")
    node.census.recount()
    assert node.census.figures(0)["counting"]
    node.pass_time(3)
    assert node.said() == node.truth()


def test_the_oldest_is_the_oldest(node: Node) -> None:
    assert node.census.oldest_us() == 0
    node.submit("a@x.example")
    node.bench.commit()
    first = node.bench.clock.wall_us() // 1_000_000
    assert abs(node.census.oldest_us() // 1_000_000 - first) <= 1
    node.pass_time(10)
    node.submit("b@x.example")
    node.bench.commit()
    assert abs(node.census.oldest_us() // 1_000_000 - first) <= 1
    node.attempt(DELIVERED)
    node.bench.commit()
    assert node.census.oldest_us() // 1_000_000 >= first + 9
    node.attempt(DELIVERED)
    node.bench.commit()
    assert node.census.oldest_us() == 0
