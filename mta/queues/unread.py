"""What becomes of recipients whose content was not read: they wait for it, or end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta.model import Kind, Outcome, Where
from mta.queues.names import format_name
from mta.queues.notices import close_failed
from mta.spool import Gone, Unreadable

if TYPE_CHECKING:
    from mta.model import Recipient
    from mta.queues.lanes import Parcel
    from mta.queues.manager import QueueManager

DAMAGED = Outcome(Kind.BOUNCED, 0, "5.3.0", "the stored content was damaged", "content")


def settle(manager: QueueManager, parcel: Parcel, found: Unreadable | Gone) -> None:
    """A parcel left its lane for want of its content; what could not be read is no attempt."""
    if not manager.still_open(parcel):
        return
    for recipient in list(parcel.recipients):
        if isinstance(found, Gone):
            end(manager, recipient, parcel.ready.name if parcel.ready is not None else "")
        else:
            manager.postpone(recipient, found.wait)


def end(manager: QueueManager, recipient: Recipient, site: str) -> None:
    """Bounce a recipient whose content is gone and copied to `corrupt/`; without a dead letter."""
    if recipient.where == Where.CLOSED:
        return
    manager.counters.bounced += 1
    message = recipient.message
    queue = format_name(message.campaign, message.tenant, recipient.domain, recipient.route)
    line = manager.lines(message).bounce(recipient, DAMAGED, None, queue=queue, site=site)
    if message.sender:
        close_failed(manager, recipient, line, DAMAGED, None)
    else:
        manager.close(recipient, line)
