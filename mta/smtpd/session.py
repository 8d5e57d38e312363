"""One SMTP session: sockets and time around the sans-IO core (compiled).

Each read goes into the worker's shared buffer and from there into the core at once. Then
events are answered until the core has none left or one waits for its verdict (the commit of a
message); all replies of that turn leave in one write. A late verdict begins a turn of its own.

Reading pauses while the core keeps enough unparsed bytes, or while the client does not read
our replies. After the last reply we send FIN and wait a little for the client's, because
closing with unread input would reset the connection and may destroy that reply.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from typing import TYPE_CHECKING

from mta._speedups import server
from mta._speedups.server import ServerCore
from mta._speedups.verdict import ACCEPTED, UNKNOWN, Reason, Verdict
from mta.reception.admit import Pending
from mta.reception.client import Client
from mta.reception.policy import UNIX
from mta.smtp.replies import EARLY, SLOW, TOO_SLOW
from mta.smtpd import xclient
from mta.smtpd.timeouts import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from mta.reception.admit import Answer
    from mta.smtp.server import Command
    from mta.smtpd.listener import Listener

# C integers here
_NEVER: int = NEVER
_HELLO: int = server.HELLO
_MAIL: int = server.MAIL
_RCPT: int = server.RCPT
_DATA: int = server.DATA
_CONTENT: int = server.CONTENT
_COMMAND: int = server.COMMAND
_RESET: int = server.RESET
_WAITING: int = server.WAITING
_IN_CONTENT: int = server.IN_CONTENT
_WANTS_READ: int = server.WANTS_READ
_HOLDS: int = server.HOLDS
_ACCEPTED: Verdict = ACCEPTED


class Session(Client):
    """A client's connection; also its transaction, as reception fills it in."""

    __slots__ = (
        "listener", "service", "terms", "core", "transport", "network", "deadline", "bucket", "cap",
        "ends", "turning", "blocked", "paused", "ending", "eof", "errors", "claims", "starved",
        "moved", "seen", "task",
    )  # fmt: skip

    network: bytes  # the key of the session limit
    deadline: int  # second of the wheel
    bucket: int  # the wheel's own
    cap: int  # second after which no progress extends the deadline
    ends: int  # second at which the session has lasted long enough
    turning: bool  # events are being answered
    blocked: bool  # the client does not read our replies
    paused: bool  # we do not read
    ending: bool  # the last reply is on its way
    eof: bool  # the client sends no more
    errors: int  # the core's, at the end of the last turn
    starved: bool  # content waits for room
    moved: bool  # the client has got on since its deadline was set
    seen: int  # octets of a content in chunks, when it was set
    claims: xclient.Claims | None  # what a trusted proxy said of its client
    task: asyncio.Task[None] | None  # a verdict on its command that comes later

    def __init__(self, listener: Listener, address: str, network: bytes, relay: bool) -> None:
        super().__init__(address, listener.service.next_id(), relay=relay)
        self.listener, self.service, self.terms = listener, listener.service, listener.terms
        self.network = network
        self.core = ServerCore(listener.options_for(self))
        self.transport: asyncio.Transport | None = None
        self.deadline = self.bucket = 0
        self.cap = self.ends = _NEVER
        self.turning = self.blocked = self.paused = self.ending = self.eof = False
        self.errors = 0
        self.starved = self.moved = False
        self.seen = 0
        self.claims = None
        self.task = None

    def __repr__(self) -> str:
        doing = "ends" if self.ending else self.core.state
        if self.claims is not None:
            doing += f", {self.claims}"
        return f"<Session {self.id} {self.name or '-'} [{self.address}] {doing}>"

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the client."""
        self.transport = transport  # type: ignore[assignment]  # always a stream's
        deadlines, listener = self.service.deadlines, self.listener
        seconds = self.terms.seconds
        deadlines.add(self, seconds.command)
        if seconds.session != _NEVER:
            self.cap = self.ends = deadlines.now + seconds.session
            self._extend(seconds.command)
        if listener.draining:
            self.core.shutdown(listener.drain_text)
        elif not self.core.closing:  # else it was refused before
            self.core.greeting()
        self._turn()

    def get_buffer(self, sizehint: int) -> bytearray:
        """The worker's buffer: what is read into it is used up before the next read."""
        return self.service.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Octets have come."""
        if self.ending:
            return  # after the last reply
        self.core.read(self.service.buffer, nbytes)
        self._turn()

    def data_received(self, data: bytes) -> None:
        """The same from a loop that has its own buffer, or read before the session took over."""
        if not self.ending:
            self.core.feed(data)
            self._turn()

    def eof_received(self) -> bool:
        """The client sends no more: close, but not before the message in hand is answered."""
        self.eof = True
        return self.core.waiting

    def pause_writing(self) -> None:
        """The client lets replies pile up: take no more commands from it."""
        self.blocked = True
        self._read_or_pause()

    def resume_writing(self) -> None:
        """The client has read its replies."""
        self.blocked = False
        self._read_or_pause()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end; a message that waits for its commit stays accepted (RFC 5321 4.2.5)."""
        self.transport = None
        if self.task is not None:
            self.task.cancel()
        self.give_up()
        self.listener.forget(self)

    # Turns.

    def _turn(self) -> None:
        """Answer what the core has read, and write the replies."""
        core = self.core
        self.turning = True
        kind = core.next_kind()
        while kind:
            if kind <= _DATA:
                self.moved = True
            self._answer(kind)
            kind = core.next_kind()
        self.turning = False
        output = core.output()
        if core.errors != self.errors:
            self._note_errors()
        transport = self.transport
        if transport is None:
            return
        if output:
            transport.write(output)
        if core.closing:
            self._finish()
            return
        status = core.status()
        if status & _IN_CONTENT:
            self._extend(self.terms.seconds.data_block)
        elif output:
            self._spoken()
        if status & _HOLDS:
            if core.held() > self.reserved:
                self._grow()
        elif self.reserved and status & _IN_CONTENT:
            self.terms.reception.room.release(self)  # refused on its way: nothing is kept
        if self.paused is bool(status & _WANTS_READ):
            self._read_or_pause()
        if self.eof and not status & _WAITING:
            transport.close()

    def _spoken(self) -> None:
        """A reply gives time for the next command: within a transaction, if that got on."""
        seconds = self.terms.seconds
        if self.sender is None:
            self._extend(seconds.idle)
        elif self.moved:
            self._extend(seconds.command)
        elif self.core.held() > self.seen:  # a chunk
            self.seen = self.core.held()
            self._extend(seconds.data_block)
        self.moved = False

    def _note_errors(self) -> None:
        """Take down what the core has refused without an event, but not lines that are no SMTP."""
        self.errors = self.core.errors
        for command, verdict in self.core.refusals():
            if verdict.code == 501 or verdict.reason is not Reason.SYNTAX:
                self.terms.reception.refused(self, verdict, command)

    def _grow(self) -> None:
        """Content has come that is not whole: go on only where there is room for it."""
        if not self.starved and not self.terms.reception.room.grow(self, self.core.held()):
            self.starved = True
            self._read_or_pause()

    def held(self) -> int:
        """Octets of content under way; -1 while it is not the client's turn."""
        return -1 if self.core.status() & _WAITING else self.core.held()

    def origin(self) -> bytes:
        """The client's network, whether it may relay or not."""
        return self.service.limits.network(self.address) if self.address != UNIX else b"unix"

    def give_way(self) -> None:
        """Others need the room that this content holds: 421, and the end."""
        self.terms.reception.refused(self, TOO_SLOW, ".")
        self.core.time_out(SLOW, "4.3.1")
        if not self.turning:
            self._turn()

    def more_room(self) -> None:
        """There is room for more content."""
        self.starved = False
        self._extend(self.terms.seconds.data_block)
        self._read_or_pause()

    def give_up(self) -> None:
        """No content comes any more."""
        if self.starved:
            self.starved = False
            self.terms.reception.room.forget(self)
        if self.reserved:
            self.terms.reception.room.release(self)

    def _extend(self, seconds: int) -> None:
        """The client has so many seconds from now, but not beyond the cap."""
        deadlines = self.service.deadlines
        deadline = deadlines.now + seconds
        if deadline > self.cap:
            deadline = self.cap
        self.deadline = deadline
        if deadline < self.bucket:
            deadlines.advance(self)

    def _read_or_pause(self) -> None:
        """Bring the transport's reading in line with what the core and the client allow."""
        paused = not self.ending and (self.blocked or self.starved or not self.core.wants_read)
        transport = self.transport
        if transport is None or paused is self.paused:
            return
        self.paused = paused
        if paused:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def _finish(self) -> None:
        """Everything is said: send FIN after the last reply, wait for the client's."""
        transport = self.transport
        if self.ending or transport is None:
            return
        self.ending = True
        self.cap = _NEVER
        self._extend(self.terms.seconds.linger)
        self._read_or_pause()
        if self.eof:
            transport.close()
        else:
            transport.write_eof()

    # Verdicts.

    def stored(self, verdict: Verdict) -> None:
        """The verdict on the message in hand; the client may have gone meanwhile."""
        if self.transport is None:
            return
        if verdict is UNKNOWN:  # no client may be told that what may be stored is not
            self.abort()
            return
        self.core.verdict(verdict.reply())
        if not self.turning:
            self._turn()

    def say(self, verdict: Verdict) -> None:
        """Answer the command in hand."""
        self.core.verdict(None if verdict is _ACCEPTED else verdict.reply())

    def settle(self, answer: Answer, then: Callable[[Verdict], None]) -> None:
        """Give `then` the verdict, once it is there; the core keeps what comes meanwhile."""
        if isinstance(answer, Verdict):
            then(answer)
            return
        self.task = asyncio.get_running_loop().create_task(self._late(answer, then))
        self.task.add_done_callback(answer.ended)

    async def _late(self, answer: Pending, then: Callable[[Verdict], None]) -> None:
        verdict = await answer
        self.task = None
        if self.transport is None:
            return
        try:
            then(verdict)
            if not self.turning:
                self._turn()
        except Exception:  # noqa: BLE001  as the loop does with what fails in a read
            print(f"{self!r}: {traceback.format_exc()}", file=sys.stderr, flush=True)
            self.abort()

    def _answer(self, kind: int) -> None:
        """Answer the event that the core has told, or begin to."""
        if kind == _MAIL:
            self._mail()
        elif kind == _RCPT:
            self._rcpt()
        elif kind == _DATA:
            self._data()
        elif kind == _CONTENT:
            self._content()
        elif kind == _RESET:
            self._reset(self.core.reset_by)
        elif kind == _HELLO:
            self.core.verdict(self._greeted(self.core.name, self.core.greets_extended))
        elif kind == _COMMAND:
            self._command(self.core.event(kind))
        else:
            self._forget()

    def _greeted(self, name: str, extended: bool) -> bytes:
        """Begin anew under the name that was given; the reply."""
        self.name, self.extended, self.trace = name, extended, b""
        if (claims := self.claims) is not None:
            self.name = claims.helo or name
            self.extended = extended if not claims.proto else claims.proto == "ESMTP"
            self.trace = xclient.trace_of(self, claims)
        self._forget()
        options = self.core.options
        standard = options.extended if extended else options.hello
        return self.terms.reception.hello(self, extended, standard)

    def _mail(self) -> None:
        core, reception = self.core, self.terms.reception
        envelope = core.envelope
        answer = reception.mail(self, envelope.address, envelope.params)
        if answer is _ACCEPTED:
            core.verdict(None)
        else:
            self.settle(answer, self.say)

    def _rcpt(self) -> None:
        core, reception = self.core, self.terms.reception
        envelope = core.envelope
        answer = reception.rcpt(self, envelope.address, envelope.params)
        if answer is _ACCEPTED:
            core.verdict(None)
        else:
            self.settle(answer, self.say)

    def _data(self) -> None:
        core, terms = self.core, self.terms
        if not self.relay and core.pending():
            self.say(terms.reception.refused(self, EARLY, "DATA"))
            return
        answer = terms.reception.data(self)
        if answer is _ACCEPTED:
            self._open(_ACCEPTED)
        else:
            self.settle(answer, self._open)

    def _open(self, verdict: Verdict) -> None:
        """Have the content come, unless it is refused."""
        core, terms = self.core, self.terms
        if not verdict.refuses:
            # Each piece extends the deadline, drips beyond this do not.
            self.cap = self.service.deadlines.now + terms.seconds.content
            self.seen = 0
            core.ahead = terms.reception.ahead(self, core.envelope.declared)
        self.say(verdict)

    def _content(self) -> None:
        core, reception = self.core, self.terms.reception
        self.cap = self.ends
        ahead = core.ahead
        reception.content(self, self, core.body(), core.flags, self.stored, ahead)
        self.sender = self.recipients = None

    def _reset(self, refusal: Verdict | None) -> None:
        """The transaction is over; `refusal` is that of its content, None for RSET."""
        if refusal is not None:
            self.terms.reception.refused(self, refusal, ".")
        self.cap = self.ends
        self._forget()

    def _forget(self) -> None:
        """No transaction is open any more."""
        self.sender = self.recipients = None
        self.give_up()

    def _command(self, event: Command) -> None:
        xclient.answer(self, event)

    # Ends.

    def expire(self) -> None:
        """The deadline has passed (`Deadlines` calls this)."""
        deadlines, command = self.service.deadlines, self.terms.seconds.command
        if self.core.waiting or (self.starved and deadlines.now < self.cap):
            # The delay is ours.
            deadlines.add(self, min(command, max(1, self.cap - deadlines.now)))
            return
        if self.ending:
            self.abort()
            return
        self.service.timed_out += 1
        if self.blocked:
            self.abort()
            return
        deadlines.add(self, command)
        if deadlines.now >= self.ends and not self.core.in_content:
            self.cap = self.ends = _NEVER
            self.core.shutdown("This session has lasted long enough")
        else:
            self.core.time_out()
        self._turn()

    def drain(self) -> None:
        """421 4.3.2 at the next boundary: not within content, nor before a verdict."""
        self.core.shutdown(self.listener.drain_text)
        if self.transport is not None and not self.turning:
            self._turn()

    def abort(self) -> None:
        """Drop the connection at once."""
        if self.transport is not None:
            self.transport.abort()
