"""What a message, a recipient and an outcome are, to every layer above (compiled).

A `Message` and its `Recipient`s are plain slotted objects: they are walked through by every stage
and changed only by the queue manager (`mta.queues`), on the worker's loop.
"""

from __future__ import annotations

import enum
from random import getrandbits
from typing import TYPE_CHECKING, Any, NamedTuple

from mta._speedups.ids import packed

if TYPE_CHECKING:
    from mta.clock import Clock


class Class(enum.IntEnum):
    """Priority of a message: a lower number leaves first."""

    TRANSACTIONAL = 0
    NORMAL = 1
    BULK = 2


class Flag:
    """Bits of what reception found out about the content; plain integers, as each message is
    looked at with them.
    """

    EIGHT_BIT = 1  # the content has bytes over 127
    DOT_LINES = 2  # some line begins with a dot, so sending must stuff (RFC 5321 4.5.2)
    BODY_8BITMIME = 4  # declared by BODY=8BITMIME (RFC 6152)
    LONG_LINES = 8  # some line is longer than 998 octets (RFC 5321 4.5.3.1.6)
    SMTPUTF8 = 16  # declared: addresses or header may be UTF-8 (RFC 6531)
    BINARYMIME = 32  # declared by BODY=BINARYMIME: NULs and bare newlines are content (RFC 3030)


class Notify(enum.IntFlag):
    """When a recipient's sender is to be told (RFC 3461 4.1); nothing: it was not said."""

    NEVER = 1
    SUCCESS = 2
    FAILURE = 4
    DELAY = 8
    DELAYED = 16  # not asked for: the sender has been told of the delay


class Wish(NamedTuple):
    """What a client asks for one recipient beside its address."""

    notify: int = 0  # Notify
    orcpt: str = ""  # as given: type, semicolon, xtext (RFC 3461 4.2)


class Scope(enum.StrEnum):
    """Whose limit it is, and what waits because of it."""

    NODE = "node"
    SITE = "site"
    TENANT = "tenant"
    QUEUE = "queue"  # one campaign of one tenant at one site
    MESSAGE = "message"


class Limit(enum.StrEnum):
    """What is limited."""

    CONNECTIONS = "connections"
    RATE = "rate"


class Where(enum.IntEnum):
    """Which index row holds a recipient (docs/design.md, spool layout)."""

    FRESH = 0  # accepted, no attempt yet
    DUE = 1  # waits for its next attempt
    BACKLOG = 2  # due, but its lane's memory was full
    HELD = 3  # held by an operator
    CLOSED = 4  # has its terminal record; no row is left


class Message:
    """One accepted message: its envelope without the recipients."""

    __slots__ = (
        "id", "sender", "tenant", "campaign", "pool", "klass", "received_us", "size", "flags",
        "peer_name", "peer_address", "message_id", "open", "total", "body", "session", "uses",
        "envid", "ret", "priority", "release_us", "place", "__weakref__",
    )  # fmt: skip

    id: bytes  # 16 bytes, UUIDv7, carries the shard
    sender: str  # reverse-path; "" is the null sender
    tenant: str
    campaign: str
    pool: str
    klass: int  # Class
    received_us: int  # wall clock, microseconds
    size: int  # octets of the stored content
    flags: int  # Flag
    peer_name: str  # what the client said in EHLO
    peer_address: str  # the client's address
    message_id: str  # the Message-ID header field
    open: int  # recipients without a terminal record
    total: int  # recipients accepted
    body: bytes | None  # the content while it is in memory
    session: str  # the session that brought it
    uses: int  # recipients in the queue manager's memory
    envid: str  # the client's name for the envelope, as xtext (RFC 3461 4.4)
    ret: str  # how much a failure DSN returns: "FULL", "HDRS" or "" (RFC 3461 4.3)
    priority: int  # MT-PRIORITY, -9 to 9 (RFC 6710)
    release_us: int  # no attempt before this wall clock (RFC 4865), 0 for at once
    place: int  # of the body in the shard's segments; 0: it is in RocksDB, or not stored yet

    def __init__(
        self,
        id: bytes,
        sender: str,
        *,
        tenant: str = "",
        campaign: str = "",
        pool: str = "",
        klass: int = Class.NORMAL,
        received_us: int = 0,
        size: int = 0,
        flags: int = 0,
        peer_name: str = "",
        peer_address: str = "",
        message_id: str = "",
        session: str = "",
        open: int = 0,
        total: int = 0,
        body: bytes | None = None,
        envid: str = "",
        ret: str = "",
        priority: int = 0,
        release_us: int = 0,
        place: int = 0,
    ) -> None:
        self.id, self.sender = id, sender
        self.tenant, self.campaign, self.pool, self.klass = tenant, campaign, pool, klass
        self.received_us, self.size, self.flags = received_us, size, flags
        self.peer_name, self.peer_address = peer_name, peer_address
        self.message_id, self.session = message_id, session
        self.open, self.total, self.body = open, total, body
        self.uses, self.place = 0, place
        self.envid, self.ret, self.priority, self.release_us = envid, ret, priority, release_us

    def __repr__(self) -> str:
        return f"<Message {id_text(self.id)} from <{self.sender}> {self.open}/{self.total} open>"


