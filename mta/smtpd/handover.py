"""Passing accepted connections between workers, before the greeting.

The kernel spreads connections over the workers' listening sockets by a hash, so four injectors may
all meet one worker. A worker that has more than its share with a new connection sends it to the
one with the fewest, by SCM_RIGHTS through that worker's *inbox*: one end of a socket pair that the
supervisor keeps open. What is in an inbox whose worker dies is not lost: the supervisor passes it
on, or its successor takes it out. A worker gives a sign of life once a second; one that hangs gets
no more, and what waits for it is passed on, too.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import TYPE_CHECKING

from mta._speedups.verdict import Reason, Verdict
from mta.reception.policy import UNIX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mta._speedups.sharedtable import SharedTable
    from mta.clock import Clock

SESSIONS = b"sessions"  # the key of the slot that counts sessions
LABEL = 512  # octets of a label at most: the listener's number, a blank, the client's address
AGAIN = 0.005  # seconds until a full inbox is tried again
STOPPED = Verdict(421, "4.3.2", "Service is shutting down, try again later", Reason.STOPPING)
TAKES = 32  # connections taken per wake-up, so that sessions get their turn


def pair() -> tuple[socket.socket, socket.socket]:
    """An inbox: the end to send to, and the one to take out of."""
    to, out = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    to.setblocking(False)
    out.setblocking(False)
    return to, out


def send(inbox: socket.socket, label: bytes, fd: int) -> bool:
    """Put a connection into an inbox; False if it is full."""
    try:
        socket.send_fds(inbox, [label], [fd])
    except OSError:  # full, or too many descriptors under way: whoever has it keeps it
        return False
    return True


def receive(inbox: socket.socket) -> tuple[bytes, int] | None:
    """A connection from an inbox, with its label; None when it is empty.

    The descriptor is -1 if there was none free to receive it: the connection is lost.
    """
    try:
        label, fds, _, _ = socket.recv_fds(inbox, LABEL, 1, socket.MSG_CMSG_CLOEXEC)
    except (BlockingIOError, InterruptedError):
        return None
    return label, fds[0] if fds else -1


def address_of(listening: socket.socket, peer: tuple[str, int]) -> str:
    """The client's address as policies know it, from what `accept` returned."""
    return UNIX if listening.family == socket.AF_UNIX else peer[0]


def _label(listener: int, address: str) -> bytes:
    return b"%d %b" % (listener, address.encode())


def accept(listener: int, listening: socket.socket) -> tuple[bytes, int] | None:
    """A connection for an inbox, with its label; None when none waits."""
    try:
        sock, peer = listening.accept()
    except OSError:  # nothing there; or no descriptor is free, or it has gone: later ones may come
        return None
    return _label(listener, address_of(listening, peer)), sock.detach()


class Handover:
    """One worker's part: what it passes on, and what it takes out of its inbox."""

    __slots__ = (
        "passed", "taken", "away", "_table", "_worker", "_clock", "_slot", "_to",
        "_inbox", "_kept", "_loop", "_again",
    )  # fmt: skip

    def __init__(
        self,
        table: SharedTable,
        worker: int,
        inboxes: Sequence[socket.socket],
        inbox: socket.socket,
        clock: Clock,
    ) -> None:
        """`inboxes` are the sending ends, by worker; `inbox` is where this one takes out."""
        self._table, self._worker, self._clock = table, worker, clock
        self._slot = table.slot(SESSIONS)
        self._to, self._inbox = inboxes, inbox
        self.passed = self.taken = 0
        self._kept: deque[tuple[bytes, socket.socket]] = deque()  # while `away`
        self._loop: asyncio.AbstractEventLoop | None = None
        self._again: asyncio.TimerHandle | None = None
        self.away = False  # everything is passed on: this worker is about to end

    def offer(self, listener: int, sock: socket.socket, address: str) -> bool:
        """Hand an accepted connection on if another worker should have it; True closes it here."""
        label = _label(listener, address)
        if not self._pass(label, sock):
            if not self.away:
                return False
            self._kept.append((label, sock))  # inboxes are full: that passes within milliseconds
            if self._again is None and self._loop is not None:
                self._again = self._loop.call_later(AGAIN, self._pass_kept)
        return True

    def _pass(self, label: bytes, sock: socket.socket) -> bool:
        target = self._table.hand_to(self._slot, self._worker, self._clock.monotonic(), self.away)
        if target < 0:
            return False
        if not send(self._to[target], label, sock.fileno()):
            self._table.handed(target)
            return False
        sock.close()
        # point: a connection is handed over
        self.passed += 1
        return True

    def _pass_kept(self) -> None:
        self._again = None
        while self._kept and self._pass(*self._kept[0]):
            self._kept.popleft()
        if self._kept and self._loop is not None:
            self._again = self._loop.call_later(AGAIN, self._pass_kept)

    async def finish(self, deadline: float) -> None:
        """Pass on what is kept, up to this loop time; what is left then gets 421."""
        while self._kept and self._loop is not None and self._loop.time() < deadline:
            self._pass_kept()
            await asyncio.sleep(AGAIN)
        while self._kept:
            turn_away(self._kept.popleft()[1].detach(), STOPPED)

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        take: Callable[[int, socket.socket, str], None],
        starved: Callable[[], None],
    ) -> None:
        """Take connections out of the inbox from now on, by `take(listener, socket, address)`.

        `starved` is called for one that is lost, as no descriptor was free for it.
        """
        self._loop = loop
        self._table.enter(self._worker, self._clock.monotonic())
        loop.add_reader(self._inbox.fileno(), self._take_some, take, starved)

    def sign(self) -> None:
        """Show the others that this worker's loop turns; wanted once a second."""
        self._table.sign(self._worker, self._clock.monotonic())

    def _take_some(
        self, take: Callable[[int, socket.socket, str], None], starved: Callable[[], None]
    ) -> None:
        for _ in range(TAKES):
            found = receive(self._inbox)
            if found is None:
                return
            label, fd = found
            if fd < 0:
                starved()
            else:
                number, _, address = label.partition(b" ")
                self.taken += 1
                take(int(number), socket.socket(fileno=fd), address.decode())
            self._table.handed(self._worker)

    def retire(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take out no more; while there is another worker, pass on all that is accepted."""
        loop.remove_reader(self._inbox.fileno())
        self._table.leave(self._worker)
        self.away = any(self._table.living(self._clock.monotonic()))


def turn_away(fd: int, verdict: Verdict) -> None:
    """Refuse a connection that nobody is left to serve."""
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    try:
        sock.send(verdict.reply())
    except OSError:
        pass  # the client has gone already
    sock.close()
