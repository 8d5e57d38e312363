"""A long run, part by part, and whether it is steady. Pure.

The samples of a run hold what was counted since its beginning: seconds, received messages, CPU
seconds, memory and descriptors. A run has PARTS parts, minutes where it takes ten of them.
"""

from __future__ import annotations

import statistics
from typing import NamedTuple

PARTS = 10
BEGIN = slice(1, 4)  # the first part is for caches and memory to fill
END = slice(-3, None)
TOLERANCE = 0.05  # change that is none, where the noise is smaller

Sample = dict[str, float]


class Part(NamedTuple):
    """What one part of a run showed."""

    minute: float  # of its end
    rate: float  # messages/s
    cpu_us: float  # a message
    pss: float  # octets at its end
    descriptors: float


def parts(series: list[Sample], count: int = PARTS) -> list[Part]:
    """The run cut into equal parts, each from one sample to another."""
    edges = [series[round(n * (len(series) - 1) / count)] for n in range(count + 1)]
    return [
        _part(begin, end)
        for begin, end in zip(edges, edges[1:], strict=False)
        if end["received"] > begin["received"]
    ]


def _part(begin: Sample, end: Sample) -> Part:
    messages = end["received"] - begin["received"]
    return Part(
        end["seconds"] / 60,
        messages / (end["seconds"] - begin["seconds"]),
        (end["cpu"] - begin["cpu"]) * 1e6 / messages,
        end["pss"],
        end["descriptors"],
    )


def change(values: list[float]) -> tuple[float, float]:
    """By how much the end is above the beginning, and what would be noise; shares of one."""
    begin, end = statistics.median(values[BEGIN]), statistics.median(values[END])
    steps = [abs(b - a) for a, b in zip(values[1:], values[2:], strict=False)]
    noise = statistics.median(steps) / begin if steps and begin else 0.0
    return (end / begin - 1 if begin else 0.0), max(TOLERANCE, 2 * noise)


def judge(found: list[Part]) -> dict[str, str]:
    """What each figure did: how it changed, and "steady" or what is wrong with it."""
    words = {
        "rate": ("fell", -1), "cpu_us": ("rose", 1), "pss": ("grew", 1), "descriptors": ("grew", 1)
    }  # fmt: skip
    verdicts = {}
    for name, (wrong, sign) in words.items():
        by, noise = change([getattr(part, name) for part in found])
        word = wrong if by * sign > noise else "steady"
        verdicts[name] = f"{word} ({by:+.1%}, noise up to {noise:.0%})"
    return verdicts


def lines(series: list[Sample]) -> list[str]:
    """A table of the parts, and the verdict as its last line; nothing where they are too few."""
    if len(series) <= PARTS:
        return []
    found = parts(series)
    verdicts = judge(found)
    good = all(text.startswith("steady") for text in verdicts.values())
    rows = [
        f"| {p.minute:.1f} | {p.rate:,.0f} | {p.cpu_us:,.0f} | {p.pss / 1e6:,.0f} "
        f"| {p.descriptors:,.0f} |"
        for p in found
    ]
    return [
        "| until minute | messages/s | CPU us | PSS MB | descriptors |",
        "|---|---|---|---|---|",
        *rows,
        f"| {'steady' if good else 'NOT steady'} | " + " | ".join(verdicts.values()) + " |",
    ]
