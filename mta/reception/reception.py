"""The one way in: has mail judged, completes its header, hands it on (compiled)."""

from __future__ import annotations

import asyncio
import sys
import traceback
from binascii import hexlify
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Protocol

import msgspec

from mta._speedups.dots import headed
from mta._speedups.headers import HeaderScan, Names
from mta._speedups.verdict import ACCEPTED, UNKNOWN, Reason, Verdict
from mta.clock import Clock
from mta.errors import SpoolBusyError
from mta.model import Flag, IdGenerator, Kind, Message, Outcome
from mta.reception.admit import Admission, Answer, Pending
from mta.reception.arrival import Arrival, arrive
from mta.reception.client import Client, Transaction
from mta.reception.control import NOTHING, Control, ControlNames
from mta.reception.parameters import ParameterOptions, Params, future_release, klass_of
from mta.reception.policy import Policy
from mta.reception.received import LONGER, Dates, trace
from mta.reception.rules import Room
from mta.smtp.replies import NO_STORAGE

if TYPE_CHECKING:
    from mta.maillog.records import RecordWriter
    from mta.model import Wish

_SMTPUTF8: int = Flag.SMTPUTF8
_ACCEPTED: Verdict = ACCEPTED  # a C global here


class ReceptionOptions(msgspec.Struct, frozen=True):
    """What a listener does with messages, beside its relay rule."""

    hostname: str
    believe_control: bool = False  # control headers of its clients count
    add_headers: bool = False  # Date and Message-ID where they are missing
    max_hops: int = 50  # Received fields that mean a loop (RFC 5321 6.3)
    names: ControlNames = ControlNames()
    parameters: ParameterOptions = ParameterOptions()


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
    """One listener's way in: what it does with a client's commands, and what it answers to them.

    A positive answer that is ACCEPTED is the standard one of its command.
    """

    __slots__ = (
        "options", "policy", "admission", "room", "_ids", "_submit", "_log", "_clock", "_hand",
        "_names", "_dates", "_records", "_hostname", "_completes", "_tasks",
    )  # fmt: skip

    def __init__(
        self,
        options: ReceptionOptions,
        policy: Policy,
        admission: Admission,
        ids: IdGenerator,
        submit: Submit,
        log: Callable[[bytes], None],
        clock: Clock,
        room: Room,
        *,
        records: RecordWriter,
        hand: Hand | None = None,
    ) -> None:
        """`admission` has all that is asked, `policy` included; `hand` what is being submitted."""
        self.options, self.policy, self.admission = options, policy, admission
        self._ids, self._submit, self._log, self._clock = ids, submit, log, clock
        self.room, self._records, self._hand = room, records, hand
        self._names = Names(options.names.all())
        self._dates = Dates()
        self._hostname, self._completes = options.hostname, options.add_headers
        self._tasks: set[asyncio.Task[None]] = set()  # messages whose verdict comes later

    def hello(self, client: Client, extended: bool, standard: bytes) -> bytes:
        """The reply to EHLO or HELO: `standard`, and what is offered to this client alone."""
        hold = self.options.parameters.max_hold
        if not extended or not hold or not client.relay:
            return standard
        first, _, rest = standard.partition(b"\r\n")
        line = future_release(hold, self._clock.wall_us()).encode()
        if not rest:
            return b"250-%b\r\n250 %b\r\n" % (first[4:], line)
        return b"%b\r\n250-%b\r\n%b" % (first, line, rest)

    def mail(self, client: Client, sender: str, params: Params | None = None) -> Answer:
        """Begin a transaction."""
        client.sender, client.recipients, client.asked = sender, [], None
        answer = self.admission.mail(client, params)
        if answer is _ACCEPTED:
            return answer
        return _then(answer, partial(self._begun, client, sender))

    def _begun(self, client: Client, sender: str, verdict: Verdict) -> Verdict:
        if verdict.refuses:
            client.sender = client.recipients = None
            self._note(client, verdict, "MAIL", sender)
        return verdict

    def rcpt(self, client: Client, address: str, params: Params | None = None) -> Answer:
        """Add a recipient."""
        recipient = self.policy.complete(address)
        if recipient is None:
            text = f"<{address}>: the recipient address needs a domain"
            return self._added(
                client, address, address, Verdict(550, "5.1.2", text, Reason.ADDRESS)
            )
        answer = self.admission.rcpt(client, recipient, params)
        if answer is not _ACCEPTED:
            return _then(answer, partial(self._added, client, address, recipient))
        recipients = client.recipients
        assert recipients is not None
        recipients.append(recipient)
        return answer

    def _added(self, client: Client, address: str, recipient: str, verdict: Verdict) -> Verdict:
        recipients = client.recipients
        assert recipients is not None
        if not verdict.refuses:
            recipients.append(recipient)
            return verdict
        asked = client.asked
        if asked is not None and asked.wishes:  # its wish is nobody else's
            asked.wishes.pop(len(recipients), None)
        return self._note(client, verdict, "RCPT", client.sender, address)

    def data(self, client: Client) -> Answer:
        """May content come."""
        answer = self.admission.data(client)
        if answer is _ACCEPTED:
            return answer
        return _then(answer, partial(self._opened, client))

    def _opened(self, client: Client, verdict: Verdict) -> Verdict:
        if verdict.refuses:
            self._note(client, verdict, "DATA", client.sender)
        return verdict

    def ahead(self, client: Client, flags: int) -> int:
        """Room for our header that the next content is to have before it."""
        if self.admission.reads_content:
            return 0
        return len(self._trace(client, flags)) + LONGER

    def content(
        self,
        client: Client,
        transaction: Transaction,
        body: bytes,
        flags: int,
        done: Callable[[Verdict], None],
        ahead: int = 0,
    ) -> None:
        """Judge the content and hand the message on; `done` gets the verdict, now or later.

        UNKNOWN: whether the message is stored is unknown, the connection has to end.
        The content is what `body` has behind `ahead`; where that is not 0, `body` is given away.
        """
        arrival = arrive(client, transaction, body, flags, done, ahead, self._names, self)
        answer = self.admission.message(arrival)
        if answer is _ACCEPTED:
            self._hand_on(arrival)
        elif isinstance(answer, Pending):
            self._wait(arrival, answer)
            return
        else:
            self._judged(arrival, answer)
        if client.reserved:  # the queues count what they have taken
            self.room.release(client)

    def _judged(self, arrival: Arrival, verdict: Verdict) -> None:
        if verdict.refuses:
            arrival.done(self.refuse(arrival, verdict))
        else:
            self._hand_on(arrival)

    def _wait(self, arrival: Arrival, answer: Pending) -> None:
        """A member answers later: the content is counted until then."""
        client = arrival.client
        more = arrival.size - client.reserved
        if more > 0 and not self.room.reserve(client, more):
            answer.close()
            arrival.done(self.refuse(arrival, NO_STORAGE))
            return
        task = asyncio.get_running_loop().create_task(self._late(arrival, answer))
        task.add_done_callback(answer.ended)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _late(self, arrival: Arrival, answer: Pending) -> None:
        verdict = await answer
        self.room.release(arrival.client)  # before the client's next message may begin
        try:
            self._judged(arrival, verdict)
        except Exception:  # noqa: BLE001  the client must not wait for ever
            print(f"reception: {traceback.format_exc()}", file=sys.stderr, flush=True)
            arrival.done(UNKNOWN)

    def _hand_on(self, arrival: Arrival) -> None:
        """Make a message of what is accepted, and submit it."""
        recipients, client, control = arrival.recipients, arrival.client, arrival.control
        assert recipients is not None and arrival.sender is not None
        now, id = self._clock.wall_us(), self._ids.next()
        digits = hexlify(id)
        message = Message(id, arrival.sender)
        message.received_us, message.flags = now, arrival.flags
        message.peer_name, message.peer_address = client.name, client.address
        message.session, message.message_id = client.id, arrival.found.message_id
        message.total = message.open = len(recipients)
        self._complete(client, message, digits, arrival.body, arrival.ahead, arrival.found)
        if control is not NOTHING:
            message.tenant, message.campaign = control.tenant, control.campaign
            message.pool = control.pool
            if control.klass is not None:
                message.klass = control.klass
        wishes = None
        if arrival.asked is not None:
            wishes = self._grant(message, arrival, control)
        arrival.message, arrival.digits = message, digits
        arrival.body = b""  # the message has it
        hand = self._hand
        if hand is not None:
            hand.hold(id)
        try:
            self._submit(message, recipients, arrival, wishes)
        except SpoolBusyError:
            arrival.done(self.refuse(arrival, NO_STORAGE))
        finally:
            if hand is not None:
                hand.drop()

    def _grant(
        self, message: Message, arrival: Arrival, control: Control
    ) -> Mapping[int, Wish] | None:
        """Let the message be as its parameters ask; a class that a header names goes before."""
        asked = arrival.asked
        assert asked is not None
        message.envid, message.ret = asked.envid, asked.ret
        message.priority, message.release_us = asked.priority, asked.release_us
        if asked.priority and control.klass is None:
            message.klass = klass_of(asked.priority, self.options.parameters)
        return asked.wishes

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

    def unanswered(self, arrival: Arrival, error: BaseException) -> None:
        """Take down that a client learns nothing of its message."""
        outcome = Outcome(Kind.DEFERRED, 0, "", str(error), ".")
        self._write(arrival.client, outcome, Reason.UNKNOWN, arrival.sender, "", arrival.size)

    def refuse(self, arrival: Arrival, verdict: Verdict) -> Verdict:
        """Take down that a message is refused; the same verdict."""
        return self._note(arrival.client, verdict, ".", arrival.sender, size=arrival.size)

    def refused(
        self, client: Client, verdict: Verdict, command: str, recipient: str = ""
    ) -> Verdict:
        """Take down a refusal that was given without reception; the same verdict."""
        return self._note(client, verdict, command, client.sender, recipient)

    def _note(
        self,
        client: Client,
        verdict: Verdict,
        command: str,
        sender: str | None,
        recipient: str = "",
        size: int = 0,
    ) -> Verdict:
        kind = Kind.DEFERRED if verdict.temporary else Kind.BOUNCED
        outcome = Outcome(kind, verdict.code, verdict.enhanced, verdict.line, command)
        self._write(client, outcome, verdict.reason or Reason.CONTENT, sender, recipient, size)
        return verdict

    def _write(
        self,
        client: Client,
        outcome: Outcome,
        reason: str,
        sender: str | None,
        recipient: str,
        size: int,
    ) -> None:
        record = self._records.rejection(
            outcome,
            reason=str(reason),
            sender=sender,
            recipient=recipient,
            peer_name=client.name,
            peer_address=client.address,
            session=client.id,
            size=size,
        )
        self._log(record)


def _then(answer: Answer, end: Callable[[Verdict], Verdict]) -> Answer:
    """The answer, with what has to follow from it."""
    if isinstance(answer, Verdict):
        return end(answer)
    answer.then(end)
    return answer
