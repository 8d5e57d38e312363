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

from bench.agents import AGENTS

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


def table(rows: list[dict[str, Any]]) -> list[str]:
    """One line an agent."""
    lines = [
        "| agent | messages | messages/s | accepted/s | CPU us a message | PSS MB "
        "| source us | sink us |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["agent"] for row in rows):
        good = [row for row in rows if row["agent"] == name and row["complete"]]
        if not good:
            lines.append(f"| {name} | no complete run | | | | | | |")
            continue
        cells = [
            name,
            f"{len(good)} x {good[-1]['count']:,}",
            middle(good, "rate"),
            middle(good, "accept_rate"),
            middle(good, "cpu_us"),
            middle(good, "pss", 1e-6),
            middle(good, "source_us"),
            middle(good, "sink_us"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def ratio(rows: list[dict[str, Any]]) -> str:
    """CPU of Postfix over ours, medians; empty without both."""
    middles = {
        name: statistics.median(values)
        for name in AGENTS
        if (values := [r["cpu_us"] for r in rows if r["agent"] == name and r["complete"]])
    }
    if len(middles) < 2:
        return ""
    factor = middles["postfix"] / middles["mailrace"]
    return f"Postfix uses {factor:,.1f} times the CPU of Mailrace for a message."


def markdown(result: dict[str, Any]) -> str:
    """The page."""
    env, rows = result["environment"], result["rows"]
    lines = [
        "# Relay: 10 kB, 20 sessions, durable",
        "",
        f"`make bench` on {env['at']}, commit {env['commit']}:",
        f"{env['cores']} cores of {env['cpu']}, {env['memory_gb']} GB, {env['system']},",
        f"Python {env['python']}, spool on {env['disk']}.",
        "smtp-source, smtp-sink and agent share the machine. Median (lowest to highest).",
        "",
        *table(rows),
        "",
        *([ratio(rows), ""] if ratio(rows) else []),
        *(f"- {version}: {AGENTS[name].settings}" for name, version in result["versions"].items()),
        "",
    ]
    return "\n".join(lines)


def write(result: dict[str, Any], folder: Path) -> Path:
    """Write `relay.json` and `relay.md`; the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "relay.json").write_text(json.dumps(result, indent=1) + "\n")
    page = folder / "relay.md"
    page.write_text(markdown(result))
    return page
