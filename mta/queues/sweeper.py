"""Goes through a worker's queues in slices: to apply acts to all that waits, and to look at it.

A sweep keeps its cursor in the shard, so a restart goes on where it stopped. It first takes what is
in memory, then the rows; a recipient that entered memory meanwhile was judged on its way in.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from mta.model import Where, id_bytes, id_text
from mta.queues.acts import Verb, obey
from mta.queues.names import format_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from mta.model import Recipient
    from mta.queues.acts import Act, Select
    from mta.queues.manager import QueueManager
    from mta.spool.shard import Shard

SLICE = 100  # recipients between two turns of the loop
STATES = ("fresh", "deferred", "backlog", "held", "closed")


class Sweeper:
    """Sweeps and views of one worker."""

    def __init__(
        self,
        manager: QueueManager,
        site_of: Callable[[Recipient], str],
        learn_site: Callable[[Recipient], Awaitable[str]],
        swept: Callable[[int], None],
    ) -> None:
        self.manager = manager
        self._site_of, self._learn_site, self._swept = site_of, learn_site, swept
        self._sweeps: dict[int, asyncio.Task[None]] = {}

    def begin(self, acts: list[Act]) -> None:
        """Sweep for acts that are new to this worker, one after another by sequence."""
        for act in acts:
            before = list(self._sweeps.values())
            task = asyncio.get_running_loop().create_task(self._sweep(act, before))
            self._sweeps[act.sequence] = task

    def stop(self) -> None:
        """Leave the sweeps where they are; their cursors are stored."""
        for task in self._sweeps.values():
            task.cancel()

    async def _sweep(self, act: Act, before: list[asyncio.Task[None]]) -> None:
        if before:
            await asyncio.wait(before)
        manager = self.manager
        for number, recipient in enumerate(list(manager.memory.values())):
            if self._meant(act, recipient, self._site_of(recipient)):
                obey(manager, recipient, act, swept=True)
            if number % SLICE == SLICE - 1:
                await asyncio.sleep(0)
        for shard in manager.shards.values():
            await self._sweep_shard(act, shard)
        del self._sweeps[act.sequence]
        self._swept(act.sequence)

    async def _sweep_shard(self, act: Act, shard: Shard) -> None:
        after = shard.cursors().get(act.sequence, b"")
        while True:
            found, after = shard.scan(after, SLICE)
            for stored in found:
                recipient = self.manager.memory.get((stored.message.id, stored.number), stored)
                site = self._site_of(recipient)
                if act.select.site and not site:
                    site = await self._learn_site(recipient)
                if recipient.where != Where.CLOSED and self._meant(act, recipient, site):
                    obey(self.manager, recipient, act, swept=True)
            if not found:
                break
            shard.set_cursor(act.sequence, after)
            await asyncio.sleep(0)
        shard.set_cursor(act.sequence, None)

    def _meant(self, act: Act, recipient: Recipient, site: str) -> bool:
        """Covered, selected, and not undone by a later hold or release."""
        covered = recipient.message.received_us <= act.created_us or act.verb is Verb.HOLD
        if not covered or not act.select.matches(recipient, site):
            return False
        if act.verb not in (Verb.HOLD, Verb.RELEASE):
            return True
        later = [a for a in self.manager.acts.verdicts(recipient) if a.sequence > act.sequence]
        return not any(a.verb in (Verb.HOLD, Verb.RELEASE) for a in later)

    # ------------------------------------------------------------------ views

    async def everything(self) -> AsyncIterator[Recipient]:
        """Every recipient of the worker, in the order of its shards' keys."""
        for shard in self.manager.shards.values():
            found, after = shard.scan(b"", SLICE)
            while found:
                for stored in found:
                    known = self.manager.memory.get((stored.message.id, stored.number), stored)
                    if known.where != Where.CLOSED:
                        yield known
                await asyncio.sleep(0)
                found, after = shard.scan(after, SLICE)

    async def listing(self, select: Select, limit: int) -> list[dict[str, Any]]:
        """The oldest recipients that match, at most `limit`."""
        rows = []
        async for recipient in self.everything():
            if select.matches(recipient, self._site_of(recipient)):
                rows.append(self.row(recipient))
                if len(rows) >= limit:
                    break
        return rows

    def show(self, text: str) -> dict[str, Any] | None:
        """One message with its recipients; None when it is not queued."""
        id = id_bytes(text)
        for shard in self.manager.shards.values():
            stored = shard.recipients(id)
            if stored:
                message = stored[0].message
                known = [self.manager.memory.get((id, r.number), r) for r in stored]
                return {
                    "id": text,
                    "sender": message.sender,
                    "tenant": message.tenant,
                    "campaign": message.campaign,
                    "pool": message.pool,
                    "class": message.klass,
                    "received": message.received_us,
                    "size": message.size,
                    "message_id": message.message_id,
                    "peer_name": message.peer_name,
                    "peer_address": message.peer_address,
                    "recipients": [self.row(r) for r in known],
                }
        return None

    async def top(self, by: str) -> list[dict[str, Any]]:
        """Counts by site, domain, tenant, campaign or queue."""
        rows: dict[str, dict[str, Any]] = {}
        async for recipient in self.everything():
            view = self.row(recipient)
            name = view[by] or "(none)"
            row = rows.setdefault(
                name,
                {"name": name, "queued": 0, "deferred": 0, "held": 0, "oldest": view["received"]},
            )
            row["queued"] += 1
            row["deferred"] += view["attempts"] > 0
            row["held"] += view["state"] == "held"
            row["oldest"] = min(row["oldest"], view["received"])
        return list(rows.values())

    def row(self, recipient: Recipient) -> dict[str, Any]:
        """A recipient as `mta queue list` shows it."""
        message = recipient.message
        in_memory = (message.id, recipient.number) in self.manager.memory
        state = "in flight" if recipient.flying else "ready" if in_memory else ""
        return {
            "id": id_text(message.id),
            "rno": recipient.number,
            "sender": message.sender,
            "recipient": recipient.address,
            "domain": recipient.domain,
            "site": self._site_of(recipient),
            "tenant": message.tenant,
            "campaign": message.campaign,
            "queue": format_name(
                message.campaign, message.tenant, recipient.domain, recipient.route
            ),
            "class": message.klass,
            "state": state or STATES[recipient.where],
            "attempts": recipient.attempts,
            "received": message.received_us,
            "due": recipient.due_us,
            "expires": recipient.expires_us,
            "size": message.size,
            "code": recipient.code,
            "enhanced": recipient.enhanced,
            "text": recipient.text,
        }
