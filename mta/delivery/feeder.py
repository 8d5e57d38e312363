"""What a connection and the dispatcher that feeds it know of each other (compiled)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from mta.delivery.deadlines import Timed

if TYPE_CHECKING:
    from mta.model import Message, Outcome, Peer, Recipient

__all__ = ["Attempt", "Connection", "Feeder", "Hand", "NoHand"]


class Hand(Protocol):
    """Where the message is noted that is handled at this instant (`mta.supervisor.poison`)."""

    def hold(self, id: bytes, /) -> None:
        """It is this one."""

    def drop(self) -> None:
        """It is none."""


class NoHand:
    """Notes nothing."""

    def hold(self, id: bytes) -> None:
        """Of no interest."""

    def drop(self) -> None:
        """Of no interest."""


class Attempt:
    """One message on its way to some of its recipients over one connection."""

    __slots__ = (
        "message", "recipients", "body", "flags", "tag", "offers", "mail_at", "connect_us",
        "transfer_us", "failure",
    )  # fmt: skip

    message: Message
    recipients: list[Recipient]
    body: bytes  # what is sent, rendered and signed
    flags: int  # mta.model.Flag bits of `body`; DOT_LINES must be right, sending trusts it
    tag: Any  # the dispatcher's own
    offers: int  # what the server takes that `body` was prepared for
    mail_at: float  # loop time at which MAIL left, 0 before
    connect_us: int  # from connecting to the greeting; 0 on a connection that was open
    transfer_us: int  # from MAIL to the last reply
    failure: str  # why it could not be prepared

    def __init__(
        self, message: Message, recipients: list[Recipient], body: bytes, tag: Any = None
    ) -> None:
        self.message, self.recipients, self.body = message, recipients, body
        self.flags, self.tag = message.flags, tag
        self.offers, self.mail_at, self.connect_us, self.transfer_us = 0, 0.0, 0, 0
        self.failure = ""

    def __repr__(self) -> str:
        return f"<Attempt of {self.message!r} to {len(self.recipients)} recipients>"


class Connection(Timed):
    """What carries attempts, one after the other: an SMTP session, or what stands for one."""

    __slots__ = ("dial", "peer", "local", "overlap_failed", "offers")

    dial: Any  # the dispatcher's own
    peer: Peer  # the remote, for the record
    local: tuple[str, int] | None  # address to connect from
    offers: int  # what its server takes, `smtp.client.Capability` bits; known once it is ready
    overlap_failed: bool  # its server cannot take what is sent ahead: never again for this host

    async def connect(
        self, host: str, port: int, local_addr: tuple[str, int] | None = None
    ) -> None:
        """Open it; a failure is told by `connection_closed`."""
        raise NotImplementedError

    def kick(self) -> None:
        """There may be something to send: ask for it if idle."""
        raise NotImplementedError

    def close(self) -> None:
        """End at the next message boundary."""
        raise NotImplementedError

    def abort(self) -> None:
        """End now; what is under way is unknown."""
        raise NotImplementedError

    def unload(self, before: float) -> bool:
        """Give up content that left before that loop time; True: there is nothing to watch."""
        raise NotImplementedError


class Feeder:
    """What a connection asks and tells its dispatcher, always from within a callback of the loop.

    The dispatcher may call its `kick`, `close` and `abort` from any of these, but for `abort` in a
    `next_attempt` that gives an attempt.
    """

    __slots__ = ("hand",)

    hand: Hand  # of the worker, for the message whose octets are worked on

    def next_attempt(self, connection: Connection) -> Attempt | None:
        """Choose and load the next message and take its tokens; None if none may go now."""
        raise NotImplementedError

    def content_sent(self, connection: Connection) -> None:
        """A content is on its way: `unload` it when its reply takes long."""

    def content_over(self, attempt: Attempt) -> None:
        """The content of an attempt was given up: it has left, and its reply takes long."""

    def attempt_done(
        self, connection: Connection, attempt: Attempt, outcomes: list[Outcome]
    ) -> None:
        """The attempt has ended, with one outcome for each recipient, in order."""
        raise NotImplementedError

    def connection_ready(self, connection: Connection) -> None:
        """The session is up for the first time; `next_attempt` follows."""
        raise NotImplementedError

    def connection_idle(self, connection: Connection) -> None:
        """`next_attempt` gave None at a message boundary: `kick` when there is something."""
        raise NotImplementedError

    def connection_closed(self, connection: Connection, outcome: Outcome | None) -> None:
        """The last call. `outcome` says why it never became ready or broke; None: a normal end."""
        raise NotImplementedError
