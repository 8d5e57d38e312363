"""Durations, sizes, rates and addresses as people write them; pure. A bad text is a ValueError."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import msgspec

SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
OCTETS = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "k": 2**10, "kib": 2**10, "m": 2**20, "mib": 2**20,
    "g": 2**30, "gib": 2**30, "t": 2**40, "tib": 2**40,
}  # fmt: skip

_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|[smhdw])\s*")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.I)
_RATE = re.compile(
    r"(\d+(?:\.\d+)?)\s*/\s*(\d*(?:\.\d+)?\s*(?:ms|[smhdw]))(?:\s*,\s*burst\s*=\s*(\d+))?", re.I
)


def duration(raw: str | float) -> float:
    """Seconds from "50ms", "5m", "1h30m", "2d"; a bare number is seconds."""
    text = str(raw).strip().lower()
    if _NUMBER.fullmatch(text):
        return float(text)
    total, end = 0.0, 0
    for part in _PART.finditer(text):
        if part.start() != end:
            break
        total, end = total + float(part[1]) * SECONDS[part[2]], part.end()
    if not text or end != len(text):
        raise ValueError(f'"{raw}" is not a duration: write it like 50ms, 30s, 5m, 1h30m or 2d')
    return total


def duration_text(seconds: float) -> str:
    """The shortest way to write a duration: "5m" for 300.0."""
    if not seconds:
        return "0s"
    for unit in ("d", "h", "m", "s", "ms"):
        count = seconds / SECONDS[unit]
        if count >= 1 and math.isclose(count, round(count), rel_tol=1e-9):
            return f"{round(count)}{unit}"
    return f"{seconds:g}s"


def size(raw: str | int) -> int:
    """Octets from "10MB" (decimal), "64KiB" (binary) or a bare number."""
    match = _SIZE.fullmatch(str(raw).strip())
    if match is None or match[2].lower() not in OCTETS:
        raise ValueError(f'"{raw}" is not a size: write it like 512, 64KiB, 10MB or 2GB')
    return round(float(match[1]) * OCTETS[match[2].lower()])


def size_text(octets: int) -> str:
    """The shortest exact way to write a size: "10MB", "64KiB"."""
    for unit in ("TB", "TiB", "GB", "GiB", "MB", "MiB", "kB", "KiB"):
        factor = OCTETS[unit.lower()]
        if octets >= factor and octets % factor == 0:
            return f"{octets // factor}{unit}"
    return str(octets)


class Rate(msgspec.Struct, frozen=True):
    """So many per so long: in every window T at most `count / per * T + burst`."""

    count: float
    per: float  # seconds
    burst: int  # at least 1

    @classmethod
    def parse(cls, text: str) -> Rate:
        """From "100/s", "5000/h" or "100/s, burst=400"; the burst is 100 ms' worth if not given."""
        match = _RATE.fullmatch(str(text).strip())
        if match is None:
            raise ValueError(f'"{text}" is not a rate: write it like 100/s, 5000/h, burst=50')
        count, unit = float(match[1]), match[2].lower()
        per = duration(unit if unit[0].isdigit() else f"1{unit}")
        if not count or not per:
            raise ValueError(f'"{text}" would block all mail: leave it out or write "none"')
        burst = int(match[3]) if match[3] else math.ceil(count / per * 0.1)
        return cls(count, per, max(1, burst))

    @property
    def per_second(self) -> float:
        """How many in one second."""
        return self.count / self.per

    @property
    def interval_ns(self) -> int:
        """Nanoseconds between two, rounded up, so that the limit stays a limit."""
        return math.ceil(self.per * 1e9 / self.count)

    def __str__(self) -> str:
        unit = duration_text(self.per)
        unit = unit[1:] if unit[0] == "1" and not unit[1].isdigit() else unit
        return f"{self.count:g}/{unit}, burst={self.burst}"


class Endpoint(NamedTuple):
    """Where to listen or connect: a host and a port, or the path of a Unix socket."""

    host: str
    port: int
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """From "host:port", "[v6]:port" or "unix:/path"."""
        text = text.strip()
        if text.startswith("unix:") and text[5:].startswith("/"):
            return cls("", 0, text[5:])
        host, colon, port = text.rpartition(":")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        wrong = not colon or not bare or (":" in bare and bare == host)
        if wrong or not port.isdecimal() or int(port) > 65535:
            raise ValueError(
                f'"{text}" is not an address: write host:port, [v6 address]:port or unix:/path'
            )
        return cls(bare, int(port))

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
