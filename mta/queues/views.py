"""Looks at a worker's queues for operators, in short turns beside the traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mta.model import Class, Where, id_bytes, id_text
from mta.queues.acts import Judge, Select, Verb
from mta.queues.names import format_name
from mta.queues.pace import Pace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Container

    from mta.model import Recipient
    from mta.queues.acts import Act
    from mta.queues.manager import QueueManager

SLICE, ROWS = 64, 1000  # recipients read at a time, and rows looked at for them
STATES = ("fresh", "deferred", "backlog", "held", "closed")


def _queue(recipient: Recipient) -> str:
    message = recipient.message
    return format_name(message.campaign, message.tenant, recipient.domain, recipient.route)


def _reply(recipient: Recipient) -> dict[str, Any]:
    """The last reply as far as there is one, as in the log."""
    reply = {"code": recipient.code, "enhanced": recipient.enhanced, "text": recipient.text}
    return {name: value for name, value in reply.items() if value}


def _changes(act: Act, recipient: Recipient) -> bool:
    """Whether an act does something to a recipient that it is for."""
    if act.verb is Verb.RELEASE:
        return recipient.where == Where.HELD
    if act.verb is Verb.FLUSH:
        return recipient.where == Where.DUE
    return act.verb is not Verb.REROUTE or recipient.route != act.next_hop


class Views:
    """What can be asked of one worker's queues."""

    def __init__(self, manager: QueueManager, site_of: Callable[[Recipient], str]) -> None:
        self._manager, self._site_of = manager, site_of
        self._names: dict[str, Callable[[Recipient], str]] = {
            "site": site_of,
            "domain": lambda recipient: recipient.domain,
            "tenant": lambda recipient: recipient.message.tenant,
            "campaign": lambda recipient: recipient.message.campaign,
            "queue": _queue,
        }

    async def found(self, judge: Judge) -> AsyncIterator[Recipient]:
        """Recipients that are meant as far as all but their sites tell, by their shards' keys."""
        pace = Pace(self._manager.ports.clock)
        for shard in self._manager.shards.values():
            after: bytes | None = b""
            while after is not None:
                found, after = shard.search(after, judge, ROWS, SLICE)
                for stored in found:
                    key = stored.message.id, stored.number
                    known = self._manager.memory.get(key, stored)
                    if known.where != Where.CLOSED and judge.but_site(known):
                        yield known
                if pace.over:
                    await pace.rest()

    async def matching(self, judge: Judge) -> AsyncIterator[Recipient]:
        """The recipients that are meant, those of a site as far as theirs is known."""
        async for recipient in self.found(judge):
            if judge(recipient, self._site_of):
                yield recipient

    async def reached(
        self, act: Act, ends: Container[int], learn_site: Callable[[Recipient], Awaitable[str]]
    ) -> int:
        """How many recipients an act would touch; `ends` has the holds that a release ends."""
        judge = Judge(act.swept_by, self._site_of, guess=True)
        holds = [hold for hold in self._manager.acts.standing if hold.sequence not in ends]
        holding, count = [Judge(hold.select) for hold in holds], 0
        async for recipient in self.found(judge):
            if judge.select.site:
                site = self._site_of(recipient) or await learn_site(recipient)
                if not judge.site(site):
                    continue
            count += _changes(act, recipient) and not (
                act.verb is Verb.RELEASE and any(hold(recipient, self._site_of) for hold in holding)
            )
        return count

    async def listing(self, select: Select, limit: int) -> list[dict[str, Any]]:
        """The oldest recipients that match, at most `limit`."""
        rows = []
        async for recipient in self.matching(Judge(select, self._site_of)):
            rows.append(self.row(recipient))
            if len(rows) >= limit:
                break
        return rows

    def show(self, text: str) -> dict[str, Any] | None:
        """One message with its recipients; None when it is not queued."""
        id = id_bytes(text)
        for shard in self._manager.shards.values():
            stored = shard.recipients(id)
            if stored:
                message = stored[0].message
                known = [self._manager.memory.get((id, r.number), r) for r in stored]
                return {
                    "id": text,
                    "sender": message.sender,
                    "tenant": message.tenant,
                    "campaign": message.campaign,
                    "pool": message.pool,
                    "class": Class(message.klass).name.lower(),
                    "received": message.received_us,
                    "size": message.size,
                    "message_id": message.message_id,
                    "peer_name": message.peer_name,
                    "peer_address": message.peer_address,
                    "recipients": [self.row(r) for r in known],
                }
        return None

    async def top(self, by: str) -> list[dict[str, Any]]:
        """Counts by site, domain, tenant, campaign or queue, of the states that /metrics has."""
        name_of, rows = self._names[by], dict[str, dict[str, Any]]()
        async for recipient in self.matching(Judge(Select(all=True))):
            name, received = name_of(recipient) or "(none)", recipient.message.received_us
            row = rows.get(name)
            if row is None:
                row = {"name": name, "queued": 0, "deferred": 0, "held": 0, "oldest": received}
                rows[name] = row
            row["queued"] += 1
            waits = (recipient.message.id, recipient.number) not in self._manager.memory
            row["deferred"] += waits and recipient.where == Where.DUE
            row["held"] += recipient.where == Where.HELD
            row["oldest"] = min(row["oldest"], received)
        return list(rows.values())

    def row(self, recipient: Recipient) -> dict[str, Any]:
        """A recipient as `mta queue list` shows it."""
        message = recipient.message
        in_memory = (message.id, recipient.number) in self._manager.memory
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
            "queue": _queue(recipient),
            "class": Class(message.klass).name.lower(),
            "state": state or STATES[recipient.where],
            "attempts": recipient.attempts,
            "received": message.received_us,
            "due": recipient.due_us,
            "expires": recipient.expires_us,
            "size": message.size,
        } | _reply(recipient)
