"""Scenario `receivers`: what a message costs us by what receives it, beside the plain case.

Rounds of runs in turn, each of as many messages as the first: one next hop that answers at once,
then a thousand, some that put off, slow ones. Only what was measured in one round is compared. A
run is long, as the last replies of slow receivers are waited for at its end.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from bench import report
from bench.agents import OURS, Mailrace, fresh
from bench.relay import WORKLOADS, Plan, measure

PLAIN = "standard"
OTHERS = ("hops", "deferrals", "latency", "dot")


class Cost(NamedTuple):
    """A workload beside the plain case: medians of the rounds' ratios."""

    workload: str
    rate: float
    cpu: float


def options(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument("--workload", action="append", choices=OTHERS, help="default: all")
    parser.add_argument("--seconds", type=float, default=30.0, help="aim of one run")
    parser.add_argument("--count", type=int, default=0, help="messages a run, for --seconds")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="disk of the spools")
    parser.add_argument("--results", type=Path, default=report.RESULTS)
    parser.add_argument("--repeats", type=int, default=3, help="rounds")


def rounds(folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """All runs, the workloads in turn."""
    rows: list[dict[str, Any]] = []
    count = args.count
    for repeat in range(args.repeats):
        for name in (PLAIN, *(args.workload or OTHERS)):
            plan = Plan([], folder, WORKLOADS[name]._replace(seconds=args.seconds), count=count)
            row = measure(plan, Mailrace(fresh(folder / "run"), plan.scene), count)
            rows.append({"workload": name, "repeat": repeat, **row})
            count = row["count"]
            print(_line(rows[-1]), flush=True)
    return rows


def _line(row: dict[str, Any]) -> str:
    if not row["complete"]:
        return f"{row['workload']}: only {row['received']} of {row['count']} arrived"
    return (
        f"{row['workload']}: {row['count']:,} messages, {row['rate']:,.0f}/s, "
        f"{row['cpu_us']:,.0f} us CPU a message"
    )


def costs(rows: list[dict[str, Any]]) -> list[Cost]:
    """Each workload beside the plain case of its round; of complete runs."""
    good = [row for row in rows if row["complete"]]
    plain = {row["repeat"]: row for row in good if row["workload"] == PLAIN}
    found = []
    for name in dict.fromkeys(row["workload"] for row in good if row["workload"] != PLAIN):
        pairs = [
            (row, plain[row["repeat"]])
            for row in good
            if row["workload"] == name and row["repeat"] in plain
        ]
        if pairs:
            rate, cpu = (
                statistics.median(row[key] / base[key] for row, base in pairs)
                for key in ("rate", "cpu_us")
            )
            found.append(Cost(name, rate, cpu))
    return found


def page(result: dict[str, Any]) -> str:
    """The page of results."""
    rows = result["rows"]
    beside = {one.workload: one for one in costs(rows)}
    lines = [
        "# What receivers cost", "",
        *report.preamble(result["environment"], "mta bench receivers"), "",
        "| receivers | runs | messages/s | of the first | CPU us | times the first "
        "| 250 p99 ms | delivered p50 ms | lost | twice |",
        "|---" * 10 + "|",
    ]  # fmt: skip
    for name in dict.fromkeys(row["workload"] for row in rows):
        good = [row for row in rows if row["workload"] == name and row["complete"]]
        if not good:
            lines.append(f"| {WORKLOADS[name].title()} | no complete run |" + " |" * 8)
            continue
        one = beside.get(name)
        cells = [
            WORKLOADS[name].title(), f"{len(good)} x {good[0]['count']:,}",
            report.middle(good, "rate"), f"{one.rate:.0%}" if one else "",
            report.middle(good, "cpu_us"), f"{one.cpu:.2f}" if one else "",
            report.middle(good, "accept_p99_us", 1e-3, 1),
            report.middle(good, "deliver_p50_us", 1e-3, 1),
            report.middle(good, "lost"), report.middle(good, "duplicates"),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "Median (lowest to highest); the ratios are medians of those within a round. Durable,",
        "plaintext, unsigned; own source and sink on the same cores. A run ends with its last",
        f"message's arrival. {OURS[Mailrace.name]}: {Mailrace.settings}.",
        "",
    ]
    return "\n".join(lines)


def main(args: argparse.Namespace) -> int:
    """Receivers of several kinds in turn: rate and CPU of a message beside the plain case."""
    with tempfile.TemporaryDirectory(prefix="mailrace-bench-", dir=args.folder) as name:
        folder = Path(name)
        folder.chmod(0o755)
        result = {
            "scenario": "receivers", "environment": report.environment(folder),
            "rows": rounds(folder, args),
        }  # fmt: skip
    print(json.dumps({one.workload: one for one in costs(result["rows"])}))
    print(report.write(result, args.results, "receivers", page(result)))
    return int(not all(row["complete"] for row in result["rows"]))
