"""How many connections a ready queue should have; pure (compiled).

Mail should not wait longer than PATIENCE for a connection. A connection that needs `service`
seconds for a message takes PATIENCE / `service` of them in that time: a receiver that answers in a
millisecond gets one connection for 50 parcels that wait, one that answers in a second gets 20
connections for each. So with as many as the mail needs nothing waits, and none is added.

The service is the mean time from MAIL to the last reply. It also grows where a receiver, or this
machine, has more to do than it can: then more connections would bring nothing. Hence it counts for
at most SLOWER times the least that was seen in the last EPOCH or two.
"""

from __future__ import annotations

PATIENCE = 0.05  # seconds
FASTEST = 0.001  # seconds; the loop's clock counts milliseconds, so less may be nothing
UNKNOWN = PATIENCE / 8  # seconds; of a site that has not taken a message yet
SLOWER = 3.0
SAMPLES = 16  # messages that make a mean, or those of LONG seconds
LONG = 1.0
EPOCH = 15.0  # seconds after which what was possible before counts no longer
STUCK = 1.0  # seconds without a message taken, after which one more is opened whatever the service
FIRST = 4  # opened at once where one is known to work; then as many as there are


class Growth:
    """What is known of the pace of one pool; times in seconds of one clock."""

    __slots__ = ("messages", "spent_us", "service", "least", "_latest", "_since", "_epoch")

    def __init__(self) -> None:
        self.messages = 0  # that ended since the last look
        self.spent_us = 0  # on them, from MAIL to the last reply
        self.service = 0.0  # mean seconds a message; 0 is not known
        self.least = 0.0  # the least mean of this epoch and the one before
        self._latest = 0.0  # the least mean of this epoch
        self._since = self._epoch = 0.0

    def learn(self, now: float) -> None:
        """Take the messages since the last look into account, if they are enough for a mean."""
        count = self.messages
        if not count or (count < SAMPLES and now - self._since < LONG):
            return
        mean = max(FASTEST, self.spent_us / (count * 1e6))
        self.messages = self.spent_us = 0
        self._since = now
        self.service = (self.service + mean) / 2 if self.service else mean
        self._latest = min(self._latest or mean, mean)
        if now - self._epoch > EPOCH:
            self.least, self._latest, self._epoch = self._latest, mean, now
        self.least = min(self.least or mean, mean)

    def enough(self, waiting: int, still: float) -> int:
        """How many connections for what waits, if for `still` seconds none has taken a message."""
        service = UNKNOWN
        if self.service:
            service = min(max(self.service, still), self.least * SLOWER)
        return -(-waiting * round(service * 1e6) // round(PATIENCE * 1e6))

    def wanted(self, waiting: int, alive: int, opening: int, still: float) -> bool:
        """True when one more connection should be opened; none of those `alive` is idle."""
        if opening >= min(waiting, max(FIRST if self.service else 1, alive)):
            return False  # a connection for each parcel at most; and step by step
        if alive and not opening and still > STUCK:
            return True
        return alive + opening < self.enough(waiting, still)
