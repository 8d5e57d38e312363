"""A queue manager on a real shard, with a loader and acts, on a loop that is turned by hand."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from mta.maillog.records import TERMINAL, RecordWriter
from mta.model import Kind, Message, Outcome, Peer, Recipient, Refusal, Stages, Wish, id_text
from mta.queues.acts import Act, Acts, Select, Verb, released
from mta.queues.lanes import Parcel, ReadyQueue
from mta.queues.loader import Loader
from mta.queues.manager import QueueManager
from mta.queues.ports import Plan, Ports, Settings
from mta.queues.retry import RetryPolicy
from mta.queues.sweeper import Sweeper
from mta.queues.timekeeper import Timekeeper
from mta.testing.spool import MemoryLog, SpoolBench

PEER = Peer("mx.example", "127.0.0.1:25", "default")
OK = Outcome(Kind.DELIVERED, 250, "2.0.0", "ok", ".")
LATER = Outcome(Kind.DEFERRED, 451, "4.7.1", "later", "RCPT")
NEVER = Outcome(Kind.BOUNCED, 550, "5.1.1", "nobody", "RCPT")
AGAIN = Outcome(Kind.UNATTEMPTED, 0, "", "", "")
POLICY = RetryPolicy((60.0,), 0.0, 3600.0)


class Desk:
    """Every domain is a site of its own name, or of `sites`; `unknown` ones wait for `answer`."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.settings = Settings(**{"retries": {"": POLICY}, **settings})
        self.unknown: dict[str, list[Any]] = {}
        self.sites: dict[str, str] = {}  # by domain; a name that ends in a port is no MX site
        self.log = MemoryLog()
        self.swept: list[int] = []
        self.learned: list[str] = []  # domains that sweeps looked up
        self.dead: set[str] = set()  # domains for which that brings nothing
        self.touched: dict[int, int] = {}  # recipients, by act that was swept
        self.acts: list[Act] = []
        self.numbers = 0  # given to acts
        self.dsns = False
        self.wishes: dict[int, Wish] | None = None  # of the messages submitted from now on
        self.told: list[tuple[str, str]] = []  # the notifications made
        self.said: list[str] = []  # by the timekeeper
        self.start()

    # -- a run

    def start(self) -> None:
        """Open the shard and wire what stands on it."""
        # Positions of the list are not those of a log, so nothing is recovered from it.
        self.bench = bench = SpoolBench(self.folder, log=self.log)
        bench.run()
        if hasattr(self, "clock"):
            bench.clock.advance(self.clock.monotonic() - bench.clock.monotonic() + 1)
            bench.clock.step((self.clock.wall_us() - bench.clock.wall_us()) / 1e6 + 1)
            bench.clock.look()
        self.clock = bench.clock
        self.manager = QueueManager(
            [bench.shard],
            [RecordWriter("node.example", 1, self.clock)],
            self.settings,
            Ports(
                clock=self.clock,
                random=lambda: 0.5,
                peek=self._peek,
                resolve=lambda message, recipient, done: self.unknown[recipient.domain].append(
                    done
                ),
                wake=lambda ready: None,
                failed=self._failed,
                bury=lambda message, recipient, outcome, done: done(),
            ),
            Acts(self._site_of),
        )
        if newest := bench.shard.newest_id():
            bench.ids.resume_after(newest)
        self.loader = Loader(bench.shard, self.manager, bench.loop.call_later, bench.ids.next())
        self.manager.on_backlog = self.loader.backlogged
        self.manager.behind = self.loader.lanes
        self.timekeeper = Timekeeper(
            self.manager, self.clock.look, bench.loop.call_later, self.said.append
        )
        self.timekeeper.join(self.loader)
        self.timekeeper.start()
        self.loader.start()
        self.tell_acts()

    def restart(self, *, clean: bool = True, away: float = 0.0) -> None:
        """Another run on the same spool: after a commit, or with what was not committed lost.

        `away`: the clock is set by so many seconds while there is no run.
        """
        if clean:
            self.bench.commit()
        self.close()
        self.clock.step(away)
        self.start()

    def close(self) -> None:
        """End the run."""
        self.loader.stop()
        self.timekeeper.stop()
        self.bench.close()

    def run(self, seconds: float = 1.0, step: float = 0.05) -> None:
        """Let time pass, with loader and commits at work."""
        for _ in range(round(seconds / step)):
            self.bench.loop.advance(step, self.bench.shard)

    # -- ports

    def plan(self, domain: str) -> Plan:
        """The plan of a domain."""
        name = self.sites.get(domain, domain)
        site = SimpleNamespace(key=name, name=name, mx=":" not in name)
        route = SimpleNamespace()
        route.retry, route.pool, route.klass, route.transport = "", "", None, ""
        return SimpleNamespace(site=site, route=route)  # type: ignore[return-value]

    def _peek(self, message: Message, recipient: Recipient) -> Plan | Refusal | None:
        domain = recipient.route or recipient.domain
        return None if domain in self.unknown else self.plan(domain)

    def _site_of(self, recipient: Recipient) -> str:
        plan = self._peek(recipient.message, recipient)
        return recipient.site if plan is None else plan.site.name  # type: ignore[union-attr]

    def _failed(
        self,
        message: Message,
        recipient: Recipient,
        outcome: Outcome,
        peer: Peer | None,
        action: str = "failed",
    ) -> Message | None:
        if not self.dsns:
            return None
        self.told.append((action, recipient.address))
        dsn = Message(self.bench.ids.next(), "", received_us=self.clock.wall_us(), size=3)
        dsn.body = b"dsn"
        return dsn

    def answer(self, domain: str) -> None:
        """DNS has answered."""
        for done in self.unknown.pop(domain):
            done(self.plan(domain))

    # -- mail

    def submit(self, *addresses: str, klass: int = 1, size: int = 10, **fields: Any) -> Message:
        """A message, not committed yet."""
        message = Message(
            self.bench.ids.next(), fields.pop("sender", "s@a.example"), klass=klass, size=size,
            received_us=self.clock.wall_us(), body=b"x" * size, **fields,
        )  # fmt: skip
        self.manager.submit(message, addresses, lambda error: None, self.wishes)
        return message

    def accept(self, *addresses: str, **fields: Any) -> Message:
        """A message that is stored."""
        message = self.submit(*addresses, **fields)
        self.bench.run()
        return message

    def ready(self, domain: str = "b.example") -> ReadyQueue:
        """A site's ready queue, made where there is none."""
        return self.manager.ready_queue(self.plan(domain), Message(b"", ""))

    def take(self, domain: str = "b.example") -> Parcel | None:
        """Begin an attempt, as far as acts let it."""
        parcel = self.manager.take(self.ready(domain))
        while parcel is not None and self.manager.acts.judging and not self.manager.obey(parcel):
            parcel = self.manager.take(self.ready(domain))
        for recipient in parcel.recipients if parcel else ():
            recipient.flying = True
        return parcel

    def end(self, parcel: Parcel | None, *outcomes: Outcome, peer: Peer = PEER) -> None:
        """End an attempt: one outcome for all, or one for each."""
        assert parcel is not None
        if len(outcomes) == 1:
            outcomes = outcomes * len(parcel.recipients)
        self.manager.finish(parcel, list(outcomes), peer, Stages())

    def deliver_all(self, domain: str = "b.example", rounds: int = 100) -> list[str]:
        """Deliver whatever gets ready; the addresses in that order."""
        order: list[str] = []
        for _ in range(rounds):
            before = len(order)
            while (parcel := self.take(domain)) is not None:
                order += [r.address for r in parcel.recipients]
                self.end(parcel, OK)
            self.run(0.1)
            if len(order) == before and not self.queued():
                break
        return order

    # -- acts

    def act(self, verb: Verb, next_hop: str = "", **select: Any) -> Act:
        """An operator's act, told to the manager; `sweep` does the rest."""
        self.clock.advance(0.000001)
        self.numbers += 1
        act = Act(self.numbers, verb, Select(**select), self.clock.wall_us(), "", next_hop)
        self.clock.advance(0.000001)
        if verb is Verb.RELEASE:
            self.end_holds(*released(self.acts, act.select))
        self.acts.append(act)
        self.tell_acts()
        return act

    def release(self, hold: Act) -> Act:
        """A release of one hold by its number."""
        self.end_holds(hold)
        self.numbers += 1
        act = Act(self.numbers, Verb.RELEASE, hold.select, self.clock.wall_us())
        self.acts.append(act)
        self.tell_acts()
        return act

    def end_holds(self, *holds: Act) -> None:
        """As the supervisor does it with the release that ends them."""
        gone = {hold.sequence for hold in holds}
        self.acts = [act for act in self.acts if act.sequence not in gone]

    def tell_acts(self) -> None:
        """Tell the manager which acts are in force."""
        self.manager.acts.replace(self.acts)
        self.manager.acts.cover([self.bench.shard])

    def sweep(self, *acts: Act, steps: int | None = None) -> None:
        """Sweep for acts, or only so many of the loop's turns of it."""
        asyncio.run(self._sweep(acts or tuple(self.acts[-1:]), steps))

    async def _sweep(self, acts: tuple[Act, ...], steps: int | None) -> None:
        async def learn(recipient: Recipient) -> str:
            self.learned.append(recipient.domain)
            await asyncio.sleep(0)
            return "" if recipient.domain in self.dead else recipient.domain

        sweeper = Sweeper(self.manager, self._site_of, learn, self.told_swept)
        sweeper.begin(list(acts))
        turns, limit = 0, 5000 if steps is None else steps
        while not all(act.sequence in self.swept for act in acts):
            if turns >= limit:
                assert steps is not None, "the sweep does not end"
                sweeper.stop()
                break
            turns += 1
            await asyncio.sleep(0)
            if turns % 50 == 0:
                self.bench.commit()

    def told_swept(self, sequence: int, touched: int) -> None:
        """A sweep has ended."""
        self.swept.append(sequence)
        self.touched[sequence] = self.touched.get(sequence, 0) + touched

    def retire(self, act: Act) -> None:
        """The supervisor has heard of the sweep's end."""
        kept = [a for a in self.acts if a is not act]
        if act.verb is Verb.HOLD:
            kept.append(msgspec.structs.replace(act, swept=True))
        self.acts = sorted(kept, key=lambda a: a.sequence)
        self.tell_acts()

    # -- what became of it

    def records(self) -> list[dict[str, Any]]:
        """The log so far, what waits included."""
        self.bench.commit()
        return [msgspec.json.decode(line) for line in self.log.lines]

    def ends(self) -> Counter[str]:
        """How many recipients ended in which way; each at most once."""
        found = [r for r in self.records() if r["type"] in TERMINAL]
        keys = [(r["id"], r["rno"]) for r in found]
        assert len(set(keys)) == len(keys), "a recipient has two terminal records"
        return Counter(r["type"] for r in found)

    def queued(self) -> list[Recipient]:
        """What the spool holds."""
        return self.bench.shard.scan(b"", 100_000)[0]

    def where(self, message: Message, number: int = 0) -> int | None:
        """Where a recipient is; None if it has ended."""
        known = self.manager.memory.get((message.id, number))
        recipient = known or self.bench.shard.get(message.id, number)
        return None if recipient is None else recipient.where

    def text(self, message: Message) -> str:
        """Its id."""
        return id_text(message.id)
