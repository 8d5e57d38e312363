"""Envelope and recipient records: a format byte, then msgpack of the fields in fixed order.

They are read here and written by `encoder`.
A list may grow at its end: a reader ignores what it does not know and fills in what is missing.
The only recipient of a message has its envelope in its own row, the place of the body before it.
"""

from __future__ import annotations

from struct import Struct
from typing import Annotated

import msgspec

from mta.errors import RecordError
from mta.model import Message, Recipient, Where

FORMAT = 1
ALONE = 2  # envelope and recipient in one row
_ALONE_MARK = bytes((ALONE,))
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_PLACE = Struct(">qI")
PLACED = 1 + _PLACE.size  # octets up to the envelope, or to its length

_NOBODY = Message(bytes(16), "")


class _Envelope(msgspec.Struct, array_like=True, gc=False):
    sender: str
    tenant: str
    campaign: str
    pool: str
    klass: Int64
    received_us: Int64
    size: Int64
    flags: Int64
    peer_name: str
    peer_address: str
    message_id: str
    session: str
    open: Int64
    total: Int64
    envid: str = ""
    ret: str = ""
    priority: Int64 = 0
    release_us: Int64 = 0


class _Recipient(msgspec.Struct, array_like=True, gc=False):
    address: str
    attempts: Int64
    due_us: Int64
    expires_us: Int64
    where: Int64
    code: Int64
    enhanced: str
    text: str
    route: str
    notify: Int64 = 0
    orcpt: str = ""
    site: str = ""


class _Head(msgspec.Struct, array_like=True, gc=False):
    sender: str
    tenant: str
    campaign: str


class _Address(msgspec.Struct, array_like=True, gc=False):
    address: str


_decode_head = msgspec.msgpack.Decoder(_Head).decode
_decode_address = msgspec.msgpack.Decoder(_Address).decode
_decode_envelope = msgspec.msgpack.Decoder(_Envelope).decode
_decode_recipient = msgspec.msgpack.Decoder(_Recipient).decode


def decode_envelope(id: bytes, value: bytes) -> Message:
    """The message of a row that carries its envelope, without body; RecordError if unreadable."""
    start, end = _envelope_part(value)
    try:
        row = _decode_envelope(memoryview(value)[start:end])
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
        place=place(value)[0],
    )


def decode_recipient(message: Message, number: int, value: bytes) -> Recipient:
    """The recipient of a record; RecordError if it cannot be read."""
    start = _envelope_part(value)[1] if _format(value) == ALONE else 1
    try:
        row = _decode_recipient(memoryview(value)[start:])
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
        site=row.site,
    )


def head(value: bytes) -> tuple[str, str, str]:
    """Sender, tenant and campaign of a row that carries its envelope; RecordError if unreadable."""
    if value[:1] == _ALONE_MARK:  # as `_envelope_part`, in line: a search reads a million of them
        end = PLACED + 4 + int.from_bytes(value[PLACED : PLACED + 4], "big")
        part = value[PLACED + 4 : end]
    else:
        part = value[slice(*_envelope_part(value))]
    try:
        row = _decode_head(part)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RecordError(f"envelope record: {error}") from None
    return row.sender, row.tenant, row.campaign


def address(value: bytes) -> str:
    """The address of a recipient's record; RecordError if it cannot be read."""
    start = _envelope_part(value)[1] if _format(value) == ALONE else 1
    try:
        return _decode_address(memoryview(value)[start:]).address
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RecordError(f"recipient record: {error}") from None


def destination(value: bytes) -> tuple[str, str, str]:
    """Address, route and site of a recipient's record; RecordError if it cannot be read."""
    start = _envelope_part(value)[1] if _format(value) == ALONE else 1
    try:
        row = _decode_recipient(memoryview(value)[start:])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RecordError(f"recipient record: {error}") from None
    return row.address, row.route, row.site


def is_alone(value: bytes) -> bool:
    """Whether a recipient's row carries its envelope, too."""
    return value[:1] == _ALONE_MARK


def has_envelope(key: bytes, value: bytes) -> bool:
    """Whether a row of `messages` carries an envelope, and so the place of a body."""
    return len(value) > PLACED and (len(key) == 16 or is_alone(value))


def where(value: bytes) -> tuple[int, int]:
    """`where` and `expires_us` of a recipient's record; RecordError if it cannot be read."""
    recipient = decode_recipient(_NOBODY, 0, value)
    return recipient.where, recipient.expires_us


def place(value: bytes) -> tuple[int, int]:
    """Where the body is, and the units it takes, from a row that carries the envelope."""
    at, units = _PLACE.unpack_from(value, 1)
    return at, units


def _envelope_part(value: bytes) -> tuple[int, int]:
    """Where the envelope begins and ends in a row that carries it."""
    start, end = PLACED, len(value)
    if _format(value) == ALONE:
        start += 4
        if start <= end:
            end = start + int.from_bytes(value[start - 4 : start], "big")
    if not start < end <= len(value):
        raise RecordError("a record that ends too early")
    return start, end


def _format(value: bytes) -> int:
    if not value:
        raise RecordError("an empty record")
    if value[0] not in (FORMAT, ALONE):
        raise RecordError(f"record format {value[0]}, where {FORMAT} and {ALONE} are known")
    return value[0]