class Recipient:
    """One recipient of a message: where it stands and what was last said of it."""

    __slots__ = (
        "message", "number", "address", "domain", "attempts", "due_us", "expires_us", "where",
        "code", "enhanced", "text", "route", "flying", "loaded", "orders", "notify", "orcpt",
        "site",
    )  # fmt: skip

    message: Message
    number: int  # place in the message, from 0
    address: str  # forward-path
    domain: str  # right of the last @, lower case, as A-labels
    attempts: int  # attempts that ended in an outcome
    due_us: int  # wall clock of the index row (accept time while FRESH)
    expires_us: int  # wall clock after which it expires
    where: int  # Where
    code: int  # last reply code, 0 = none
    enhanced: str  # last enhanced status code (RFC 3463)
    text: str  # last reply text
    route: str  # rerouted by an operator: next hop, else ""
    flying: bool  # being attempted now
    loaded: bool  # in the queue manager's memory
    orders: list[Any] | None  # operators' acts to obey when it comes back
    notify: int  # Notify
    orcpt: str  # the original recipient: type, semicolon, xtext (RFC 3461 4.2)
    site: str  # where it was last attempted, or was to go when it left memory; "" if unknown

    def __init__(
        self,
        message: Message,
        number: int,
        address: str,
        *,
        due_us: int = 0,
        expires_us: int = 0,
        attempts: int = 0,
        where: int = Where.FRESH,
        code: int = 0,
        enhanced: str = "",
        text: str = "",
        route: str = "",
        notify: int = 0,
        orcpt: str = "",
        site: str = "",
    ) -> None:
        self.message, self.number, self.address = message, number, address
        self.domain = domain_of(address)
        self.attempts, self.due_us = attempts, due_us
        self.expires_us, self.where = expires_us, where
        self.code, self.enhanced, self.text, self.route = code, enhanced, text, route
        self.flying = self.loaded = False
        self.orders = None
        self.notify, self.orcpt, self.site = notify, orcpt, site

    def __repr__(self) -> str:
        where = Where(self.where).name.lower()
        return f"<Recipient {id_text(self.message.id)}/{self.number} <{self.address}> {where}>"


class Kind(enum.IntEnum):
    """How an attempt ended."""

    DELIVERED = 0
    DEFERRED = 1  # 4xx, lost connection, no connection: try again
    BOUNCED = 2  # 5xx: never again
    UNATTEMPTED = 3  # nothing was decided by the remote: back to the queue, count nothing


class Outcome(NamedTuple):
    """The result of one attempt for one recipient: a value, never an exception."""

    kind: Kind
    code: int  # reply code; 0 where no reply was read
    enhanced: str  # "5.1.1", or "" where none was given
    text: str  # reply text, lines joined by a blank
    command: str  # the command it answered: "connect", "EHLO", "MAIL", "RCPT", "DATA", "."


class Refusal(NamedTuple):
    """Routing's word that a destination cannot be reached, or not now: an outcome, no plan."""

    outcome: Outcome


class Peer(NamedTuple):
    """The remote server of an attempt, for the record."""

    name: str  # MX host name or the literal
    address: str  # IP address and port, or ""
    source: str  # egress source
    success: str = "relayed"  # what a success DSN says of it; "" if it sends that itself (RFC 3461)


class Stages(NamedTuple):
    """How long the stages of an attempt took, microseconds."""

    queued: int = 0  # from acceptance (or the last due time) to the attempt
    dns: int = 0
    connect: int = 0  # to the greeting; 0 on a connection that was open
    transfer: int = 0  # from MAIL to the last reply


class IdGenerator:
    """Message ids: UUIDv7 (RFC 9562 5.7), strictly rising within a shard.

    48 bits of milliseconds, the version, a 12-bit counter, the variant, 12 bits of shard number,
    50 random bits. When a millisecond's counter is used up, the next millisecond is borrowed.
    """

    __slots__ = ("_clock", "_shard", "_last_ms", "_counter")

    def __init__(self, shard: int, clock: Clock) -> None:
        if not 0 <= shard < 4096:
            raise ValueError(f"shard {shard} is not between 0 and 4095")
        self._clock, self._shard = clock, shard
        self._last_ms, self._counter = 0, 0

    def next(self) -> bytes:
        """A new id, 16 bytes."""
        now = self._clock.wall_us()
        now //= 1000
        if now > self._last_ms:
            self._last_ms, self._counter = now, 0
        elif self._counter == 0xFFF:
            self._last_ms, self._counter = self._last_ms + 1, 0
        else:
            self._counter += 1
        return packed(self._last_ms, self._counter, self._shard, getrandbits(50))

    def resume_after(self, last: bytes) -> None:
        """Make every further id larger than `last`, whatever the wall clock says."""
        self._last_ms = max(self._last_ms, int.from_bytes(last[:6], "big"))
        self._counter = 0xFFF


def domain_of(address: str) -> str:
    """What is right of the last @, lower case, as A-labels."""
    domain = address.rpartition("@")[2].lower()
    return domain if domain.isascii() else ascii_domain(domain)


def ascii_domain(domain: str) -> str:
    """An internationalized domain as A-labels (RFC 5890 2.3.2.1), as it is if it is none."""
    if domain.isascii():
        return domain
    import idna  # large tables that few messages need

    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError:
        return domain


def id_shard(id: bytes) -> int:
    """The shard that a message id names."""
    return (int.from_bytes(id[8:10], "big") >> 2) & 0xFFF


def id_text(id: bytes) -> str:
    """The id as 32 hexadecimal digits: what people and logs see."""
    return id.hex()


def id_bytes(text: str) -> bytes:
    """The id from its hexadecimal digits, with or without hyphens; ValueError if it is none."""
    id = bytes.fromhex(text.replace("-", ""))
    if len(id) != 16:
        raise ValueError(f"{text!r} is not a message id: 32 hexadecimal digits are needed")
    return id
