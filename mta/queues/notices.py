"""Notifications that follow from a recipient's outcome, and when they are due (RFC 3461 4.1, 6).

A notification that ends with its recipient is stored in the batch that closes it. One of delay is
a message of its own, sent once: the recipient's record keeps that it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta.errors import SpoolBusyError
from mta.model import Message, Notify, Outcome, Peer, Recipient

if TYPE_CHECKING:
    from mta.queues.manager import QueueManager

SUCCESS, DELAY, DELAYED = int(Notify.SUCCESS), int(Notify.DELAY), int(Notify.DELAYED)


def close_failed(
    manager: QueueManager, recipient: Recipient, line: bytes, outcome: Outcome, peer: Peer | None
) -> None:
    """Close with a failure DSN in the same batch where one is due (RFC 3461 6.2)."""
    message = recipient.message
    if not message.sender:
        _bury(manager, recipient, line, outcome)
        return
    _close_with(manager, recipient, line, manager.ports.failed(message, recipient, outcome, peer))


def close_delivered(
    manager: QueueManager, recipient: Recipient, line: bytes, outcome: Outcome, peer: Peer
) -> None:
    """Close a recipient whose sender asked to be told of success, if the remote does not tell."""
    message, action = recipient.message, peer.success
    built = None
    if action and message.sender:
        built = manager.ports.failed(message, recipient, outcome, peer, action)
    _close_with(manager, recipient, line, built)


def _close_with(
    manager: QueueManager, recipient: Recipient, line: bytes, built: Message | None
) -> None:
    if built is None:
        manager.close(recipient, line)
        return
    to = _addressed(manager, built, recipient)

    def stored(error: BaseException | None) -> None:
        if error is None:
            manager.accepted(built, [to])

    _expect(manager, built)
    manager.close(recipient, line, (built, [to], stored))


def _addressed(manager: QueueManager, built: Message, about: Recipient) -> Recipient:
    """The sender of the message that a notification is about, as its recipient."""
    built.open = built.total = 1
    to = Recipient(built, 0, about.message.sender, due_us=manager.stamp())
    manager.arrive(to, manager.ports.peek(built, to))
    return to


def _expect(manager: QueueManager, built: Message) -> None:
    manager.arriving.add(built.id)
    manager.count_body(built.size)


def _bury(manager: QueueManager, recipient: Recipient, line: bytes, outcome: Outcome) -> None:
    """A bounce of a bounce: close when it is among the dead letters (RFC 5321 6.1)."""
    message, key = recipient.message, (recipient.message.id, recipient.number)
    if key not in manager.memory:
        manager.waiting[recipient.where] -= 1
        manager.remember(recipient)
        message.uses += 1
    recipient.flying = True

    def buried() -> None:
        recipient.flying = False
        manager.close(recipient, line)

    manager.ports.bury(message, recipient, outcome, buried)


def tell_delay(
    manager: QueueManager, recipient: Recipient, outcome: Outcome, peer: Peer | None, now_us: int
) -> None:
    """Send the one notice of delay, if it is wanted and due."""
    message, settings = recipient.message, manager.settings
    wanted = recipient.notify & DELAY or (not recipient.notify and settings.delay_unasked)
    began = max(message.received_us, message.release_us)
    waited = now_us - began
    if began <= manager.missed_from:  # a clock that was set forward is no delay yet
        waited -= manager.missed_to - manager.missed_from
    if not wanted or recipient.notify & DELAYED or not message.sender:
        return
    if not settings.delay_after or waited < settings.delay_after * 1_000_000:
        return
    built = manager.ports.failed(message, recipient, outcome, peer, "delayed")
    if built is None:
        return
    to = _addressed(manager, built, recipient)

    def stored(error: BaseException | None) -> None:
        if error is None:
            manager.accepted(built, [to])
        else:
            manager.arriving.discard(built.id)
            manager.forget_body(built)

    try:
        manager.shard_of(message).accept(built, [to], stored)
    except SpoolBusyError:
        return  # the next attempt will tell
    _expect(manager, built)
    recipient.notify |= DELAYED
