"""Records of the spool by msgspec's msgpack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from mta.model import Message, Recipient

pack = msgspec.msgpack.Encoder().encode
UNIT, HEADER = 512, 40  # octets: what a segment file counts in, and what precedes a body


def fields(m: Message) -> bytes:
    """What an envelope has."""
    return pack(
        (
            *(m.sender, m.tenant, m.campaign, m.pool, m.klass, m.received_us, m.size, m.flags),
            *(m.peer_name, m.peer_address, m.message_id, m.session, m.open, m.total),
            *(m.envid, m.ret, m.priority, m.release_us),
        )
    )


def place(m: Message) -> bytes:
    """Where the body is, and how many units it takes there."""
    units = -(-(HEADER + m.size) // UNIT) if m.place else 0
    return m.place.to_bytes(8, "big") + (units % 2**32).to_bytes(4, "big")


def packed(r: Recipient) -> bytes:
    """What a recipient has."""
    return pack(
        (
            *(r.address, r.attempts, r.due_us, r.expires_us, r.where),
            *(r.code, r.enhanced, r.text, r.route, r.notify, r.orcpt),
            *([r.site] if r.site else []),
        )
    )


def encode_envelope(m: Message) -> bytes:
    """An envelope's record."""
    return b"\x01" + place(m) + fields(m)


def encode_recipient(r: Recipient) -> bytes:
    """A recipient's record; the only one's carries the envelope."""
    if r.message.total != 1:
        return b"\x01" + packed(r)
    envelope = fields(r.message)
    return b"\x02" + place(r.message) + len(envelope).to_bytes(4, "big") + envelope + packed(r)
