"""The one way in: judges envelope and content, completes the header, hands the message on."""

from __future__ import annotations

import re
from binascii import hexlify
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import msgspec

from mta._speedups.dots import headed
from mta._speedups.headers import HeaderScan, Names, scan
from mta.clock import Clock
from mta.errors import SpoolBusyError, SpoolUnknownError
from mta.model import Flag, IdGenerator, Kind, Message, Outcome
from mta.reception.client import Client, Transaction
from mta.reception.control import NOTHING, Control, ControlNames, read
from mta.reception.parameters import (
    CHANGED,
    PRIORITY,
    Asked,
    ParameterOptions,
    Params,
    future_release,
    klass_of,
    of_mail,
    of_rcpt,
)
from mta.reception.policy import Policy
from mta.reception.received import LONGER, Dates, trace
from mta.smtp.replies import LOCAL_ERROR, NO_STORAGE, reply

if TYPE_CHECKING:
    from mta.maillog.records import RecordWriter
    from mta.model import Wish

_SMTPUTF8: int = Flag.SMTPUTF8

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


class Room(Protocol):
    """Room for content (`mta.reception.budget.Budget`)."""

    def has(self, holder: Client, /) -> bool: ...
    def reserve(self, holder: Client, octets: int, /) -> bool: ...
    def release(self, holder: Client, /) -> None: ...
    def grow(self, holder: Client, size: int, /) -> bool: ...
    def forget(self, holder: Client, /) -> None: ...


class Store(Protocol):
    """Where messages go (`mta.spool.shard.Shard`)."""

    @property
    def problem(self) -> str | None:
        """Why nothing can be stored now, or None."""
        ...


