"""Accepting, outcomes and moves: what is called for every message (compiled).

The fields `where` and `due_us` of a recipient always describe its last scheduled row. Changes are
applied in the order of the calls; an outcome's only after its record is synced in the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from mta.errors import SpoolBusyError, SpoolError
from mta.model import Recipient, Where
from mta.spool import encoder, keys
from mta.spool.changes import INDEX, MESSAGES, Frame, stored

if TYPE_CHECKING:
    from mta.model import Message
    from mta.spool.bodies import BodyStore
    from mta.spool.changes import Done, Op, Stored
    from mta.spool.cycle import Cycle
    from mta.spool.space import Space
    from mta.spool.young import Young

    Dsn = tuple[Message, list[Recipient], Done]

_FRESH, _DUE, _BACKLOG = map(int, (Where.FRESH, Where.DUE, Where.BACKLOG))


class Writes:
    """The writing half of a shard, which sets the fields that have no value here."""

    number: int
    _cycle: Cycle
    _bodies: BodyStore
    _young: Young
    _space: Space

    def __init__(self) -> None:
        self._closing = False
        self._messages: WeakValueDictionary[bytes, Message] = WeakValueDictionary()
        # What was read of the indexes: no row is put behind that.
        self._due_mark = self._expiry_mark = 0
        self._lane_marks: dict[bytes, int] = {}

    # -- acceptance

    @property
    def problem(self) -> str | None:
        """Why new mail is refused, for people; None when all is well."""
        return self._cycle.problem or self._space.problem() or self._cycle.kept.problem

    def accept(self, message: Message, recipients: list[Recipient], done: Done) -> None:
        """Store a message with its body; `done(None)` or `done(error)` follows on the loop.

        Raises SpoolBusyError before anything is taken. Rows follow from each recipient's `where`;
        nothing else may be done with the recipients before `done`.
        """
        cycle, body = self._cycle, message.body
        assert body is not None, "a message is accepted with its body"
        problem = cycle.problem
        if not cycle.incoming:  # the first of a group looks at the disk
            self._space.begin()
            problem = problem or cycle.kept.problem
        if problem is None:
            problem = self._space.take(len(body))
        if problem or self._closing:
            cycle.stats.refused += 1
            raise SpoolBusyError(problem or f"shard {self.number} is closing")
        one = self.taken(message, recipients, self._young.may_be(message.id))
        one.done = done
        cycle.unlogged[message.id] = None
        cycle.accept(one)

    def taken(self, message: Message, recipients: list[Recipient], young: bool = False) -> Stored:
        """The rows of a message that is accepted here, as another's outcome or in recovery."""
        message.open = message.total = len(recipients)
        for recipient in recipients:
            if recipient.where != _FRESH:
                recipient.due_us = self._ahead(recipient, recipient.where, recipient.due_us)
            self._expires_ahead(recipient)
        if message.total > 1:
            self._messages[message.id] = message
        return stored(message, recipients, self._bodies, young)

    # -- outcomes

    def log(self, line: bytes, logged: bytes | None = None) -> None:
        """A record without a change; `logged` is the id of a message whose Reception it is."""
        frame = self._frame()
        frame.lines.append(line)
        if logged is not None:
            frame.logged.append(logged)
        self._cycle.changed()

    def close(self, recipient: Recipient, line: bytes, dsn: Dsn | None = None) -> None:
        """End a recipient with its terminal record; a DSN is stored in the same batch.

        The DSN's callable gets None when that batch is synced.
        """
        frame, message = self._frame(), recipient.message
        key = keys.recipient(message.id, recipient.number)
        if self._cycle.is_closed(key):
            raise ValueError(f"{recipient!r} is closed")
        frame.lines.append(line)
        if self._young.forget(key):
            frame.changes.ops.append((MESSAGES, key, None))
        else:
            expiry = keys.expiry(recipient.expires_us, key)
            frame.changes.remove(key, keys.row(recipient, key), expiry)
        frame.changing[key] = None
        message.open -= 1
        if message.total == 1:
            frame.changes.end(message)
        else:
            frame.touched[message.id] = message
        if dsn is not None:
            frame.changes.accepted.append(self.taken(dsn[0], dsn[1]))
            self._cycle.unlogged[dsn[0].id] = None
            frame.done.append(dsn[2])
        self._cycle.changed()

    def defer(self, recipient: Recipient, line: bytes | None, where: int, due_us: int) -> None:
        """Log a record, then move the recipient: its record is stored as it is now.

        `due_us` of the recipient may become a little later, so that no reader has passed it.
        """
        if line is None:
            self.move(recipient, where, due_us)
            return
        frame = self._frame()
        frame.lines.append(line)
        self._moved(frame, recipient, where, due_us)

    def move(self, recipient: Recipient, where: int, due_us: int | None = None) -> None:
        """Move a recipient without a record; it is written with the next cycle."""
        due_us = recipient.due_us if due_us is None else due_us
        key = keys.recipient(recipient.message.id, recipient.number)
        if self._cycle.pending(key)[0]:  # behind the changes that wait for their frame
            self._moved(self._frame(), recipient, where, due_us)
            return
        self._check_open()
        self._cycle.moves.ops += self.change(recipient, key, where, due_us)
        self._cycle.kick()

    def _moved(self, frame: Frame, recipient: Recipient, where: int, due_us: int) -> None:
        key = keys.recipient(recipient.message.id, recipient.number)
        frame.changes.ops += self.change(recipient, key, where, due_us)
        frame.changing[key] = recipient
        if where == _DUE:
            frame.due_min = min(frame.due_min, recipient.due_us)
        elif where == _BACKLOG:
            frame.has_backlog = True
        self._cycle.changed()

    def expire_at(self, recipient: Recipient, expires_us: int) -> None:
        """Have a recipient expire at another time; it is written with the next cycle."""
        self._check_open()
        key = keys.recipient(recipient.message.id, recipient.number)
        old: list[Op] = [(INDEX, keys.expiry(recipient.expires_us, key), None)]
        if self._young.forget(key):
            old = [(INDEX, keys.row(recipient, key), b"")]
        recipient.expires_us = expires_us
        self._expires_ahead(recipient)
        waits = self._cycle.pending(key)[0]
        changes = self._frame().changes if waits else self._cycle.moves
        changes.ops += old
        changes.ops.append((INDEX, keys.expiry(recipient.expires_us, key), b""))
        changes.ops.append((MESSAGES, key, encoder.encode_recipient(recipient)))
        if waits:
            self._frame().changing[key] = recipient
            self._cycle.changed()
        else:
            self._cycle.kick()

    def change(self, recipient: Recipient, key: bytes, where: int, due_us: int) -> list[Op]:
        """Put the recipient into its new place, and say what that means on the disk."""
        if self._young.forget(key):
            self._expires_ahead(recipient)
            ops: list[Op] = [(INDEX, keys.expiry(recipient.expires_us, key), b"")]
        else:
            ops = [(INDEX, keys.row(recipient, key), None)]
        recipient.due_us = self._ahead(recipient, where, due_us)
        recipient.where = where
        ops.append((INDEX, keys.row(recipient, key), b""))
        ops.append((MESSAGES, key, encoder.encode_recipient(recipient)))
        return ops

    def _ahead(self, recipient: Recipient, where: int, due_us: int) -> int:
        """A due time that no reader of its index has passed."""
        mark = 0
        if where == _DUE:
            mark = self._due_mark
        elif where == _BACKLOG and self._lane_marks:
            mark = self._lane_marks.get(keys.lane_of(recipient), 0)
        return due_us if due_us > mark else mark + 1

    def _expires_ahead(self, recipient: Recipient) -> bool:
        """Have a row e that is to be put not be behind its reader; whether that moved it."""
        if recipient.expires_us > self._expiry_mark:
            return False
        recipient.expires_us = self._expiry_mark + 1
        return True

    def _frame(self) -> Frame:
        self._check_open()
        return self._cycle.frame

    def _check_open(self) -> None:
        if self._cycle.closed:
            raise SpoolError(f"shard {self.number} is closed")
