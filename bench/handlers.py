"""Scenario `aiosmtpd`: the Sink handler in our Controller and in aiosmtpd's, the same client.

smtp-source sends over 20 kept-open sessions; nothing is stored. One process serves in both cases.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench import report
from bench.group import Group
from bench.machine import quiet, wait_for_greeting
from bench.traffic import tool

SERVERS = ("mailrace", "aiosmtpd")
SIZES = (1024, 10240)
SESSIONS = 20
PORT = 2625


def burst(server: Group, folder: Path, size: int, count: int) -> dict[str, float]:
    """Send so many messages; rate and CPU of the server."""
    command = [
        str(tool("smtp-source")), "-d", "-s", str(SESSIONS), "-m", str(count), "-l", str(size),
        "-f", "sender@bench.example", "-t", "user@bench.example", f"inet:127.0.0.1:{PORT}",
    ]  # fmt: skip
    cpu, began = server.cpu(), time.monotonic()
    source = Group("source", command, subprocess.DEVNULL, folder)  # type: ignore[arg-type]
    try:
        code = source.process.wait(120)
        seconds = time.monotonic() - began
        source_cpu = source.cpu()
    finally:
        source.end(2)
    if code:
        raise RuntimeError(f"smtp-source ended with {code}")
    return {
        "seconds": seconds,
        "rate": count / seconds,
        "cpu_us": (server.cpu() - cpu) * 1e6 / count,
        "source_us": source_cpu * 1e6 / count,
    }


def measure(name: str, folder: Path, size: int, seconds: float) -> dict[str, Any]:
    """One server, started afresh: a short burst to know its speed, then the measured one."""
    command = [sys.executable, "-m", "bench.controller", name, str(PORT)]
    with (folder / f"{name}.log").open("wb") as output:
        server = Group(name, command, output, report.ROOT)
    try:
        wait_for_greeting(PORT, server)
        trial = burst(server, folder, size, 500)
        count = max(500, int(trial["rate"] * seconds) // 100 * 100)
        busy = quiet()
        row = burst(server, folder, size, count)
        return {"server": name, "size": size, "count": count, "busy_before": busy, **row}
    finally:
        server.end()


def run(
    folder: Path, repeats: int, seconds: float, say: Callable[[str], object]
) -> list[dict[str, Any]]:
    """All runs, the servers in turn."""
    rows = []
    for repeat in range(repeats):
        for size in SIZES:
            for name in SERVERS:
                row = {"repeat": repeat, **measure(name, folder, size, seconds)}
                rows.append(row)
                say(
                    f"{name}, {size:,} octets: {row['count']:,} messages, {row['rate']:,.0f}/s, "
                    f"{row['cpu_us']:,.0f} us CPU a message"
                )
    return rows


def table(rows: list[dict[str, Any]]) -> list[str]:
    """One line for each size and server."""
    lines = [
        "| octets | server | messages/s | CPU us a message | source us |",
        "|---|---|---|---|---|",
    ]
    for size in SIZES:
        for name in SERVERS:
            own = [row for row in rows if (row["size"], row["server"]) == (size, name)]
            cells = [report.middle(own, key) for key in ("rate", "cpu_us", "source_us")]
            lines.append(f"| {size:,} | {name} | " + " | ".join(cells) + " |")
    return lines


def ratios(rows: list[dict[str, Any]]) -> list[str]:
    """How many times aiosmtpd's rate ours is, by size."""
    lines = []
    for size in SIZES:
        middle = {
            key: [
                statistics.median(
                    row[key] for row in rows if (row["size"], row["server"]) == (size, name)
                )
                for name in SERVERS
            ]
            for key in ("rate", "cpu_us")
        }
        (ours, theirs), (cpu, their_cpu) = middle["rate"], middle["cpu_us"]
        lines.append(
            f"{size:,} octets: {ours / theirs:,.1f} times the messages per second of aiosmtpd, "
            f"at 1/{their_cpu / cpu:,.1f} of its CPU for a message."
        )
    return lines


def markdown(result: dict[str, Any]) -> str:
    """The page."""
    env, rows = result["environment"], result["rows"]
    lines = [
        "# Handlers: aiosmtpd's Sink in our Controller and in its own",
        "",
        f"`python -m bench aiosmtpd` on {env['at']}, commit {env['commit']}:",
        f"{env['cores']} cores of {env['cpu']}, {env['memory_gb']} GB, {env['system']},",
        f"Python {env['python']}, aiosmtpd {result['aiosmtpd']}.",
        f"smtp-source over {SESSIONS} sessions, plaintext, nothing stored; server and source share",
        "the machine. Median (lowest to highest).",
        "",
        *table(rows),
        "",
        *(f"- {line}" for line in ratios(rows)),
        "",
    ]
    return "\n".join(lines)


def scenario(folder: Path, repeats: int, seconds: float, results: Path) -> None:
    """Run, print, write `aiosmtpd.json` and `aiosmtpd.md`."""
    rows = run(folder, repeats, seconds, lambda line: print(line, flush=True))
    result = {
        "environment": report.environment(folder),
        "aiosmtpd": version("aiosmtpd"),
        "rows": rows,
    }
    results.mkdir(parents=True, exist_ok=True)
    (results / "aiosmtpd.json").write_text(json.dumps(result, indent=1) + "\n")
    page = results / "aiosmtpd.md"
    page.write_text(markdown(result))
    print("\n".join(["", *table(rows), "", *ratios(rows), "", str(page)]))
