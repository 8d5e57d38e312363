"""The one way in: judges envelope and content, completes the header, hands the message on."""

from __future__ import annotations

import re
from binascii import hexlify
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Protocol

import msgspec

from mta._speedups import headers
from mta.clock import Clock
from mta.errors import SpoolBusyError
from mta.model import Class, Flag, IdGenerator, Kind, Message, Outcome
from mta.reception.budget import FIRST
from mta.reception.control import NOTHING, Control, ControlNames, read
from mta.reception.parameters import (
    CHANGED,
    PRIORITY,
    Asked,
    ParameterOptions,
    future_release,
    klass_of,
    of_mail,
    of_rcpt,
)
from mta.reception.policy import Policy
from mta.reception.received import Dates, trace
from mta.smtp.replies import LOCAL_ERROR, NO_STORAGE, reply

if TYPE_CHECKING:
    from mta.maillog.records import RecordWriter
    from mta.model import Wish

REPLY = re.compile(rb"(\d{3})[ -](?:(\d\.\d{1,3}\.\d{1,3}) )?(.*)")
REASONS = {  # the log's word for a refusal, by the enhanced code we give it
    "4.3.0": "commit failed",
    "4.3.1": "no room",
    "5.1.2": "address",
    "5.1.7": "address",
    "5.3.4": "too large",
    "5.4.6": "loop",
    "5.5.2": "bare newline",
    "5.5.4": "parameter",
    "5.7.1": "relaying denied",
}


class ReceptionOptions(msgspec.Struct, frozen=True):
    """What a listener does with messages, beside its relay rule."""

    hostname: str
    believe_control: bool = False  # control headers of its clients count
    add_headers: bool = False  # Date and Message-ID where they are missing
    max_hops: int = 50  # Received fields that mean a loop (RFC 5321 6.3)
    names: ControlNames = ControlNames()
    parameters: ParameterOptions = ParameterOptions()


class Transaction(Protocol):
    """An envelope that is being given."""

    sender: str | None
    recipients: list[str] | None
    asked: Asked | None  # by parameters of MAIL and RCPT; None for nothing


class Client(Transaction, Protocol):
    """Who gives it: an SMTP session or an HTTP request."""

    address: str  # IP address, or "unix"
    relay: bool  # may send to any domain
    id: str  # the session's, for log and envelope
    name: str  # from EHLO
    extended: bool  # said EHLO
    trace: bytes  # kept here by reception: Received up to the id
    reserved: int  # kept here by the room: octets

    def more_room(self) -> None:
        """Content that waited for room may come."""
        ...


class Room(Protocol):
    """Room for content (`mta.reception.budget.Budget`)."""

    def reserve(self, holder: Client, octets: int, /) -> bool: ...
    def release(self, holder: Client, /) -> None: ...
    def grow(self, holder: Client, size: int, /) -> bool: ...
    def forget(self, holder: Client, /) -> None: ...


