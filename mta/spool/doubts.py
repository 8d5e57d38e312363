"""Contents that could not be read: when each is tried again, and what proves that one is gone.

A reading gives the content, `Unreadable` (an error of the disk or of the database: it says nothing
of the content) or `Gone` (another record is in its place, or its hash is wrong). One `Gone` may be
the memory's fault or the cable's, so it counts as unreadable; a second one, a while later and past
the page cache, is proof.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mta.alarms import Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mta.clock import Clock

FIRST, LONGEST = 1.0, 120.0  # s until a content is tried again: as long as it has been in doubt
SECOND = 1.0  # s between the two readings that prove a content gone
MANY = 10_000  # contents that are remembered; others wait as long as the trouble lasts already
FORGET = 3 * LONGEST  # s after which one that nobody tries again is forgotten
SHOWN = 3600.0  # s for which the alarm of damaged contents lasts


class Unreadable(NamedTuple):
    """A content that cannot be read now."""

    why: str
    wait: float = 0.0  # s until it should be tried again; 0 where that is not said yet
    missing: int = 0  # segment whose file is not there


class Gone(NamedTuple):
    """A content that is not where it should be, or damaged."""

    why: str


Found = bytes | Unreadable | Gone


class _Doubt:
    """Of one content; monotonic times."""

    __slots__ = ("since", "tried", "gone_at")

    def __init__(self, now: float) -> None:
        self.since = self.tried = now
        self.gone_at: float | None = None  # of the first reading that said so


class Doubts:
    """The contents of one shard that are in doubt; the reader's thread and the loop use it."""

    def __init__(self, shard: int, clock: Clock) -> None:
        self._shard, self._clock = shard, clock
        self.known: dict[bytes, _Doubt] = {}  # by message id
        self.failures = 0  # readings that gave no content
        self._why = ""  # of the last one
        self._since: float | None = None  # when the trouble began
        self._beyond = 0.0  # when one failed last that is not in `known`
        self.damaged = 0  # messages whose content is proven gone
        self._damaged_at = 0.0
        self.missing: set[int] = set()  # segments without a file that mail needs

    def second(self, id: bytes) -> bool:
        """Whether the next reading may be the one that proves a content gone."""
        doubt = self.known.get(id)
        if doubt is None or doubt.gone_at is None:
            return False
        return self._clock.monotonic() - doubt.gone_at >= SECOND

    def judge(self, id: bytes, found: Unreadable | Gone, *, anew: bool) -> Unreadable | Gone:
        """What a reading without content means; `anew`: it was that of `second`, past the cache."""
        if isinstance(found, Unreadable) and found.wait:
            return found  # the database is being reopened
        if isinstance(found, Unreadable) and found.missing:
            self.missing.add(found.missing)
        now = self._clock.monotonic()
        self.failures += 1
        self._why = found.why
        if self._since is None:
            self._since = now
        doubt = self.known.get(id)
        if doubt is None:
            if len(self.known) >= MANY:
                self._beyond = now
                return Unreadable(found.why, _wait(now - self._since))
            doubt = self.known[id] = _Doubt(now)
        doubt.tried = now
        if isinstance(found, Gone):
            if anew and doubt.gone_at is not None:
                return found
            if doubt.gone_at is None:
                doubt.gone_at = now
            return Unreadable(found.why, SECOND)
        return Unreadable(found.why, _wait(now - doubt.since))

    def set_aside(self) -> None:
        """A message was set aside whose content is gone."""
        self.damaged += 1
        self._damaged_at = self._clock.monotonic()

    def over(self, id: bytes) -> None:
        """A content was read, or its message has ended."""
        self.known.pop(id, None)

    def troubles(self) -> Iterator[Trouble]:
        """What operators should know of."""
        now = self._clock.monotonic()
        for id, doubt in list(self.known.items()):
            if now - doubt.tried > FORGET:
                self.over(id)
        count = len(self.known) + (self._beyond > 0 and now - self._beyond < LONGEST)
        if count:
            yield Trouble("unreadable_content", self._reason(count), count)
        else:
            self._since = None
        if self.missing:
            names = ", ".join(str(number) for number in sorted(self.missing)[:5])
            reason = f"shard {self._shard}: files of contents are missing: {names}"
            yield Trouble("missing_content", reason, len(self.missing))
        if self.damaged and now - self._damaged_at < SHOWN:
            reason = (
                f"shard {self._shard}: {self.damaged} messages with damaged contents were set aside"
                " under corrupt/, their senders told; look at the disk"
            )
            yield Trouble("damaged_content", reason, self.damaged)

    def _reason(self, count: int) -> str:
        return (
            f"shard {self._shard}: the contents of {count} messages cannot be read: {self._why};"
            " they stay queued and are tried again; look at the disk"
        )


def _wait(doubted: float) -> float:
    """Doubling: a content waits as long as it has waited already."""
    return min(max(FIRST, doubted), LONGEST)
