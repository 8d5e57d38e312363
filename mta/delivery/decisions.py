"""The decisions about mail that leaves: choose, prepare, settle (compiled).

Each is a list of members that are asked in order. The lists are composed in one place
(`mta.supervisor.hooks`) and replaced as a whole; a feature is a member of a list.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, NamedTuple

from mta.model import Outcome, Peer, Scope, Stages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mta.delivery.feeder import Attempt
    from mta.delivery.pool import Pool
    from mta.queues.lanes import Parcel


class Wait(NamedTuple):
    """Not now. A MESSAGE leaves memory meanwhile; else what the scope covers waits in its lane."""

    scope: Scope
    seconds: float  # infinite: until `Decider.chosen` or something else wakes the pool


class Skip(NamedTuple):
    """No attempt: this becomes of the parcel's recipients instead."""

    outcome: Outcome


class Taken(enum.Enum):
    """The member has taken the parcel."""

    TAKEN = 0


TAKEN = Taken.TAKEN
Answer = Wait | Skip | Taken | None


class Choose:
    """Says whether a parcel may leave now."""

    last = False  # True: it takes something (a token), so it is asked when the parcel really leaves

    def choose(self, pool: Pool, parcel: Parcel) -> Answer:
        """None: it may. TAKEN: nothing is left of it, or `Decider.chosen` follows; until then
        its recipients are `flying`.
        """
        raise NotImplementedError

    def undo(self, parcel: Parcel) -> None:
        """Give back what `choose` took for a parcel that did not leave; of those with `last`."""


class Prepare:
    """Makes of a content what leaves.

    Each attempt must get the same octets for the same server, so nothing here may ask a clock or
    a random number: times and ids are the message's.
    """

    threaded = False  # True: it takes long, so all members run in a thread

    def prepare(self, attempt: Attempt, offers: int) -> None:
        """Change `attempt.body` and `flags`; `offers` has the server's `smtp.client.Capability`.

        An exception defers the attempt.
        """
        raise NotImplementedError


class Ended(NamedTuple):
    """A parcel that was attempted, with an outcome for each recipient."""

    parcel: Parcel
    outcomes: list[Outcome]
    peer: Peer
    stages: Stages


class Settle:
    """Has a say in what becomes of an attempt before it is recorded."""

    def settle(self, ended: Ended) -> Ended | None:
        """What is to be recorded; None: the member keeps it, and `Decider.settled` follows."""
        raise NotImplementedError


class Decisions:
    """The members of a worker, in order."""

    __slots__ = ("early", "last", "prepare", "settle", "threaded")

    def __init__(
        self,
        choose: Sequence[Choose] = (),
        prepare: Sequence[Prepare] = (),
        settle: Sequence[Settle] = (),
    ) -> None:
        self.prepare, self.settle = list(prepare), list(settle)
        self.early = [member for member in choose if not member.last]
        self.last = [member for member in choose if member.last]
        self.threaded = any(member.threaded for member in prepare)

    def __repr__(self) -> str:
        def names(members: Sequence[Any]) -> str:
            return ", ".join(type(member).__name__ for member in members) or "nobody"

        return (
            f"<Decisions choose: {names(self.early + self.last)}; prepare: {names(self.prepare)};"
            f" settle: {names(self.settle)}>"
        )
