"""Every key of the spool's layout (docs/design.md), built and taken apart; all pure (compiled)."""

from __future__ import annotations

from struct import Struct
from struct import error as StructError
from typing import TYPE_CHECKING, NamedTuple

from mta.errors import RecordError
from mta.model import Where

if TYPE_CHECKING:
    from mta.model import Recipient

FORMAT, SHARD, EPOCH, LOG, LOGGED = b"format", b"shard", b"epoch", b"log", b"logged"
ALIVE = b"alive"  # wall clock when the shard was last served
ACT = b"act"
COVERED = b"covered"  # + u64: the newest message that an act covers
LISTED = b"listed"  # recipients below it that are FRESH have their index rows
MOVING = b"moving"  # + u32: a segment that is being emptied
BATCH = b"batch"  # in every batch: whose it is, its number, the last one that was synced
SEGMENT = b"segment"  # + u32: a segment whose file must be there; its units
NEWEST = b"newest"  # the number of the segment that was made last
LOST = b"lost"  # + u32: a segment whose file is missing, and an operator has given it up
FRAME = b"frame"  # + u64: the lines of a frame that the log could not take

ID_SIZE = 16
KEY_SIZE = 20  # id + rno
END = b"\xff" * KEY_SIZE  # above every id + rno

_U16, _U32, _U64 = Struct(">H"), Struct(">I"), Struct(">Q")
_POSITION = Struct(">QQ")
_BATCH, _MARK = Struct(">8sQQ"), Struct(">8sQ")
BATCH_SIZE = _BATCH.size
IDENTITY_SIZE = 8
_SMALL = [_U32.pack(number) for number in range(1024)]

_FRESH, _DUE, _BACKLOG, _HELD = map(int, (Where.FRESH, Where.DUE, Where.BACKLOG, Where.HELD))

u32, u64 = _U32.pack, _U64.pack


class Lane(NamedTuple):
    """What a backlog is kept by."""

    klass: int
    tenant: str
    campaign: str
    domain: str


class Mark(NamedTuple):
    """How far a shard is: `synced` is the number of the last batch that is on the disk for sure."""

    identity: bytes  # of the database: another one in its place counts anew
    synced: int
    number: int = 0  # of the batch that says so


def parse_u32(value: bytes) -> int:
    """The number in four bytes."""
    return int(_U32.unpack(value)[0])


def parse_u64(value: bytes) -> int:
    """The number in eight bytes."""
    return int(_U64.unpack(value)[0])


def position(segment: int, offset: int) -> bytes:
    """The value of the `log` row."""
    return _POSITION.pack(segment, offset)


def parse_position(value: bytes) -> tuple[int, int]:
    """Segment and offset from the `log` row."""
    segment, offset = _POSITION.unpack(value)
    return segment, offset


def batch(identity: bytes, number: int, synced: int) -> bytes:
    """The value of the `batch` row."""
    return _BATCH.pack(identity, number, synced)


def parse_batch(value: bytes) -> Mark:
    """What a `batch` row says."""
    identity, number, synced = _BATCH.unpack(value)
    return Mark(identity, synced, number)


def mark(identity: bytes, synced: int) -> bytes:
    """What the log keeps of a shard beside its frames."""
    return _MARK.pack(identity, synced)


def parse_mark(value: bytes) -> Mark | None:
    """The mark that the log has kept; None if there is none."""
    return Mark(*_MARK.unpack(value)) if len(value) == _MARK.size else None


def act(sequence: int) -> bytes:
    """The row of an act's cursor."""
    return ACT + _U64.pack(sequence)


def covered(sequence: int) -> bytes:
    """The row that tells which mail an act covers."""
    return COVERED + _U64.pack(sequence)


def moving(number: int) -> bytes:
    """The row of a segment that is being emptied."""
    return MOVING + _U32.pack(number)


def segment(number: int) -> bytes:
    """The row of a segment whose file must be there."""
    return SEGMENT + _U32.pack(number)


def lost(number: int) -> bytes:
    """The row of a segment that an operator has given up."""
    return LOST + _U32.pack(number)


def frame(number: int) -> bytes:
    """The row of a frame that the log could not take."""
    return FRAME + _U64.pack(number)


def recipient(id: bytes, number: int) -> bytes:
    """id + rno: the recipient record, and the tail of each of its index rows."""
    return id + (_SMALL[number] if number < 1024 else _U32.pack(number))


def parse_recipient(key: bytes) -> tuple[bytes, int]:
    """The id and the number from a key that ends in them."""
    if len(key) < KEY_SIZE:
        raise RecordError(f"{key.hex()} does not end in an id and a recipient number")
    return key[-20:-4], parse_u32(key[-4:])


def fresh(key: bytes) -> bytes:
    """Row f of the recipient `key`."""
    return b"f" + key


def held(key: bytes) -> bytes:
    """Row h of the recipient `key`."""
    return b"h" + key


def due(when_us: int, key: bytes) -> bytes:
    """Row d of the recipient `key`."""
    return b"d" + _U64.pack(when_us) + key


def expiry(when_us: int, key: bytes) -> bytes:
    """Row e of the recipient `key`."""
    return b"e" + _U64.pack(when_us) + key


def timed(row: bytes) -> int:
    """The time in a row d or e."""
    return parse_u64(row[1:9])


def lane(lane: Lane | tuple[int, str, str, str]) -> bytes:
    """The part of a row b before its time."""
    klass, *names = lane
    parts = [b"b", bytes((klass,))]
    for name in names:
        text = str(name).encode()
        parts += (_U16.pack(len(text)), text)
    return b"".join(parts)


def backlog(prefix: bytes, when_us: int, key: bytes) -> bytes:
    """Row b of the recipient `key` in the lane `prefix`."""
    return prefix + _U64.pack(when_us) + key


def parse_backlog(row: bytes) -> tuple[Lane, bytes, int]:
    """Lane, lane prefix and due time of a row b."""
    names, at = [], 2
    try:
        for _ in range(3):
            (size,) = _U16.unpack_from(row, at)
            names.append(row[at + 2 : at + 2 + size].decode())
            at += 2 + size
        (when,) = _U64.unpack_from(row, at)
    except (ValueError, IndexError, OverflowError, StructError) as error:
        raise RecordError(f"{row.hex()} is no backlog row: {error}") from None
    if len(row) != at + 8 + KEY_SIZE:
        raise RecordError(f"{row.hex()} is no backlog row: its length is wrong")
    return Lane(row[1], *names), row[:at], when


def lane_of(recipient: Recipient) -> bytes:
    """The lane prefix that a recipient belongs to."""
    message = recipient.message
    return lane((message.klass, message.tenant, message.campaign, recipient.domain))


def row(recipient: Recipient, key: bytes) -> bytes:
    """The index row that `where` and `due_us` describe."""
    where = recipient.where
    if where == _FRESH:
        return b"f" + key
    if where == _DUE:
        return b"d" + _U64.pack(recipient.due_us) + key
    if where == _BACKLOG:
        return lane_of(recipient) + _U64.pack(recipient.due_us) + key
    if where == _HELD:
        return b"h" + key
    raise ValueError(f"{recipient!r} has no row")


def after(row: bytes) -> bytes:
    """The smallest key above `row`."""
    return row + b"\0"


def before(key: bytes) -> bytes:
    """The largest key of this length below `key`."""
    return (int.from_bytes(key, "big") - 1).to_bytes(len(key), "big")


def above(prefix: bytes) -> bytes:
    """The smallest key above everything that begins with `prefix`."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes((stripped[-1] + 1,))
