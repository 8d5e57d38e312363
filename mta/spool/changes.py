"""What is to be written: values, to build a batch again after a failure (compiled).

RocksDB uses a batch up even when writing it fails. A `Changes` is applied in the order of its
calls and may be applied twice: it only puts and deletes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mta.model import Where
from mta.spool import encoder, keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from rocksdict import WriteBatch

    from mta.model import Message, Recipient
    from mta.spool.bodies import BodyStore
    from mta.spool.store import Store

    Done = Callable[[BaseException | None], None]
    Op = tuple[int, bytes, bytes | None]  # family, key, value; None deletes

NEVER = (1 << 63) - 1  # a time that does not come
DEFAULT, BODIES, MESSAGES, INDEX = range(4)  # as in options.FAMILIES
_FRESH = int(Where.FRESH)


class Stored:
    """A message as it is put."""

    __slots__ = ("message", "ops", "young", "done")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.ops: list[Op] = []
        self.young: list[tuple[bytes, Recipient]] = []  # recipients without index rows, by key
        self.done: Done | None = None


def stored(
    message: Message, recipients: list[Recipient], bodies: BodyStore, young: bool = False
) -> Stored:
    """The rows of a new message; if it is `young`, FRESH recipients have no index rows yet."""
    one, id, body = Stored(message), message.id, message.body
    assert body is not None, "a message is accepted with its body"
    message.size = len(body)
    message.place = bodies.place(id, body)
    if not message.place:
        one.ops.append((BODIES, id, body))
    if message.total > 1:
        one.ops.append((MESSAGES, id, encoder.encode_envelope(message)))
    for r in recipients:
        key = keys.recipient(id, r.number)
        one.ops.append((MESSAGES, key, encoder.encode_recipient(r)))
        if young and r.where == _FRESH:
            one.young.append((key, r))
        else:
            one.ops += listing(r, key)
    return one


def listing(r: Recipient, key: bytes) -> tuple[Op, Op]:
    """The index rows of a recipient that has none."""
    return (INDEX, keys.row(r, key), b""), (INDEX, keys.expiry(r.expires_us, key), b"")


class Changes:
    """Rows to put and delete; a row that is b"" does not exist."""

    __slots__ = ("accepted", "ops", "ended", "after")

    def __init__(self) -> None:
        self.accepted: list[Stored] = []
        self.ops: list[Op] = []
        self.ended: list[Message] = []  # their bodies are to be deleted
        self.after: list[Callable[[], None]] = []  # called when all this is durable

    def __bool__(self) -> bool:
        return bool(self.ops or self.accepted or self.ended or self.after)

    def remove(self, key: bytes, *rows: bytes) -> None:
        """Delete a recipient and its index rows."""
        self.ops += [(INDEX, row, None) for row in rows]
        self.ops.append((MESSAGES, key, None))

    def set(self, key: bytes, value: bytes | None) -> None:
        """Put or delete a row of `default`."""
        self.ops.append((DEFAULT, key, value))

    def put_body(self, id: bytes, body: bytes) -> None:
        """Put a body into RocksDB."""
        self.ops.append((BODIES, id, body))

    def end(self, message: Message) -> None:
        """Delete a body, and the envelope where it has a row of its own."""
        self.ended.append(message)
        if message.total != 1:
            self.ops.append((MESSAGES, message.id, None))

    def apply(self, batch: WriteBatch, store: Store, bodies: BodyStore) -> None:
        """Add everything to a batch."""
        for one in self.accepted:
            apply(one.ops, batch, store.handles)
        apply(self.ops, batch, store.handles)
        for message in self.ended:
            bodies.delete(batch, message.id, message.place)


def apply(ops: list[Op], batch: WriteBatch, families: list[Any]) -> None:
    """Add puts and deletes to a batch, with the handles of all families."""
    put = batch.put
    for family, key, value in ops:
        if value is None:
            batch.delete(key, families[family])
        else:
            put(key, value, families[family])


def undo(messages: list[Stored]) -> Changes:
    """What takes messages away again that were written but refused."""
    changes = Changes()
    for one in messages:
        changes.ops += [(family, key, None) for family, key, _ in one.ops]
        changes.ended.append(one.message)
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
            if message.open > 0:
                self.changes.ops.append((MESSAGES, id, encoder.encode_envelope(message)))
            else:
                self.changes.end(message)
        self.touched.clear()
