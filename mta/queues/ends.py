"""Ends by an operator's act, or by the server's own care: no attempt decides them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta.model import Kind, Outcome, Where
from mta.queues.names import queue_name
from mta.queues.notices import close_failed

if TYPE_CHECKING:
    from mta.model import Recipient
    from mta.queues.manager import QueueManager


def remove(manager: QueueManager, recipient: Recipient, reason: str, act: int = 0) -> None:
    """Close a recipient with a Removed record, and tell nobody; `act`: the number of an act."""
    if recipient.where == Where.CLOSED:
        return
    manager.counters.removed += 1
    lines, queue = manager.lines(recipient.message), queue_name(recipient)
    manager.close(recipient, lines.removed(recipient, reason=reason, act=act, queue=queue))


def bounce(manager: QueueManager, recipient: Recipient, reason: str, act: int = 0) -> None:
    """Close a recipient with an AdminBounce record, and a DSN to its sender."""
    if recipient.where == Where.CLOSED:
        return
    manager.counters.bounced += 1
    outcome = Outcome(Kind.BOUNCED, 550, "5.7.0", reason, "admin")
    lines, queue = manager.lines(recipient.message), queue_name(recipient)
    line = lines.admin_bounce(recipient, reason=reason, act=act, queue=queue)
    close_failed(manager, recipient, line, outcome, None)
