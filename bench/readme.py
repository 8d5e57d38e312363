"""Puts the figures of bench/results into the README, between its markers, and draws the chart.

`mta bench readme` writes both; `--check` says whether they are those of the results. Each figure
names what was promised while it was measured, and the page with hardware, versions and spread.
"""

from __future__ import annotations

import argparse
import json
import statistics
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from bench import chart, receivers, report
from bench.agents import OURS

README = report.ROOT / "README.md"
BEGIN, END = "<!-- figures: mta bench readme -->", "<!-- end of figures -->"
DURABLE, PLAIN = "durable, plaintext, unsigned", "plaintext, nothing stored"
NAMES = {"postfix": "Postfix", "exim": "Exim", "opensmtpd": "OpenSMTPD (does not sync)",
         "haraka": "Haraka", "python": "aiosmtpd and aiosmtplib", "kumomta": "KumoMTA",
         "powermta": "PowerMTA"}  # fmt: skip
RELAYS = ("tools", "standard", "small", "large", "sessions", "accept")
SLOWER = {  # workloads that ask more than `standard`, as `receivers` takes them in turn
    "hops": "1,000 next hops instead of one",
    "deferrals": "every tenth recipient put off once",
    "latency": "receivers that answer after 200 ms",
    "dot": "receivers that answer the dot after 1 s",
}


class Row(NamedTuple):
    """One line of the table."""

    what: str
    how: str
    ours: str
    others: str
    page: str

    def cells(self) -> str:
        """As Markdown."""
        link = f"[{self.page}](bench/results/{self.page}.md)"
        return f"| {self.what} | {self.how} | {self.ours} | {self.others} | {link} |"


def load(folder: Path, name: str) -> dict[str, Any] | None:
    """A result; None if there is none."""
    path = folder / f"{name}.json"
    return json.loads(path.read_bytes()) if path.exists() else None


def peers(values: dict[str, float], unit: str, *, least: bool) -> str:
    """Postfix and the best of the others, with their distance to ours."""
    ours = values["mailrace"]
    others = {name: value for name, value in values.items() if name not in OURS}
    if not others:
        return ""
    best = (min if least else max)(others, key=lambda name: others[name])
    shown = dict.fromkeys(name for name in ("postfix", best) if name in others)
    return ", ".join(
        f"{NAMES.get(name, name)} {others[name]:,.0f}{unit} "
        f"({(others[name] / ours if least else ours / others[name]):,.1f} times)"
        for name in shown
    )


def relays(folder: Path) -> list[Row]:
    """CPU and rate, workload by workload."""
    rows = []
    for name in RELAYS:
        result = load(folder, f"relay-{name}")
        cpu = report.medians(result["rows"], "cpu_us") if result else {}
        if not result or "mailrace" not in cpu:
            continue
        accepting = name == "accept"
        title = result["title"].replace(", receivers silent", ", accepting alone")
        rate = report.medians(result["rows"], "accept_rate" if accepting else "rate")
        done = "accepted" if accepting else "delivered"
        page = f"relay-{name}"
        alone = f", one worker {cpu['mailrace-1']:,.0f} us" if "mailrace-1" in cpu else ""
        rows.append(
            Row(f"{title}: CPU of a message", DURABLE, f"{cpu['mailrace']:,.0f} us{alone}",
                peers(cpu, " us", least=True), page)
        )  # fmt: skip
        rows.append(
            Row(f"the same: messages/s {done}", DURABLE, f"{rate['mailrace']:,.0f}",
                peers(rate, "", least=False), page)
        )  # fmt: skip
    return rows


def sessions(found: dict[str, Any]) -> list[Row]:
    """Connections in and out."""
    part, out = found["incoming"], found["outgoing"]
    what, sent = "sessions open at once, EHLO said", "connections out, each with a message"
    each = [f"{one['pss_each'] / 1000:,.1f} kB of memory each" for one in (part, out)]
    return [
        Row(what, "plaintext", f"{part['open']:,}", each[0], "sessions"),
        Row(sent, DURABLE, f"{out['peak_connections']:,}", each[1], "sessions"),
    ]


def queue(found: dict[str, Any], page: str = "queue") -> list[Row]:
    """A long queue."""
    loaded = found["found"]["loaded"]
    what = f"{found['found']['waiting']:,} messages queued: memory"
    start = f"greeting {loaded['greeting']:.1f} s after a start"
    return [Row(what, DURABLE, f"{loaded['pss'] / 1e6:,.0f} MB", start, page)]


def handlers(found: dict[str, Any]) -> list[Row]:
    """A handler in both controllers."""
    rates = {
        name: statistics.median(
            row["rate"] for row in found["rows"] if (row["server"], row["size"]) == (name, 10_240)
        )
        for name in ("mailrace", "aiosmtpd")
    }
    ours, its = rates["mailrace"], rates["aiosmtpd"]
    beside = f"aiosmtpd's Controller {its:,.0f} ({ours / its:,.1f} times)"
    return [Row("a Sink handler, 10 kB: messages/s", PLAIN, f"{ours:,.0f}", beside, "aiosmtpd")]