class MailEvent(Protocol):
    """A parsed MAIL command."""

    @property
    def sender(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def params(self) -> Mapping[str, str | None] | None: ...


class RcptEvent(Protocol):
    """A parsed RCPT command."""

    @property
    def recipient(self) -> str: ...
    @property
    def params(self) -> Mapping[str, str | None] | None: ...


class ContentEvent(Protocol):
    """A message's content, unstuffed."""

    @property
    def body(self) -> bytes: ...
    @property
    def flags(self) -> int: ...


class Submit(Protocol):
    """Takes a message over: `mta.queues.manager.QueueManager.submit`."""

    def __call__(
        self,
        message: Message,
        addresses: list[str],
        done: Callable[[BaseException | None], None],
        wishes: Mapping[int, Wish] | None = None,
        /,
    ) -> None: ...


class Reception:
    """One listener's way in. Verdicts are whole replies; None is the standard positive one."""

    __slots__ = (
        "options", "policy", "_ids", "_submit", "_log", "_clock", "_problem", "_names",
        "_dates", "_records", "room",
    )  # fmt: skip

    def __init__(
        self,
        options: ReceptionOptions,
        policy: Policy,
        ids: IdGenerator,
        submit: Submit,
        log: Callable[[bytes], None],
        clock: Clock,
        room: Room,
        *,
        records: RecordWriter,
        problem: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`problem` tells why nothing can be stored now, or None."""
        self.options, self.policy = options, policy
        self._ids, self._submit, self._log, self._clock = ids, submit, log, clock
        self.room, self._records, self._problem = room, records, problem
        self._names = options.names.all()
        self._dates = Dates()

    def hello(self, session: Client, extended: bool, standard: bytes) -> bytes | None:
        """What is offered to this client alone, in the `standard` reply to EHLO."""
        hold = self.options.parameters.max_hold
        if not extended or not hold or not session.relay:
            return None
        first, _, rest = standard.partition(b"\r\n")
        line = future_release(hold, self._clock.wall_us()).encode()
        if not rest:
            return b"250-%b\r\n250 %b\r\n" % (first[4:], line)
        return b"%b\r\n250-%b\r\n%b" % (first, line, rest)

    def mail(self, session: Client, event: MailEvent) -> bytes | None:
        """Begin a transaction."""
        sender, asked = event.sender, None
        refusal = self.policy.sender(sender)
        if refusal is None and event.params is not None:
            options, now = self.options.parameters, self._clock.wall_us()
            judged = of_mail(event.params, options, now, session.relay)
            refusal, asked = (judged, None) if isinstance(judged, bytes) else (None, judged)
        if refusal is None and event.size and not self.room.reserve(session, event.size):
            refusal = NO_STORAGE  # RFC 1870 6.1: 452 where there is no room now
        if refusal is not None:
            return self._refuse(session, refusal, "MAIL", sender)
        session.sender, session.recipients, session.asked = sender, [], asked
        if event.params and PRIORITY in event.params and not session.relay:
            return CHANGED
        return None

    def rcpt(self, session: Client, event: RcptEvent) -> bytes | None:
        """Add a recipient."""
        recipient = self.policy.complete(event.recipient)
        if recipient is None:
            text = f"<{event.recipient}>: the recipient address needs a domain"
            refusal: bytes | None = reply(550, "5.1.2", text)
        else:
            refusal = self.policy.recipient(session.address, recipient, session.relay)
        if refusal is None and event.params is not None:
            refusal = self._wish(session, event.params)
        if refusal is not None:
            return self._refuse(session, refusal, "RCPT", session.sender, event.recipient)
        assert session.recipients is not None and recipient is not None
        session.recipients.append(recipient)
        return None

    def _wish(self, session: Client, params: Mapping[str, str | None]) -> bytes | None:
        """Note what is asked for the recipient that comes next, or refuse it."""
        wish = of_rcpt(params)
        if isinstance(wish, bytes):
            return wish
        if session.asked is None:
            session.asked = Asked()
        assert session.recipients is not None
        session.asked.wish(len(session.recipients), wish)
        return None

    def data(self, session: Client, event: object = None) -> bytes | None:
        """May content come: is there room for it, where its size was not declared."""
        if self._problem() is None and (session.reserved or self.room.reserve(session, FIRST)):
            return None
        return self._refuse(session, NO_STORAGE, "DATA", session.sender)

    def content(
        self,
        session: Client,
        transaction: Transaction,
        event: ContentEvent,
        done: Callable[[bytes], None],
    ) -> None:
        """Judge the content and hand the message on; `done` gets the reply, now or later."""
        self._content(session, transaction, event, done)
        if session.reserved:  # the queues count what they have taken
            self.room.release(session)

    def _content(
        self,
        session: Client,
        transaction: Transaction,
        event: ContentEvent,
        done: Callable[[bytes], None],
    ) -> None:
        scan = headers.scan(event.body, self._names)
        control = self._judge(scan)
        if isinstance(control, bytes):
            size = len(event.body)
            done(self._refuse(session, control, ".", transaction.sender, size=size))
            return
        self._hand_on(session, transaction, event, scan, control, done)

    def _hand_on(
        self,
        session: Client,
        transaction: Transaction,
        event: ContentEvent,
        scan: headers.HeaderScan,
        control: Control,
        done: Callable[[bytes], None],
    ) -> None:
        """Make a message of content that was found good, and submit it."""
        recipients = transaction.recipients
        assert recipients is not None and transaction.sender is not None
        message = self._message(session, transaction.sender, event, scan, control)
        message.total = message.open = len(recipients)
        wishes = None
        if transaction.asked is not None:
            wishes = self._grant(message, transaction.asked, control)
        stored = partial(self._stored, session, message, done)
        try:
            self._submit(message, recipients, stored, wishes)
        except SpoolBusyError:
            done(self._refuse(session, NO_STORAGE, ".", message.sender, size=message.size))

    def _grant(self, message: Message, asked: Asked, control: Control) -> Mapping[int, Wish] | None:
        """Let the message be as its parameters ask; a class that a header names goes before."""
        message.envid, message.ret = asked.envid, asked.ret
        message.priority, message.release_us = asked.priority, asked.release_us
        if asked.priority and control.klass is None:
            message.klass = klass_of(asked.priority, self.options.parameters)
        return asked.wishes

    def refused(
        self, session: Client, answer: bytes, command: str, recipient: str = "", reason: str = ""
    ) -> None:
        """Take down a refusal that was given without reception."""
        self._refuse(session, answer, command, session.sender, recipient, reason=reason)

    def _judge(self, scan: headers.HeaderScan) -> Control | bytes:
        """What the control headers say, or the refusal of the content."""
        if scan.received_count > self.options.max_hops:
            text = f"Mail loop: {scan.received_count} Received headers, more than max_hops"
            return reply(554, "5.4.6", text)
        if not scan.found or not self.options.believe_control:
            return NOTHING
        return read(self.options.names, scan.found)

    def _message(
        self,
        session: Client,
        sender: str,
        event: ContentEvent,
        scan: headers.HeaderScan,
        control: Control,
    ) -> Message:
        now, id = self._clock.wall_us(), self._ids.next()
        digits, body, message_id = hexlify(id), event.body, scan.message_id
        head = self._received(session, digits, now, event.flags)
        if self.options.add_headers:
            head += self._missing(scan, digits, now)
            message_id = message_id or f"<{digits.decode()}@{self.options.hostname}>"
        if scan.header_end == 0 and body[:2] != b"\r\n":
            head += b"\r\n"  # RFC 5322 2.1: the body begins after an empty line
        if scan.kept is None:
            body = head + body
        else:
            view = memoryview(body)
            body = b"".join([head, *(view[start:end] for start, end in scan.kept)])
        return Message(
            id,
            sender,
            tenant=control.tenant,
            campaign=control.campaign,
            pool=control.pool,
            klass=Class.NORMAL if control.klass is None else control.klass,
            received_us=now,
            size=len(body),
            flags=event.flags,
            peer_name=session.name,
            peer_address=session.address,
            message_id=message_id,
            session=session.id,
            body=body,
        )

    def _received(self, session: Client, digits: bytes, now: int, flags: int) -> bytes:
        """The Received header of this message."""
        if not session.trace:
            session.trace = trace(
                session.name, session.address, self.options.hostname, extended=session.extended
            )
        head = session.trace
        if flags & Flag.SMTPUTF8:
            head = head.replace(b" with ESMTP", b" with UTF8SMTP")  # RFC 6531 4.3
        return b"%b%b;\r\n\t%b\r\n" % (head, digits, self._dates.at(now))

    def _missing(self, scan: headers.HeaderScan, digits: bytes, now: int) -> bytes:
        """The Date and Message-ID headers that the message lacks (RFC 6409 8.1 and 8.2)."""
        added = b""
        if not scan.has_date:
            added += b"Date: %b\r\n" % self._dates.at(now)
        if not scan.has_message_id:
            added += b"Message-ID: <%b@%b>\r\n" % (digits, self.options.hostname.encode())
        return added

    def _stored(
        self,
        session: Client,
        message: Message,
        done: Callable[[bytes], None],
        error: BaseException | None,
    ) -> None:
        """The commit has ended."""
        if error is None:
            done(b"250 2.0.0 Ok: queued as %b\r\n" % hexlify(message.id))
        else:
            answer = NO_STORAGE if isinstance(error, SpoolBusyError) else LOCAL_ERROR
            done(self._refuse(session, answer, ".", message.sender, size=message.size))

    def _refuse(
        self,
        session: Client,
        answer: bytes,
        command: str,
        sender: str | None,
        recipient: str = "",
        size: int = 0,
        reason: str = "",
    ) -> bytes:
        """Take down a refusal; the same reply."""
        outcome = outcome_of(answer, command)
        record = self._records.rejection(
            outcome,
            reason=reason or REASONS.get(outcome.enhanced, "content"),
            sender=sender,
            recipient=recipient,
            peer_name=session.name,
            peer_address=session.address,
            session=session.id,
            size=size,
        )
        self._log(record)
        return answer


def outcome_of(answer: bytes, command: str) -> Outcome:
    """A negative reply of ours as the log has it: its lines joined by a blank."""
    found = [REPLY.match(line) for line in answer.splitlines()]
    texts = [line[3].decode("ascii", "replace") for line in found if line]
    first = found[0]
    assert first is not None
    kind = Kind.DEFERRED if first[1][:1] == b"4" else Kind.BOUNCED
    return Outcome(kind, int(first[1]), (first[2] or b"").decode(), " ".join(texts), command)
