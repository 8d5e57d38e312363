"""Scenario `kernels`: each compiled function beside its twin and what else one would use.

Times by pytest-benchmark; instructions by valgrind's cachegrind where it is installed: they hold on
a noisy machine, so `compare` goes by them.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import machine, report
from bench.group import ROOT

LOOPS = 200
PROGRAM = """
import sys
from bench.kernel_cases import CASES
call = CASES[int(sys.argv[1])].ours
call()
for _ in range(int(sys.argv[2])):
    call()
"""


def options(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument("--results", type=Path, default=report.RESULTS)
    parser.add_argument("--repeats", type=int, default=1, help="rounds of cachegrind; 0: without")
    parser.add_argument("--seconds", type=float, default=0.3, help="for each call")


def times(seconds: float) -> dict[str, dict[str, float]]:
    """Kernel -> who -> median microseconds, and its spread (quartiles' distance)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "times.json"
        command = [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--benchmark-enable",
            "--benchmark-quiet", f"--benchmark-max-time={seconds}", f"--benchmark-json={path}",
            "--benchmark-min-rounds=5", str(ROOT / "bench" / "test_kernels.py"),
        ]  # fmt: skip
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        found: dict[str, dict[str, float]] = {}
        for one in json.loads(path.read_bytes())["benchmarks"]:
            who = one["name"].rpartition(" / ")[2].rstrip("]")
            row = found.setdefault(one["group"], {})
            row[who] = one["stats"]["median"] * 1e6
            row[f"{who}_iqr"] = one["stats"]["iqr"] * 1e6
    return found


def instructions(index: int, loops: int) -> int:
    """Instructions of a process that calls a kernel so often."""
    command = [
        "valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null",
        sys.executable, "-c", PROGRAM, str(index), str(loops),
    ]  # fmt: skip
    environment = {"PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    if found is None:
        raise RuntimeError(f"cachegrind says nothing: {done.stderr[-300:]}")
    return int(found[1].replace(",", ""))


def counted() -> dict[str, int]:
    """Kernel -> instructions of one call."""
    from bench.kernel_cases import CASES

    return {
        case.name: round((instructions(index, LOOPS) - instructions(index, 0)) / LOOPS)
        for index, case in enumerate(CASES)
    }


def page(result: dict[str, Any]) -> str:
    """The page of results."""
    from bench.kernel_cases import CASES

    lines = ["# Kernels", "", *report.preamble(result["environment"], "mta bench kernels")]
    lines += ["Microseconds of one call, median, from Python.", ""]
    lines += [
        "| kernel | compiled | instructions | twin | other | its way | times |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in CASES:
        row = result["times"][case.name]
        count = result["instructions"].get(case.name)
        other = row.get("other")
        best = other or row.get("twin")
        cells = [
            case.name, f"{row['compiled']:.2f}", f"{count:,}" if count else "",
            f"{row['twin']:.2f}" if "twin" in row else "", f"{other:.2f}" if other else "",
            case.way, f"{best / row['compiled']:,.1f}" if best else "",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "`times` is the other way's time over ours, or the twin's where there is none.",
        "",
    ]
    return "\n".join(lines)


def main(options: argparse.Namespace) -> int:
    """Each compiled function beside its twin and the standard library's or aiosmtpd's way."""
    with machine.alone():
        found = times(options.seconds)
    counts: dict[str, int] = {}
    if options.repeats and shutil.which("valgrind"):
        counts = counted()
    elif options.repeats:
        print("kernels: no instruction counts, valgrind is not installed")
    result = {
        "scenario": "kernels", "environment": report.environment(ROOT), "times": found,
        "instructions": counts,
    }  # fmt: skip
    text = page(result)
    print(text)
    print(report.write(result, options.results, "kernels", text))
    return 0