class Hand(Protocol):
    """The message that is being submitted, for the supervisor (`mta.supervisor.poison`)."""

    def hold(self, id: bytes, /) -> None: ...
    def drop(self) -> None: ...


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
        "options", "policy", "room", "_ids", "_submit", "_log", "_clock", "_store", "_hand",
        "_names", "_dates", "_records", "_hostname", "_believes", "_completes", "_max_hops",
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
        store: Store | None = None,
        hand: Hand | None = None,
    ) -> None:
        """`store` tells whether it can take anything; `hand` has what is being submitted."""
        self.options, self.policy = options, policy
        self._ids, self._submit, self._log, self._clock = ids, submit, log, clock
        self.room, self._records, self._store, self._hand = room, records, store, hand
        self._names = Names(options.names.all())
        self._dates = Dates()
        self._hostname, self._max_hops = options.hostname, options.max_hops
        self._believes, self._completes = options.believe_control, options.add_headers

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

    def mail(
        self, session: Client, sender: str, size: int = 0, params: Params | None = None
    ) -> bytes | None:
        """Begin a transaction; `size` is what was declared, and holds nothing (RFC 1870 3)."""
        asked = None
        refusal = self.policy.sender(sender)
        if refusal is None and params is not None:
            options, now = self.options.parameters, self._clock.wall_us()
            judged = of_mail(params, options, now, session.relay)
            refusal, asked = (judged, None) if isinstance(judged, bytes) else (None, judged)
        if refusal is not None:
            return self._refuse(session, refusal, "MAIL", sender)
        session.sender, session.recipients, session.asked = sender, [], asked
        if params and PRIORITY in params and not session.relay:
            return CHANGED
        return None

    def rcpt(self, session: Client, address: str, params: Params | None = None) -> bytes | None:
        """Add a recipient."""
        recipient = self.policy.complete(address)
        if recipient is None:
            text = f"<{address}>: the recipient address needs a domain"
            refusal: bytes | None = reply(550, "5.1.2", text)
        else:
            refusal = self.policy.recipient(recipient, session.relay)
        if refusal is None and params is not None:
            refusal = self._wish(session, params)
        if refusal is not None:
            return self._refuse(session, refusal, "RCPT", session.sender, address)
        recipients = session.recipients
        assert recipients is not None and recipient is not None
        recipients.append(recipient)
        return None

    def _wish(self, session: Client, params: Params) -> bytes | None:
        """Note what is asked for the recipient that comes next, or refuse it."""
        wish = of_rcpt(params)
        if isinstance(wish, bytes):
            return wish
        if session.asked is None:
            session.asked = Asked()
        assert session.recipients is not None
        session.asked.wish(len(session.recipients), wish)
        return None

    def data(self, session: Client) -> bytes | None:
        """May content come: is there room for it to begin."""
        store = self._store
        if store is not None and store.problem is not None:
            return self._refuse(session, NO_STORAGE, "DATA", session.sender)
        if session.reserved or self.room.has(session):
            return None
        return self._refuse(session, NO_STORAGE, "DATA", session.sender)

    def keep(self, session: Client, octets: int) -> bytes | None:
        """Room for content that waits for somebody else's judgement; else its refusal."""
        more = octets - session.reserved
        if more <= 0 or self.room.reserve(session, more):
            return None
        return self._refuse(session, NO_STORAGE, ".", session.sender, size=octets)

    def ahead(self, session: Client, flags: int) -> int:
        """How long the Received header of the next content will be, by what was declared."""
        return len(self._trace(session, flags)) + LONGER

    def content(
        self,
        session: Client,
        transaction: Transaction,
        body: bytes,
        flags: int,
        done: Callable[[bytes], None],
        ahead: int = 0,
    ) -> None:
        """Judge the content and hand the message on; `done` gets the reply, now or later.

        b"" instead of a reply: whether the message is stored is unknown, the connection has to end.
        The content is what `body` has behind `ahead`; where that is not 0, `body` is given away.
        """
        found = scan(body, self._names, ahead)
        control = self._judge(found)
        if not session.reserved and not self.room.has(session):  # it came in one read
            control = NO_STORAGE
        if isinstance(control, bytes):
            size = len(body) - ahead
            done(self._refuse(session, control, ".", transaction.sender, size=size))
        else:
            self._hand_on(session, transaction, body, flags, done, ahead, found, control)
        if session.reserved:  # the queues count what they have taken
            self.room.release(session)

    def _hand_on(
        self,
        session: Client,
        transaction: Transaction,
        body: bytes,
        flags: int,
        done: Callable[[bytes], None],
        ahead: int,
        found: HeaderScan,
        control: Control,
    ) -> None:
        """Make a message of content that was found good, and submit it."""
        recipients = transaction.recipients
        assert recipients is not None and transaction.sender is not None
        now, id = self._clock.wall_us(), self._ids.next()
        digits = hexlify(id)
        message = Message(id, transaction.sender)
        message.received_us, message.flags = now, flags
        message.peer_name, message.peer_address = session.name, session.address
        message.session, message.message_id = session.id, found.message_id
        message.total = message.open = len(recipients)
        self._complete(session, message, digits, body, ahead, found)
        if control is not NOTHING:
            message.tenant, message.campaign = control.tenant, control.campaign
            message.pool = control.pool
            if control.klass is not None:
                message.klass = control.klass
        wishes = None
        if transaction.asked is not None:
            wishes = self._grant(message, transaction.asked, control)
        hand = self._hand
        if hand is not None:
            hand.hold(id)
        try:
            self._submit(message, recipients, Stored(self, session, message, digits, done), wishes)
        except SpoolBusyError:
            done(self._refuse(session, NO_STORAGE, ".", message.sender, size=message.size))
        finally:
            if hand is not None:
                hand.drop()

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

    def _judge(self, found: HeaderScan) -> Control | bytes:
        """What the control headers say, or the refusal of the content."""
        if found.received_count > self._max_hops:
            text = f"Mail loop: the message has {found.received_count} Received headers"
            return reply(554, "5.4.6", text)
        values = found.found
        if values is None or not self._believes:
            return NOTHING
        return read(self.options.names, values)

    def _complete(
        self,
        session: Client,
        message: Message,
        digits: bytes,
        body: bytes,
        ahead: int,
        found: HeaderScan,
    ) -> None:
        """Put our header before the content, and leave out what it is not to have."""
        date = self._dates.at(message.received_us)
        head = [self._trace(session, message.flags), digits, b";\r\n\t", date, b"\r\n"]
        if self._completes:
            head += self._missing(found, digits, date)
            if not message.message_id:
                message.message_id = f"<{digits.decode()}@{self._hostname}>"
        if found.header_end == ahead and body[ahead : ahead + 2] != b"\r\n":
            head.append(b"\r\n")  # RFC 5322 2.1: the body begins after an empty line
        kept = found.kept
        if kept is None:
            body = headed(body, ahead, head)
        else:
            view = memoryview(body)
            body = b"".join([*head, *(view[start:end] for start, end in kept)])
        message.body, message.size = body, len(body)

    def _trace(self, session: Client, flags: int) -> bytes:
        """The Received header of a message up to its id."""
        if not session.trace:
            session.trace = trace(
                session.name, session.address, self._hostname, extended=session.extended
            )
        if flags & _SMTPUTF8:
            return session.trace.replace(b" with ESMTP", b" with UTF8SMTP")  # RFC 6531 4.3
        return session.trace

    def _missing(self, found: HeaderScan, digits: bytes, date: bytes) -> list[bytes]:
        """The Date and Message-ID headers that the message lacks (RFC 6409 8.1 and 8.2)."""
        added = []
        if not found.has_date:
            added.append(b"Date: %b\r\n" % date)
        if not found.has_message_id:
            added.append(b"Message-ID: <%b@%b>\r\n" % (digits, self._hostname.encode()))
        return added

    def unanswered(self, session: Client, message: Message, error: BaseException) -> None:
        """Take down that a client learns nothing of its message."""
        record = self._records.rejection(
            Outcome(Kind.DEFERRED, 0, "", str(error), "."),
            reason="unknown",
            sender=message.sender,
            peer_name=session.name,
            peer_address=session.address,
            session=session.id,
            size=message.size,
        )
        self._log(record)

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


class Stored:
    """What follows when the commit of a message has ended."""

    __slots__ = ("reception", "session", "message", "digits", "done")

    def __init__(
        self,
        reception: Reception,
        session: Client,
        message: Message,
        digits: bytes,
        done: Callable[[bytes], None],
    ) -> None:
        self.reception, self.session, self.message = reception, session, message
        self.digits, self.done = digits, done

    def __call__(self, error: BaseException | None) -> None:
        if error is None:
            self.done(b"250 2.0.0 Ok: queued as " + self.digits + b"\r\n")
        else:
            self.failed(error)

    def failed(self, error: BaseException) -> None:
        """Nothing is stored, or nobody knows: then no reply may say so."""
        refuse, message = self.reception._refuse, self.message
        if isinstance(error, SpoolUnknownError):
            self.reception.unanswered(self.session, message, error)
            self.done(b"")
            return
        answer = NO_STORAGE if isinstance(error, SpoolBusyError) else LOCAL_ERROR
        self.done(refuse(self.session, answer, ".", message.sender, size=message.size))


def outcome_of(answer: bytes, command: str) -> Outcome:
    """A negative reply of ours as the log has it: its lines joined by a blank."""
    found = [REPLY.match(line) for line in answer.splitlines()]
    texts = [line[3].decode("ascii", "replace") for line in found if line]
    first = found[0]
    assert first is not None
    kind = Kind.DEFERRED if first[1][:1] == b"4" else Kind.BOUNCED
    return Outcome(kind, int(first[1]), (first[2] or b"").decode(), " ".join(texts), command)
