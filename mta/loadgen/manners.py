"""How receivers behave: what a sink answers to a recipient, and when it hangs up.

A manner is written `name` or `name:value[,value]`:

    accept                takes everything
    greylist:3            450 to a (sender, recipient) until 3 seconds after its first attempt
    throttle:50,200       421 after 50 messages on a connection, 451 beyond 200 messages a second
    unknown               550 5.1.1 to local parts that begin with "unknown"
    drop:25               every 25th transaction loses its connection, mostly before the content
    slow:0.2              replies to RCPT and to the final dot come 0.2 seconds late
    defer                 451 to everything
    flaky:10              451 to every 10th recipient, whichever it is
    latency:0.2,1         replies leave 0.2 seconds late, those that are ready together, as over a
                          long way; that to the final dot is made 1 second late (0 if left out)
    cap:20                421 to a connection beyond 20 open at once

Nothing here does I/O or reads a clock.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from mta.errors import ConfigError

DEFAULTS: dict[str, tuple[float, ...]] = {
    "accept": (),
    "greylist": (3.0,),
    "throttle": (50.0, 200.0),
    "unknown": (),
    "drop": (25.0,),
    "slow": (0.2,),
    "defer": (),
    "flaky": (10.0,),
    "latency": (0.2, 0.0),
    "cap": (20.0,),
}

GREYLISTED = b"450 4.7.1 Greylisted, come back later\r\n"
BUSY = b"421 4.7.0 Too many messages on this connection\r\n"
TOO_FAST = b"451 4.7.1 Too many messages a second\r\n"
UNKNOWN = b"550 5.1.1 No such user here\r\n"
NOT_NOW = b"451 4.3.0 Not now\r\n"
FULL = b"421 4.7.0 Too many connections\r\n"


class Stage(enum.IntEnum):
    """Where a transaction loses its connection."""

    NEVER = 0
    RCPT = 1
    DATA = 2
    DOT = 3  # after the content, before the reply: not counted as delivered


DROPS = (Stage.RCPT, Stage.DATA, Stage.RCPT, Stage.DOT)  # in turn


class Manner(NamedTuple):
    """One receiver's manner with its figures."""

    name: str
    values: tuple[float, ...]

    def __str__(self) -> str:
        return ":".join(
            [self.name, *([",".join(f"{v:g}" for v in self.values)] * bool(self.values))]
        )


class Judgement(NamedTuple):
    """What happens to a recipient: None as reply is "250", `cut` is where the connection ends."""

    reply: bytes | None = None
    cut: Stage = Stage.NEVER
    delay: float = 0.0


TAKEN = Judgement()


def parse(text: str) -> Manner:
    """A manner from its text form; ConfigError names what would be right."""
    name, _, figures = text.partition(":")
    if name not in DEFAULTS:
        names = ", ".join(DEFAULTS)
        raise ConfigError(f"there is no manner {name!r}", key="profile", hint=f"known are {names}")
    default = DEFAULTS[name]
    if not figures:
        return Manner(name, default)
    try:
        values = tuple(float(figure) for figure in figures.split(","))
    except ValueError:
        values = ()
    least = min(values, default=0.0)
    if not 0 < len(values) <= len(default) or least < 0 or (not least and name != "latency"):
        example = str(Manner(name, default))
        raise ConfigError(f"{text!r} has no figures that fit", key="profile", hint=f"as {example}")
    return Manner(name, values + default[len(values) :])


class Judge:
    """One manner in action: what it remembers, over all connections."""

    __slots__ = ("manner", "_seen", "_second", "_taken", "_transactions")

    def __init__(self, manner: Manner) -> None:
        self.manner = manner
        self._seen: dict[tuple[str, str], float] = {}  # first attempt of sender and recipient
        self._second, self._taken = 0, 0  # recipients taken in the current second
        self._transactions = 0

    def recipient(self, sender: str, recipient: str, taken: int, now: float) -> Judgement:
        """Judge one RCPT; `taken` is the number of messages that its connection has brought."""
        match self.manner.name:
            case "greylist":
                first = self._seen.setdefault((sender, recipient), now)
                return TAKEN if now - first >= self.manner.values[0] else Judgement(GREYLISTED)
            case "throttle":
                return self._throttle(taken, now)
            case "unknown":
                known = not recipient.lower().startswith("unknown")
                return TAKEN if known else Judgement(UNKNOWN)
            case "drop":
                return Judgement(cut=self._drop())
            case "slow":
                return Judgement(delay=self.manner.values[0])
            case "defer":
                return Judgement(NOT_NOW)
            case "flaky":
                self._transactions += 1
                late = self._transactions % int(self.manner.values[0])
                return TAKEN if late else Judgement(NOT_NOW)
        return TAKEN

    def _throttle(self, taken: int, now: float) -> Judgement:
        per_connection, per_second = self.manner.values
        if taken >= per_connection:
            return Judgement(BUSY)
        if int(now) != self._second:
            self._second, self._taken = int(now), 0
        self._taken += 1
        return TAKEN if self._taken <= per_second else Judgement(TOO_FAST)

    def _drop(self) -> Stage:
        self._transactions += 1
        turn, left = divmod(self._transactions, int(self.manner.values[0]))
        return Stage.NEVER if left else DROPS[(turn - 1) % len(DROPS)]


class Judges:
    """The manner for a recipient: that of the longest matching suffix, else the listener's."""

    __slots__ = ("_default", "_by_suffix", "_known", "latency", "dot", "room")

    def __init__(self, default: Manner, by_suffix: dict[str, Judge] | None = None) -> None:
        self._default = Judge(default)
        self._by_suffix = by_suffix or {}
        self._known: dict[str, Judge] = {}
        values = default.values
        self.latency, self.dot = values if default.name == "latency" else (0.0, 0.0)
        self.room = int(values[0]) if default.name == "cap" else -1  # connections; -1: no limit

    def judge(self, recipient: str) -> Judge:
        """The judge of a recipient's domain."""
        if not self._by_suffix:
            return self._default
        domain = recipient.rpartition("@")[2].lower()
        found = self._known.get(domain)
        if found is None:
            found = self._known[domain] = self._find(domain)
        return found

    def _find(self, domain: str) -> Judge:
        labels = domain.split(".")
        for start in range(len(labels)):
            judge = self._by_suffix.get(".".join(labels[start:]))
            if judge is not None:
                return judge
        return self._default
