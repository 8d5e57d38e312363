"""Time as a thing that is passed in, so that tests can move it (compiled).

Queues live by the wall clock, as mail does (its age, its next attempt, a release that was asked
for), and the wall clock can be set. `SteadyClock` therefore goes on by the machine's own clock and
follows the wall clock only when that has stayed where it was set to for `STABLE` seconds: a clock
that is a day ahead for ten seconds is never seen. `look` tells what was believed late, or was
missed (a suspended machine, a process that stood still); `mta.queues.timekeeper` does what follows.
"""

from __future__ import annotations

import time
from typing import NamedTuple, Protocol

STEP = 1.0  # seconds between two looks that no drift explains: the clock was set
STABLE = 60.0  # seconds that a clock which was set stays so before it is believed
MISSED = 10.0  # seconds between two looks that count as missed
JUMP, REST = 86_400.0, 4 * 3600.0  # seconds that no age is judged by, after a jump of so many
AT_ONCE, TRIES = 0.001, 5  # seconds within which the clocks are read, and how often that is tried

_time_ns, _monotonic_ns = time.time_ns, time.monotonic_ns


class Clock(Protocol):
    """What a component asks for the time."""

    def monotonic(self) -> float:
        """Seconds that never go back; the same origin for every process of the machine."""
        ...

    def wall_us(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        ...


class SystemClock:
    """The machine's clocks."""

    __slots__ = ()

    def monotonic(self) -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()

    def wall_us(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        now = _time_ns()
        return now // 1000


class Reading(NamedTuple):
    """The machine's clocks at one instant, seconds."""

    wall: float  # CLOCK_REALTIME
    monotonic: float  # stands still while the machine is suspended
    boot: float  # CLOCK_BOOTTIME: goes on

    @classmethod
    def now(cls) -> Reading:
        """What they say now; read again where something came between."""
        for _ in range(TRIES):
            at = cls(time.time(), time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME))
            if time.monotonic() - at.monotonic < AT_ONCE:
                break
        return at


class Change(NamedTuple):
    """What became of the time since the last look; seconds."""

    moved: float = 0.0  # the wall clock was set by so much, and is believed now; < 0: back
    missed: float = 0.0  # passed unseen


NOTHING = Change()


class Steps:
    """Tells a wall clock that was set from one that runs; `look` about once a second.

    `ahead` is what the steady wall clock is ahead of the monotonic one, seconds.
    """

    def __init__(self, at: Reading) -> None:
        self._base = at.wall - at.boot  # what is believed
        self._set_to: float | None = None  # the same as it is now, if that is something else
        self._since = 0.0  # monotonic time since when `_set_to` is so
        self._last = at
        self.ahead = at.wall - at.monotonic

    @property
    def doubted(self) -> float:
        """By how many seconds the clock was set of late; 0.0 when it is believed."""
        return 0.0 if self._set_to is None else self._set_to - self._base

    def look(self, at: Reading) -> Change:
        """Follow the clocks."""
        moved, last = self._follow(at.wall - at.boot, at.monotonic), self._last
        self._last = at
        self.ahead = self._base + at.boot - at.monotonic
        passed = at.boot - last.boot
        missed = passed if passed > MISSED else 0.0
        return Change(moved, missed) if moved or missed else NOTHING

    def _follow(self, base: float, now: float) -> float:
        """Believe a difference that is small, or has stayed; the step that is believed now."""
        step = base - self._base
        if abs(step) < STEP:
            self._base, self._set_to = base, None
            return 0.0
        if self._set_to is None or abs(base - self._set_to) >= STEP:
            self._set_to, self._since = base, now
        elif now - self._since >= STABLE:
            self._base, self._set_to = base, None
            return step
        return 0.0


class Ages:
    """Whether ages by the wall clock can be believed: not for `REST` after it jumped forward."""

    def __init__(self, clock: Clock, known_us: int = 0) -> None:
        """`known_us`: a time that is over, 0 if none is known."""
        self._clock = clock
        self._known_us = known_us or clock.wall_us()
        self._known_at = self._rests_until = clock.monotonic()

    def believed(self) -> bool:
        """To be asked now and then: what jumped since is noticed then."""
        wall_us, now = self._clock.wall_us(), self._clock.monotonic()
        unexplained = (wall_us - self._known_us) / 1e6 - (now - self._known_at)
        self._known_us, self._known_at = wall_us, now
        if unexplained > JUMP:
            self._rests_until = now + REST
        return now >= self._rests_until


class SteadyClock:
    """The machine's clocks; the wall clock is followed once it has stayed as set for `STABLE` s."""

    __slots__ = ("_ahead_ns", "_steps")

    def __init__(self) -> None:
        self._steps = Steps(Reading.now())
        self._ahead_ns = 0
        self.look()

    def monotonic(self) -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()

    def wall_us(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        now = _monotonic_ns()
        return (now + self._ahead_ns) // 1000

    def look(self) -> Change:
        """Follow the clocks, once a second, and tell what became of the time."""
        change = self._steps.look(Reading.now())
        self._ahead_ns = round(self._steps.ahead * 1e9)
        return change

    @property
    def doubted(self) -> float:
        """By how many seconds the wall clock was set, if that is not believed yet."""
        return self._steps.doubted
