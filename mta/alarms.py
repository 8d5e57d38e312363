"""Alarms: what is wrong now, to be told while it lasts and when it ends.

A *check* looks at one thing and gives the troubles it finds, each under a name of `ALARMS`. A board
(`Alarms`, one for each process) asks its checks every `LOOK_EVERY` seconds. What is found is said
once, shown by `mta status` and as `mailrace_alarm`, and ends by itself, with a line, when no check
has found it for `CALM` seconds. To add one: name and meaning here, its check in a board's `checks`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mta.errors import MailraceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mta.clock import Clock

LOOK_EVERY = 2.0  # seconds between two looks of a board
CALM = 10.0  # seconds without trouble that end an alarm

ALARMS = {
    "clock_step": "the wall clock was set, and it is waited whether it stays so",
    "lost_mail": "a shard has lost mail, and nobody has accepted that (`mta spool accept-loss`)",
    "full_disk": "the spool's disk is full: what was kept for that is in use, so that mail leaves",
    "overdue": "mail is past its max age and does not expire",
    "not_looked_at": "mail is due and was not looked at for a minute",
    "not_sent": "mail is ready, has room in its limits, and was not sent for a minute",
    "stalled_loop": "a worker's event loop stood still for 5 s or more within the last 30 s",
    "damaged_content": "contents were found damaged in the last hour; their messages are set aside",
    "missing_content": "files with contents that queued mail needs are missing in a shard",
    "unreadable_content": "contents of queued messages cannot be read; they are tried again",
    "unreadable_records": "a shard's database cannot be read in places; mail there stays queued",
    "silent_worker": "a worker process lives and has not reported for 30 s",
    "all_held": "state.db was damaged, and with it what operators had held: all mail is",
    "state_unwritten": "state.db cannot be written: operators' acts are refused, mail is not",
    "refused_shard": "shards of the spool cannot be opened, so their mail waits; others serve",
    "log_kept": "the log cannot be written: its records are kept in the spool, and logged later",
    "attempts_held": "nothing is sent, because outcomes could not be kept",
    "log_segments": "segments of the log cannot be begun or removed; its records are safe",
}


class Trouble(msgspec.Struct, frozen=True):
    """What a check found wrong."""

    alarm: str  # a name of ALARMS
    reason: str  # for people: what is wrong, and what to do where something can be done
    count: int = 1  # how many recipients, files, workers it is about


class Alarm(msgspec.Struct, kw_only=True):
    """One alarm as it is reported."""

    alarm: str  # its name
    reason: str  # as it was found last
    count: int
    seconds: float  # since it was raised


if TYPE_CHECKING:
    Check = Callable[[], Iterable[Trouble]]


class _Raised:
    """An alarm that is on; of several troubles under its name the last reason and the sum count."""

    __slots__ = ("reason", "count", "since", "found_at")

    def __init__(self, reason: str, count: int, now: float) -> None:
        self.reason, self.count = reason, count
        self.since = self.found_at = now


class Alarms:
    """The board of one process; `say(line)` tells people. Everything is called on its loop."""

    def __init__(self, clock: Clock, say: Callable[[str], None]) -> None:
        self._clock, self._say = clock, say
        self.checks: list[Check] = []
        self._raised: dict[str, _Raised] = {}

    def look(self) -> None:
        """Ask every check; one that cannot look now leaves its alarms as they are for a while."""
        now = self._clock.monotonic()
        found: dict[str, tuple[str, int]] = {}
        for check in self.checks:
            try:
                troubles = list(check())
            except MailraceError:
                continue
            for trouble in troubles:
                _, count = found.get(trouble.alarm, ("", 0))
                found[trouble.alarm] = trouble.reason, count + trouble.count
        for name, (reason, count) in found.items():
            self._found(name, reason, count, now)
        for name, alarm in list(self._raised.items()):
            if now - alarm.found_at >= CALM:
                del self._raised[name]
                self._say(f"alarm {name} is over after {alarm.found_at - alarm.since:.0f} s")

    def _found(self, name: str, reason: str, count: int, now: float) -> None:
        if name not in ALARMS:
            raise ValueError(f"{name!r} is no alarm: it is to be declared in ALARMS")
        alarm = self._raised.get(name)
        if alarm is None:
            self._raised[name] = _Raised(reason, count, now)
            self._say(f"alarm {name}: {reason}")
        else:
            alarm.reason, alarm.count, alarm.found_at = reason, count, now

    def report(self) -> list[Alarm]:
        """The alarms that are on."""
        now = self._clock.monotonic()
        return [
            Alarm(alarm=name, reason=a.reason, count=a.count, seconds=round(now - a.since, 1))
            for name, a in self._raised.items()
        ]

    def figures(self) -> dict[str, Any]:
        """The alarms as a worker's figures have them: a list, and the count of each by name."""
        counts = {f"alarm:{name}": alarm.count for name, alarm in self._raised.items()}
        return {**counts, "alarms": msgspec.to_builtins(self.report())}
