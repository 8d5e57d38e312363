"""Ways to hand a message over, and what they ask of the dispatcher that feeds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mta.model import Message, Outcome, Recipient

__all__ = ["Attempt", "Feeder", "Hand", "NoHand"]


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
        "message", "recipients", "body", "flags", "started", "tag", "queue",
        "mail_at", "connect_us", "transfer_us",
    )  # fmt: skip

    message: Message
    recipients: Sequence[Recipient]
    body: bytes  # what is sent, rendered and signed
    flags: int  # mta.model.Flag bits of `body`; DOT_LINES must be right, sending trusts it
    started: float  # loop time at which the dispatcher chose it
    tag: Any  # the dispatcher's own
    queue: Any  # the dispatcher's own
    mail_at: float  # loop time at which MAIL left, 0 before
    connect_us: int  # from connecting to the greeting; 0 on a connection that was open
    transfer_us: int  # from MAIL to the last reply

    def __init__(
        self,
        message: Message,
        recipients: Sequence[Recipient],
        body: bytes,
        started: float = 0.0,
        *,
        flags: int | None = None,
        tag: Any = None,
        queue: Any = None,
    ) -> None:
        self.message, self.recipients, self.body, self.started = message, recipients, body, started
        self.flags = message.flags if flags is None else flags
        self.tag, self.queue = tag, queue
        self.mail_at, self.connect_us, self.transfer_us = 0.0, 0, 0

    def __repr__(self) -> str:
        return f"<Attempt of {self.message!r} to {len(self.recipients)} recipients>"


class Feeder(Protocol):
    """What a connection asks and tells its dispatcher, always from within a callback of the loop.

    `conn` is a `SmtpConnection` or `HandoverConnection`. The dispatcher may call its
    `kick`, `close` and `abort` from any of these, but for `abort` in a `next_attempt` that gives an
    attempt.
    """

    hand: Hand  # of the worker, for the message whose octets are worked on

    def next_attempt(self, conn: Any) -> Attempt | None:
        """Choose and load the next message and take its tokens; None if none may go now."""

    def attempt_done(self, conn: Any, attempt: Attempt, outcomes: list[Outcome]) -> None:
        """The attempt has ended, with one outcome for each recipient, in order."""

    def connection_ready(self, conn: Any) -> None:
        """The session is up for the first time; `next_attempt` follows."""

    def connection_idle(self, conn: Any) -> None:
        """`next_attempt` gave None at a message boundary: `kick` when there is something."""

    def connection_closed(self, conn: Any, outcome: Outcome | None) -> None:
        """The last call. `outcome` says why it never became ready or broke; None: a normal end."""
