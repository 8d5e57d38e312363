"""Lines of the log by the standard library's json."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mta.model import Message, Outcome, Peer, Recipient, Stages

KEPT = {"type", "time", "id", "rno", "sender"}  # even where empty


def members(fields: dict[str, Any]) -> bytes:
    """An object's inside, without what is empty; `tls` is left out for plain text alone."""
    kept = {
        key: value
        for key, value in fields.items()
        if value or key in KEPT or key == "tls" and value is not None
    }
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode()[1:-1]


def tail(node: str, shard: int) -> bytes:
    """What a shard's lines have in common."""
    found = members({"node": node, "shard": shard})
    return b"," + found if found else b""


class Lines:
    """The lines of one shard."""

    def __init__(self, tail: bytes) -> None:
        self.tail = tail

    def line(self, before: dict[str, Any], after: dict[str, Any]) -> bytes:
        """Fields before and after node and shard."""
        rest = members(after)
        return b"{" + members(before) + self.tail + (b"," + rest if rest else b"") + b"}"

    def reception(
        self, time: int, m: Message, recipients: list[Recipient], shown: int, klass: str
    ) -> bytes:
        """The line of a Reception."""
        before = {
            "type": "Reception", "time": time, "id": m.id.hex(), "sender": m.sender,
            "recipients": [r.address for r in recipients[:shown]], "total": len(recipients),
            "tenant": m.tenant, "campaign": m.campaign, "pool": m.pool, "class": klass,
            "peer_name": m.peer_name, "peer_address": m.peer_address, "size": m.size,
        }  # fmt: skip
        return self.line(before, {"session": m.session, "message_id": m.message_id})

    def delivery(
        self, time: int, r: Recipient, outcome: Outcome, peer: Peer, stages: Stages, queue: str,
        site: str, tls: str | None, klass: str,
    ) -> bytes:  # fmt: skip
        """The line of a Delivery."""
        m = r.message
        before = {
            "type": "Delivery", "time": time, "id": m.id.hex(), "rno": r.number,
            "sender": m.sender, "recipient": r.address, "tenant": m.tenant,
            "campaign": m.campaign, "class": klass, "queue": queue, "site": site,
            "source": peer.source, "peer_name": peer.name, "peer_address": peer.address,
            "code": outcome.code, "enhanced": outcome.enhanced, "text": outcome.text,
            "command": outcome.command, "attempts": r.attempts, "size": m.size, "tls": tls,
            **stages._asdict(),
        }  # fmt: skip
        return self.line(before, {"session": m.session})
