"""Results as JSON and as a Markdown page: what was measured, on what, and how far it spreads."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

from bench import steady
from bench.agents import AGENTS, OURS

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"


def environment(folder: Path) -> dict[str, Any]:
    """Hardware, system and commit."""
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    commit = git("rev-parse", "--short=12", "HEAD") or "unknown"
    changed = git("status", "--porcelain", "--", "mta", "setup.py")
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(int(memory[1]) / 1e6, 1) if memory else None,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "disk": _filesystem(folder),
        "commit": commit + (" with changes" if changed else ""),
    }


def git(*arguments: str) -> str:
    """What git says of this tree; empty if it is no checkout."""
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    return "" if done.returncode else done.stdout.strip()


def _filesystem(folder: Path) -> str:
    """The file system that holds a folder."""
    best, kind = "", "?"
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, name = line.split()[:3]
        inside = where == "/" or str(folder).startswith(where + "/")
        if inside and len(where) >= len(best) and name != "rootfs":
            best, kind = where, name
    return kind


def middle(rows: list[dict[str, Any]], key: str, scale: float = 1, digits: int = 0) -> str:
    """Median, and in brackets the lowest and highest."""
    values = [row[key] * scale for row in rows]
    low, mid, high = min(values), statistics.median(values), max(values)
    return f"{mid:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


COLUMNS: tuple[tuple[str, str, float, int], ...] = (
    ("messages/s", "rate", 1, 0),
    ("accepted/s", "accept_rate", 1, 0),
    ("CPU us", "cpu_us", 1, 0),
    ("PSS MB", "pss", 1e-6, 0),
    ("250 p50 ms", "accept_p50_us", 1e-3, 1),
    ("p99", "accept_p99_us", 1e-3, 1),
    ("delivered p50 ms", "deliver_p50_us", 1e-3, 1),
    ("p99", "deliver_p99_us", 1e-3, 1),
    ("lost", "lost", 1, 0),
    ("twice", "duplicates", 1, 0),
    ("source us", "source_us", 1, 0),
    ("sink us", "sink_us", 1, 0),
)


def table(rows: list[dict[str, Any]]) -> list[str]:
    """One line an agent; columns that none can fill are left out."""
    shown = [column for column in COLUMNS if any(column[1] in row for row in rows)]
    lines = [
        "| agent | messages | " + " | ".join(column[0] for column in shown) + " |",
        "|---" * (len(shown) + 2) + "|",
    ]
    for name in dict.fromkeys(row["agent"] for row in rows):
        good = [row for row in rows if row["agent"] == name and row["complete"]]
        if not good:
            lines.append(f"| {name} | no complete run |" + " |" * len(shown))
            continue
        cells = [name, f"{len(good)} x {good[-1]['count']:,}"]
        for _, key, scale, digits in shown:
            cells.append(middle(good, key, scale, digits) if key in good[0] else "")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def medians(rows: list[dict[str, Any]], key: str) -> dict[str, float]:
    """The median of each agent's complete runs."""
    names = dict.fromkeys(row["agent"] for row in rows if row["complete"])
    return {
        name: statistics.median(r[key] for r in rows if r["agent"] == name and r["complete"])
        for name in names
    }


def ratios(rows: list[dict[str, Any]]) -> list[str]:
    """CPU and rate of the others beside ours, medians."""
    cpu, rate = medians(rows, "cpu_us"), medians(rows, "rate")
    return [
        f"{name}: {cpu[name] / cpu[ours]:,.1f} times the CPU of {title} for a message, "
        f"1/{rate[ours] / rate[name]:,.1f} of its messages per second."
        for name in cpu
        if name not in OURS
        for ours, title in OURS.items()
        if ours in cpu
    ]


def courses(rows: list[dict[str, Any]]) -> list[str]:
    """The course of each long run, and whether it was steady."""
    return [
        line
        for row in rows
        if (course := steady.lines(row.get("series", [])))
        for line in (f"{row['agent']}, run {row.get('repeat', 0) + 1}:", "", *course, "")
    ]


def preamble(env: dict[str, Any], command: str) -> list[str]:
    """Machine and commit, for the head of a page."""
    return [
        f"`{command}` on {env['at']}, commit {env['commit']}:",
        f"{env['cores']} cores of {env['cpu']}, {env['memory_gb']} GB, {env['system']},",
        f"Python {env['python']}, spool on {env['disk']}.",
    ]


def markdown(result: dict[str, Any]) -> str:
    """The page of a relay run."""
    env, rows, work = result["environment"], result["rows"], result["workload"]
    lines = [
        f"# Relay: {result['title']}, durable, plaintext, unsigned",
        "",
        *preamble(env, f"mta bench relay --workload {work['name']}"),
        "Source, sink and agent share the machine. Median (lowest to highest). CPU is of all",
        "processes of the agent, for a message.",
        "",
        *table(rows),
        "",
        *(f"- {line}" for line in ratios(rows)),
        "",
        *courses(rows),
        *(f"- {text}: {AGENTS[name].settings}" for name, text in result["versions"].items()),
        *(f"- {line}" for line in result["skipped"]),
        "",
    ]
    return "\n".join(lines)


def write(result: dict[str, Any], folder: Path, name: str, page: str) -> Path:
    """Write `NAME.json` and `NAME.md`; the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    path = folder / f"{name}.md"
    path.write_text(page)
    return path
