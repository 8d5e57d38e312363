"""What the command line can ask, and how the workers' answers become one."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mta.bounce.deadletters import DeadLetters, shown
from mta.errors import ControlError
from mta.model import id_shard
from mta.supervisor import figures
from mta.supervisor.acts import ActDesk, check_id, select_of
from mta.supervisor.workers import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from mta.supervisor.master import Supervisor

GROUPS = ("site", "domain", "tenant", "campaign", "queue")  # what `queue.top` counts by
STATUS_PATIENCE = 5.0  # seconds for a worker to tell its figures


class Questions:
    """Answers control requests for a supervisor; each `op_...` is one request."""

    def __init__(self, master: Supervisor) -> None:
        self._master = master
        self.acts = ActDesk(master)
        self.dead = DeadLetters(
            Path(master.config.home) / "dead", master.config.queue.dead_letter_days
        )
        self._ops: dict[str, Callable[[dict[str, Any], Callable[[Any], None]], Any]] = {
            "status": self._status,
            "queue.list": self._queue_list,
            "queue.show": self._queue_show,
            "queue.top": self._queue_top,
            "shards.refused": self._shards_refused,
            "act": self._act,
            "act.count": self._act_count,
            "act.wait": self._act_wait,
            "act.list": self._act_list,
            "dead.list": self._dead_list,
            "dead.show": self._dead_show,
            "dead.requeue": self._dead_requeue,
            "dead.export": self._dead_export,
            "spool.accept": self._spool_accept,
            "reload": self._reload,
            "config.show": self._config_show,
            "message.follow": self._follow,
            "worker.restart": self._worker_restart,
        }

    async def answer(self, op: str, args: dict[str, Any], part: Callable[[Any], None]) -> Any:
        """One request's result; ControlError names the requests there are."""
        asked = self._ops.get(op)
        if asked is None:
            raise ControlError(f"there is no request {op!r}: " + ", ".join(self._ops))
        return await asked(args, part)

    # ------------------------------------------------------------------ looking

    async def _status(self, args: dict[str, Any], part: Callable[[Any], None]) -> Any:
        master = self._master
        asked = (self._worker_status(number) for number in range(master.count))
        workers = await asyncio.gather(*asked)
        for worker in workers:
            if "pid" in worker:
                master.ledger.take(worker["pid"], worker, time.monotonic())
        return {
            "pid": os.getpid(),
            "hostname": master.config.hostname,
            "listeners": [listener.listen for listener in master.config.listener],
            "spool": master.config.spool,
            "log_dir": master.config.log_dir,
            "ready": not (reasons := master.health.reasons()),
            "not_ready": reasons,
            "degraded": [] if reasons else master.health.missing(),
            "alarms": msgspec.to_builtins(master.health.alarms.report()) + master.ledger.alarms(),
            "totals": await asyncio.to_thread(figures.gather, master),
            "workers": workers,
            "ended_workers": master.ledger.past(),
        }

    async def _worker_status(self, number: int) -> dict[str, Any]:
        """A worker's figures, or why there are none; the status is wanted most when one hangs."""
        try:
            async with asyncio.timeout(STATUS_PATIENCE):
                found: dict[str, Any] = await self._request(number, "status", {})
                return found
        except (ControlError, TimeoutError) as error:
            return {"number": number, "problem": f"worker {number}: {str(error) or 'no answer'}"}

    async def _queue_list(self, args: dict[str, Any], part: Callable[[Any], None]) -> Any:
        limit = _limit(args, 100)
        asked = {"select": msgspec.to_builtins(select_of(args)), "limit": limit}
        rows = [row for rows in await self._master.ask("queue.list", asked) for row in rows]
        rows.sort(key=lambda row: (row["received"], row["id"]))
        return rows[:limit]

    async def _queue_show(self, args: dict[str, Any], part: Callable[[Any], None]) -> Any:
        worker = self._owner(str(args.get("id", "")))
        return await self._request(worker, "queue.show", {"id": args["id"]})

    async def _queue_top(self, args: dict[str, Any], part: Callable[[Any], None]) -> Any:
        by, limit = args.get("by") or "site", _limit(args, 20)
        if by not in GROUPS:
            raise ControlError(f"no counts by {by!r}: " + ", ".join(GROUPS))
        counts: dict[str, dict[str, int]] = {}
        for rows in await self._master.ask("queue.top", {"by": by}):
            for row in rows:
                total = counts.setdefault(row["name"], {})
                for key, value in row.items():
                    if key == "oldest":
                        total[key] = min(total.get(key, value), value)
                    elif key != "name":
                        total[key] = total.get(key, 0) + value
        rows = [{"name": name, **total} for name, total in counts.items()]
        return sorted(rows, key=lambda row: -row["queued"])[:limit]

    async def _shards_refused(self, args: dict[str, Any], part: Callable[[Any], None]) -> Any:
        return self._master.refusals.lines()

    def _owner(self, text: str) -> int:
        """The worker that holds the shard which an id names."""
        shard = id_shard(check_id(text))
        if why := self._master.refusals.of(shard):
            raise ControlError(f"{text} is not to be seen now: {why}")
        for number, shards in enumerate(self._master.shards):
            if shard in shards:
                return number
        raise ControlError(f"{text} names shard {shard}, which this server does not have")

    def _serving(self) -> int:
        """A worker that takes mail."""
        for worker in self._master.workers:
            if worker.ready.is_set():
                return worker.number
        raise ControlError("no worker serves: " + "; ".join(self._master.health.missing()))

    async def _request(
        self, worker: int, op: str, args: dict[str, Any], part: Callable[[Any], None] | None = None
    ) -> Any:
        channel = self._master.workers[worker].channel
        if channel is None:
            raise ControlError(f"worker {worker} is not running")
        return await channel.request(op, args, part)

    async def _follow(self, args: dict[str, Any], part: Callable[[Any], None]) -> Any:
        worker = self._owner(str(args.get("id", "")))
        return await self._request(worker, "message.follow", {"id": args["id"]}, part)

    # ------------------------------------------------------------------ acts

    async def _act(self, args: dict[str, Any], part: Callable[[Any], None]) -> Any:
        return await self.acts.give(args)

    async def _act_count(self, args: dict[str, Any], part: Callable[[Any], None]) -> Any:
        return await self.acts.count(args)

    async def _act_wait(self, args: dict[str, Any], part: Callable[[Any], None]) -> Any:
        return await self.acts.wait(args)

    async def _act_list(self, args: dict[str, Any], part: Callable[[Any], None]) -> Any:
        return await self.acts.listing(args)

    # ------------------------------------------------------------------ dead letters

    async def _dead_list(self, args: dict[str, Any], part: Callable[[Any], None]) -> Any:
        letters = await asyncio.to_thread(self.dead.list)
        return [shown(letter) for letter in letters[: _limit(args, len(letters) or 1)]]

    async def _dead_show(self, args: dict[str, Any], part: Callable[[Any], None]) -> Any:
        return await asyncio.to_thread(self.dead.show, str(args["id"]))

    async def _dead_export(self, args: dict[str, Any], part: Callable[[Any], None]) -> Any:
        return (await asyncio.to_thread(self.dead.export, str(args["id"]))).decode("latin-1")

    async def _dead_requeue(self, args: dict[str, Any], part: Callable[[Any], None]) -> Any:
        wanted = str(args.get("id") or "")
        names = [letter.id for letter in await asyncio.to_thread(self.dead.list)]
        if not args.get("all"):
            if wanted not in names:
                raise ControlError(f"there is no dead letter {wanted!r}")
            names = [wanted]
        for name in names:
            await self._request(self._serving(), "dead.requeue", {"id": name})
        return {"requeued": names}

    # ------------------------------------------------------------------ workers

    async def _worker_restart(self, args: dict[str, Any], part: Callable[[Any], None]) -> Any:
        """Replace workers, all of them if none is named."""
        master, numbers = self._master, args.get("workers") or []
        for number in numbers:
            if not isinstance(number, int) or not 0 <= number < master.count:
                raise ControlError(f"there is no worker {number}: 0 to {master.count - 1}")
        return {"restarted": await master.replace_workers(numbers)}

    # ------------------------------------------------------------------ spool

    async def _spool_accept(self, args: dict[str, Any], part: Callable[[Any], None]) -> Any:
        """Note that an operator has seen what was lost."""
        by, reason = str(args.get("by") or "somebody"), str(args.get("reason") or "")
        asked = {"by": by, "reason": reason}
        accepted = [row for rows in await self._master.ask("spool.accept", asked) for row in rows]
        for row in accepted:
            say(f"the loss of shard {row['shard']} is accepted by {by}: {row['what']}")
        return {"accepted": accepted, "pending": self._master.ledger.losses()}

    # ------------------------------------------------------------------ configuration

    async def _reload(self, args: dict[str, Any], part: Callable[[Any], None]) -> Any:
        await self._master.reload()
        return {"reloaded": True}

    async def _config_show(self, args: dict[str, Any], part: Callable[[Any], None]) -> Any:
        return msgspec.to_builtins(self._master.config)


def _limit(args: dict[str, Any], default: int) -> int:
    limit = args.get("limit") or default
    if not isinstance(limit, int) or limit < 1:
        raise ControlError("limit is a number above 0")
    return limit
