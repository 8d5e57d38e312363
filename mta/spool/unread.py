"""Index rows whose records cannot be read: an error of the disk, or a damaged block.

Nothing is done to that mail: it is told, the rows are tried again, and `mta spool repair` makes
anew what the disk does not give any more.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from mta.alarms import Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mta.clock import Clock
    from mta.errors import SpoolError
    from mta.spool.store import Store

AGAIN = 10.0  # s between two attempts
SLICE = 64  # rows of one attempt
MANY = 10_000  # rows that are remembered; a start reads the others again
LOADED = (b"f", b"d", b"b")  # rows that lead to what is to be sent


class UnreadRows:
    """Those of one shard; on the loop."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._rows: dict[bytes, float] = {}  # and when each may be tried again, in that order
        self._why = ""

    def note(self, row: bytes, error: SpoolError) -> None:
        """A row's record could not be read."""
        self._why = getattr(error, "what", "") or str(error)
        if row[:1] in LOADED and len(self._rows) < MANY:
            self._rows[row] = self._clock.monotonic() + AGAIN

    def due(self) -> list[bytes]:
        """Rows that are to be tried again now; they are forgotten unless they are noted again."""
        if not self._rows:
            return []
        now = self._clock.monotonic()
        rows = [row for row, when in islice(self._rows.items(), SLICE) if when <= now]
        for row in rows:
            del self._rows[row]
        return rows

    def troubles(self) -> Iterator[Trouble]:
        """What operators should know of."""
        damage, count = self._store.damage, len(self._rows)
        if not damage and not count:
            return
        number = self._store.number
        yield Trouble(
            "unreadable_records",
            f"shard {number}: its database cannot be read in places: {damage or self._why}; mail"
            " there stays queued and is tried again; look at the disk, then stop the server and"
            f" `mta spool repair --shard {number}`",
            max(1, count),
        )
