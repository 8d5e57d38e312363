"""Lines of the log by the standard library's json."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mta.model import Message, Outcome, Peer, Recipient, Stages

KEPT = {"type", "time", "id", "rno", "sender"}  # even where empty


def line(fields: dict[str, Any]) -> bytes:
    """Without what is empty; `tls` is left out for plain text alone."""
    kept = {
        key: value
        for key, value in fields.items()
        if value or key in KEPT or key == "tls" and value is not None
    }
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode()


def reception(
    time: int, m: Message, addresses: list[str], shown: int, klass: str, node: str, shard: int
) -> bytes:
    """The line of a Reception."""
    return line(
        {
            "type": "Reception", "time": time, "id": m.id.hex(), "sender": m.sender,
            "recipients": addresses[:shown], "total": len(addresses), "tenant": m.tenant,
            "campaign": m.campaign, "pool": m.pool, "class": klass, "peer_name": m.peer_name,
            "peer_address": m.peer_address, "size": m.size, "node": node, "shard": shard,
            "session": m.session, "message_id": m.message_id,
        }
    )  # fmt: skip


def delivery(
    time: int, r: Recipient, outcome: Outcome, peer: Peer, stages: Stages, way: tuple[str, str],
    tls: str | None, klass: str, node: str, shard: int,
) -> bytes:  # fmt: skip
    """The line of a Delivery; `way` is queue and site."""
    m = r.message
    return line(
        {
            "type": "Delivery", "time": time, "id": m.id.hex(), "rno": r.number,
            "sender": m.sender, "recipient": r.address, "tenant": m.tenant,
            "campaign": m.campaign, "class": klass, "queue": way[0], "site": way[1],
            "source": peer.source, "peer_name": peer.name, "peer_address": peer.address,
            "code": outcome.code, "enhanced": outcome.enhanced, "text": outcome.text,
            "command": outcome.command, "attempts": r.attempts, "size": m.size, "tls": tls,
            **stages._asdict(), "node": node, "shard": shard, "session": m.session,
        }
    )  # fmt: skip
