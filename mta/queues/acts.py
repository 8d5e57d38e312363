"""Operators' acts: hold, release, flush, delete, bounce and reroute, by predicate.

An act has a sequence number and covers the mail that was accepted before it: in each shard up to
the newest id it had when it first heard of the act, as ids rise whatever is done to the clock. A
hold covers later mail too, until a release whose selection takes it in. Acts are durable in the
node's state before they are answered. While an act is *active* every item is judged when it is
placed into a lane and when it is about to be sent, so the act takes effect at once; meanwhile a
sweep with a persisted cursor goes through the spool, and then the act is retired. Holds remain as
*standing* orders.

What is in flight is not touched: it carries the act as an order that is obeyed if it comes back.
"""

from __future__ import annotations

import enum
import fnmatch
import re
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from mta.model import Where, domain_of, id_bytes, id_shard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mta.model import Message, Recipient
    from mta.queues.manager import QueueManager
    from mta.spool.shard import Shard


KNOWN_MESSAGES = 1024  # kinds of messages whose verdict is remembered


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

    def takes_in(self, other: Select) -> bool:
        """True when everything that `other` selects is selected by this too."""
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return all(
            not mine or mine is True or fnmatch.fnmatchcase(theirs, mine) for mine, theirs in pairs
        )


def _matcher(pattern: str) -> Callable[[str], bool] | None:
    """Whether a text matches, as a call; None where every text does."""
    if not pattern:
        return None
    if not any(mark in pattern for mark in "*?["):
        return pattern.__eq__
    regex = re.compile(fnmatch.translate(pattern)).match
    return lambda text: text == pattern or regex(text) is not None


class Judge:
    """A selection made ready for a million recipients; also the sieve of a search for them."""

    __slots__ = ("select", "id", "message", "_sender", "_tenant", "_campaign", "_domain",
                 "_recipient", "_site", "_any_address")  # fmt: skip

    def __init__(self, select: Select) -> None:
        self.select = select
        self.id = id_bytes(select.id) if select.id else b""
        self._sender = _matcher(select.sender.lower())
        self._tenant, self._campaign = _matcher(select.tenant), _matcher(select.campaign)
        self._domain = _matcher(select.domain.lower())
        self._recipient = _matcher(select.recipient.lower())
        self._site = _matcher(select.site.lower())
        self._any_address = self._domain is None and self._recipient is None
        self.message = lru_cache(KNOWN_MESSAGES)(self._message)

    def _message(self, sender: str, tenant: str, campaign: str) -> bool:
        """True when recipients of such a message may be meant."""
        return (
            (self._campaign is None or self._campaign(campaign))
            and (self._tenant is None or self._tenant(tenant))
            and (self._sender is None or self._sender(sender.lower() or "<>"))
        )

    def address(self, address: str) -> bool:
        """True when a recipient of this address may be meant."""
        if self._any_address:
            return True
        if self._recipient is not None and not self._recipient(address.lower()):
            return False
        return self._domain is None or self._domain(domain_of(address))

    def but_site(self, recipient: Recipient) -> bool:
        """True when all but the site, which may be unknown yet, says that it is meant."""
        message = recipient.message
        return (
            self.message(message.sender, message.tenant, message.campaign)
            and (self._any_address or self.address(recipient.address))
            and (not self.id or message.id == self.id)
        )

    def site(self, name: str) -> bool:
        """True when recipients of this site, "" if that is unknown, may be meant."""
        return self._site is None or self._site(name.lower())

    def __call__(self, recipient: Recipient, site_of: Callable[[Recipient], str]) -> bool:
        """True when a recipient is meant; its site is only asked for where that decides."""
        return self.but_site(recipient) and (
            self._site is None or self._site(site_of(recipient).lower())
        )


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
        self._judged: list[tuple[Act, Judge]] = []  # `active`
        self._holding: list[Judge] = []  # of `standing`
        self._in_force: set[int] = set()  # sequences of `standing`
        self.covered: dict[int, dict[int, bytes]] = {}  # newest id, by shard and sequence
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
        self._in_force = {hold.sequence for hold in holds}
        self._holding = [Judge(hold.select) for hold in holds]
        self._judge()
        return [act for act in self.active if act.sequence not in known]

    def retire(self, sequence: int) -> None:
        """A sweep has ended."""
        self.active = [act for act in self.active if act.sequence != sequence]
        self._judge()

    def _judge(self) -> None:
        """Make `active` ready; those that were stay as they are."""
        known = {act.sequence: judge for act, judge in self._judged}
        self._judged = [(a, known.get(a.sequence) or Judge(a.select)) for a in self.active]

    def holds(self, recipient: Recipient) -> bool:
        """True when new mail for this recipient is to be held."""
        site_of = self._site_of
        return any(judge(recipient, site_of) for judge in self._holding)

    def covering(self, recipient: Recipient) -> list[Act]:
        """The active acts that this recipient is subject to, oldest first."""
        message, site_of = recipient.message, self._site_of
        return [
            act
            for act, judge in self._judged
            if self.covers(act, message) and judge(recipient, site_of)
        ]

    def covers(self, act: Act, message: Message) -> bool:
        """What was accepted before it; for a hold in force, later mail too."""
        if act.sequence in self._in_force:
            return True
        return message.id <= self.covered.get(id_shard(message.id), {}).get(act.sequence, b"")

    def cover(self, shards: Iterable[Shard]) -> None:
        """Fix what acts that are new to these shards cover: stored before further mail."""
        active = {act.sequence for act in self.active}
        for shard in shards:
            known = self.covered.get(shard.number)
            if known is None:
                known = self.covered[shard.number] = shard.covered()
            for sequence in known.keys() - active:
                del known[sequence]
                shard.cover(sequence, None)
            for sequence in active - known.keys():
                known[sequence] = shard.newest_accepted()
                shard.cover(sequence, known[sequence])

    def undone(self, act: Act, recipient: Recipient) -> bool:
        """True when a later hold or release decides for this recipient instead."""
        gates = (Verb.HOLD, Verb.RELEASE)
        if act.verb not in gates or self.active[-1:] == [act]:
            return False
        return any(
            later.sequence > act.sequence and later.verb in gates
            for later in self.covering(recipient)
        )

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
