"""Operators' acts: hold, release, flush, delete, bounce and reroute, by predicate.

An act has a sequence number and covers the mail that was accepted before it: in each shard up to
the newest id it had when it first heard of the act, as ids rise whatever is done to the clock. Acts
are durable in the node's state before they are answered. While an act is *active* every item is
judged when it is placed into a lane and when it is about to be sent, so the act takes effect at
once; meanwhile a sweep with a persisted cursor goes through the spool, and then the act is retired.

A hold covers later mail too, and stands until a release ends it: each hold for itself, by its
number or by the same selection. Whether mail is held depends only on the holds that stand, never on
the order in which acts came: held is what one of them covers, a release lets go what none does.

What is in flight is not touched: it carries the act as an order that is obeyed if it comes back.
"""

from __future__ import annotations

import enum
import fnmatch
import re
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from mta.model import Message, Recipient, Where, domain_of, id_bytes, id_shard
from mta.queues import ends

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mta.queues.manager import QueueManager
    from mta.spool.shard import Shard


KNOWN_SITES = 65_536  # destinations whose site a search remembers
KNOWN_MESSAGES = 1024  # kinds of messages whose verdict is remembered


class Verb(enum.StrEnum):
    """What an operator can do to queued mail."""

    HOLD = "hold"
    RELEASE = "release"
    FLUSH = "flush"
    DELETE = "delete"
    BOUNCE = "bounce"
    REROUTE = "reroute"


GATES = (Verb.HOLD, Verb.RELEASE)


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

    def normal(self) -> Select:
        """The selection as all write it that mean the same."""
        return msgspec.structs.replace(
            self,
            domain=self.domain.lower(),
            site=self.site.lower(),
            sender=self.sender.lower(),
            recipient=self.recipient.lower(),
            id=self.id.replace("-", "").lower(),
        )

    def __str__(self) -> str:
        given = msgspec.to_builtins(self).items()
        return " ".join(f"{key}={value}" for key, value in given if key != "all") or "all"


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

    __slots__ = ("select", "id", "message", "by_site", "_sender", "_tenant", "_campaign",
                 "_domain", "_recipient", "_site", "_any_address", "_site_of", "_guess",
                 "_sites")  # fmt: skip

    def __init__(
        self,
        select: Select,
        site_of: Callable[[Recipient], str] | None = None,
        *,
        guess: bool = False,
    ) -> None:
        """With `site_of` a search leaves out by site, too; `guess` lets through the unknown."""
        self.select, self._site_of, self._guess = select, site_of, guess
        self.by_site = bool(select.site) and site_of is not None
        self._sites: dict[tuple[object, ...], str] = {}
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

    def going(self, envelope: tuple[str, str, str], address: str, route: str, site: str) -> bool:
        """True when recipients that go there may be meant, of a message with such an envelope."""
        domain = domain_of(address)
        key = envelope, domain, route, site
        name = self._sites.get(key)
        if name is None:
            assert self._site_of is not None
            sender, tenant, campaign = envelope
            message = Message(b"", sender, tenant=tenant, campaign=campaign)
            probe = Recipient(message, 0, f"@{domain}", route=route, site=site)
            name = self._site_of(probe)
            if name:
                if len(self._sites) >= KNOWN_SITES:
                    self._sites.clear()
                self._sites[key] = name
        return self.site(name) or (self._guess and not name)

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
    by: str = ""  # who gave it
    touched: int = 0  # recipients, as far as they have been told
    ended_us: int = 0  # 0: it is in force

    @property
    def swept_by(self) -> Select:
        """What its sweep looks for: of a release all but the site, which can be unknown by now.

        What it lets go then is judged again by the holds in force.
        """
        if self.verb is Verb.RELEASE:
            return msgspec.structs.replace(self.select, site="")
        return self.select


def released(acts: Iterable[Act], select: Select) -> list[Act]:
    """The holds that a release of a selection ends: those of the same one, or every one."""
    wanted = select.normal()
    return [
        act
        for act in acts
        if act.verb is Verb.HOLD and (select.all or act.select.normal() == wanted)
    ]


