"""Were limits kept? Judged by when connections and attempts came to the receiver."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.torture.logfiles import Record


class Limit(NamedTuple):
    """What is configured for the site behind a port; None is no limit."""

    connections: int | None = None
    rate: float | None = None  # messages a second
    burst: int = 1
    jitter: float = 0.05  # seconds that the machine may keep an attempt on its way


def broken(records: Iterable[Record], port: int, limit: Limit) -> list[str]:
    """What was more than the limit; one text for each kind."""
    here = [one for one in records if one["port"] == port]
    found = []
    most = _most_open(here)
    if limit.connections is not None and most > limit.connections:
        found.append(f"port {port}: {most} connections at once, {limit.connections} allowed")
    if limit.rate is not None:
        attempts = sorted(one["time"] for one in here if one["event"] == "attempt")
        found += list(_too_fast(attempts, port, limit, limit.rate))[:1]
    return found


def _most_open(records: Iterable[Record]) -> int:
    most = open_now = 0
    for one in records:
        open_now += (one["event"] == "open") - (one["event"] == "close")
        most = max(most, open_now)
    return most


def _too_fast(times: list[float], port: int, limit: Limit, rate: float) -> Iterator[str]:
    """In every window T at most rate x T + burst: a bucket that is never empty (GCRA)."""
    due = float("-inf")  # theoretical time of arrival
    tolerance = limit.burst / rate + limit.jitter
    for time in times:
        due = max(due, time) + 1 / rate
        if due - time > tolerance:
            late, allowed = (due - time - tolerance) * rate, f"{rate:g}/s, burst={limit.burst}"
            yield f"port {port}: at {time:.3f} {late:.1f} attempts beyond {allowed}"
