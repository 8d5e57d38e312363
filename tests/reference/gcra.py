"""Twin of mta/_speedups/gcra.pyx: a bucket of tokens, refilled in exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction


class TokenBucket:
    """Starts full with `burst` tokens; one more every `interval_ns`, up to `burst`."""

    def __init__(self, interval_ns: int, burst: int) -> None:
        self.interval_ns, self.burst = interval_ns, burst
        self.tokens, self.at = Fraction(burst), 0

    def take(self, now_ns: int, n: int = 1) -> int:
        """0 = granted, else ns to wait; time never goes back."""
        self.tokens += Fraction(now_ns - self.at, self.interval_ns)
        self.tokens, self.at = min(self.tokens, Fraction(self.burst)), now_ns
        if self.tokens < n:
            return math.ceil((n - self.tokens) * self.interval_ns)
        self.tokens -= n
        return 0


def most_in_a_window(grants: list[tuple[int, int]], interval_ns: int) -> Fraction:
    """Over all windows that begin and end with a grant: the largest count minus rate * T."""
    worst = Fraction(0)
    for i, (start, _) in enumerate(grants):
        count = 0
        for end, n in grants[i:]:
            count += n
            worst = max(worst, count - Fraction(end - start, interval_ns))
    return worst
