"""The generic cell rate algorithm: limits by one number, the theoretical arrival time (TAT)."""

def gcra(
    tat: int, now_ns: int, interval_ns: int, burst: int, n: int = 1
) -> tuple[int, int]:
    """(0, new TAT) if `n` may leave at `now_ns`, else (ns to wait, the same TAT).

    In every window T at most `T / interval_ns + burst` leave. ValueError if `n` is not between 1
    and `burst`, or if `interval_ns * burst` is not between 1 and 2**62.
    """

class LocalBucket:
    """A rate limit of this process alone; starts full."""

    tat: int
    interval_ns: int
    burst: int

    def __init__(self, interval_ns: int, burst: int) -> None:
        """One every `interval_ns`, `burst` at once; ValueError as for `gcra`."""

    def take(self, now_ns: int, n: int = 1) -> int:
        """0 = granted, else ns to wait; ValueError if `n` is not between 1 and the burst."""

    def give_back(self, n: int = 1) -> None:
        """Undo a grant of `n` that was not used; never lets more pass than without the grant."""
