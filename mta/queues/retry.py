"""When to try again; pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

MIN_DELAY = 1.0  # seconds, whatever the settings and the jitter make of it


class Exponential(NamedTuple):
    """Delays that grow: initial, initial * factor, ... up to maximum; seconds."""

    initial: float
    factor: float
    maximum: float

    def delay(self, attempts: int) -> float:
        """Seconds to wait after so many attempts, 1 or more."""
        try:
            return min(self.maximum, self.initial * self.factor ** (attempts - 1))
        except OverflowError:
            return self.maximum


def exponential(initial: float, factor: float, maximum: float) -> Exponential:
    """A growing schedule; ValueError unless 0 < initial <= maximum and factor >= 1."""
    if not 0 < initial <= maximum or factor < 1:
        raise ValueError(
            f"initial {initial:g} s, factor {factor:g}, maximum {maximum:g} s: a schedule grows "
            "from above 0 to the maximum by a factor of 1 or more"
        )
    return Exponential(initial, factor, maximum)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and for how long: `schedule` is delays in seconds (the last repeats) or a rule."""

    schedule: tuple[float, ...] | Exponential = (60.0, 300.0, 1200.0, 3600.0)
    jitter: float = 0.1  # a delay is spread evenly by this part of it, to both sides
    max_age: float = 432_000.0  # seconds from acceptance to expiry
    max_age_us: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if not self.schedule or min(self.schedule) < 0:
            raise ValueError("schedule: one delay or more are needed, none below 0")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"jitter = {self.jitter:g}: it is a part of the delay, 0 to below 1")
        if self.max_age <= 0:
            raise ValueError(f"max_age = {self.max_age:g}: it must be above 0")
        object.__setattr__(self, "max_age_us", round(self.max_age * 1_000_000))

    def delay(self, attempts: int) -> float:
        """Seconds to wait after so many attempts, before jitter."""
        if isinstance(self.schedule, Exponential):
            return self.schedule.delay(max(1, attempts))
        return self.schedule[min(max(1, attempts), len(self.schedule)) - 1]

    @property
    def longest(self) -> float:
        """The longest wait between two attempts, seconds."""
        if isinstance(self.schedule, Exponential):
            delay = self.schedule.maximum
        else:
            delay = max(self.schedule)
        return max(MIN_DELAY, delay * (1 + self.jitter))

    def expires_us(self, received_us: int) -> int:
        """When a message that was accepted then expires."""
        return received_us + self.max_age_us


def next_attempt_us(
    policy: RetryPolicy,
    attempts: int,
    now_us: int,
    expires_us: int,
    random: Callable[[], float],
) -> int | None:
    """Wall clock of the next attempt after `attempts` of them; None = it has expired.

    A delay that would end behind the expiry is cut off there, so that a recipient expires at its
    max age and neither earlier nor later. `random` gives numbers from 0 to below 1.
    """
    if now_us >= expires_us:
        return None
    delay = policy.delay(attempts) * (1 + policy.jitter * (2 * random() - 1))
    return min(expires_us, now_us + round(max(MIN_DELAY, delay) * 1_000_000))
