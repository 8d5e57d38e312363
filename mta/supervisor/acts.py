"""Operators' acts on the node: stored, told to the workers, counted, recorded, retired.

An act is over when every worker has swept its shards for it. Then a worker logs its record, and
only when that is synced the act is retired: after a crash in between there are two records of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from mta.errors import ControlError
from mta.model import id_bytes
from mta.queues.acts import Act, Select, Verb, released
from mta.routing.rules import parse_next_hop
from mta.supervisor.statekeeper import AGAIN, written

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from mta.supervisor.master import Supervisor

NAMED = 10  # holds that a message names
PATIENCE = 2.0  # seconds for a worker to tell how far it is


class ActDesk:
    """All acts of a supervisor's life."""

    def __init__(self, master: Supervisor) -> None:
        self._master = master
        self._telling = asyncio.Lock()
        self._sweeping: dict[int, set[int]] = {}  # act: workers that still sweep
        self._touched: dict[int, dict[int, int]] = {}  # act: recipients, by worker that has swept
        self._before: dict[int, int] = {}  # act: recipients that were told to an earlier supervisor
        self._ending: set[int] = set()  # acts that are being recorded and retired
        self._ended: dict[int, asyncio.Event] = {}  # act: for those who wait
        self._tasks: set[asyncio.Task[None]] = set()

    # -- giving

    async def give(self, args: dict[str, Any]) -> dict[str, Any]:
        """Store an act, answer with its number when every worker obeys it."""
        wanted, holds = self._wanted(args)
        await self._check(wanted, holds)
        unswept = [h for h in holds if not h.swept and h.sequence not in self._ending]
        counts = await self._so_far(unswept) if unswept else {}
        act = await asyncio.to_thread(
            self._master.state.add_act, wanted.verb, wanted.select, wanted.created_us,
            wanted.reason, wanted.next_hop, by=wanted.by, ends=[hold.sequence for hold in holds],
        )  # fmt: skip
        self._sweeping[act.sequence] = set(range(self._master.count))
        self._before[act.sequence] = 0
        for hold in unswept:
            self._spawn(self._end(hold, counts[hold.sequence]))
        await self.tell()
        ended = {"released": [hold.sequence for hold in holds]} if holds else {}
        return {"act": act.sequence, **ended}

    async def count(self, args: dict[str, Any]) -> dict[str, int]:
        """How many recipients an act would touch that is not given."""
        wanted, holds = self._wanted(args)
        return {"recipients": await self._reached(wanted, holds)}

    def _wanted(self, args: dict[str, Any]) -> tuple[Act, list[Act]]:
        """The act that a request describes, without its number, and the holds that it ends."""
        try:
            verb = Verb(args.get("verb", ""))
        except ValueError:
            raise ControlError("an act is one of " + ", ".join(Verb)) from None
        next_hop = str(args.get("next_hop") or "") if verb is Verb.REROUTE else ""
        if verb is Verb.REROUTE:
            if not next_hop:
                raise ControlError("reroute needs a next_hop, e.g. [192.0.2.1]:25")
            parse_next_hop(next_hop)  # ConfigError says what is wrong with it
        known, holds = self._master.state.acts(), list[Act]()
        if verb is Verb.RELEASE and args.get("act"):
            holds = [act for act in known if act.sequence == args["act"] and act.verb is Verb.HOLD]
            if not holds:
                raise ControlError(f"no hold in force has the number {args['act']}; {named(known)}")
            select = holds[0].select
        else:
            select = select_of(args)
            if verb is Verb.RELEASE:
                holds = released(known, select)
        now = time.time_ns() // 1000
        reason, by = str(args.get("reason") or ""), str(args.get("by") or "")
        return Act(0, verb, select, now, reason, next_hop, by=by), holds

    async def _check(self, wanted: Act, holds: list[Act]) -> None:
        """Refuse what can never touch anything; ControlError."""
        if self._master.health.missing():
            return  # it may be there
        if wanted.select.id:
            looked = msgspec.structs.replace(wanted, verb=Verb.DELETE)  # is it there at all
            if not holds and not await self._reached(looked, []):
                id = wanted.select.id
                raise ControlError(f"{id} is not queued; `mta logs find --id {id}` tells more")
        if wanted.verb is Verb.RELEASE and not holds and not await self._reached(wanted, []):
            raise ControlError(
                f"no hold has this selection ({wanted.select}), and no mail of it is held without"
                f" a hold; {named(self._master.state.acts())}"
            )

    async def _reached(self, act: Act, holds: list[Act]) -> int:
        ends = [hold.sequence for hold in holds]
        asked = {"act": msgspec.to_builtins(act), "ends": ends}
        return sum(await self._master.ask("act.count", asked))

    # -- the workers

    async def tell(self) -> None:
        """Give the acts in force to the workers that are ready; a later list never comes first."""
        async with self._telling:
            acts = self._master.state.acts()
            await self._master.tell("acts", {"acts": msgspec.to_builtins(acts)})

    async def swept(self, worker: int, sequence: int, touched: int) -> None:
        """A worker has swept its shards; when all have, the act is recorded and retired."""
        act = self._under_way(sequence)
        if act is None or sequence in self._ending:
            return
        told = self._told(act)
        # A worker that was restarted sweeps again: a hold covers the same mail, others do the rest.
        told[worker] = touched + (0 if act.verb is Verb.HOLD else told.get(worker, 0))
        left = self._sweeping.setdefault(sequence, set(range(self._master.count)))
        left.discard(worker)
        count = self._before[sequence] + sum(told.values())
        if left:
            await written(partial(self._master.state.touched, sequence, count))
            return
        await self._end(act, count)
        await self.tell()

    def _under_way(self, sequence: int) -> Act | None:
        """An act that is not swept."""
        acts = (a for a in self._master.state.acts() if a.sequence == sequence and not a.swept)
        return next(acts, None)

    def _told(self, act: Act) -> dict[int, int]:
        """What workers have told of an act, by worker."""
        before = 0 if act.verb is Verb.HOLD else act.touched
        self._before.setdefault(act.sequence, before)
        return self._touched.setdefault(act.sequence, {})

    async def _so_far(self, acts: list[Act]) -> dict[int, int]:
        """How many recipients acts have touched that are under way, by number."""
        # In this order: what a worker tells meanwhile is rather left out than counted twice.
        counts = {act.sequence: sum(self._told(act).values()) for act in acts}
        for sequence in counts:
            counts[sequence] += self._before[sequence]
        with contextlib.suppress(ControlError, TimeoutError):
            async with asyncio.timeout(PATIENCE):
                for live in await self._master.tell("act.touched", {}):
                    for sequence in counts:
                        counts[sequence] += live.get(str(sequence), 0)
        return counts

    async def _end(self, act: Act, touched: int) -> None:
        """Record an act, then retire it."""
        sequence, now = act.sequence, time.time_ns() // 1000
        self._ending.add(sequence)
        try:
            await self._record(act, touched)
            await written(partial(self._master.state.swept, sequence, touched, now))
        finally:
            self._ending.discard(sequence)
        self._sweeping.pop(sequence, None)
        self._touched.pop(sequence, None)
        self._before.pop(sequence, None)
        if (waiting := self._ended.pop(sequence, None)) is not None:
            waiting.set()

    async def _record(self, act: Act, touched: int) -> None:
        """Have a worker log it, whichever serves."""
        fields = {
            "act": act.sequence, "verb": act.verb, "select": str(act.select), "by": act.by,
            "reason": act.reason, "next_hop": act.next_hop, "begun": act.created_us,
            "touched": touched,
        }  # fmt: skip
        while True:
            for worker in self._master.workers:
                if worker.ready.is_set() and worker.channel is not None:
                    with contextlib.suppress(ControlError):
                        await worker.channel.request("act.log", fields)
                        return
            await asyncio.sleep(AGAIN)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- looking

    async def wait(self, args: dict[str, Any]) -> dict[str, Any]:
        """Wait for an act's end for so many seconds at most; whether it has ended, its count."""
        sequence, seconds = args.get("act"), args.get("seconds") or 0
        if not isinstance(sequence, int) or not isinstance(seconds, int | float):
            raise ControlError("act.wait takes the number of an act, and seconds")
        if self._under_way(sequence) is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._ended.setdefault(sequence, asyncio.Event()).wait()
        act = self._under_way(sequence)
        if act is not None:
            missing = self._master.health.missing()
            return {
                "ended": False,
                "touched": (await self._so_far([act]))[sequence],
                "missing": missing,
            }
        for act in self._master.state.acts() + await self._past():
            if act.sequence == sequence:
                return {"ended": True, "touched": act.touched, "missing": []}
        raise ControlError(f"no act has the number {sequence}")

    async def listing(self, args: dict[str, Any]) -> list[dict[str, Any]]:
        """The acts in force, those that ended of late before them if they are asked for."""
        acts = self._master.state.acts()
        if args.get("ended"):
            in_force = {act.sequence for act in acts}
            acts = [act for act in await self._past() if act.sequence not in in_force] + acts
        rows, under_way = [], [act for act in acts if not act.ended_us and not act.swept]
        counts = await self._so_far(under_way) if under_way else {}
        for act in sorted(acts, key=lambda act: act.sequence):
            touched = counts.get(act.sequence, act.touched)
            act = msgspec.structs.replace(act, touched=touched)
            rows.append(msgspec.to_builtins(act) | {"state": _state(act)})
        return rows

    async def _past(self) -> list[Act]:
        return await asyncio.to_thread(self._master.state.ended, time.time_ns() // 1000)


def _state(act: Act) -> str:
    """For people."""
    if act.ended_us:
        return "released" if act.verb is Verb.HOLD else "done"
    return "in force" if act.swept else "under way"


def named(acts: Iterable[Act]) -> str:
    """The holds in force, for a message."""
    holds = [f"{act.sequence} ({act.select})" for act in acts if act.verb is Verb.HOLD]
    if not holds:
        return "there are no holds"
    more = f" and {len(holds) - NAMED} more" if len(holds) > NAMED else ""
    return "holds in force: " + ", ".join(holds[:NAMED]) + more


def select_of(args: dict[str, Any]) -> Select:
    """The selection of a request; ControlError when it is empty and not `all`."""
    try:
        select = msgspec.convert(args.get("select") or {}, Select)
    except msgspec.ValidationError as error:
        raise ControlError(f"select: {error}") from None
    if select == Select() and args.get("verb"):
        raise ControlError("say which mail: a selector, or all")
    if select.id:
        check_id(select.id)
    return select


def check_id(text: str) -> bytes:
    """The id that a request names; ControlError."""
    try:
        return id_bytes(text)
    except ValueError:
        raise ControlError(f"{text!r} is not a message id: 32 hexadecimal digits") from None
