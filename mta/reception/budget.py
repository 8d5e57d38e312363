"""Room for content in memory: one budget for all workers, in the shared table.

What a client declares by SIZE is reserved at MAIL, else a little at DATA, and more as the content
comes. A reservation ends when the message has been handed on; the queues count what they keep.

Room for one largest message, `back`, is kept from all but one content of the node, the *elder*: of
those that wait half-way for more, there is always one that can be read to its end. It gets that
room at once: if it had to wait again, behind the others, all would wait for ever.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from mta.reception.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from mta._speedups.sharedtable import SharedTable

FIRST = 65_536  # octets reserved at DATA where no size was declared
STEP = 262_144  # octets by which a reservation grows at least
POLL = 0.05  # seconds between looks for room while contents wait: other workers give it back, too


class Budget:
    """One worker's hand on the node's budget."""

    __slots__ = ("limit", "back", "count", "waits", "_largest", "_table", "_worker",
                 "_call_later", "_waiting", "_elder", "_polling")  # fmt: skip

    def __init__(
        self,
        table: SharedTable,
        worker: int,
        octets: int,
        largest: int,
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        """`octets` for all workers; `largest` message that any listener takes."""
        self._table, self._worker, self._call_later = table, worker, call_later
        self.count = partial(table.count_memory, worker)  # octets that are there, or have gone
        self._waiting: deque[Client] = deque()
        self._elder: Client | None = None
        self._polling = False
        self.waits = 0  # times that content had to wait half-way
        self.resize(octets, largest)

    def resize(self, octets: int, largest: int) -> None:
        """Use another budget from now on."""
        self.limit, self._largest = octets, largest
        self.back = min(largest, octets // 2)

    def take(self, octets: int) -> bool:
        """Room for content that the queues read back; new mail keeps some free."""
        limit = self.limit - self.back * 3 // 2
        # Alone, the table would let it pass the limit: that is for new mail, which can't be less.
        return octets <= limit and self._table.take_memory(self._worker, octets, limit)

    def reserve(self, holder: Client, octets: int) -> bool:
        """Room for the whole of a message, or a message's beginning."""
        usual = self.limit - self.back
        taken = self._table.take_memory(self._worker, octets, usual)
        if not taken and octets > usual and self._promote(holder):
            taken = self._table.take_memory(self._worker, octets, self.limit)
            if not taken:
                self._demote()
        if taken:
            holder.reserved += octets
        return taken

    def release(self, holder: Client) -> None:
        """The content has been handed on, or given up."""
        octets = holder.reserved
        holder.reserved = 0
        self._table.count_memory(self._worker, -octets)
        if holder is self._elder:
            self._demote()

    def grow(self, holder: Client, size: int) -> bool:
        """Room for content that has `size` octets now; else `more_room` is called when there is."""
        if self._grow(holder, size):
            return True
        self.waits += 1
        self._waiting.append(holder)
        if not self._polling:
            self._polling = True
            self._call_later(POLL, self._poll)
        return False

    def _grow(self, holder: Client, size: int) -> bool:
        rest = self._largest - holder.reserved
        if holder is self._elder:  # all it may need, so that it need not wait again
            octets = max(rest, size - holder.reserved, 1)
            taken = self._grow_elder(octets)
        else:
            octets = max(min(max(STEP, size // 4), rest), size - holder.reserved, 1)
            taken = self._table.take_memory(self._worker, octets, self.limit - self.back)
        if taken:
            holder.reserved += octets
        return taken

    def _grow_elder(self, octets: int) -> bool:
        if self._table.take_memory(self._worker, octets, self.limit):
            return True
        if self.back >= self._largest:
            return False
        # A budget of less than two largest messages: waiting could be for ever.
        self._table.count_memory(self._worker, octets)
        return True

    def forget(self, holder: Client) -> None:
        """The holder waits no more."""
        if holder in self._waiting:
            self._waiting.remove(holder)

    def _poll(self) -> None:
        waiting = self._waiting
        while waiting:
            holder = waiting[0]
            if not self._grow(holder, 0) and not (self._promote(holder) and self._grow(holder, 0)):
                break
            waiting.popleft()
            holder.more_room()
        self._polling = bool(waiting)
        if self._polling:
            self._call_later(POLL, self._poll)

    def _promote(self, holder: Client) -> bool:
        """Let it be the elder, if there is none."""
        if self._elder is not None or not self._table.take_elder(self._worker):
            return False
        self._elder = holder
        return True

    def _demote(self) -> None:
        self._elder = None
        self._table.give_elder(self._worker)
