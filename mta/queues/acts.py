"""Operators' acts: hold, release, flush, delete, bounce and reroute, by predicate.

An act has a sequence number and covers the mail that was accepted before it; a hold covers later
mail too, until a release whose selection takes it in. Acts are durable in the node's state before
they are answered. While an act is *active* every item is judged when it is placed into a lane and
when it is about to be sent, so the act takes effect at once; meanwhile a sweep with a persisted
cursor goes through the spool, and then the act is retired. Holds remain as *standing* orders.

What is in flight is not touched: it carries the act as an order that is obeyed if it comes back.
"""

from __future__ import annotations

import enum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import msgspec

from mta.model import Where, id_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from mta.model import Recipient
    from mta.queues.manager import QueueManager


class Verb(enum.StrEnum):
    """What an operator can do to queued mail."""

    HOLD = "hold"
    RELEASE = "release"
    FLUSH = "flush"
    DELETE = "delete"
    BOUNCE = "bounce"
    REROUTE = "reroute"


class Select(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which mail: all given fields must match; patterns may use `*` and `?`; empty = any.

    The null sender is written `<>`.
    """

    domain: str = ""
    site: str = ""
    tenant: str = ""
    campaign: str = ""
    sender: str = ""
    recipient: str = ""
    id: str = ""
    all: bool = False

    def matches(self, recipient: Recipient, site: str) -> bool:
        """True when the recipient is meant; `site` is its destination's name, "" if unknown."""
        message = recipient.message
        return (
            _like(self.domain.lower(), recipient.domain)
            and _like(self.tenant, message.tenant)
            and _like(self.campaign, message.campaign)
            and _like(self.sender.lower(), message.sender.lower() or "<>")
            and _like(self.recipient.lower(), recipient.address.lower())
            and (not self.id or id_text(message.id) == self.id.replace("-", "").lower())
            and _like(self.site.lower(), site.lower())
        )

    def takes_in(self, other: Select) -> bool:
        """True when everything that `other` selects is selected by this too."""
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return all(not mine or mine is True or fnmatchcase(theirs, mine) for mine, theirs in pairs)


def _like(pattern: str, value: str) -> bool:
    return not pattern or pattern == value or fnmatchcase(value, pattern)


class Act(msgspec.Struct, frozen=True):
    """One act, as it is stored and told to the workers."""

    sequence: int
    verb: Verb
    select: Select
    created_us: int
    reason: str = ""
    next_hop: str = ""
    swept: bool = False  # only its standing order is left (holds)


class Acts:
    """The acts that a worker knows, and what they mean for a recipient."""

    def __init__(self, site_of: Callable[[Recipient], str]) -> None:
        self.active: list[Act] = []  # to be swept, by sequence
        self.standing: list[Act] = []  # holds in force
        self._site_of = site_of

    def replace(self, acts: list[Act]) -> list[Act]:
        """Take over the node's list; returns the acts that are new to this worker."""
        known = {act.sequence for act in self.active}
        self.active = sorted((a for a in acts if not a.swept), key=lambda act: act.sequence)
        holds: list[Act] = []
        for act in sorted(acts, key=lambda act: act.sequence):
            if act.verb is Verb.HOLD:
                holds.append(act)
            elif act.verb is Verb.RELEASE:
                holds = [hold for hold in holds if not act.select.takes_in(hold.select)]
        self.standing = holds
        return [act for act in self.active if act.sequence not in known]

    def retire(self, sequence: int) -> None:
        """A sweep has ended."""
        self.active = [act for act in self.active if act.sequence != sequence]

    def holds(self, recipient: Recipient) -> bool:
        """True when new mail for this recipient is to be held."""
        site = self._site_of(recipient)
        return any(hold.select.matches(recipient, site) for hold in self.standing)

    def covering(self, recipient: Recipient) -> list[Act]:
        """The active acts that this recipient is subject to, oldest first."""
        site = self._site_of(recipient)
        received = recipient.message.received_us
        return [
            act
            for act in self.active
            if self.covers(act, received) and act.select.matches(recipient, site)
        ]

    def covers(self, act: Act, received_us: int) -> bool:
        """What was accepted before it; for a hold in force, later mail too."""
        return received_us <= act.created_us or act in self.standing

    def apply(self, manager: QueueManager, recipient: Recipient) -> None:
        """Obey the active acts for a recipient that is in memory and not in flight."""
        for act in self.verdicts(recipient):
            obey(manager, recipient, act, swept=False)

    def verdicts(self, recipient: Recipient) -> list[Act]:
        """The acts that decide: of holds and releases only the last one counts."""
        covering = self.covering(recipient)
        gates = [act for act in covering if act.verb in (Verb.HOLD, Verb.RELEASE)]
        return [act for act in covering if act not in gates[:-1]]


def obey(manager: QueueManager, recipient: Recipient, act: Act, *, swept: bool) -> bool:
    """Do what an act asks of a recipient; True when something changed.

    `swept` tells a sweep from the check on the way to a lane, where the item is due anyway.
    """
    if recipient.where == Where.CLOSED:
        return False
    if recipient.flying:
        if act not in (orders := recipient.orders or []):
            recipient.orders = [*orders, act]
        return True
    verb, held = act.verb, recipient.where == Where.HELD
    if verb is Verb.DELETE:
        manager.remove(recipient, act.reason or "deleted by the operator", act.sequence)
    elif verb is Verb.BOUNCE:
        reason = act.reason or "returned by the operator of the mail system"
        manager.admin_bounce(recipient, reason, act.sequence)
    elif verb is Verb.HOLD and not held:
        manager.shift(recipient, Where.HELD)
    elif verb is Verb.RELEASE and held:
        manager.shift(recipient, Where.DUE)
    elif verb is Verb.REROUTE and recipient.route != act.next_hop:
        recipient.route = act.next_hop
        manager.shift(recipient, Where.HELD if held else Where.DUE)
    elif verb is Verb.FLUSH and swept and recipient.where == Where.DUE:
        manager.shift(recipient, Where.DUE)
    else:
        return False
    return True
