"""What is to be written: plain values, so that a batch can be built again after a failure.

RocksDB uses a batch up even when writing it fails. A `Changes` is applied in the order of its
calls and may be applied twice: it only puts and deletes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mta.spool import keys, record

if TYPE_CHECKING:
    from collections.abc import Callable

    from rocksdict import WriteBatch

    from mta.model import Message, Recipient
    from mta.spool.bodies import BodyStore
    from mta.spool.store import Store

    Done = Callable[[BaseException | None], None]

NEVER = 1 << 63  # a time that does not come


class Stored(NamedTuple):
    """A message as it is put: its rows are (key, record, index row, expiry row)."""

    id: bytes
    body: bytes
    envelope: bytes
    rows: list[tuple[bytes, bytes, bytes, bytes]]


class Accepted(NamedTuple):
    """A message that waits for its commit."""

    stored: Stored
    done: Done


def stored(message: Message, recipients: list[Recipient]) -> Stored:
    """The rows of a new message."""
    rows, id = [], message.id
    for r in recipients:
        key = keys.recipient(id, r.number)
        expiry = keys.expiry(r.expires_us, key)
        rows.append((key, record.encode_recipient(r), keys.row(r, key), expiry))
    assert message.body is not None, "a message is accepted with its body"
    return Stored(id, message.body, record.encode_envelope(message), rows)


class Changes:
    """Rows to put and delete; `rows` are (key, record or None, old row, new or other row)."""

    __slots__ = ("accepted", "rows", "envelopes", "settings")

    def __init__(self) -> None:
        self.accepted: list[Stored] = []
        self.rows: list[tuple[bytes, bytes | None, bytes, bytes]] = []
        self.envelopes: list[tuple[bytes, bytes | None]] = []  # None deletes body and envelope
        self.settings: list[tuple[bytes, bytes | None]] = []

    def __bool__(self) -> bool:
        return bool(self.rows or self.accepted or self.envelopes or self.settings)

    def apply(self, batch: WriteBatch, store: Store, bodies: BodyStore) -> None:
        """Add everything to a batch."""
        put, delete, index, messages = batch.put, batch.delete, store.in_index, store.in_messages
        for message in self.accepted:
            put_message(message, batch, store, bodies)
        for key, value, old, other in self.rows:
            delete(old, index)
            if value is None:
                delete(other, index)
                delete(key, messages)
            else:
                put(other, b"", index)
                put(key, value, messages)
        for id, envelope in self.envelopes:
            if envelope is None:
                delete(id, messages)
                bodies.delete(batch, id)
            else:
                put(id, envelope, messages)
        for key, setting in self.settings:
            if setting is None:
                delete(key, store.in_default)
            else:
                put(key, setting, store.in_default)


def put_message(message: Stored, batch: WriteBatch, store: Store, bodies: BodyStore) -> None:
    """Add the rows of a new message to a batch."""
    put, index, messages = batch.put, store.in_index, store.in_messages
    bodies.put(batch, message.id, message.body)
    put(message.id, message.envelope, messages)
    for key, value, row, expiry in message.rows:
        put(key, value, messages)
        put(row, b"", index)
        put(expiry, b"", index)


def undo(messages: list[Stored]) -> Changes:
    """What takes messages away again that were written but refused."""
    changes = Changes()
    for message in messages:
        changes.rows += [(key, None, row, expiry) for key, _, row, expiry in message.rows]
        changes.envelopes.append((message.id, None))
    return changes


class Frame:
    """Records that go into the log together, and the changes that follow from them."""

    __slots__ = (
        "lines", "changes", "touched", "changing", "done", "logged", "due_min", "has_backlog",
        "position",
    )  # fmt: skip

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.changes = Changes()
        self.touched: dict[bytes, Message] = {}  # their `open` has changed
        self.changing: dict[bytes, Recipient | None] = {}  # by key; None: closed
        self.done: list[Done] = []  # to be called when `changes` are durable
        self.logged: list[bytes] = []  # ids of the Reception records
        self.due_min = NEVER  # earliest row d in `changes`
        self.has_backlog = False  # a row b in `changes`
        self.position: tuple[int, int] | None = None  # after the frame, once it is synced

    def __bool__(self) -> bool:
        return bool(self.lines or self.changes or self.done)

    def freeze(self) -> None:
        """Write down the envelopes as they are after the last call."""
        for id, message in self.touched.items():
            value = record.encode_envelope(message) if message.open > 0 else None
            self.changes.envelopes.append((id, value))
        self.touched.clear()