class Acts:
    """The acts that a worker knows, and what they mean for a recipient."""

    def __init__(self, site_of: Callable[[Recipient], str]) -> None:
        self.site_of = site_of
        self.active: list[Act] = []  # to be swept, by sequence
        self.standing: list[Act] = []  # holds in force
        self.judging = False  # whether mail is judged on its way into a lane and out of it
        self._judged: list[tuple[Act, Judge]] = []  # `active`
        self._holding: list[Judge] = []  # of `standing`
        self.covered: dict[int, dict[int, bytes]] = {}  # newest id, by shard and sequence
        self._touched: Counter[tuple[int, int]] = Counter()  # by sequence and shard

    def replace(self, acts: list[Act]) -> list[Act]:
        """Take over the node's list; returns the acts that are new to this worker."""
        known = {act.sequence: judge for act, judge in self._judged}
        self.active = sorted((a for a in acts if not a.swept), key=lambda act: act.sequence)
        self.standing = [act for act in acts if act.verb is Verb.HOLD]
        self._judged = [(a, known.get(a.sequence) or Judge(a.select)) for a in self.active]
        self._holding = [Judge(hold.select) for hold in self.standing]
        # A site can be unknown when mail is accepted, and another one when it leaves.
        self.judging = bool(self.active) or any(hold.select.site for hold in self.standing)
        return [act for act in self.active if act.sequence not in known]

    def is_active(self, sequence: int) -> bool:
        """False for an act whose sweep has ended, or that a release ended before that."""
        return any(act.sequence == sequence for act in self.active)

    def holds(self, recipient: Recipient) -> bool:
        """True while a hold covers this recipient."""
        return any(judge(recipient, self.site_of) for judge in self._holding)

    def covering(self, recipient: Recipient) -> list[Act]:
        """The active acts that this recipient is subject to, oldest first."""
        message, site_of = recipient.message, self.site_of
        return [
            act
            for act, judge in self._judged
            if self.covers(act, message) and judge(recipient, site_of)
        ]

    def covers(self, act: Act, message: Message) -> bool:
        """What was accepted before it; holds and releases are of all that is held."""
        if act.verb in GATES:
            return True
        return message.id <= self.covered.get(id_shard(message.id), {}).get(act.sequence, b"")

    def cover(self, shards: Iterable[Shard]) -> None:
        """Fix what acts that are new to these shards cover: stored before further mail."""
        active = {act.sequence for act in self.active}
        for shard in shards:
            known = self.covered.get(shard.number)
            if known is None:
                known = self.covered[shard.number] = shard.covered()
                for sequence in shard.cursors().keys() - active:  # ended while nobody swept here
                    shard.set_cursor(sequence, None)
            for sequence in known.keys() - active:
                del known[sequence]
                shard.cover(sequence, None)
            for sequence in active - known.keys():
                known[sequence] = shard.newest_accepted()
                shard.cover(sequence, known[sequence])

    def apply(self, manager: QueueManager, recipient: Recipient) -> None:
        """Obey the acts in force for a recipient that is not in flight."""
        for act in self.covering(recipient):
            if act.verb is not Verb.HOLD:
                obey(manager, recipient, act, swept=False)
        if recipient.where not in (Where.HELD, Where.CLOSED) and self.holds(recipient):
            manager.shift(recipient, Where.HELD)

    def follow(self, manager: QueueManager, recipient: Recipient) -> None:
        """Obey the acts that reached a recipient while it was in flight."""
        orders, recipient.orders = recipient.orders, None
        for act in orders or ():
            if self.is_active(act.sequence):
                obey(manager, recipient, act, swept=True)

    # -- how many they touched

    def touch(self, act: Act, recipient: Recipient) -> None:
        """Count a recipient."""
        self._touched[act.sequence, id_shard(recipient.message.id)] += 1

    def touched(self, sequence: int, shard: int) -> int:
        """How many recipients of a shard an act has touched."""
        return self._touched[sequence, shard]

    def all_touched(self) -> Counter[int]:
        """How many recipients each act has touched whose sweep has not ended."""
        found: Counter[int] = Counter()
        for (sequence, _), count in self._touched.items():
            found[sequence] += count
        return found

    def forget(self, sequence: int) -> None:
        """The sweep of an act has ended."""
        for key in [key for key in self._touched if key[0] == sequence]:
            del self._touched[key]

    def touched_before(self, sequence: int, shard: int, count: int) -> None:
        """An earlier run of the sweep has counted so many."""
        self._touched[sequence, shard] += count


def obey(manager: QueueManager, recipient: Recipient, act: Act, *, swept: bool) -> bool:
    """Do what an act asks of a recipient; True when something changed.

    `swept` tells a sweep from the check on the way to a lane, where the item is due anyway.
    """
    if recipient.where == Where.CLOSED:
        return False
    if recipient.flying:
        if act.verb is Verb.RELEASE:  # it is not held
            return False
        if not ordered(recipient, act):
            recipient.orders = [*(recipient.orders or ()), act]
        return True
    changed = _obeyed(manager, recipient, act, swept)
    if changed and act.verb is not Verb.HOLD:  # of a hold the sweep counts what it covers
        manager.acts.touch(act, recipient)
    return changed


def ordered(recipient: Recipient, act: Act) -> bool:
    """Whether a recipient that is in flight carries an act as an order."""
    return any(order.sequence == act.sequence for order in recipient.orders or ())


def _obeyed(manager: QueueManager, recipient: Recipient, act: Act, swept: bool) -> bool:
    verb, held = act.verb, recipient.where == Where.HELD
    if verb is Verb.DELETE:
        ends.remove(manager, recipient, act.reason or "deleted by the operator", act.sequence)
    elif verb is Verb.BOUNCE:
        reason = act.reason or "returned by the operator of the mail system"
        ends.bounce(manager, recipient, reason, act.sequence)
    elif verb is Verb.HOLD and not held:
        manager.shift(recipient, Where.HELD)
    elif verb is Verb.RELEASE and held and not manager.acts.holds(recipient):
        manager.shift(recipient, Where.DUE, recipient.message.release_us)
    elif verb is Verb.REROUTE and recipient.route != act.next_hop:
        recipient.route, recipient.site = act.next_hop, ""
        manager.shift(recipient, Where.HELD if held else Where.DUE)
    elif verb is Verb.FLUSH and swept and recipient.where == Where.DUE:
        manager.shift(recipient, Where.DUE)
    else:
        return False
    return True
