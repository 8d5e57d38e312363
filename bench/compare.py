"""Two results apart: `mta bench compare OLD NEW`, files or folders of results.

CPU for a message and instruction counts hold on a noisy machine; rates and times do not, so they
are shown and judged by nobody. A figure is worse when its median grew by more than the noise: the
spread of both results' runs, at least 5 % for CPU and 1 % for instructions.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any, NamedTuple

LEAST = {"cpu": 0.05, "instructions": 0.01}


class Figure(NamedTuple):
    """One figure of a result: all its values, one a run."""

    name: str
    kind: str  # "cpu" and "instructions" are judged, "rate" and "part" are shown
    values: list[float]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """Half the distance of the extremes, as a share of the median."""
        return (max(self.values) - min(self.values)) / 2 / max(self.median, 1e-9)


class Verdict(NamedTuple):
    """Two results of one figure."""

    name: str
    kind: str
    old: float
    new: float
    noise: float  # share that may be chance

    @property
    def change(self) -> float:
        """Share by which it grew."""
        return self.new / max(self.old, 1e-9) - 1

    @property
    def worse(self) -> bool:
        """Beyond the noise, of a kind that is judged."""
        return self.kind in LEAST and self.change > self.noise


def figures(result: dict[str, Any]) -> dict[str, Figure]:
    """What a result has to compare."""
    found: list[Figure] = []
    if result["scenario"] == "relay":
        rows = [row for row in result["rows"] if row["complete"] and row["agent"] == "mailrace"]
        name = f"relay {result['workload']['name']}"
        if rows:
            found.append(Figure(f"{name}: CPU us", "cpu", [row["cpu_us"] for row in rows]))
            found.append(Figure(f"{name}: messages/s", "rate", [row["rate"] for row in rows]))
    elif result["scenario"] == "receivers":
        for name in dict.fromkeys(row["workload"] for row in result["rows"] if row["complete"]):
            rows = [row for row in result["rows"] if row["complete"] and row["workload"] == name]
            found.append(Figure(f"receivers {name}: CPU us", "cpu", [r["cpu_us"] for r in rows]))
    elif result["scenario"] == "queue":
        for name in ("empty", "loaded"):
            part = result["found"][name]
            rows = part["found" if name == "empty" else "bursts"]["rows"]
            found.append(Figure(f"queue {name}: CPU us", "cpu", [row["cpu_us"] for row in rows]))
    elif result["scenario"] == "instructions":
        rows = result["rows"]
        counts = [row["instructions"] for row in rows]
        found.append(Figure(f"{result['title']}: instructions", "instructions", counts))
        for name in rows[0]["objects"]:
            values = [row["objects"].get(name, 0) for row in rows]
            found.append(Figure(f"  {name}", "part", values))
    elif result["scenario"] == "kernels":
        for name, count in result["instructions"].items():
            found.append(Figure(f"{name}: instructions", "instructions", [count]))
        for name, row in result["times"].items():
            found.append(Figure(f"{name}: us", "rate", [row["compiled"]]))
    return {figure.name: figure for figure in found}


def compare(old: dict[str, Any], new: dict[str, Any]) -> list[Verdict]:
    """Every figure that both have."""
    before, after = figures(old), figures(new)
    return [
        Verdict(
            name, one.kind, one.median, after[name].median,
            max(LEAST.get(one.kind, 0.0), one.spread + after[name].spread),
        )
        for name, one in before.items()
        if name in after
    ]  # fmt: skip


def pairs(old: Path, new: Path) -> list[tuple[Path, Path]]:
    """The files to compare: two files, or those of the same name in two folders."""
    if not old.is_dir():
        return [(old, new)]
    both = ((path, new / path.name) for path in sorted(old.glob("*.json")))
    return [pair for pair in both if pair[1].exists()]


def options(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument("old", type=Path, help="a result, or a folder of them")
    parser.add_argument("new", type=Path)


def main(options: argparse.Namespace) -> int:
    """Compare two results; 1 if CPU or instructions are worse beyond noise, 2 if none is there."""
    verdicts = []
    for old, new in pairs(options.old, options.new):
        both = [json.loads(path.read_bytes()) for path in (old, new)]
        if all("scenario" in one for one in both):
            verdicts += compare(*both)
    for one in verdicts:
        judged = "WORSE" if one.worse else "" if one.kind in LEAST else "(not judged)"
        print(
            f"{one.name:40} {one.old:12,.2f} {one.new:12,.2f} {one.change:+8.1%}"
            f"  noise {one.noise:.1%}  {judged}".rstrip()
        )
    if not verdicts:
        print("nothing to compare: no figure is in both")
        return 2
    return int(any(one.worse for one in verdicts))
