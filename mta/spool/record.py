"""Envelope and recipient records: a format byte, then msgpack of the fields in fixed order.

A list may grow at its end: a reader ignores what it does not know and fills in what is missing.
"""

from __future__ import annotations

import msgspec

from mta.errors import RecordError
from mta.model import Message, Recipient, Where

FORMAT = 1
_MARK = bytes((FORMAT,))
_encode = msgspec.msgpack.Encoder().encode


class _Envelope(msgspec.Struct, array_like=True, gc=False):
    sender: str
    tenant: str
    campaign: str
    pool: str
    klass: int
    received_us: int
    size: int
    flags: int
    peer_name: str
    peer_address: str
    message_id: str
    session: str
    open: int
    total: int
    envid: str = ""
    ret: str = ""
    priority: int = 0
    release_us: int = 0


class _Recipient(msgspec.Struct, array_like=True, gc=False):
    address: str
    attempts: int
    due_us: int
    expires_us: int
    where: int
    code: int
    enhanced: str
    text: str
    route: str
    notify: int = 0
    orcpt: str = ""


_decode_envelope = msgspec.msgpack.Decoder(_Envelope).decode
_decode_recipient = msgspec.msgpack.Decoder(_Recipient).decode


def encode_envelope(m: Message) -> bytes:
    """The value of the row `id`."""
    return _MARK + _encode(
        (
            *(m.sender, m.tenant, m.campaign, m.pool, m.klass, m.received_us, m.size, m.flags),
            *(m.peer_name, m.peer_address, m.message_id, m.session, m.open, m.total),
            *(m.envid, m.ret, m.priority, m.release_us),
        )
    )


def encode_recipient(r: Recipient) -> bytes:
    """The value of the row `id + rno`."""
    return _MARK + _encode(
        (
            *(r.address, r.attempts, r.due_us, r.expires_us, r.where),
            *(r.code, r.enhanced, r.text, r.route, r.notify, r.orcpt),
        )
    )


def decode_envelope(id: bytes, value: bytes) -> Message:
    """The message of an envelope record, without body; RecordError if it cannot be read."""
    _check_format(value)
    try:
        row = _decode_envelope(memoryview(value)[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RecordError(f"envelope record: {error}") from None
    return Message(
        id,
        row.sender,
        tenant=row.tenant,
        campaign=row.campaign,
        pool=row.pool,
        klass=row.klass,
        received_us=row.received_us,
        size=row.size,
        flags=row.flags,
        peer_name=row.peer_name,
        peer_address=row.peer_address,
        message_id=row.message_id,
        session=row.session,
        open=row.open,
        total=row.total,
        envid=row.envid,
        ret=row.ret,
        priority=row.priority,
        release_us=row.release_us,
    )


def decode_recipient(message: Message, number: int, value: bytes) -> Recipient:
    """The recipient of a record; RecordError if it cannot be read."""
    _check_format(value)
    try:
        row = _decode_recipient(memoryview(value)[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RecordError(f"recipient record: {error}") from None
    if not Where.FRESH <= row.where <= Where.HELD:
        raise RecordError(f"recipient record: it says it is in state {row.where}")
    return Recipient(
        message,
        number,
        row.address,
        due_us=row.due_us,
        expires_us=row.expires_us,
        attempts=row.attempts,
        where=row.where,
        code=row.code,
        enhanced=row.enhanced,
        text=row.text,
        route=row.route,
        notify=row.notify,
        orcpt=row.orcpt,
    )


def _check_format(value: bytes) -> None:
    if not value:
        raise RecordError("an empty record")
    if value[0] != FORMAT:
        raise RecordError(f"record format {value[0]}, where {FORMAT} is known")