def instructions(found: dict[str, Any]) -> list[Row]:
    """What callgrind counted."""
    count = statistics.median(row["instructions"] for row in found["rows"])
    what = f"{found['title']}: user instructions of a worker"
    return [Row(what, DURABLE, f"{count:,.0f}", "", "instructions")]


def others(folder: Path) -> list[Row]:
    """Sessions, a long queue, handlers, instructions: of those there are."""
    kinds = {
        "sessions": sessions, "queue": queue, "queue-5m": partial(queue, page="queue-5m"),
        "aiosmtpd": handlers, "instructions": instructions,
    }  # fmt: skip
    results = {name: load(folder, name) for name in kinds}
    return [row for name, found in results.items() if found for row in kinds[name](found)]


def share(part: float, whole: float) -> str:
    """How much of it, for people."""
    return f"{part / whole:.0%}"


def slower(folder: Path) -> list[str]:
    """What costs us more than the plain case, and whoever is ahead of us anywhere."""
    lines = []
    if found := load(folder, "receivers"):
        lines += [
            f"- [{SLOWER[one.workload]}](bench/results/receivers.md): "
            f"{one.cpu:.2f} times the CPU of a message, {one.rate:.0%} of the messages/s"
            for one in receivers.costs(found["rows"])
        ]
    if found := load(folder, "queue"):
        loaded, empty = found["found"]["loaded"]["bursts"], found["found"]["empty"]["found"]
        if loaded["rate"] < empty["rate"]:
            lines.append(
                f"- [{found['found']['waiting']:,} others queued](bench/results/queue.md): "
                f"{share(loaded['rate'], empty['rate'])} of the empty queue's messages/s"
            )
    return [*lines, *ahead(folder)]


AHEAD = (
    # key, what it is, 1 where less is better, unit and how much of it is one
    ("cpu_us", "CPU of a message", 1, " us", 1),
    ("rate", "messages/s", -1, "", 1),
    ("pss", "memory", 1, " MB", 1e6),
    ("accept_p99_us", "p99 of the 250 after the dot", 1, " ms", 1e3),
)


def ahead(folder: Path) -> list[str]:
    """Where another agent's median is better than ours."""
    lines = []
    for path in sorted(folder.glob("relay-*.json")):
        rows = json.loads(path.read_bytes())["rows"]
        for key, text, sign, unit, one in AHEAD:
            good = [row for row in rows if row["complete"] and key in row]
            values = report.medians(good, key)
            ours = values.get("mailrace")
            others = {name: value for name, value in values.items() if name not in OURS}
            better = [name for name, value in others.items() if ours and sign * value < sign * ours]
            if not better:
                continue
            told = [f"{NAMES.get(name, name)} {values[name] / one:,.0f}{unit}" for name in better]
            lines.append(
                f"- {text}, [{path.stem}](bench/results/{path.stem}.md): {', '.join(told)}; "
                f"Mailrace {ours / one:,.0f}{unit}"
            )
    return lines


def machines(folder: Path) -> str:
    """The hardware of the results."""
    found = [json.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))]
    kinds = dict.fromkeys(
        f"{env['cores']} cores of {env['cpu']}, {env['memory_gb']:.0f} GB, {env['disk']}"
        for env in (one["environment"] for one in found if "environment" in one)
    )
    return "; ".join(kinds)


def text(folder: Path = report.RESULTS) -> str:
    """What stands between the markers."""
    lines = [
        f"Measured on {machines(folder)};",
        "source and sink share it. Medians; each page has the command that repeats it, versions,",
        "settings, commit and spread.",
        "",
        "![CPU of a message by agent](bench/results/relay-standard.svg)",
        "",
        "| what | how | Mailrace | beside it | page |",
        "|---|---|---|---|---|",
        *(row.cells() for row in [*relays(folder), *others(folder)]),
    ]
    if worse := slower(folder):
        lines += [
            "",
            "Where we are slower, than by ourselves in the plain case or than others:",
            "",
        ]
        lines += worse
    return "\n".join([BEGIN, *lines, END])


def filled(page: str, folder: Path = report.RESULTS) -> str:
    """The README with the figures of the results."""
    before, _, rest = page.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"the README has no {BEGIN} and {END}")
    return before + text(folder) + after


def drawn(folder: Path = report.RESULTS) -> str:
    """The chart of `relay-standard`."""
    result = load(folder, "relay-standard")
    return chart.picture(result) if result else ""


def options(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if out of date")


def main(options: argparse.Namespace) -> int:
    """Bring README and chart up to date with bench/results."""
    picture = report.RESULTS / "relay-standard.svg"
    before = README.read_text(), picture.read_text() if picture.exists() else ""
    after = filled(before[0]), drawn()
    if options.check:
        return int(before != after)
    README.write_text(after[0])
    picture.write_text(after[1])
    print(README)
    return 0
