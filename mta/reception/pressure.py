"""Who has to give way when room for content is short.

A worker looks at the contents in progress once a second: how much of each has come, and how fast.
Room is short when somebody, on any worker, wants some and finds none: content half-way, or (worse)
a newcomer at DATA. Then the idlest contents are dropped, as many as make room: those that come
slowly beside what they hold, so bursts and large holdings buy no time. While others want room, a
client network that holds more than its share is dropped down to it, and gets no more meanwhile. A
network alone may hold everything: nobody else wants it.

Each worker judges what it holds itself, its share being that of one worker; whom the others lack
room for is told through the shared table, as a number for the network.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mta._speedups.sharedtable import SharedTable
    from mta.reception.client import Client

# The least that may come in a second, beside what is held:
FLOWS = 1 / 64  # where contents wait half-way
HURRIES = 1 / 4  # where newcomers are refused
LEAST = 4096  # octets: less counts as so many

LOOKS = 2  # looks for which a refused newcomer is remembered, and until paces are known
PATIENCE = 5  # looks that others wait before a network is cut to its share
MOST = 256  # networks remembered

TOLD, HURRY = 1, 2  # bits of what a worker tells the others; above them the network, 0 for several


def number(origin: bytes) -> int:
    """A network, as workers know it; never 0."""
    return zlib.crc32(origin) or 1


class Pressure:
    """One worker's contents in progress, and what becomes of them."""

    def __init__(self, table: SharedTable, worker: int) -> None:
        self._table, self._worker = table, worker
        self.holders: set[Client] = set()  # contents that came in more than one piece
        self.over: frozenset[bytes] = frozenset()  # networks above their share, as others want room
        self._refused: dict[bytes, int] = {}  # looks for which a newcomer's network is remembered
        self._short = 0  # looks in a row that found networks above their share
        self._wanted: set[int] = set()  # networks that want room, 0 among them for several
        self._hurried = False  # newcomers are refused
        self._refusals = 0  # looks in a row that found them refused

    @property
    def idle(self) -> bool:
        """Whether there is nothing to look at."""
        return not self.holders and not self._refused

    def refuse(self, origin: bytes) -> None:
        """A newcomer found no room."""
        if len(self._refused) < MOST:
            self._refused[origin] = LOOKS

    def measure(self, waiting: Collection[Client]) -> None:
        """A second has passed: how fast contents come, but for those that wait for us."""
        for holder in self.holders:
            held, mark = holder.held(), holder.mark
            if held >= 0 and holder not in waiting:
                grown = max(0, held - mark)
                holder.mark = held
                if mark >= 0:
                    holder.pace = grown if holder.pace < 0 else (holder.pace + grown) // 2
        self._refused = {origin: looks - 1 for origin, looks in self._refused.items() if looks > 1}
        self._short = self._short + 1 if self.over else 0
        self._refusals = self._refusals + 1 if self._hurried else 0

    def tell(self, waiting: Iterable[Client]) -> None:
        """Let the other workers know who wants room here, and take in who wants some there."""
        mine = {number(origin) for origin in self._refused}
        mine.update(number(holder.origin()) for holder in waiting)
        told = 0
        if mine:
            told = TOLD | HURRY * bool(self._refused) | (mine.pop() if len(mine) == 1 else 0) << 8
        self._table.want_memory(self._worker, told)
        wants = [want for want in self._table.wanting() if want]
        self._wanted = {want >> 8 for want in wants}
        self._hurried = any(want & HURRY for want in wants)

    def victims(
        self, part: int, need: int, memory: int, waiting: Collection[Client]
    ) -> list[Client]:
        """Whose contents end, so that `need` octets of the node's `memory` come free.

        Other workers do their part of it; `part` is what this one may hold, were all alike.
        """
        self.over = frozenset()
        if need <= 0 or not self._wanted:
            return []
        held, contents = Counter[bytes](), Counter[bytes]()
        for holder in self.holders:
            held[holder.origin()] += holder.reserved
            contents[holder.origin()] += 1
        need = max(LEAST, need * held.total() // max(1, memory))
        fair = part // max(1, len({number(origin) for origin in held} | self._wanted))
        self.over = frozenset(
            origin
            for origin, octets in held.items()
            if octets > fair and contents[origin] > 1 and self._wanted - {number(origin)}
        )
        found = []
        for holder in self._candidates(waiting):
            if need <= 0:
                break
            origin = holder.origin()
            at_share = held[origin] <= fair or contents[origin] == 1
            if holder in waiting and at_share and self._refusals < LOOKS:
                continue
            found.append(holder)
            need -= holder.reserved
            held[origin] -= holder.reserved
            contents[origin] -= 1
        return found

    def _candidates(self, waiting: Collection[Client]) -> list[Client]:
        """Whose contents may end: the idlest first, then of those that wait for us the least."""
        least = HURRIES if self._hurried else FLOWS
        turns = [holder for holder in self.holders if holder.held() >= 0]  # others are whole
        slow = [h for h in turns if h not in waiting and h.pace >= 0 and flow(h) < least]
        late = self._refusals >= LOOKS  # by now it is known who is idle
        cut = self.over if self._short >= PATIENCE else ()
        stuck = [h for h in turns if h in waiting and (late or h.origin() in cut)]
        stuck.sort(key=lambda h: (h.origin() not in self.over, h.held()))
        return sorted(slow, key=flow) + stuck


def flow(holder: Client) -> float:
    """What comes in a second, as a part of what is held."""
    return holder.pace / max(LEAST, holder.held())
