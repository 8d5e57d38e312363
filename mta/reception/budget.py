"""Room for content in memory: one budget for all workers, in the shared table (compiled).

A declared SIZE holds nothing, nor does a 354: DATA looks whether there is room for a read. What is
held follows the octets that have come, of content that is not whole at the end of its first read;
when it is, the queues count it. Without room, reading pauses. Where memory is tight, reads are
small, so what comes beyond the budget, all sessions reading once, is little; it is counted, too.

Room for one largest message, `back`, is kept from all but one content of the node, the *elder*: of
those that wait half-way for more, there is always one that can be read to its end. That room is
not counted, as nobody else has it. A part more is kept for contents that begin. Who gives way
when room is short: `mta.reception.pressure`.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from mta.reception.client import Client
from mta.reception.pressure import Pressure

if TYPE_CHECKING:
    from collections.abc import Callable

    from mta._speedups.sharedtable import SharedTable

READ = 65_536  # octets that one read brings at most
AHEAD = 4096  # octets that a reservation is ahead of what has come, at least
NEWCOMERS = 16  # a part of so many is for contents of at most a read
PRESS = 0.25  # seconds between looks for whom to drop for a newcomer's sake
POLL = 0.05  # seconds between looks for room while contents wait: other workers give it back, too
WATCH = 1.0  # seconds between looks at how contents get on

# C integers here
_READ: int = READ
_AHEAD: int = AHEAD


class Budget:
    """One worker's hand on the node's budget."""

    __slots__ = (
        "limit", "back", "count", "waits", "dropped", "tight", "on_tight", "_usual", "_part",
        "_first", "_grown",
        "_largest", "_table", "_worker", "_call_later", "_waiting", "_elder", "_polling",
        "_watching", "_pressed", "_pressure", "_holders",
    )  # fmt: skip

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
        self._polling = self._watching = self._pressed = False
        self._pressure = Pressure(table, worker)
        self._holders = self._pressure.holders
        self.waits = 0  # times that content had to wait half-way
        self.dropped = 0  # contents that had to give way
        self.tight = False
        self.on_tight: Callable[[bool], None] | None = None  # told when `tight` changes
        self.resize(octets, largest)

    def resize(self, octets: int, largest: int) -> None:
        """Use another budget from now on."""
        self.limit, self._largest = octets, largest
        self.back = min(largest, octets // 2)
        self._usual = octets - self.back
        self._first = min(READ, self._usual // 2)  # that a first read needs
        self._part = max(self._usual // NEWCOMERS, self._first)
        self._grown = self._usual - self._part

    def take(self, octets: int) -> bool:
        """Room for content that the queues read back; new mail keeps some free."""
        limit = self.limit - self.back * 3 // 2
        # Alone, the table would let it pass the limit: that is for new mail, which can't be less.
        return octets <= limit and self._table.take_memory(self._worker, octets, limit)

    def has(self, holder: Client) -> bool:
        """Is there room for content to begin, or to be handed on; nothing is held."""
        if self._table.fits_memory(self._first, self._usual) and not self._pressure.over:
            return True
        return self._find(holder)

    def _find(self, holder: Client) -> bool:
        """`has` where room is short: others may have to give way."""
        origin = holder.origin()
        fits = self._table.fits_memory(self._first, self._usual)
        if fits and origin not in self._pressure.over:
            return True
        self._pressure.refuse(origin)
        self._watch()
        if not self._pressed:
            self._pressed = True
            self._call_later(PRESS, self._relax)
            self._relieve()
            fits = self._table.fits_memory(self._first, self._usual)
        return fits and origin not in self._pressure.over

    def reserve(self, holder: Client, octets: int) -> bool:
        """Room for content that is whole, and waits for somebody's judgement."""
        taken = self._table.take_memory(self._worker, octets, self._usual)
        if not taken and octets > self._usual and self._promote(holder):
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
        self._holders.discard(holder)
        self._table.count_memory(self._worker, -octets)
        if holder is self._elder:
            self._demote()

    def grow(self, holder: Client, size: int) -> bool:
        """Room for content that has `size` octets now; else `more_room` is called when there is."""
        if holder not in self._holders:
            holder.mark = holder.pace = -1
            self._holders.add(holder)
            self._watch()
        if self._may_grow(holder) and self._grow(holder, size, _AHEAD):
            if not self.tight and not self._table.fits_memory(0, self._grown):
                self._tighten(True)
            return True
        self._count(holder, size)
        self.waits += 1
        self._tighten(True)
        self._waiting.append(holder)
        if not self._polling:
            self._polling = True
            self._call_later(POLL, self._poll)
        return False

    def _may_grow(self, holder: Client) -> bool:
        over = self._pressure.over
        return not over or holder is self._elder or holder.origin() not in over

    def _grow(self, holder: Client, size: int, ahead: int) -> bool:
        if holder is self._elder:
            self._count(holder, size - self.back)
            return True
        rest = self._largest - holder.reserved
        octets = max(size + max(ahead, size // 4) - holder.reserved, 1)
        if octets > rest:
            octets = max(rest, size - holder.reserved, 1)
        limit = self._usual if size <= _READ and ahead == _AHEAD else self._grown
        taken = self._table.take_memory(self._worker, octets, limit)
        if taken:
            holder.reserved += octets
        return taken

    def _count(self, holder: Client, octets: int) -> None:
        """So many are there, whatever the limit."""
        if octets > holder.reserved:
            self._table.count_memory(self._worker, octets - holder.reserved)
            holder.reserved = octets

    def forget(self, holder: Client) -> None:
        """The holder waits no more."""
        if holder in self._waiting:
            self._waiting.remove(holder)

    def _poll(self) -> None:
        if self._pressure.over:  # those above their share come last
            self._waiting = deque(sorted(self._waiting, key=lambda one: not self._may_grow(one)))
        waiting = self._waiting
        while waiting:
            holder = waiting[0]
            if not self._serve(holder):
                break
            waiting.popleft()
            holder.more_room()
        self._polling = bool(waiting)
        if self._polling:
            self._call_later(POLL, self._poll)

    def _serve(self, holder: Client) -> bool:
        """Room for one that waits, and for its next read."""
        size = max(0, holder.held())
        if self._may_grow(holder) and self._grow(holder, size, _READ):
            return True
        return self._promote(holder) and self._grow(holder, size, _READ)

    def _promote(self, holder: Client) -> bool:
        """Let it be the elder, if there is none."""
        if self._elder is not None or not self._table.take_elder(self._worker):
            return False
        self._elder = holder
        return True

    def _demote(self) -> None:
        self._elder = None
        self._table.give_elder(self._worker)

    # Where room is short.

    def _watch(self) -> None:
        """Look at how contents get on, once a second while there are any."""
        if not self._watching:
            self._watching = True
            self._call_later(WATCH, self._look)

    def _look(self) -> None:
        self._pressure.measure(set(self._waiting))
        self._relieve()
        self._tighten(not self._table.fits_memory(0, self._grown - self._usual // 4))
        self._watching = not self._pressure.idle or self.tight
        if self._watching:
            self._call_later(WATCH, self._look)

    def _relax(self) -> None:
        self._pressed = False

    def _relieve(self) -> None:
        """Have the idlest give way, where somebody wants room and there is none."""
        self._pressure.tell(self._waiting)
        memory, waiting = self._table.memory(), set(self._waiting)
        need = memory + self._part - self._grown
        part = self._usual // self._table.workers
        for holder in self._pressure.victims(part, need, memory, waiting):
            self.dropped += 1
            holder.give_way()

    def _tighten(self, tight: bool) -> None:
        if tight is not self.tight:
            self.tight = tight
            if self.on_tight is not None:
                self.on_tight(tight)
