"""A chart of `relay` results for the README: CPU of a message by agent, as SVG."""

from __future__ import annotations

import argparse
import json
import math
from html import escape
from pathlib import Path
from typing import Any

from bench import agents, report

WIDTH, LEFT, RIGHT, ROW, TOP = 760, 120, 150, 34, 58
OURS, OTHERS, TEXT = "#0b7285", "#adb5bd", "#343a40"


def options(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    usual = report.RESULTS / "relay-standard.json"
    parser.add_argument("result", type=Path, nargs="?", default=usual)
    parser.add_argument("--out", type=Path, help="default: beside the result, .svg")


def svg(title: str, note: str, values: dict[str, float], unit: str) -> str:
    """Bars on a logarithmic scale, the least first."""
    ordered = sorted(values.items(), key=lambda item: item[1])
    low = 10 ** math.floor(math.log10(min(values.values())))
    span = math.log10(max(values.values()) / low)
    height = TOP + ROW * len(ordered) + 30
    room = WIDTH - LEFT - RIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="system-ui, sans-serif" role="img" aria-label="{escape(title)}">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="16" y="26" font-size="17" font-weight="600" fill="{TEXT}">'
        f"{escape(title)}</text>",
        f'<text x="16" y="46" font-size="12" fill="{TEXT}">{escape(note)}</text>',
    ]  # fmt: skip
    best = ordered[0][1]
    for index, (name, value) in enumerate(ordered):
        y = TOP + ROW * index
        width = max(2.0, room * math.log10(value / low) / span) if span else room
        colour = OURS if name in agents.OURS else OTHERS
        times = f" ({value / best:,.1f} times)" if value > best else ""
        parts += [
            f'<text x="{LEFT - 10}" y="{y + 19}" font-size="13" text-anchor="end" fill="{TEXT}">'
            f"{escape(name)}</text>",
            f'<rect x="{LEFT}" y="{y + 4}" width="{width:.1f}" height="22" rx="3" '
            f'fill="{colour}"/>',
            f'<text x="{LEFT + width + 8:.1f}" y="{y + 19}" font-size="12" fill="{TEXT}">'
            f"{value:,.0f} {escape(unit)}{times}</text>",
        ]  # fmt: skip
    parts.append(
        f'<text x="16" y="{height - 10}" font-size="11" fill="{TEXT}">logarithmic scale</text>'
        "</svg>"
    )
    return "\n".join(parts) + "\n"


def picture(result: dict[str, Any]) -> str:
    """A result of `relay` as SVG; "" if no run of it is complete."""
    values = report.medians(result["rows"], "cpu_us")
    env = result["environment"]
    note = (
        f"{result['title']}; durable, plaintext, unsigned; {env['cores']} cores, "
        f"commit {env['commit']}"
    )
    return svg("CPU of all processes for one message", note, values, "us") if values else ""


def main(options: argparse.Namespace) -> int:
    """Draw a result of `relay`."""
    text = picture(json.loads(options.result.read_bytes()))
    if not text:
        print("there is no complete run in it")
        return 1
    path = options.out or options.result.with_suffix(".svg")
    path.write_text(text)
    print(path)
    return 0
