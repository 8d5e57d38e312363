"""One SMTP session: sockets and time around the sans-IO core (`mta.smtp.server`).

Each read goes into the worker's shared buffer and from there into the core at once. Then
events are answered until the core has none left or one waits for its verdict (the commit of a
message); all replies of that turn leave in one write. A late verdict begins a turn of its own.

Reading pauses while the core keeps enough unparsed bytes, or while the client does not read
our replies. After the last reply we send FIN and wait a little for the client's, because
closing with unread input would reset the connection and may destroy that reply.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from mta.smtp.server import Closed, Command, Content, Data, Hello, Mail, Rcpt, Reset, ServerCore
from mta.smtpd import xclient
from mta.smtpd.timeouts import NEVER

if TYPE_CHECKING:
    from mta.reception.parameters import Asked
    from mta.smtpd.listener import Listener

TOO_LARGE = b"552 5.3.4 "


class Session(asyncio.BufferedProtocol):
    """A client's connection; also its transaction, as reception fills it in."""

    __slots__ = (
        "listener", "service", "core", "transport", "address", "network", "relay", "id", "name",
        "extended", "trace", "sender", "recipients", "asked", "deadline", "bucket", "cap", "ends",
        "turning", "blocked", "paused", "ending", "eof", "errors", "told", "claims",
        "reserved", "starved",
    )  # fmt: skip

    handlers: ClassVar[Handlers]  # by event; below
    address: str  # IP address, or "unix"; the client's, where a trusted proxy named it
    network: bytes  # the key of the session limit
    relay: bool  # may send to any domain
    id: str
    name: str  # from EHLO or HELO
    extended: bool  # said EHLO
    trace: bytes  # the Received header up to its id; b"" until the first message
    sender: str | None  # None outside a transaction
    recipients: list[str] | None
    asked: Asked | None  # by parameters of MAIL and RCPT
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
    told: int  # contents too large that were taken down in this turn
    reserved: int  # octets of memory for content, kept by reception's room
    starved: bool  # content waits for room
    claims: xclient.Claims | None  # what a trusted proxy said of its client

    def __init__(self, listener: Listener, address: str, network: bytes, relay: bool) -> None:
        self.listener, self.service = listener, listener.service
        self.address, self.network, self.relay = address, network, relay
        self.id = self.service.next_id()
        self.core = ServerCore(listener.options_for(self))
        self.transport: asyncio.Transport | None = None
        self.name, self.extended, self.trace = "", False, b""
        self.sender, self.recipients, self.asked = None, None, None
        self.deadline = self.bucket = 0
        self.cap = self.ends = NEVER
        self.turning = self.blocked = self.paused = self.ending = self.eof = False
        self.errors = self.told = self.reserved = 0
        self.starved = False
        self.claims = None

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
        deadlines.add(self, listener.command)
        if listener.whole != NEVER:
            self.cap = self.ends = deadlines.now + listener.whole
            self._extend(listener.command)
        if listener.draining:
            self.core.shutdown(listener.drain_text)
        elif not self.core.closing:  # else it was refused before
            self.core.greeting()
        self._turn()

    def get_buffer(self, sizehint: int) -> memoryview:
        """The worker's buffer: what is read into it is used up before the next read."""
        return self.service.view

    def buffer_updated(self, nbytes: int) -> None:
        """Octets have come."""
        if self.ending:
            return  # after the last reply
        self.core.feed(self.service.view[:nbytes])
        self._turn()

    def take(self, data: bytes) -> None:
        """Octets that were read before the session took over its connection."""
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
        self.give_up()
        self.listener.forget(self)

    # Turns.

    def _turn(self) -> None:
        """Answer what the core has read, and write the replies."""
        core, transport = self.core, self.transport
        self.turning = True
        while (event := core.next_event()) is not None:
            self.handlers[type(event)](self, event)
        self.turning = False
        output = core.output()
        if core.errors != self.errors:
            self._note_errors(output)
        if transport is None:
            return
        if output:
            transport.write(output)
        if core.closing:
            self._finish()
            return
        if core.in_content:
            self._extend(self.listener.data_block)
            if core.content_size > self.reserved:
                self._grow()
        elif output:
            listener = self.listener
            self._extend(listener.idle if self.sender is None else listener.command)
        if core.wants_read is self.paused:
            self._read_or_pause()
        if self.eof and not core.waiting:
            transport.close()

    def _note_errors(self, output: bytes) -> None:
        """Take down messages refused by their SIZE: the core answers these without an event."""
        self.errors = self.core.errors
        large = [line for line in output.split(b"\r\n") if line.startswith(TOO_LARGE)]
        for line in large[self.told :]:
            self.listener.reception.refused(self, line, "MAIL")
        self.told = 0

    def _grow(self) -> None:
        """More content than was declared has come: go on only where there is room for it."""
        core = self.core
        largest = core.options.max_size
        if self.starved or (largest and self.reserved >= largest):
            return  # beyond the largest size nothing is kept
        if not self.listener.reception.room.grow(self, core.content_size):
            self.starved = True
            self._read_or_pause()

    def more_room(self) -> None:
        """There is room for more content."""
        self.starved = False
        self._extend(self.listener.data_block)
        self._read_or_pause()

    def give_up(self) -> None:
        """No content comes any more."""
        if self.starved:
            self.starved = False
            self.listener.reception.room.forget(self)
        if self.reserved:
            self.listener.reception.room.release(self)

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
        self.cap = NEVER
        self._extend(self.listener.linger)
        self._read_or_pause()
        if self.eof:
            transport.close()
        else:
            transport.write_eof()

    # Verdicts.

    def stored(self, reply: bytes) -> None:
        """The verdict on the message in hand; the client may have gone meanwhile."""
        if self.transport is None:
            return
        self.core.verdict(reply)
        if not self.turning:
            self._turn()

    def _hello(self, event: Hello) -> None:
        self.core.verdict(self._greeted(event))

    def _greeted(self, event: Hello) -> bytes | None:
        """Begin anew under the name that was given; the reply, None for the standard one."""
        self.name, self.extended, self.trace = event.name, event.extended, b""
        if (claims := self.claims) is not None:
            self.name = claims.helo or event.name
            self.extended = event.extended if not claims.proto else claims.proto == "ESMTP"
            self.trace = xclient.trace_of(self, claims)
        self.sender = self.recipients = None
        self.give_up()
        core = self.core
        reception = self.listener.reception
        return reception.hello(self, event.extended, core.options.extended)

    def _mail(self, event: Mail) -> None:
        self.core.verdict(self.listener.reception.mail(self, event))

    def _rcpt(self, event: Rcpt) -> None:
        self.core.verdict(self.listener.reception.rcpt(self, event))

    def _data(self, event: Data) -> None:
        refusal = self.listener.reception.data(self, event)
        if refusal is None:
            # Each piece extends the deadline, drips beyond this do not.
            self.cap = self.service.deadlines.now + self.listener.content
        self.core.verdict(refusal)

    def _content(self, event: Content) -> None:
        self.cap = self.ends
        self.listener.reception.content(self, self, event, self.stored)
        self.sender = self.recipients = None

    def _reset(self, event: Reset) -> None:
        if event.reply:  # content that the core refused
            self.listener.reception.refused(self, event.reply, ".")
            self.told += event.reply.startswith(TOO_LARGE)
        self.sender = self.recipients = None
        self.cap = self.ends
        self.give_up()

    def _closed(self, event: Closed) -> None:
        self.sender = self.recipients = None
        self.give_up()

    def _command(self, event: Command) -> None:
        xclient.answer(self, event)

    # Ends.

    def expire(self) -> None:
        """The deadline has passed (`Deadlines` calls this)."""
        listener, deadlines = self.listener, self.service.deadlines
        if self.core.waiting or (self.starved and deadlines.now < self.cap):
            # The delay is ours.
            deadlines.add(self, min(listener.command, max(1, self.cap - deadlines.now)))
            return
        if self.ending:
            self.abort()
            return
        self.service.timed_out += 1
        if self.blocked:
            self.abort()
            return
        deadlines.add(self, listener.command)
        if deadlines.now >= self.ends and not self.core.in_content:
            self.cap = self.ends = NEVER
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


Handlers = dict[type, Callable[[Any, Any], None]]
Session.handlers = {
    Mail: Session._mail,
    Rcpt: Session._rcpt,
    Data: Session._data,
    Content: Session._content,
    Hello: Session._hello,
    Reset: Session._reset,
    Closed: Session._closed,
    Command: Session._command,
}
