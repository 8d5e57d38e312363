"""Parcels that wait for their route: those with the same question share one look-up (compiled)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta.model import Peer, Refusal, Stages

if TYPE_CHECKING:
    from mta.model import Recipient
    from mta.queues.lanes import Parcel
    from mta.queues.manager import QueueManager
    from mta.queues.ports import Plan

NOWHERE = Peer("", "", "")  # no server was spoken to


def question(recipient: Recipient) -> object:
    """What a route depends on."""
    message = recipient.message
    return (recipient.domain, recipient.route, message.tenant, message.campaign, message.sender)


class Asking:
    """Parcels that wait for one answer."""

    __slots__ = ("parcels", "domain", "_unrouted", "_question", "_since_us")

    def __init__(self, unrouted: Unrouted, question: object, domain: str, since_us: int) -> None:
        self.parcels: list[Parcel] = []
        self.domain = domain
        self._unrouted, self._question, self._since_us = unrouted, question, since_us

    def answered(self, answer: Plan | Refusal) -> None:
        """They go on."""
        self._unrouted.answered(self, self._question, self._since_us, answer)


class Unrouted:
    """Keeps parcels until their route is known or refused; one per queue manager."""

    __slots__ = ("_manager", "_asking", "_counts")

    def __init__(self, manager: QueueManager) -> None:
        self._manager = manager
        self._asking: dict[object, Asking] = {}  # by question
        self._counts: dict[str, int] = {}  # of parcels, by domain

    def count(self, domain: str) -> int:
        """How many parcels to a domain wait."""
        return self._counts.get(domain, 0)

    def wait(self, parcel: Parcel, recipient: Recipient) -> None:
        """Look its route up, or wait with others that do; then it goes on."""
        asked, domain = question(recipient), recipient.domain
        self._counts[domain] = self._counts.get(domain, 0) + 1
        asking = self._asking.get(asked)
        if asking is not None:
            asking.parcels.append(parcel)
            return
        ports = self._manager.ports
        asking = self._asking[asked] = Asking(self, asked, domain, ports.clock.wall_us())
        asking.parcels.append(parcel)
        ports.resolve(parcel.message, recipient, asking.answered)

    def answered(
        self, asking: Asking, asked: object, since_us: int, answer: Plan | Refusal
    ) -> None:
        """The answer that parcels wait for."""
        took = max(0, self._manager.ports.clock.wall_us() - since_us)
        del self._asking[asked]
        self._discount(asking.domain, len(asking.parcels))
        for parcel in asking.parcels:
            parcel.dns_us = took
            self._answered(parcel, answer)

    def _discount(self, domain: str, count: int) -> None:
        left = self._counts[domain] - count
        if left > 0:
            self._counts[domain] = left
        else:
            del self._counts[domain]

    def _answered(self, parcel: Parcel, answer: Plan | Refusal) -> None:
        manager = self._manager
        if manager.acts.judging:  # its site is known only now
            for recipient in list(parcel.recipients):
                if recipient.loaded:
                    manager.acts.apply(manager, recipient)
        if not manager.still_open(parcel):
            return
        if isinstance(answer, Refusal):
            outcomes = [answer.outcome] * len(parcel.recipients)
            manager.finish(parcel, outcomes, NOWHERE, Stages(dns=parcel.dns_us))
        else:
            manager.enter(parcel, answer)
