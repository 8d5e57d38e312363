"""Goes through a worker's queues in slices: to apply acts to all that waits, and to look at it.

A sweep keeps its cursor in the shard, so a restart goes on where it stopped. It first takes what is
in memory, then the rows; a recipient that entered memory meanwhile was judged on its way in, and so
will be what waits for its commit. An act is reported as swept when all that it did is durable.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from mta.errors import SpoolBusyError
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
AGAIN = 0.2  # seconds until a spool that is being reopened, or an attempt, is looked at again


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():  # cancelled
        future.set_result(None)


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
        self._ordered: dict[int, list[Recipient]] = {}  # by act: in flight when it came

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
        for number, key in enumerate(list(manager.memory)):
            recipient = manager.memory.get(key)
            if recipient is not None and self._meant(act, recipient, self._site_of(recipient)):
                self._obey(act, recipient)
            if number % SLICE == SLICE - 1:
                await asyncio.sleep(0)
        for shard in manager.shards.values():
            await self._sweep_shard(act, shard)
        await self._outcomes(act)
        for shard in manager.shards.values():
            await self._durable(act, shard)
        del self._sweeps[act.sequence]
        self._swept(act.sequence)

    async def _outcomes(self, act: Act) -> None:
        """Wait for what was in flight: a crash before its outcome must find the act in force."""
        flying = self._ordered.pop(act.sequence, [])
        while any(r.flying and act in (r.orders or ()) for r in flying):  # noqa: ASYNC110 (rare)
            await asyncio.sleep(AGAIN)

    async def _sweep_shard(self, act: Act, shard: Shard) -> None:
        after: bytes | None = None
        while True:
            try:
                if after is None:
                    after = shard.cursors().get(act.sequence, b"")
                found, after = shard.scan(after, SLICE)
            except SpoolBusyError:  # being reopened
                await asyncio.sleep(AGAIN)
                continue
            if not found:
                break
            for stored in found:
                await self._sweep_one(act, shard, stored)
            shard.set_cursor(act.sequence, after)
            await asyncio.sleep(0)

    async def _durable(self, act: Act, shard: Shard) -> None:
        """Forget the cursor, and wait until all that was done is synced."""
        shard.set_cursor(act.sequence, None)
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        shard.when_durable(lambda error: _set(durable))
        await durable

    async def _sweep_one(self, act: Act, shard: Shard, stored: Recipient) -> None:
        recipient = self._current(stored)
        if recipient is None:
            return
        site = self._site_of(recipient)
        if act.select.site and not site and self._meant_by_rest(act, recipient):
            site = await self._learn_site(recipient)
            again = self.manager.memory.get((stored.message.id, stored.number))
            recipient = again or shard.get(stored.message.id, stored.number)
        if recipient is not None and self._meant(act, recipient, site):
            self._obey(act, recipient)

    def _obey(self, act: Act, recipient: Recipient) -> None:
        obey(self.manager, recipient, act, swept=True)
        if recipient.flying:
            self._ordered.setdefault(act.sequence, []).append(recipient)

    def _current(self, stored: Recipient) -> Recipient | None:
        """A recipient as the manager knows it; None if it is not to be touched."""
        id = stored.message.id
        known = self.manager.memory.get((id, stored.number))
        if known is None and id in self.manager.arriving:
            return None
        recipient = known or stored
        return None if recipient.where == Where.CLOSED else recipient

    def _meant_by_rest(self, act: Act, recipient: Recipient) -> bool:
        """Selected by all but the site: only then a look-up is worth it."""
        return msgspec.structs.replace(act.select, site="").matches(recipient, "")

    def _meant(self, act: Act, recipient: Recipient, site: str) -> bool:
        """Covered, selected, and not undone by a later hold or release."""
        covered = self.manager.acts.covers(act, recipient.message.received_us)
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
