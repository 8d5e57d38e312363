"""All scenarios, one after the other, each in a process of its own and with a limit of time.

What exceeds its limit is ended with all that it started, and named; the others go on. Every agent
runs the standard workload, Postfix beside us the others, and the ten minutes are ours alone.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from bench import report

MINUTE = 60.0
PEER = ("--agent", "mailrace", "--agent", "postfix")
END = 60.0  # seconds to clean up, after that SIGKILL
GIVEN_UP, FAILED = "given up after {:.0f} minutes", "failed"


class Step(NamedTuple):
    """One call of `mta bench`."""

    words: tuple[str, ...]
    minutes: float  # at most
    stores: bool = True  # whether it has a `--folder`

    def __str__(self) -> str:
        named = self.words[2:3] if self.words[1:2] == ("--workload",) else ()
        return " ".join([self.words[0], *named])


def relay(workload: str, minutes: float, *more: str) -> Step:
    """A workload of `relay`."""
    return Step(("relay", "--workload", workload, *more), minutes)


def steps() -> list[Step]:
    """What `make bench` runs."""
    from bench.relay import WORKLOADS

    short = (*PEER, "--seconds", "5", "--repeats", "2")
    plain = [name for name in WORKLOADS if name not in ("standard", "steady")]
    return [
        relay("standard", 25),
        *(relay(name, 8, *short) for name in plain),
        relay("steady", 20, "--agent", "mailrace", "--repeats", "1"),
        Step(("receivers",), 20),
        Step(("sessions",), 15),
        Step(("domains",), 10),
        Step(("queue",), 20),
        Step(("queue", "--waiting", "5000000", "--name", "queue-5m"), 30),
        Step(("kernels",), 10, stores=False),
        Step(("instructions",), 20),
        Step(("aiosmtpd",), 10),
    ]


def run(step: Step, options: argparse.Namespace) -> str:
    """Run a step to its end or its limit; what went wrong, or ""."""
    more = ["--results", str(options.results)]
    more += ["--folder", str(options.folder)] if step.stores else []
    command = [sys.executable, "-m", "bench", *step.words, *more]
    process = subprocess.Popen(command, cwd=report.ROOT)
    try:
        return FAILED if process.wait(step.minutes * MINUTE) else ""
    except subprocess.TimeoutExpired:
        return GIVEN_UP.format(step.minutes)
    finally:
        if process.poll() is None:
            process.terminate()  # it ends what it started
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END)
            process.kill()
            process.wait()


def options(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="disk of the spools")
    parser.add_argument("--results", type=Path, default=report.RESULTS)


def main(options: argparse.Namespace) -> int:
    """All scenarios; 1 if one of them failed or did not end in time."""
    plan, problems = steps(), []
    most = sum(step.minutes for step in plan)
    print(f"{len(plan)} steps, about an hour, at most {most / 60:.1f}", flush=True)
    for number, step in enumerate(plan, 1):
        began = time.monotonic()
        print(f"\n== {number}/{len(plan)} {step}, at most {step.minutes:.0f} minutes", flush=True)
        if problem := run(step, options):
            problems.append(f"{step}: {problem}")
        print(f"== {step}: {(time.monotonic() - began) / 60:.1f} minutes {problem}", flush=True)
    print("\n".join(["", *problems]), flush=True)
    return int(bool(problems))
