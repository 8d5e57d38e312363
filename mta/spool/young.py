"""FRESH recipients that have no index rows yet: most end before they would need any (compiled).

A recipient gets its rows f and e when it has been FRESH for `AGE` to twice that, when many are, or
when somebody reads them. The row `listed` names a key: FRESH recipients below it have their rows;
those from it on are found in `messages` when the shard is opened, and get them then. While a
recipient has changes that wait for their log frame, `listed` stays below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta.errors import RecordError
from mta.model import Where
from mta.spool import encoder, keys, record
from mta.spool.changes import DEFAULT, INDEX, MESSAGES, NEVER, listing

if TYPE_CHECKING:
    from collections.abc import Callable

    from rocksdict import WriteBatch

    from mta.model import Recipient
    from mta.spool.changes import Stored
    from mta.spool.cycle import CallLater, Cycle, Timer
    from mta.spool.store import Store

AGE = 1.0  # s
MANY = 8192  # recipients; beyond it the older half gets its rows
SLICE = 1000  # records read at a time at a start


class Young:
    """FRESH recipients of a shard by key; keys rise in the order of their commits."""

    def __init__(
        self,
        store: Store,
        cycle: Cycle,
        call_later: CallLater,
        ahead: Callable[[Recipient], bool],
    ) -> None:
        """`ahead` moves an expiry that was read past; whether it did."""
        self._cycle, self._call_later, self._ahead = cycle, call_later, ahead
        self._young: dict[bytes, Recipient] = {}  # in rising order
        self._expiry = NEVER  # none of them expires before
        self._newest = b""  # the largest id that was accepted
        self._durable = b""  # the largest key that was committed
        self._mark = b""  # `_durable` at the last tick
        self._timer: Timer | None = None
        self.listed = store.get(store.default, keys.LISTED) or b""
        cycle.on_durable = self._add
        self._list_older(store)

    def may_be(self, id: bytes) -> bool:
        """Whether a new message's recipients may be without rows: not where ids do not rise."""
        if id <= self._newest:
            return False
        self._newest = id
        return True

    def forget(self, key: bytes) -> bool:
        """Whether a recipient that changes has no rows; from now on it is not known here."""
        return self._young.pop(key, None) is not None

    def list_all(self) -> None:
        """Give every recipient its rows."""
        self._list(NEVER_BELOW)

    def list_expiring(self, until_us: int) -> None:
        """Give recipients that expire by then their rows."""
        if self._expiry <= until_us:
            self.list_all()

    def close(self) -> None:
        """Give every recipient its rows, and have none without any more."""
        self._newest = NEVER_BELOW
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.list_all()
        self._set_listed()

    # -- beneath

    def _add(self, group: list[Stored]) -> None:
        """Messages are durable."""
        for one in group:
            key = b""
            for key, recipient in one.young:
                self._young[key] = recipient
                if recipient.expires_us < self._expiry:
                    self._expiry = recipient.expires_us
            # Others are passed, too: what waits on disk must not be read at every start.
            self._durable = key or max(self._durable, keys.recipient(one.message.id, LAST))
        if self._timer is None:
            if self._newest == NEVER_BELOW:  # closing
                self.list_all()
                return
            self._timer = self._call_later(AGE, self._tick)
        if len(self._young) > MANY:
            self._list_older_half()

    def _list_older_half(self) -> None:
        self._list(next(key for at, key in enumerate(self._young) if at >= MANY // 2))

    def _tick(self) -> None:
        """Time has passed: list what was young at the last tick, too."""
        self._timer = None
        self._list(self._mark)
        self._set_listed()
        self._mark = self._durable
        if self._young or self.listed <= self._durable:
            self._timer = self._call_later(AGE, self._tick)

    def _list(self, last: bytes) -> None:
        """Put the rows of the recipients up to the key `last`."""
        young, ops = self._young, self._cycle.moves.ops
        listed = []
        for key, recipient in young.items():
            if key > last:
                break
            if self._ahead(recipient):
                ops.append((MESSAGES, key, encoder.encode_recipient(recipient)))
            ops += listing(recipient, key)
            listed.append(key)
        for key in listed:
            del young[key]
        if not young:
            self._expiry = NEVER
        if listed:
            self._cycle.kick()

    def _set_listed(self) -> None:
        """Raise `listed` as far as is true."""
        first = next(iter(self._young), keys.after(self._durable))
        for frame in self._cycle.frames():
            waiting = (key for key in frame.changing if key >= self.listed)
            first = min(first, min(waiting, default=first))
        if first > self.listed and self._durable:
            self.listed = first
            self._cycle.moves.set(keys.LISTED, first)
            self._cycle.kick()

    def _list_older(self, store: Store) -> None:
        """At the opening: rows for those that an earlier run left without."""
        after, rows = self.listed, [(b"", b"")] * SLICE
        while len(rows) == SLICE:
            rows = store.records(after, keys.END, SLICE)
            batch = store.batch()
            for key, value in rows:
                if len(key) == keys.KEY_SIZE:
                    _list_found(batch, store, key, value)
            if rows:
                after = keys.after(rows[-1][0])
                batch.put(keys.LISTED, after, store.handles[DEFAULT])
                store.write(batch)
        self.listed = after


NEVER_BELOW = b"\xff" * (keys.KEY_SIZE + 1)  # above every key
LAST = (1 << 32) - 1  # above every number of a recipient


def _list_found(batch: WriteBatch, store: Store, key: bytes, value: bytes) -> None:
    """The rows of a recipient found by its record; what cannot be read is met by its row f."""
    index = store.handles[INDEX]
    try:
        where, expires_us = record.where(value)
    except RecordError:
        batch.put(keys.fresh(key), b"", index)
        return
    if where == Where.FRESH:
        batch.put(keys.fresh(key), b"", index)
        batch.put(keys.expiry(expires_us, key), b"", index)
