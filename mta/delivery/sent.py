"""Contents that have left and wait for their reply: after a second they leave memory.

Most replies come at once, and cost nothing here but a look at each busy connection once a second.
A content whose reply takes longer is of no use any more unless it fails; then it is read back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mta.delivery.deadlines import TimerLoop

AGE = 1.0  # s a content stays in memory for its reply at least; at most twice that


class Sender(Protocol):
    """A connection whose content has left."""

    def unload(self, before: float) -> bool:
        """Give up content that left before that loop time; True: there is nothing to watch."""
        ...


class Sent:
    """The connections to be looked at; the timer runs only while there are some."""

    __slots__ = ("_loop", "_senders", "_timed")

    def __init__(self, loop: TimerLoop) -> None:
        self._loop = loop
        self._senders: list[Sender] = []
        self._timed = False

    def __len__(self) -> int:
        return len(self._senders)

    def watch(self, sender: Sender) -> None:
        """Look at it until its `unload` says that there is nothing."""
        self._senders.append(sender)
        self._time()

    def _time(self) -> None:
        if not self._timed:
            self._timed = True
            self._loop.call_at(self._loop.time() + AGE, self._look)

    def _look(self) -> None:
        self._timed = False
        before = self._loop.time() - AGE
        self._senders = [sender for sender in self._senders if not sender.unload(before)]
        if self._senders:
            self._time()
