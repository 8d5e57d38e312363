"""Values as people read them: counts, sizes, ages and times; `--json` has them exact."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from mta.metrics import METRICS

MOMENTS = {"time", "created_us", "ended_us"}  # microseconds since 1970: shown as the time of day
NEAR = {"received", "due", "expires", "oldest", "next_attempt"}  # the same, shown from now on
TIMES = MOMENTS | NEAR
LONG_AGO = 10**15  # microseconds, 2001: smaller numbers under these names are counts
NAMES = {"code", "rno", "pid", "shard", "worker", "number", "sequence", "act", "log_segment"}
SIZES = {"size", "octets"} | {
    figure
    for metric in METRICS
    if metric.name.endswith("_bytes") and metric.name != "mailrace_log_offset_bytes"
    for figure in metric.figures.values()
}
AGES = {"uptime", "oldest_age"}  # seconds
_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def cell(name: str, value: Any) -> str:
    """A value of this name."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(name, value)
    if isinstance(value, list):
        return ", ".join(cell("", item) for item in value)
    if isinstance(value, dict):
        return " ".join(f"{key}={cell(key, item)}" for key, item in value.items() if item)
    return plain(str(value))


def number(name: str, value: float) -> str:
    """A number: by its name a time, a size, an age, a name, or else a count."""
    if name in TIMES and value > LONG_AGO:
        return moment(int(value)) if name in MOMENTS else from_now(int(value))
    if name in SIZES:
        return size(value)
    if name in AGES:
        return age(value)
    if name in NAMES:
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{round(value, 6):,}"


def size(octets: float) -> str:
    """79.7 GB; below 1 kB the octets."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(octets) < 999.95 or unit == "TB":
            break
        octets /= 1000
    return f"{octets:.0f} {unit}" if unit == "B" else f"{octets:.1f} {unit}"


def age(seconds: float) -> str:
    """12 m, 3 h 5 m, 2 d 4 h, 20 d: a second unit where the first counts few hours or days."""
    for (unit, length), (smaller, part) in zip(_UNITS, (*_UNITS[1:], ("", 0)), strict=True):
        if seconds >= length:
            count, rest = divmod(int(seconds), length)
            second = rest // part if length > 60 and count < 10 else 0
            return f"{count} {unit} {second} {smaller}" if second else f"{count} {unit}"
    return "0 s" if seconds <= 0 else f"{seconds:.1f} s"


def from_now(microseconds: int, now: Callable[[], float] = time.time) -> str:
    """A time of the wall clock as people tell it: in 12 m, 3 h ago."""
    seconds = microseconds / 1e6 - now()
    if abs(seconds) < 1:
        return "now"
    return f"in {age(seconds)}" if seconds > 0 else f"{age(-seconds)} ago"


def moment(microseconds: int) -> str:
    """A time of the wall clock in UTC, to the millisecond."""
    when = datetime.fromtimestamp(microseconds // 1_000_000, UTC)
    return f"{when:%Y-%m-%d %H:%M:%S}.{microseconds % 1_000_000 // 1000:03d}Z"


def plain(text: str) -> str:
    """Text of strangers with its control characters made visible, against terminal tricks."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
