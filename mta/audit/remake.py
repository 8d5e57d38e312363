"""Messages made again of what a log knows of them and a content that is whole.

A Reception record has the envelope, but for what a client asked of DSNs, a priority, a release
time, and the addresses beyond the first hundred; these are lost.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from mta.maillog.records import CLASSES
from mta.model import Flag, Message, Recipient
from mta.spool import encoder, keys, record

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from mta.audit.source import Source
    from mta.maillog.records import Fields
    from mta.spool.store import Store

    Row = tuple[str, bytes, bytes | None]

_DOT_LINE = re.compile(rb"(?:\A|\n)\.")
_LONG_LINE = re.compile(rb"[^\r\n]{999}")
_BINARY = re.compile(rb"\0|\r(?!\n)|(?<!\r)\n")
_EIGHT_BIT = re.compile(rb"[\x80-\xff]")


class Content(NamedTuple):
    """Where a content is, and what it is like."""

    place: int  # 0: with the other rows
    size: int
    flags: int


def contents(source: Source, store: Store, wanted: Container[bytes]) -> dict[bytes, Content]:
    """The contents of messages that are whole, in the segments and in the new database."""
    found = {
        id: Content(place, len(body), flags(body))
        for id, place, body in source.contents()
        if id in wanted
    }
    for id in wanted if isinstance(wanted, dict) else ():
        body = store.get(store.bodies, id) if id not in found else None
        if body is not None:
            found[id] = Content(0, len(body), flags(body))
    return found


def flags(body: bytes) -> int:
    """What reception finds out about a content, and what its client must have declared."""
    found = 0
    if _EIGHT_BIT.search(body):
        found |= Flag.EIGHT_BIT | Flag.BODY_8BITMIME
    if _EIGHT_BIT.search(body.partition(b"\r\n\r\n")[0]):
        found |= Flag.SMTPUTF8
    if _DOT_LINE.search(body):
        found |= Flag.DOT_LINES
    if _LONG_LINE.search(body):
        found |= Flag.LONG_LINES
    if _BINARY.search(body):
        found |= Flag.BINARYMIME
    return found


def made(
    store: Store,
    id: bytes,
    reception: Fields,
    numbers: list[int],
    content: Content | None,
    max_age_us: int,
) -> list[Recipient]:
    """The recipients that can be made again, of one message."""
    shown = reception.get("recipients", [])
    message = _there(store, id) or _message(id, reception, content)
    if message is None:
        return []
    time = reception["time"]
    return [
        Recipient(message, number, shown[number], due_us=time, expires_us=time + max_age_us)
        for number in numbers
        if number < len(shown)
    ]


def _there(store: Store, id: bytes) -> Message | None:
    """The message as its envelope has it, if that is there; others of its recipients are."""
    value = store.get(store.messages, id)
    return record.decode_envelope(id, value) if value else None


def _message(id: bytes, reception: Fields, content: Content | None) -> Message | None:
    if content is None or content.size != reception.get("size"):
        return None
    addresses = [reception.get("sender", ""), *reception.get("recipients", [])]
    utf8 = 0 if all(one.isascii() for one in addresses) else Flag.SMTPUTF8
    klass = reception.get("class", "normal")
    return Message(
        id,
        reception.get("sender") or "",
        tenant=reception.get("tenant", ""),
        campaign=reception.get("campaign", ""),
        pool=reception.get("pool", ""),
        klass=CLASSES.index(klass) if klass in CLASSES else 1,
        received_us=reception["time"],
        size=content.size,
        flags=content.flags | utf8,
        peer_name=reception.get("peer_name", ""),
        peer_address=reception.get("peer_address", ""),
        message_id=reception.get("message_id", ""),
        session=reception.get("session", ""),
        open=1,
        total=reception.get("total", 1),
        place=content.place,
    )


def rows(one: Recipient) -> Iterator[Row]:
    """A recipient's records, without the rows that lead to it."""
    id = one.message.id
    if one.message.total > 1:
        yield "messages", id, encoder.encode_envelope(one.message)
    yield "messages", keys.recipient(id, one.number), encoder.encode_recipient(one)


def named(reception: Fields, number: int) -> str:
    """A recipient for people."""
    shown = reception.get("recipients", [])
    address = shown[number] if number < len(shown) else "of an address that the log does not show"
    return f"{reception['id']}/{number} {address}"
