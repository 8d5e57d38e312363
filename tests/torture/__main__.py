"""`python -m tests.torture NAME --rounds N --seed S`: exit code 1 and the folder kept on a problem.

NAME is a run of tests/torture/cases, or `all`; `list` tells what there is.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.torture import cases, results, volumes
from tests.torture.results import Plan, Row
from tests.torture.rig import scratch

SHOWN = 20  # problems printed
ON_VOLUMES = "powercut"  # the run that can have a real file system below it


def main(arguments: list[str]) -> int:
    """Parse, run, report."""
    options = parser().parse_args(arguments)
    if options.name == "list":
        for name in cases.names():
            print(f"{name:12}{cases.load(name).ABOUT}")
        return 0
    if options.name != "all" and options.name not in cases.names():
        print(f"there is no run {options.name}: all, {', '.join(cases.names())}")
        return 2
    if options.fs and (options.name != ON_VOLUMES or (reason := volumes.missing(options.fs))):
        reason = reason if options.name == ON_VOLUMES else f"it is an option of {ON_VOLUMES} alone"
        print(f"--fs {options.fs}: {reason}")
        return 2
    if options.name == "all":
        return everything(options)
    return sheltered(options.name, options)


def everything(options: argparse.Namespace) -> int:
    """Every run, and power cuts on each real file system that can be had here."""
    worst = max(sheltered(name, options) for name in cases.names())
    for kind in volumes.MAKE:
        if reason := volumes.missing(kind):
            print(f"{ON_VOLUMES} --fs {kind} is left out: {reason}")
            continue
        options.fs = kind
        worst = max(worst, sheltered(ON_VOLUMES, options))
    return worst


def sheltered(name: str, options: argparse.Namespace) -> int:
    """Run one case; one that fails itself does not keep the others from being run."""
    try:
        return one(name, options)
    except (AssertionError, OSError, RuntimeError, ValueError):
        traceback.print_exc()
        return 1


def parser() -> argparse.ArgumentParser:
    """The options; a case's own are -o KEY=VALUE."""
    found = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    found.add_argument("name", help="a run, all, or list")
    found.add_argument("--rounds", type=int, help="faults [each run's own number]")
    found.add_argument("--seed", type=int, default=1, help="of all that is random [1]")
    found.add_argument("--results", type=Path, default=results.FOLDER, help="folder of the rows")
    found.add_argument("--fs", default="", help="powercut: a real file system: ext4, xfs, btrfs")
    found.add_argument("-o", action="append", default=[], metavar="KEY=VALUE", dest="more",
                       help="an option of the run's own")  # fmt: skip
    return found


def one(name: str, options: argparse.Namespace) -> int:
    """Run one case; 1 if it found a problem."""
    case = cases.load(name)
    rounds = options.rounds or case.ROUNDS
    own = dict(text.partition("=")[::2] for text in options.more)
    own |= {"fs": options.fs} if options.fs else {}
    full = "-".join([name, *own.values()]).replace("/", "+")
    command = f"python -m tests.torture {name} --rounds {rounds} --seed {options.seed}"
    command += f" --fs {options.fs}" if options.fs else ""
    command += "".join(f" -o {shlex.quote(text)}" for text in options.more)
    print(f"{command}: {case.ABOUT}", flush=True)
    began = time.monotonic()
    with scratch() as folder:
        plan = Plan(folder, rounds, options.seed, lambda line: print(line, flush=True), own)
        rows: list[Row] = []
        try:
            rows = case.run(plan)
        finally:
            if not rows or any(row.problems for row in rows):
                keep(folder)
    results.write(options.results, full, command, rows)
    for row in rows:
        print(f"{row.fault}: {row.rounds} rounds, {row.recipients:,} recipients, {row.lost:,} lost,"
              f" {row.duplicated:,} duplicated, {row.problems:,} problems,"
              f" worst recovery {row.recovery:.1f} s")  # fmt: skip
        print("".join(f"  {text}\n" for text in row.found[:SHOWN]), end="")
    print(f"{time.monotonic() - began:.0f} s", flush=True)
    return int(any(row.problems for row in rows))


def keep(folder: Path) -> None:
    """Copy what a problem can be understood by; preallocated files stay sparse."""
    to = Path(tempfile.mkdtemp(prefix="mta-torture-kept-"))
    ignored = shutil.ignore_patterns("*.bodies", "*.img", "control.sock")
    shutil.copytree(folder, to, dirs_exist_ok=True, ignore=ignored)
    print(f"files are kept in {to}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
