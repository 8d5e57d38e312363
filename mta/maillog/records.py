"""The log's records: one struct, and one constructor for each type of event (compiled).

A line of the log is the struct as JSON, without the fields that have their default. All times are
integers in microseconds, `time` and `next_attempt` since 1970 UTC. Which fields a type has:

| type | meaning | beside id, time, sender, tenant, campaign, class, size, node, shard, session |
|---|---|---|
| Reception | a message is stored | recipients, total, pool, message_id, peer_*: the client |
| Delivery | a remote took it | rno, recipient, reply fields, peer_*, source, stages, attempts |
| TransientFailure | an attempt failed for now | as Delivery, and next_attempt |
| Bounce | refused for good | as Delivery |
| Expiration | too old | as Delivery; the reply fields are those of the last attempt |
| AdminBounce | bounced by an operator | rno, recipient, reason, act, attempts, reply fields |
| Removed | removed by an operator, or set aside as unreadable | as AdminBounce |
| Lost | the spool has lost it: no copy was found | rno, recipient, reason |
| Found | what was recorded as Lost is in the spool again: that record does not count | as Lost |
| Rejection | refused at reception | recipient, reply fields, reason, peer_*: the client |
| Act | an operator's act is over | act, verb, select, by, reason, next_hop, begun, touched |
| Mark | how far the spool was synced; no event: readers leave it out | mark |

Reply fields: code, enhanced, text, command. Stages: queued, dns, connect, transfer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mta.maillog.logline import Lines
from mta.model import Stages

if TYPE_CHECKING:
    from mta.clock import Clock
    from mta.model import Message, Outcome, Peer, Recipient

RECEPTION, DELIVERY, TRANSIENT_FAILURE = "Reception", "Delivery", "TransientFailure"
BOUNCE, EXPIRATION, ADMIN_BOUNCE = "Bounce", "Expiration", "AdminBounce"
REMOVED, REJECTION = "Removed", "Rejection"
LOST, FOUND = "Lost", "Found"
ACT = "Act"
MARK = "Mark"

TERMINAL = frozenset((DELIVERY, BOUNCE, EXPIRATION, ADMIN_BOUNCE, REMOVED, LOST))
TYPES = frozenset((RECEPTION, TRANSIENT_FAILURE, REJECTION, FOUND, ACT, *TERMINAL))

RECIPIENTS_SHOWN = 100  # addresses that a Reception record names at most
CLASSES = ("transactional", "normal", "bulk")
NO_STAGES = Stages()
_CLASSES, _SHOWN = CLASSES, RECIPIENTS_SHOWN  # as the compiled module has them (records.pxd)

Fields = dict[str, Any]  # a record as it is read: a field that is missing has its default


class Record(msgspec.Struct, omit_defaults=True, gc=False, rename={"klass": "class"}):
    """One event. `tls` is None for plain text."""

    type: str
    time: int  # when it happened
    id: str = ""  # message id, 32 hexadecimal digits
    rno: int | None = None  # the recipient's number in the message
    sender: str | None = None  # "" is the null sender
    recipient: str = ""
    recipients: list[str] = []
    total: int = 0  # recipients of the message
    tenant: str = ""
    campaign: str = ""
    pool: str = ""
    klass: str = ""  # transactional, normal, bulk
    queue: str = ""  # campaign:tenant@domain!route
    site: str = ""
    source: str = ""  # egress source
    peer_name: str = ""
    peer_address: str = ""
    code: int = 0
    enhanced: str = ""
    text: str = ""
    command: str = ""  # what the reply answered
    attempts: int = 0
    size: int = 0
    tls: str | None = None
    queued: int = 0
    dns: int = 0
    connect: int = 0
    transfer: int = 0
    next_attempt: int = 0
    node: str = ""
    shard: int = 0
    session: str = ""
    message_id: str = ""
    reason: str = ""
    act: int = 0  # number of the operator's act
    verb: str = ""  # of an Act: hold, release ...
    select: str = ""  # and which mail it was for
    by: str = ""
    next_hop: str = ""
    begun: int = 0  # when it was given
    touched: int = 0  # recipients


_MARKED = b'{"type":"Mark",'

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def decode(line: bytes) -> Fields | None:
    """The record of a line, fields that have their default left out; None if it is none."""
    try:
        fields = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return fields if isinstance(fields.get("time"), int) and "type" in fields else None


def mark_line(now_us: int, mark: bytes) -> bytes:
    """The last line of a frame, which keeps what the spool wants to know at its next start."""
    return b'{"type":"Mark","time":%d,"mark":"%s"}' % (now_us, mark.hex().encode())


def split_mark(content: bytes) -> tuple[bytes, bytes]:
    """The lines of a frame without its mark, and the mark: b"" if it has none."""
    at = content.rfind(b"\n", 0, -1) + 1
    if not content.startswith(_MARKED, at):
        return content, b""
    try:
        return content[:at], bytes.fromhex((decode(content[at:]) or {}).get("mark", ""))
    except (ValueError, TypeError):
        return content[:at], b""


def encode(record: Record) -> bytes:
    """The line of a record, without its end; text that is no Unicode is made readable."""
    try:
        return _encode(record)
    except UnicodeEncodeError:
        for name in Record.__struct_fields__:
            value = getattr(record, name)
            if isinstance(value, str):
                setattr(record, name, value.encode("utf-8", "replace").decode())
        record.recipients = [r.encode("utf-8", "replace").decode() for r in record.recipients]
        return _encode(record)


class RecordWriter:
    """Makes the lines of one shard; each constructor takes the time itself."""

    def __init__(self, node: str, shard: int, clock: Clock) -> None:
        self._node, self._shard, self._now = node, shard, clock.wall_us
        where = encode(Record("", 0, node=node, shard=shard))
        tail = where.removeprefix(b'{"type":"","time":0').removesuffix(b"}")
        self._lines = Lines(tail)

    def reception(self, message: Message, recipients: list[Recipient]) -> bytes:
        """A message was stored for these recipients."""
        klass = _CLASSES[message.klass]
        try:
            return self._lines.reception(self._now(), message, recipients, _SHOWN, klass)
        except UnicodeEncodeError:
            return self.reception_by_struct(message, recipients)

    def reception_by_struct(self, message: Message, recipients: list[Recipient]) -> bytes:
        """What `reception` gives, or would if its text were Unicode."""
        record = self._about(RECEPTION, message)
        record.pool, record.message_id = message.pool, message.message_id
        record.peer_name, record.peer_address = message.peer_name, message.peer_address
        record.recipients = [r.address for r in recipients[:RECIPIENTS_SHOWN]]
        record.total = len(recipients)
        return encode(record)

    def delivery(
        self,
        recipient: Recipient,
        outcome: Outcome,
        peer: Peer,
        stages: Stages,
        queue: str = "",
        site: str = "",
        tls: str | None = None,
    ) -> bytes:
        """The remote took the message for this recipient."""
        now, klass = self._now(), _CLASSES[recipient.message.klass]
        try:
            return self._lines.delivery(
                now, recipient, outcome, peer, stages, queue, site, tls, klass
            )
        except UnicodeEncodeError:
            return self.delivery_by_struct(recipient, outcome, peer, stages, queue, site, tls)

    def delivery_by_struct(
        self,
        recipient: Recipient,
        outcome: Outcome,
        peer: Peer,
        stages: Stages,
        queue: str,
        site: str,
        tls: str | None,
    ) -> bytes:
        """What `delivery` gives, or would if its text were Unicode."""
        record = self._attempt(DELIVERY, recipient, outcome, peer, stages)
        record.queue, record.site, record.tls = queue, site, tls
        return encode(record)

    def transient_failure(
        self,
        recipient: Recipient,
        outcome: Outcome,
        peer: Peer | None,
        stages: Stages,
        next_attempt: int,
        *,
        queue: str = "",
        site: str = "",
        tls: str | None = None,
    ) -> bytes:
        """The attempt failed for now; the next one is at `next_attempt`, microseconds."""
        record = self._attempt(TRANSIENT_FAILURE, recipient, outcome, peer, stages)
        record.queue, record.site, record.tls = queue, site, tls
        record.next_attempt = next_attempt
        return encode(record)

    def bounce(
        self,
        recipient: Recipient,
        outcome: Outcome,
        peer: Peer | None,
        stages: Stages = NO_STAGES,
        *,
        queue: str = "",
        site: str = "",
        tls: str | None = None,
    ) -> bytes:
        """The recipient was refused for good."""
        record = self._attempt(BOUNCE, recipient, outcome, peer, stages)
        record.queue, record.site, record.tls = queue, site, tls
        return encode(record)

    def expiration(
        self,
        recipient: Recipient,
        outcome: Outcome | None = None,
        peer: Peer | None = None,
        stages: Stages = NO_STAGES,
        *,
        queue: str = "",
        site: str = "",
        tls: str | None = None,
    ) -> bytes:
        """The recipient grew too old; without an outcome its last reply is told."""
        record = self._attempt(EXPIRATION, recipient, outcome, peer, stages)
        record.queue, record.site, record.tls = queue, site, tls
        return encode(record)

    def admin_bounce(
        self, recipient: Recipient, *, reason: str = "", act: int = 0, queue: str = ""
    ) -> bytes:
        """An operator bounced the recipient."""
        record = self._attempt(ADMIN_BOUNCE, recipient, None, None, NO_STAGES)
        record.reason, record.act, record.queue = reason, act, queue
        return encode(record)

    def removed(
        self, recipient: Recipient, *, reason: str = "", act: int = 0, queue: str = ""
    ) -> bytes:
        """An operator removed the recipient."""
        record = self._attempt(REMOVED, recipient, None, None, NO_STAGES)
        record.reason, record.act, record.queue = reason, act, queue
        return encode(record)

    def set_aside(self, id: bytes, rno: int, reason: str) -> bytes:
        """A recipient whose record cannot be read was removed: all that is known of it."""
        record = Record(REMOVED, self._now(), id.hex(), rno)
        record.node, record.shard, record.reason = self._node, self._shard, reason
        return encode(record)

    def lost(self, reception: Fields, rno: int, reason: str) -> bytes:
        """A recipient of whom the log alone knows, by the message's Reception record."""
        shown = reception.get("recipients", [])
        record = Record(LOST, self._now(), reception["id"], rno, reception.get("sender"))
        record.recipient = shown[rno] if rno < len(shown) else ""
        record.tenant, record.campaign = reception.get("tenant", ""), reception.get("campaign", "")
        record.klass, record.size = reception.get("class", ""), reception.get("size", 0)
        record.session, record.reason = reception.get("session", ""), reason
        record.node, record.shard = self._node, self._shard
        return encode(record)

    def found(self, recipient: Recipient, reason: str) -> bytes:
        """A recipient that was recorded as Lost is in the spool after all."""
        record = self._about(FOUND, recipient.message, recipient.number)
        record.recipient, record.reason = recipient.address, reason
        return encode(record)

    def rejection(
        self,
        outcome: Outcome,
        *,
        reason: str,
        sender: str | None = None,
        recipient: str = "",
        peer_name: str = "",
        peer_address: str = "",
        session: str = "",
        size: int = 0,
    ) -> bytes:
        """Reception refused a client's command; `outcome` is the reply it got."""
        record = Record(REJECTION, self._now(), sender=sender, recipient=recipient, reason=reason)
        record.code, record.enhanced, record.text = outcome.code, outcome.enhanced, outcome.text
        record.command, record.size, record.session = outcome.command, size, session
        record.peer_name, record.peer_address = peer_name, peer_address
        record.node, record.shard = self._node, self._shard
        return encode(record)

    def act(
        self,
        act: int,
        verb: str,
        select: str,
        *,
        by: str,
        reason: str,
        next_hop: str,
        begun: int,
        touched: int,
    ) -> bytes:
        """An operator's act is over, a hold in force on all that there was."""
        record = Record(ACT, self._now(), reason=reason, act=act, verb=verb, select=select, by=by)
        record.next_hop, record.begun, record.touched = next_hop, begun, touched
        record.node, record.shard = self._node, self._shard
        return encode(record)

    def _about(self, type: str, message: Message, rno: int | None = None) -> Record:
        return Record(
            type,
            self._now(),
            message.id.hex(),
            rno,
            message.sender,
            tenant=message.tenant,
            campaign=message.campaign,
            klass=CLASSES[message.klass],
            size=message.size,
            node=self._node,
            shard=self._shard,
            session=message.session,
        )

    def _attempt(
        self,
        type: str,
        recipient: Recipient,
        outcome: Outcome | None,
        peer: Peer | None,
        stages: Stages,
    ) -> Record:
        record = self._about(type, recipient.message, recipient.number)
        record.recipient, record.attempts = recipient.address, recipient.attempts
        if outcome is not None:
            _, record.code, record.enhanced, record.text, record.command = outcome
        else:
            record.code, record.enhanced = recipient.code, recipient.enhanced
            record.text = recipient.text
        if peer is not None:
            record.peer_name, record.peer_address, record.source, _ = peer
        record.queued, record.dns, record.connect, record.transfer = stages
        return record
